"""Warnings about material that loads and will not work, or not for long.

An expired certificate, say, is not an error: to show it fail is what this program is for. Each
warning is one clause. The same checks, made of new material, decide whether it may replace the
material in use (`mtls_echo_tls.material.replacement`).
"""

from __future__ import annotations

import datetime
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.identifiers import has_unreadable_names, hosts
from mtls_echo_pki.certificates.loading import is_odd
from mtls_echo_pki.certificates.outline import DistinguishedName
from mtls_echo_pki.certificates.reading import (
    invalidity,
    is_self_issued,
    issuer_name,
    period,
    subject_name,
    value_of,
)
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.files.atomic_writer import DATA
from mtls_echo_pki.files.oddities import certificate_oddity
from mtls_echo_pki.files.pem_blocks import quoted
from mtls_echo_pki.lifetimes import timestamp
from mtls_echo_pki.printable import printable
from mtls_echo_tls.path.certificates import odd_curve
from mtls_echo_tls.path.chain import has_signed
from mtls_echo_tls.path.local_cas import LocalCA, omitted_cas
from mtls_echo_tls.path.rules import is_ca, is_old_root, strict_violations
from mtls_echo_tls.sides import Side

# An expiry is warned about this long before: what remains of a 30-day certificate when a third of
# its life is left is 10 days, the usual moment to renew; the warning starts when that was missed.
_SOON = datetime.timedelta(days=7)

# Trust anchors named one by one.
_MOST_NAMED = 3

# Who holds a certificate to every rule of RFC 5280.
_STRICT = "strict verifiers (Python from 3.13 on by default, and OpenSSL with -x509_strict)"

_USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


def material_warnings(
    credential: Credential | None,
    trust: Trust | None,
    side: Side,
    local_cas: Sequence[LocalCA],
    *,
    strict: bool = True,
) -> tuple[str, ...]:
    """All warnings about the material of one side, which may be strict, at this moment."""
    found = expiry_warnings(credential, trust, datetime.datetime.now(datetime.UTC))
    if credential is not None:
        found += usage_warnings(credential.certificate, side)
        found += _unfit_key(credential)
        found += (trust and _sent_from_trust(credential, trust)) or _omitted(credential, local_cas)
    if trust is not None:
        found += _missing_crls(trust)
        found += _needless_root(credential, trust)
    found += _oddities(credential, trust)
    return (*found, *_violations(credential, trust, strict=strict))


def exposure_warnings(file: Path | None, what: str) -> tuple[str, ...]:
    """That other users of this machine can read a secret, where its owner can change that.

    Not of a mounted Secret, whose mode is set where it is mounted.
    """
    try:
        if file is None or not file.stat().st_mode & stat.S_IROTH:
            return ()
    except OSError:
        return ()  # it was replaced meanwhile
    if os.path.lexists(file.parent / DATA) or not os.access(file.parent, os.W_OK):
        return ()
    return (f"every user of this machine can read the {what} {file}: chmod 600 {quoted(file)}",)


def expiry_warnings(
    credential: Credential | None, trust: Trust | None, now: datetime.datetime
) -> list[str]:
    """Certificates and CRLs that are not valid, or not for long."""
    found: list[str] = []
    if credential is not None:
        found += _expiry(credential.certificate, "our certificate", now)
        for issuer in credential.chain:
            found += _expiry(issuer, f"the CA {_subject(issuer)} in our chain", now)
    if trust is not None:
        found += _anchor_expiry(trust, now)
        for crl in trust.crls:
            found += _expiry(crl, f"the CRL of {_named(issuer_name(crl))}", now)
    return found


def _anchor_expiry(trust: Trust, now: datetime.datetime) -> list[str]:
    found = [
        warning
        for anchor in trust.anchors
        for warning in _expiry(anchor, f"the trust anchor {_subject(anchor)}", now)
    ]
    if len(found) <= _MOST_NAMED:
        return found
    # A bundle of the web's CAs always has some.
    return [f"{len(found)} of {len(trust.anchors)} trust anchors are not valid, or not for long"]


def _expiry(
    dated: x509.Certificate | x509.CertificateRevocationList, what: str, now: datetime.datetime
) -> list[str]:
    why, (since, until) = invalidity(dated, now), period(dated)
    # Of what was made to live for minutes, the end is expected.
    if why is None and until is not None and until - now < min(_SOON, (until - since) / 3):
        why = f"expires on {timestamp(until)} UTC"
    return [] if why is None else [f"{what} {why}"]


def usage_warnings(certificate: x509.Certificate, side: Side) -> list[str]:
    """Why peers will refuse this as the certificate of a side, at any time."""
    found: list[str] = []
    usages = value_of(certificate, x509.ExtendedKeyUsage)
    # anyExtendedKeyUsage is not enough for OpenSSL.
    if usages is not None and _USAGES[side] not in usages:
        found.append(f"our certificate's extendedKeyUsage does not include {side}Auth")
    if side == "server" and not hosts(certificate) and not has_unreadable_names(certificate):
        found.append(
            "our certificate has no subjectAltName with a host, so clients will refuse it"
        )
    return found


def _unfit_key(credential: Credential) -> list[str]:
    curve = odd_curve(credential.certificate)
    if curve is None:
        return []
    return [
        f"our certificate's key is on the curve {curve}, for which RFC 8446 (TLS 1.3) has no"
        " signature scheme, and which few programs accept in TLS 1.2: it will not be sent, or be"
        " refused"
    ]


def _omitted(credential: Credential, local_cas: Sequence[LocalCA]) -> list[str]:
    return [
        f"our chain lacks {_subject(ca.certificate)}, which is in the same folder:"
        f" append {ca.file} to the certificate file"
        for ca in omitted_cas(credential, local_cas)
    ]


def _sent_from_trust(credential: Credential, trust: Trust) -> list[str]:
    """OpenSSL adds to our chain what it finds among our anchors; other programs do not."""
    last = credential.path[-1]
    return [
        f"our chain lacks {_subject(anchor)}; it is sent because it is among our trust anchors"
        for anchor in trust.anchors
        if not is_self_issued(anchor) and has_signed(anchor, last)
    ]


def _needless_root(credential: Credential | None, trust: Trust) -> list[str]:
    return [
        f"our chain has the root {_subject(root)} in it, which is a trust anchor: a peer that"
        " trusts it has it, and any other must not take it from us; leave it out"
        for root in dict.fromkeys(credential.chain if credential is not None else ())
        if is_self_issued(root) and root in trust.anchors
    ]


def _missing_crls(trust: Trust) -> list[str]:
    """OpenSSL demands a CRL from the issuer of every certificate, a trust anchor's too.

    Of an anchor that is not a root it cannot use one (`mtls_echo_tls.path.crl`).
    """
    listed, found = [issuer_name(crl) for crl in trust.crls], list[str]()
    for anchor in trust.anchors if listed else ():
        refused = "every certificate below that trust anchor will be refused"
        who, above = _subject(anchor), _named(issuer_name(anchor))
        if not is_self_issued(anchor):
            found.append(
                f"with CRLs, OpenSSL has to check the trust anchor {who}, and cannot, since it is"
                f" not a root: {refused}; make {above}, which issued it, the trust anchor in its"
                f" place, have {who} sent along, and load the CRLs of both"
            )
        elif issuer_name(anchor) not in listed:
            found.append(f"there is no CRL of {above}, which issued {who}: {refused}")
    return found


def _oddities(credential: Credential | None, trust: Trust | None) -> list[str]:
    """What OpenSSL takes, and strict readers of DER refuse before they verify anything."""
    own = credential.path if credential is not None else ()
    anchors = trust.anchors if trust is not None else ()
    found = [each for each in dict.fromkeys((*own, *anchors)) if is_odd(each)]
    warnings = [
        f"{_whose(each, each in anchors, each in own[:1])} is read by OpenSSL, and not by some"
        f" other programs: {certificate_oddity(each.public_bytes(Encoding.DER))}"
        for each in found[:_MOST_NAMED]
    ]
    if len(found) > _MOST_NAMED:
        more = len(found) - _MOST_NAMED
        warnings.append(f"{more} more certificates are read by OpenSSL, and not by some programs")
    return warnings


def _violations(credential: Credential | None, trust: Trust | None, *, strict: bool) -> list[str]:
    """What strict verifiers refuse: a CA made by `openssl req -x509`, say, has no keyUsage."""
    own = credential.path if credential is not None else ()
    # What is pinned stands alone on its path, which is not held to these rules.
    anchors = [
        each
        for each in (trust.anchors if trust is not None else ())
        if is_ca(each) or (is_old_root(each) and each not in own)
    ]
    found = [
        (certificate in anchors, certificate, rules)
        for certificate in dict.fromkeys((*own, *anchors))
        if (rules := strict_violations(certificate, anchor=certificate in anchors))
    ]
    warnings = [
        f"{_strictly_refused(certificate, is_anchor, certificate in own[:1], strict)}:"
        f" {', and '.join(rules)}"
        for is_anchor, certificate, rules in found[:_MOST_NAMED]
    ]
    if len(found) > _MOST_NAMED:
        more = len(found) - _MOST_NAMED
        warnings.append(f"{more} more certificates break a rule that strict verifiers enforce")
    return warnings


def _strictly_refused(
    certificate: x509.Certificate, is_anchor: bool, is_leaf: bool, strict: bool
) -> str:
    who = _whose(certificate, is_anchor, is_leaf)
    if is_leaf:
        return f"{who} is refused by {_STRICT}"
    if is_anchor and strict:
        return f"{who} will be refused, and every certificate below it"
    return f"{who} is refused by {_STRICT}, and what it issued"


def _whose(certificate: x509.Certificate, is_anchor: bool, is_leaf: bool) -> str:
    if is_leaf:
        return "our certificate"
    return f"the {'trust anchor' if is_anchor else 'CA'} {_subject(certificate)}"


def _subject(certificate: x509.Certificate) -> str:
    return _named(subject_name(certificate))


def _named(name: DistinguishedName) -> str:
    text = printable(name.common_name or str(name))
    return f"'{text}'" if text else "(without a name)"
