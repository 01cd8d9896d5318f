"""An answer as lines of text, each part beside its label."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import IO

from mtls_echo.console import width_of, wrap, wrap_command
from mtls_echo.explain.answer import CAUSES_SHOWN, Answer, SideAnswer
from mtls_echo.explain.reports import ReportedConnection
from mtls_echo_pki.printable import printable
from mtls_echo_tls.diagnosis.report import describe

_WIDTH = 80
_LABEL = 10  # "find out:" and a space


def drawn(answer: Answer) -> str:
    """The answer as wide as standard output."""
    alone = len(answer.answers) == 1 or answer.kind == "file"
    lines = [*_wrapped("", answer.summary), *_meaning(answer)]
    for each in answer.answers[:1] if alone else answer.answers:
        if not alone:
            lines += ["", *_wrapped("", f"printed by a {each.side}: {each.summary}")]
        lines += _causes(each)
        steps = each.find_out if alone else each.find_out[:3]
        for i, step in enumerate(steps):
            lines += _command("find out" if i == 0 else " ", step)
        if alone and len(each.remedies) > 1:
            for i, (slug, remedy) in enumerate(each.remedies.items()):
                lines += _wrapped("fix" if i == 0 else " ", f"{slug}: {remedy}")
        else:
            lines += _wrapped("fix", each.remedy)
        lines += _wrapped("see", each.rfc) if each.rfc else []
    if not alone:
        hint = "(--side client or --side server, if you know where it was printed)"
        lines += ["", *_wrapped("", hint)]
    lines += _wrapped("decides", answer.decides) if answer.decides else []
    lines += _wrapped("but", answer.warning) if answer.warning else []
    if answer.also:
        more = ", ".join(map(shlex.quote, answer.also))
        lines += _wrapped("also", f"the text says more; explain it apart: {more}")
    return "\n".join(lines)


def connections_drawn(connections: Sequence[ReportedConnection]) -> str:
    """What happened to each connection that failed, and how many did not."""
    failures = [each for each in connections if each.is_failure]
    paragraphs = [list(map(printable, _connection(each))) for each in failures]
    if others := len(connections) - len(failures):
        what = "connection" if others == 1 else "connections"
        paragraphs.append(_wrapped("", f"{others} {what} on which nothing failed"))
    return "\n\n".join("\n".join(lines) for lines in paragraphs)


def _connection(connection: ReportedConnection) -> list[str]:
    account, reports = connection.account, connection.reports
    whose = "both ends report" if account is not None else f"only the {reports[0].side} reports"
    lines = _wrapped("", f"a connection on which {whose}: {' and '.join(connection.sources)}")
    if account is None:
        (report,) = reports
        message, hint = describe(report)
        summary, *facts = message.splitlines()
        lines += _wrapped(report.side, summary)
        for fact in facts:
            lines += _wrapped(" ", " ".join(fact.split()))
        causes, remedies = tuple(report.causes), [hint] if hint else []
    else:
        lines += _wrapped("both", account.summary)
        for report in reports:
            lines += _wrapped(report.side, report.summary)
        causes = account.causes
        remedies = [f"on the {side}: {text}" for side, text in account.remedies.items()]
    lines += _wrapped("cause" if len(causes) == 1 else "causes", ", ".join(causes))
    for i, remedy in enumerate(remedies):
        lines += _wrapped("fix" if i == 0 else " ", remedy)
    return lines


def _meaning(answer: Answer) -> list[str]:
    alert = answer.alert
    if alert is not None:
        how = f"{alert.direction} " if alert.direction else ""
        quote, unquote = "\N{LEFT DOUBLE QUOTATION MARK}", "\N{RIGHT DOUBLE QUOTATION MARK}"
        return _wrapped(
            "means", f"{how}alert {alert.name} ({alert.code}): {quote}{alert.meaning}{unquote}"
        )
    if answer.verify_code is not None:
        return _wrapped("means", f"its own verdict, OpenSSL verify code {answer.verify_code}")
    if answer.reason is not None:
        return _wrapped("means", f"its own error, OpenSSL reason {answer.reason}")
    says = f"{answer.program} says {answer.words[:120]!r}"
    return _wrapped("means", f"{says}: {answer.meaning}" if answer.meaning else says)


def _causes(each: SideAnswer) -> list[str]:
    lines: list[str] = []
    for i, slug in enumerate(each.causes[:CAUSES_SHOWN]):
        label = ("cause" if len(each.causes) == 1 else "likely") if i == 0 else "or"
        lines += _wrapped(label, f"{each.means[slug]} [{slug}]")
    if rarer := each.causes[CAUSES_SHOWN:]:
        lines += _wrapped("or", f"rarer: {', '.join(rarer)}")
    return lines


def _labelled(label: str, text: str) -> str:
    return f"{label + ':' if label.strip() else '':<{_LABEL}}{text}"


def _command(label: str, step: str) -> list[str]:
    """A command, or where to look; a comment that does not fit beside it stands below it."""
    if len(step) <= readable_width(sys.stdout) - _LABEL:
        return [_labelled(label, step)]
    command, _, comment = step.partition("  #")
    if comment:
        return [_labelled(label, command.rstrip()), *_wrapped(" ", f"#{comment}")]
    if step.startswith(("mtls-echo", "openssl", "curl", "ss ")):
        first, *more = wrap_command(step, readable_width(sys.stdout) - _LABEL, "  ")
        return [_labelled(label, first), *(_labelled(" ", line) for line in more)]
    return _wrapped(label, step.strip())


def readable_width(stream: IO[str]) -> int:
    """How wide text is on a stream: as wide as its terminal, and no more than is easily read."""
    return min(width_of(stream) or _WIDTH, _WIDTH)


def _wrapped(label: str, text: str) -> list[str]:
    """Text beside its label (blank: below the one before); without one, from the left edge."""
    if not label:
        return wrap(text, readable_width(sys.stdout))
    return wrap(
        _labelled(label, text), readable_width(sys.stdout), " " * _LABEL if label.strip() else ""
    )
