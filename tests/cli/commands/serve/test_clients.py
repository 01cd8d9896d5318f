"""Which clients `mtls-echo serve` admits and refuses, and how many it bears."""

from __future__ import annotations

import os
import socket
import ssl

import pytest

from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_tls.denial import denial_in
from tests.cli.commands.serve.clients import assert_echoes, client_of, versions
from tests.cli.commands.serve.clients import directory as directory
from tests.support.servers import Authorities, ServeProcess, read_to_end
from tests.support.timing import TIMEOUT

# --- authorisation -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "welcome"),
    [
        (("--allow-cn", "alice"), True),
        (("--allow-cn", "bob"), False),
        (("--allow-dns", "*.a.test"), True),
        (("--allow-dns", "*.b.test"), False),
        (("--allow-uri", "spiffe://a.test/ns/*/sa/web"), True),
        (("--allow-uri", "spiffe://a.test/*"), False),
        (("--allow-email", "alice@a.test"), True),
        (("--allow-email", "bob@a.test"), False),
        (("--allow-fingerprint", "FINGERPRINT"), True),
        (("--allow-fingerprint", "sha256:" + "00" * 32), False),
        (("--allow-cn", "bob", "--allow-email", "alice@a.test"), True),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else None,
)
def test_the_allow_options_decide_which_clients_are_served(
    directory: Directory, rule: tuple[str, ...], welcome: bool
) -> None:
    names = ("web.a.test", "alice@a.test", "spiffe://a.test/ns/prod/sa/web")
    alice = directory.issue("alice", Request.client(*names, subject="alice"))
    options = [alice.fingerprint if word == "FINGERPRINT" else word for word in rule]
    with (
        ServeProcess(*options, pki=directory.path) as running,
        running.connect(client_of(directory, "alice")) as tls,
    ):
        tls.settimeout(TIMEOUT)
        if welcome:
            tls.sendall(b"hello")
            assert tls.recv(5) == b"hello"
        else:
            assert denial_in(read_to_end(tls)) is not None
            assert running.event("connection")["outcome"] == "denied"


# --- refusals that arrive ------------------------------------------------------------------------


@versions
@pytest.mark.parametrize("who", ["unauthenticated", "untrusted"])
def test_the_alert_reaches_a_plain_client_with_5_mb_in_flight(
    directory: Directory, version: ssl.TLSVersion, who: str
) -> None:
    context = client_of(directory, None, version)
    if who == "untrusted":
        Authorities().untrusted.load_into(context)
    missing = "CERTIFICATE_REQUIRED" if version > 771 else "HANDSHAKE_FAILURE"
    with ServeProcess(pki=directory.path) as running:
        for _ in range(5):
            with pytest.raises(ssl.SSLError) as refusal:
                _talk_until_refused(running, context)
            assert str(refusal.value.reason).endswith(
                missing if who == "unauthenticated" else "UNKNOWN_CA"
            )


def _talk_until_refused(running: ServeProcess, context: ssl.SSLContext) -> None:
    with running.connect(context) as tls:  # TLS 1.2 clients come no further
        # All of it, although the server has refused us by now and will read none of it as data.
        tls.sendall(b"x" * 5_000_000)
        tls.recv(1)


def test_plaintext_curl_gets_an_http_answer_that_asks_for_tls(directory: Directory) -> None:
    with ServeProcess(pki=directory.path) as running:
        with running.tcp() as tcp:
            tcp.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = read_to_end(tcp)
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert running.event("connection")["causes"] == ["plaintext-client"]
        assert_echoes(running, client_of(directory))


def test_a_mebibyte_of_garbage_is_one_event(directory: Directory) -> None:
    with ServeProcess(pki=directory.path) as running:
        with running.tcp() as tcp:
            tcp.sendall(os.urandom(1024) * 1024)
            tcp.shutdown(socket.SHUT_WR)
            read_to_end(tcp)
        assert_echoes(running, client_of(directory))
        running.stop()
    outcomes = [event["outcome"] for event in running.events if event["event"] == "connection"]
    assert len(outcomes) == 2


# --- limits --------------------------------------------------------------------------------------


def test_it_survives_having_no_descriptor_left(directory: Directory) -> None:
    with ServeProcess("--max-connections", "500", pki=directory.path, descriptors=40) as running:
        assert "descriptors" in running.event("warning")["message"]
        crowd = [running.tcp() for _ in range(60)]
        assert "too many open files" in running.event("accept-error")["message"]
        for tcp in crowd:
            tcp.close()
        assert_echoes(running, client_of(directory))
        assert running.stop() == 0


def test_the_timeouts_are_those_of_the_options(directory: Directory) -> None:
    limits = ("--handshake-timeout", "0.1", "--idle-timeout", "3600")
    with ServeProcess(*limits, pki=directory.path) as running:
        with running.tcp() as silent:
            assert read_to_end(silent) == b""
        assert running.event("connection")["causes"] == ["timeout"]
    limits = ("--handshake-timeout", "3600", "--idle-timeout", "0.1")
    with ServeProcess(*limits, pki=directory.path) as running:
        with running.connect(client_of(directory)) as idle:
            assert idle.recv(1) == b""
        assert running.event("connection")["ended"] == "idle"
