"""The pages of the status port: what happens, and why one client was refused."""

from __future__ import annotations

import datetime
import re

from mtls_echo_pki.lifetimes import describe_lifetime
from mtls_echo_server.http.markup import (
    Markup,
    fields,
    group,
    page,
    section,
    tag,
    text,
    value,
    values,
)
from mtls_echo_server.http.page import certificate, name_of
from mtls_echo_server.http.site import HTTPResponse
from mtls_echo_server.status.tally import PastConnection
from mtls_echo_server.status.view import StatusView
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.diagrams.full import sequence

# Seconds until the overview is loaded again.
REFRESH = 3

# Connections that the overview shows.
SHOWN = 30

_MOST_DRAWN = 200_000

_LINKS = (
    ("/", "overview"),
    ("/reports?last=100", "reports"),
    ("/config", "configuration"),
    ("/metrics", "metrics"),
    ("/readyz", "readiness"),
)

_MARKS = {
    "echoed": "good",
    "completed": "good",
    "refused": "bad",
    "denied": "bad",
    "failed": "warn",
}


def overview(view: StatusView) -> HTTPResponse:
    """The page that stays open: what was counted, and the last connections."""
    problem = view.why_not_ready()
    state = tag("span", "ready", class_="mark good")
    if problem is not None:
        state = tag("span", f"not ready: {problem}", class_="mark bad")
    return page(
        "mtls-echo: status",
        tag(
            "main",
            tag("p", state),
            tag("h1", "Connections to this server"),
            tag("p", "Refused clients with the cause, and what to do about it.", class_="lead"),
            _tiles(view),
            _files(view),
            section(
                "The last connections",
                _table(view.tally.last(SHOWN)),
                note=f"This page reloads every {REFRESH} seconds.",
            ),
        ),
        _footer(),
        refresh=REFRESH,
    )


def listing(records: list[PastConnection]) -> HTTPResponse:
    """The last connections, as many as were asked for."""
    content = tag("main", tag("h1", "The last connections"), section("Reports", _table(records)))
    return page("mtls-echo: reports", content, _footer())


def _footer() -> Markup:
    return tag("footer", tag("p", *(tag("a", label, href=path) for path, label in _LINKS)))


def _tiles(view: StatusView) -> Markup:
    done = view.tally.counts
    totals = {
        result: sum(n for key, n in done.handshakes.items() if key.startswith(f"{result} "))
        for result in ("completed", "refused", "failed")
    }
    serving, wanted = view.workers
    tiles = [
        (f"{view.connections:,}", "connections open"),
        (f"{totals['completed']:,}", "handshakes completed"),
        (f"{totals['refused']:,}", "refused"),
        (f"{totals['failed']:,}", "failed otherwise"),
        (f"{done.denied:,}", "not authorised"),
        (describe_lifetime(view.uptime), "running"),
    ]
    until = view.reloader.material.not_after
    if until is not None:
        left = until - datetime.datetime.now(datetime.UTC)
        expired = left < datetime.timedelta(0)
        said = "expired" if expired else describe_lifetime(left)
        tiles.append((said, f"certificate, generation {view.reloader.generation}"))
    if wanted:
        tiles.append((f"{serving} of {wanted}", "workers"))
    else:
        tiles.append((f"{done.requests:,}", "HTTP requests"))
    return tag(
        "div",
        *(tag("div", tag("b", number), tag("span", label)) for number, label in tiles),
        class_="tiles",
    )


def _files(view: StatusView) -> Markup | None:
    """What is wrong with the files, or will be."""
    reloader = view.reloader
    warnings = reloader.material.warnings
    lines: list[Markup] = []
    if reloader.problem is not None:
        lines.append(tag("p", f"The files cannot be used: {reloader.problem}", class_="bad"))
    lines += [tag("p", message, class_="warn") for message in warnings[:5]]
    return section("The files", *lines) if lines else None


def _table(records: list[PastConnection]) -> Markup:
    if not records:
        return tag("p", tag("em", "none yet"))
    columns = (("when", "UTC"), ("who", "client"), ("how", ""), ("what", "what happened"))
    head = tag("tr", *(tag("th", name, class_=kind) for kind, name in columns), class_="head")
    return tag("table", head, *map(_row, records))


def _row(record: PastConnection) -> Markup:
    report = record.report
    kind = _MARKS[report.outcome]
    who = value(name_of(report.peer)) if report.peer else tag("em", "no certificate")
    return tag(
        "tr",
        tag("td", _clock(record.time), class_="when"),
        tag("td", who, tag("small", _where(record)), class_="who"),
        tag("td", tag("span", _word(record), class_=f"mark {kind}"), class_="how"),
        tag("td", *_what(record)),
        class_=kind,
    )


def _word(record: PastConnection) -> str:
    report = record.report
    if record.is_fine:
        return "HTTP" if record.requests else "fine"
    if report.rejected_by == "client":
        return "refused us"
    return report.outcome


def _where(record: PastConnection) -> str:
    worker = "" if record.worker is None else f", worker {record.worker}"
    return f"{record.address}{worker}"


def _what(record: PastConnection) -> list[Markup | str | None]:
    report = record.report
    if record.is_fine:
        agreed = report.tls
        suite = f"{agreed.version}, {agreed.cipher}" if agreed is not None else ""
        traffic = f"{record.received:,} bytes in, {record.sent:,} out"
        return [_linked(report, traffic), tag("small", suite)]
    causes = ", ".join(report.causes[:3]) or record.ended
    alert = report.alert
    sent = f" · alert {alert.name} {alert.direction}" if alert is not None else ""
    return [
        _linked(report, report.summary),
        tag("small", tag("code", causes), sent),
        tag("small", "→ ", _remedy(report.remedy), class_="todo") if report.remedy else None,
    ]


def _remedy(said: str) -> Markup:
    """What to do, in which an option such as ``--key`` is not broken after its hyphens."""
    parts = enumerate(re.split(r"((?<!\S)--[a-z][a-z-]*|`[^`]+`)", said))
    return group(*(_marked(part) if n % 2 else part for n, part in parts))


def _marked(part: str) -> Markup:
    return tag("code", part[1:-1]) if part[0] == "`" else tag("span", part, class_="whole")


def _linked(report: Report, words: str) -> Markup:
    if report.client_random is None:
        return tag("span", words)
    return tag("a", words, href=f"/reports/{report.client_random}")


def _clock(moment: float) -> str:
    return f"{datetime.datetime.fromtimestamp(moment, datetime.UTC):%H:%M:%S}"


def _dated(moment: float) -> str:
    return f"{datetime.datetime.fromtimestamp(moment, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"


# --- one connection ------------------------------------------------------------------------------


def report_page(record: PastConnection) -> HTTPResponse:
    """Everything that is known of one connection."""
    report = record.report
    title = "Both sides accepted each other" if record.is_fine else report.summary
    mark = tag("span", _word(record), class_=f"mark {_MARKS[report.outcome]}")
    drawn = sequence(report, width=104) if report.trace else []
    return page(
        f"mtls-echo: {report.outcome}",
        tag(
            "main",
            tag("p", mark),
            tag("h1", title[:1].upper() + title[1:]),
            tag("p", f"{_where(record)}, {_dated(record.time)}", class_="lead"),
            section("What to do", tag("p", _remedy(report.remedy)), *_rule(report))
            if report.remedy
            else None,
            section("What was seen", _seen(record)),
            _faults(report),
            section("The client presented", certificate(report.peer)) if report.peer else None,
            section("The server presented", certificate(report.own)) if report.own else None,
            section("Message by message", tag("pre", text("\n".join(drawn), _MOST_DRAWN)))
            if drawn
            else None,
        ),
        _footer(),
    )


def _rule(report: Report) -> list[Markup]:
    return [tag("p", f"The rule: {report.rfc}", class_="note")] if report.rfc else []


def _seen(record: PastConnection) -> Markup:
    report = record.report
    agreed, alert = report.tls, report.alert
    stage = {"handshake": "in the handshake", "established": "after it"}
    return fields(
        ("causes", values(list(report.causes)) if report.causes else None),
        *((fact.fact, value(fact.value)) for fact in report.evidence),
        ("ended", f"{stage.get(report.stage, report.stage)}: {record.ended}"),
        (
            "alert",
            group(tag("code", f"{alert.name} ({alert.code})"), f" {alert.direction}")
            if alert is not None
            else None,
        ),
        ("version", agreed.version if agreed is not None else None),
        ("cipher suite", tag("code", agreed.cipher or "") if agreed is not None else None),
        ("server name", value(agreed.server_name) if agreed and agreed.server_name else None),
        ("traffic", f"{record.received:,} bytes in, {record.sent:,} bytes out"),
        ("client random", tag("span", report.client_random or "", class_="mono")),
    )


def _faults(report: Report) -> Markup | None:
    if not report.faults:
        return None
    rows = (
        (
            fault.slug,
            group(
                value(fault.detail),
                tag("small", value(f"{fault.subject}, issued by {fault.issuer}"))
                if fault.subject is not None
                else None,
            ),
        )
        for fault in report.faults[:16]
    )
    return section("Wrong with the certification path", fields(*rows))
