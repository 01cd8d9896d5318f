"""Decide whether a client whose handshake is complete may be served.

A handshake proves who the client was when it was verified. Before the first byte is served this
may have ceased to hold, in three ways.

**The handshake was a resumption.** Then no certificate was verified this time: the client is
accepted on the strength of an earlier handshake, for as long as its session is kept. In the
meantime its certificate, one above it or a CRL may have expired. (Which certificates are trusted
and which are revoked has not changed: that makes a new context, and a new context knows no session
of the one before.)

**The client waited for a place.** A certificate or a CRL may have expired meanwhile, and is
examined as for a resumption.

**The configuration was replaced while the handshake went on.** A client that stops in the middle
of one could carry a certificate past the moment from which it is refused. So its certification
path is examined against what is trusted and revoked *now*, and what is wrong with it now and was
not before denies it. Where nothing can be found out about it, it is denied too. OpenSSL has
verified whatever else is demanded of a certificate, so a client that is still acceptable never
fails here.

Each is a denial (`mtls_echo_tls.denial`), not an alert: the handshake is complete. When the
client comes back OpenSSL verifies it, and a refusal then has the alert that names the reason.

To examine a path costs more than a handshake does, so what was found holds under the same context
until the first date at which the answer could be another (`_Found`).
"""

from __future__ import annotations

import datetime
import ssl
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from itertools import chain as chained
from typing import TYPE_CHECKING, TypeAlias

from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.der import UnreadableError
from mtls_echo_pki.certificates.loading import load_certificate
from mtls_echo_pki.certificates.reading import (
    expiry,
    is_valid_at,
    issuer_name,
    period,
    subject_name,
)
from mtls_echo_server.access import Access
from mtls_echo_tls.denial import UNREADABLE
from mtls_echo_tls.diagnosis.context_info import ContextInfo, context_info
from mtls_echo_tls.path.certificates import is_readable
from mtls_echo_tls.path.crl import revocation_faults
from mtls_echo_tls.path.validate import CertificationPath, examine
from mtls_echo_tls.slugs import Slug

if TYPE_CHECKING:
    from cryptography import x509

    from mtls_echo_server.connection import Connection

ContextSource: TypeAlias = Callable[[], ssl.SSLContext]

# Intermediate CAs kept in mind: a resumed session remembers the end-entity only.
_MOST_ISSUERS = 64

# What is examined of a path, in certificates.
_LONGEST = 10

# Chains of which something is kept in mind, and the largest, in bytes: together 4 MiB.
_MOST_CHAINS, _LARGEST_CHAIN = 1024, 4096

# Reasons sent to a client by what its path has come to, the most certain first ...
_REASONS: dict[Slug, str] = {
    "revoked": "the client certificate was revoked",
    "revoked-authority": "a CA of the client certificate was revoked",
    "expired": "the client certificate is not valid any more",
    "not-yet-valid": "the client certificate is not valid yet",
    "expired-authority": "a CA of the client certificate is not valid any more",
    "not-yet-valid-authority": "a CA of the client certificate is not valid yet",
    "crl-expired": "the client certificate cannot be checked for revocation any more",
    "crl-not-yet-valid": "the client certificate cannot be checked for revocation yet",
    "crl-missing": "the client certificate cannot be checked for revocation",
}
# ... and the subset that can change without a reload.
_LAPSES: Set[Slug] = _REASONS.keys() - {"crl-missing"}
_UNTRUSTED = "the client certificate's issuer is not trusted any more"
_UNKNOWN = "whether the client certificate is still acceptable cannot be found out"
_MISSING = "no client certificate was presented, and one is needed by now"


class _Found:
    """What was found about chains, each until the first date that could change it.

    That is one of the path or of what it was judged by: a certificate or a CRL begins or ceases to
    be valid. What was found at one time says nothing of an earlier one, where a clock is set back.
    The chains asked for last are kept.
    """

    def __init__(self) -> None:
        self._times: OrderedDict[
            tuple[bytes, ...], tuple[datetime.datetime, datetime.datetime]
        ] = OrderedDict()

    def holds(self, chain: tuple[bytes, ...], now: datetime.datetime) -> bool:
        """Whether what was found about this chain still is so."""
        times = self._times.get(chain)
        if times is None or not times[0] <= now < times[1]:
            return False
        self._times.move_to_end(chain)
        return True

    def keep(
        self,
        chain: tuple[bytes, ...],
        now: datetime.datetime,
        judged: Iterable[x509.Certificate | x509.CertificateRevocationList],
    ) -> None:
        """Keep that something was found now, and by which certificates and CRLs."""
        if sum(map(len, chain)) > _LARGEST_CHAIN:
            return
        dates = chained.from_iterable(map(period, judged))
        until = min((date for date in dates if date is not None and date >= now), default=now)
        self._times[chain] = now, until
        self._times.move_to_end(chain)
        if len(self._times) > _MOST_CHAINS:
            self._times.popitem(last=False)

    def forget(self) -> None:
        """Keep nothing."""
        self._times.clear()


class _Findings:
    """What was found under one context, as it is declared.

    Attributes:
        passed: Chains of resumed sessions that may be served.
        learnt: Chains of verified clients whose intermediates are kept in mind.
    """

    def __init__(self, info: ContextInfo) -> None:
        self.info = info
        self.passed, self.learnt = _Found(), _Found()


class Admission:
    """Decides whether a client that completed its handshake may be served, by these rules."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._issuers: dict[bytes, None] = {}  # a set that remembers the order
        self._findings: weakref.WeakKeyDictionary[ssl.SSLContext, _Findings] = (
            weakref.WeakKeyDictionary()
        )

    def denial(self, connection: Connection, context: ssl.SSLContext) -> str | None:
        """Why this client may not be served under the context in use; changes nothing.

        The reason may be sent to the client: it reveals nothing that a formerly trusted peer did
        not know.
        """
        chain = connection.evidence.peer_chain
        if chain and not is_readable(chain[0]):
            return UNREADABLE
        reason = self.reverify(connection, context)
        if reason is not None or not self._access.restricted:
            return reason
        return self._access.denial(connection.peer)

    def reverify(
        self, connection: Connection, context: ssl.SSLContext, *, waited: bool = False
    ) -> str | None:
        """Verify again what the handshake did not: why this client may not be served; as `denial`.

        That is everything after a reload, the dates after a resumption or when the client has
        ``waited`` since, and otherwise nothing.
        """
        evidence, verified_with = connection.evidence, connection.verified_with
        if context is verified_with and not evidence.resumed and not waited:
            return None
        if not evidence.peer_chain:
            return _MISSING if context.verify_mode == ssl.CERT_REQUIRED else None
        mine = context_info(context)
        if context.verify_mode == ssl.CERT_NONE or mine.trust is None:
            return None  # no client is asked
        now = datetime.datetime.now(datetime.UTC)
        passed = self._found_under(context, mine).passed if context is verified_with else None
        if passed is not None and passed.holds(evidence.peer_chain, now):
            return None
        chain = self._possible_path(evidence.peer_chain, now)
        path, found = _examined(chain, mine, now)
        new = found & _LAPSES
        if context is not verified_with:
            new |= found - _examined(chain, context_info(verified_with), now)[1]
        if not path.certificates:
            return _UNKNOWN
        if new:
            return next((text for slug, text in _REASONS.items() if slug in new), _UNTRUSTED)
        if passed is not None:  # its anchor was found by OpenSSL, if not by us
            if len(chain) < _LONGEST:
                certificates = chained(chain, mine.trust.anchors)
                passed.keep(evidence.peer_chain, now, chained(certificates, mine.trust.crls))
            return None
        if not path.anchored:
            return _UNTRUSTED
        return None if _is_known(context, mine) else _UNKNOWN

    def remember_issuers(self, connection: Connection) -> None:
        """Keep the intermediates of a path that the handshake verified, for its resumptions.

        Not what the client sent along with it; and nothing of a resumption, which verifies none.
        """
        evidence, context = connection.evidence, connection.verified_with
        chain = evidence.peer_chain
        if len(chain) < 2 or evidence.resumed or not is_readable(chain[0]):
            return
        if evidence.version == "TLSv1.3" and not context.num_tickets:
            return  # there is no ticket to resume it with
        mine = context_info(context)
        if mine.trust is None or all(der in self._issuers for der in chain[1:]):
            return
        now = datetime.datetime.now(datetime.UTC)
        learnt = self._found_under(context, mine).learnt
        if learnt.holds(chain, now):
            return
        path = examine(chain, presenter="client", anchors=mine.trust.anchors, now=now)
        for certificate in path.certificates[1:]:
            if certificate not in mine.trust.anchors:
                self._keep_issuer(certificate.public_bytes(Encoding.DER))
        learnt.keep(chain, now, chained(_readable(chain), mine.trust.anchors))

    def _keep_issuer(self, der: bytes) -> None:
        if der in self._issuers:
            return
        self._issuers[der] = None
        if len(self._issuers) > _MOST_ISSUERS:
            del self._issuers[next(iter(self._issuers))]
        # Paths may be longer now, or the certificate that is gone may have been learnt.
        for findings in self._findings.values():
            findings.passed.forget()
            findings.learnt.forget()

    def _found_under(self, context: ssl.SSLContext, mine: ContextInfo) -> _Findings:
        """What is kept of a context; nothing of one whose contents are not declared."""
        findings = self._findings.get(context)
        if findings is None or findings.info is not mine:
            findings = self._findings[context] = _Findings(mine)
        return findings

    def _possible_path(
        self, presented: Sequence[bytes], now: datetime.datetime
    ) -> list[x509.Certificate]:
        """The end-entity certificate and what may stand above it, valid certificates first."""
        found = [load_certificate(presented[0])]
        others = list(_readable((*presented[1:_LONGEST], *self._issuers)))
        for certificate in found:  # which grows
            above = [
                c for c in others if subject_name(c) == issuer_name(certificate) and c not in found
            ]
            found += _valid_first(above, now)
        return found[:_LONGEST]


def _is_known(context: ssl.SSLContext, mine: ContextInfo) -> bool:
    """Whether everything that a context demands is known."""
    return mine.declared or (mine.complete and context.cert_store_stats()["crl"] == 0)


def _examined(
    chain: Sequence[x509.Certificate], mine: ContextInfo, now: datetime.datetime
) -> tuple[CertificationPath, set[Slug]]:
    """The path under this configuration, and the slugs of its faults."""
    if mine.trust is None:
        return CertificationPath(), set()
    path = examine(
        [certificate.public_bytes(Encoding.DER) for certificate in chain],
        presenter="client",
        anchors=_valid_first(mine.trust.anchors, now),
        now=now,
    )
    # The upper end of a resumed session's path may not be known.
    faults = revocation_faults(path.certificates, mine.trust.crls, now)
    return path, {*path.slugs, *(fault.slug for fault in faults)}


def _valid_first(
    certificates: Iterable[x509.Certificate], now: datetime.datetime
) -> list[x509.Certificate]:
    # As OpenSSL chooses among issuers of one name: the valid one, else the last to expire.
    return sorted(certificates, key=lambda c: (is_valid_at(c, now), expiry(c)), reverse=True)


def _readable(certificates: Iterable[bytes]) -> Iterator[x509.Certificate]:
    for der in certificates:
        try:
            certificate = load_certificate(der)
            expiry(certificate)  # it has an outline
        except UnreadableError:
            continue  # no path through it can be examined
        yield certificate
