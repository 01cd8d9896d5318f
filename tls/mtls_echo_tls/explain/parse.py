"""Recognise the error texts of TLS programs, and find what they prove.

"tlsv1 alert unknown ca" in *my* log means that the *peer* does not know my CA: the words
describe an alert that was received, so the side that prints them is the side that was refused.
"certificate verify failed" next to it means the opposite. Every program has its own dialect for
the same few facts, and this table translates: an alert received or sent (RFC 8446 §6), an own
verdict on a certificate (OpenSSL's verify codes), an own reason, or how the transport ended. What
those facts *mean* is not said here: `diagnosis` and `causes` say it, for texts as for connections.

A text is weaker evidence than a recording, and nothing here feeds `diagnose`. Most certain comes
first: a received alert ends a connection whatever was noted before it (s_client prints "verify
error" and goes on), then verdicts with a number, then words, then how the transport ended, and
last an exit status. Two things are measured and not in any RFC: Go's servers answer every bad
client certificate, and a missing one, with bad_certificate, Java's with certificate_unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

from mtls_echo_tls.alerts import AlertDescription as A
from mtls_echo_tls.causes import CAUSES
from mtls_echo_tls.explain.findings import (
    Finding,
    alert_named,
    alert_received,
    decimal_error,
    denied_file,
    low_byte_alert,
    low_byte_received,
    low_byte_sent,
    name_of_client,
    name_of_server,
    name_received,
    name_sent,
    no_file,
    no_server_hello,
    number_of_verdict,
    number_received,
    number_sent,
    own_reason,
    packed_error,
    request_too_long,
    schannel_sent,
)
from mtls_echo_tls.explain.phrases import (
    FRAMES,
    HINTS,
    PHRASES,
    PROGRAMS,
    SIDES,
    STEMS,
    Phrase,
    Refused,
)
from mtls_echo_tls.explain.tables import VAGUE, Match, matches, rows
from mtls_echo_tls.reasons import CAUSES_BY_REASON
from mtls_echo_tls.sides import Side
from mtls_echo_tls.slugs import Slug

# No error message is longer, and the time that it takes is bounded.
MOST = 64 * 1024


class _Pattern(NamedTuple):
    program: str
    pattern: str
    read: Callable[[str], Finding | None]


_RFC_NAMES = "|".join(
    sorted((a.name.replace("_", "[ _]") for a in A if a is not A.close_notify), key=len)[::-1]
)
_REASONS = "|".join(
    key.lower().replace("_", "[ _]") for key in sorted(CAUSES_BY_REASON, key=len)[::-1]
)
_OPENSSL = (
    r"(?:^|\[ssl: |\[ssl\] |ssl routines:\w{0,60}:|openssl_internal:|err_ssl_|state=error: "
    r"|(?:tls|ssl)(?:/ssl)? error: |ssl_(?:read|write|connect|accept): )"
)

_NO_FILE = r"(?:no such file or directory|(?:the system )?cannot find the (?:file|path) specified)"
_DENIED = r"(?:permission denied|access is denied)"
# The name of a file, whole: between quotes with blanks too, else after a blank or a sign.
_FILE = (
    r"((?:(?<=['\"])[^'\"]{1,160}?|(?<![^\s(:=\[])(?!//)(?:[a-z]:)?[\w./~\\-][^\s'\"():;,=\[\]]{0,160}?)"
    r"\.(?:pem|crt|cer|der|key|p12|pfx|jks|p7b|crl)\b(?:[\w./\\-]{0,40}\w)?)"
)

# Numbers and names that stand in the text itself.
_PATTERNS = (
    _Pattern("mtls-echo", rf"(?:server|client) refused us: alert ({_RFC_NAMES})", name_received),
    _Pattern("mtls-echo", r"received:? alert \w{1,40} \((\d{1,3})\)", number_received),
    _Pattern("mtls-echo", r'"code": ?(\d{1,3}), ?"direction": ?"received"', number_received),
    _Pattern("OpenSSL", r"\balert number:? (\d{1,3})\b", number_received),
    _Pattern(
        "OpenSSL", rf"(?:sslv3|tlsv13?)[ _](?:alert[ _])?({_RFC_NAMES})(?![a-z])", name_received
    ),
    _Pattern("OpenSSL", r"\berror:([0-9a-f]{8}):", packed_error),
    _Pattern("Envoy", r"\b(?:tls|ssl)[ _]error:?[ _|]{0,3}(2684\d{5}):", decimal_error),
    _Pattern("OpenSSL", r"\balert read: ?fatal: ?([a-z ]{1,40})", name_received),
    _Pattern("OpenSSL", r"\balert write: ?fatal: ?([a-z ]{1,40})", name_sent),
    _Pattern("eggdrop", r"\balert during read: ?fatal \(([a-z ]{1,40})\)", name_received),
    _Pattern("eggdrop", r"\balert during write: ?fatal \(([a-z ]{1,40})\)", name_sent),
    _Pattern("hs-tls", r"got alert : \[\(alertlevel_fatal,(\w{1,40})\)", name_received),
    _Pattern("BusyBox", r"tls error from peer \(alert code (\d{1,3})\)", number_received),
    _Pattern("OpenSSL", r"<<< tls 1\.\d, alert \[length 0002\], fatal (\w{1,40})", name_received),
    _Pattern("OpenSSL", r">>> tls 1\.\d, alert \[length 0002\], fatal (\w{1,40})", name_sent),
    _Pattern("Java or rustls", r"received fatal alert: ?(\w{1,40})", name_received),
    _Pattern("mbedTLS", r"is a fatal alert message \(msg (\d{1,3})\)", number_received),
    _Pattern("mbedTLS", r"got an alert message, type: \[2:(\d{1,3})\]", number_received),
    _Pattern("rustls", r"alertreceived\((\w{1,40})\)", name_received),
    _Pattern("rustls", r"sending fatal alert (?:alertdescription::)?(\w{1,40})", name_sent),
    _Pattern(
        "rustls", r"\blevel: fatal,\W.{0,200}?description: (\w{1,40})", name_received
    ),
    _Pattern("Go", r"remote error: (?:tls: )?([a-z ]{1,40})", name_received),
    _Pattern("Go", r"local error: (?:tls: )?([a-z ]{1,40})", name_sent),
    # Of OTP before 21.3: its own alerts, unless they are from where alerts are decoded.
    _Pattern("Erlang", r"\{alert,2,(\d{1,3}),\{\"(?!ssl_alert)", number_sent),
    _Pattern("Erlang", r"\bssl_alert\.erl:\d+:fatal error: ([a-z ]{1,40})", name_received),
    _Pattern(
        "Erlang", r"\b(?:ssl|d?tls)_(?!alert)\w+\.erl:\d+:fatal error: ([a-z ]{1,40})", name_sent
    ),
    _Pattern("Erlang", r"(?<!generated )(?<!received )server alert: fatal - ([a-z ]{1,40})",
             name_of_server),
    _Pattern("Erlang", r"(?<!generated )(?<!received )client alert: fatal - ([a-z ]{1,40})",
             name_of_client),
    _Pattern("Erlang", r"received undefined alert: fatal - ([a-z ]{1,40})", name_received),
    _Pattern("Bouncy Castle", r"tlsfatalalertreceived: \w+\((\d{1,3})\)", number_received),
    _Pattern("Bouncy Castle", r"tlsfatalalert: \w+\((\d{1,3})\)", number_sent),
    _Pattern(
        "axTLS", rf"\balert: ({_RFC_NAMES})\b(?=.{{0,120}}error: ssl error \d)", name_received
    ),
    _Pattern("GnuTLS", r"received alert \[(\d{1,3})\]", number_received),
    _Pattern("GnuTLS", r"gnutls_handshake\(\) failed: ([a-z ]{1,60})", name_received),
    _Pattern(".NET", r"remote party sent a tls alert: '(\w{1,40})'", name_received),
    _Pattern(
        "Windows", r"fatal alert was received.{0,90}?(?:code is|:) (\d{1,3})\b", number_received
    ),
    _Pattern(
        "Windows", r"fatal alert was generated.{0,160}?(?:code is:?|:) (\d{1,3})\b", schannel_sent
    ),
    _Pattern("curl", r"\(in\), tls alert, [^(]{1,40}\((\d{1,4})\)", low_byte_received),
    _Pattern("OpenSSL",
         r"verif(?:y|ication) (?:return )?(?:error|code):? ?(?:num=|\()?(\d{1,3})\b",
         number_of_verdict),
    _Pattern("HAProxy", r"(?:\bverify|ssl_c_err)=(\d{1,3})\b", number_of_verdict),
    _Pattern("curl", r"\(out\), tls alert, [^(]{1,40}\((\d{1,4})\)", low_byte_sent),
    _Pattern("OpenSSL", r"get_certificate_request:(length mismatch)\b", request_too_long),
    _Pattern("OpenSSL", r"ssl23_get_server_hello:(unknown protocol)\b", no_server_hello),
    _Pattern("OpenSSL", rf"{_OPENSSL}({_REASONS})\b", own_reason),
    _Pattern("curl", r"(?<!\), )tls alert, [a-z ]{1,40} \((\d{3,4})\)", low_byte_alert),
    _Pattern("mtls-echo", r"\bsent:? alert \w{1,40} \((\d{1,3})\)", number_sent),
    _Pattern("the system", rf"{_NO_FILE}.{{0,40}}?{_FILE}", no_file),
    _Pattern("the system", rf"{_FILE}\W{{1,3}}(?:\w+: )?{_NO_FILE}", no_file),
    _Pattern("the system", rf"{_DENIED}.{{0,40}}?{_FILE}", denied_file),
    _Pattern("the system", rf"{_FILE}\W{{1,3}}(?:\w+: )?(?:{_DENIED}|is denied)", denied_file),
)  # fmt: skip


# The whole text is a number or a name: whether it was sent or received, it does not say.
_BARE = re.compile(
    rf"(?:(?:tls|ssl|fatal) )*(?:alert[ :]*)?(\d{{1,3}}|{_RFC_NAMES})(?: alert)?\W?"
)


def _own_words() -> re.Pattern[str]:
    """Our own sentences, from the catalogue that they are made of."""
    clauses: list[str] = []
    for slug, cause in CAUSES.items():
        clause = re.escape(cause.clause.lower())
        for name, words in (("its", "(?:its|our)"), ("it", "(?:it|we)"), ("owner", r"\w+"),
                            ("verifiers", r"(?:our|the \w+'s)"),
                            ("verifier", r"\w+")):  # fmt: skip
            clause = clause.replace(rf"\{{{name}\}}", words)
        clauses.append(f"(?P<{_group(slug)}>{clause})")
    who = r"(?P<who>we refused the \w{6}|the \w{6} refused us|the server turned us away"
    who += r"|turned the client away|failed \S{1,64}|mtls-echo: error"
    return re.compile(rf"{who}): (?:{'|'.join(clauses)})")


def _group(slug: Slug) -> str:
    return slug.replace("-", "_")


# They say how it ended, and not why.
_ENDS: frozenset[Slug] = frozenset({"closed-without-alert", "reset", "truncated"})

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)")
# Elixir writes the terms of Erlang with blanks in tuples, and colons before words.
_TUPLE = re.compile(r",\s+(?=\{?:[a-z_])|(?<=\{bad_cert),\s+(?=\{)")
_ATOM = re.compile(r"(?<![\w:.)\]]):(?=[a-z_]{2,40}\b)")
# Windows's numbers have 32 bits, and some programs print them with 64.
_SIGN_EXTENDED = re.compile(r"\b0xffffffff(?=8[0-9a-f]{7}\b)", re.IGNORECASE)
# And the one letter that is longer in lower case.
_QUOTES = str.maketrans(
    "\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"
    "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}`"
    "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}",
    "''\"\"'I",
)


def plain(text: str, *, joint: str = " ") -> str:
    """The text as the patterns expect it: one line, lower case, straight quotes, no colours.

    Args:
        text: As it was pasted.
        joint: What a line break becomes; the empty string mends words that a terminal cut.
    """
    return _one_line(text, joint).lower()


def _one_line(text: str, joint: str) -> str:
    """The same in the case that it was pasted in, and as long, so that places are the same."""
    text = _ANSI.sub("", text).translate(_QUOTES).replace("\\n", " ")
    text = _SIGN_EXTENDED.sub("0x", _ATOM.sub("", _TUPLE.sub(",", text)))
    text = joint.join(line.strip(" \t\r") for line in text.splitlines())
    return " ".join(text.split()).strip("'\" ")


def findings(text: str) -> list[Finding]:
    """Everything that the text proves, most certain first; empty when nothing is recognised."""
    for joint in (" ", ""):
        cased = _one_line(text[:MOST], joint)
        line = cased.lower()
        known = matches(line)
        found = list(_read(line, cased, known))
        if found:
            program, side = _printed_by(line, known)
            frames: list[Side] = [s for p, s in FRAMES if re.search(p, line)]
            frame = frames[0] if len(frames) == 1 else None
            return [_attributed(finding, program, side, frame) for finding in found]
    return []


def _attributed(
    finding: Finding, program: str | None, side: Side | None, frame: Side | None
) -> Finding:
    generic = finding.program == "OpenSSL"
    return replace(
        finding,
        program=program if program is not None and generic else finding.program,
        side=frame or finding.side or side,
    )


def _printed_by(line: str, known: list[Match]) -> tuple[str | None, Side | None]:
    """Whose words these are, and which side that is: by its own words, else by all others."""
    program, side = None, None
    for pattern, name, usual_side in PROGRAMS:
        if re.search(pattern, line):
            program, side = name, usual_side
            break
    for pattern, printed_by in SIDES:
        if re.search(pattern, line):
            return program, printed_by
    others = [match for match in known if match.row.side != "-"]
    for these in ([match for match in others if match.row.kind == "line"], others):
        sides: set[str] = {match.row.side for match in these}
        if side is None and len(sides) == 1:
            side = "client" if "client" in sides else "server"
    for pattern, printed_by in HINTS:
        if side is None and re.search(pattern, line):
            side = printed_by
    return program, side


def _read(line: str, cased: str, known: list[Match]) -> Iterator[Finding]:
    bare = _BARE.fullmatch(line)
    if bare is not None:
        code = int(bare[1]) if bare[1].isdigit() else alert_named(bare[1])
        finding = alert_received(code)
        if finding is not None:
            yield replace(
                finding, kind="alert", program="RFC 8446", words=cased,
                decides="whether your program sent or received it; and a number could also be"
                " something else: then write `verify code 20` or `curl: (60)`"
                if bare[1].isdigit() else "whether your program sent or received it",
            )  # fmt: skip
        return
    if ours := _OWN_WORDS.search(line):
        slug: Slug = next(slug for slug in CAUSES if ours[_group(slug)])
        refused: Refused = "peer"
        if ours["who"].startswith(("we ", "turned")):
            refused = "printer"
        elif ours["who"].startswith(("failed", "mtls-echo")):
            refused = "unsaid" if slug in _ENDS else "nobody"
        alert = re.search(r"alert \w{1,40} \((\d{1,3})\)", line)
        yield Finding(
            "statement", refused, "mtls-echo", cased[ours.start() : ours.end()], stated=(slug,),
            alert=int(alert[1]) if alert else None,
        )  # fmt: skip
    ranked = [(_RANK_OF[f.kind], f) for f in _by_pattern(_PATTERNS, line, cased)]
    ranked += [(float(match.rank), match.finding(cased)) for match in known]
    ranked += [
        (rank, _said(phrase, cased[match.start() : match.end()]))
        for rank, phrases in ((6.5, STEMS), (99.0, PHRASES))
        for phrase in phrases
        if (match := re.search(phrase.pattern, line))
    ]
    ranked.sort(key=lambda each: each[0])
    certain = [finding for rank, finding in ranked if rank < VAGUE]
    yield from certain or (() if ours else (finding for _, finding in ranked))


def _said(phrase: Phrase, words: str) -> Finding:
    return Finding(
        phrase.kind, phrase.refused, phrase.program, words, phrase.side,
        stated=phrase.causes, decides=phrase.decides,
    )  # fmt: skip


# Where what a pattern found stands among what the tables have (`tables.Match`).
_RANK_OF = {
    "alert received": -1.0, "verdict": 1.5, "alert sent": 1.8, "reason": 2.5, "file": 3.5,
    "alert": 4.5,
}  # fmt: skip


def _by_pattern(patterns: tuple[_Pattern, ...], line: str, cased: str) -> Iterator[Finding]:
    for program, pattern, read in patterns:
        for match in re.finditer(pattern, line):
            finding = read(cased[match.start(1) : match.end(1)])
            if finding is not None:
                words = cased[match.start() : match.end()]
                yield replace(finding, program=program, words=words)
                break


_OWN_WORDS = _own_words()


def phrases() -> list[str]:
    """Phrases that are recognised, to suggest: alerts, reasons, and the commonest texts."""
    alerts = [f"alert {a.name.replace('_', ' ')}" for a in A if a not in (0, 90)]
    reasons = [symbol.lower().replace("_", " ") for symbol in CAUSES_BY_REASON]
    common = [
        row.text.replace("_", " ")
        for row in rows("phrases")
        if "\N{HORIZONTAL ELLIPSIS}" not in row.text
    ]
    return list(dict.fromkeys(alerts + reasons + common))
