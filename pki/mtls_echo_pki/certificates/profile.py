"""The certificate profile: from a request and an issuer to everything a certificate says.

One function, and one table from usage to extensions. The profile is the intersection of what
today's verifiers insist on; OpenSSL with ``X509_V_FLAG_X509_STRICT`` (Python's default from 3.13),
the WebPKI profile of ``cryptography.x509.verification``, Go and Java all accept it:

====================== ============ ============= ==========================
extension              root         intermediate  end-entity
====================== ============ ============= ==========================
basicConstraints (c)   CA           CA, pathlen 0 not a CA
keyUsage (c)           keyCertSign, keyCertSign,  digitalSignature,
                       cRLSign      cRLSign       keyEncipherment for RSA
extendedKeyUsage       no           no            serverAuth *or* clientAuth
subjectAltName         no           no            yes, (c) iff no subject
subjectKeyIdentifier   yes          yes           yes
authorityKeyIdentifier no           yes           yes
====================== ============ ============= ==========================

(c) is critical. Each entry has a reason: a critical extendedKeyUsage is refused by
``cryptography``; so is a critical subjectAltName beside a subject, while RFC 5280
§4.2.1.6 demands it critical when there is none; STRICT refuses an end-entity without
authorityKeyIdentifier (verify code 85); keyEncipherment is for RSA key transport in
TLS 1.2 and means nothing on a key that can only sign.
"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mtls_echo_pki.certificates.request import Request, Usage
from mtls_echo_pki.certificates.tbs import PublicKey, TBSCertificate, authority_key_identifier

_EXTENDED_KEY_USAGE = {
    Usage.SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
    Usage.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
}

_KEY_USAGE_BITS = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def certificate_for(
    request: Request, public_key: PublicKey, now: datetime, *, issuer: x509.Certificate | None
) -> TBSCertificate:
    """Return everything a certificate says; ``issuer`` is None for a root."""
    subject = _name(request.subject)
    return TBSCertificate(
        # 159 random bits: positive and at most 20 octets (RFC 5280 §4.1.2.2).
        serial_number=x509.random_serial_number(),
        issuer=subject if issuer is None else issuer.subject,
        not_before=now - request.backdate,
        not_after=now + request.lifetime,
        subject=subject,
        public_key=public_key,
        extensions=tuple(
            x509.Extension(value.oid, critical, value)
            for value, critical in _extensions(request, public_key, issuer)
        ),
    )


def _extensions(
    request: Request, public_key: PublicKey, issuer: x509.Certificate | None
) -> list[tuple[x509.ExtensionType, bool]]:
    """The profile: each extension and whether it is critical."""
    is_authority = request.usage is Usage.AUTHORITY
    path_length = 0 if is_authority and issuer is not None else None
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=is_authority, path_length=path_length), True),
        (_key_usage(is_authority, public_key), True),
        (x509.SubjectKeyIdentifier.from_public_key(public_key), False),
    ]
    if issuer is not None:
        extensions.append((authority_key_identifier(issuer), False))
    if not is_authority:
        extensions += [
            (x509.ExtendedKeyUsage([_EXTENDED_KEY_USAGE[request.usage]]), False),
            (request.subject_alternative_names(), not request.subject),
        ]
    return extensions


def _key_usage(is_authority: bool, public_key: PublicKey) -> x509.KeyUsage:
    if is_authority:
        return key_usage("key_cert_sign", "crl_sign")
    if isinstance(public_key, rsa.RSAPublicKey):
        return key_usage("digital_signature", "key_encipherment")
    return key_usage("digital_signature")


def key_usage(*bits: str) -> x509.KeyUsage:
    """Return the extension with these bits set (RFC 5280 §4.2.1.3), and no other."""
    return x509.KeyUsage(**{bit: bit in bits for bit in _KEY_USAGE_BITS})


def _name(common_name: str) -> x509.Name:
    if not common_name:
        return x509.Name([])
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
