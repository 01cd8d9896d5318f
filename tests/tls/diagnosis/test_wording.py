"""What a reader is told to do can be done: every command and option of a remedy is there."""

from __future__ import annotations

import re
from dataclasses import replace

import click
import pytest

from mtls_echo.__main__ import mtls_echo
from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_server.context import server_context
from mtls_echo_tls.diagnosis.causes import CAUSES, FORGED_LIST
from mtls_echo_tls.diagnosis.joint import join
from mtls_echo_tls.diagnosis.wording import Words, in_third_person
from mtls_echo_tls.sides import Side
from tests.support.tls import ALICE, CLIENTS, LOCALHOST, SERVERS, reports, tls_pair

TEXTS = [text for c in (*CAUSES.values(), FORGED_LIST) for text in (c.says, c.owner, c.judge)]
COMMANDS = sorted({c for text in TEXTS for c in re.findall(r"`mtls-echo ([^`]+)`", text)})
OPTIONS = {
    option
    for text in TEXTS
    for option in re.findall(r"(?<![\w`-])--[a-z-]*[a-z]", re.sub(r"`[^`]*`", "", text))
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_a_remedy_names_exists_with_its_options(command: str) -> None:
    words = command.replace("{owner}", "server").split()
    found: click.Command = mtls_echo
    while words and isinstance(found, click.Group):
        name = words.pop(0)
        with click.Context(found) as context:
            inner = found.get_command(context, name)
        assert inner is not None, name
        found = inner

    known = {name for parameter in found.params for name in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("-")} <= known


def test_every_option_that_a_remedy_names_is_one_of_connect_or_serve() -> None:
    with click.Context(mtls_echo) as context:
        ends = [mtls_echo.get_command(context, name) for name in ("connect", "serve")]
    known = {name for end in ends if end for parameter in end.params for name in parameter.opts}

    assert len(OPTIONS) > 8
    assert {option for option in OPTIONS if not any(n.startswith(option) for n in known)} == set()


@pytest.mark.parametrize(
    ("owner", "option"),
    [("server", "--ca"), ("client", "--client-ca"), (None, "--ca or --client")],
)
def test_anchors_go_where_the_judge_looks_for_them(owner: Side | None, option: str) -> None:
    assert f"trust anchors ({option}" in in_third_person(CAUSES["unknown-authority"].judge, owner)


@pytest.mark.parametrize("owner", ["client", "server", None])
@pytest.mark.parametrize("slug", CAUSES)
def test_a_cause_told_in_the_third_person_names_its_owner_once(
    slug: str, owner: Side | None
) -> None:
    who, says = f"the {owner}" if owner else "one side", CAUSES[slug].says

    for text in (says, CAUSES[slug].owner, CAUSES[slug].judge):
        assert "{" not in in_third_person(text, owner)
    if "{it}" in says:
        assert f"{who}'s" not in in_third_person(says, owner)
    if "{it" in says:
        assert in_third_person(says, owner).count(who) == 1
        assert who not in in_third_person(says, owner, named=True)


async def test_a_list_that_its_authority_did_not_sign_is_not_told_of_the_certificate() -> None:
    forged = replace(Authority.root("clients"), certificate=CLIENTS.certificate).crl()
    trust = Trust(CLIENTS.trust.anchors, (forged,))

    told, judged = await reports(
        *tls_pair(client_context(SERVERS.trust, ALICE), server_context(LOCALHOST, trust))
    )

    assert (judged.causes, judged.verify_code) == (["bad-signature"], 8)
    assert judged.summary.endswith(
        "the revocation list to check its certificate against is not signed by its authority"
    )
    assert "get the list again" in judged.remedy
    account = join(told, judged)
    assert "the revocation list" in account.summary
    assert "nothing is wrong with ours" in account.remedies["client"]


@pytest.mark.parametrize("side", ["client", "server"])
def test_what_only_a_server_can_mend_is_said_to_it_whoever_refused(side: Side) -> None:
    told = Words(side, "server", "server").remedy(CAUSES["no-server-certificate"])
    assert ("--cert FILE" in told) == (side == "server")
