"""Flaws above the end-entity certificate: intermediates, and the trust anchor.

A certification path is validated certificate by certificate (RFC 5280 §6.1), and any of them can
be at fault while the end-entity's is perfect. In each of these flaws it is: bit for bit the same,
and signed by the same key. Only what is sent after it, or what the verifier trusts, differs.

OpenSSL's verdict does not say *which* certificate it is about (Python does not pass on the depth),
so an expired CA has the verify code of an expired certificate.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from ipaddress import ip_network

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.identifiers import general_name, identity_text
from mtls_echo_pki.certificates.profile import key_usage
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.flaws.baseline import (
    Baseline,
    ValidationInput,
    below_an_intermediate,
    below_one_without_limit,
    below_two,
    with_extension,
    with_root_sent_along,
    without_extension,
)
from mtls_echo_pki.flaws.certificate import EXAMPLE_OID, begins, ended
from mtls_echo_pki.flaws.flaw import flaw
from mtls_echo_pki.flaws.keys import tampered

# Reserved for examples (RFC 5737, RFC 3849, RFC 9637): no host has such an address.
_EXAMPLES = {
    4: (ip_network("192.0.2.0/24"), ip_network("198.51.100.0/24")),
    6: (ip_network("2001:db8::/32"), ip_network("3fff::/20")),
}

_with_intermediate = partial(flaw, prepare=below_an_intermediate)


@_with_intermediate("expired-authority", "intermediate: validity", 10, "RFC 5280 §4.1.2.5")
def expired_authority(baseline: Baseline) -> ValidationInput:
    """The intermediate's certificate ended yesterday."""
    return baseline.with_authority(lambda tbs: ended(tbs, baseline))


@_with_intermediate("expired-authority", "trust anchor: validity", 10, "RFC 5280 §4.1.2.5")
def expired_authority_anchor(baseline: Baseline) -> ValidationInput:
    """The root that the verifier trusts ended yesterday.

    RFC 5280 does not ask for a trust anchor's dates (§6.1.1 d); OpenSSL does.
    """
    root = baseline.authorities[-1]
    late = root.certify(ended(TBSCertificate.of(root.certificate), baseline))
    return baseline.inputs.but(trust=Trust((late,)))


@_with_intermediate("not-yet-valid-authority", "intermediate: validity", 9, "RFC 5280 §4.1.2.5")
def not_yet_valid_authority(baseline: Baseline) -> ValidationInput:
    """The intermediate's certificate begins tomorrow."""
    return baseline.with_authority(lambda tbs: begins(tbs, baseline))


@_with_intermediate("wrong-usage", "intermediate: extendedKeyUsage", 26, "RFC 5280 §4.2.1.12")
def wrong_usage_authority(baseline: Baseline) -> ValidationInput:
    """The intermediate may issue certificates for e-mail only.

    In an authority's certificate extendedKeyUsage limits all that it issues, by the custom of
    every implementation rather than by RFC 5280.
    """
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    return baseline.with_authority(lambda tbs: with_extension(tbs, usage))


@_with_intermediate("missing-intermediate", "intermediate", 20, "RFC 8446 §4.4.2")
def missing_intermediate(baseline: Baseline) -> ValidationInput:
    """The certificate is sent alone, without the intermediate that links it to the root."""
    return baseline.inputs.but(chain=())


@_with_intermediate("missing-intermediate", "intermediate", 20, "RFC 8446 §4.4.2")
def missing_intermediate_wrong_one(baseline: Baseline) -> ValidationInput:
    """An intermediate is sent along, but it is not the one that issued the certificate."""
    other = baseline.authorities[-1].intermediate("mtls-echo test other CA")
    return baseline.with_intermediate(other.certificate)


@flaw("unknown-authority", "trust anchor", 19, "RFC 5280 §6.1.1", prepare=with_root_sent_along)
def unknown_authority_root_sent(baseline: Baseline) -> ValidationInput:
    """The root is sent along, but the verifier trusts another: what peers send proves nothing."""
    other = Authority.root("another CA", clock=baseline.issuer.clock)
    return baseline.inputs.but(trust=other.trust)


@_with_intermediate("empty-trust", "trust anchor", 20, "RFC 5280 §6.1.1")
def empty_trust(baseline: Baseline) -> ValidationInput:
    """The verifier has no trust anchor at all.

    This project refuses to start so (:meth:`Trust.load_into`); a bare ``ssl.SSLContext`` does not.
    """
    return baseline.inputs.but(trust=Trust(()))


@_with_intermediate("not-an-authority", "intermediate: basicConstraints", 79, "RFC 5280 §4.2.1.9")
def not_an_authority(baseline: Baseline) -> ValidationInput:
    """The issuer's certificate says that it is not a CA (CA:FALSE)."""
    no = x509.BasicConstraints(ca=False, path_length=None)
    return baseline.with_authority(lambda tbs: with_extension(tbs, no))


@_with_intermediate("not-an-authority", "intermediate: basicConstraints", 79, "RFC 5280 §4.2.1.9")
def not_an_authority_no_basic_constraints(baseline: Baseline) -> ValidationInput:
    """The issuer's certificate does not say that it is a CA."""
    return baseline.with_authority(
        lambda tbs: without_extension(tbs, ExtensionOID.BASIC_CONSTRAINTS)
    )


@_with_intermediate("not-an-authority", "intermediate: keyUsage", 79, "RFC 5280 §4.2.1.3")
def not_an_authority_no_cert_sign(baseline: Baseline) -> ValidationInput:
    """The issuer's key may sign CRLs, but no certificates (keyUsage)."""
    usage = key_usage("crl_sign")
    return baseline.with_authority(lambda tbs: with_extension(tbs, usage))


@flaw(
    "not-conforming",
    "intermediate: keyUsage",
    92,
    "RFC 5280 §4.2.1.3",
    prepare=below_one_without_limit,
)
def not_conforming_no_key_usage(baseline: Baseline) -> ValidationInput:
    """The issuer's certificate does not say what its key may be used for.

    Only strict verifiers mind; Python's default is one from 3.13 on. Had the issuer a
    pathLenConstraint, the verify code would be 81: one without keyCertSign means nothing.
    """
    return baseline.with_authority(lambda tbs: without_extension(tbs, ExtensionOID.KEY_USAGE))


@_with_intermediate("not-an-authority", "intermediate", 79, "RFC 5280 §4.2.1.9")
def not_an_authority_end_entity(baseline: Baseline) -> ValidationInput:
    """A server or client has issued the certificate with the key of its own.

    The oldest of the attacks: the owner of a certificate issues certificates for other names.
    """
    issuer = TBSCertificate.of(baseline.issuer.certificate)
    mere = replace(baseline.request, subject="mtls-echo test intermediate CA")
    root = baseline.authorities[-1]
    ordinary = TBSCertificate.of(root.issue(mere).certificate)
    own_identifier = x509.SubjectKeyIdentifier.from_public_key(issuer.public_key)
    ordinary = with_extension(replace(ordinary, public_key=issuer.public_key), own_identifier)
    return baseline.with_intermediate(root.certify(ordinary))


@flaw(
    "path-too-long",
    "upper intermediate: basicConstraints",
    25,
    "RFC 5280 §4.2.1.9",
    prepare=below_two,
)
def path_too_long(baseline: Baseline) -> ValidationInput:
    """A CA stands below one that permits none below itself (pathLenConstraint 0)."""
    none_below = x509.BasicConstraints(ca=True, path_length=0)
    return baseline.with_authority(lambda tbs: with_extension(tbs, none_below), level=1)


@_with_intermediate(
    "name-not-permitted", "intermediate: nameConstraints", 47, "RFC 5280 §4.2.1.10"
)
def name_not_permitted(baseline: Baseline) -> ValidationInput:
    """The intermediate may issue for names elsewhere only."""
    elsewhere = _subtree(_first_name(baseline.request), elsewhere=True)
    limits = x509.NameConstraints([elsewhere], None)
    return baseline.with_authority(lambda tbs: with_extension(tbs, limits, critical=True))


@_with_intermediate(
    "name-not-permitted", "intermediate: nameConstraints", 48, "RFC 5280 §4.2.1.10"
)
def name_not_permitted_excluded(baseline: Baseline) -> ValidationInput:
    """The intermediate may issue for any name but this one."""
    limits = x509.NameConstraints(None, [_subtree(_first_name(baseline.request), elsewhere=False)])
    return baseline.with_authority(lambda tbs: with_extension(tbs, limits, critical=True))


@_with_intermediate(
    "unknown-critical-extension",
    "intermediate: extension 1.3.6.1.4.1.32473.1",
    34,
    "RFC 5280 §4.2",
)
def unknown_critical_extension_authority(baseline: Baseline) -> ValidationInput:
    """The intermediate has a critical extension that no verifier knows."""
    unknown = x509.UnrecognizedExtension(EXAMPLE_OID, b"\x05\x00")
    return baseline.with_authority(lambda tbs: with_extension(tbs, unknown, critical=True))


@_with_intermediate(
    "missing-key-identifier", "intermediate: subjectKeyIdentifier", 86, "RFC 5280 §4.2.1.2"
)
def missing_key_identifier_authority(baseline: Baseline) -> ValidationInput:
    """The intermediate does not identify its key, to which the certificate below refers.

    Only strict verifiers mind; Python's default is one from 3.13 on.
    """
    return baseline.with_authority(
        lambda tbs: without_extension(tbs, ExtensionOID.SUBJECT_KEY_IDENTIFIER)
    )


@_with_intermediate("bad-signature", "intermediate: issuer", 7, "RFC 5280 §6.1.3")
def bad_signature_authority(baseline: Baseline) -> ValidationInput:
    """One bit of the root's signature on the intermediate has flipped."""
    return baseline.with_intermediate(tampered(baseline.issuer.certificate))


def _first_name(request: Request) -> x509.GeneralName:
    return general_name(request.names[0])


def _subtree(name: x509.GeneralName, *, elsewhere: bool) -> x509.GeneralName:
    """Return a subtree with this one name in it, or one of its type somewhere else."""
    match name:
        case x509.IPAddress():
            address = ip_network(identity_text(name))
            if not elsewhere:
                return x509.IPAddress(address)
            return x509.IPAddress(
                next(each for each in _EXAMPLES[address.version] if not each.overlaps(address))
            )
        case x509.RFC822Name():
            return x509.RFC822Name("elsewhere.invalid" if elsewhere else identity_text(name))
        case x509.UniformResourceIdentifier():
            host = identity_text(name).partition("://")[2].partition("/")[0]
            return x509.UniformResourceIdentifier("elsewhere.invalid" if elsewhere else host)
        case _:
            host = identity_text(name).removeprefix("*.")
            return x509.DNSName("elsewhere.invalid" if elsewhere else host)
