"""Reports from files, and those of the two ends of one connection joined.

What each end knows is in its own report: `mtls-echo connect --json` prints one, `mtls-echo serve
--log-format json` logs one per connection, `mtls-echo endpoints --json` has them in its status.
``ClientHello.random`` says which two belong together, in whatever files and order they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import msgspec

from mtls_echo.console import CommandError, say
from mtls_echo.explanation import wrapped
from mtls_echo.vocabulary import COMMAND_LINE
from mtls_echo_pki.files.durable import os_reason
from mtls_echo_pki.printable import printable
from mtls_echo_tls.diagnosis.joint import JointReport, join_reports
from mtls_echo_tls.diagnosis.report import Report, describe

# A file that is one JSON document is decoded at once; a log, line by line.
_LONGEST_DOCUMENT = 16 * 1024 * 1024
_LONGEST_LINE = 1024 * 1024

# What tells a report from other objects.
_TELLING = {"side", "outcome", "causes", "summary"}


@dataclass(frozen=True)
class ReportedConnection:
    """One connection, as one end or both report it.

    Attributes:
        sources: The file of each report, and its line where it is a log.
        account: The two reports joined; None where there is one.
    """

    client: Report | None = None
    server: Report | None = None
    sources: tuple[str, ...] = ()
    account: JointReport | None = None

    @property
    def reports(self) -> tuple[Report, ...]:
        """Those that there are."""
        return tuple(each for each in (self.client, self.server) if each is not None)

    @property
    def is_failure(self) -> bool:
        """Whether any end has something to explain."""
        return any(report.causes for report in self.reports)


def read_connections(paths: Sequence[Path]) -> list[ReportedConnection]:
    """The connections that the reports in some files are about, in the order of their reports.

    Raises:
        CommandError: A file cannot be read, has no report in it, or a damaged one.
    """
    found: dict[object, ReportedConnection] = {}
    for path in paths:
        reports = list(_reports(path))
        if not reports:
            raise CommandError(
                f"{path}: there is no report of mtls-echo in it",
                "reports are what `connect --json` and `serve --log-format json` write; for any"
                f" other text: mtls-echo explain - < {path}",
            )
        for source, report in reports:
            # A report without a ClientHello joins no other.
            key = report.client_random or (source, report.side)
            known = found.get(key, ReportedConnection())
            if getattr(known, report.side) is None:
                found[key] = _with(known, source, report)
            elif getattr(known, report.side) != report:
                found[source, report.side] = _with(ReportedConnection(), source, report)
    return [_joined(each) for each in found.values()]


def _with(connection: ReportedConnection, source: str, report: Report) -> ReportedConnection:
    sources = (*connection.sources, source)
    if report.side == "client":
        return replace(connection, client=report, sources=sources)
    return replace(connection, server=report, sources=sources)


def _joined(connection: ReportedConnection) -> ReportedConnection:
    client, server = connection.client, connection.server
    if client is None or server is None:
        return connection
    return replace(connection, account=join_reports(client, server, vocabulary=COMMAND_LINE))


def _reports(path: Path) -> Iterator[tuple[str, Report]]:
    try:
        document = _document(path)
        if document is not None:
            yield from _decoded(document, str(path))
            return
        others = 0
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), b""), 1):
                try:
                    value: object = msgspec.json.decode(line)
                except msgspec.DecodeError:
                    others += bool(line.strip())
                    continue
                yield from _decoded(value, f"{path} (line {number})")
    except OSError as error:
        raise CommandError(
            f"{path}: {os_reason(error)}", "name a file of reports that you may read"
        ) from error
    if others:
        lines = "1 line is" if others == 1 else f"{others} lines are"
        say(f"warning: {path}: {lines} not JSON, and left out")


def _document(path: Path) -> object:
    """The contents as one JSON document; None when they are not one, as a log's are not."""
    if not path.is_file() or path.stat().st_size > _LONGEST_DOCUMENT:
        return None
    try:
        return msgspec.json.decode(path.read_bytes())
    except msgspec.DecodeError:
        return None


def _decoded(value: object, source: str) -> Iterator[tuple[str, Report]]:
    for fields in _objects(value):
        try:
            yield source, msgspec.convert(fields, Report)
        except msgspec.ValidationError as error:
            raise CommandError(
                f"{source}: the report in it is not one of this version: {error}",
                "give it as it was written, and explain it with the version that wrote it",
            ) from error


def _objects(value: object, depth: int = 4) -> Iterator[dict[str, object]]:
    """The reports in a value, at any place in it."""
    if isinstance(value, list):
        inner: Iterable[object] = cast("list[object]", value)
    elif isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        if fields.keys() >= _TELLING:
            yield fields
            return
        inner = fields.values()
    else:
        return
    for each in inner if depth else ():
        yield from _objects(each, depth - 1)


def connections_drawn(connections: Sequence[ReportedConnection]) -> str:
    """What happened to each connection that failed, and how many did not."""
    failures = [each for each in connections if each.is_failure]
    paragraphs = [list(map(printable, _connection(each))) for each in failures]
    if others := len(connections) - len(failures):
        what = "connection" if others == 1 else "connections"
        paragraphs.append(wrapped("", f"{others} {what} on which nothing failed"))
    return "\n\n".join("\n".join(lines) for lines in paragraphs)


def _connection(connection: ReportedConnection) -> list[str]:
    account, reports = connection.account, connection.reports
    whose = "both ends report" if account is not None else f"only the {reports[0].side} reports"
    lines = wrapped("", f"a connection on which {whose}: {' and '.join(connection.sources)}")
    if account is None:
        (report,) = reports
        message, hint = describe(report)
        summary, *facts = message.splitlines()
        lines += wrapped(report.side, summary)
        for fact in facts:
            lines += wrapped(" ", " ".join(fact.split()))
        causes, remedies = tuple(report.causes), [hint] if hint else []
    else:
        lines += wrapped("both", account.summary)
        for report in reports:
            lines += wrapped(report.side, report.summary)
        causes = account.causes
        remedies = [f"on the {side}: {text}" for side, text in account.remedies.items()]
    lines += wrapped("cause" if len(causes) == 1 else "causes", ", ".join(causes))
    for i, remedy in enumerate(remedies):
        lines += wrapped("fix" if i == 0 else " ", remedy)
    return lines
