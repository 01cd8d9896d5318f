"""What `mtls-echo connect` does with a server that does not echo: options, and the account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mtls_echo.console import CommandError
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
    try:
        verb: Literal["GET", "HEAD"] = "HEAD" if method == "HEAD" else "GET"
        return Check(HTTPRequest(http, verb, tuple(fields)), 0.0)
    except ValueError as error:
        hint = "for example: mtls-echo connect HOST:PORT --http /health --header 'Accept: */*'"
        raise CommandError(str(error), hint) from error


def account(report: Report) -> str:
    """What was proved of a server that refused nothing: the verdict, then what it rests on."""
    message, hint = describe(report)
    first, *facts = message.split("\n")
    lines = [first, *(f"  {fact}" for fact in facts)]
    if hint is not None:
        lines.append(f"  {hint}")
    return "\n".join(map(printable, lines))
