"""Chapter 2, a certificate looked at: a key pair, what a CA signs, and what one letter changes."""

from __future__ import annotations

import datetime
from typing import cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo.demo.blocks import Bullets, Cell, Prose, Section, Status, Table, bad, good, unmet
from mtls_echo.demo.credentials import HOST, DemoCredentials
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.reading import is_authority, period, usage
from mtls_echo_pki.lifetimes import validity
from mtls_echo_tls.path.summaries import names_of

_MESSAGE, _ALTERED = "transfer 20", "transfer 90"

# As long as the name that it replaces, so that nothing else of the certificate changes.
_OTHER_HOST = "localhose"


async def play(_: Status) -> list[Section]:
    """Sign, verify and alter; read a certificate field by field, and alter that."""
    made = DemoCredentials.make()
    return [_keys(made.server), _fields(made.server), _verified(made)]


def _keys(server: Credential) -> Section:
    key = cast(
        "ec.EllipticCurvePrivateKey", server.key
    )  # as each key here is, unless another is asked for
    signature = key.sign(_MESSAGE.encode(), ec.ECDSA(hashes.SHA256()))
    public = key.public_key()

    def verifies(text: str, by: ec.EllipticCurvePublicKey) -> bool:
        try:
            by.verify(signature, text.encode(), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    other = ec.generate_private_key(key.curve).public_key()
    tried = (
        (_MESSAGE, "the server's", verifies(_MESSAGE, public)),
        (_ALTERED, "the server's", verifies(_ALTERED, public)),
        (_MESSAGE, "another", verifies(_MESSAGE, other)),
    )
    return Section(
        "a private key, a public key, a signature",
        (
            Prose(
                "The server has a pair of keys. The private one never leaves it; the public one"
                " may be known to all. With the private key the server signs; with the public key"
                " anyone can verify that it was this key that signed, and exactly these bytes:"
            ),
            Table(
                ("text", "public key", "the signature"),
                tuple((text, by, _verdict(holds)) for text, by, holds in tried),
            ),
            Prose(
                "It is often said that whatever is encrypted with one key of a pair is decrypted"
                " with the other. That is a picture of RSA, and not how signatures work: an ECDSA"
                " key such as this one cannot encrypt at all. In TLS 1.3 the private key of a"
                " certificate does one thing only: it signs."
            ),
        ),
        unmet(
            {"only the right text and key verify": [t[2] for t in tried] == [True, False, False]}
        ),
    )


def _verdict(holds: bool) -> Cell:
    return good("verifies") if holds else bad("does not verify")


def _fields(server: Credential) -> Section:
    certificate = server.certificate
    key = cast("ec.EllipticCurvePublicKey", certificate.public_key())
    issuer = certificate.issuer.rfc4514_string()
    until = validity(*period(certificate), datetime.datetime.now(datetime.UTC))
    return Section(
        "a certificate",
        (
            Prose(
                "How does a client come by the right public key? In a certificate a CA"
                " (certification authority) states, and signs, whose key it is. This is the"
                " server's, as `mtls-echo pki show` and `openssl x509 -text` print it as well:"
            ),
            Table(
                ("field", "here", "says"),
                (
                    ("names (SAN)", "\n".join(names_of(certificate)), "whom it is for"),
                    ("public key", f"EC {key.curve.name}", "the key that the names get"),
                    ("issuer", issuer, "the CA that states this"),
                    ("validity", until, "from when to when"),
                    ("usage", ", ".join(usage(certificate)), "to prove a server, or a client"),
                    ("CA", "yes" if is_authority(certificate) else "no", "whether it may issue"),
                    ("signature", "ecdsa with sha256", "by the issuer's key, over all this"),
                ),
            ),
            Prose(
                "Nothing in it is secret: it is sent to everyone who connects. The private key is"
                " not in it."
            ),
        ),
    )


def _verified(made: DemoCredentials) -> Section:
    anchor = made.server_trust.anchors[0]
    der = made.server.certificate.public_bytes(Encoding.DER)
    altered = x509.load_der_x509_certificate(der.replace(HOST.encode(), _OTHER_HOST.encode()))

    def verifies(certificate: x509.Certificate) -> bool:
        try:
            certificate.verify_directly_issued_by(anchor)
        except InvalidSignature:
            return False
        return True

    results = [verifies(made.server.certificate), verifies(altered)]
    return Section(
        "what a client verifies",
        (
            Prose(
                "The client has the CA's own certificate, as a trust anchor: installed beforehand,"
                " like those of the public CAs in an operating system. With the public key in it,"
                " it verifies the CA's signature. One other letter in the name, and:"
            ),
            Table(
                ("names", "the CA's signature"),
                tuple(
                    (", ".join(names_of(each)), _verdict(holds))
                    for each, holds in zip(
                        (made.server.certificate, altered), results, strict=True
                    )
                ),
            ),
            Prose("For the server to be accepted, all of this must hold (RFC 5280 §6, RFC 9525):"),
            Bullets(
                (
                    "a path of signatures leads from the certificate to a trust anchor;",
                    "each certificate of the path is valid today, and not revoked;",
                    "each issuer on the path is a CA, and the usage fits;",
                    "one of the names is the name that the client asked for.",
                )
            ),
            Prose(
                "A copy of the certificate passes all of it. What is missing is a proof that the"
                " server has the private key. That is a part of the handshake."
            ),
        ),
        unmet({"only the unaltered certificate verifies": results == [True, False]}),
    )
