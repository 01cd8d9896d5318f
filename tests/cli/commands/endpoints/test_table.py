"""What a person reads of many endpoints, at every width; what a script reads; what a log gets."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from mtls_echo.commands.endpoints.json import Changes, encode, event_fields, outcome_fields
from mtls_echo.commands.endpoints.plan import draw_plan
from mtls_echo.commands.endpoints.table import draw, draw_screen
from mtls_echo.commands.endpoints.text import duration, line
from mtls_echo_client.endpoints.monitor.status import Status, StatusTracker
from mtls_echo_client.endpoints.plan import Plan, Problem
from mtls_echo_tls.address import Address
from mtls_echo_tls.diagnosis.report import Parameters
from mtls_echo_tls.path.summaries import CertificateSummary
from tests.support.endpoint_servers import EndpointServers, endpoint, report

PARAMETERS = Parameters(version="TLSv1.3", cipher="c", alpn=None, server_name="n", resumed=False)
REFUSED = report(
    "refused",
    rejected_by="client",
    causes=["unknown-authority"],
    summary="we refused the server: its CA is not trusted",
    remedy="ask its operator",
)


def moment(after: timedelta) -> str:
    return (datetime.now(UTC) + after).replace(microsecond=0).isoformat()


def echoed(*names: str, left: timedelta = timedelta(days=20), life: int = 30) -> Any:
    peer = CertificateSummary(
        subject="",
        issuer="",
        names=list(names or ("localhost",)),
        serial="1",
        fingerprint="0",
        not_before=moment(left - timedelta(days=life)),
        not_after=moment(left + timedelta(minutes=1)),
    )
    return report(tls=PARAMETERS, peer=peer)


@pytest.fixture
def servers(tmp_path: Any) -> EndpointServers:
    return EndpointServers(tmp_path)


def up(port: int = 1, proof: Any = None, **asked: Any) -> Status:
    one = StatusTracker(endpoint(port, asked.pop("tls", None), **asked))
    one.proved(proof or echoed(), 0.0006, 0.0)
    return one.status


def down(port: int = 2, proof: Any = REFUSED, **asked: Any) -> Status:
    one = StatusTracker(endpoint(port, asked.pop("tls", None), **asked))
    one.failed(proof)
    return one.status


def drawn(
    *statuses: Status,
    width: int = 80,
    height: int | None = None,
    colour: bool = False,
    **more: Any,
) -> str:
    file = io.StringIO()
    console = Console(
        file=file,
        width=width,
        height=height or 25,
        force_terminal=colour or None,
        color_system="standard" if colour else None,
        markup=False,
        highlight=False,
    )
    problems = more.get("problems", ())
    whole = draw_screen if height else draw
    console.print(whole(statuses, problems, console), crop=bool(height))
    return file.getvalue()


# --- the table -----------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 60])
def test_a_host_is_whole_however_long(width: int) -> None:
    host = "a-server-of-a-very-long-name.in-its-namespace.svc.cluster.local"
    shown = drawn(down(address=Address(host, 8443)), down(3), width=width)

    assert f"\n{host}:8443\n" in shown
    assert f"\n{host}:8443,\n" in shown
    others = [line for line in shown.splitlines() if host not in line]
    assert max(map(len, others)) <= width


@pytest.mark.parametrize("width", [40, 60, 72, 80, 100, 160])
def test_it_fits_every_width_and_leaves_nothing_out(servers: EndpointServers, width: int) -> None:
    statuses = [
        up(tls=servers.tls(), group="payments", strict=True),
        down(
            tls=servers.tls(),
            group="archive-of-everything",
            address=Address("10.11.12.130", 65535),
        ),
        StatusTracker(endpoint(3, None)).status,
        up(4),
    ]
    shown = drawn(*statuses, width=width, problems=(Problem("targets.json", "is no JSON"),))

    assert max(map(len, shown.splitlines())) <= width
    joined = "".join(shown.split())
    for word in (
        *("payments", "archive-of-everything", "127.0.0.1:1", "10.11.12.130:65535"),
        *("up", "down", "connecting", "strict", "yes", "no", "1.3", "plain"),
        *("localhost", "unknown-authority", "20d", "0.6ms"),
        *("itsCAisnottrusted", "askitsoperator", "4endpoints:1connecting,2up,1down;2admitted"),
        "problem:targets.json:isnoJSON",
    ):
        assert word in joined, word


@pytest.mark.parametrize("width", [40, 60, 72])
def test_where_a_table_has_no_room_words_are_whole_and_cells_aligned(width: int) -> None:
    name = Address("a-server.of-a-long-name.test", 8443)
    shown = drawn(up(1), down(address=name), StatusTracker(endpoint(3, None)).status, width=width)
    lines = [line.rstrip() for line in shown.splitlines()]

    assert str(name) in lines
    if width == 40:
        assert "  up, admitted yes, TLS plain," in lines
        assert "  localhost, expires 20 d, echo 0.6 ms" in lines
        assert "  connecting, admitted no, TLS plain" in lines
    else:
        assert "  state      admitted TLS   peer, or cause    expires   echo" in lines
        assert "  up         yes      plain localhost            20 d 0.6 ms" in lines
        assert "  down       no       plain unknown-authority       -      -" in lines


def test_a_pipe_gets_a_table_and_a_terminal_whole_words() -> None:
    status = up(address=Address("a-server.of-a-long-name.test", 8443))

    assert "a-server.of-a-long-name.test:8443\n" in drawn(status, width=80, colour=True)
    assert "a-server.of-a-long-name.test:8443\n" not in drawn(status, width=80)


def test_a_group_is_named_before_its_endpoints_or_beside_each(servers: EndpointServers) -> None:
    statuses = [up(1, group="a"), up(2, group="a"), up(3, group="b")]
    narrow, wide = drawn(*statuses).splitlines(), drawn(*statuses, width=160).splitlines()
    assert [each.split()[0] for each in narrow[1:6]] == [
        *("a:", "127.0.0.1:1", "127.0.0.1:2"),
        *("b:", "127.0.0.1:3"),
    ]
    assert [each.split()[0] for each in wide[1:4]] == ["a", "a", "b"]


def test_plaintext_is_always_called_so(servers: EndpointServers) -> None:
    for status in (up(), down(), StatusTracker(endpoint(1, None)).status):
        assert "plain" in drawn(status)
        assert "plaintext" in drawn(status, width=160)
        assert "plaintext" in line("endpoint", status)
    assert "plain" not in drawn(up(tls=servers.tls()), width=160)


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("height", [None, 25], ids=["one round", "a screen"])
def test_those_that_fail_alike_are_explained_once(width: int, height: int | None) -> None:
    shown = drawn(*(down(port) for port in range(1, 40)), width=width, height=height)
    assert shown.count("we refused the server") == 1
    assert "127.0.0.1:1, 127.0.0.1:2, 127.0.0.1:3 and 36 more: we refused" in shown
    assert shown.count("hint: ask its operator") == 1


def test_what_was_compared_is_shown_after_one_round_and_not_on_a_screen() -> None:
    from mtls_echo_tls.diagnosis.report import Fact

    told = report("failed", causes=["reset"], evidence=[Fact("system", "a long story")])
    assert "system: a long story" in drawn(down(proof=told))
    assert "a long story" not in drawn(down(proof=told), height=25)


def test_what_was_compared_is_shown_for_the_one_it_was_seen_at() -> None:
    from mtls_echo_tls.diagnosis.report import Fact

    def told(seen: str) -> Any:
        return report("failed", causes=["reset"], evidence=[Fact("system", seen)])

    both = drawn(down(1, told("this")), down(2, told("that")))
    assert "seen at 127.0.0.1:1:" in both
    assert "system: this" in both
    assert "seen at" not in drawn(down(1, told("this")))


@pytest.mark.parametrize("width", [80, 160])
def test_a_screen_is_filled(width: int) -> None:
    """However long the reasons are: an endpoint takes a line, and not those of its reason."""
    long = report("failed", causes=["reset"], summary="word " * 40, remedy="word " * 40)
    shown = drawn(*(down(port, long) for port in range(1, 100)), width=width, height=40)
    assert 36 <= len(shown.splitlines()) < 40
    assert shown.count(" down ") > 20


def test_reasons_have_the_lines_that_the_table_leaves() -> None:
    failing = [
        down(port, report("failed", causes=["reset"], summary=f"reason {port}"))
        for port in range(1, 5)
    ]
    # 6 lines of table, the count, 8 of reasons, and 2 that stay free.
    assert "reason 4" in drawn(*failing, height=17)
    fewer = drawn(*failing, height=16)
    assert "reason 3" in fewer
    assert "1 more, for which this window has no lines" in fewer
    assert "not shown" not in fewer


@pytest.mark.parametrize("height", [6, 10, 24])
@pytest.mark.parametrize("width", [80, 160])
def test_a_screen_is_never_exceeded_and_shows_first_what_is_not_up(
    width: int, height: int
) -> None:
    statuses = [
        *(up(port) for port in range(1, 400)),
        down(400),
        *(up(p) for p in range(401, 500)),
    ]
    shown = drawn(*statuses, width=width, height=height)

    assert len(shown.splitlines()) < height
    assert "127.0.0.1:400 " in shown
    assert "499 endpoints: 498 up, 1 down; 498 admitted" in shown
    assert "of them not shown" in shown


def test_a_certificate_near_its_end_is_marked_by_a_sign_and_a_colour() -> None:
    week = drawn(up(proof=echoed(left=timedelta(days=5))))
    hours = drawn(up(proof=echoed(left=timedelta(hours=5))))
    short_lived = drawn(up(proof=echoed(left=timedelta(hours=16), life=1)))
    over = drawn(up(proof=echoed(left=timedelta(hours=-1))))
    assert ["5 d!" in week, "5 h!" in hours, "over!" in over] == [True, True, True]
    assert "16 h " in short_lived
    assert "!" not in short_lived
    coloured = drawn(up(proof=echoed(left=timedelta(hours=5))), colour=True)
    assert "\x1b[1;31m   5 h!" in coloured


def test_without_colour_there_is_no_escape_sequence() -> None:
    assert "\x1b" not in drawn(up(), down(), StatusTracker(endpoint(3, None)).status)
    assert "\x1b[32m" in drawn(up(), colour=True)


def test_what_others_chose_is_escaped() -> None:
    evil = "\x1b[2J\u202eevil\nsecond line"
    forged = report("refused", causes=["expired"], summary=evil, remedy=evil)
    statuses = [up(proof=echoed(evil)), down(proof=forged, group=evil, labels={"a": evil})]
    problems = (Problem(evil, evil),)
    for width in (80, 160):
        shown = drawn(*statuses, width=width, problems=problems)
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert "\nsecond line" not in shown
    told = [*(line("endpoint", each) for each in statuses), line("problem", problems[0])]
    assert all(each.isprintable() for each in told)
    file = io.StringIO()
    console = Console(file=file, width=160)
    console.print(draw_plan(Plan((statuses[1].endpoint,), problems), console))
    assert "\x1b" not in file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, "-"),
        (-1.0, "over"),
        (0.0006, "0.6 ms"),
        (1.4, "1.4 s"),
        (44.6, "45 s"),
        (118.0, "118 s"),
        (121.0, "2 min"),
        (7300.0, "2 h"),
        (172_801.0, "2 d"),
        (2_591_990.0, "30 d"),
    ],
)
def test_a_length_of_time_is_shown_in_its_largest_unit(seconds: float | None, told: str) -> None:
    assert duration(seconds) == told


# --- the plan ------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 160])
def test_the_plan_says_where_settings_come_from_and_what_they_are(
    servers: EndpointServers, width: int
) -> None:
    plan = Plan(
        (
            endpoint(1, servers.tls(), strict=True, labels={"az": "b", "__meta_filepath": "x"}),
            endpoint(2, servers.tls("other", None), group="second"),
            endpoint(3, None, group="third"),
        ),
        (Problem("targets.json", "is no JSON"),),
    )
    file = io.StringIO()
    console = Console(file=file, width=width)
    console.print(draw_plan(plan, console), crop=False)
    shown = "".join(file.getvalue().split())

    for word in (
        *("127.0.0.1:1", "az=b", "here", "[0].tls_config", "localhost", "strict"),
        *("second", "third", "plaintext", "3endpoints", "problem:targets.json:isnoJSON"),
        *("presentingnocertificate", "TLS1.2orlater"),
    ):
        assert word in shown, word
    for text in (  # whole, to be copied
        f"verified by {servers.folder}/one.crt",
        f"presenting {servers.folder}/alice.crt",
        f"with the key {servers.folder}/alice.key",
    ):
        assert f"\n  {text}\n" in file.getvalue()
    assert "__meta" not in shown


# --- for scripts and logs ------------------------------------------------------------------------


def test_json_has_the_documented_fields(servers: EndpointServers) -> None:
    healthy = up(tls=servers.tls(), labels={"az": "b"})
    found = json.loads(encode(outcome_fields([healthy, down()], [Problem("a", "b")])))

    assert list(found) == ["endpoints", "problems", "exit_status"]
    assert found["problems"] == [{"where": "a", "message": "b"}]
    assert found["exit_status"] == 0
    first, second = found["endpoints"]
    assert list(first) == [
        *("address", "written", "origin", "group", "labels", "strict", "plaintext"),
        *("server_name", "tls_config", "state", "admitted", "usable", "since", "tls_version"),
        *("names", "not_after", "round_trip_ms", "attempts", "next_attempt", "exit_status"),
        *("problem", "report"),
    ]
    assert list(first) == list(second)
    assert list(first["tls_config"]) == [
        *("origin", "ca_file", "cert_file", "key_file", "min_version"),
    ]
    assert (first["state"], first["tls_version"], first["names"]) == (
        "up",
        "TLSv1.3",
        ["localhost"],
    )
    assert (first["round_trip_ms"], first["plaintext"], first["labels"]) == (
        0.6,
        False,
        {"az": "b"},
    )
    assert (second["plaintext"], second["tls_config"]) == (True, None)
    assert (second["state"], second["exit_status"]) == ("down", 4)
    assert second["report"]["causes"] == ["unknown-authority"]
    for time in (first["since"], first["not_after"]):
        assert datetime.fromisoformat(time).tzinfo is not None


def test_a_change_is_logged_once_and_a_measurement_never() -> None:
    changes = Changes()
    one = StatusTracker(endpoint(1, None))

    def news(*problems: Problem) -> list[str]:
        return [event for event, _ in changes.since([one.status], problems)]

    assert news() == ["endpoint"]
    assert news() == []
    one.proved(echoed(), 0.1, 0.0)
    assert news() == ["endpoint"]
    one.proved(one.status.report or echoed(), 0.2, 1.0)
    assert news() == []
    assert news(Problem("a", "b")) == ["problem"]
    assert news(Problem("a", "c")) == ["problem", "resolved"]
    assert news() == ["resolved"]
    assert [event for event, _ in changes.since([], ())] == ["removed"]


def test_an_event_is_the_same_object_with_its_kind_and_time_before() -> None:
    told = json.loads(encode(event_fields("endpoint", down())))
    assert list(told)[:3] == ["event", "time", "address"]
    assert told["event"] == "endpoint"
    assert json.loads(encode(event_fields("problem", Problem("a", "b")))).keys() == {
        *("event", "time", "where", "message"),
    }


def test_a_line_of_a_log_says_who_and_what_and_what_to_do() -> None:
    healthy, strict = up(), down(strict=True)
    assert ": TLS 1.3, localhost, certificate until 20" in line("endpoint", healthy)
    assert line("endpoint", strict).endswith(
        " 127.0.0.1:2 (here, strict, plaintext) down: unknown-authority: we refused the server:"
        " its CA is not trusted; hint: ask its operator"
    )
    assert " down, not admitted: " in line("endpoint", down())
    assert line("removed", healthy).endswith(" 127.0.0.1:1 (here, plaintext) removed")
    assert line("problem", Problem("a.json", "is no JSON")).endswith(
        "Z problem: a.json: is no JSON"
    )
