"""Decide whether a client whose handshake is complete may be served.

A handshake proves who the client was when it was verified. Before the first byte is served this
may have ceased to hold, in two ways.

**The handshake was a resumption.** Then no certificate was verified this time: the client is
accepted on the strength of an earlier handshake, for as long as its session is kept. In the
meantime its certificate, one above it or a CRL may have expired. (Which certificates are trusted
and which are revoked has not changed: that makes a new context, and a new context knows no session
of the one before.)

**The configuration was replaced while the handshake went on.** A client that stops in the middle
of one could carry a certificate past the moment from which it is refused. So its certification
path is examined against what is trusted and revoked *now*, and what is wrong with it now and was
not before denies it. Where nothing can be found out about it, it is denied too. OpenSSL has
verified whatever else is demanded of a certificate, so a client that is still acceptable never
fails here.

Either is a denial (`mtls_echo_tls.denial`), not an alert: the handshake is complete. When the
client comes back OpenSSL verifies it, and a refusal then has the alert that names the reason.
"""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from typing import TYPE_CHECKING, TypeAlias

from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.der import UnreadableError
from mtls_echo_pki.certificates.loading import load_certificate
from mtls_echo_pki.certificates.reading import expiry, is_valid_at, issuer_name, subject_name
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


class Admission:
    """Decides whether a client that completed its handshake may be served, by these rules."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._issuers: dict[bytes, None] = {}  # a set that remembers the order

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

    def reverify(self, connection: Connection, context: ssl.SSLContext) -> str | None:
        """Verify again what the handshake did not: why this client may not be served; as `denial`.

        That is everything after a reload, the dates after a resumption, and otherwise nothing.
        """
        evidence, verified_with = connection.evidence, connection.verified_with
        if context is verified_with and not evidence.resumed:
            return None
        if not evidence.peer_chain:
            return _MISSING if context.verify_mode == ssl.CERT_REQUIRED else None
        mine = context_info(context)
        if context.verify_mode == ssl.CERT_NONE or mine.trust is None:
            return None  # no client is asked
        now = datetime.datetime.now(datetime.UTC)
        chain = self._possible_path(evidence.peer_chain, now)
        path, found = _examined(chain, mine, now)
        new = found & _LAPSES
        if context is not verified_with:
            new |= found - _examined(chain, context_info(verified_with), now)[1]
        if not path.certificates:
            return _UNKNOWN
        if new:
            return next((text for slug, text in _REASONS.items() if slug in new), _UNTRUSTED)
        if context is verified_with:
            return None  # its anchor was found by OpenSSL, if not by us
        if not path.anchored:
            return _UNTRUSTED
        return None if _is_known(context, mine) else _UNKNOWN

    def remember_issuers(self, connection: Connection) -> None:
        """Keep the intermediates of a path that the handshake verified, for its resumptions.

        Not what the client sent along with it; and nothing of a resumption, which verifies none.
        """
        chain = connection.evidence.peer_chain
        if len(chain) < 2 or connection.evidence.resumed or not is_readable(chain[0]):
            return
        mine = context_info(connection.verified_with)
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
