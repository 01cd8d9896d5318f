"""The status of each CA in a PKI directory: its stage, what ends when, what is due next.

Certificates and CRLs tell this themselves, each for its part. Here it is put together for one CA,
in the order in which things end: what is to be done next, and by when.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from mtls_echo_pki.certificates.authority import utcnow
from mtls_echo_pki.certificates.credential import key_id
from mtls_echo_pki.certificates.reading import period, serial_number, subject_name, usage
from mtls_echo_pki.directory.ca_folder import CAFolder, ca_folders
from mtls_echo_pki.directory.ca_state import RolloverStage
from mtls_echo_pki.directory.rollover import issued_by_previous, next_step, situation
from mtls_echo_pki.directory.store import Store
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.staging import DirectoryError
from mtls_echo_pki.lifetimes import describe_lifetime, timestamp, validity

# A credential with less than this part of its life left is due for renewal.
_DUE = 3

# What 80 columns leave beside the titles.
_WIDTH = 65


class Expiry(msgspec.Struct, frozen=True, kw_only=True):
    """Something that ends by itself, and whether it is due for renewal.

    Args:
        what: A credential's name, or what it is.
    """

    what: str
    path: str
    not_after: datetime
    due: bool


class RevokedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that was revoked and has not expired.

    Args:
        name: The credential's.
        serial: Lower-case hex.
        reason: As RFC 5280 §5.3.1 spells it.
    """

    name: str
    serial: str
    revoked_at: datetime
    reason: str
    not_after: datetime


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The status of one CA.

    Args:
        path: Its folder.
        roles: What it issues.
        stage: "settled", "introduced" or "switched".
        situation: Which CA issues and which are trusted, in words.
        still_previous: Credentials that the previous CA issued and that are in use.
        endings: What ends, the soonest first.
        revocations: The revoked certificates, the latest last.
        next: The commands that come next; none while nothing is due.
    """

    path: str
    roles: list[str]
    stage: str
    situation: str
    still_previous: list[str]
    endings: list[Expiry]
    revocations: list[RevokedCertificate]
    next: list[str]


def overviews(store: Store) -> list[Overview]:
    """Return the status of each CA of a directory; none in a copy without CAs.

    Raises:
        DirectoryError, MaterialError: If a CA's files cannot be used.
    """
    return [_overview(store, ca) for ca in ca_folders(store.path)]


def lines_of(overview: Overview, now: datetime) -> list[str]:
    """Return an overview as it is printed."""
    endings = [
        f"{each.what} {validity(now, each.not_after, now)}{', due' if each.due else ''}"
        for each in overview.endings
    ]
    revoked = [
        f"{each.serial} of {each.name} on {timestamp(each.revoked_at)} UTC, {each.reason}, "
        f"would have expired in {describe_lifetime(each.not_after - now)}"
        for each in overview.revocations
    ]
    stages = [f"{overview.stage}: {overview.situation}"]
    if overview.still_previous:
        stages.append(f"still from the previous CA: {', '.join(overview.still_previous)}")
    return [
        f"{overview.path}, for {' and '.join(overview.roles)}",
        *_column("stage", _wrapped(stages)),
        *_column("ends", _wrapped(endings)),
        *_column("revoked", _wrapped(revoked or ["(none)"])),
        # Whole, to be pasted.
        *_column("next", overview.next or ["nothing is due"]),
    ]


def _column(title: str, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield f"  {title if number == 0 else '':11}  {line}"


def _wrapped(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield from textwrap.wrap(
            line, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )


def _overview(store: Store, ca: CAFolder) -> Overview:
    now = utcnow()
    previous = issued_by_previous(store, ca)
    in_force = {key_id(certificate) for certificate in ca.certificates}
    endings = sorted(_endings(store, ca, now), key=lambda each: each.not_after)
    return Overview(
        path=str(ca.folder),
        roles=[*ca.roles],
        stage=ca.state.stage.value,
        situation=situation(ca.state),
        still_previous=previous,
        endings=endings,
        revocations=[
            RevokedCertificate(
                name=entry.name,
                serial=entry.serial,
                revoked_at=entry.revoked_at,
                reason=entry.reason or "unspecified",
                not_after=entry.not_after,
            )
            for entry in ca.ledger.issued
            if entry.revoked_at is not None and entry.not_after > now and entry.issuer in in_force
        ],
        next=_next(store.path, ca, previous, endings),
    )


def _endings(store: Store, ca: CAFolder, now: datetime) -> Iterator[Expiry]:
    void = ca.ledger.void
    for name in store.names():
        try:
            certificate = store.credential(name).certificate
        except (MaterialError, DirectoryError):
            continue  # pki check tells
        begin, end = period(certificate)
        if not {f"{each}s" for each in usage(certificate)} & {*ca.roles}:
            continue
        baseline = f"{serial_number(certificate):x}" not in void
        yield Expiry(
            what=name,
            path=str(store.path / name / "tls.crt"),
            not_after=end,
            due=baseline and (end - now) * _DUE < end - begin,
        )
    for certificate in ca.certificates:
        begin, end = period(certificate)
        name = str(subject_name(certificate))
        due = (end - now) * _DUE < end - begin
        yield Expiry(what=name, path=str(ca.folder), not_after=end, due=due)
        crl = ca.ledger.crl(key_id(certificate))
        if crl is not None and crl.next_update_utc is not None:
            left = (crl.next_update_utc - now).total_seconds()
            yield Expiry(
                what=f"CRL of {name}",
                path=str(store.path / "trust" / ca.roles[0] / "crl.pem"),
                not_after=crl.next_update_utc,
                due=left * 2 < (ca.ledger.crl_lifetime or 0),
            )


def _next(path: Path, ca: CAFolder, previous: list[str], endings: list[Expiry]) -> list[str]:
    place = shlex.quote(str(path))
    option = f" --authority {ca.roles[0]}" if len(ca.roles) == 1 else ""
    due = {each.what: each for each in endings if each.due}
    credentials = sorted(
        {*previous, *(name for name in due if due[name].path.endswith("tls.crt"))}
    )
    commands = [f"mtls-echo pki renew {place} {name} --same-key" for name in credentials]
    if any(each.path.endswith("crl.pem") for each in due.values()):
        commands.append(f"mtls-echo pki crl {place}")
    stage = ca.state.stage
    cas = any(each.path == str(ca.folder) for each in due.values())
    if stage is not RolloverStage.SETTLED or cas:
        commands.append(f"mtls-echo pki rollover {place} {next_step(stage).value}{option}")
    return commands
