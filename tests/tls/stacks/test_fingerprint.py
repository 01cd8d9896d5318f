"""The peer's stack, recognised by what it sends; in doubt, not recognised."""

from __future__ import annotations

import pytest

from mtls_echo_tls.stacks.fingerprint import display, recognise
from mtls_echo_tls.trace.messages import HANDSHAKE, Message
from mtls_echo_tls.trace.recorder import Recorder

GO = "0804 0403 0807 0805 0806 0401 0501 0601 0503 0603 0201 0203"
JAVA = "0403 0503 0603 0807 0808 0804 0805 0806 0809 080a 080b 0401"
GNUTLS = "0401 0809 0804 0403 0807 0501 080a 0805 0503 0808"
NSS = "0403 0503 0603 0203 0804 0805 0806 0401 0501 0601 0201"
BORINGSSL = "0403 0804 0401 0503 0805 0501 0806 0601 0201"
RUSTLS = "0503 0403 0807 0806 0805 0804 0601 0501 0401"
AWS_LC = "0503 0403 0603 0807 0806 0805 0804 0601 0501 0401 0904 0905 0906"
MBEDTLS = "0603 0601 0503 0501 0403 0401 0303 0301"
S2N = "0809 080a 080b 0804 0805 0806 0401 0501 0601 0301"

BOTH_GO = {"Go up to 1.20", "Go since 1.21"}


def vector(width: int, content: bytes) -> bytes:
    return len(content).to_bytes(width) + content


def extension(kind: int, content: bytes = b"") -> bytes:
    return kind.to_bytes(2) + vector(2, content)


def signatures(codes: str) -> bytes:
    return extension(13, vector(2, bytes.fromhex(codes)))


def message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + vector(3, body)


def hello(codes: str, *others: int) -> bytes:
    extensions = signatures(codes) + b"".join(extension(kind) for kind in others)
    start = b"\3\3" + bytes(32) + vector(1, b"") + vector(2, b"\x13\x01") + vector(1, b"\0")
    return message(1, start + vector(2, extensions))


def answer(*kinds: int) -> bytes:
    """A ServerHello."""
    extensions = b"".join(extension(kind) for kind in kinds)
    return message(2, b"\3\3" + bytes(32) + vector(1, b"") + b"\x13\x01\0" + vector(2, extensions))


def request13(*extensions: bytes) -> list[bytes]:
    """What a TLS 1.3 server sends that asks for a certificate."""
    body = vector(1, b"") + vector(2, b"".join(extensions))
    return [answer(43, 51), message(8, vector(2, b"")), message(13, body)]


def request12(codes: str, *answered: int) -> list[bytes]:
    body = vector(1, b"\1\x40") + vector(2, bytes.fromhex(codes)) + vector(2, b"")
    return [answer(*answered), message(13, body)]


def recorded(*bodies: bytes) -> Recorder:
    recorder = Recorder()
    for body in bodies:
        recorder.messages.append(Message(0.0, "received", HANDSHAKE, body, protected=False))
    return recorder


@pytest.mark.parametrize(
    ("sent", "stacks"),
    [
        pytest.param(hello(GO), BOTH_GO, id="Go"),
        pytest.param(hello("0904 0905 0906 " + GO), BOTH_GO, id="Go 1.27"),
        pytest.param(hello(JAVA, 17, 50), {"Java"}, id="Java"),
        pytest.param(hello(GNUTLS), {"GnuTLS"}, id="GnuTLS"),
        pytest.param(hello(NSS), {"NSS"}, id="NSS"),
        pytest.param(hello(BORINGSSL), {"BoringSSL"}, id="BoringSSL"),
        pytest.param(hello(RUSTLS), {"rustls"}, id="rustls"),
        pytest.param(hello(AWS_LC), {"rustls"}, id="rustls with aws-lc-rs"),
        pytest.param(hello(MBEDTLS), {"mbedTLS"}, id="mbedTLS"),
        pytest.param(hello(S2N), {"s2n"}, id="s2n"),
    ],
)
def test_a_client_is_known_by_its_signature_algorithms(sent: bytes, stacks: set[str]) -> None:
    assert recognise(recorded(sent)) == stacks


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(hello(JAVA), id="Java's list without its other mark"),
        pytest.param(hello("0804 0403"), id="the beginning of a beginning"),
        pytest.param(hello("0401 " + GO), id="a list with one more before it"),
        pytest.param(hello(""), id="no algorithm"),
        pytest.param(hello(GO)[:60], id="cut off"),
        pytest.param(message(1, b""), id="empty"),
    ],
)
def test_in_doubt_a_client_is_not_known(sent: bytes) -> None:
    assert recognise(recorded(sent)) == set()


@pytest.mark.parametrize(
    ("sent", "stacks"),
    [
        pytest.param(request13(extension(5), extension(18), signatures(GO)), BOTH_GO, id="Go"),
        pytest.param(request13(signatures(JAVA), extension(50)), {"Java"}, id="Java"),
        pytest.param(request13(signatures(GNUTLS), extension(5)), {"GnuTLS"}, id="GnuTLS"),
        pytest.param(request13(signatures(NSS)), {"NSS"}, id="NSS"),
        pytest.param(request13(signatures(BORINGSSL)), {"BoringSSL"}, id="BoringSSL"),
        pytest.param(request13(signatures(RUSTLS)), {"rustls"}, id="rustls"),
        pytest.param(request12(GO, 35, 65281, 11), {"Go up to 1.20"}, id="Go 1.19, TLS 1.2"),
        pytest.param(request12(GO, 35, 65281, 23), {"Go since 1.21"}, id="Go 1.21, TLS 1.2"),
        pytest.param(request12(GNUTLS, 11, 23), {"GnuTLS"}, id="GnuTLS, TLS 1.2"),
        pytest.param(request13(signatures(GO)), set(), id="Go's list without its other mark"),
        pytest.param(request13(signatures(JAVA)), set(), id="Java's list without its other"),
        pytest.param(request13(signatures(GNUTLS)), set(), id="GnuTLS' list without its other"),
        pytest.param(request13(), set(), id="nothing in it"),
        pytest.param(request12(GO)[1:], set(), id="no ServerHello"),
        pytest.param([answer(43, 51)], set(), id="no request"),
        pytest.param([answer(), message(13, b"\5")], set(), id="malformed"),
    ],
)
def test_a_server_is_known_by_what_it_asks_for(sent: list[bytes], stacks: set[str]) -> None:
    assert recognise(recorded(*sent)) == stacks


def test_releases_of_one_stack_have_one_name() -> None:
    assert display(BOTH_GO) == "Go"
    assert display({"Go up to 1.20"}) == "Go up to 1.20"
    assert display({"Java"}) == "Java"
    assert display(set()) == ""
