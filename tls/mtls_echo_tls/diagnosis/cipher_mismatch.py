"""Why no cipher suite was shared: what a ClientHello offers, against what the server has.

OpenSSL's TLS 1.2 says NO_SHARED_CIPHER for four different reasons, because there a cipher suite
names the key exchange and the kind of certificate as well (RFC 5246 §A.5). The ClientHello and the
server's own settings tell them apart: no suite in common at all, or none for this kind of
certificate; or the signature algorithms, or the groups, leave none of those that are in common.
"""

from __future__ import annotations

import ssl

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from mtls_echo_pki.certificates.request import PrivateKey
from mtls_echo_tls.path.certificates import USUAL_CURVES
from mtls_echo_tls.slugs import Slugs
from mtls_echo_tls.trace.messages import Message, hello_extensions

_SIGNATURE_ALGORITHMS = 13

# SignatureAlgorithm, the low byte of a TLS 1.2 pair (RFC 5246 §7.4.1.4.1), and the code points of
# RFC 8446 §4.2.3 that TLS 1.2 may use too.
_RSA, _ECDSA = 1, 3
_RSA_PSS = frozenset({0x0804, 0x0805, 0x0806})
_ED25519 = 0x0807


def why_no_shared_cipher(hello: Message, context: ssl.SSLContext, key: PrivateKey) -> Slugs:
    """The cause of NO_SHARED_CIPHER, on a server with this context and this certificate's key."""
    is_rsa = isinstance(key, rsa.RSAPrivateKey)
    fitting = {"auth-any", "auth-rsa" if is_rsa else "auth-ecdsa"}
    ours = {
        int(cipher["id"]) & 0xFFFF
        for cipher in context.get_ciphers()
        if cipher["auth"] in fitting and cipher["protocol"] != "TLSv1.3"
    }
    if not ours & _suites(hello):
        return ("no-common-cipher",)
    offered = _signature_algorithms(hello)
    if offered and not any(_signs(key, algorithm) for algorithm in offered):
        return ("no-common-signature-algorithm",)
    # The certificate's curve is one of the groups in TLS 1.2; an odd one is the key's fault.
    is_odd = isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name not in USUAL_CURVES
    return ("no-common-signature-algorithm",) if is_odd else ("no-common-group",)


def _signs(key: PrivateKey, algorithm: int) -> bool:
    if isinstance(key, rsa.RSAPrivateKey):
        return algorithm & 0xFF == _RSA or algorithm in _RSA_PSS
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return algorithm == _ED25519
    return algorithm & 0xFF == _ECDSA


def _suites(hello: Message) -> set[int]:
    # Header, legacy_version and random, then legacy_session_id before the suites.
    at = 4 + 2 + 32
    at += 1 + int.from_bytes(hello.body[at : at + 1])
    return _numbers(hello.body[at:])


def _signature_algorithms(hello: Message) -> set[int]:
    return _numbers(dict(hello_extensions(hello.body)).get(_SIGNATURE_ALGORITHMS, b""))


def _numbers(vector: bytes) -> set[int]:
    """The 16-bit code points of a vector whose length takes two bytes."""
    content = vector[2 : 2 + int.from_bytes(vector[:2])]
    return {int.from_bytes(content[at : at + 2]) for at in range(0, len(content) - 1, 2)}
