"""What a reader at a command line is told to do can be done: every command and option exists."""

from __future__ import annotations

import re

import click
import pytest

from mtls_echo.__main__ import mtls_echo
from mtls_echo.vocabulary import COMMAND_LINE
from mtls_echo_tls.causes import CAUSES
from mtls_echo_tls.certificate_causes import FORGED_LIST
from mtls_echo_tls.diagnosis.perspective import Perspective, in_third_person
from mtls_echo_tls.diagnosis.report import FaultFound
from mtls_echo_tls.fault_causes import VARIANTS
from mtls_echo_tls.sides import Side
from mtls_echo_tls.slugs import Cause

SIDES: tuple[Side, ...] = ("client", "server")
TEXTS = {
    Perspective(side, rejected_by, owner, COMMAND_LINE).remedy(cause)
    for cause in (*CAUSES.values(), FORGED_LIST)
    for side in SIDES
    for rejected_by in (*SIDES, None)
    for owner in (*SIDES, None)
}
COMMANDS = sorted({c for text in TEXTS for c in re.findall(r"`mtls-echo ([^`]+)`", text)})
OPTIONS = {
    option
    for text in TEXTS
    for option in re.findall(r"(?<![\w`-])--[a-z-]*[a-z]", re.sub(r"`[^`]*`", "", text))
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_a_remedy_names_exists_with_its_options(command: str) -> None:
    words = command.split()
    found: click.Command = mtls_echo
    while words and isinstance(found, click.Group):
        name = words.pop(0)
        with click.Context(found) as context:
            inner = found.get_command(context, name)
        assert inner is not None, name
        found = inner

    known = {name for parameter in found.params for name in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("-")} <= known


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("cause", [*CAUSES.values(), *VARIANTS.values(), FORGED_LIST])
def test_for_files_that_others_made_no_command_is_named_that_works_on_ours_only(
    cause: Cause, side: Side
) -> None:
    words = COMMAND_LINE.for_other_files()
    fault = FaultFound(slug="not-conforming", depth=1, detail="d", subject="s", issuer="i")
    told = [
        Perspective(side, rejected_by, None, words).remedy(cause, fault)
        for rejected_by in (*SIDES, None)
    ]

    for text in told:
        assert "mtls-echo pki" not in text.replace("`mtls-echo pki show FILE`", "")
        assert "{" not in text


def test_every_option_that_a_remedy_names_is_one_of_connect_or_serve() -> None:
    with click.Context(mtls_echo) as context:
        ends = [mtls_echo.get_command(context, name) for name in ("connect", "serve")]
    known = {name for end in ends if end for parameter in end.params for name in parameter.opts}

    assert len(OPTIONS) > 8
    assert {option for option in OPTIONS if not any(n.startswith(option) for n in known)} == set()


@pytest.mark.parametrize(
    ("owner", "option"),
    [
        ("server", "--ca FILE"),
        ("client", "--client-ca FILE"),
        (None, "--ca or --client-ca FILE"),
    ],
)
def test_anchors_go_where_the_verifier_looks_for_them(owner: Side | None, option: str) -> None:
    remedy = CAUSES["unknown-authority"].verifier
    told = in_third_person(remedy, owner, vocabulary=COMMAND_LINE)

    assert f"trust anchors ({option})" in told


@pytest.mark.parametrize("side", SIDES)
def test_the_remedy_for_a_server_without_a_certificate_names_the_options(side: Side) -> None:
    words = Perspective(side, "server", "server", COMMAND_LINE)
    told = words.remedy(CAUSES["no-server-certificate"])

    assert ("--cert FILE" in told) == (side == "server")
