"""A client's score: what the server saw decides, and no verdict is given that was not tested."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree

import pytest

from mtls_echo.gallery.collection import EXHIBITS
from mtls_echo.gallery.judge import judge
from mtls_echo.gallery.running import Ran
from mtls_echo.gallery.score import GOOD_FAILED, NOTHING_JUDGED, SOMETHING_ACCEPTED, Score
from mtls_echo_pki.flaws.flaw import TLSVersion
from tests.cli.gallery import small_clients
from tests.cli.gallery.small_clients import SmallClient, named, run

# One of each kind.
FEW = ("expired", "wrong-name", "self-signed", "path-too-long", "wrong-name-address-as-host")


# What these do takes time.
TIMED = ("slow", "silent")


async def judged(
    client: SmallClient, slugs: Iterable[str] = FEW, tls: TLSVersion | None = None
) -> Score:
    return await judge(named(client), [EXHIBITS[each] for each in slugs], tls=tls, run=run)


def verdicts(score: Score) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in score.rows:
        found.setdefault(row.exhibit.slug, set()).add(row.verdict)
    return found


async def test_a_correct_client_causes_no_false_alarm() -> None:
    score = await judged(small_clients.correct, [each for each in EXHIBITS if each not in TIMED])
    assert [row for row in score.rows if row.is_wrong] == []
    assert score.exit_status({}) == 0
    open_ones = {row.exhibit.slug: row.why for row in score.rows if row.verdict == "not tested"}
    assert set(open_ones.values()) == {
        "the client is given no CRL",
        "the client is given no certificate",
    }
    # Every other exhibit was judged, in each of its versions.
    assert len(score.judged) == sum(
        len(each.versions)
        for slug, each in EXHIBITS.items()
        if slug not in {"good", *TIMED, *open_ones}
    )
    # With its alert, and what the server's report makes of it.
    (expired,) = (
        row for row in score.rows if (row.exhibit.slug, row.version) == ("expired", "1.3")
    )
    assert (expired.alert, expired.cause, expired.sent) == ("certificate_expired", "expired", 0)


@pytest.mark.real_time
async def test_a_server_may_take_its_time_or_say_nothing_at_all() -> None:
    assert verdicts(await judged(small_clients.correct, TIMED)) == {
        "slow": {"works"},
        "silent": {"refused"},
    }


@pytest.mark.parametrize(
    ("client", "accepted"),
    [
        (small_clients.trusts_all, FEW),
        (small_clients.ignores_expiry, ("expired",)),
        (small_clients.ignores_names, ("wrong-name", "wrong-name-address-as-host")),
        (small_clients.says_nothing_to_anyone, FEW),
        (small_clients.retries, ()),
        (small_clients.correct_but_exits_0, ()),
        (small_clients.says_nothing, ()),
        (small_clients.echoes, ()),
    ],
)
async def test_what_a_client_accepts_is_found_and_nothing_else(
    client: SmallClient, accepted: tuple[str, ...]
) -> None:
    score = await judged(client)
    assert verdicts(score) == {
        slug: {"accepted" if slug in accepted else "refused"} for slug in FEW
    }
    assert {row.exhibit.slug for row in score.wrong({})} == {*accepted}
    assert score.exit_status({}) == (SOMETHING_ACCEPTED if accepted else 0)


async def test_an_error_after_the_request_was_sent_is_too_late() -> None:
    score = await judged(small_clients.sends_first)
    assert verdicts(score) == {slug: {"accepted late"} for slug in FEW}
    assert score.exit_status({}) == SOMETHING_ACCEPTED
    assert all(row.status == 1 and row.sent for row in score.rows)


async def test_a_request_in_the_clear_was_sent_too() -> None:
    score = await judged(small_clients.falls_back, ("expired", "closes", "alert-internal-error"))
    assert {row.verdict for row in score.rows} == {"accepted late"}


@pytest.mark.parametrize(
    ("client", "verdict", "why"),
    [
        (small_clients.crashes, "not tested", "it was ended by SIGSEGV"),
        (small_clients.hangs, "not tested", "it came to no end"),
        (small_clients.hangs_after_sending, "accepted", ""),
    ],
)
async def test_a_client_that_does_not_end_by_itself_has_refused_nothing(
    client: SmallClient, verdict: str, why: str
) -> None:
    score = await judged(client, ["expired"])
    assert {(row.verdict, row.why) for row in score.rows} == {(verdict, why)}
    nothing = verdict == "not tested"
    assert score.exit_status({}) == (NOTHING_JUDGED if nothing else SOMETHING_ACCEPTED)


async def test_one_that_says_success_where_there_was_none_is_found_by_its_exit_status() -> None:
    slugs = ("expired", "closes", "truncates", "tls1-3")
    assert verdicts(await judged(small_clients.correct_but_exits_0, slugs)) == {
        "expired": {"refused"},
        "closes": {"accepted"},
        "truncates": {"accepted"},
        "tls1-3": {"works"},
    }


async def test_where_good_fails_nothing_is_judged() -> None:
    score = await judged(small_clients.never_connects)
    assert (score.rows, score.exit_status({})) == ([], GOOD_FAILED)
    assert {(row.verdict, row.why) for row in score.good} == {("fails", "it did not connect")}
    suite = ElementTree.XML(Score("python client.py", "", score.good).as_junit({}))
    assert suite.get("failures") == "2"
    assert suite[0].get("classname") == "gallery.python client_py"


async def test_where_good_fails_in_one_version_the_other_is_judged() -> None:
    score = await judged(small_clients.only_12, ["expired", "tls1-3"])
    assert [(row.version, row.verdict) for row in score.good] == [
        ("1.2", "works"),
        ("1.3", "fails"),
    ]
    assert [(row.exhibit.slug, row.version, row.verdict, row.why) for row in score.rows] == [
        ("expired", "1.2", "refused", ""),
        ("expired", "1.3", "not tested", "good fails in TLS 1.3"),
        ("tls1-3", "1.3", "not tested", "good fails in TLS 1.3"),
    ]
    assert score.exit_status({}) == 0
    suite = ElementTree.XML(score.as_junit({}))
    assert [suite.get(key) for key in ("tests", "failures", "skipped")] == ["5", "0", "3"]


async def test_one_version_alone_can_be_judged() -> None:
    score = await judged(small_clients.correct, ["expired", "tls1-2"], tls="1.3")
    assert {row.version for row in (*score.good, *score.rows)} == {"1.3"}


async def test_where_the_path_without_the_fault_fails_a_refusal_says_nothing() -> None:
    # A client that takes no intermediates refuses every fault of theirs.
    async def without_intermediates(words: Iterable[str], limit: float) -> Ran:
        is_below = "below-an-intermediate" in " ".join(words)
        return Ran(1, "no") if is_below else await run(list(words), limit)

    score = await judge(
        named(small_clients.correct),
        [EXHIBITS["expired"], EXHIBITS["expired-authority"]],
        run=without_intermediates,
    )
    assert verdicts(score) == {"expired": {"refused"}, "expired-authority": {"not tested"}}
    assert {row.why for row in score.rows} == {"", "it fails without the fault, too"}


async def test_what_was_accepted_is_proved_though_the_path_without_the_fault_fails() -> None:
    # It is content with one page only, and does not look at whom it has asked.
    async def for_one_page(words: Iterable[str], limit: float) -> Ran:
        ran = await run(list(words), limit)
        return ran if "/good-" in " ".join(words) else Ran(1, "no such page")

    score = await judge(
        named(small_clients.trusts_all), [EXHIBITS["expired"]], tls="1.3", run=for_one_page
    )
    assert verdicts(score) == {"expired": {"accepted late"}}
    assert score.exit_status({}) == SOMETHING_ACCEPTED
