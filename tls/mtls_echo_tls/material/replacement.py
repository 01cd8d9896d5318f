"""What has been read may take the place of what is in use unless it would make things worse.

At its start a program warns of an expired certificate and goes on: to show it fail may be what it
was started for. While it serves, the same file in place of a valid one is an accident, and the
answer to an accident is to go on with what works and to say what is wrong. So a successor is
compared with what it would replace. What was wrong before may stay wrong; what was right may not
become wrong:

* our certificate, and the authorities sent with it, stay valid and fit for our side;
* of the trust anchors at least one stays valid;
* **revocation lists neither vanish nor grow older nor expire.** Without any list nothing would be
  checked, and the revoked would be let in. An older list lets in whom the newer one revoked.
  Without the list of one authority, or with an expired one, OpenSSL refuses everybody whom that
  authority issued for. In each case the lists in use are the better ones: their authority stands
  by them until their nextUpdate (RFC 5280 §5.1.2.5). When that has come they refuse everybody too.

Nothing here asks who may enter: another authority, or another name, is a decision of whoever
wrote the files. And whoever means what is refused here can restart the program.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.reading import invalidity, is_valid_at
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_tls.material.load import Material, usage_warnings
from mtls_echo_tls.path.certificates import PeerIdentity
from mtls_echo_tls.path.crl import issued_by, issuer_of, sort_key
from mtls_echo_tls.path.rules import display_name

_RESTART = "to use it all the same, restart"


@dataclass(frozen=True)
class _Fault:
    """What would be wrong with some material.

    Attributes:
        kind: Material that has the same kind of fault is no worse.
        path: The file that has it.
        reason: In the words of an error about that file.
        hint: What to do about it.
    """

    kind: str
    path: Path | None
    reason: str
    hint: str


def reason_to_keep(
    present: Material, successor: Material, now: datetime.datetime
) -> MaterialError | None:
    """Why ``successor`` may not take the place of ``present``; None when it may.

    Args:
        present: What is in use.
        successor: What has been read, and is sound by itself.
        now: The time to judge by.
    """
    known = {fault.kind for fault in _faults(present, now)}
    new = (fault for fault in _faults(successor, now) if fault.kind not in known)
    for fault in (*_lost_crls(present, successor, now), *new):
        path = fault.path or Path(successor.source)
        return MaterialError(path, fault.reason, f"{fault.hint}; {_RESTART}")
    return None


def changed_parts(present: Material, successor: Material) -> tuple[str, ...]:
    """In words, what differs: certificate, key, trust, revocation lists."""
    found: list[str] = []
    one, other = present.credential, successor.credential
    if one is not None and other is not None:
        if one.chain_der != other.chain_der:
            found.append("certificate")
        if one.certificate.public_key() != other.certificate.public_key():
            found.append("key")
    believed, believing = present.trust, successor.trust
    if believed is not None and believing is not None:
        if set(believed.anchors) != set(believing.anchors):
            found.append("trust")
        if _serialised(believed.crls) != _serialised(believing.crls):
            found.append("revocation lists")
    return tuple(found)


def _serialised(crls: tuple[x509.CertificateRevocationList, ...]) -> set[bytes]:
    # The signature is over everything in a list, and is not repeated for another.
    return {crl.tbs_certlist_bytes + crl.signature for crl in crls}


def _faults(material: Material, now: datetime.datetime) -> Iterator[_Fault]:
    """What is wrong with some material at this moment."""
    if material.credential is not None:
        path = material.files.certificate
        for depth, certificate in enumerate(material.credential.path):
            fault = _dated(f"the certificate of {_whose(certificate)}", certificate, now)
            if fault is not None:
                kind, hint = "authority" if depth else "certificate", "publish one valid now"
                yield _Fault(kind, path, fault, hint)
        for reason in usage_warnings(material.credential.certificate, material.side):
            hint = f"publish a {material.side}'s certificate"
            # The reason names the kind of fault and no detail of this certificate.
            yield _Fault(reason, path, reason, hint)
    if material.trust is None:
        return
    if not any(is_valid_at(anchor, now) for anchor in material.trust.anchors):
        reason = "no trust anchor in it is valid at present"
        yield _Fault("anchors", material.files.anchors, reason, "add one that is valid now")
    for authority in dict.fromkeys(map(issuer_of, material.trust.crls)):
        lists = [crl for crl in material.trust.crls if issuer_of(crl) == authority]
        faults = [
            _dated(f"the revocation list of {display_name(crl.issuer)}", crl, now) for crl in lists
        ]
        if None not in faults:  # OpenSSL takes whichever is valid
            kind, hint = f"list {authority}", "publish the authority's present list"
            yield _Fault(kind, material.files.lists, str(faults[-1]), hint)


def _whose(certificate: x509.Certificate) -> str:
    # A subject may be empty, and is with us unless somebody asked for one.
    if certificate.subject:
        return display_name(certificate.subject)
    return f"“{PeerIdentity.from_der(certificate.public_bytes(Encoding.DER))}”"


def _dated(
    what: str,
    dated: x509.Certificate | x509.CertificateRevocationList,
    now: datetime.datetime,
) -> str | None:
    """Why something is not valid now."""
    why = invalidity(dated, now)
    return None if why is None else f"{what} {why}"


# --- revocation lists ----------------------------------------------------------------------------


def _lost_crls(present: Material, successor: Material, now: datetime.datetime) -> Iterator[_Fault]:
    """What lists we have, and would not have any more."""
    if present.trust is None or successor.trust is None or not present.trust.crls:
        return
    path = successor.files.lists or present.files.lists
    if not successor.trust.crls:
        reason = "there is no revocation list any more: the revoked would be let in"
        yield _Fault("lists", path, reason, "publish the authority's present list")
        return
    having = {issuer_of(crl): sort_key(crl) for crl in sorted(successor.trust.crls, key=sort_key)}
    for crl in present.trust.crls:
        authority, name = issuer_of(crl), display_name(crl.issuer)
        if authority in having:
            # One from the future was an accident of its own.
            if having[authority] < sort_key(crl) and crl.last_update_utc <= now:
                reason = f"the revocation list of {name} is older than the one in use"
                yield _Fault("lists", path, reason, "publish the authority's present list")
        elif any(issued_by(authority, anchor) for anchor in successor.trust.anchors):
            reason = f"the revocation list of {name}, a trust anchor, is missing"
            yield _Fault("lists", path, reason, "with it, put one for each authority")
