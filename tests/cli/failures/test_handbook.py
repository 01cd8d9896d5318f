"""docs/failures.md is what really happens: written again, it comes out the same."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

import pytest

from mtls_echo.failures.handbook import (
    PROGRAMS,
    SIDES,
    Played,
    QuotedMessage,
    page,
    play_all,
    read_messages,
)
from mtls_echo.vocabulary import COMMAND_LINE
from mtls_echo_tls.causes import CAUSES
from mtls_echo_tls.diagnosis.perspective import Perspective
from mtls_echo_tls.sides import peer_of
from mtls_echo_tls.slugs import Slug

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "failures.md").read_text("utf-8")
TEXTS = read_messages(ROOT / "tests/cli/commands/explain_corpus.toml")
ENTRIES = {
    heading: text
    for heading, _, text in (part.partition("\n") for part in PAGE.split("\n## ")[1:])
}

each_cause = pytest.mark.parametrize("slug", CAUSES)


@pytest.fixture(scope="module")
def played() -> Played:
    return play_all()


@pytest.mark.skipif(
    ssl.OPENSSL_VERSION_INFO[:2] != (3, 0),
    reason="the page was written with OpenSSL 3.0; others choose a few alerts differently",
)
def test_the_handbook_is_up_to_date(played: Played) -> None:
    assert page(played, TEXTS) == PAGE, "`make docs` writes docs/failures.md anew"


def test_a_change_in_what_happens_makes_the_handbook_stale(played: Played) -> None:
    less = {slug: sightings for slug, sightings in played.items() if slug != "expired"}
    texts = [text for text in TEXTS if text.cause != "expired"]

    assert page(less, TEXTS) != page(played, TEXTS)
    assert page(played, texts) != page(played, TEXTS)


def test_there_is_one_entry_for_each_cause_in_order() -> None:
    assert list(ENTRIES) == sorted(CAUSES)
    for slug in CAUSES:
        assert f"- [{slug}](#{slug}): " in PAGE


@each_cause
def test_an_entry_says_what_it_is_where_the_rule_stands_and_what_to_do(slug: Slug) -> None:
    entry = ENTRIES[slug]
    cause = CAUSES[slug]

    first = entry.strip().splitlines()[0]
    assert first[0].isupper()
    assert cause.rfc in first
    assert "{" not in entry.partition("**What other programs print**")[0]
    assert "None" not in entry
    assert "**What to do**" in entry
    hints = {
        Perspective(side, by, None, COMMAND_LINE).remedy(cause)
        for side in SIDES
        for by in (*SIDES, None)
    }
    assert any(hint in entry for hint in hints)


@pytest.mark.parametrize("slug", ["expired", "wrong-usage", "unknown-authority"])
def test_where_either_side_can_be_at_fault_both_learn_what_to_do_in_both_cases(slug: Slug) -> None:
    for owner in SIDES:
        for side in SIDES:
            hint = Perspective(side, peer_of(owner), None, COMMAND_LINE).remedy(CAUSES[slug])
            assert f"- If the fault is the {owner}'s, on the {side}: {hint}" in ENTRIES[slug]


def test_the_most_frequent_are_first_and_counted_in_what_others_have_cited() -> None:
    listed = re.findall(r"(?m)^\d+\. \[([\w-]+)\]\(#\1\): .* \((\d+)\)$", PAGE)
    counts = [int(count) for _, count in listed]

    assert len(listed) == 10
    assert counts == sorted(counts, reverse=True)
    for slug, count in listed:
        assert int(count) == sum(text.cause == slug and text.is_cited for text in TEXTS)
    assert counts[-1] >= max(
        sum(text.cause == slug and text.is_cited for text in TEXTS)
        for slug in CAUSES.keys() - {slug for slug, _ in listed} - {"internal-error"}
    )


def test_each_end_s_report_is_shown_for_each_side_at_fault() -> None:
    refused = "is refused, certificate_expired: **expired**"

    assert f"| the client | {refused} | refuses: **expired** |" in ENTRIES["expired"]
    assert f"| the server | refuses: **expired** | {refused} |" in ENTRIES["expired"]
    both_versions = "handshake_failure: **{0}**; is refused, certificate_required: **{0}**"
    absent = "no-client-certificate"
    assert f"| is refused, {both_versions.format(absent)} |" in ENTRIES[absent]
    for slug, entry in ENTRIES.items():
        assert ("| at fault |" in entry) is ("Not played" not in entry), slug


def test_differences_between_the_versions_are_listed_per_version() -> None:
    entry = ENTRIES["no-client-certificate"]

    assert re.search(r"\| 1\.2 \| server \|.* handshake_failure \(40\) \|", entry)
    assert re.search(r"\| 1\.3 \| server \|.* certificate_required \(116\) \|", entry)


def test_nothing_in_it_differs_from_run_to_run() -> None:
    assert not re.search(r"\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d", PAGE)  # dates and times
    assert not re.search(r"(?:localhost|127\.0\.0\.1):\d", PAGE)  # ports
    assert not re.search(r"\b[0-9A-Fa-f]{16,}\b", PAGE)  # serial numbers, fingerprints, threads
    assert not re.search(r"/(?:home|root|tmp|usr|work)/", PAGE)


def test_other_programs_are_quoted_and_only_in_their_own_words() -> None:
    quoted = re.findall(rf"^- ({'|'.join(PROGRAMS)})(?:, when it was refused)?: (.*)$", PAGE, re.M)

    assert {program for program, _ in quoted} == set(PROGRAMS)
    for program, phrases in quoted:
        said = " ".join(" ".join(s.text.split()) for s in TEXTS if s.stack == program)
        for phrase in re.findall(r"`([^`]*)`", phrases):
            for part in phrase.split("…"):
                assert part in said.replace("`", "'"), part


def test_a_program_that_was_refused_is_distinguished_from_one_that_refused() -> None:
    went_to_client = QuotedMessage(
        "Go", "tls: expired certificate", "expired", "server", "client", 45
    )
    own_verdict = QuotedMessage("Go", "certificate has expired", "expired", "printer")

    assert went_to_client.was_refused
    assert not own_verdict.was_refused
    assert QuotedMessage("OpenSSL", "alert number 45", "expired", "peer", alert=45).was_refused
