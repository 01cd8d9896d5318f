"""The chapter about rotation replaces certificates under load, and says what fails."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import trio

from mtls_echo.demo.blocks import Section
from mtls_echo.demo.rotation.attacker import VERSIONS, Attacker, Attempt
from mtls_echo.demo.rotation.run import play
from mtls_echo.demo.rotation.scenarios import SCENARIOS, mismatches
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_server.context import server_context
from mtls_echo_server.service import serve
from tests.support.lesson import drawn, is_in_the_page, misfits, words
from tests.support.timing import TIMEOUT

TLS12, TLS13 = VERSIONS


Played = list[Section]


@pytest.fixture(scope="module")
def played(told: list[str]) -> Played:
    return trio.run(play, told.append)


@pytest.fixture(scope="module")
def shown(played: Played) -> str:
    return "\n".join(line for section in played for line in drawn(section, 80))


def test_the_page_of_the_lesson_is_up_to_date(played: Played) -> None:
    assert is_in_the_page("rotation", played), "`make docs` writes docs/lesson.md anew"


def test_nothing_is_lost_in_any_of_the_three_scenarios(played: Played, shown: str) -> None:
    assert len(re.findall(r"Meanwhile [\d,]+ echoes, none lost", shown)) == len(SCENARIOS) == 3
    assert [section.mismatches for section in played if section.mismatches] == []
    last = words(played[-1:])
    assert re.search(r"In all [\d,]+ connections, .+; [\d,]+ echoes, none lost\.$", last)


def test_what_is_waited_for_is_told_with_the_count_of_echoes(
    played: Played, told: list[str]
) -> None:
    assert len(played) == 7
    counts = [int(text.split()[0].replace(",", "")) for text in told]
    assert counts == sorted(counts)
    assert counts[-1] > 100
    for what in (
        "mtls-echo pki renew pki client --new-key",
        "waiting until the old certificate has expired",
    ):
        assert any(re.fullmatch(rf"[\d,]+ echoes, none lost; {what}", text) for text in told)


@pytest.mark.parametrize("alert", ["certificate_expired", "certificate_revoked", "unknown_ca"])
def test_what_was_valid_before_is_refused_in_both_versions_with_its_alert(
    shown: str, alert: str
) -> None:
    for version in ("1.2", "1.3"):
        assert f"  {version}  the certificate        alert {alert}\n" in shown


def test_no_ticket_outlives_what_it_was_issued_for(shown: str) -> None:
    tickets = [line for line in shown.splitlines() if "the session ticket" in line]

    assert len(tickets) == len(SCENARIOS) * len(VERSIONS)
    # The server has not changed when the client's certificate expires: its tickets still work,
    # and what they stand for is looked at.
    assert ["resumed, and denied" in line for line in tickets] == [True] * 2 + [False] * 4
    assert ["not resumed, alert" in line for line in tickets] == [False] * 2 + [True] * 4


def test_a_client_that_trusts_only_the_old_ca_is_served_until_it_is_retired(shown: str) -> None:
    before, _, _ = shown.partition("$ mtls-echo pki rollover pki retire")

    assert "one that trusts only the old CA accepted" in before


def test_the_commands_and_what_they_print_are_shown(shown: str) -> None:
    for step in ("introduce", "switch", "retire"):
        assert f"$ mtls-echo pki rollover pki {step}" in shown
    assert "$ mtls-echo pki revoke pki client --reason keyCompromise\n  revoked" in shown


def test_it_fits_terminals(played: Played) -> None:
    assert misfits(played) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        pytest.param(
            "if 'revoke' in arguments: return",
            "the certificate was still accepted",
            id="revocation forgotten",
        ),
        pytest.param(
            "arguments = ('pki', 'revoke', *arguments[2:4]) if '--new-key' in arguments"
            " else arguments",
            "the server refused us: our certificate was revoked",
            id="revoked without a successor",
        ),
        pytest.param("arguments = (*arguments, '--nonsense')", "exit status 2", id="mistyped"),
    ],
)
def test_a_demonstration_that_fails_says_so_and_exits_1(change: str, complaint: str) -> None:
    program = (
        "from mtls_echo import __main__\n"
        "from mtls_echo.demo.rotation import run as chapter, scenarios\n"
        "run = scenarios.run\n"
        "async def altered(path, notes, *arguments):\n"
        f"    {change}\n"
        "    await run(path, notes, *arguments)\n"
        "scenarios.run = altered\n"
        "chapter.SCENARIOS = (chapter.SCENARIOS[1],)\n"
        "__main__.main(['demo', '--chapter', 'rotation'])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=TIMEOUT
    )

    assert ran.returncode == 1, ran.stderr
    assert "not everything happened as announced" in ran.stderr
    assert complaint in ran.stderr
    assert "the private key has leaked" in ran.stderr


# --- the attacker --------------------------------------------------------------------------------


@pytest.fixture
async def lax_port(nursery: trio.Nursery) -> AsyncIterator[int]:
    """A server that issues tickets and never changes."""
    context = server_context(
        AUTHORITY.issue(Request.server("localhost")), AUTHORITY.trust, session_tickets=True
    )
    [(_, port)] = await nursery.start(
        partial(serve, context, "127.0.0.1:0", events=lambda event: None)
    )
    yield port
    nursery.cancel_scope.cancel()


AUTHORITY = Authority.root()


async def test_an_attacker_is_accepted_where_nothing_has_changed(lax_port: int) -> None:
    attacker = Attacker(AUTHORITY.issue(Request.client("alice.test")), AUTHORITY.trust)

    before = await trio.to_thread.run_sync(attacker.prepare, lax_port)
    attempts = await trio.to_thread.run_sync(lambda: list(attacker.try_everything(lax_port)))

    assert all(attempt.admitted for attempt in [*before, *attempts])
    assert [(attempt.version, attempt.ticket, attempt.resumed) for attempt in attempts] == [
        (TLS12, False, False),
        (TLS12, True, True),
        (TLS13, False, False),
        (TLS13, True, True),
    ]
    assert len(mismatches(attempts, "unknown_ca")) == 4


async def test_an_untrusted_client_is_recognized_by_its_alert_in_either_version(
    lax_port: int,
) -> None:
    foreign = Attacker(Authority.root().issue(Request.client("alice.test")), AUTHORITY.trust)

    attempts = await trio.to_thread.run_sync(lambda: list(foreign.try_everything(lax_port)))

    assert [attempt.answer for attempt in attempts] == ["alert unknown_ca"] * 2
    assert mismatches(attempts, "unknown_ca") == ["there was no ticket to try"]


@pytest.mark.parametrize(
    ("ticket", "mismatch"),
    [
        pytest.param({"alert": "unknown_ca"}, None, id="refused with the alert"),
        pytest.param({"resumed": True, "denial": "expired"}, None, id="resumed and denied"),
        pytest.param({"alert": "certificate_expired"}, "not alert unknown_ca", id="another alert"),
        pytest.param({}, "closed without an alert", id="no alert"),
        pytest.param({"resumed": True, "admitted": True}, "still accepted", id="accepted"),
    ],
)
def test_anything_but_a_refusal_with_the_right_alert_is_a_mismatch(
    ticket: dict[str, Any], mismatch: str | None
) -> None:
    by_certificate = Attempt(
        TLS13, ticket=False, resumed=False, admitted=False, alert="unknown_ca"
    )
    by_ticket = replace(by_certificate, **{"ticket": True, "alert": None, **ticket})

    found = mismatches([by_certificate, by_ticket], "unknown_ca")

    assert len(found) == (mismatch is not None)
    assert mismatch is None or mismatch in found[0]
