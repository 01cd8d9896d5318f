"""A chain of our own that OpenSSL does not send is our fault, and is said to be so."""

from __future__ import annotations

import ssl
from dataclasses import replace

from cryptography.x509.oid import NameOID

from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.flaws.registry import find_flaw
from mtls_echo_server.context import server_context
from mtls_echo_tls.diagnosis.joint import join_reports
from tests.support.authorities import CLIENTS, SERVERS
from tests.support.tls import ALICE, both_versions, reports, tls_pair


@both_versions
async def test_a_weak_ca_among_our_anchors_stops_our_own_chain(version: ssl.TLSVersion) -> None:
    inputs = find_flaw("weak-key-authority").build(Authority.root(), Request.server("localhost"))
    # OpenSSL completes the chain from the anchors, and finds the CA's key of 1024 bits there.
    own = replace(inputs.credential, chain=())
    trust = replace(
        CLIENTS.trust,
        anchors=(*CLIENTS.trust.anchors, *inputs.credential.chain, *inputs.trust.anchors),
    )
    client = client_context(SERVERS.trust, ALICE)
    client.minimum_version = client.maximum_version = version

    refused, refuser = await reports(*tls_pair(client, server_context(own, trust)))

    assert (refuser.rejected_by, refuser.causes) == ("server", ["weak-key"])
    weak = inputs.credential.chain[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    assert refuser.summary == (
        f"we refused the client: the key of the intermediate “{weak!s}”, above our certificate,"
        " is too weak"
    )
    assert refuser.remedy.startswith("have our certificate issued by a CA with a P-256 key")
    assert join_reports(refused, refuser).causes == ("weak-key",)
