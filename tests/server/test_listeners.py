"""Addresses, and what can be wrong with them."""

from __future__ import annotations

import socket

import pytest

from mtls_echo_server.listeners import ListenError, listen
from mtls_echo_tls.address import parse_address
from tests.support.ports import server_port


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8443", ("127.0.0.1", 8443)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:8443", ("::1", 8443)),
        ("[::]:65535", ("::", 65535)),
    ],
)
def test_an_address_is_read_and_written_the_same_way(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text, listening=True) == address
    assert str(parse_address(text, listening=True)) == text


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "both must be given"),
        ("8443", "both must be given"),
        (":8443", "both must be given"),
        ("127.0.0.1", "both must be given"),
        ("[::1]", "both must be given"),
        ("::1", r"\[::1\]:PORT"),
        ("a:b", "must be a number"),
        ("a:65536", "from 0 to 65535"),
        ("a:-1", "must be a number"),
        ("[a:1", "in brackets"),
        ("a:1 ", "must be a number"),
        ("a..test:0", "1 to 63 characters"),
        ("https://a.test:8443", "a.test:8443"),
    ],
)
def test_an_address_that_leaves_something_open_is_refused_with_advice(
    text: str, advice: str
) -> None:
    with pytest.raises(ValueError, match=advice):
        listen([text])


def test_a_server_must_be_given_what_a_client_may_leave_out() -> None:
    assert parse_address("a.test") == ("a.test", 8443)
    with pytest.raises(ValueError, match="from 1 to 65535"):
        parse_address("a.test:0")
    assert parse_address("a.test:0", listening=True).port == 0


def test_a_name_is_listened_on_at_each_of_its_addresses_with_one_port() -> None:
    sockets = listen(["localhost:0"])
    ports = {sock.getsockname()[1] for sock in sockets}
    for sock in sockets:
        sock.close()
    assert len(ports) == 1


def test_a_port_in_use_is_reported_and_nothing_stays_open() -> None:
    [taken] = listen(["127.0.0.1:0"])
    port = taken.getsockname()[1]
    free = server_port()
    with taken:
        with pytest.raises(ListenError, match="the port is in use") as error:
            listen([f"127.0.0.1:{free}", f"127.0.0.1:{port}"])
        assert f"sport = :{port}" in error.value.hint
    listen([f"127.0.0.1:{free}"])[0].close()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("192.0.2.1:0", "no interface of this machine has that address"),
        ("no-such-host.invalid:0", "cannot listen on no-such-host.invalid:0"),
    ],
)
def test_an_address_that_is_not_ours_is_refused_with_the_reason(address: str, reason: str) -> None:
    with pytest.raises(ListenError, match=reason):
        listen([address])


def test_early_clients_wait_instead_of_failing() -> None:
    [sock] = listen(["127.0.0.1:0"])
    with sock, socket.create_connection(sock.getsockname()) as client:
        client.sendall(b"hello")
        accepted, _ = sock.accept()
        with accepted:
            assert accepted.recv(5) == b"hello"
