"""Trust is the set of certificates a peer believes without being shown a reason.

A certification path ends at a *trust anchor* (RFC 5280 §6.1.1): configuration, not
something a peer may send. That is why trust is a value of its own here, apart from
the credentials it judges, and why a server's trust names the authorities of *clients*
and the client's those of *servers*. Being on the public web makes nobody a client of
ours: the system's store is never added.

Trust changes by union, ``old | new``, while an authority is being replaced: a peer
that trusts both works with certificates from either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.credential import fingerprint

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True)
class Trust:
    """The certificates a certification path may end at.

    Args:
        anchors: Usually root certificates; an end-entity certificate here is *pinned*
            and needs ``ssl.VERIFY_X509_PARTIAL_CHAIN``.
    """

    anchors: tuple[x509.Certificate, ...]

    @classmethod
    def from_pem(cls, pem: bytes) -> Trust:
        """Parse the contents of a ``ca.crt``.

        Raises:
            ValueError: If there is no certificate in it, or a damaged one.
        """
        return cls(tuple(x509.load_pem_x509_certificates(pem)))

    def __or__(self, other: Trust) -> Trust:
        return Trust(tuple(dict.fromkeys((*self.anchors, *other.anchors))))

    @property
    def pem(self) -> bytes:
        """The contents of ``ca.crt``."""
        return b"".join(anchor.public_bytes(Encoding.PEM) for anchor in self.anchors)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """SHA-256 of each anchor's DER, in lower-case hex."""
        return tuple(fingerprint(anchor) for anchor in self.anchors)

    def load_into(self, context: ssl.SSLContext) -> None:
        """Add the anchors to those ``context`` trusts.

        Raises:
            ValueError: If there are none: a context that can accept nobody is a
                mistake better found now than in every handshake.
        """
        if not self.anchors:
            raise ValueError("there are no trust anchors to load")
        context.load_verify_locations(
            cadata=b"".join(anchor.public_bytes(Encoding.DER) for anchor in self.anchors)
        )
