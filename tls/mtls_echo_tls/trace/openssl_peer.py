"""Recognise a peer that uses OpenSSL by its handshake messages (fingerprinting).

The same alert means different things from different programs: Go sends bad_certificate for
anything it cannot verify, Java certificate_unknown, while OpenSSL has a separate alert for nearly
every verdict (``ssl_x509err2alert``). No field names the TLS stack, but each has habits: which
extensions come in which order, which signature algorithms, which obsolete point formats. Measured
with OpenSSL 3.0 and 3.6 (and curl, node and Python on it), Go 1.19, Java 17 and GnuTLS 3.7:

==================  ===================================================  ==================
mark                OpenSSL since 1.1.1                                  Go, Java, GnuTLS
==================  ===================================================  ==================
signature           3.6 begins with ML-DSA 65, 87, 44; the three ECDSA,  another order
algorithms          Ed25519, Ed448, RSA-PSS for PSS keys, RSA-PSS for
                    RSA keys, then the rest
ec_point_formats    all three, 0 1 2, of which RFC 8422 forbids two;     0 alone
                    3.6: 0 alone
encrypt_then_mac    offered                                              GnuTLS only
order               fixed                                                another
==================  ===================================================  ==================

Only all marks together count. BoringSSL and LibreSSL, which share OpenSSL's origin and not its
alerts, lack the second and third, or ML-DSA; a program configured with other signature algorithms
is not recognised, nor is a future version that changes the marks. Then nothing is known, and an
alert keeps every meaning that any stack gives it. A peer that imitates the marks misleads only
the diagnosis of its own connection: the handshake protects them from others.
"""

from __future__ import annotations

from collections.abc import Sequence

from mtls_echo_tls.trace.cursor import Cursor, MalformedError, numbers
from mtls_echo_tls.trace.messages import Message, hello_extensions
from mtls_echo_tls.trace.recorder import Recorder

# Extensions (RFC 8446 §4.2, RFC 8422 §5.1.2, RFC 7366, RFC 7627).
_SIGNATURE_ALGORITHMS, _POINT_FORMATS, _ENCRYPT_THEN_MAC, _MASTER_SECRET = 13, 11, 22, 23

# Uncompressed and the two compressed forms, after the length; uncompressed alone.
_THREE_FORMATS, _ONE_FORMAT = bytes.fromhex("03 00 01 02"), bytes.fromhex("01 00")

# How OpenSSL's list begins; 3.2 has put three for Brainpool curves after Ed448.
_SIGNATURES = [0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x0809, 0x080A, 0x080B,
               0x0804, 0x0805, 0x0806]  # fmt: skip
_BRAINPOOL = frozenset({0x081A, 0x081B, 0x081C})
# What 3.6 puts before all of them.
_ML_DSA = [0x0905, 0x0906, 0x0904]

# All that 3.6 asks a TLS 1.2 client for, where its point formats are as anyone's.
_ALL_OF_TLS12 = [*_SIGNATURES, 0x0401, 0x0501, 0x0601, 0x0303, 0x0301, 0x0302, 0x0402, 0x0502,
                 0x0602]  # fmt: skip

# The order in which OpenSSL writes its extensions.
_IN_CLIENT_HELLO = (65281, 0, 1, 12, 11, 10, 35, 5, 13172, 16, 14, 22, 18, 23, 50, 49, 19, 20,
                    13, 43, 45, 51, 44, 27, 42, 47, 21, 41)  # fmt: skip
_IN_CERTIFICATE_REQUEST = (18, 50, 13, 47, 27)


def is_openssl(recorder: Recorder) -> bool:
    """Whether the peer can only be OpenSSL, by what it has sent in this handshake."""
    try:
        hello = recorder.find("received", "ClientHello")
        if hello is not None:
            return _is_openssl_client(hello)
        request = recorder.find("received", "CertificateRequest")
        answer = recorder.find("received", "ServerHello")
        if request is None or answer is None:
            return False
        tls13 = recorder.find("received", "EncryptedExtensions") is not None
        return _asks_as_openssl(request) if tls13 else _is_openssl_server(answer, request)
    except MalformedError:
        return False


def _is_openssl_client(hello: Message) -> bool:
    found = list(hello_extensions(hello.body))
    content = dict(found)
    signatures = content.get(_SIGNATURE_ALGORITHMS, b"")
    formats = {_ONE_FORMAT} if _has_ml_dsa(signatures) else {_THREE_FORMATS}
    if numbers(signatures, 2) == _ALL_OF_TLS12:
        formats.add(_ONE_FORMAT)  # of 3.6 too, where it offers TLS 1.2 alone
    return (
        content.get(_POINT_FORMATS) in formats
        and content.keys() >= {_ENCRYPT_THEN_MAC, _MASTER_SECRET}
        and _are_openssl_signatures(signatures)
        and _in_order([kind for kind, _ in found], _IN_CLIENT_HELLO)
    )


def _is_openssl_server(answer: Message, request: Message) -> bool:
    """TLS 1.2: the request has no extensions, but ServerHello has point formats as well."""
    body = Cursor(answer.body[4 + 2 + 32 :])
    body.vector(1)
    body.take(3)
    content = Cursor(request.body[4:])
    content.vector(1)
    formats, signatures = body.extensions().get(_POINT_FORMATS), content.take(content.left)
    if formats == _THREE_FORMATS:
        return _are_openssl_signatures(signatures)
    return formats == _ONE_FORMAT and numbers(signatures, 2) == _ALL_OF_TLS12


def _asks_as_openssl(request: Message) -> bool:
    """TLS 1.3: a CertificateRequest is all that tells one server from another."""
    body = Cursor(request.body[4:])
    body.vector(1)
    content = body.extensions()
    return _are_openssl_signatures(content.get(_SIGNATURE_ALGORITHMS, b"")) and (
        _in_order(list(content), _IN_CERTIFICATE_REQUEST)
    )


def _are_openssl_signatures(vector: bytes) -> bool:
    offered = [code for code in numbers(vector, 2) if code not in _BRAINPOOL]
    if _has_ml_dsa(vector):
        offered = offered[len(_ML_DSA) :]
    return offered[: len(_SIGNATURES)] == _SIGNATURES


def _has_ml_dsa(vector: bytes) -> bool:
    return numbers(vector, 2)[: len(_ML_DSA)] == _ML_DSA


def _in_order(kinds: Sequence[int], order: Sequence[int]) -> bool:
    """Whether these are some of those, each once, in that order."""
    rest = iter(order)
    return all(kind in rest for kind in kinds)
