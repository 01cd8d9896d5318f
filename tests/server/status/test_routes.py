"""What the status port answers: to probes, to Prometheus, and to the owner of a refused client."""

from __future__ import annotations

import datetime
import json
from typing import Any

import msgspec
import pytest
from prometheus_client.openmetrics import parser as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from mtls_echo_pki.certificates.request import Request
from mtls_echo_server import events
from mtls_echo_server.http.site import HTTPResponse
from mtls_echo_server.status.counts import CAUSES, RESULTS, SIDES, VERSIONS
from mtls_echo_server.status.routes import BURST, MOST_MADE, Remade
from mtls_echo_server.status.tally import Delta
from mtls_echo_tls.material.reloader import Reload
from mtls_echo_tls.trace.decoding import TraceEntry
from tests.server.status.world import Asked, ended, refusal, reloader, report
from tests.support.authorities import SERVERS

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


def metrics(asked: Asked) -> dict[str, float]:
    """Every sample, by its name and labels."""
    text = asked.get("/metrics").body.decode()
    return {
        " ".join((sample.name, *(f"{k}={v}" for k, v in sorted(sample.labels.items())))): float(
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_series_is_there_before_anything_happened() -> None:
    found = metrics(Asked())
    for side in SIDES:
        for cause in CAUSES:
            key = f"mtls_echo_handshake_failures_total cause={cause} rejected_by={side}"
            assert found[key] == 0
    for result in RESULTS:
        for version in VERSIONS:
            key = f"mtls_echo_handshakes_total result={result} version={version}"
            assert found[key] == 0
    assert found["mtls_echo_reloads_total result=failure"] == 0
    assert found["mtls_echo_handshake_duration_seconds_count"] == 0
    assert found["mtls_echo_peer_certificate_expiry_seconds_bucket le=+Inf"] == 0
    assert found["mtls_echo_last_reload_successful"] == 1
    assert found["mtls_echo_generation"] == 1
    assert found["mtls_echo_connections"] == 3


def test_what_happens_is_counted_once_and_in_its_place() -> None:
    asked = Asked()
    for event in (
        events.accepted("127.0.0.1:1", None, "TLSv1.3", 0.003),
        ended(report(1)),
        ended(report(2), requests=3),
        ended(report(3, outcome="denied", causes=["not-authorised"], rejected_by="server")),
        ended(refusal(4), version="TLSv1.2"),
        ended(refusal(5, rejected_by="client", causes=["unknown-authority", "revoked"])),
        ended(refusal(6, outcome="failed", rejected_by=None, causes=["timeout"])),
        ended(refusal(7, outcome="failed", rejected_by=None, causes=[]), ended="crowded"),
        ended(report(8, outcome="failed", causes=["truncated"])),
        events.reload(Reload(True, 2, ("certificate",))),
        events.reload(Reload(True, 2)),
        events.reload(Reload(False, 2, error="ca.crt: torn")),
    ):
        asked.tally(event)
    found = {key: value for key, value in metrics(asked).items() if value and "le=" not in key}
    prefix = "mtls_echo_"
    expected = {
        "handshakes_total result=completed version=TLSv1.3": 4,
        "handshakes_total result=refused version=TLSv1.2": 1,
        "handshakes_total result=refused version=unknown": 1,
        "handshakes_total result=failed version=unknown": 2,
        "handshake_failures_total cause=expired rejected_by=server": 1,
        "handshake_failures_total cause=unknown-authority rejected_by=client": 1,
        "handshake_failures_total cause=timeout rejected_by=none": 1,
        "handshake_failures_total cause=none rejected_by=none": 1,
        "connections_denied_total": 1,
        "http_requests_total": 3,
        "connections_ended_total ended=client": 2,
        "connections_ended_total ended=failure": 5,
        "connections_ended_total ended=crowded": 1,
        "handshake_duration_seconds_count": 1,
        "peer_certificate_expiry_seconds_count": 4,
        "reloads_total result=success": 1,
        "reloads_total result=failure": 1,
    }
    assert {key: found[prefix + key] for key in expected} == expected
    assert "mtls_echo_last_reload_successful" not in found  # it is 0
    assert 0.0029 < found[prefix + "handshake_duration_seconds_sum"] < 0.0031


def test_a_histogram_counts_upwards() -> None:
    asked = Asked()
    for seconds in (0.0, 0.001, 0.002, 0.3, 99.0):
        asked.tally(events.accepted("127.0.0.1:1", None, "TLSv1.3", seconds))
    name = "mtls_echo_handshake_duration_seconds_bucket le="
    found = metrics(asked)
    counted = {
        key: found[name + key] for key in ("0.001", "0.0025", "0.25", "0.5", "10.0", "+Inf")
    }
    assert list(counted.values()) == [2, 3, 3, 4, 4, 5]


def test_no_label_holds_what_a_peer_chose() -> None:
    asked = Asked()
    asked.tally(ended(refusal(1)))
    text = asked.get("/metrics").body.decode()
    for chosen in ("alice", "127.0.0.1", "localhost", f"{1:064x}"):
        assert chosen not in text


def test_dates_are_moments() -> None:
    found = metrics(Asked())
    end = found["mtls_echo_certificate_not_after_timestamp_seconds kind=own position=0"]
    assert end > NOW.timestamp()
    assert "mtls_echo_certificate_not_after_timestamp_seconds kind=authority position=0" in found


def test_open_metrics_for_a_scraper_that_asks_for_them() -> None:
    asked = Asked()
    asked.tally(ended(report()))
    answer = asked.get("/metrics", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert answer.kind.startswith("application/openmetrics-text")
    parse: Any = open_metrics.text_string_to_metric_families
    assert list(parse(answer.body.decode()))
    assert asked.get("/metrics").kind.startswith("text/plain")


def test_it_is_ready_from_the_first_port_to_the_first_signal() -> None:
    asked = Asked()
    assert asked.get("/readyz").status == 503
    asked.tally(events.listening("127.0.0.1", 1, client_auth="required", pid=1))
    assert asked.get("/readyz").status == 200
    asked.tally(events.stopping(1, 30))
    assert asked.get("/readyz").body == b"not ready: the server is draining\n"
    assert asked.get("/healthz").status == 200
    assert metrics(asked)["mtls_echo_ready"] == 0


def test_it_is_ready_as_long_as_one_worker_is() -> None:
    asked = Asked(workers=2)
    assert asked.get("/readyz").status == 503
    asked.tally.take_in(Delta(1, 5))
    asked.tally.take_in(Delta(2, 7))
    assert asked.get("/readyz").status == 200
    assert metrics(asked)["mtls_echo_connections"] == 12
    asked.tally.take_in(Delta(1, None))
    assert metrics(asked)["mtls_echo_connections"] == 7
    assert metrics(asked)["mtls_echo_workers"] == 1
    asked.tally.take_in(Delta(2, None))
    assert asked.get("/readyz").status == 503
    asked.tally.take_in(Delta(1, 0))
    asked.tally.take_in(Delta(0, stopping=True))
    assert b"draining" in asked.get("/readyz").body


@pytest.mark.parametrize(
    ("begin", "end", "why"), [(-2, -1, b"expired"), (1, 2, b"not")], ids=["past", "future"]
)
def test_it_is_not_ready_with_a_certificate_of_another_time(
    begin: int, end: int, why: bytes
) -> None:
    request = Request(names=("localhost",), lifetime=end * DAY, backdate=-begin * DAY)
    other = SERVERS.issue(request)
    asked = Asked(reloader=reloader(other))
    asked.tally(events.listening("127.0.0.1", 1, client_auth="required", pid=1))
    answer = asked.get("/readyz")
    assert answer.status == 503
    assert why in answer.body


def test_the_owner_of_a_refused_client_finds_out_why() -> None:
    asked = Asked()
    asked.tally(ended(refusal(0xABC)))
    found = json.loads(asked.get(f"/reports/{0xABC:064X}").body)
    assert found["causes"] == ["expired"]
    assert found["remedy"] == "renew it"
    assert found["address"] == "127.0.0.1:1234"
    page = asked.page(f"/reports/{0xABC:064x}")
    for shown in ("We refused the client", "renew it", "alice.test", "expired"):
        assert shown in page
    assert asked.get("/reports/abc").status == 404
    assert "404" in asked.page("/reports/%3Cscript%3E")


def test_a_command_in_a_remedy_is_marked_as_one_and_an_option_is_not_broken() -> None:
    asked = Asked()
    asked.tally(ended(refusal(1, remedy="run `a <b> --c`, or give --key FILE")))
    marked = 'run <code>a &lt;b&gt; --c</code>, or give <span class="whole">--key</span> FILE'
    assert marked in asked.page("/")
    assert marked in asked.page(f"/reports/{1:064x}")


def test_the_last_reports_are_asked_for_by_number() -> None:
    asked = Asked()
    for number in range(30):
        asked.tally(ended(report(number) if number % 2 else refusal(number)))
    assert len(json.loads(asked.get("/reports").body)) == 20
    last = json.loads(asked.get("/reports?last=3").body)
    assert [int(one["client_random"], 16) for one in last] == [29, 28, 27]
    refused = json.loads(asked.get("/reports?last=100&refused=1").body)
    assert len(refused) == 15
    for wrong in ("0", "-1", "601", "x", "", "9" * 400, "\u0663", "000000001" + "9" * 5000):
        assert asked.get(f"/reports?last={wrong}").status == (200 if wrong == "" else 400)


def test_messages_are_in_the_one_report_that_is_asked_for() -> None:
    asked = Asked()
    shown = {"alpn": ["\u202eevil\x1b\x7f\x9b\u05d0\U000e0041"]}
    entry = TraceEntry(
        time_ms=0, direction="received", name="ClientHello", size=9, protected=False, fields=shown
    )
    asked.tally(ended(refusal(1, trace=[entry])))
    assert json.loads(asked.get("/reports").body)[0]["trace"] is None
    body = asked.get(f"/reports/{1:064x}").body.decode()
    assert json.loads(body)["trace"][0]["fields"] == shown
    assert all(line.isprintable() for line in body.split("\n"))
    assert "\u05d0" in body


def test_the_overview_shows_refusals_and_loads_itself() -> None:
    asked = Asked()
    asked.tally(events.listening("127.0.0.1", 1, client_auth="required", pid=1))
    assert "none yet" in asked.page("/")
    asked.tally(ended(report(1)))
    asked.tally(ended(refusal(2)))
    page = asked.page("/")
    assert '<meta http-equiv="refresh" content="3">' in page
    assert '<tr class="bad">' in page
    assert "its certificate has expired" in page
    assert "renew it" in page
    assert f'href="/reports/{2:064x}"' in page
    assert "<script" not in page


def test_hostile_names_do_nothing_to_the_pages() -> None:
    asked = Asked()
    evil = "<script>alert(1)</script>\"'\u202e\x1b[2J"
    peer = report().peer
    assert peer is not None
    named = msgspec.structs.replace(peer, names=[evil, *["x" * 512] * 15], subject=evil)
    for number in range(40):
        asked.tally(ended(refusal(number, peer=named, summary=evil, remedy=evil)))
    for target in "/", "/reports?last=100", f"/reports/{1:064x}":
        page = asked.page(target)
        assert "<script" not in page
        assert "\u202e" not in page
        assert "\x1b" not in page
        assert len(page) < 150_000


def test_the_configuration_is_what_was_said_and_what_is_trusted() -> None:
    config = json.loads(Asked().get("/config").body)
    assert config["listen"] == ["x"]
    assert config["generation"] == 1
    assert config["last_reload"]["ok"] is True
    assert config["own"]["names"] == ["localhost"]
    assert config["trusted"][0]["subject"] == "CN=clients"
    assert "KEY" not in json.dumps(config)


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1:9464", True),
        ("[::1]:9464", True),
        ("localhost", True),
        ("LOCALHOST.:1", True),
        ("status.localhost:1", True),
        ("10.1.2.3", True),
        ("", True),
        ("named.test:9464", True),
        ("evil.test", False),
        ("evil.test:9464", False),
        ("127.0.0.1.evil.test", False),
        ("localhost.evil.test:80", False),
        ("\u0661.0.0.1", False),
    ],
)
def test_on_this_machine_it_is_not_asked_for_by_other_names(host: str, is_ours: bool) -> None:
    """A web page whose name was made to resolve to this machine reads nothing."""
    asked = Asked(names=frozenset({"named.test"}))
    for target in ("/", "/metrics", "/reports", "/config", "/healthz", "/reports/x"):
        assert (asked.get(target, host=host).status == 421) is not is_ours
    assert Asked(names=None).get("/healthz", host=host).status == 200


class Counted:
    """Pages that are remade, by a clock of its own, and how often one was."""

    def __init__(self) -> None:
        self.now, self.made = 0.0, 0
        self.remade = Remade(lambda: self.now)

    def get(self, key: object, version: int) -> HTTPResponse:
        return self.remade.get(key, version, self._make)

    def _make(self) -> HTTPResponse:
        self.made += 1
        return HTTPResponse.text("")


def test_many_scrapers_cost_no_more_than_some() -> None:
    pages = Counted()

    for number in range(1000):
        pages.get("x", number)
        pages.now += 0.01
    assert BURST <= pages.made <= BURST + 11
    pages.now, pages.made = pages.now + 100, 0
    for _ in range(50):
        pages.get("x", 1000)
    assert pages.made == 1


def test_lists_of_reports_cost_no_more_however_they_are_asked_for() -> None:
    pages = Counted()

    statuses = [pages.get(key, 1).status for key in range(50)]
    assert statuses == [200] * int(BURST) + [429] * (50 - int(BURST))
    assert pages.made == BURST
    kept = [pages.get(key, 1).status for key in range(int(BURST))]
    assert kept.count(200) == MOST_MADE
    pages.now += 1
    assert pages.get(51, 1).status == 200


def test_a_reader_of_lists_keeps_no_scraper_out() -> None:
    asked = Asked()
    answers = [asked.get(f"/reports?last={number}") for number in range(1, 50)]
    assert answers[-1].status == 429
    assert dict(answers[-1].headers)["Retry-After"] == "1"
    assert asked.get("/metrics").status == 200
    assert asked.get("/", "text/html").status == 200
