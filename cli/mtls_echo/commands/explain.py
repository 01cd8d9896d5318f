"""`mtls-echo explain`: say what an error text of any TLS program means, and which side refused."""

from __future__ import annotations

import difflib
import re
import shlex
import sys
from pathlib import Path

import click
import msgspec

from mtls_echo.console import CommandError, complain, say, wrap
from mtls_echo_tls.sides import Side

# More than any error message; filter a whole log with grep first.
MOST_BYTES = 64 * 1024

# What a report's file is called; any other name is one's if the contents begin like one.
_SUFFIXES = {".json", ".jsonl", ".ndjson", ".log"}

NOT_RECOGNISED = 1

_LOOKED_FOR = (
    "alerts by number or name, verdicts on certificates, reasons and ends of connections, in"
    " the words of OpenSSL, Python, curl, Go, Java, node, rustls, GnuTLS, nginx, HAProxy, stunnel,"
    " mbedTLS, wolfSSL, Erlang, Kafka, Envoy, gRPC, PostgreSQL, MySQL, MongoDB, Redis, RabbitMQ,"
    " Mosquitto, Postfix, OpenVPN, browsers, Windows, macOS, .NET and mtls-echo"
)


@click.command(
    epilog="""\b
examples:
  mtls-echo explain 'tlsv1 alert unknown ca'
  mtls-echo explain --side server 'SSL alert number 42'
  mtls-echo explain 116
  curl https://localhost:8443/ 2>&1 | mtls-echo explain
  journalctl -u nginx | tail -1 | mtls-echo explain --json -
  mtls-echo explain client.json server.log
      What `connect --json` and `serve --log-format json` wrote, told as one.

\b
exit status:
  0  recognised
  1  not recognised; it then says what it looked for, and the nearest it knows
  2  usage
"""
)
@click.argument("text", nargs=-1)
@click.option(
    "--side",
    type=click.Choice(["client", "server"]),
    help="Where the text was printed; else inferred from it, else both are answered.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as one JSON object.")
@click.pass_context
def explain(ctx: click.Context, text: tuple[str, ...], side: Side | None, as_json: bool) -> None:
    """Explain TEXT, an error or alert from any TLS program: who refused whom, and why.

    TEXT is what people paste: a message, a log line, several lines, an alert's number or name,
    curl's exit status. With - or a pipe, it is read from standard input, 64 KiB at most.

    Or TEXT is the names of files with reports of mtls-echo, of either end or both, in any order:
    those of one connection are joined, since both ends together know most.
    """
    if _are_files(text):
        _explain_files(text, side, as_json)
        return
    from mtls_echo.explanation import explanation_of
    from mtls_echo_tls.explain.parse import findings

    pasted = _pasted(text)
    found = findings(pasted)
    if not found:
        if len(text) == 1 and _is_file(text[0]) and not as_json:
            file = shlex.quote(text[0])
            raise CommandError(
                f"{text[0]}: is a file without reports in it",
                f"its text is explained by: mtls-echo explain - < {file}; if certificates or keys"
                f" are in it: mtls-echo pki show {file}",
            )
        _not_recognised(pasted, as_json)
        ctx.exit(NOT_RECOGNISED)
    answer = explanation_of(found, side)
    click.echo(msgspec.json.encode(answer).decode() if as_json else str(answer))


def _are_files(words: tuple[str, ...]) -> bool:
    """Whether words name files, and one at least has reports by its name or its contents."""
    return any(map(_has_reports, words)) and all(
        _has_reports(word) or _is_file(word) for word in words
    )


def _is_file(word: str) -> bool:
    try:
        return Path(word).is_file()
    except (OSError, ValueError):  # too long for a name, as texts are; or out of reach
        return False


def _has_reports(word: str) -> bool:
    path = Path(word)
    try:
        if path.suffix in _SUFFIXES or word.startswith("/dev/fd/"):
            return True
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(64).lstrip()[:1] in (b"{", b"[")
    except (OSError, ValueError):
        return False


def _explain_files(names: tuple[str, ...], side: Side | None, as_json: bool) -> None:
    from mtls_echo.commands.explain_reports import connections_drawn, read_connections

    if side is not None:
        raise CommandError("--side has no effect on reports", "leave it out: they say it")
    connections = read_connections([Path(name) for name in names])
    if as_json:
        click.echo(msgspec.json.encode({"connections": connections}).decode())
    else:
        click.echo(connections_drawn(connections))


def _pasted(words: tuple[str, ...]) -> str:
    text = " ".join(words)
    if words == ("-",) or (not words and not sys.stdin.isatty()):
        data = sys.stdin.buffer.read(MOST_BYTES + 1)
        text = _decoded(data[:MOST_BYTES])
        cut = len(data) > MOST_BYTES
    else:
        cut = len(text) > MOST_BYTES
        text = text[:MOST_BYTES]
    if cut:
        say("warning: only the first 64 KiB are looked at")
    if not text.strip():
        raise CommandError(
            "there is no text to explain", "mtls-echo explain 'tlsv1 alert unknown ca'"
        )
    return text


def _decoded(data: bytes) -> str:
    """As text: UTF-8, or UTF-16 as PowerShell writes it, with a byte order mark or without."""
    encoding = "utf-8"
    for start, wide in ((1, "utf-16-le"), (0, "utf-16-be")):
        if data[start::2].count(0) > len(data) // 3:
            encoding = wide
    return data.decode(encoding, errors="replace").removeprefix("\ufeff")


def _not_recognised(pasted: str, as_json: bool) -> None:
    from mtls_echo.explanation import BETTER_TEXT, readable_width

    nearest = _nearest(pasted)
    if as_json:
        fields = {"recognised": False, "looked_for": _LOOKED_FOR, "nearest": nearest,
                  "remedy": BETTER_TEXT}  # fmt: skip
        click.echo(msgspec.json.encode(fields).decode())
        return
    width = readable_width(sys.stderr) - 4
    lines = ["this text is not recognised", *wrap(f"looked for {_LOOKED_FOR}", width)]
    if nearest:
        lines += wrap(f"nearest known: {', '.join(map(repr, nearest))}", width)
    complain("\n".join(lines), BETTER_TEXT)


def _nearest(pasted: str) -> list[str]:
    """The known phrases most of whose words, possibly misspelt, are in the text."""
    from mtls_echo_tls.explain.parse import phrases, plain

    words = set(re.findall(r"[a-z0-9]{2,40}", plain(pasted[:2000]).replace("_", " ")))
    scored: list[tuple[float, str]] = []
    for phrase in phrases():
        parts = phrase.split()
        hits = sum(bool(difflib.get_close_matches(part, words, 1, 0.8)) for part in parts)
        if (hits > 1 and hits / len(parts) > 0.5) or (len(parts) == hits and len(phrase) > 8):
            scored.append((hits / len(parts), phrase))
    return [phrase for _, phrase in sorted(scored, reverse=True)[:3]]
