"""A server process whose files change: what it serves, what it says, and whom it lets in."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.files.atomic_writer import publish
from tests.interop.foreign_peers import need
from tests.support.mounts import by_rename, in_place, mount, secret
from tests.support.servers import SERVE, VERSIONS, ServeProcess, run_command
from tests.support.timing import CLOCKED, TIMEOUT

versions = pytest.mark.parametrize(
    "version", [version for _, version in VERSIONS], ids=[name for name, _ in VERSIONS]
)

QUICK = ("--reload-interval", "0.05")
TLS13 = ssl.TLSVersion.TLSv1_3
REVOKED = "SSLV3_ALERT_CERTIFICATE_REVOKED"

SERVERS, CLIENTS = Authority.root("servers"), Authority.root("clients")
ALICE = CLIENTS.issue(Request.client("alice.test"))
BOB = CLIENTS.issue(Request.client("bob.test"))


def issued(**dates: timedelta) -> Credential:
    return SERVERS.issue(Request.server("localhost", **dates))  # type: ignore[arg-type]  # dates only


def client_of(
    credential: Credential, version: ssl.TLSVersion = TLS13, trust: Trust = SERVERS.trust
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = version
    trust.load_into(context)
    credential.load_into(context)
    return context


class Mounts:
    """What a pod sees: cert-manager's Secret, trust-manager's bundle, and lists, each a volume."""

    def __init__(self, folder: Path) -> None:
        self.tls, self.trust, self.lists = folder / "tls", folder / "trust", folder / "lists"
        self.options = (
            *("--cert", str(self.tls / "tls.crt"), "--key", str(self.tls / "tls.key")),
            *("--client-ca", str(self.trust / "bundle.pem")),
            *("--crl", str(self.lists / "crl.pem")),
        )
        self.first = issued()
        self.revoked = Authority(CLIENTS.certificate, CLIENTS.key)
        self.anew()

    def anew(self, credential: Credential | None = None) -> None:
        """Mount everything afresh, whatever was done to it."""
        for folder in (self.tls, self.trust, self.lists):
            shutil.rmtree(folder, ignore_errors=True)
        mount(self.tls, secret(credential or self.first, ca_crt=SERVERS.trust.pem))
        mount(self.trust, {"bundle.pem": CLIENTS.trust.pem})
        self.publish_list()

    def publish_list(self, *, days: int = 7) -> None:
        crl = self.revoked.crl(timedelta(days=days))
        mount(self.lists, {"crl.pem": crl.public_bytes(Encoding.PEM)})


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    # Where a server without rights may read.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Mounts(Path(folder))


def served(running: ServeProcess, context: ssl.SSLContext) -> bytes | None:
    """The certificate that the server shows to a client that it serves."""
    with running.connect(context) as tls:
        tls.sendall(b"hello")
        assert tls.recv(5) == b"hello"
        shown = tls.getpeercert(binary_form=True)
        tls.unwrap().close()
        return shown


def shown_by(credential: Credential) -> bytes:
    return credential.chain_der[0]


def refused(running: ServeProcess, context: ssl.SSLContext) -> str:
    """The alert with which the server turns a client away."""

    def talk() -> None:
        with running.connect(context) as tls:
            tls.sendall(b"hello")
            tls.recv(5)

    with pytest.raises(ssl.SSLError) as refusal:
        talk()
    return str(refusal.value.reason)


# --- broken publications -------------------------------------------------------------------------


def _cut(path: Path) -> None:
    in_place(path, path.read_bytes()[:100])


def _relinked(folder: Path) -> None:
    (folder / "..data").unlink()
    (folder / "..data").symlink_to("..2026_gone")


def _as_folder(path: Path) -> None:
    path.resolve().unlink()
    path.resolve().mkdir()


def _listed(mounts: Mounts, contents: bytes) -> None:
    mount(mounts.lists, {"crl.pem": contents})


def _expired_list(mounts: Mounts) -> None:
    then = Authority(
        CLIENTS.certificate, CLIENTS.key, clock=lambda: mounts.revoked.clock() - timedelta(days=9)
    )
    _listed(mounts, then.crl().public_bytes(Encoding.PEM))


def _lasting_less(mounts: Mounts) -> None:
    # As an authority would issue it whose clock is a day slow: newer by its number only.
    then = Authority(
        CLIENTS.certificate, CLIENTS.key, clock=lambda: mounts.revoked.clock() - timedelta(days=1)
    )
    _listed(mounts, then.crl().public_bytes(Encoding.PEM))


OLD = {"lifetime": timedelta(days=-1), "backdate": timedelta(days=2)}
NOT_YET = {"lifetime": timedelta(days=3), "backdate": timedelta(days=-1)}

BROKEN: dict[str, tuple[Callable[[Mounts], object], str, str]] = {
    "mismatched pair": (
        lambda m: mount(m.tls, {**secret(m.first), "tls.key": issued().key_pem}),
        "tls.key",
        "the private key does not match the certificate",
    ),
    "truncated certificate": (lambda m: _cut(m.tls / "tls.crt"), "tls.crt", "is cut off"),
    "truncated key": (lambda m: _cut(m.tls / "tls.key"), "tls.key", "is cut off"),
    "empty file": (lambda m: in_place(m.tls / "tls.crt", b""), "tls.crt", "is empty"),
    "unreadable key": (lambda m: (m.tls / "tls.key").chmod(0), "tls.key", "permission denied"),
    "directory in place of a file": (
        lambda m: _as_folder(m.tls / "tls.key"),
        "tls.key",
        "is a directory",
    ),
    "missing ..data target": (
        lambda m: _relinked(m.tls),
        "tls.crt",
        "is a link to a file that does not exist",
    ),
    "no ..data": (
        lambda m: (m.tls / "..data").unlink(),
        "tls.crt",
        "is a link to a file that does not exist",
    ),
    "volume gone": (lambda m: shutil.rmtree(m.tls), "tls.crt", "does not exist"),
    "half-written bundle": (
        lambda m: mount(m.trust, {"bundle.pem": CLIENTS.trust.pem + SERVERS.trust.pem[:200]}),
        "bundle.pem",
        "is cut off",
    ),
    "bundle emptied": (lambda m: in_place(m.trust / "bundle.pem", b""), "bundle.pem", "is empty"),
    "bundle of keys": (
        lambda m: mount(m.trust, {"bundle.pem": ALICE.key_pem}),
        "bundle.pem",
        "holds a private key where a certificate belongs",
    ),
    "expired certificate": (
        lambda m: mount(m.tls, secret(issued(**OLD))),
        "tls.crt",
        "expired on",
    ),
    "certificate of the future": (
        lambda m: mount(m.tls, secret(issued(**NOT_YET))),
        "tls.crt",
        "is not valid before",
    ),
    "a client's certificate": (
        lambda m: mount(m.tls, secret(ALICE)),
        "tls.crt",
        "extendedKeyUsage does not include serverAuth",
    ),
    "lists gone": (lambda m: shutil.rmtree(m.lists), "crl.pem", "does not exist"),
    "list emptied": (lambda m: _listed(m, b""), "crl.pem", "is empty"),
    "list truncated": (lambda m: _cut(m.lists / "crl.pem"), "crl.pem", "is cut off"),
    "list expired": (_expired_list, "crl.pem", "is older than the one in use"),
    "list rolled back": (_lasting_less, "crl.pem", "is older than the one in use"),
    "another authority's list": (
        lambda m: _listed(m, SERVERS.crl().public_bytes(Encoding.PEM)),
        "crl.pem",
        "a trust anchor, is missing",
    ),
}


@pytest.mark.parametrize("wrong", BROKEN)
def test_a_broken_publication_is_named_and_the_old_generation_serves_until_it_is_mended(
    mounts: Mounts, wrong: str
) -> None:
    break_it, file, reason = BROKEN[wrong]
    renewed = issued()
    with ServeProcess(*QUICK, *mounts.options, unprivileged=True) as running:
        break_it(mounts)
        event = running.event("reload")
        assert event["ok"] is False
        assert event["generation"] == 1
        assert event["changed"] == []
        assert f"/{file}: " in event["error"]
        assert reason in event["error"]
        assert event["not_after"][:10] == f"{mounts.first.certificate.not_valid_after_utc:%F}"
        for version in (ssl.TLSVersion.TLSv1_2, TLS13):
            assert served(running, client_of(ALICE, version)) == shown_by(mounts.first)
        mounts.anew(renewed)
        mended = running.event("reload", 2)
        while not (mended["ok"] and "certificate" in mended["changed"]):
            # In between it may have seen some of the volumes and not the others.
            number = len([event for event in running.events if event["event"] == "reload"])
            mended = running.event("reload", number + 1)
        for version in (ssl.TLSVersion.TLSv1_2, TLS13):
            assert served(running, client_of(ALICE, version)) == shown_by(renewed)
        assert running.stop() == 0
    body = mounts.first.key_pem.decode().splitlines()[1]
    assert body not in str(running.events)


def test_what_openssl_refuses_is_named_and_not_taken(mounts: Mounts, tmp_path: Path) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=weak"),
            *("-addext", "subjectAltName=DNS:localhost", "-out", "w.crt", "-keyout", "w.key"),
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    crt, key = (tmp_path / "w.crt").read_bytes(), (tmp_path / "w.key").read_bytes()
    with ServeProcess(*QUICK, *mounts.options) as running:
        mount(mounts.tls, {"tls.crt": crt, "tls.key": key})
        event = running.event("reload")
        assert "EE_KEY_TOO_SMALL" in event["error"]
        assert str(mounts.tls) in event["error"]
        assert "P-256" in event["hint"]
        assert served(running, client_of(ALICE)) == shown_by(mounts.first)


def test_the_same_error_is_logged_once_and_mending_by_the_old_bytes_is_logged(
    mounts: Mounts,
) -> None:
    with ServeProcess("--reload-interval", "0.01", *mounts.options) as running:
        contents = (mounts.trust / "bundle.pem").read_bytes()
        in_place(mounts.trust / "bundle.pem", b"")
        assert not running.event("reload")["ok"]
        for _ in range(20):
            assert served(running, client_of(ALICE))
        in_place(mounts.trust / "bundle.pem", contents)
        event = running.event("reload", 2)
        assert (event["ok"], event["generation"], event["changed"]) == (True, 1, [])


# --- how files change ----------------------------------------------------------------------------


def test_a_rotation_through_mounts_is_served_within_a_look(mounts: Mounts) -> None:
    with ServeProcess(*QUICK, *mounts.options) as running:
        for number in range(2, 6):
            renewed = issued()
            mount(mounts.tls, secret(renewed))
            event = running.event("reload", number - 1)
            assert (event["ok"], event["generation"]) == (True, number)
            assert event["changed"] == ["certificate", "key"]
            assert served(running, client_of(ALICE)) == shown_by(renewed)


def test_one_secret_with_everything_in_it_is_one_generation(tmp_path: Path) -> None:
    """As cert-manager makes it; the authority in it is that of the clients here."""
    folder = tmp_path / "secret"
    mount(folder, secret(issued(), ca_crt=CLIENTS.trust.pem))
    options = [
        *("--cert", str(folder / "tls.crt"), "--key", str(folder / "tls.key")),
        *("--client-ca", str(folder / "ca.crt")),
    ]
    others = Authority.root("others")
    carol, renewed = others.issue(Request.client("carol.test")), issued()
    with ServeProcess(*QUICK, *options) as running:
        assert served(running, client_of(ALICE))
        mount(folder, secret(renewed, ca_crt=others.trust.pem))
        event = running.event("reload")
        assert (event["ok"], event["changed"]) == (True, ["certificate", "key", "trust"])
        assert served(running, client_of(carol)) == shown_by(renewed)
        assert refused(running, client_of(ALICE)) == "TLSV1_ALERT_UNKNOWN_CA"


@pytest.mark.parametrize("write", [in_place, by_rename])
def test_plain_files_are_served_when_they_match_and_have_settled(
    tmp_path: Path, write: Callable[[Path, bytes], None]
) -> None:
    for name, contents in secret(issued(), ca_crt=CLIENTS.trust.pem).items():
        (tmp_path / name).write_bytes(contents)
    options = [
        *("--cert", str(tmp_path / "tls.crt"), "--key", str(tmp_path / "tls.key")),
        *("--client-ca", str(tmp_path / "ca.crt")),
    ]
    renewed = issued()
    with ServeProcess(*QUICK, *options) as running:
        write(tmp_path / "tls.crt", renewed.certificate_pem)
        event = running.event("reload")
        assert (event["ok"], event["generation"]) == (False, 1)
        assert served(running, client_of(ALICE)) != shown_by(renewed)
        write(tmp_path / "tls.key", renewed.key_pem)
        event = running.event("reload", 2)
        assert (event["ok"], event["changed"]) == (True, ["certificate", "key"])
        assert served(running, client_of(ALICE)) == shown_by(renewed)


def test_a_directory_of_ours_is_followed_and_never_made_anew(tmp_path: Path) -> None:
    directory = Directory.create(tmp_path / "pki")
    alice = directory.credential("client")
    renewed = directory.authority("servers").issue(Request.server("localhost"))
    context = client_of(alice, trust=directory.trust("servers"))
    with ServeProcess(*QUICK, pki=directory.path) as running:
        publish(directory.path / "server", secret(renewed), {})
        assert running.event("reload")["changed"] == ["certificate", "key"]
        assert served(running, context) == shown_by(renewed)
        directory.path.rename(tmp_path / "elsewhere")
        assert f"{directory.path}: does not exist" in running.event("reload", 2)["error"]
        assert served(running, context) == shown_by(renewed)
        assert not directory.path.exists()


def test_a_list_that_vanishes_from_a_directory_stays_in_force(tmp_path: Path) -> None:
    directory = Directory.create(tmp_path / "pki")
    authority, alice = directory.authority("clients"), directory.credential("client")
    bob = authority.issue(Request.client("bob.test"))
    authority.revoke(bob)
    trust = {"ca.crt": authority.trust.pem}
    listed = {**trust, "crl.pem": authority.crl().public_bytes(Encoding.PEM)}
    server_trust = directory.trust("servers")
    mallory = client_of(bob, trust=server_trust)
    with ServeProcess(*QUICK, pki=directory.path) as running:
        assert served(running, mallory)
        publish(directory.path / "trust" / "clients", listed, {})
        assert running.event("reload")["changed"] == ["revocation lists"]
        assert refused(running, mallory) == REVOKED
        publish(directory.path / "trust" / "clients", trust, {})
        event = running.event("reload", 2)
        assert not event["ok"]
        assert "/crl.pem: there is no CRL any more" in event["error"]
        assert refused(running, mallory) == REVOKED
        assert served(running, client_of(alice, trust=server_trust))


def test_without_client_authentication_the_authorities_of_clients_are_no_concern(
    tmp_path: Path,
) -> None:
    directory = Directory.create(tmp_path / "pki")
    renewed = directory.authority("servers").issue(Request.server("localhost"))
    context = client_of(ALICE, trust=directory.trust("servers"))
    with ServeProcess(*QUICK, "--client-auth", "none", pki=directory.path) as running:
        publish(directory.path / "trust" / "clients", {"ca.crt": CLIENTS.trust.pem}, {})
        publish(directory.path / "server", secret(renewed), {})
        assert running.event("reload")["changed"] == ["certificate", "key"]
        assert served(running, context) == shown_by(renewed)


# --- SIGHUP --------------------------------------------------------------------------------------


def test_a_hang_up_reads_the_files_at_once_and_answers(mounts: Mounts) -> None:
    with ServeProcess("--reload-interval", "0", *mounts.options) as running:
        running.process.send_signal(signal.SIGHUP)
        event = running.event("reload")
        assert (event["ok"], event["generation"], event["changed"]) == (True, 1, [])
        renewed = issued()
        mount(mounts.tls, secret(renewed))
        assert served(running, client_of(ALICE)) == shown_by(mounts.first)  # nothing reloads
        running.process.send_signal(signal.SIGHUP)
        assert running.event("reload", 2)["generation"] == 2
        assert served(running, client_of(ALICE)) == shown_by(renewed)
        in_place(mounts.tls / "tls.crt", b"")
        for number in (3, 4):  # SIGHUP is answered, though it is the same
            running.process.send_signal(signal.SIGHUP)
            assert "is empty" in running.event("reload", number)["error"]


def test_many_hang_ups_are_answered_and_harm_nothing_also_while_it_drains(
    mounts: Mounts,
) -> None:
    options = ("--reload-interval", "0", "--grace-period", "3600", *mounts.options)
    with ServeProcess(*options) as running, running.connect(client_of(ALICE)) as tls:
        tls.sendall(b"hello")
        assert tls.recv(5) == b"hello"
        for _ in range(100):
            running.process.send_signal(signal.SIGHUP)
        running.event("reload")
        running.process.send_signal(signal.SIGTERM)
        running.event("stopping")
        mount(mounts.tls, secret(issued()))
        for _ in range(100):
            running.process.send_signal(signal.SIGHUP)
        tls.sendall(b"still")
        assert tls.recv(5) == b"still"
        assert tls.recv(1) == b""
        tls.unwrap().close()
        running.event("stopped")
        assert running.process.wait() == 0
    reloads = [event for event in running.events if event["event"] == "reload"]
    assert all(event["ok"] for event in reloads)
    assert len(reloads) < 100


def test_a_hang_up_that_comes_while_it_starts_is_answered_when_it_serves(
    mounts: Mounts,
) -> None:
    script = (
        "import os, signal\n"
        "import mtls_echo.commands.serve as command\n"
        "read = command._read\n"
        "def signalled(options, **given):\n"  # the port is open by now
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    command._read = read\n"
        "    return read(options, **given)\n"
        "command._read = signalled\n"
        f"{SERVE.replace('from mtls_echo.commands.serve import serve; ', 'command.')}"
    )
    with ServeProcess("--reload-interval", "0", *mounts.options, program=script) as running:
        assert running.event("reload")["changed"] == []
        assert served(running, client_of(ALICE))


def test_its_text_log_tells_a_person_the_same(mounts: Mounts) -> None:
    command = [sys.executable, "-c", SERVE, *QUICK, *mounts.options, "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        watchdog = threading.Timer(TIMEOUT, process.kill)
        watchdog.start()
        assert process.stderr is not None
        assert " listening on " in process.stderr.readline()
        in_place(mounts.trust / "bundle.pem", b"")
        line = process.stderr.readline()
        assert " not reloaded: " in line
        assert "bundle.pem: is empty; generation 1 stays in use; hint: was the program" in line
        mounts.anew(issued())
        while " new certificate" not in line:
            line = process.stderr.readline()
            assert line
        assert re.search(r" reloaded: .*: generation \d, valid until 20.* UTC\n", line)
        process.terminate()
        process.communicate()
        watchdog.cancel()


def test_the_interval_must_be_a_time() -> None:
    for wrong in ("-1", "soon", "inf"):
        done = run_command("--reload-interval", wrong)
        assert done.returncode == 2
        assert "--reload-interval" in done.stderr


# --- who gets in afterwards ----------------------------------------------------------------------


@versions
def test_a_revoked_client_is_refused_and_its_open_connection_goes_on(
    mounts: Mounts, version: ssl.TLSVersion
) -> None:
    mallory = client_of(BOB, version)
    with ServeProcess(*QUICK, *mounts.options) as running, running.connect(mallory) as tls:
        tls.sendall(b"hello")
        assert tls.recv(5) == b"hello"
        mounts.revoked.revoke(BOB)
        mounts.publish_list()
        assert running.event("reload")["changed"] == ["revocation lists"]
        assert refused(running, mallory) == REVOKED
        assert served(running, client_of(ALICE, version))
        tls.sendall(b"still")
        assert tls.recv(5) == b"still"
        tls.unwrap().close()
        assert refused(running, mallory) == REVOKED


@versions
def test_a_revoked_client_that_is_connected_has_to_come_back_when_its_connection_is_of_age(
    mounts: Mounts, version: ssl.TLSVersion
) -> None:
    mallory = client_of(BOB, version)
    options = ("--max-connection-age", "0.5", *QUICK, *mounts.options)
    clocked = ServeProcess(*options, program=CLOCKED + SERVE)
    with clocked as running, running.connect(mallory) as tls:
        tls.sendall(b"hello")
        assert tls.recv(5) == b"hello"
        mounts.revoked.revoke(BOB)
        mounts.publish_list()
        running.process.send_signal(signal.SIGUSR2)
        assert running.event("reload")["changed"] == ["revocation lists"]
        assert tls.recv(1) == b""  # the clean end
        tls.unwrap().close()
        assert running.event("connection")["ended"] == "age"
        assert refused(running, mallory) == REVOKED


def s_client(running: ServeProcess, folder: Path, version: ssl.TLSVersion, *more: str) -> str:
    """What openssl gets back for a hello; it leaves when it has that."""
    process = subprocess.Popen(
        [
            *("openssl", "s_client", "-connect", f"127.0.0.1:{running.port}"),
            *("-servername", "localhost", "-CAfile", "servers.crt"),
            *("-cert", "alice.crt", "-key", "alice.key", "-quiet", "-no_ign_eof"),
            "-tls1_2" if version is ssl.TLSVersion.TLSv1_2 else "-tls1_3",
            *more,
        ],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write("hello\n")
            process.stdin.flush()
        answer = process.stdout.readline()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        assert process.wait(TIMEOUT) in (0, 1)
    return answer.strip()


def last_connection(running: ServeProcess) -> dict[str, Any]:
    """The report of the connection that was not told of before."""
    known = len([event for event in running.events if event["event"] == "connection"])
    return running.event("connection", known + 1)


@versions
@pytest.mark.parametrize("tickets", ["off", "on"])
@pytest.mark.parametrize("change", ["certificate", "trust", "revocation lists"])
def test_no_session_of_openssl_outlives_a_reload(
    mounts: Mounts, tmp_path: Path, version: ssl.TLSVersion, tickets: str, change: str
) -> None:
    need("openssl")
    session = tmp_path / "session.pem"
    options = (*QUICK, "--session-tickets", tickets, *mounts.options)
    for name, contents in {
        "alice.crt": ALICE.certificate_pem,
        "alice.key": ALICE.key_pem,
        "servers.crt": SERVERS.trust.pem,
    }.items():
        (tmp_path / name).write_bytes(contents)

    with ServeProcess(*options) as running:
        assert s_client(running, tmp_path, version, "-sess_out", "session.pem") == "hello"
        resumable = tickets == "on" or version is ssl.TLSVersion.TLSv1_2
        assert last_connection(running)["tls"]["resumed"] is False
        if resumable:
            assert session.exists()
            s_client(running, tmp_path, version, "-sess_in", "session.pem")
            assert last_connection(running)["tls"]["resumed"] is True
        if change == "certificate":
            mount(mounts.tls, secret(issued()))
        elif change == "trust":
            mount(mounts.trust, {"bundle.pem": CLIENTS.trust.pem + SERVERS.trust.pem})
        else:
            mounts.publish_list()
        assert running.event("reload")["changed"][0] == change
        if session.exists():
            s_client(running, tmp_path, version, "-sess_in", "session.pem")
            again = last_connection(running)
            assert again["tls"]["resumed"] is False
            assert again["outcome"] == "echoed"
        # And where the change is against the client, its session does not help it.
        mounts.revoked.revoke(ALICE)
        mounts.publish_list()
        running.event("reload", 2)
        if session.exists():
            s_client(running, tmp_path, version, "-sess_in", "session.pem")
            report = last_connection(running)
            assert report["causes"] == ["revoked"]
            assert report["alert"]["name"] == "certificate_revoked"
