"""Recognise the peer's TLS stack by its handshake messages (fingerprinting).

No field of a handshake names the program, but each stack has habits, of which the list of
signature algorithms is the most telling: it has the order in which somebody wrote it down, it is
in every ClientHello and in every CertificateRequest, and programs seldom change it. The first few
entries tell the stacks apart that have been looked at; where a second mark is known, it has to be
there too. OpenSSL has more marks, and a module of its own (`mtls_echo_tls.trace.openssl_peer`).

In doubt there is no answer. A program with another list, a stack that was never looked at, an
imitation of a browser (uTLS, curl-impersonate) and a proxy in front of the peer are not seen
through; what is inferred must stay harmless then. And a hello does not promise an alert: curl
since 8.17, node, asyncio and trio share OpenSSL's and close without one.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import NamedTuple

from mtls_echo_tls.trace.cursor import Cursor, MalformedError, numbers
from mtls_echo_tls.trace.messages import Message, hello_extensions
from mtls_echo_tls.trace.openssl_peer import is_openssl
from mtls_echo_tls.trace.recorder import Recorder

# Extensions (RFC 8446 §4.2, RFC 7627).
_STATUS_REQUEST, _SIGNATURE_ALGORITHMS, _SCT, _MASTER_SECRET = 5, 13, 18, 23
_SIGNATURE_ALGORITHMS_CERT = 50

# The two that are Go, and what they are called when a message does not tell which.
_GO_OLD, _GO_NEW = "Go up to 1.20", "Go since 1.21"

# ML-DSA, which Go 1.27 and rustls put before or behind the list that they had.
_POST_QUANTUM = frozenset({0x0904, 0x0905, 0x0906})

# How the list of signature algorithms begins, measured unless it says otherwise.
_BEGINNINGS: tuple[tuple[str, str], ...] = (
    ("Go", "0804 0403 0807 0805 0806 0401"),  # 1.19.8; to 1.27.3 from its source
    ("Java", "0403 0503 0603 0807 0808 0804 0805 0806"),  # 17.0.15, 25.0.3
    ("GnuTLS", "0401 0809 0804 0403 0807"),  # 3.7.9, priority NORMAL
    ("NSS", "0403 0503 0603 0203 0804 0805 0806 0401"),  # 3.87.1; Firefox alike, from its source
    ("BoringSSL", "0403 0804 0401 0503 0805 0501 0806 0601"),  # libcurl 8.23
    ("rustls", "0503 0403 0603 0807 0806 0805 0804"),  # aws-lc-rs: uv 0.13.9
    ("rustls", "0503 0403 0807 0806 0805 0804"),  # ring: granian 2.8.9
    ("mbedTLS", "0603 0601 0503 0501 0403 0401"),  # 2.28.8
    ("s2n", "0809 080a 080b 0804 0805 0806 0401"),  # awscrt 0.38.1
    ("LibreSSL", "0806 080b 0601 0603 0805 080a"),  # ssl_sigalgs.c (1cf0a1493f), not measured
)


class _Asked(NamedTuple):
    """What a ClientHello or a CertificateRequest asks for."""

    signatures: tuple[int, ...]
    extensions: tuple[int, ...]


def recognise(recorder: Recorder) -> frozenset[str]:
    """The stacks that the peer can be by what it has sent, as `stacks.alerts` calls them.

    Several only where they are releases of one; none when it is not known.
    """
    if is_openssl(recorder):
        return frozenset({"OpenSSL"})
    try:
        hello = recorder.find("received", "ClientHello")
        if hello is not None:
            return _known(_asked_in_hello(hello), of_client=True)
        request = recorder.find("received", "CertificateRequest")
        answer = recorder.find("received", "ServerHello")
        if request is None or answer is None:
            return frozenset()
        tls13 = recorder.find("received", "EncryptedExtensions") is not None
        found = _known(_asked_in_request(request, tls13), of_client=False, tls13=tls13)
        if _GO_OLD in found and not tls13:
            # It answers extended_master_secret, which every OpenSSL client offers, since 1.21.
            return frozenset({_GO_NEW if _MASTER_SECRET in _answered(answer) else _GO_OLD})
    except MalformedError:
        return frozenset()
    return found


def display(stacks: Set[str]) -> str:
    """What a reader calls these stacks."""
    if stacks == {_GO_OLD, _GO_NEW}:
        return "Go"
    return " or ".join(sorted(stacks))


def _known(asked: _Asked, *, of_client: bool, tls13: bool = True) -> frozenset[str]:
    found = set(_begin_alike(asked.signatures))
    extensions = asked.extensions
    if of_client:
        # JSSE alone sends it unasked.
        if _SIGNATURE_ALGORITHMS_CERT not in extensions:
            found.discard("Java")
    elif tls13:
        if extensions[:2] != (_STATUS_REQUEST, _SCT):
            found.discard("Go")
        if _SIGNATURE_ALGORITHMS_CERT not in extensions:
            found.discard("Java")
        if extensions[-1:] != (_STATUS_REQUEST,):
            found.discard("GnuTLS")
    if found == {"Go"}:
        return frozenset({_GO_OLD, _GO_NEW})
    return frozenset(found) if len(found) == 1 else frozenset()


def _begin_alike(signatures: tuple[int, ...]) -> Iterator[str]:
    classic = tuple(code for code in signatures if code not in _POST_QUANTUM)
    for stack, text in _BEGINNINGS:
        beginning = tuple(int(code, 16) for code in text.split())
        if classic[: len(beginning)] == beginning:
            yield stack


def _asked_in_hello(hello: Message) -> _Asked:
    found = dict(hello_extensions(hello.body))
    return _Asked(tuple(numbers(found.get(_SIGNATURE_ALGORITHMS, b"\0\0"), 2)), tuple(found))


def _asked_in_request(request: Message, tls13: bool) -> _Asked:
    body = Cursor(request.body[4:])
    body.vector(1)  # a context in TLS 1.3, kinds of certificate in TLS 1.2
    if not tls13:
        return _Asked(tuple(numbers(body.vector(2))), ())
    found = body.extensions()
    return _Asked(tuple(numbers(found.get(_SIGNATURE_ALGORITHMS, b"\0\0"), 2)), tuple(found))


def _answered(answer: Message) -> dict[int, bytes]:
    """The extensions of a ServerHello: behind version, random, session, suite, compression."""
    body = Cursor(answer.body[4 + 2 + 32 :])
    body.vector(1)
    body.take(3)
    return body.extensions()
