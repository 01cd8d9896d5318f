"""Flaws of the certificate itself, the end-entity's, in what it says about itself.

Its dates, its permitted uses, its issuer, its size. What lies above the certificate is in
:mod:`mtls_echo_pki.flaws.path`, its names in :mod:`mtls_echo_pki.flaws.names`, its key and
signature in :mod:`mtls_echo_pki.flaws.keys`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Usage
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_pki.flaws.baseline import (
    Exhibit,
    Sound,
    issued_by,
    with_extension,
    without_extension,
)
from mtls_echo_pki.flaws.flaw import Unless, flaw

DAY = timedelta(days=1)

# Enterprise number 32473 is IANA's for examples (RFC 5612): nobody else gives it a meaning.
EXAMPLE_OID = x509.ObjectIdentifier("1.3.6.1.4.1.32473.1")

# OpenSSL reads certificate messages up to 100 KiB (SSL_MAX_CERT_LIST_DEFAULT).
_TOO_MUCH = 110 * 1024

_USAGE = {
    Usage.SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
    Usage.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
}


def ended(tbs: TBSCertificate, sound: Sound) -> TBSCertificate:
    """Return ``tbs`` with its validity moved back as a whole: it ended a day ago."""
    lasted = tbs.not_after - tbs.not_before
    end = sound.issuer.clock() - DAY
    return replace(tbs, not_before=end - lasted, not_after=end)


def begins(tbs: TBSCertificate, sound: Sound) -> TBSCertificate:
    """Return ``tbs`` with its validity moved forward as a whole: it begins in a day."""
    lasts = tbs.not_after - tbs.not_before
    begin = sound.issuer.clock() + DAY
    return replace(tbs, not_before=begin, not_after=begin + lasts)


@flaw(
    cause="expired",
    differs="end-entity: validity",
    code=10,
    alert="certificate_expired",
    rfc="RFC 5280 §4.1.2.5",
)
def expired(sound: Sound) -> Exhibit:
    """The certificate ended yesterday."""
    return sound.with_certificate(lambda tbs: ended(tbs, sound))


@flaw(
    cause="not-yet-valid",
    differs="end-entity: validity",
    code=9,
    alert="bad_certificate",
    rfc="RFC 5280 §4.1.2.5",
)
def not_yet_valid(sound: Sound) -> Exhibit:
    """The certificate begins tomorrow."""
    return sound.with_certificate(lambda tbs: begins(tbs, sound))


@flaw(
    cause="wrong-usage",
    differs="end-entity: extendedKeyUsage",
    code=26,
    alert="unsupported_certificate",
    rfc="RFC 5280 §4.2.1.12",
)
def wrong_usage(sound: Sound) -> Exhibit:
    """The certificate is meant for the other side: a client's for a server, or the reverse."""
    other = Usage.CLIENT if sound.request.usage is Usage.SERVER else Usage.SERVER
    return sound.with_certificate(
        lambda tbs: with_extension(tbs, x509.ExtendedKeyUsage([_USAGE[other]]))
    )


@flaw(
    cause="wrong-usage",
    differs="end-entity: extendedKeyUsage",
    code=26,
    alert="unsupported_certificate",
    rfc="RFC 5280 §4.2.1.12",
)
def wrong_usage_any(sound: Sound) -> Exhibit:
    """The certificate is meant for "any" use, which OpenSSL does not take for this one."""
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
    return sound.with_certificate(lambda tbs: with_extension(tbs, usage))


@flaw(
    cause="wrong-usage",
    differs="end-entity: keyUsage",
    code=26,
    alert="unsupported_certificate",
    rfc="RFC 5280 §4.2.1.3",
    unless=(
        Unless(
            role="server",
            tls="1.2",
            reason="NO_SHARED_CIPHER",
            alert="handshake_failure",
            by_bearer=True,
            why="the server will not sign with such a key, and then has no certificate to use",
        ),
    ),
)
def wrong_usage_no_digital_signature(sound: Sound) -> Exhibit:
    """The key may not make digital signatures (keyUsage), and TLS needs nothing else of it."""
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=True,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return sound.with_certificate(lambda tbs: with_extension(tbs, usage))


@flaw(
    cause="self-signed",
    differs="end-entity: issuer",
    code=18,
    alert="unknown_ca",
    rfc="RFC 5280 §6.1",
)
def self_signed(sound: Sound) -> Exhibit:
    """The certificate is signed by its own key, and so says nothing that anybody vouches for."""
    credential = sound.exhibit.credential
    itself = Authority(credential.certificate, credential.key, (), sound.issuer.clock)
    tbs = issued_by(TBSCertificate.of(credential.certificate), itself)
    return sound.exhibit.but(certificate=itself.certify(tbs))


@flaw(
    cause="unknown-authority",
    differs="end-entity: issuer",
    code=20,
    alert="unknown_ca",
    rfc="RFC 5280 §6.1",
)
def unknown_authority(sound: Sound) -> Exhibit:
    """The certificate comes from an authority that the judge has never heard of."""
    stranger = Authority.root("an authority nobody here knows", clock=sound.issuer.clock)
    tbs = TBSCertificate.of(sound.exhibit.credential.certificate)
    return sound.exhibit.but(certificate=stranger.certify(issued_by(tbs, stranger)))


def impostor_of(sound: Sound) -> Authority:
    """Return an authority of the issuer's name, with another key."""
    impostor = Authority.root("impostor", clock=sound.issuer.clock)
    tbs = TBSCertificate.of(impostor.certificate)
    subject = sound.issuer.certificate.subject
    certificate = impostor.certify(replace(tbs, issuer=subject, subject=subject))
    return replace(impostor, certificate=certificate)


@flaw(
    cause="impostor-authority",
    differs="end-entity: issuer",
    code=20,
    alert="unknown_ca",
    rfc="RFC 5280 §4.2.1.1",
)
def impostor_authority(sound: Sound) -> Exhibit:
    """The issuer bears the name of a known authority, but has another key.

    More often than an attack it is an authority that was made anew under its old name. The key
    identifiers differ, so OpenSSL does not even try the known key.
    """
    impostor = impostor_of(sound)
    tbs = TBSCertificate.of(sound.exhibit.credential.certificate)
    return sound.exhibit.but(certificate=impostor.certify(issued_by(tbs, impostor)))


@flaw(
    cause="impostor-authority",
    differs="end-entity: issuer",
    code=7,
    alert="decrypt_error",
    rfc="RFC 5280 §4.2.1.1",
)
def impostor_authority_copied_identifier(sound: Sound) -> Exhibit:
    """The issuer bears a known authority's name and key identifier, but has another key.

    Nothing in the certificate tells; only the signature does not verify.
    """
    tbs = TBSCertificate.of(sound.exhibit.credential.certificate)
    return sound.exhibit.but(certificate=impostor_of(sound).certify(tbs))


@flaw(
    cause="unknown-critical-extension",
    differs="end-entity: extension 1.3.6.1.4.1.32473.1",
    code=34,
    alert="certificate_unknown",
    rfc="RFC 5280 §4.2",
)
def unknown_critical_extension(sound: Sound) -> Exhibit:
    """The certificate has an extension that nobody understands and that must be understood."""
    unknown = x509.UnrecognizedExtension(EXAMPLE_OID, b"\x05\x00")
    return sound.with_certificate(lambda tbs: with_extension(tbs, unknown, critical=True))


@flaw(
    cause="missing-key-identifier",
    differs="end-entity: authorityKeyIdentifier",
    code=85,
    alert="certificate_unknown",
    rfc="RFC 5280 §4.2.1.1",
)
def missing_key_identifier(sound: Sound) -> Exhibit:
    """The certificate does not say which of its issuer's keys signed it.

    Only strict verifiers mind; Python's default is one from 3.13 on.
    """
    return sound.with_certificate(
        lambda tbs: without_extension(tbs, ExtensionOID.AUTHORITY_KEY_IDENTIFIER)
    )


@flaw(
    cause="oversize",
    differs="end-entity: extension 1.3.6.1.4.1.32473.1",
    code=None,
    reason="EXCESSIVE_MESSAGE_SIZE",
    alert="illegal_parameter",
    rfc="RFC 8446 §4.4.2",
)
def oversize(sound: Sound) -> Exhibit:
    """The certificate is larger than the 100 KiB that OpenSSL is prepared to read."""
    # An OCTET STRING, as extensions hold DER.
    size = _TOO_MUCH.to_bytes(3)
    padding = x509.UnrecognizedExtension(EXAMPLE_OID, b"\x04\x83" + size + bytes(_TOO_MUCH))
    return sound.with_certificate(lambda tbs: with_extension(tbs, padding))
