"""A handshake proves who the client was when it was judged; admission asks if that still holds.

Between the judgement and the first byte that is served something may have changed, in two ways.

**The handshake was a resumption.** Then nobody has verified a certificate this time: the client
gets in on the strength of an earlier handshake, for as long as its session is kept. In the
meantime its certificate, one above it or a revocation list may have expired. (Which certificates
are trusted and which are revoked has not changed: that makes a new context, and a new context
knows no session of the one before.)

**The configuration was replaced while the handshake went on.** A client that stops in the middle
of one could carry a certificate past the moment from which it is refused. So its path is examined
against what is trusted and revoked *now*, and what is wrong with it now and was not before turns
it away. Where nothing can be said about it, it is turned away too. Whatever else is demanded of a
certificate OpenSSL has verified, so a client that is still acceptable never fails here.

Either is a denial (`mtls_echo_tls.denial`), not an alert: the handshake is complete. A client
that comes back is judged by OpenSSL, and if it is refused, by the alert that names the reason.
"""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.reading import UNREADABLE, is_valid_at, load_certificate
from mtls_echo_server.access import Access
from mtls_echo_tls.diagnosis.context_info import Configuration, recall
from mtls_echo_tls.path.certificates import is_readable
from mtls_echo_tls.path.crl import revocation_faults
from mtls_echo_tls.path.validate import CertificationPath, examine

if TYPE_CHECKING:
    from cryptography import x509

    from mtls_echo_server.connection import Connection

ContextSource: TypeAlias = Callable[[], ssl.SSLContext]

# Intermediate authorities kept in mind: a resumed session remembers the end-entity only.
_MOST_ISSUERS = 64

# What is examined of a path, in certificates.
_LONGEST = 10

# What to tell a client of what has become of its path, the most certain first ...
_REASONS = {
    "revoked": "the client certificate was revoked",
    "revoked-authority": "an authority of the client certificate was revoked",
    "expired": "the client certificate is not valid any more",
    "not-yet-valid": "the client certificate is not valid yet",
    "expired-authority": "an authority of the client certificate is not valid any more",
    "not-yet-valid-authority": "an authority of the client certificate is not valid yet",
    "crl-expired": "the client certificate cannot be checked for revocation any more",
    "crl-not-yet-valid": "the client certificate cannot be checked for revocation yet",
    "crl-missing": "the client certificate cannot be checked for revocation",
}
# ... and of that, what can have become of it while the configuration stayed the same.
_LAPSES = _REASONS.keys() - {"crl-missing"}
_UNTRUSTED = "the client certificate's issuer is not trusted any more"
_UNKNOWN = "whether the client certificate is still acceptable cannot be found out"
_MISSING = "no client certificate was presented, and one is needed by now"


class Admission:
    """Decides whether a client that completed its handshake may be served.

    Args:
        access: Which authenticated clients may enter.
        current: The context in use.
    """

    def __init__(self, access: Access, current: ContextSource) -> None:
        self._access = access
        self._current = current
        self._issuers: dict[bytes, None] = {}  # a set that remembers the order

    def denial(self, connection: Connection) -> str | None:
        """Why this client may not enter, or None when it may.

        Returns:
            A reason for the client to read: nothing in it is news to who was trusted before.
        """
        chain = connection.evidence.peer_chain
        if chain and not is_readable(chain[0]):
            return "the client certificate cannot be read"
        lapse = self._lapse(connection)
        if lapse is not None or not self._access.restricted:
            return lapse
        return self._access.denial(connection.peer)

    def is_current(self, connection: Connection) -> bool:
        """Whether the context by which a client was judged is still the one in use."""
        return connection.judged_by is self._current()

    def _lapse(self, connection: Connection) -> str | None:
        context, evidence = self._current(), connection.evidence
        judged_by, connection.judged_by = connection.judged_by, context
        if context is judged_by and not evidence.resumed and len(evidence.peer_chain) < 2:
            return None  # nothing has changed, and there is no intermediate to remember
        mine = recall(context)
        if context is judged_by and not evidence.resumed:
            self._remember(evidence.peer_chain, mine)
            return None
        if not evidence.peer_chain:
            return _MISSING if context.verify_mode == ssl.CERT_REQUIRED else None
        if context.verify_mode == ssl.CERT_NONE or mine.trust is None:
            return None  # nobody is asked
        now = datetime.datetime.now(datetime.UTC)
        chain = self._possible_path(evidence.peer_chain, now)
        path, found = _examined(chain, mine, now)
        new = found & _LAPSES
        if context is not judged_by:
            new |= found - _examined(chain, recall(judged_by), now)[1]
        if not path.certificates:
            return _UNKNOWN
        if new:
            return next((text for slug, text in _REASONS.items() if slug in new), _UNTRUSTED)
        if context is judged_by:
            return None  # its anchor was found by OpenSSL, if not by us
        if not path.anchored:
            return _UNTRUSTED
        return None if _is_known(context, mine) else _UNKNOWN

    def _remember(self, chain: Sequence[bytes], mine: Configuration) -> None:
        """Keep the intermediates of a path that was just verified; not what came along with it."""
        if mine.trust is None or all(der in self._issuers for der in chain[1:]):
            return
        path = examine(chain, presenter="client", anchors=mine.trust.anchors)
        for certificate in path.certificates[1:]:
            if certificate not in mine.trust.anchors:
                self._issuers[certificate.public_bytes(Encoding.DER)] = None
        while len(self._issuers) > _MOST_ISSUERS:
            del self._issuers[next(iter(self._issuers))]

    def _possible_path(
        self, presented: Sequence[bytes], now: datetime.datetime
    ) -> list[x509.Certificate]:
        """The end-entity certificate, and whatever may stand above it, what is valid first."""
        found = [load_certificate(presented[0])]
        others = list(_readable((*presented[1:_LONGEST], *self._issuers)))
        for certificate in found:  # which grows
            above = [c for c in others if c.subject == certificate.issuer and c not in found]
            found += _valid_first(above, now)
        return found[:_LONGEST]


def _is_known(context: ssl.SSLContext, mine: Configuration) -> bool:
    """Whether a context demands nothing that we do not know of."""
    return mine.described or (mine.complete and context.cert_store_stats()["crl"] == 0)


def _examined(
    chain: Sequence[x509.Certificate], mine: Configuration, now: datetime.datetime
) -> tuple[CertificationPath, set[str]]:
    """A path as this configuration sees it, and what is wrong with it."""
    if mine.trust is None:
        return CertificationPath(), set()
    path = examine(
        [certificate.public_bytes(Encoding.DER) for certificate in chain],
        presenter="client",
        anchors=_valid_first(mine.trust.anchors, now),
        now=now,
    )
    # Of a resumed session's path the upper end may not be known.
    faults = revocation_faults(path.certificates, mine.trust.crls, now)
    return path, {*path.slugs, *(fault.slug for fault in faults)}


def _valid_first(
    certificates: Iterable[x509.Certificate], now: datetime.datetime
) -> list[x509.Certificate]:
    # As OpenSSL chooses among issuers of one name: the valid one, else the last to expire.
    return sorted(
        certificates, key=lambda c: (is_valid_at(c, now), c.not_valid_after_utc), reverse=True
    )


def _readable(certificates: Iterable[bytes]) -> Iterator[x509.Certificate]:
    for der in certificates:
        try:
            certificate = load_certificate(der)
            _ = certificate.subject, certificate.issuer, certificate.not_valid_after_utc
        except UNREADABLE:
            continue  # it can be no part of a path that we can judge
        yield certificate
