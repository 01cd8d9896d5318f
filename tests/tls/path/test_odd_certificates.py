"""A peer may present anything: it is examined and shown, and nothing is raised or warned of."""

from __future__ import annotations

import warnings

from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_tls.path.certificates import PeerIdentity, end_entity
from mtls_echo_tls.path.summaries import summarise
from mtls_echo_tls.path.validate import examine
from tests.support.mutations import certificates, many, mutated

ROOT = Authority.root("a verifier's root")
CRL = ROOT.crl()
DER = ROOT.certificate.public_bytes(Encoding.DER)


@many
@given(mutated(certificates()))
def test_a_mutated_certificate_is_examined_and_shown(der: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        anchors = (ROOT.certificate,)
        examine((der, DER), presenter="server", anchors=anchors, reference="localhost")
        examine((DER, der), presenter="client", crls=(CRL,))
        identity = PeerIdentity.of_peer(der)
        summary = summarise((der,))
        assert str(identity)
        if end_entity((der,)) is not None:
            assert summary is not None
            assert summary.fingerprint == identity.fingerprint


def test_a_name_that_is_cut_says_so() -> None:
    leaf = ROOT.issue(Request.client("x://y/" + "y" * 250, "x://y/" + "y" * 251))
    summary = summarise((leaf.certificate.public_bytes(Encoding.DER),))
    assert summary is not None
    whole, cut = summary.names
    assert (len(whole), len(cut)) == (256, 256)
    assert (whole[-1], cut[-1]) == ("y", "…")
