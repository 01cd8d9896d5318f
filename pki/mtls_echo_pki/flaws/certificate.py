"""Flaws of the end-entity certificate itself: its dates, its permitted uses, its issuer, its size.

What lies above the certificate is in :mod:`mtls_echo_pki.flaws.path`, its names in
:mod:`mtls_echo_pki.flaws.names`, its key and signature in :mod:`mtls_echo_pki.flaws.keys`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.profile import key_usage
from mtls_echo_pki.certificates.request import Usage
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_pki.flaws.baseline import (
    Baseline,
    ValidationInput,
    issued_by,
    with_extension,
    without_extension,
)
from mtls_echo_pki.flaws.flaw import Deviation, flaw

DAY = timedelta(days=1)

# Enterprise number 32473 is IANA's for examples (RFC 5612): it has no other meaning.
EXAMPLE_OID = x509.ObjectIdentifier("1.3.6.1.4.1.32473.1")

# OpenSSL reads certificate messages up to 100 KiB (SSL_MAX_CERT_LIST_DEFAULT).
_TOO_MUCH = 110 * 1024

_USAGE = {
    Usage.SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
    Usage.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
}


def ended(tbs: TBSCertificate, baseline: Baseline) -> TBSCertificate:
    """Return ``tbs`` with its validity moved back as a whole: it ended a day ago."""
    lasted = tbs.not_after - tbs.not_before
    end = baseline.issuer.clock() - DAY
    return replace(tbs, not_before=end - lasted, not_after=end)


def begins(tbs: TBSCertificate, baseline: Baseline) -> TBSCertificate:
    """Return ``tbs`` with its validity moved forward as a whole: it begins in a day."""
    lasts = tbs.not_after - tbs.not_before
    begin = baseline.issuer.clock() + DAY
    return replace(tbs, not_before=begin, not_after=begin + lasts)


@flaw("expired", "end-entity: validity", 10, "RFC 5280 §4.1.2.5")
def expired(baseline: Baseline) -> ValidationInput:
    """The certificate ended yesterday."""
    return baseline.with_certificate(lambda tbs: ended(tbs, baseline))


@flaw("not-yet-valid", "end-entity: validity", 9, "RFC 5280 §4.1.2.5")
def not_yet_valid(baseline: Baseline) -> ValidationInput:
    """The certificate begins tomorrow."""
    return baseline.with_certificate(lambda tbs: begins(tbs, baseline))


@flaw("wrong-usage", "end-entity: extendedKeyUsage", 26, "RFC 5280 §4.2.1.12")
def wrong_usage(baseline: Baseline) -> ValidationInput:
    """The certificate is meant for the other side: a client's for a server, or the reverse."""
    other = Usage.CLIENT if baseline.request.usage is Usage.SERVER else Usage.SERVER
    return baseline.with_certificate(
        lambda tbs: with_extension(tbs, x509.ExtendedKeyUsage([_USAGE[other]]))
    )


@flaw("wrong-usage", "end-entity: extendedKeyUsage", 26, "RFC 5280 §4.2.1.12")
def wrong_usage_any(baseline: Baseline) -> ValidationInput:
    """The certificate is meant for "any" use, which OpenSSL does not take for this one."""
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
    return baseline.with_certificate(lambda tbs: with_extension(tbs, usage))


@flaw(
    "wrong-usage",
    "end-entity: keyUsage",
    26,
    "RFC 5280 §4.2.1.3",
    unless=(
        Deviation(
            role="server",
            tls="1.2",
            reason="NO_SHARED_CIPHER",
            alert="handshake_failure",
            by_presenter=True,
            why="the server will not sign with such a key, and then has no certificate to use",
        ),
    ),
)
def wrong_usage_no_digital_signature(baseline: Baseline) -> ValidationInput:
    """The key may not make digital signatures (keyUsage), and TLS needs nothing else of it."""
    usage = key_usage("content_commitment")
    return baseline.with_certificate(lambda tbs: with_extension(tbs, usage))


@flaw("self-signed", "end-entity: issuer", 18, "RFC 5280 §6.1")
def self_signed(baseline: Baseline) -> ValidationInput:
    """The certificate is signed by its own key: no CA has issued it."""
    credential = baseline.inputs.credential
    itself = Authority(credential.certificate, credential.key, (), baseline.issuer.clock)
    tbs = issued_by(TBSCertificate.of(credential.certificate), itself)
    return baseline.inputs.but(certificate=itself.certify(tbs))


@flaw("unknown-authority", "end-entity: issuer", 20, "RFC 5280 §6.1")
def unknown_authority(baseline: Baseline) -> ValidationInput:
    """The certificate comes from a CA that the verifier does not know."""
    other = Authority.root("an unknown CA", clock=baseline.issuer.clock)
    tbs = TBSCertificate.of(baseline.inputs.credential.certificate)
    return baseline.inputs.but(certificate=other.certify(issued_by(tbs, other)))


def impostor_of(baseline: Baseline) -> Authority:
    """Return a CA of the issuer's name, with another key."""
    impostor = Authority.root("impostor", clock=baseline.issuer.clock)
    tbs = TBSCertificate.of(impostor.certificate)
    subject = baseline.issuer.certificate.subject
    certificate = impostor.certify(replace(tbs, issuer=subject, subject=subject))
    return replace(impostor, certificate=certificate)


@flaw("impostor-authority", "end-entity: issuer", 20, "RFC 5280 §4.2.1.1")
def impostor_authority(baseline: Baseline) -> ValidationInput:
    """The issuer bears the name of a known CA, but has another key.

    More often than an attack it is an authority that was made anew under its old name. The key
    identifiers differ, so OpenSSL does not even try the known key.
    """
    impostor = impostor_of(baseline)
    tbs = TBSCertificate.of(baseline.inputs.credential.certificate)
    return baseline.inputs.but(certificate=impostor.certify(issued_by(tbs, impostor)))


@flaw("impostor-authority", "end-entity: issuer", 7, "RFC 5280 §4.2.1.1")
def impostor_authority_copied_identifier(baseline: Baseline) -> ValidationInput:
    """The issuer bears a known CA's name and key identifier, but has another key.

    Nothing in the certificate tells; only the signature does not verify.
    """
    tbs = TBSCertificate.of(baseline.inputs.credential.certificate)
    return baseline.inputs.but(certificate=impostor_of(baseline).certify(tbs))


@flaw(
    "unknown-critical-extension", "end-entity: extension 1.3.6.1.4.1.32473.1", 34, "RFC 5280 §4.2"
)
def unknown_critical_extension(baseline: Baseline) -> ValidationInput:
    """The certificate has a critical extension that no verifier knows."""
    unknown = x509.UnrecognizedExtension(EXAMPLE_OID, b"\x05\x00")
    return baseline.with_certificate(lambda tbs: with_extension(tbs, unknown, critical=True))


@flaw("missing-key-identifier", "end-entity: authorityKeyIdentifier", 85, "RFC 5280 §4.2.1.1")
def missing_key_identifier(baseline: Baseline) -> ValidationInput:
    """The certificate does not say which of its issuer's keys signed it.

    Only strict verifiers mind; Python's default is one from 3.13 on.
    """
    return baseline.with_certificate(
        lambda tbs: without_extension(tbs, ExtensionOID.AUTHORITY_KEY_IDENTIFIER)
    )


@flaw(
    "oversize",
    "end-entity: extension 1.3.6.1.4.1.32473.1",
    None,
    "RFC 8446 §4.4.2",
    reason="EXCESSIVE_MESSAGE_SIZE",
    alert="illegal_parameter",
)
def oversize(baseline: Baseline) -> ValidationInput:
    """The certificate is larger than the 100 KiB that OpenSSL is prepared to read."""
    # An OCTET STRING, as extensions hold DER.
    size = _TOO_MUCH.to_bytes(3)
    padding = x509.UnrecognizedExtension(EXAMPLE_OID, b"\x04\x83" + size + bytes(_TOO_MUCH))
    return baseline.with_certificate(lambda tbs: with_extension(tbs, padding))
