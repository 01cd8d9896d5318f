"""The texts of the catalogue, as each reader gets them."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_server.context import server_context
from mtls_echo_tls.causes import CAUSES
from mtls_echo_tls.diagnosis.joint import join_reports
from mtls_echo_tls.diagnosis.perspective import Perspective, in_third_person
from mtls_echo_tls.sides import Side
from mtls_echo_tls.slugs import Slug
from mtls_echo_tls.vocabulary import API
from tests.support.authorities import CLIENTS, SERVERS
from tests.support.tls import ALICE, LOCALHOST, reports, tls_pair


def test_every_slug_has_its_texts() -> None:
    assert get_args(Slug) == tuple(CAUSES)


@pytest.mark.parametrize("owner", ["client", "server", None])
@pytest.mark.parametrize("slug", CAUSES)
def test_a_cause_worded_in_the_third_person_names_its_owner_once(
    slug: Slug, owner: Side | None
) -> None:
    who, says = f"the {owner}" if owner else "one side", CAUSES[slug].clause

    for text in (says, CAUSES[slug].owner, CAUSES[slug].verifier):
        assert "{" not in in_third_person(text, owner)
    if "{it}" in says:
        assert f"{who}'s" not in in_third_person(says, owner)
    if "{it" in says:
        assert in_third_person(says, owner).count(who) == 1
        assert who not in in_third_person(says, owner, named=True)


async def test_a_crl_with_a_bad_signature_is_not_reported_as_the_certificates_fault() -> None:
    forged = replace(Authority.root("clients"), certificate=CLIENTS.certificate).crl()
    trust = Trust(CLIENTS.trust.anchors, (forged,))

    presenter, verifier = await reports(
        *tls_pair(client_context(SERVERS.trust, ALICE), server_context(LOCALHOST, trust))
    )

    assert (verifier.causes, verifier.verify_code) == (["bad-signature"], 8)
    assert verifier.summary.endswith(
        "the CRL to check its certificate against is not signed by its CA"
    )
    assert "get the CRL again" in verifier.remedy
    account = join_reports(presenter, verifier)
    assert "the CRL" in account.summary
    assert "nothing is wrong with ours" in account.remedies["client"]


@pytest.mark.parametrize("side", ["client", "server"])
def test_what_only_a_server_can_mend_is_its_remedy_whichever_side_refused(side: Side) -> None:
    told = Perspective(side, "server", "server").remedy(CAUSES["no-server-certificate"])
    assert (API.server_certificate in told) == (side == "server")
