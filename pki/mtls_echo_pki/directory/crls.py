"""Keep one current CRL per CA: OpenSSL demands one for every CA on the path.

So CRLs are made together: of every CA in force, issuing and root, present, next and previous
(:mod:`mtls_echo_pki.directory.ca_state`). A new one is signed where something changed, where there
is none, and where half of its life is over; otherwise the last one stands. That is more than
thrift. Each CRL must be dated a second after the one before, and a program that signs as fast as
it can would run into the future.

When a CRL ends, all certificates of its CA are refused (verify code 12). Any command that changes
the directory therefore renews CRLs past half of their life; where nothing ever changes,
``pki crl`` has to be run by a timer.
"""

from __future__ import annotations

import time
from datetime import timedelta

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.authority import Authority, utcnow
from mtls_echo_pki.certificates.credential import key_id
from mtls_echo_pki.certificates.crl import DEFAULT_CRL_LIFETIME, CRLState, parse_reason
from mtls_echo_pki.certificates.tbs import Revocation
from mtls_echo_pki.directory.ca_folder import CAFolder, published_trust
from mtls_echo_pki.directory.ledger import Ledger, LedgerEntry
from mtls_echo_pki.files.staging import DirectoryError
from mtls_echo_pki.lifetimes import timestamp

# How long to wait for the second in which the next CRL can be dated. After thousands of CRLs
# within an hour it is one; more than that is a clock that was set back.
_LONGEST_WAIT = timedelta(seconds=2)


def with_current_crls(
    ca: CAFolder,
    ledger: Ledger,
    *,
    lifetime: timedelta | None = None,
    fresh: bool = False,
    lenient: bool = False,
) -> Ledger:
    """Return a ledger in which every CA in force has a current CRL.

    Args:
        ca: Its own ledger says what was listed last.
        ledger: With the revocations to be listed.
        lifetime: From now to nextUpdate; as before unless given, and a week at first.
        fresh: Sign all of them anew. One that was signed within this second is as fresh.
        lenient: Where a CRL cannot be signed, keep the last one.

    Raises:
        DirectoryError: If the key that has to sign was taken away, or the clock was set back.
        ValueError: If a lifetime is less than a second.
    """
    seconds = ledger.crl_lifetime
    lifetime = lifetime or (timedelta(seconds=seconds) if seconds else DEFAULT_CRL_LIFETIME)
    trusts = [published_trust(ca.pki, role) for role in ca.roles]
    crls: dict[str, str] = {}
    for signer in ca.signers:
        certificate = signer if isinstance(signer, x509.Certificate) else signer.certificate
        issuer = key_id(certificate)
        known = [ca.latest_crl(certificate, trust) for trust in trusts]
        last = max(
            (crl for crl in known if crl is not None),
            key=lambda crl: crl.last_update_utc,
            default=None,
        )
        ledger = _merged(ledger, issuer, last)
        revoked = [e for e in ledger.issued if e.issuer == issuer and e.revoked_at is not None]
        if _is_due(last, revoked, lifetime, fresh):
            # Not "or": a CRL without entries is false.
            made = _next(ca, signer, last, revoked, lifetime, lenient)
            last = last if made is None else made
        if last is not None:
            crls[issuer] = last.public_bytes(Encoding.PEM).decode()
    return msgspec.structs.replace(ledger, crls=crls, crl_lifetime=int(lifetime.total_seconds()))


def _merged(ledger: Ledger, issuer: str, last: x509.CertificateRevocationList | None) -> Ledger:
    """Return the ledger with the revocations that a CRL lists and the ledger lacks."""
    listed = {f"{serial:x}": each for serial, each in CRLState.from_crl(last).revocations.items()}

    def merged(entry: LedgerEntry) -> LedgerEntry:
        found = listed.get(entry.serial)
        if found is None or entry.issuer != issuer or entry.revoked_at is not None:
            return entry
        return msgspec.structs.replace(entry, revoked_at=found.date, reason=found.reason.value)

    return msgspec.structs.replace(ledger, issued=tuple(map(merged, ledger.issued)))


def _is_due(
    last: x509.CertificateRevocationList | None,
    revoked: list[LedgerEntry],
    lifetime: timedelta,
    fresh: bool,
) -> bool:
    if last is None or last.next_update_utc is None:
        return True
    now = utcnow()
    if any(
        last.get_revoked_certificate_by_serial_number(int(entry.serial, 16)) is None
        for entry in revoked
        if entry.not_after > now
    ):
        return True
    if fresh:
        return last.next_update_utc != (now + lifetime).replace(microsecond=0)
    return last.next_update_utc - now < lifetime / 2


def _next(
    ca: CAFolder,
    signer: Authority | x509.Certificate,
    last: x509.CertificateRevocationList | None,
    revoked: list[LedgerEntry],
    lifetime: timedelta,
    lenient: bool,
) -> x509.CertificateRevocationList | None:
    """Sign the CRL after ``last``; None if that one is kept."""
    if isinstance(signer, x509.Certificate):
        alive = last is not None and (last.next_update_utc or utcnow()) > utcnow()
        if lenient or alive:
            return None
        raise DirectoryError(
            f"{ca.folder}: {signer.subject.rfc4514_string()} has to sign a CRL, "
            "and its key was taken away",
            "put it back, as root.key, for as long as this takes",
        )
    crl_state = CRLState.from_crl(last)
    for entry in revoked:
        serial = int(entry.serial, 16)
        reason = parse_reason(entry.reason or "unspecified")
        crl_state.revocations.setdefault(
            serial, Revocation(serial, entry.revoked_at or entry.issued_at, reason)
        )
        # What has expired is dropped once a CRL of a later date has listed it (RFC 5280 §3.3).
        if last is not None and entry.not_after < last.last_update_utc:
            del crl_state.revocations[serial]
    delay = crl_state.delay(utcnow())
    if last is not None and delay > _LONGEST_WAIT:
        if lenient:
            return None
        raise DirectoryError(
            f"{ca.folder}: the last CRL is dated "
            f"{timestamp(last.last_update_utc)} UTC, and the next must be later",
            "check this machine's clock: it was set back by more than an hour",
        )
    if delay:
        time.sleep(delay.total_seconds())
    return crl_state.next_crl(signer.certificate, signer.key, utcnow(), lifetime)
