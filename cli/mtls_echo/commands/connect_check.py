"""What `mtls-echo connect` does with a server that does not echo: options, and the account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from msgspec import structs

from mtls_echo.console import CommandError, value_errors, wrap
from mtls_echo_client.http import HTTPRequest
from mtls_echo_pki.printable import printable
from mtls_echo_tls.diagnosis.report import Report, describe


@dataclass(frozen=True)
class Check:
    """What to do in place of an echo: one request, or else to wait so many seconds."""

    request: HTTPRequest | None
    wait: float


def check_of(
    *, http: str | None, method: str | None, header: tuple[str, ...], wait: float | None
) -> Check:
    """What the options ask for.

    Raises:
        CommandError: They cannot be written as a request.
    """
    if http is None:
        return Check(None, 1.0 if wait is None else wait)
    fields: list[tuple[str, str]] = []
    for line in header:
        name, colon, value = line.partition(":")
        if not colon:
            raise CommandError(f"--header {line!r} has no colon", "for example: --header 'A: b'")
        fields.append((name.strip(), value.strip()))
    verb: Literal["GET", "HEAD"] = "HEAD" if method == "HEAD" else "GET"
    example = "for example: mtls-echo connect HOST:PORT --http /health --header 'Accept: */*'"
    with value_errors("", example):
        return Check(HTTPRequest(http, verb, tuple(fields)), 0.0)


def account(report: Report, width: int | None) -> str:
    """What was proved of a server that refused nothing: the verdict, then what it rests on."""
    message, hint = describe(on_one_screen(report, width))
    first, *facts = message.split("\n")
    lines = [first, *(f"  {fact}" for fact in facts)]
    if hint is not None:
        lines.append(f"  {hint}")
    return "\n".join(map(printable, lines))


# The lines of a terminal, without two for the prompt and the command.
_SCREEN = 22

# The facts that are left out where there is no room for them, the first ones first.
_LEAST_TELLING = (
    "reason", "verdict", "our own", "our clock", "valid", "beside it", "asked for", "on HAProxy",
    "on Apache", "server accepts", "TLS", "also wrong", "presented", "or", "server", "proved",
)  # fmt: skip


def on_one_screen(report: Report, width: int | None) -> Report:
    """The report with as many of its facts as a terminal of this width shows at once."""
    for label in ("", *_LEAST_TELLING):
        report = structs.replace(
            report, evidence=[fact for fact in report.evidence if fact.fact != label]
        )
        if _height(report, width) <= _SCREEN:
            break
    return report


def _height(report: Report, width: int | None) -> int:
    message, hint = describe(report)
    lines = [*message.split("\n"), hint or ""]
    if width is None:
        return len(lines)
    return sum(len(wrap(printable(line), max(width - 2, 1))) for line in lines) + 1
