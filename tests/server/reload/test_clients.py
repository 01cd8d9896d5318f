"""Which clients a server admits after its files have changed."""

from __future__ import annotations

import contextlib
import signal
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mtls_echo_pki.certificates.request import Request
from tests.interop.foreign_peers import need
from tests.server.reload.mounts import (
    ALICE,
    CLIENTS,
    QUICK,
    REVOKED,
    SERVERS,
    Mounts,
    client_of,
    issued,
    refused,
    served,
)
from tests.server.reload.mounts import mounts as mounts
from tests.support.mounts import mount, secret
from tests.support.servers import SERVE, VERSIONS, ServeProcess
from tests.support.timing import CLOCKED, TIMEOUT

versions = pytest.mark.parametrize(
    "version", [version for _, version in VERSIONS], ids=[name for name, _ in VERSIONS]
)

BOB = CLIENTS.issue(Request.client("bob.test"))


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
