"""The explanation of an error: which side refused the other, why, and how to find out.

The most common misunderstanding: "alert unknown ca" is printed by the side that was *refused*,
about a fault that the *other* side found. So the first line says which side refused the other.
What a text leaves open is said to be open, with what would decide it; where the side that printed
it is not known, both are answered.
"""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass
from typing import IO

from mtls_echo.console import width_of, wrap, wrap_command
from mtls_echo.vocabulary import COMMAND_LINE
from mtls_echo_tls.alerts import alert_meaning, alert_name
from mtls_echo_tls.causes import OWNERS, cause_of
from mtls_echo_tls.diagnosis.perspective import Perspective, in_third_person
from mtls_echo_tls.explain.findings import Finding
from mtls_echo_tls.sides import Side, peer_of
from mtls_echo_tls.slugs import Slug, Slugs

# The others are named without what they mean.
_CAUSES_SHOWN = 3

_WIDTH = 80
LABEL = 10  # "find out:" and a space

BETTER_TEXT = (
    "paste the line with the error itself, not only the status: from `curl -v`, from"
    " `openssl s_client -connect HOST:PORT`, or from the server's log;"
    " `mtls-echo connect HOST:PORT` says it in words that need no explanation"
)
# What to do where a text leads to no cause of a handshake's end.
_NO_CAUSE = {
    "file": "see that the file named beside the text exists, that the program may read it, and"
    " what is in it: `mtls-echo pki show FILE` names its format, or what to convert",
    "vague": BETTER_TEXT,
}
_NOT_OPENED = (
    "try the password with this very file: `openssl pkcs12 -in FILE -noout`, of a key"
    " `openssl pkey -in FILE -noout`, of a Java keystore `keytool -list -keystore FILE`; a key in"
    " a store may have another password than the store, and a line break at the end of a password"
    " file may be taken for part of it. A file that its own password does not open is damaged:"
    " copy it again"
)
_ABOUT_PASSWORD = re.compile(
    r"(?:[^:,]{1,60}: )?(?:wrong (?:\w+ )?pass(?:word|phrase)|(?:the|incorrect|bad) password"
    r"|no passphrase|key password|the key is encrypted)"
)


@dataclass(frozen=True)
class NamedAlert:
    """The alert that the text names."""

    name: str
    code: int
    direction: str | None
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
class Explanation:
    """The whole answer, as `mtls-echo explain --json` prints it; its text is what `str` gives."""

    recognised: bool
    summary: str
    program: str
    words: str
    kind: str
    meaning: str
    alert: NamedAlert | None
    verify_code: int | None
    reason: str | None
    answers: list[SideAnswer]
    decides: str | None
    warning: str | None
    also: list[str]

    def __str__(self) -> str:
        return drawn(self)


def explanation_of(found: list[Finding], side: Side | None) -> Explanation:
    """The answer to what was found in a text, at least one thing, printed by ``side`` if known."""
    first = found[0]
    printed_by = side or first.side
    sides: tuple[Side, ...] = (printed_by,) if printed_by else ("client", "server")
    contradiction = side is not None and first.side is not None and side != first.side
    return Explanation(
        recognised=True,
        summary=_who(first, printed_by),
        program=first.program,
        words=first.words,
        kind=first.kind,
        meaning=first.meaning,
        alert=_alert(first),
        verify_code=first.verify_code,
        reason=first.reason,
        answers=[_for_side(first, each) for each in sides],
        decides=first.decides or None,
        warning=f"these words are usually a {first.side}'s" if contradiction else None,
        also=_also(found, sides[0]),
    )


def _alert(finding: Finding) -> NamedAlert | None:
    code = finding.alert
    if code is None:
        return None
    direction = "received" if finding.refused == "peer" else "sent"
    known = None if finding.kind == "alert" else direction
    return NamedAlert(alert_name(code), code, known, alert_meaning(code))


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
    rejected_by = finding.rejected_by(side)
    causes = finding.causes(side)
    words = Perspective(side, rejected_by, vocabulary=COMMAND_LINE, reason=finding.reason)
    texts = {slug: cause_of(slug, reason=finding.reason) for slug in causes}
    unsaid = finding.refused == "unsaid"

    def remedy(slug: Slug) -> str:
        if unsaid:
            owner = OWNERS.get(slug)
            return in_third_person(texts[slug].owner, owner, vocabulary=COMMAND_LINE)
        return words.remedy(texts[slug])

    def says(slug: Slug) -> str:
        clause = texts[slug].clause
        return in_third_person(clause, OWNERS.get(slug)) if unsaid else words.clause(slug)

    return SideAnswer(
        side=side,
        rejected_by=rejected_by,
        summary=_who(finding, side),
        causes=list(causes),
        means={slug: says(slug) for slug in causes},
        find_out=_find_out(finding, side, rejected_by, causes),
        remedies={slug: remedy(slug) for slug in causes[:_CAUSES_SHOWN]},
        remedy=remedy(causes[0]) if causes else _without_cause(finding),
        rfc=", ".join(dict.fromkeys(texts[s].rfc for s in causes[:2] if texts[s].rfc)),
    )


def _without_cause(finding: Finding) -> str:
    """What to do about what is not the cause of a handshake's end."""
    about_password = _ABOUT_PASSWORD.match(finding.meaning) or "password" in finding.words.lower()
    if finding.kind == "file" and about_password:
        return _NOT_OPENED
    return _NO_CAUSE[finding.kind]


def _who(finding: Finding, side: Side | None) -> str:
    """Which side refused the other, in one sentence."""
    if finding.kind == "alert" and side is None:
        return "an alert: the side that sent it refused the side that received it"
    if finding.refused == "unsaid":
        return "this text does not say which side refused the other, if either did"
    if finding.kind == "file":
        return "neither side refused the other: a file, a key or a setting could not be used"
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
        steps.append(f"the {peer_of(side)}'s log: only that side knows why")
    if finding.kind == "file":
        return ["mtls-echo pki show FILE      # what is in it, and in which format"]
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
        ca = f"-CAfile CA-OF-THE-{peer_of(refused).upper()}"
        steps.append(f"openssl verify -purpose ssl{refused} {ca} FILE")
    return steps


def drawn(answer: Explanation) -> str:
    """The answer as wide as standard output."""
    alone = len(answer.answers) == 1 or answer.kind == "file"
    lines = [*wrapped("", answer.summary), *_meaning(answer)]
    for each in answer.answers[:1] if alone else answer.answers:
        if not alone:
            lines += ["", *wrapped("", f"printed by a {each.side}: {each.summary}")]
        lines += _causes(each)
        steps = each.find_out if alone else each.find_out[:3]
        for i, step in enumerate(steps):
            lines += _command("find out" if i == 0 else " ", step)
        if alone and len(each.remedies) > 1:
            for i, (slug, remedy) in enumerate(each.remedies.items()):
                lines += wrapped("fix" if i == 0 else " ", f"{slug}: {remedy}")
        else:
            lines += wrapped("fix", each.remedy)
        lines += wrapped("see", each.rfc) if each.rfc else []
    if not alone:
        hint = "(--side client or --side server, if you know where it was printed)"
        lines += ["", *wrapped("", hint)]
    lines += wrapped("decides", answer.decides) if answer.decides else []
    lines += wrapped("but", answer.warning) if answer.warning else []
    if answer.also:
        more = ", ".join(map(shlex.quote, answer.also))
        lines += wrapped("also", f"the text says more; explain it apart: {more}")
    return "\n".join(lines)


def _meaning(answer: Explanation) -> list[str]:
    alert = answer.alert
    if alert is not None:
        how = f"{alert.direction} " if alert.direction else ""
        quote, unquote = "\N{LEFT DOUBLE QUOTATION MARK}", "\N{RIGHT DOUBLE QUOTATION MARK}"
        return wrapped(
            "means", f"{how}alert {alert.name} ({alert.code}): {quote}{alert.meaning}{unquote}"
        )
    if answer.verify_code is not None:
        return wrapped("means", f"its own verdict, OpenSSL verify code {answer.verify_code}")
    if answer.reason is not None:
        return wrapped("means", f"its own error, OpenSSL reason {answer.reason}")
    says = f"{answer.program} says {answer.words[:120]!r}"
    return wrapped("means", f"{says}: {answer.meaning}" if answer.meaning else says)


def _causes(each: SideAnswer) -> list[str]:
    lines: list[str] = []
    for i, slug in enumerate(each.causes[:_CAUSES_SHOWN]):
        label = ("cause" if len(each.causes) == 1 else "likely") if i == 0 else "or"
        lines += wrapped(label, f"{each.means[slug]} [{slug}]")
    if rarer := each.causes[_CAUSES_SHOWN:]:
        lines += wrapped("or", f"rarer: {', '.join(rarer)}")
    return lines


def _labelled(label: str, text: str) -> str:
    return f"{label + ':' if label.strip() else '':<{LABEL}}{text}"


def _command(label: str, step: str) -> list[str]:
    """A command, or where to look; a comment that does not fit beside it stands below it."""
    if len(step) <= readable_width(sys.stdout) - LABEL:
        return [_labelled(label, step)]
    command, _, comment = step.partition("  #")
    if comment:
        return [_labelled(label, command.rstrip()), *wrapped(" ", f"#{comment}")]
    if step.startswith(("mtls-echo", "openssl", "curl", "ss ")):
        first, *more = wrap_command(step, readable_width(sys.stdout) - LABEL, "  ")
        return [_labelled(label, first), *(_labelled(" ", line) for line in more)]
    return wrapped(label, step.strip())


def readable_width(stream: IO[str]) -> int:
    """How wide text is on a stream: as wide as its terminal, and no more than is easily read."""
    return min(width_of(stream) or _WIDTH, _WIDTH)


def wrapped(label: str, text: str) -> list[str]:
    """Text beside its label (blank: below the one before); without one, from the left edge."""
    if not label:
        return wrap(text, readable_width(sys.stdout))
    return wrap(
        _labelled(label, text), readable_width(sys.stdout), " " * LABEL if label.strip() else ""
    )
