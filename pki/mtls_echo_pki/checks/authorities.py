"""Check that CAs, trust anchors, CRLs and ledgers fit together.

A bad credential fails for one peer. A bad trust anchor or CRL fails for every peer, or, worse,
fails for none: a ledger that was restored from last week's backup has forgotten this week's
revocations, and nothing looks wrong. So it is compared with what was published.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from mtls_echo_pki.certificates.credential import key_id
from mtls_echo_pki.certificates.crl import crl_number, is_crl_of
from mtls_echo_pki.certificates.identifiers import subject_of
from mtls_echo_pki.certificates.reading import (
    is_authority,
    is_valid_at,
    issuer_name,
    period,
    subject_name,
)
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.directory.ca_folder import CAFolder
from mtls_echo_pki.directory.ca_state import CAGeneration
from mtls_echo_pki.files.atomic_writer import GENERATION
from mtls_echo_pki.lifetimes import validity


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong with a file or folder, and what to do about it."""

    path: Path
    what: str
    hint: str


def check_ca(ca: CAFolder, now: datetime) -> Iterator[Defect]:
    """Check the present CA, the next and the previous one."""
    state = ca.state
    generations: tuple[tuple[str, CAGeneration | None], ...] = (
        ("tls.crt", state.present),
        ("next.crt", state.next),
        ("previous.crt", state.previous),
    )
    for name, generation in generations:
        if generation is not None:
            yield from check_times(ca.folder / name, generation.certificates, now)
    cross = state.cross
    if cross is None:
        return
    path = ca.folder / "cross.crt"
    yield from check_times(path, (cross,), now)
    if key_id(cross) != key_id(state.present.anchor) or state.previous is None:
        yield Defect(
            path,
            f"is not the key of {subject_of(state.present.anchor)}, which it is sent for",
            "restore the folder from a backup",
        )


def check_anchors(path: Path, trust: Trust, now: datetime) -> Iterator[Defect]:
    """Check the trust anchors."""
    yield from check_times(path, trust.anchors, now)
    for anchor in trust.anchors:
        if not is_authority(anchor):
            yield Defect(
                path,
                f"trusts {subject_of(anchor)}, which is not a CA",
                "trust the root that issued it, unless it is pinned on purpose",
            )


def check_lost_crls(path: Path, trust: Trust) -> Iterator[Defect]:
    """Detect that revocation was turned off: the previous generation, which is kept, had CRLs."""
    if not trust.crls and any(path.parent.glob(f"{GENERATION}*/{path.name}")):
        yield Defect(
            path,
            "is gone, and with it every revocation: the previous generation had CRLs",
            "publish the CRLs again, together with the anchors",
        )


def check_crls(path: Path, trust: Trust, ca: CAFolder | None, now: datetime) -> Iterator[Defect]:
    """Find CRLs, or missing ones, with which OpenSSL would refuse every peer."""
    again = "publish new ones: mtls-echo pki crl " + shlex.quote(str(ca.pki if ca else "DIR"))
    own = ca.certificates if ca else ()
    for crl in trust.crls:
        name = issuer_name(crl)
        begin, end = period(crl)
        if not is_valid_at(crl, now):
            yield Defect(
                path,
                f"the CRL of {name} {validity(begin, end or begin, now)}, so no peer is accepted",
                "wait, or check this machine's clock" if now < begin else again,
            )
        same_name = [c for c in (*trust.anchors, *own) if subject_name(c) == name]
        if same_name and not any(is_crl_of(crl, each) for each in same_name):
            yield Defect(
                path,
                f"the CRL of {name} was not signed by it",
                "do not use it: it was altered, or comes from another CA of that name",
            )
    if ca is None or not ca.ledger.crls:
        return
    for certificate in own:
        if not any(issuer_name(crl) == subject_name(certificate) for crl in trust.crls):
            yield Defect(
                path,
                f"has no CRL of {subject_of(certificate)}, so no certificate below it is accepted",
                again,
            )


def check_ledger(ca: CAFolder, trust: Trust) -> Iterator[Defect]:
    """Detect a ledger restored from an old backup: a published CRL is newer than its last."""
    if not ca.ledger.crls:
        return
    for certificate in ca.certificates:
        known = ca.ledger.crl(key_id(certificate))
        number = 0 if known is None else crl_number(known)
        for crl in trust.crls:
            if is_crl_of(crl, certificate) and crl_number(crl) > number:
                yield Defect(
                    ca.folder / "ledger.json",
                    f"knows CRL {number} of {subject_of(certificate)} as the last, and CRL "
                    f"{crl_number(crl)} was published: it was put back to an earlier state",
                    "take over what the published CRLs say: mtls-echo pki crl "
                    f"{shlex.quote(str(ca.pki))}; certificates issued since are lost to it",
                )


def check_times(
    path: Path, certificates: Iterable[x509.Certificate], now: datetime
) -> Iterator[Defect]:
    """Find what has expired, or is not yet valid."""
    for certificate in certificates:
        begin, end = period(certificate)
        if not is_valid_at(certificate, now):
            yield Defect(
                path,
                f"{subject_of(certificate)} {validity(begin, end, now)}",
                "issue another" if now > end else "wait, or check this machine's clock",
            )
