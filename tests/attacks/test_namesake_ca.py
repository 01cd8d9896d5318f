"""Claim: a CA is its key, not its name.

An attacker makes a CA with the name of the trusted one, and even with its key identifier, and
issues itself any certificate it likes. Each verifier checks the signature with the key that it
trusts, and refuses; the report says that this is a namesake, not merely an unknown CA.

Noticed by the verifier: impostor-authority, unknown_ca or, with a copied key identifier,
decrypt_error.
"""

from __future__ import annotations

import ssl
from dataclasses import replace

import pytest
from cryptography import x509

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.reading import subject_name
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_tls.sides import Side, peer_of
from tests.attacks.world import Connection, attacked, both_versions, client_of, server_of
from tests.support.authorities import CLIENTS, SERVERS

_OF_SERVERS = Request.server("localhost", subject="server")
_OF_CLIENTS = Request.client("alice.test", subject="alice")


def forged(genuine: Authority, request: Request, *, copied_key_id: bool) -> Credential:
    """What a CA of the same name issues, which may claim the genuine one's key identifier."""
    namesake = Authority.root(subject_name(genuine.certificate).common_name or "")
    assert namesake.certificate.subject == genuine.certificate.subject
    if not copied_key_id:
        return namesake.issue(request)
    like = genuine.issue(request).certificate.extensions
    pointer = like.get_extension_for_class(x509.AuthorityKeyIdentifier)

    def claim(tbs: TBSCertificate) -> TBSCertificate:
        kept = (each for each in tbs.extensions if each.oid != pointer.oid)
        return replace(tbs, extensions=(*kept, pointer))

    return namesake.issue(request, alter=claim)


@both_versions
@pytest.mark.parametrize("presenter", ["client", "server"])
@pytest.mark.parametrize("copied", [False, True], ids=["name", "name and key identifier"])
async def test_neither_end_accepts_what_a_namesake_issued(
    version: ssl.TLSVersion, presenter: Side, copied: bool
) -> None:
    if presenter == "client":
        credential = forged(CLIENTS, _OF_CLIENTS, copied_key_id=copied)
        client, server = client_of(version, credential), server_of(version)
    else:
        credential = forged(SERVERS, _OF_SERVERS, copied_key_id=copied)
        client, server = client_of(version), server_of(version, credential)
    async with attacked(context=server) as path:
        connection = await path.converse(client)

    assert connection.echoed == 0
    assert_impostor(connection, peer_of(presenter), copied)


def assert_impostor(connection: Connection, verifier: Side, copied: bool) -> None:
    noticed, told = connection.of(verifier), connection.of(peer_of(verifier))
    assert noticed.rejected_by == told.rejected_by == verifier
    assert "impostor-authority" in noticed.causes
    assert "impostor-authority" in told.causes
    for report in noticed, told:
        assert report.alert is not None
        # Found by the signature, or already by the key identifier.
        assert report.alert.name == ("decrypt_error" if copied else "unknown_ca")
