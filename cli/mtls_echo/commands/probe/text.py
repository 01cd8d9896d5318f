"""The account of a probe for people: findings first, then counts, then what was not tested."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from mtls_echo.console import wrap, wrap_command
from mtls_echo.probing.meanings import CLASSES, FindingClass
from mtls_echo.probing.result import ProbeRow, Result
from mtls_echo.probing.verdict import REFUSALS
from mtls_echo_pki.printable import printable

if TYPE_CHECKING:
    from mtls_echo.probing.meanings import Severity

_WIDTH = 80

# A command that shows a finding again.
Again = Callable[[ProbeRow], str | None]


def account(result: Result, fail_on: Severity, again: Again) -> str:
    """The whole of it, at most 80 columns wide but for what is copied."""
    return "\n".join(_lines(result, fail_on, again))


def _lines(result: Result, fail_on: Severity, again: Again) -> Iterator[str]:
    spoken = {"http": "asked in HTTP", "echo": "asked for an echo", "handshake": "handshakes only"}
    by = f", {result.server}" if result.server else ""
    yield from _folded(
        f"{result.target}{by}: {spoken[result.mode]}, {result.connections} connections"
    )
    for each in result.baseline:
        got = each.how if each.served else "not served"
        yield from _folded(f"the good identity, {result.good}, in TLS {each.tls}: {got}")
    findings = result.findings()
    yield ""
    if findings:
        number = len({row.slug for row in findings})
        below = "" if result.findings(fail_on) else f" below --fail-on {fail_on}"
        yield f"{number} finding{'s' * (number > 1)}{below}: admitted, and must not be"
        for count, (_, rows) in enumerate(groupby(findings, key=lambda row: row.slug), 1):
            yield ""
            yield from _finding(count, list(rows), result, again)
    else:
        yield "no client was admitted that must not be"
    yield from _counted(result)
    yield from _listed("not clear, which is not a pass", _of(result, "unclear"))
    yield from _listed("not tested", _of(result, "not tested"))
    notes = [*result.notes, *dict.fromkeys(f"{r.slug}: {r.note}" for r in result.rows if r.note)]
    if notes:
        yield ""
        yield "notes"
        for note in notes:
            yield from _folded(f"  {note}", "  ")


def _finding(count: int, rows: list[ProbeRow], result: Result, again: Again) -> Iterator[str]:
    row = rows[0]
    each = CLASSES[row.slug]
    versions = " and ".join(dict.fromkeys(row.tls for row in rows if row.tls))
    where = f", TLS {versions}" if versions else ""
    yield f"{count}. {row.slug} ({row.severity}{where})"
    yield from _folded(f"   {row.differs.rstrip('.')}.")
    for how in dict.fromkeys(_got(row) for row in rows):
        yield from _folded(f"   It was admitted: {how}.")
    yield from _folded(f"   {each.meaning}")
    if settings := _settings(each, result.server):
        yield "   what usually decides it:"
        width = max(map(len, settings)) + 2
        for product, text in settings.items():
            first, *more = wrap(text, _WIDTH - 5 - width)
            yield f"     {product:<{width}}{first}"
            yield from (f"     {'':<{width}}{line}" for line in more)
    if each.advisories:
        yield from _folded(f"   of this class: {', '.join(each.advisories)}")
    if (command := again(row)) is not None:
        yield "   to see it again:"
        yield from (f"     {line}" for line in wrap_command(command, _WIDTH - 5, "    "))
    elif row.group == "identity":
        yield "   to see it again: --keep DIR writes its files, and the command is said here"


def _got(row: ProbeRow) -> str:
    tries = f", at try {row.tries}" if row.tries > 1 else ""
    return f"{row.how}{tries}"


def _settings(each: FindingClass, server: str) -> dict[str, str]:
    """Those of the product, if the server says which it is; else all."""
    own = {
        product: text
        for product, text in each.settings.items()
        if product.lower() in server.lower() or product == "any product"
    }
    known = any(product != "any product" for product in own)
    return own if known else each.settings


def _counted(result: Result) -> Iterator[str]:
    """How many verdicts there are of each kind, by version."""
    versions = sorted({row.tls for row in result.rows if row.tls})
    if not versions:
        return
    yield ""
    yield (
        "                 "
        + "".join(f"{f'TLS {version}':>9}" for version in versions)
        + "    other"
    )
    for verdict in ("admitted", "refused", "refused late", "unclear", "not tested"):
        counts = [
            sum(row.verdict == verdict and row.tls == version for row in result.rows)
            for version in (*versions, "")
        ]
        if any(counts):
            yield f"  {verdict:<15}" + "".join(f"{count:>9}" for count in counts)
    allowed = sorted(
        {row.slug for row in result.rows if row.verdict == "admitted" and row.allowed}
    )
    if allowed:
        yield from _folded(
            f"  admitted, as --client-auth {result.client_auth} has it: {', '.join(allowed)}", "  "
        )


def _of(result: Result, verdict: str) -> list[ProbeRow]:
    return [row for row in result.rows if row.verdict == verdict]


def _listed(title: str, rows: Iterable[ProbeRow]) -> Iterator[str]:
    """Cases, grouped by why they have no verdict."""
    versions: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        versions.setdefault((row.how, row.slug), []).append(row.tls)
    grouped: dict[tuple[str, str], list[str]] = {}
    for (how, slug), tls in versions.items():
        where = f" (TLS {tls[0]})" if len(tls) == 1 and tls[0] else ""
        grouped.setdefault((how, where), []).append(slug)
    if grouped:
        yield ""
        yield title
    for (how, where), slugs in grouped.items():
        yield from _folded(f"  {how}: {', '.join(slugs)}{where}", "  ")


def refusals(result: Result) -> Iterator[str]:
    """One line for each case that was refused, and how."""
    for row in result.rows:
        if row.verdict in REFUSALS:
            yield f"{row.title}: {row.verdict}: {row.how}"


def _folded(text: str, indent: str = "") -> list[str]:
    return wrap(printable(text), _WIDTH, indent)
