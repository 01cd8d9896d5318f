"""Who is a member, who is usable, and what a command ends with."""

from __future__ import annotations

import datetime
import math
import re
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mtls_echo.commands.endpoints.text import VOCABULARY
from mtls_echo_client.endpoints.monitor.remedies import CONFIGURATION, advised
from mtls_echo_client.endpoints.monitor.status import Status, StatusTracker, verdict
from mtls_echo_client.endpoints.plan import Problem, TLSSettings
from mtls_echo_tls.causes import CAUSES, OWNERS
from mtls_echo_tls.diagnosis.perspective import Perspective
from mtls_echo_tls.diagnosis.report import Parameters
from mtls_echo_tls.path.summaries import CertificateSummary
from mtls_echo_tls.sides import Side
from mtls_echo_tls.slugs import Slug
from mtls_echo_tls.vocabulary import Vocabulary
from tests.support.endpoint_servers import endpoint, report

REFUSED = report("refused", rejected_by="client", causes=["unknown-authority"])
UNREACHED = report("failed", stage="connect", causes=["no-connection"])
PARAMETERS = Parameters(version="TLSv1.3", cipher="c", alpn=None, server_name="n", resumed=False)
PEER = CertificateSummary(
    subject="",
    issuer="",
    names=["localhost"],
    serial="1",
    fingerprint="0",
    not_before="2026-01-01T00:00:00Z",
    not_after="2026-02-01T00:00:00Z",
)
TLS = TLSSettings(ca_file=Path("ca.crt"), origin="[0].tls_config")
ECHOED = report(tls=PARAMETERS, peer=PEER)


def standing(*, strict: bool = False, timeout: float = 300.0) -> StatusTracker:
    return StatusTracker(endpoint(1, None, strict=strict), timeout)


def test_no_endpoint_is_a_member_before_the_first_success() -> None:
    one = standing()
    assert (one.status.state, one.status.admitted) == ("connecting", False)
    one.failed(UNREACHED)
    assert (one.status.state, one.status.admitted) == ("down", False)
    one.proved(ECHOED, 0.001, 10.0)
    assert (one.status.state, one.status.admitted, one.status.usable) == ("up", True, True)


def test_a_strict_one_is_a_member_and_usable_from_the_beginning_and_for_ever() -> None:
    one = standing(strict=True, timeout=0.0)
    assert (one.status.admitted, one.status.usable) == (True, True)
    one.failed(UNREACHED)
    assert not one.expire(1e9)
    assert (one.status.state, one.status.admitted, one.status.usable) == ("down", True, True)


@pytest.mark.parametrize("vocabulary", [CONFIGURATION, VOCABULARY], ids=["library", "command"])
@pytest.mark.parametrize("rejected_by", ["client", "server", None])
@pytest.mark.parametrize("slug", CAUSES)
def test_no_remedy_names_an_option_of_connect_or_serve(
    slug: Slug, rejected_by: Side | None, vocabulary: Vocabulary
) -> None:
    remedy = Perspective("client", rejected_by, OWNERS.get(slug), vocabulary).remedy(CAUSES[slug])
    told = advised(report("refused", causes=[slug], remedy=remedy), endpoint(1, TLS)).remedy

    of_other_commands = told.replace("--verify default", "") if vocabulary is VOCABULARY else told
    assert "--" not in re.sub(r"`mtls-echo pki [^`]*`", "", of_other_commands)
    assert ("`mtls-echo" in told) <= (vocabulary is VOCABULARY)


@pytest.mark.parametrize(
    ("minimum", "told"),
    [(ssl.TLSVersion.TLSv1_2, "TLS 1.2 or 1.3"), (ssl.TLSVersion.TLSv1_3, "min_version")],
)
def test_no_common_version_is_mended_by_what_the_shape_has_a_key_for(
    minimum: ssl.TLSVersion, told: str
) -> None:
    failure = report("refused", causes=["no-common-version"], remedy="see --tls")
    asked = endpoint(1, replace(TLS, minimum_version=minimum))
    assert told in advised(failure, asked).remedy


def test_a_member_that_is_down_stays_one_and_is_not_usable() -> None:
    one = standing()
    one.proved(ECHOED, 0.001, 10.0)
    one.failed(REFUSED)
    assert (one.status.state, one.status.admitted, one.status.usable) == ("down", True, False)


def test_the_time_until_a_member_is_dropped_begins_with_its_last_success() -> None:
    one = standing(timeout=300.0)
    one.proved(ECHOED, 0.001, 10.0)
    one.failed(UNREACHED)
    one.failed(UNREACHED)
    assert one.due == 310.0
    assert not one.expire(309.9)
    assert one.expire(310.0)
    assert (one.status.state, one.status.admitted) == ("dropped", False)
    assert not one.expire(1e9), "once is enough"


def test_one_that_is_up_or_was_never_a_member_is_not_dropped() -> None:
    up, never = standing(timeout=0.0), standing(timeout=0.0)
    up.proved(ECHOED, 0.001, 10.0)
    never.failed(UNREACHED)
    assert not up.expire(1e9)
    assert not never.expire(1e9)
    assert never.status.state == "down"


@pytest.mark.parametrize("seconds", [1e13, math.inf])
def test_the_next_attempt_may_be_later_than_any_calendar_goes(seconds: float) -> None:
    one = standing()
    one.failed(UNREACHED)
    one.wait(seconds)
    assert one.status.next_attempt is not None
    assert one.status.next_attempt.year > one.status.since.year + 30


def test_a_dropped_one_stays_dropped_until_it_succeeds() -> None:
    one = standing()
    one.proved(ECHOED, 0.001, 0.0)
    one.failed(UNREACHED)
    one.expire(300.0)
    one.failed(REFUSED)
    one.reset()
    one.unusable()
    assert one.status.state == "dropped"
    one.proved(ECHOED, 0.001, 301.0)
    assert (one.status.state, one.status.admitted) == ("up", True)


def test_a_lost_connection_is_not_a_verdict_and_counts_against_no_member() -> None:
    one = standing()
    one.proved(ECHOED, 0.001, 0.0)
    one.lost(UNREACHED)
    assert (one.status.state, one.status.admitted, one.status.usable) == (
        "connecting",
        True,
        False,
    )
    assert one.status.attempts == 0
    assert one.expire(300.0), "but the unhealthy time runs"


def test_becoming_strict_brings_a_dropped_one_back_and_ceasing_to_be_takes_it_away() -> None:
    one = standing()
    one.proved(ECHOED, 0.001, 0.0)
    one.failed(UNREACHED)
    one.expire(300.0)
    one.adopt(endpoint(1, None, strict=True))
    assert (one.status.state, one.status.admitted) == ("down", True)
    one.adopt(endpoint(1, None, strict=False))
    assert (one.status.state, one.status.admitted) == ("down", False)


def test_attempts_are_counted_since_the_last_success_and_a_state_has_one_beginning() -> None:
    one = standing()
    one.failed(UNREACHED)
    began = one.status.since
    one.failed(REFUSED)
    assert (one.status.attempts, one.status.since) == (2, began)
    one.proved(ECHOED, 0.001, 0.0)
    assert one.status.attempts == 0
    assert one.status.since >= began


def test_the_proved_identity_is_shown_only_while_it_is_up() -> None:
    one = standing()
    one.proved(ECHOED, 0.001, 0.0)
    expected = datetime.datetime(2026, 2, 1, tzinfo=datetime.UTC)
    assert (one.status.version, one.status.names) == ("TLSv1.3", ("localhost",))
    assert (one.status.not_after, one.status.round_trip) == (expected, 0.001)
    one.failed(report("refused", peer=PEER, tls=PARAMETERS, rejected_by="client"))
    assert (one.status.version, one.status.names) == (None, ())
    assert (one.status.not_after, one.status.round_trip) == (None, None)


@pytest.mark.parametrize(
    ("change", "worth_a_line"),
    [
        pytest.param(lambda one: one.proved(ECHOED, 9.9, 1.0), False, id="another round trip"),
        pytest.param(lambda one: one.wait(3.0), False, id="another moment to try"),
        pytest.param(lambda one: one.failed(REFUSED), True, id="another state"),
        pytest.param(lambda one: one.note(Problem("a", "b")), True, id="a problem"),
        pytest.param(lambda one: one.adopt(endpoint(1, None, group="x")), True, id="a group"),
        pytest.param(lambda one: one.proved(report(), 1.0, 1.0), True, id="another certificate"),
    ],
)
def test_measurements_are_not_news(change: Any, worth_a_line: bool) -> None:
    one = standing()
    one.proved(ECHOED, 0.001, 0.0)
    before = one.status
    change(one)
    assert one.status.differs(before) is worth_a_line


def test_two_failures_alike_are_one_piece_of_news() -> None:
    one = standing()
    one.failed(REFUSED)
    before = one.status
    one.failed(REFUSED)
    assert not one.status.differs(before)
    one.failed(UNREACHED)
    assert one.status.differs(before)


# --- the exit status -----------------------------------------------------------------------------


def ended(kind: str, *, strict: bool = False) -> Status:
    one = standing(strict=strict)
    match kind:
        case "up":
            one.proved(ECHOED, 0.001, 0.0)
        case "refused":
            one.failed(REFUSED)
        case "unreached":
            one.failed(UNREACHED)
        case "unusable":
            one.note(Problem("[0].tls_config", "is missing"))
            one.unusable()
        case _:
            pass
    return one.status


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        pytest.param([], 2, id="nothing to connect to"),
        pytest.param([ended("up")], 0, id="one and up"),
        pytest.param([ended("up", strict=True)], 0, id="one strict and up"),
        pytest.param([ended("refused"), ended("up")], 0, id="not strict and not admitted"),
        pytest.param([ended("refused"), ended("unreached")], 4, id="none admitted: the first"),
        pytest.param(
            [ended("refused"), ended("unreached", strict=True), ended("up")], 3, id="strict"
        ),
        pytest.param(
            [ended("up"), ended("refused", strict=True), ended("unreached", strict=True)],
            4,
            id="the first strict one",
        ),
        pytest.param([ended("unusable")], 2, id="unusable files"),
        pytest.param([ended("never tried", strict=True)], 7, id="no verdict yet"),
    ],
)
def test_a_strict_one_that_failed_decides_else_the_first_when_none_is_admitted(
    statuses: list[Status], expected: int
) -> None:
    assert verdict(statuses) == expected
