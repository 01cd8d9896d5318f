"""A server process whose files change, and SIGHUP: what it serves, and what it says."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.files.atomic_writer import publish
from tests.server.reload.mounts import (
    ALICE,
    CLIENTS,
    QUICK,
    REVOKED,
    Mounts,
    client_of,
    issued,
    refused,
    served,
    shown_by,
)
from tests.server.reload.mounts import mounts as mounts
from tests.support.mounts import by_rename, in_place, mount, secret
from tests.support.servers import SERVE, ServeProcess, run_command
from tests.support.timing import TIMEOUT

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


def test_without_client_authentication_the_authorities_of_clients_do_not_matter(
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
