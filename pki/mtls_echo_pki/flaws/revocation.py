"""Flaws of revocation: the certificates are valid, and the verifier's CRLs refuse them.

A verifier with a CRL checks every certificate of the path against the CRL of its issuer (see
:mod:`mtls_echo_pki.certificates.trust`), and a CRL that is missing, out of date or forged counts
like a revocation: the peer is refused. OpenSSL tells the four apart by verify code, 3, 12, 11 and
8, but the alert, which is all that the peer sees, says "unknown CA", "expired", "bad certificate"
or "decrypt error", about a certificate with which nothing is wrong.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import structs

from mtls_echo_pki.certificates.tbs import Revocation
from mtls_echo_pki.flaws.baseline import Baseline, ValidationInput, under_revocation
from mtls_echo_pki.flaws.flaw import flaw
from mtls_echo_pki.flaws.keys import flipped

_flaw_of_crl = partial(flaw, prepare=under_revocation)


def _revoking(baseline: Baseline, certificate: x509.Certificate, *, level: int) -> ValidationInput:
    now = baseline.issuer.clock().replace(microsecond=0)
    entry = Revocation(certificate.serial_number, now, x509.ReasonFlags.key_compromise)
    return baseline.with_changed_crl(
        lambda tbs: structs.replace(tbs, revocations=(entry,)), level=level
    )


def _without_list(baseline: Baseline, *, level: int) -> ValidationInput:
    trust = baseline.inputs.trust
    kept = tuple(crl for index, crl in enumerate(trust.crls) if index != level)
    return baseline.inputs.but(trust=replace(trust, crls=kept))


@_flaw_of_crl("revoked", "intermediate's CRL: revocations", 23, "RFC 5280 §5")
def revoked(baseline: Baseline) -> ValidationInput:
    """The CA has revoked the certificate."""
    return _revoking(baseline, baseline.inputs.credential.certificate, level=0)


@_flaw_of_crl("revoked-authority", "root's CRL: revocations", 23, "RFC 5280 §5")
def revoked_authority(baseline: Baseline) -> ValidationInput:
    """The root has revoked the intermediate, and with it all that it ever issued."""
    return _revoking(baseline, baseline.issuer.certificate, level=1)


@_flaw_of_crl("crl-missing", "intermediate's CRL", 3, "RFC 5280 §6.3")
def crl_missing(baseline: Baseline) -> ValidationInput:
    """The verifier has the root's CRL, but not the issuing CA's."""
    return _without_list(baseline, level=0)


@_flaw_of_crl("crl-missing", "root's CRL", 3, "RFC 5280 §6.3")
def crl_missing_authority(baseline: Baseline) -> ValidationInput:
    """The verifier has the issuing CA's CRL, but not the root's."""
    return _without_list(baseline, level=1)


@_flaw_of_crl("crl-expired", "intermediate's CRL: nextUpdate", 12, "RFC 5280 §5.1.2.5")
def crl_expired(baseline: Baseline) -> ValidationInput:
    """The CRL should have been replaced a minute ago."""
    minute_ago = baseline.issuer.clock().replace(microsecond=0) - timedelta(minutes=1)
    return baseline.with_changed_crl(lambda tbs: structs.replace(tbs, next_update=minute_ago))


@_flaw_of_crl("crl-not-yet-valid", "intermediate's CRL: thisUpdate", 11, "RFC 5280 §5.1.2.4")
def crl_not_yet_valid(baseline: Baseline) -> ValidationInput:
    """The CRL is not valid yet: its thisUpdate is just before its nextUpdate."""
    return baseline.with_changed_crl(
        lambda tbs: structs.replace(tbs, this_update=tbs.next_update - timedelta(minutes=1))
    )


@_flaw_of_crl("bad-signature", "intermediate's CRL: signature", 8, "RFC 5280 §6.3.3")
def bad_signature_crl(baseline: Baseline) -> ValidationInput:
    """One bit of the signature of the CRL has flipped."""
    der = baseline.inputs.trust.crls[0].public_bytes(Encoding.DER)
    return baseline.with_crl(x509.load_der_x509_crl(flipped(der)))
