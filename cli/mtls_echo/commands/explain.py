"""`mtls-echo explain`: say what an error text of any TLS program means, and which side refused.

The most common misunderstanding: "alert unknown ca" is printed by the side that was *refused*,
about a fault that the *other* side found. So the first line says which side refused the other.
What a text leaves open is said to be open, with what would decide it; where the side that printed
it is not known, both are answered.
"""

from __future__ import annotations

import difflib
import re
import shlex
import sys
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import click

from mtls_echo.console import CommandError, say, width_of, wrap, wrap_command
from mtls_echo_tls.sides import Side, peer_of

if TYPE_CHECKING:
    from mtls_echo_tls.explain.findings import Finding
    from mtls_echo_tls.slugs import Slug, Slugs

# More than any error message; filter a whole log with grep first.
MOST_BYTES = 64 * 1024

NOT_RECOGNISED = 1

_WIDTH = 80
_LABEL = 10  # "find out:" and a space
_CAUSES_SHOWN = 3

_BETTER_TEXT = (
    "paste the line with the error itself, not only the status: from `curl -v`, from"
    " `openssl s_client -connect HOST:PORT`, or from the server's log;"
    " `mtls-echo connect HOST:PORT` says it in words that need no explanation"
)
_LOOKED_FOR = (
    "alerts by number or name, verdicts on certificates, reasons and ends of connections, in"
    " the words of OpenSSL, Python, curl, Go, Java, node, rustls, GnuTLS, nginx, HAProxy, stunnel,"
    " Envoy, gRPC, PostgreSQL, MySQL, browsers, Windows, macOS, .NET and mtls-echo"
)


@click.command(
    epilog="""\b
examples:
  mtls-echo explain 'tlsv1 alert unknown ca'
  mtls-echo explain --side server 'SSL alert number 42'
  mtls-echo explain 116
  curl https://localhost:8443/ 2>&1 | mtls-echo explain
  journalctl -u nginx | tail -1 | mtls-echo explain --json -

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
    """
    from mtls_echo_tls.explain.parse import findings

    pasted = _pasted(text)
    found = findings(pasted)
    if not found:
        _not_recognised(pasted, as_json)
        ctx.exit(NOT_RECOGNISED)
    answer = _answer(found, side)
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(answer).decode())
    else:
        click.echo(_drawn(answer))


def _pasted(words: tuple[str, ...]) -> str:
    text = " ".join(words)
    if words == ("-",) or (not words and not sys.stdin.isatty()):
        data = sys.stdin.buffer.read(MOST_BYTES + 1)
        text = data[:MOST_BYTES].decode("utf-8", errors="replace")
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


# --- what is known -------------------------------------------------------------------------------


@dataclass(frozen=True)
class NamedAlert:
    """The alert that the text names."""

    name: str
    code: int
    direction: Literal["sent", "received"] | None
    meaning: str


@dataclass(frozen=True)
class SideAnswer:
    """What the text means if this side printed it; the fields are named as in a report."""

    side: Side
    rejected_by: Side | None
    summary: str
    causes: list[str]
    means: dict[str, str]
    find_out: list[str]
    remedies: dict[str, str]
    remedy: str
    rfc: str


@dataclass(frozen=True)
class Answer:
    """The whole answer, as `--json` prints it."""

    recognised: bool
    summary: str
    program: str
    words: str
    kind: str
    alert: NamedAlert | None
    verify_code: int | None
    reason: str | None
    answers: list[SideAnswer]
    decides: str | None
    warning: str | None
    also: list[str]


def _answer(found: list[Finding], side: Side | None) -> Answer:
    first = found[0]
    printed_by = side or first.side
    sides: tuple[Side, ...] = (printed_by,) if printed_by else ("client", "server")
    contradiction = side is not None and first.side is not None and side != first.side
    return Answer(
        recognised=True,
        summary=_who(first, printed_by),
        program=first.program,
        words=first.words,
        kind=first.kind,
        alert=_alert(first),
        verify_code=first.verify_code,
        reason=first.reason,
        answers=[_for_side(first, each) for each in sides],
        decides=first.decides or None,
        warning=f"these words are usually a {first.side}'s" if contradiction else None,
        also=_also(found, sides[0]),
    )


def _alert(finding: Finding) -> NamedAlert | None:
    from mtls_echo_tls.alerts import alert_meaning, alert_name

    code = finding.alert
    if code is None:
        return None
    direction: Literal["sent", "received"] | None = None
    if finding.kind != "alert":
        direction = "received" if finding.refused == "peer" else "sent"
    return NamedAlert(alert_name(code), code, direction, alert_meaning(code))


def _also(found: list[Finding], side: Side) -> list[str]:
    """What else the text says, unless it repeats the first finding."""
    first = found[0]
    known = set(first.causes(side))
    others = [
        finding.words
        for finding in found[1:]
        if not known & set(finding.causes(side)) and finding.alert != first.alert
    ]
    return list(dict.fromkeys(others))[:2]


def _for_side(finding: Finding, side: Side) -> SideAnswer:
    from mtls_echo.vocabulary import COMMAND_LINE
    from mtls_echo_tls.causes import CAUSES, OWNERS
    from mtls_echo_tls.diagnosis.wording import Perspective, in_third_person

    rejected_by = finding.rejected_by(side)
    causes = finding.causes(side)
    words = Perspective(side, rejected_by, vocabulary=COMMAND_LINE)
    unsaid = finding.refused == "unsaid"

    def remedy(slug: Slug) -> str:
        cause = CAUSES[slug]
        if unsaid:
            return in_third_person(cause.owner, OWNERS.get(slug), vocabulary=COMMAND_LINE)
        return words.remedy(cause)

    def says(slug: Slug) -> str:
        clause = CAUSES[slug].clause
        return in_third_person(clause, OWNERS.get(slug)) if unsaid else words.clause(slug)

    return SideAnswer(
        side=side,
        rejected_by=rejected_by,
        summary=_who(finding, side),
        causes=list(causes),
        means={slug: says(slug) for slug in causes},
        find_out=_find_out(finding, side, rejected_by, causes),
        remedies={slug: remedy(slug) for slug in causes[:_CAUSES_SHOWN]},
        remedy=remedy(causes[0]),
        rfc=", ".join(dict.fromkeys(CAUSES[s].rfc for s in causes[:2] if CAUSES[s].rfc)),
    )


def _who(finding: Finding, side: Side | None) -> str:
    """Which side refused the other, in one sentence."""
    if finding.kind == "alert" and side is None:
        return "an alert: the side that sent it refused the side that received it"
    if finding.refused == "unsaid":
        return "this text does not say which side refused the other, if either did"
    if finding.refused == "nobody":
        return "neither side refused the other: the connection ended before that"
    rejected_by = finding.rejected_by(side)
    if side is None:
        if rejected_by is not None:
            return f"the {rejected_by} refused the {peer_of(rejected_by)}"
        if finding.refused == "peer":
            return "the other side refused the one that printed this"
        return "the side that printed this refused the other one"
    other = peer_of(side)
    if finding.kind == "alert":
        return f"the {other} refused the {side}, if the {side} received this alert"
    if rejected_by == side:
        return f"the {side}, which printed this, refused the {other}"
    return f"the {other} refused the {side}, which printed this"


_CERTIFICATE_CAUSES = {
    "expired", "not-yet-valid", "unknown-authority", "missing-intermediate", "self-signed",
    "wrong-name", "no-san", "wrong-usage", "revoked", "impostor-authority", "not-an-authority",
}  # fmt: skip


def _find_out(finding: Finding, side: Side, rejected_by: Side | None, causes: Slugs) -> list[str]:
    """Commands and logs, the most useful first."""
    refused = None if rejected_by is None else peer_of(rejected_by)
    about = set(causes)
    steps: list[str] = []
    if finding.refused == "unsaid" or (rejected_by is not None and rejected_by != side):
        steps.append(
            f"the {'server' if side == 'client' else 'client'}'s log: only that side knows why"
        )
    if about & {"no-connection"}:
        return ["ss -ltn                      # on the server: does anything listen there?"]
    if about & {"plaintext-peer", "plaintext-client"} and len(about) == 1:
        return ["curl -v http://HOST:PORT/    # does it answer without TLS?",
                "openssl s_client -connect HOST:PORT"]  # fmt: skip
    if side == "client":
        own = " --cert FILE --key FILE" if refused == "client" else ""
        steps.append(f"mtls-echo connect HOST:PORT hello{own} --ca FILE")
        own = " -cert FILE -key FILE" if refused == "client" else " -showcerts"
        steps.append(f"openssl s_client -connect HOST:PORT{own}")
    elif rejected_by is None or rejected_by == "server":
        steps.append("mtls-echo serve --cert FILE --key FILE --client-ca FILE")
        steps.append("    # in the server's place: it says what the client presents")
    if refused is not None and about & _CERTIFICATE_CAUSES:
        steps.append(f"mtls-echo pki show FILE      # the {refused}'s certificate")
    if refused is not None and about & {"unknown-authority", "missing-intermediate"}:
        purpose = "sslclient" if refused == "client" else "sslserver"
        steps.append(
            f"openssl verify -purpose {purpose} -CAfile CA-OF-THE-{_verifier(refused)} FILE"
        )
    return steps


def _verifier(refused: str) -> str:
    return "SERVER" if refused == "client" else "CLIENT"


# --- how it is shown -----------------------------------------------------------------------------


def _drawn(answer: Answer) -> str:
    alone = len(answer.answers) == 1
    lines = [*_wrapped("", answer.summary), *_meaning(answer)]
    for each in answer.answers:
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
    return _wrapped("means", f"{answer.program} says {answer.words[:120]!r}")


def _causes(each: SideAnswer) -> list[str]:
    lines: list[str] = []
    for i, slug in enumerate(each.causes[:_CAUSES_SHOWN]):
        label = ("cause" if len(each.causes) == 1 else "likely") if i == 0 else "or"
        lines += _wrapped(label, f"{each.means[slug]} [{slug}]")
    if rarer := each.causes[_CAUSES_SHOWN:]:
        lines += _wrapped("or", f"rarer: {', '.join(rarer)}")
    return lines


def _labelled(label: str, text: str) -> str:
    return f"{label + ':' if label.strip() else '':<{_LABEL}}{text}"


def _command(label: str, step: str) -> list[str]:
    """A command, or where to look; a comment that does not fit beside it stands below it."""
    if len(step) <= _width() - _LABEL:
        return [_labelled(label, step)]
    command, _, comment = step.partition("  #")
    if comment:
        return [_labelled(label, command.rstrip()), *_wrapped(" ", f"#{comment}")]
    if step.startswith(("mtls-echo", "openssl", "curl", "ss ")):
        first, *more = wrap_command(step, _width() - _LABEL, "  ")
        return [_labelled(label, first), *(_labelled(" ", line) for line in more)]
    return _wrapped(label, step.strip())


def _width() -> int:
    """Of standard output, and no more than is easily read."""
    return min(width_of(sys.stdout) or _WIDTH, _WIDTH)


def _wrapped(label: str, text: str) -> list[str]:
    """Text beside its label (blank: below the one before); without one, from the left edge."""
    indent = " " * _LABEL if label else ""
    return textwrap.wrap(
        text,
        _width(),
        initial_indent=_labelled(label, "") if label else "",
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _not_recognised(pasted: str, as_json: bool) -> None:
    from mtls_echo.console import complain

    nearest = _nearest(pasted)
    if as_json:
        import msgspec

        fields = {"recognised": False, "looked_for": _LOOKED_FOR, "nearest": nearest,
                  "remedy": _BETTER_TEXT}  # fmt: skip
        click.echo(msgspec.json.encode(fields).decode())
        return
    width = min(width_of(sys.stderr) or _WIDTH, _WIDTH) - 4
    lines = ["this text is not recognised", *wrap(f"looked for {_LOOKED_FOR}", width)]
    if nearest:
        lines += wrap(f"nearest known: {', '.join(map(repr, nearest))}", width)
    complain("\n".join(lines), _BETTER_TEXT)


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
