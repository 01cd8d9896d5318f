"""The log of a server on a terminal: a line per connection, whatever a client is called."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import click
import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from rich.cells import cell_len

from mtls_echo import console, event_lines
from mtls_echo.event_lines import EventLines, is_kept_when_quiet
from mtls_echo_pki.certificates.request import Request
from mtls_echo_server import events
from mtls_echo_server.events import Ended, Event
from mtls_echo_server.log import EventLog
from mtls_echo_server.workers import happenings
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.material.reloader import Reload
from mtls_echo_tls.path.certificates import PeerIdentity
from mtls_echo_tls.path.summaries import CertificateSummary
from mtls_echo_tls.trace.decoding import TraceEntry
from mtls_echo_tls.trace.shown import AlertSeen
from tests.support.authorities import CLIENTS

ALICE = CertificateSummary(
    subject="CN=alice",
    issuer="CN=clients",
    names=["alice.test"],
    serial="01",
    fingerprint="ab",
    not_before="2026-01-01T00:00:00Z",
    not_after="2026-01-31T00:00:00Z",
)
ADDRESS = "127.0.0.1:5"

Terminal = Callable[[int], None]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard error a terminal of so many columns, or a pipe with 0."""
    for variable in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(variable, raising=False)

    def resize(columns: int) -> None:
        monkeypatch.setattr(event_lines, "width_of", lambda _: columns or None)

    resize(80)
    return resize


def connection(
    ended: Ended = "client", *, name: str = "alice.test", silent: bool = False, **changes: Any
) -> Event:
    report = diagnose(Evidence("server", stage="established", version="TLSv1.3"))
    peer = msgspec.structs.replace(ALICE, names=[name])
    report = msgspec.structs.replace(report, **{"duration_ms": 2.1, "peer": peer} | changes)
    return events.connection(ADDRESS, report, ended=ended, received=6, sent=6, silent=silent)


def refusal() -> Event:
    evidence = Evidence(
        "server",
        stage="handshake",
        reason="PEER_DID_NOT_RETURN_A_CERTIFICATE",
        alert=AlertSeen(116, sent=True, protected=True),
    )
    return events.connection(ADDRESS, diagnose(evidence), ended="failure", received=0, sent=0)


def shown(event: Event, *, in_full: bool = False, start: str = "17:54:49 ") -> str:
    return click.unstyle(EventLines(in_full=in_full)(event, start))


UNKNOWN = ["unknown-authority", "missing-intermediate", "expired"]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (connection(), "echoed   127.0.0.1:5     alice.test, 6 bytes, 2.1 ms"),
        (
            connection("idle"),
            "echoed   127.0.0.1:5     alice.test, 6 bytes, 2.1 ms, closed after the…",
        ),
        (
            connection(outcome="completed"),
            "finished 127.0.0.1:5     alice.test, 6 bytes, 2.1 ms",
        ),
        (refusal(), "refused  127.0.0.1:5     by us: no-client-certificate"),
        (
            connection(outcome="refused", rejected_by="client", causes=UNKNOWN),
            "refused  127.0.0.1:5     alice.test, by the client: unknown-authority…",
        ),
        (
            connection(outcome="refused", rejected_by="server", causes=UNKNOWN[1:]),
            "refused  127.0.0.1:5     alice.test, by us: missing-intermediate, or e…",
        ),
        (
            connection("denied", outcome="denied", causes=["not-authorised"], summary="not ours"),
            "denied   127.0.0.1:5     alice.test, not-authorised: not ours; present…",
        ),
        (
            connection("abort", outcome="failed", causes=[]),
            "cut off  127.0.0.1:5     alice.test, we cut it off while stopping, 6 b…",
        ),
        (
            connection("failure", outcome="failed", silent=True, peer=None),
            "failed   127.0.0.1:5     connected and left without a word, as health…",
        ),
    ],
)
def test_a_connection_is_one_line(terminal: Terminal, event: Event, line: str) -> None:
    assert shown(event) == f"17:54:49 {line}"
    # Of several processes too: which it was is a detail.
    assert shown(event, start="17:54:49 worker 2: ") == f"17:54:49 {line}"


def test_an_accepted_client_is_one_line(terminal: Terminal) -> None:
    identity = PeerIdentity.from_der(
        CLIENTS.issue(Request.client("bob.test")).certificate.public_bytes(Encoding.DER)
    )

    assert shown(events.accepted(ADDRESS, identity, "TLSv1.2")) == (
        "17:54:49 accepted 127.0.0.1:5     bob.test, TLSv1.2"
    )
    assert shown(events.accepted(ADDRESS, None, "TLSv1.3")).endswith("127.0.0.1:5     TLSv1.3")


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
@pytest.mark.parametrize("name", ["x" * 500, "中" * 300, "a\x1b[2J\nb\u202e.test"])
def test_no_name_makes_it_more_than_a_line(terminal: Terminal, columns: int, name: str) -> None:
    terminal(columns)
    for event in (
        connection(name=name),
        connection(name=name, outcome="refused", rejected_by="server", causes=["expired"]),
    ):
        line = shown(event)
        assert cell_len(line) <= columns
        assert line.isprintable()
        if columns >= 60 and event.report and event.report.causes:
            assert line.endswith(", by us: expired")


def test_how_it_went_is_coloured_where_colour_is_wanted(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused, echoed = EventLines()(refusal(), ""), EventLines()(connection(), "")
    assert refused.startswith("\x1b[31m\x1b[1mrefused\x1b[0m  127")
    assert echoed.startswith("\x1b[32m\x1b[1mechoed\x1b[0m   127")
    for variable, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        monkeypatch.setenv(variable, value)
        assert EventLines()(refusal(), "").startswith("refused  127")
        monkeypatch.delenv(variable)


def test_what_concerns_the_server_is_complete(terminal: Terminal) -> None:
    result = Reload(False, 1, error="a " * 60, hint="read it and weep")
    terminal(60)
    lines = shown(events.reload(result)).splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= 60
    assert lines[-1].endswith("read it and weep")


@pytest.mark.parametrize(
    ("columns", "beginning"),
    [
        (80, "        ms client"),
        (60, "      ms client"),
        (59, "the diagram needs 60 columns; this"),
    ],
)
def test_a_handshake_is_drawn_as_wide_as_the_terminal(
    terminal: Terminal, columns: int, beginning: str
) -> None:
    terminal(columns)
    trace = [
        TraceEntry(
            time_ms=0.1,
            direction="received",
            name="ClientHello",
            size=9,
            protected=False,
            fields={},
        )
    ]
    _, *drawn = shown(connection(trace=trace)).splitlines()

    assert drawn[0].startswith(beginning)
    assert max(map(len, drawn)) <= columns


def test_all_of_it_is_written_when_asked_for_in_lines_of_whole_words(terminal: Terminal) -> None:
    terminal(0)
    whole = shown(refusal(), in_full=True)
    terminal(60)
    lines = shown(refusal(), in_full=True).splitlines()

    assert "(sent alert certificate_required (116)); hint: " in whole
    assert "\n" not in whole
    assert max(map(len, lines)) <= 60
    assert [line[:9] for line in lines[1:]] == [" " * 9] * (len(lines) - 1)
    assert " ".join(map(str.strip, lines)) == whole


def test_an_address_of_another_machine_is_set_off_too(terminal: Terminal) -> None:
    line = shown(events.accepted("192.168.100.200:50000", None, "TLSv1.2"))

    assert line == "17:54:49 accepted 192.168.100.200:50000 TLSv1.2"


def test_lines_are_for_a_terminal_and_for_who_asks_for_colour(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert event_lines.wants_lines()
    terminal(0)
    assert not event_lines.wants_lines()
    monkeypatch.setattr(console, "_colour", [True])
    assert event_lines.wants_lines()
    assert "\x1b" in EventLines()(refusal(), "")


def test_the_log_takes_its_lines_from_the_view_and_those_of_its_workers(
    terminal: Terminal,
) -> None:
    file, of_worker = io.StringIO(), io.StringIO()
    log = EventLog("text", file, view=EventLines())
    log(refusal())
    log.of_worker(2, of_worker)(refusal())

    for written in (file.getvalue(), of_worker.getvalue().rstrip("\0")):
        assert re.fullmatch(r"\S+ refused +127.0.0.1:5 +by us: .*\n", click.unstyle(written))


def test_quiet_leaves_out_single_clients_and_what_went_well() -> None:
    file = io.StringIO()
    log = EventLog("json", file, keep=is_kept_when_quiet)
    told: list[str] = []
    log.also = lambda event: told.append(event.name)
    for event in (
        events.created("pki"),
        events.listening("::1", 1, client_auth="required", pid=1),
        happenings.worker_started(1, 2),
        events.accepted(ADDRESS, None, "TLSv1.3"),
        connection(),
        refusal(),
        events.reload(Reload(True, 2, ("crl",))),
        events.reload(Reload(False, 2, error="torn")),
        events.warning("expires in 3 days"),
        events.error(ADDRESS, "KeyError: 'x'", ""),
        events.status("0.0.0.0", 1, is_loopback=False),  # noqa: S104  no socket
        events.stopping(0, 30),
        events.stopped(0, 0),
    ):
        log(event)

    written = [msgspec.json.decode(line)["event"] for line in file.getvalue().splitlines()]
    assert written == [
        "listening", "reload", "warning", "error", "status", "stopping", "stopped",
    ]  # fmt: skip
    assert len(told) == 13
