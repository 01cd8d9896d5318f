"""Decide whether reloaded material may replace the material in use.

At its start a program warns of an expired certificate and goes on: to show it fail may be what it
was started for. While it serves, the same file in place of a valid one is an accident, and the
answer to an accident is to go on with what works and to report what is wrong. So new material is
compared with what it would replace. What was wrong before may stay wrong; what was right may not
become wrong:

* our certificate, and the CAs sent with it, stay valid and fit for our side;
* of the trust anchors at least one stays valid;
* **CRLs neither vanish nor grow older nor expire.** Without any CRL nothing would be checked, and
  revoked peers would be admitted. An older CRL admits those that the newer one revoked. Without
  the CRL of one CA, or with an expired one, OpenSSL refuses every certificate which that CA
  issued. In each case the CRLs in use are the better ones: their CA stands by them until their
  nextUpdate (RFC 5280 §5.1.2.5). After that they refuse every certificate too.

Authorisation is not compared: another CA, or another name, is a decision of the operator. And an
operator who wants what is refused here can restart the program.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.credential import key_id
from mtls_echo_pki.certificates.reading import (
    invalidity,
    is_valid_at,
    issuer_name,
    period,
    subject_name,
)
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_tls.material.load import Material
from mtls_echo_tls.material.warnings import usage_warnings
from mtls_echo_tls.path.certificates import PeerIdentity
from mtls_echo_tls.path.crl import issued_by, issuer_of, sort_key
from mtls_echo_tls.path.rules import display_name

_PUBLISH = "publish the CA's present CRL"
_RESTART = "to use it all the same, restart"


class _Fault(msgspec.Struct, frozen=True):
    """What would be wrong with some material, and what to do about it.

    Material that has a fault of the same kind is not worse.
    """

    kind: str
    path: Path | None
    reason: str
    hint: str


def reason_to_keep(
    present: Material, successor: Material, now: datetime.datetime
) -> MaterialError | None:
    """Why ``successor`` may not replace ``present``, the material in use; None when it may."""
    known = {fault.kind for fault in _faults(present, now)}
    new = (fault for fault in _faults(successor, now) if fault.kind not in known)
    for fault in (*_lost_crls(present, successor, now), *new):
        path = fault.path or Path(successor.source)
        return MaterialError(path, fault.reason, f"{fault.hint}; {_RESTART}")
    return None


def changed_parts(present: Material, successor: Material) -> tuple[str, ...]:
    """The parts that differ: certificate, key, trust, CRLs."""
    found: list[str] = []
    old, new = present.credential, successor.credential
    if old is not None and new is not None:
        if old.chain_der != new.chain_der:
            found.append("certificate")
        if key_id(old.certificate) != key_id(new.certificate):
            found.append("key")
    before, after = present.trust, successor.trust
    if before is not None and after is not None:
        if set(before.anchors) != set(after.anchors):
            found.append("trust")
        if _serialised(before.crls) != _serialised(after.crls):
            found.append("revocation lists")
    return tuple(found)


def _serialised(crls: tuple[x509.CertificateRevocationList, ...]) -> set[bytes]:
    # The signature covers the whole CRL, and is not repeated for another.
    return {crl.tbs_certlist_bytes + crl.signature for crl in crls}


def _faults(material: Material, now: datetime.datetime) -> Iterator[_Fault]:
    """What is wrong with material at this moment."""
    if material.credential is not None:
        path = material.files.certificate
        for depth, certificate in enumerate(material.credential.path):
            fault = _dated(f"the certificate of {_whose(certificate)}", certificate, now)
            if fault is not None:
                kind, hint = "CA" if depth else "certificate", "publish one valid now"
                yield _Fault(kind, path, fault, hint)
        for reason in usage_warnings(material.credential.certificate, material.side):
            hint = f"publish a {material.side}'s certificate"
            # The reason is also the kind: it has no detail of this certificate.
            yield _Fault(reason, path, reason, hint)
    if material.trust is None:
        return
    if not any(is_valid_at(anchor, now) for anchor in material.trust.anchors):
        reason = "no trust anchor in it is valid at present"
        yield _Fault("anchors", material.files.anchors, reason, "add one that is valid now")
    for issuer in dict.fromkeys(map(issuer_of, material.trust.crls)):
        crls = [crl for crl in material.trust.crls if issuer_of(crl) == issuer]
        faults = [_dated(f"the CRL of {display_name(issuer_name(crl))}", crl, now) for crl in crls]
        if None not in faults:  # OpenSSL takes one that is valid
            yield _Fault(f"CRL {issuer}", material.files.crl, str(faults[-1]), _PUBLISH)


def _whose(certificate: x509.Certificate) -> str:
    # A subject may be empty; those that we issue are, unless a name was given.
    if subject_name(certificate):
        return display_name(subject_name(certificate))
    return f"“{PeerIdentity.from_der(certificate.public_bytes(Encoding.DER))}”"


def _dated(
    what: str, dated: x509.Certificate | x509.CertificateRevocationList, now: datetime.datetime
) -> str | None:
    """Why something is not valid now."""
    why = invalidity(dated, now)
    return None if why is None else f"{what} {why}"


def _lost_crls(present: Material, successor: Material, now: datetime.datetime) -> Iterator[_Fault]:
    """CRLs in use that the successor has not, or only in an older version."""
    if present.trust is None or successor.trust is None or not present.trust.crls:
        return
    path = successor.files.crl or present.files.crl
    if not successor.trust.crls:
        reason = "there is no CRL any more: revoked peers would be admitted"
        yield _Fault("CRLs", path, reason, _PUBLISH)
        return
    newest = {issuer_of(crl): sort_key(crl) for crl in sorted(successor.trust.crls, key=sort_key)}
    for crl in present.trust.crls:
        issuer, name = issuer_of(crl), display_name(issuer_name(crl))
        if issuer in newest:
            # One that is dated in the future was an accident itself.
            if newest[issuer] < sort_key(crl) and period(crl)[0] <= now:
                reason = f"the CRL of {name} is older than the one in use"
                yield _Fault("CRLs", path, reason, _PUBLISH)
        elif any(issued_by(issuer, anchor) for anchor in successor.trust.anchors):
            reason = f"the CRL of {name}, a trust anchor, is missing"
            yield _Fault("CRLs", path, reason, "with it, put one for each CA")
