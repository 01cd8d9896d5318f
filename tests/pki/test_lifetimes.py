"""Durations and dates, rounded as people say them: the cases that are easily got wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mtls_echo_pki.lifetimes import (
    abbreviate_seconds,
    describe_lifetime,
    describe_seconds,
    validity,
)

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
NOW = datetime(2026, 7, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "lifetime", "measured", "column"),
    [
        (0, "less than a second", "less than 0.1 ms", "<0.1 ms"),
        (0.000_04, "less than a second", "less than 0.1 ms", "<0.1 ms"),
        (0.000_31, "less than a second", "0.3 ms", "0.3 ms"),
        (0.094_4, "less than a second", "94.4 ms", "94.4 ms"),
        (0.999_96, "1 second", "1.0 s", "1.0 s"),
        (1.44, "1 second", "1.4 s", "1.4 s"),
        (44.6, "45 seconds", "44.6 s", "45 s"),
        (59.6, "1 minute", "59.6 s", "1 min"),
        (90, "90 seconds", "90.0 s", "90 s"),
        (116.9, "117 seconds", "116.9 s", "117 s"),
        (2 * MINUTE - 0.4, "2 minutes", "2 minutes", "2 min"),
        (89 * MINUTE, "89 minutes", "89 minutes", "89 min"),
        (2 * HOUR - 1, "2 hours", "2 hours", "2 h"),
        (36 * HOUR, "36 hours", "36 hours", "36 h"),
        (DAY - 1, "1 day", "1 day", "1 d"),
        (30 * DAY - MINUTE, "30 days", "30 days", "30 d"),
        (29.4 * DAY, "29 days", "29 days", "29 d"),
        (364 * DAY, "364 days", "364 days", "364 d"),
        (365 * DAY - 1, "365 days", "365 days", "365 d"),
        (730 * DAY - 1, "2 years", "2 years", "2 y"),
        (3652 * DAY - 1, "10 years", "10 years", "10 y"),
    ],
)
def test_a_duration_is_rounded_as_people_say_it(
    seconds: float, lifetime: str, measured: str, column: str
) -> None:
    assert describe_lifetime(timedelta(seconds=seconds)) == lifetime
    assert describe_seconds(seconds) == measured
    assert abbreviate_seconds(seconds) == column


@pytest.mark.parametrize(
    ("begin", "end", "said"),
    [
        (-1, 30 * DAY - 2, "expires in 30 days"),
        (-30 * DAY, -3 * DAY, "expired 3 days ago"),
        (-30 * DAY, -0.2, "expired less than a second ago"),
        (-30 * DAY, 90, "expires in 90 seconds"),
        (2 * DAY, 30 * DAY, "not valid for another 2 days"),
        (-DAY, 3650 * DAY, "expires in 10 years"),
    ],
)
def test_a_validity_is_said_from_now(begin: float, end: float, said: str) -> None:
    since, until = (NOW + timedelta(seconds=each) for each in (begin, end))
    assert validity(since, until, NOW) == said
