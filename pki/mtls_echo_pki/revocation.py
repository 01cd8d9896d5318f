"""A revocation list says what counts no longer, and is believed for as long as it says itself.

A certificate cannot be called back. Its authority publishes, signed and dated, the serial numbers
of those it no longer stands by (RFC 5280 §5), and whoever judges a peer must have that list. Two
properties of the verifiers shape how lists are made here.

**The newest list is the one with the latest thisUpdate.** OpenSSL does not compare CRLNumber, for
all that RFC 5280 §5.2.3 says about it. Measured: of two lists whose thisUpdate is the same second,
the one loaded first wins, and a client revoked in the second of them gets in. thisUpdate has no
fractions of a second (§5.1.2.4), so a program that revokes two certificates in a row would run
into it; :class:`Register` makes thisUpdate grow by at least a second every time.

**A list of the future is no list.** Code 11 refuses everybody until thisUpdate has come. So lists,
like certificates, are dated back a little, which leaves room for clocks that differ and for that
growth.

The state is small, and meant to be kept: what was revoked, the last number, the last thisUpdate.
A register that forgot them would issue a list without yesterday's revocations.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509

from mtls_echo_pki.credential import PrivateKey
from mtls_echo_pki.signing import Revocation, TBSCertList

DEFAULT_CRL_LIFETIME = timedelta(days=7)

# How far before now a list's thisUpdate lies, and so how many lists can follow each other within
# a moment (one a second) before the newest would have to lie in the future.
_BACKDATE = timedelta(minutes=5)
_SECOND = timedelta(seconds=1)


@dataclass
class Register:
    """What an authority has revoked, and how it dated its last list.

    Args:
        revocations: By serial number, in the order of their revocation.
        number: CRLNumber of the last list; 0 before the first.
        this_update: thisUpdate of the last list; None before the first.
    """

    revocations: dict[int, Revocation] = field(default_factory=dict[int, Revocation])
    number: int = 0
    this_update: datetime | None = None

    def revoke(self, serial_number: int, now: datetime, reason: x509.ReasonFlags) -> Revocation:
        """Enter a certificate; one that was entered before stays as it is.

        Raises:
            ValueError: If the reason is ``removeFromCRL``, which belongs to delta lists.
        """
        if reason is x509.ReasonFlags.remove_from_crl:
            raise ValueError("removeFromCRL is for delta lists, which are not made here")
        return self.revocations.setdefault(
            serial_number, Revocation(serial_number, now.replace(microsecond=0), reason)
        )

    def next_list(
        self, issuer: x509.Certificate, key: PrivateKey, now: datetime, lifetime: timedelta
    ) -> x509.CertificateRevocationList:
        """Sign a list that supersedes every one before it.

        Args:
            issuer: The authority's certificate.
            key: The authority's key.
            now: The present.
            lifetime: From now to nextUpdate.

        Raises:
            ValueError: If the list would have expired already, or would have to be dated into the
                future: after 300 lists in five minutes, or with a clock that was set back.
        """
        if lifetime < _SECOND:
            raise ValueError("a revocation list needs a lifetime of at least a second")
        this_update = (now - _BACKDATE).replace(microsecond=0)
        if self.this_update is not None:
            this_update = max(this_update, self.this_update + _SECOND)
        if this_update > now:
            raise ValueError(
                f"the last revocation list is dated {self.this_update:%Y-%m-%d %H:%M:%S} UTC, "
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
