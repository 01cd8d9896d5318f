"""The state of a CA's CRLs: what was revoked, and how the next CRL must be numbered and dated.

A certificate cannot be called back. Its CA publishes, signed and dated, the serial numbers of
those it has revoked (RFC 5280 §5), and every verifier must have that CRL. Two properties of the
verifiers decide how CRLs are made here.

**The newest CRL is the one with the latest thisUpdate.** OpenSSL does not compare CRLNumber,
whatever RFC 5280 §5.2.3 says about it. Measured: of two CRLs whose thisUpdate is the same second,
the one loaded first wins, and a client revoked in the second of them is accepted. thisUpdate has
no fractions of a second (§5.1.2.4), so a program that revokes two certificates in a row would run
into it; :class:`CRLState` makes thisUpdate grow by at least a second every time.

**A CRL dated in the future refuses everything.** Verify code 11, until thisUpdate has come. So
CRLs are dated back, by an hour, which leaves room for clocks that differ and for that growth:
3,600 CRLs can follow each other within a moment. Whatever needs more waits for a second to pass
(:meth:`CRLState.delay`).

All of the state stands in the last CRL: what was revoked, its number, its thisUpdate. It is
resumed from there (:meth:`CRLState.from_crl`); a CA that forgot it would issue a CRL without
yesterday's revocations.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
from cryptography import x509

from mtls_echo_pki.certificates.der import UnreadableError
from mtls_echo_pki.certificates.loading import parsing
from mtls_echo_pki.certificates.reading import (
    extension,
    issuer_name,
    period,
    public_key,
    subject_name,
)
from mtls_echo_pki.certificates.request import PrivateKey
from mtls_echo_pki.certificates.tbs import PublicKey, Revocation, TBSCertList
from mtls_echo_pki.lifetimes import timestamp

DEFAULT_CRL_LIFETIME = timedelta(days=7)

# The reasons that can be given here, as RFC 5280 §5.3.1 spells them. certificateHold can be lifted
# again and removeFromCRL lifts it: neither revokes.
REASONS = tuple(
    reason.value
    for reason in x509.ReasonFlags
    if reason not in (x509.ReasonFlags.certificate_hold, x509.ReasonFlags.remove_from_crl)
)

# How far before now a CRL's thisUpdate lies, and so how many CRLs can follow each other within
# a moment (one a second) before the newest would have to lie in the future.
_BACKDATE = timedelta(hours=1)
_SECOND = timedelta(seconds=1)


class CRLState(msgspec.Struct):
    """What a CA has revoked, and how it dated its last CRL.

    Args:
        revocations: By serial number, in the order of their revocation.
        number: CRLNumber of the last CRL; 0 before the first.
        this_update: thisUpdate of the last CRL; None before the first.
    """

    revocations: dict[int, Revocation] = msgspec.field(default_factory=dict[int, Revocation])
    number: int = 0
    this_update: datetime | None = None

    @classmethod
    def from_crl(cls, last: x509.CertificateRevocationList | None) -> CRLState:
        """Return the state of a CA after its last CRL; None if it has made none yet.

        Raises:
            ValueError: If a part of the CRL cannot be read.
        """
        if last is None:
            return cls()
        with parsing():
            entries = [
                Revocation(entry.serial_number, entry.revocation_date_utc, reason_of(entry))
                for entry in last
            ]
            return cls(
                {entry.serial_number: entry for entry in entries},
                crl_number(last),
                period(last)[0],
            )

    def delay(self, now: datetime) -> timedelta:
        """Return how long to wait before the next CRL; zero, except in a burst of thousands.

        It is much if the clock was set back.
        """
        return max(timedelta(0), self._next_update(now) - now)

    def revoke(self, serial_number: int, now: datetime, reason: x509.ReasonFlags) -> Revocation:
        """Add a certificate; one that was added before stays as it is.

        Raises:
            ValueError: If the reason is ``removeFromCRL``, which is for delta CRLs, or
                ``certificateHold``, which is not for good.
        """
        if reason is x509.ReasonFlags.remove_from_crl:
            raise ValueError("removeFromCRL is for delta CRLs, which are not made here")
        if reason is x509.ReasonFlags.certificate_hold:
            raise ValueError(
                "certificateHold could be lifted again, which is not done here; "
                "revoke for good, or not at all"
            )
        return self.revocations.setdefault(
            serial_number, Revocation(serial_number, now.replace(microsecond=0), reason)
        )

    def next_crl(
        self, issuer: x509.Certificate, key: PrivateKey, now: datetime, lifetime: timedelta
    ) -> x509.CertificateRevocationList:
        """Sign a CRL that supersedes every one before it.

        Args:
            issuer: The CA's certificate.
            key: The CA's key.
            now: The present.
            lifetime: From now to nextUpdate.

        Raises:
            ValueError: If the CRL would have expired already, or would have to be dated into the
                future: after 3,600 CRLs in an hour, or with a clock that was set back.
        """
        if lifetime < _SECOND:
            raise ValueError("a CRL needs a lifetime of at least a second")
        this_update = self._next_update(now)
        if self.this_update is not None and this_update > now:
            raise ValueError(
                f"the last CRL is dated {timestamp(self.this_update)} UTC, "
                "and the next must be later; check this machine's clock, or wait"
            )
        made = TBSCertList(
            issuer=issuer,
            number=self.number + 1,
            this_update=this_update,
            next_update=(now + lifetime).replace(microsecond=0),
            revocations=tuple(self.revocations.values()),
        ).sign(key)
        self.number += 1
        self.this_update = this_update
        return made

    def _next_update(self, now: datetime) -> datetime:
        this_update = (now - _BACKDATE).replace(microsecond=0)
        if self.this_update is not None:
            this_update = max(this_update, self.this_update + _SECOND)
        return this_update


def is_crl_of(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    """Return whether a CA signed a CRL: by its name, and with its key."""
    if issuer_name(crl) != subject_name(issuer):
        return False
    try:
        key = public_key(issuer)
        with parsing():
            return isinstance(key, PublicKey) and crl.is_signature_valid(key)
    except UnreadableError:  # a curve or a signature algorithm that is not supported
        return False


def crl_number(crl: x509.CertificateRevocationList) -> int:
    """Return the CRLNumber of a CRL (RFC 5280 §5.2.3); 0 if it has none."""
    number = extension(crl, x509.CRLNumber)
    return 0 if number is None else number.crl_number


def parse_reason(text: str) -> x509.ReasonFlags:
    """Read a reason by its name in RFC 5280 §5.3.1; case, hyphens and underscores do not matter.

    Raises:
        ValueError: If there is no such reason.
    """
    wanted = text.casefold().replace("-", "").replace("_", "")
    for reason in x509.ReasonFlags:
        if reason.value.casefold() == wanted:
            return reason
    raise ValueError(f'"{text}" is not a reason; give one of {", ".join(REASONS)}')


def reason_of(entry: x509.RevokedCertificate) -> x509.ReasonFlags:
    """Return the reason of an entry; ``unspecified`` if none is given (RFC 5280 §5.3.1).

    Raises:
        UnreadableError: If the entry's extensions cannot be read.
    """
    try:
        with parsing():
            return entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        return x509.ReasonFlags.unspecified
