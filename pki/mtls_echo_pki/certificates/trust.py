"""Trust anchors, and the CRLs that go with them.

A certification path ends at a *trust anchor* (RFC 5280 §6.1.1): configuration, not
something a peer may send. That is why trust is a value of its own here, apart from
the credentials that are verified with it, and why a server's trust names the CAs of *clients*
and a client's those of *servers*. A certificate of the public web makes its holder no client of
ours: the system's store is never added.

Trust changes by union, ``old | new``, while a CA is being replaced: a peer
that trusts both works with certificates from either.

CRLs belong to it, because they too are what the verifier was told beforehand. Where there is one,
*every* certificate of a path is checked (``VERIFY_CRL_CHECK_CHAIN``): to check the end-entity
alone would accept every certificate that a revoked intermediate issues. OpenSSL then wants a CRL
from each CA of the path, the root's own included, and refuses with verify code 3 where one is
missing. That is the closed way to fail, and it is kept: loading the CRL of one CA does not exempt
the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.credential import nameless_file, pem_of
from mtls_echo_pki.certificates.loading import parsing
from mtls_echo_pki.certificates.reading import fingerprint

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True)
class Trust:
    """The certificates a certification path may end at.

    Args:
        anchors: Usually root certificates; an end-entity certificate here is *pinned*
            and needs ``ssl.VERIFY_X509_PARTIAL_CHAIN``.
        crls: CRLs. None at all: nothing is checked for revocation. Otherwise
            one is needed from every CA of a path, the anchor's own included. Of
            several from one CA the latest thisUpdate counts.
    """

    anchors: tuple[x509.Certificate, ...]
    # CRLs have no hash; two trusts that differ in nothing else may share theirs.
    crls: tuple[x509.CertificateRevocationList, ...] = field(default=(), hash=False)

    @classmethod
    def from_pem(cls, pem: bytes) -> Trust:
        """Parse the contents of a ``ca.crt``.

        Raises:
            ValueError: If there is no certificate in it, or a damaged one.
        """
        with parsing():
            return cls(tuple(x509.load_pem_x509_certificates(pem)))

    def __or__(self, other: Trust) -> Trust:
        return Trust(
            tuple(dict.fromkeys((*self.anchors, *other.anchors))),
            (*self.crls, *(crl for crl in other.crls if crl not in self.crls)),
        )

    @property
    def pem(self) -> bytes:
        """The contents of ``ca.crt``."""
        return pem_of(self.anchors)

    @property
    def crl_pem(self) -> bytes:
        """The contents of ``crl.pem``; empty without CRLs."""
        return pem_of(self.crls)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """SHA-256 of each anchor's DER, in lower-case hex."""
        return tuple(fingerprint(anchor) for anchor in self.anchors)

    def load_into(self, context: ssl.SSLContext) -> None:
        """Add the anchors to those ``context`` trusts, and check revocation if there are CRLs.

        A context cannot forget: for other anchors or newer CRLs, make a new one.

        Raises:
            ValueError: If there are no anchors: a context that cannot accept any peer is a
                mistake better found now than in every handshake.
            OSError: If neither memory nor the temporary folder has room for the CRLs.
        """
        if not self.anchors:
            raise ValueError("there are no trust anchors to load")
        context.load_verify_locations(
            cadata=b"".join(anchor.public_bytes(Encoding.DER) for anchor in self.anchors)
        )
        if self.crls:
            from ssl import VERIFY_CRL_CHECK_CHAIN  # what makes certificates needs no OpenSSL

            # First the demand: should loading fail, the context refuses every peer.
            context.verify_flags |= VERIFY_CRL_CHECK_CHAIN
            # cadata takes certificates only, a file both.
            with nameless_file(self.crl_pem) as path:
                context.load_verify_locations(cafile=path)
