"""What keys are good for: why no cipher suite was shared, why a certificate was left out.

OpenSSL's TLS 1.2 says NO_SHARED_CIPHER for four different reasons, because there a cipher suite
names the key exchange and the kind of certificate as well (RFC 5246 §A.5). The ClientHello and the
server's own settings tell them apart: no suite in common at all, or none for this kind of
certificate; or the signature algorithms, or the groups, leave none of those that are in common.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.der import UnreadableError
from mtls_echo_pki.certificates.loading import parsing
from mtls_echo_pki.certificates.reading import public_key
from mtls_echo_pki.certificates.request import PrivateKey
from mtls_echo_tls.path.certificates import USUAL_CURVES, odd_curve
from mtls_echo_tls.sides import Side, peer_of
from mtls_echo_tls.slugs import Slugs
from mtls_echo_tls.trace.decoding import decoded
from mtls_echo_tls.trace.messages import Message, hello_extensions

_SIGNATURE_ALGORITHMS = 13

# Strong even to a verifier that demands 128 bits (OpenSSL's security level 3).
_STRONG_RSA_BITS = 3072
_STRONG_EC_BITS = 256

# How the names of the signature schemes begin that a kind of key makes, and how many are shown.
_KINDS = {
    "RSA": rsa.RSAPublicKey,
    "EC": ec.EllipticCurvePublicKey,
    "Ed25519": ed25519.Ed25519PublicKey,
}
_SCHEMES = {"RSA": ("rsa_pkcs1", "rsa_pss_rsae"), "EC": ("ecdsa_",), "Ed25519": ("ed25519",)}
_MOST_SCHEMES = 8

# In TLS 1.3 the scheme names the curve, and the older padding is not for handshakes.
_SCHEMES_OF_CURVES = {
    "secp256r1": "ecdsa_secp256r1_sha256",
    "secp384r1": "ecdsa_secp384r1_sha384",
    "secp521r1": "ecdsa_secp521r1_sha512",
}
_RSA_IN_TLS13 = "rsa_pss_rsae"

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


def why_unfit(
    certificate: x509.Certificate, wanted: Message | None, side: Side, *, only_tls13: bool
) -> str:
    """Why our certificate was left out of a handshake, as far as that can be known."""
    curve, peer = odd_curve(certificate), peer_of(side)
    if curve and only_tls13:
        return f"its key is on the curve {curve}, for which RFC 8446 has no signature scheme"
    if curve:
        return f"its key is on the curve {curve}, which the {peer} does not offer"
    fields = decoded([wanted])[0].fields if wanted is not None else {}
    offered: list[str] = fields.get("signature_algorithms", [])
    kind = _kind_of(certificate)
    if kind is None or not offered or fits(certificate, offered, only_tls13=only_tls13):
        return "OpenSSL left it out, for a reason that it does not give"
    shown = ", ".join(offered[:_MOST_SCHEMES])
    return f"its {kind} key makes none of the signatures that the {peer} accepts ({shown})"


def fits(certificate: x509.Certificate, offered: Sequence[str], *, only_tls13: bool) -> bool:
    """Whether its key makes a signature by one of these schemes; also if that is not known."""
    kind = _kind_of(certificate)
    if kind is None:
        return odd_curve(certificate) is None or not only_tls13
    schemes = _SCHEMES[kind]
    if only_tls13 and kind == "RSA":
        schemes = (_RSA_IN_TLS13,)
    if only_tls13 and kind == "EC":
        key = public_key(certificate)
        assert isinstance(key, ec.EllipticCurvePublicKey)  # noqa: S101  narrows: so is its kind
        curve = _SCHEMES_OF_CURVES.get(key.curve.name)
        schemes = (curve,) if curve else ()
    return any(each.startswith(schemes) for each in offered)


def takes_usual_keys(offered: Sequence[str]) -> bool:
    """Whether these schemes are for every kind of key that clients commonly have."""
    usual = (_RSA_IN_TLS13, *_SCHEMES_OF_CURVES.values(), *_SCHEMES["Ed25519"])
    return all(any(each.startswith(scheme) for each in offered) for scheme in usual)


def _kind_of(certificate: x509.Certificate) -> str | None:
    return next((kind for kind, keys in _KINDS.items() if _has_key(certificate, keys)), None)


def is_strong(certificate: x509.Certificate) -> bool:
    """Whether its key is long enough for any verifier."""
    try:
        key = public_key(certificate)
    except UnreadableError:
        return False
    if isinstance(key, rsa.RSAPublicKey | dsa.DSAPublicKey):
        return key.key_size >= _STRONG_RSA_BITS
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.key_size >= _STRONG_EC_BITS
    return True


def _has_key(certificate: x509.Certificate, kind: type) -> bool:
    try:
        return isinstance(public_key(certificate), kind)
    except UnreadableError:
        return False


def owns_its_key(credential: Credential) -> bool:
    """Whether the key that was loaded is the certificate's: what OpenSSL was given counts."""
    try:
        with parsing():
            key = load_pem_private_key(credential.key_pem, None)
        return key.public_key() == public_key(credential.certificate)
    except UnreadableError:
        return False
