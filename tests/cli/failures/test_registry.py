"""Every failure that can be observed here happens as the registry says, in both versions of TLS.

Each is played for real, and both reports are held against the truth: who refused, which alert
crossed the wire, and that neither side rules out what really was the cause.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from mtls_echo.failures.case import Expected, FailureCase, credentials
from mtls_echo.failures.play import EndResult, PlayedFailure, Setup, play
from mtls_echo.failures.registry import FAILURE_CASES, find
from mtls_echo.failures.scoreboard import Row, score, table
from mtls_echo_client.context import client_context
from mtls_echo_pki.flaws.flaw import TLSVersion
from mtls_echo_pki.flaws.registry import FLAWS
from mtls_echo_server.context import server_context
from mtls_echo_tls.alerts import AlertDescription
from mtls_echo_tls.causes import CAUSES
from tests.conftest import OBSERVED
from tests.support.timing import TIMEOUT

# Where the diagnosis is still wrong. Strict: a fix takes the entry out.
WRONG: dict[str, str] = {}

PLAYS = [
    pytest.param(
        case,
        version,
        id=f"{case.name}, TLS {version}",
        marks=[pytest.mark.xfail(reason=WRONG[case.slug], strict=True)]
        if case.slug in WRONG
        else [],
    )
    for case in FAILURE_CASES
    for version in case.expected
]

# What cannot be shown with two ends on one machine, or what is not a failure of a handshake.
NOT_OBSERVED = {
    *("clock-skew", "no-connection", "altered-echo", "internal-error", "renegotiation"),
    *("other-protocol", "error-answer"),
}
NOT_OBSERVED |= {"protocol-violation"}


@pytest.mark.parametrize(("case", "version"), PLAYS)
def test_a_failure_happens_as_announced_and_neither_side_is_wrong(
    case: FailureCase,
    version: TLSVersion,
    record_property: Callable[[str, object], None],
) -> None:
    played = case.play(version)
    record_property(OBSERVED, asdict(Row.of(case, played)))

    assert case.mismatches(played) == []


def test_the_refusing_side_names_the_cause_and_the_refused_side_got_the_alert() -> None:
    """The checks of the registry, spelled out for one case."""
    (expired,) = (each for each in find("expired") if each.whose == "client")

    played = expired.play("1.3")

    assert played.client is not None
    assert played.server is not None
    client, server = played.client.report, played.server.report
    assert client.rejected_by == server.rejected_by == "server"
    assert client.causes == server.causes == ["expired"]
    assert server.alert is not None
    assert client.alert is not None
    assert (server.alert.direction, client.alert.direction) == ("sent", "received")
    assert server.alert.name == client.alert.name == played.alert == "certificate_expired"
    assert server.verify_code == 10
    assert played.account is not None
    assert played.account.rejected_by == "server"
    assert played.account.causes == ("expired",)


def test_a_forged_alert_deceives_each_side_and_is_exposed_by_both_together() -> None:
    (forged,) = find("tampered-forged-alert")

    played = forged.play("1.3")

    assert played.client is not None
    assert played.server is not None
    assert played.client.report.rejected_by == "server"
    assert played.server.report.rejected_by == "client"
    assert played.account is not None
    assert played.account.forged
    assert played.account.rejected_by is None


# --- the registry --------------------------------------------------------------------------------


def test_every_flaw_is_observed_in_every_role_and_both_versions() -> None:
    observed = {(each.slug, each.whose) for each in FAILURE_CASES if len(each.expected) == 2}

    assert observed >= {(flaw.slug, role) for flaw in FLAWS.values() for role in flaw.roles}


def test_every_cause_is_observed_or_known_not_to_be() -> None:
    assert {each.cause for each in FAILURE_CASES} == CAUSES.keys() - NOT_OBSERVED


def test_what_an_observation_expects_can_be_looked_up() -> None:
    names = [each.name for each in FAILURE_CASES]
    assert len({*names}) == len(names)
    for case in FAILURE_CASES:
        assert case.slug.startswith(case.cause)
        assert case.title[0].isupper()
        assert "\n" not in case.title
        for expected in case.expected.values():
            assert case.cause in expected.possible <= CAUSES.keys()
            assert expected.alert is None or expected.alert in AlertDescription.__members__


def test_a_slug_finds_itself_and_a_cause_all_its_forms() -> None:
    assert {each.slug for each in find("expired-authority-anchor")} == {"expired-authority-anchor"}
    assert {each.slug for each in find("crl-missing-authority")} == {"crl-missing-authority"}
    assert {each.whose for each in find("revoked")} == {"client", "server"}
    with pytest.raises(ValueError, match=r"did you mean .*expired"):
        find("expierd")


# --- the comparison itself can fail --------------------------------------------------------------


@pytest.fixture(scope="module")
def observed() -> tuple[FailureCase, PlayedFailure]:
    case = next(each for each in find("revoked") if each.whose == "client")
    return case, case.play("1.2")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"refuser": "client"}, "says that server refused"),
        ({"refuser": None}, "both together say that server refused"),
        ({"alert": "unknown_ca"}, "saw alert certificate_revoked, not unknown_ca"),
        ({"alert": None}, "saw alert certificate_revoked, not None"),
        ({"possible": frozenset({"expired"})}, "both together say ('revoked',)"),
        ({"forged": True}, "both together say forged=False"),
    ],
    ids=str,
)
def test_a_result_other_than_the_announced_one_is_reported(
    observed: tuple[FailureCase, PlayedFailure], change: dict[str, object], complaint: str
) -> None:
    case, played = observed
    expected: Expected = replace(case.expected["1.2"], **change)  # type: ignore[arg-type]  # any field
    otherwise = replace(case, expected={"1.2": expected})

    assert case.mismatches(played) == []
    assert complaint in "; ".join(otherwise.mismatches(played))


def test_a_side_that_rules_out_the_actual_cause_is_found_out(
    observed: tuple[FailureCase, PlayedFailure],
) -> None:
    case, played = observed
    assert played.client is not None
    report = played.client.report
    for wrong, complaint in (
        ({"causes": ["expired"]}, "the client rules out revoked"),
        ({"rejected_by": "client"}, "the client says that client refused"),
        ({"alert": None}, "the client saw alert None"),
    ):
        fields = {name: getattr(report, name) for name in report.__struct_fields__} | wrong
        end = EndResult(type(report)(**fields), played.client.messages)

        assert complaint in "; ".join(case.mismatches(replace(played, client=end)))


def test_an_alert_that_the_wrong_side_sent_is_found_out(
    observed: tuple[FailureCase, PlayedFailure],
) -> None:
    case, played = observed
    assert played.client is not None
    assert played.server is not None
    report = played.client.report
    fields = {name: getattr(report, name) for name in report.__struct_fields__}
    # The client, with the server's alert: sent, and not received.
    end = EndResult(type(report)(**fields | {"alert": played.server.report.alert}), ())

    found = case.mismatches(replace(played, client=end))

    assert found == ["the client says that it sent it"]


def test_those_who_are_never_at_fault_accept_each_other() -> None:
    people = credentials()
    played = play(
        Setup(
            client=client_context(people.server_trust, people.alice),
            server=server_context(people.server, people.client_trust),
        ),
        "1.3",
    )

    assert played.account is not None
    assert played.account.causes == ()
    assert played.alert is None


# --- the table -----------------------------------------------------------------------------------


def row(slug: str, version: TLSVersion = "1.3", **more: object) -> Row:
    fields = {
        "refuser": "server", "client": 1, "server": 1, "joined": 1, "alert": "unknown_ca", **more
    }  # fmt: skip
    return Row(slug=slug, version=version, **fields)  # type: ignore[arg-type]  # any field


def test_the_table_has_one_line_for_each_slug_sorted() -> None:
    lines = table([row("b"), row("a"), row("a", "1.2")])

    assert [line.split() for line in lines[1:]] == [
        ["a", "1.2", "1.3", "sure", "sure", "unknown_ca"],
        ["b", "1.3", "sure", "sure", "unknown_ca"],
    ]


def test_versions_that_differ_have_a_line_each() -> None:
    lines = table([row("a", "1.2", client=2), row("a", "1.3", alert=None)])

    assert [line.split() for line in lines[1:]] == [
        ["a", "1.2", "1", "of", "2", "sure", "unknown_ca"],
        ["a", "1.3", "sure", "sure", "none"],
    ]


def test_a_side_that_was_verifier_and_presenter_has_two_entries() -> None:
    as_presenter = row("a", refuser="server", client=6, server=1)
    as_verifier = row("a", refuser="client", client=1, server=6)

    for rows in ([as_presenter, as_verifier], [as_verifier, as_presenter]):
        assert "1.3  sure, 1 of 6  sure, 1 of 6  unknown_ca" in table(rows)[1]


def test_a_wrong_report_is_marked_in_the_table_and_counted() -> None:
    rows = [row("a", client=0, server=None), row("b")]

    assert "WRONG" in table(rows)[1]
    assert "no TLS" in table(rows)[1]
    assert score(rows) == [
        "the client alone: sure in 1 of 2, wrong in 1",
        "the server alone: sure in 1 of 1, wrong in none",
        "both together: sure in 2 of 2, wrong in none",
    ]


def test_the_table_fits_100_columns() -> None:
    slug = max((each.slug for each in FAILURE_CASES), key=len)
    alerts = [e.alert or "" for each in FAILURE_CASES for e in each.expected.values()]
    widest = row(slug, client=7, server=1, alert=max(alerts, key=len))

    lines = table([widest, replace(widest, refuser="client")])

    assert max(map(len, lines)) <= 100


def test_a_run_of_the_tests_in_other_processes_ends_with_the_table() -> None:
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", __file__),
            *("-k", "no-client-certificate and announced", "-n", "1"),
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        cwd=Path(__file__).parents[3],
    )

    assert ran.returncode == 0, ran.stdout
    assert "observed handshake failures" in ran.stdout
    assert "no-client-certificate  1.2" in ran.stdout
    assert "certificate_required" in ran.stdout
    assert "both together: sure in 2 of 2, wrong in none" in ran.stdout
