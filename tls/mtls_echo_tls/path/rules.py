"""The rules for each certificate on a path, one by one (RFC 5280 §4 and §6, RFC 9525).

Each rule that is broken is a `Fault` with the two things that were compared. Reading is lenient: a
part that cannot be parsed breaks no rule here, since OpenSSL has read it and decided already. The
rules are those that OpenSSL enforces with ``X509_V_FLAG_X509_STRICT`` at security level 2. Those
that it enforces with that flag only are marked as strict: most programs do not set it, and accept
the CA that ``openssl req -x509`` makes with a configuration of its own, which has no keyUsage.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterator, Sequence

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from mtls_echo_pki.certificates.der import UnreadableError
from mtls_echo_pki.certificates.identifiers import (
    has_unreadable_names,
    hosts,
    names_host,
)
from mtls_echo_pki.certificates.loading import is_odd, parsing
from mtls_echo_pki.certificates.outline import DistinguishedName
from mtls_echo_pki.certificates.reading import (
    has_readable_extensions,
    is_self_issued,
    issuer_name,
    period,
    public_key,
    raw_extensions,
    subject_name,
    unreadable_extensions,
    valid_at,
    value_of,
)
from mtls_echo_pki.files.oddities import extension_name, odd_dates
from mtls_echo_pki.lifetimes import timestamp
from mtls_echo_tls.fault_causes import Variant
from mtls_echo_tls.path.name_constraints import not_permitted
from mtls_echo_tls.path.raw_rules import permits_by_netscape, permits_nothing, raw_violations
from mtls_echo_tls.path.reference import mismatch
from mtls_echo_tls.sides import Side
from mtls_echo_tls.slugs import Slug

# Security level 2 is 112 bits (RFC 9325 §4.5).
_LEAST_RSA_BITS = 2048
_LEAST_EC_BITS = 224

# Any other critical extension must be refused (RFC 5280 §4.2).
# fmt: off
_UNDERSTOOD = frozenset(oid.dotted_string for oid in (
    ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME, ExtensionOID.NAME_CONSTRAINTS,
    ExtensionOID.CERTIFICATE_POLICIES, ExtensionOID.POLICY_CONSTRAINTS,
    ExtensionOID.POLICY_MAPPINGS, ExtensionOID.INHIBIT_ANY_POLICY,
    ExtensionOID.CRL_DISTRIBUTION_POINTS, ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
))
# fmt: on

# Which OpenSSL refuses as if it did not understand them, strict or not (verify code 34).
_NEVER_CRITICAL = {
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER.dotted_string: "authorityKeyIdentifier",
    ExtensionOID.SUBJECT_KEY_IDENTIFIER.dotted_string: "subjectKeyIdentifier",
}

# Which it reads whatever the certificate is used for.
_READ_BY_OPENSSL = frozenset(
    oid.dotted_string
    for oid in (
        *(ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE),
        *(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, ExtensionOID.NAME_CONSTRAINTS),
        *(ExtensionOID.SUBJECT_KEY_IDENTIFIER, ExtensionOID.AUTHORITY_KEY_IDENTIFIER),
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
    )
)

_PURPOSES = {
    "server": (ExtendedKeyUsageOID.SERVER_AUTH, "serverAuth"),
    "client": (ExtendedKeyUsageOID.CLIENT_AUTH, "clientAuth"),
}

_OTHER_PURPOSES = {
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "anyExtendedKeyUsage",
    ExtendedKeyUsageOID.EMAIL_PROTECTION: "emailProtection",
    ExtendedKeyUsageOID.CODE_SIGNING: "codeSigning",
    ExtendedKeyUsageOID.TIME_STAMPING: "timeStamping",
    ExtendedKeyUsageOID.OCSP_SIGNING: "OCSPSigning",
}


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong with a path: the cause it would be reported as, and where it is.

    Attributes:
        slug: The cause it would be reported as.
        depth: Which certificate has it: 0 is the end-entity certificate.
        detail: The two things that were compared.
        variant: Of which kind, where the slug has several (`mtls_echo_tls.fault_causes`).
        fix: What the certificate must have once it is reissued, where the slug does not tell.
        strict: Whether only a verifier minds that is strict about RFC 5280.
    """

    slug: Slug
    depth: int
    detail: str
    variant: Variant | None = None
    fix: str = ""
    strict: bool = False


def check_certificate(
    certificate: x509.Certificate, depth: int, now: datetime.datetime, *, anchor: bool
) -> Iterator[Fault]:
    """Check what every certificate must be; the signature of a trust anchor is not checked."""
    yield from check_validity(certificate, depth, now)
    yield from _strength(certificate, depth, anchor=anchor)
    for rule, fix, strict in raw_violations(certificate):
        yield Fault(
            "not-conforming",
            depth,
            rule,
            "rule" if strict else "explicit-curve",
            fix,
            strict=strict,
        )
    if not has_readable_extensions(certificate):
        return  # what seems to be absent may only be unreadable
    critical = (each.oid for each in raw_extensions(certificate) if each.critical)
    unknown = (oid for oid in critical if oid not in _UNDERSTOOD)
    for oid in itertools.islice(unknown, 1):
        yield Fault("unknown-critical-extension", depth, f"extension {oid} is critical")
    if not is_self_issued(certificate) and lacks_issuer_key(certificate):
        detail = "there is no authorityKeyIdentifier"
        yield Fault("missing-key-identifier", depth, detail, strict=True)
    for extension in raw_extensions(certificate):
        name = _NEVER_CRITICAL.get(extension.oid)
        if name is not None and extension.critical:
            detail, fix = f"{name} is critical", f"with {name} not marked critical"
            yield Fault("not-conforming", depth, detail, "critical-identifier", fix)
    for rule, fix in _nonconformities(certificate):
        yield Fault("not-conforming", depth, rule, "rule", fix, strict=True)


def check_extensions(certificate: x509.Certificate, depth: int) -> Iterator[Fault]:
    """Check that the extensions which every verifier needs are well-formed.

    OpenSSL reads some that are not. Where it cannot, it takes the certificate for one that no CA
    it knows has issued (verify code 20).
    """
    for oid in unreadable_extensions(certificate):
        if oid in _READ_BY_OPENSSL:
            name = extension_name(oid)
            fix = f"with a well-formed {name}"
            yield Fault("not-conforming", depth, f"{name} is malformed", "malformed", fix)


def lacks_issuer_key(certificate: x509.Certificate) -> bool:
    """Whether it does not say which key of its issuer signed it (RFC 5280 §4.2.1.1)."""
    return value_of(certificate, x509.AuthorityKeyIdentifier) is None


def check_validity(
    certificate: x509.Certificate, depth: int, now: datetime.datetime
) -> Iterator[Fault]:
    """Check that a certificate is valid at that time (RFC 5280 §4.1.2.5)."""
    for odd in odd_dates(certificate.public_bytes(Encoding.DER)) if is_odd(certificate) else ():
        yield Fault(
            "not-conforming", depth, odd, "odd-date", "with its dates in UTC, with seconds"
        )
    when = valid_at(certificate, now)
    if when > 0:
        end = timestamp(period(certificate)[1])
        detail = f"notAfter is {end}, now is {timestamp(now)}"
        yield Fault("expired-authority" if depth else "expired", depth, detail)
    elif when < 0:
        begin = timestamp(period(certificate)[0])
        detail = f"notBefore is {begin}, now is {timestamp(now)}"
        yield Fault("not-yet-valid-authority" if depth else "not-yet-valid", depth, detail)


def check_ca(
    certificate: x509.Certificate,
    below: Sequence[x509.Certificate],
    presenter: Side,
    *,
    last: bool = False,
) -> Iterator[Fault]:
    """Check what an issuer must be (RFC 5280 §4.2.1.3, §4.2.1.9, §4.2.1.10, §4.2.1.12).

    ``below`` is the path under it, end-entity first; the ``last`` one may be a trust anchor.
    """
    if not has_readable_extensions(certificate):
        return
    depth, ca_name = len(below), display_name(subject_name(certificate))
    constraints = value_of(certificate, x509.BasicConstraints)
    usage = value_of(certificate, x509.KeyUsage)
    if constraints is None or not constraints.ca:
        # As a root OpenSSL takes one from before basicConstraints, unless it is to be strict.
        old = is_old_root(certificate)
        may_sign = usage is not None and usage.key_cert_sign
        strict = last and constraints is None and (old or may_sign)
        detail = f"{ca_name} does not have CA:TRUE"
        yield Fault("not-an-authority", depth, detail, strict=strict)
    elif constraints.path_length is not None:
        between = sum(not is_self_issued(c) for c in below[1:])
        if between > constraints.path_length:
            detail = f"{ca_name} permits {constraints.path_length} below it, there are {between}"
            yield Fault("path-too-long", depth, detail)
    if usage is None:
        detail = f"{ca_name} has no keyUsage, which RFC 5280 requires"
        fix = "with keyUsage keyCertSign, cRLSign"
        yield Fault("not-conforming", depth, detail, "rule", fix, strict=True)
    elif not usage.key_cert_sign:
        yield Fault("not-an-authority", depth, f"{ca_name} may not sign certificates (keyUsage)")
    if value_of(certificate, x509.SubjectKeyIdentifier) is None:
        detail = f"{ca_name} has no subjectKeyIdentifier"
        yield Fault("missing-key-identifier", depth, detail, strict=True)
    yield from _purpose(certificate, depth, presenter)


def is_ca(certificate: x509.Certificate) -> bool:
    """Whether it says CA:TRUE (RFC 5280 §4.2.1.9)."""
    constraints = value_of(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def is_old_root(certificate: x509.Certificate) -> bool:
    """Whether it may be a root of version 1, from before basicConstraints (RFC 5280 §6.1.4)."""
    return certificate.version is x509.Version.v1 and is_self_issued(certificate)


def strict_violations(certificate: x509.Certificate, *, anchor: bool = False) -> list[str]:
    """The rules that a certificate breaks and that only strict verifiers enforce, in words.

    None for an end-entity certificate that is self-signed: alone on its path, it is not held to
    the rules of RFC 5280 (RFC 6818 §2), and OpenSSL does not hold it to them.
    """
    if anchor and is_old_root(certificate):
        return ["it is of version 1, without basicConstraints (RFC 5280 §4.2.1.9)"]
    if is_self_issued(certificate) and not is_ca(certificate):
        return []
    found = [rule for rule, _, strict in raw_violations(certificate) if strict]
    if not has_readable_extensions(certificate):
        return found
    if is_ca(certificate) and value_of(certificate, x509.KeyUsage) is None:
        found.append("it has no keyUsage (RFC 5280 §4.2.1.3)")
    if is_ca(certificate) and value_of(certificate, x509.SubjectKeyIdentifier) is None:
        found.append("it has no subjectKeyIdentifier (RFC 5280 §4.2.1.2)")
    if not is_self_issued(certificate) and lacks_issuer_key(certificate):
        found.append("it has no authorityKeyIdentifier (RFC 5280 §4.2.1.1)")
    return [*found, *(rule for rule, _ in _nonconformities(certificate))]


def may_sign_crls(ca: x509.Certificate) -> bool:
    """Whether a CA may sign CRLs (RFC 5280 §4.2.1.3): True where nothing forbids it."""
    usage = value_of(ca, x509.KeyUsage)
    return usage is None or usage.crl_sign


def check_name_constraints(
    certificate: x509.Certificate, below: Sequence[x509.Certificate]
) -> Iterator[Fault]:
    """Check the names below an issuer against its nameConstraints (RFC 5280 §4.2.1.10)."""
    limits = value_of(certificate, x509.NameConstraints)
    if limits is not None:
        ca_name = display_name(subject_name(certificate))
        for position, subject in enumerate(below):
            name = not_permitted(subject, limits)
            if name is not None:
                yield Fault("name-not-permitted", position, f"{ca_name} may not issue for {name}")


def check_end_entity(
    leaf: x509.Certificate, presenter: Side, reference: str | None
) -> Iterator[Fault]:
    """Check that an end-entity certificate fits its use (RFC 5280 §4.2.1.3, RFC 9525 §6)."""
    yield from _purpose(leaf, 0, presenter)
    if not permits_by_netscape(leaf, presenter):
        detail = f"nsCertType, an extension of Netscape's, does not permit a TLS {presenter}"
        yield Fault("wrong-usage", 0, detail)
    usage = value_of(leaf, x509.KeyUsage)
    if usage is not None:
        # RSA key exchange in TLS 1.2 encrypts to the server's key instead of having it sign.
        fit = usage.digital_signature or usage.key_agreement
        if not (fit or (presenter == "server" and usage.key_encipherment)):
            yield Fault("wrong-usage", 0, "keyUsage does not permit digitalSignature")
    if presenter == "server" and reference is not None:
        names = ", ".join(hosts(leaf)[:8])
        if not names and not has_unreadable_names(leaf):
            yield Fault("no-san", 0, f"no subjectAltName with a host; {reference} was asked for")
        elif names and not names_host(leaf, reference):
            detail, lacks = mismatch(leaf, reference)
            yield Fault("wrong-name", 0, detail, "near-name" if lacks else None, lacks)


def _purpose(certificate: x509.Certificate, depth: int, presenter: Side) -> Iterator[Fault]:
    wanted, name = _PURPOSES[presenter]
    purposes = value_of(certificate, x509.ExtendedKeyUsage)
    # anyExtendedKeyUsage does not count: OpenSSL looks for the purpose itself.
    if permits_nothing(certificate):
        yield Fault("wrong-usage", depth, f"extendedKeyUsage is empty; {name} is needed")
    elif purposes is not None and wanted not in purposes:
        found = ", ".join(_purpose_name(oid) for oid in itertools.islice(purposes, 8))
        yield Fault("wrong-usage", depth, f"extendedKeyUsage is {found}; {name} is needed")


def _strength(certificate: x509.Certificate, depth: int, *, anchor: bool) -> Iterator[Fault]:
    try:
        key = public_key(certificate)
        with parsing():
            algorithm = certificate.signature_hash_algorithm
    except UnreadableError:
        return
    bits, least = 0, 0
    if isinstance(key, rsa.RSAPublicKey | dsa.DSAPublicKey):
        bits, least = key.key_size, _LEAST_RSA_BITS
    elif isinstance(key, ec.EllipticCurvePublicKey):
        bits, least = key.key_size, _LEAST_EC_BITS
    if bits < least:
        yield Fault("weak-key", depth, f"the key has {bits} bits; {least} are needed")
    if algorithm is not None and algorithm.name in ("md5", "sha1") and not anchor:
        yield Fault("weak-signature", depth, f"it is signed with {algorithm.name.upper()}")


def _nonconformities(certificate: x509.Certificate) -> Iterator[tuple[str, str]]:
    """Rules of RFC 5280 §4 that only strict verification enforces, and how they are kept."""
    critical = {each.oid: each.critical for each in raw_extensions(certificate)}
    is_authority, usage = is_ca(certificate), value_of(certificate, x509.KeyUsage)
    names = value_of(certificate, x509.SubjectAlternativeName)
    if not issuer_name(certificate):
        yield "the issuer's name is empty", "by a CA that has a name"
    if is_authority and not subject_name(certificate):
        yield "a CA's subject is empty", "with a subject"
    if is_authority and not critical[ExtensionOID.BASIC_CONSTRAINTS.dotted_string]:
        yield "a CA's basicConstraints is not critical", "with basicConstraints marked critical"
    if not is_authority and usage is not None and usage.key_cert_sign:
        yield "keyUsage permits keyCertSign without CA:TRUE", "without keyCertSign in keyUsage"
    if names is not None and not list(names):
        yield "subjectAltName is empty", "with a name in subjectAltName, or without it"
    nameless = names is not None and not subject_name(certificate)
    if nameless and not critical[ExtensionOID.SUBJECT_ALTERNATIVE_NAME.dotted_string]:
        yield (
            "the subject is empty and subjectAltName is not critical",
            "with a subject, or with subjectAltName marked critical",
        )


def display_name(name: DistinguishedName) -> str:
    """The common name of a distinguished name, or all of it, in quotation marks."""
    return f"“{short_name(name)}”" if name else "“” (an empty name)"


def short_name(name: DistinguishedName) -> str:
    """The common name of a distinguished name, or all of it."""
    return name.common_name or str(name)


def _purpose_name(oid: x509.ObjectIdentifier) -> str:
    names = {**dict(_PURPOSES.values()), **_OTHER_PURPOSES}
    return names.get(oid, oid.dotted_string)
