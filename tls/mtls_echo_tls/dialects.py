"""Who says what: how TLS programs word a failure, and what their words prove.

"tlsv1 alert unknown ca" in *my* log means that the *peer* does not know my authority: the words
describe an alert that was received, so the side that prints them is the side that was refused.
"certificate verify failed" beside it means the opposite. Every program has its own dialect for
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
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from mtls_echo_tls.alerts import AlertDescription as A
from mtls_echo_tls.causes import CAUSES
from mtls_echo_tls.diagnosis import ALERT, REASON, VERIFY
from mtls_echo_tls.evidence import Side
from mtls_echo_tls.sayings import (
    ALERT_WORDS,
    FACTS,
    NSS_ALERTS,
    PROGRAMS,
    SECURE_TRANSPORT,
    SIDES,
    VERDICTS,
    Refused,
)

Kind = Literal["alert received", "alert sent", "alert", "verdict", "reason", "statement"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text proves.

    Attributes:
        kind: What sort of fact it is.
        refused: Who refused whom, seen from the program that printed the text.
        program: Whose words these are.
        words: The part of the text that was recognised.
        side: Which side prints this; None when either may.
        alert: The alert that the text names.
        verify_code: OpenSSL's verdict that the text names.
        reason: OpenSSL's reason symbol that the text names.
        stated: The causes that the words themselves state; else the tables give the family.
        decides: What would decide, where the words leave something open.
    """

    kind: Kind
    refused: Refused
    program: str = "OpenSSL"
    words: str = ""
    side: Side | None = None
    alert: int | None = None
    verify_code: int | None = None
    reason: str | None = None
    stated: tuple[str, ...] = ()
    decides: str = ""

    def rejected_by(self, side: Side | None) -> Side | None:
        """The side that refused, if the text was printed by ``side``; None when it says not."""
        if self.refused in ("client", "server"):
            return self.refused
        if side is None or self.refused not in ("printer", "peer"):
            return None
        return side if self.refused == "printer" else _other(side)

    def causes(self, side: Side | None) -> tuple[str, ...]:
        """Slugs, most likely first, for a text printed by ``side``."""
        if self.stated:
            slugs = self.stated
        elif self.verify_code is not None:
            code = _SAME_VERDICT.get(self.verify_code, self.verify_code)
            slugs = VERIFY.get(code, ())
        elif self.reason is not None:
            slugs = _WORDS_ALONE.get(self.reason) or REASON.get(self.reason, ())
        elif self.alert is not None:
            slugs = (*_OTHER_STACKS.get(self.alert, ()), *ALERT.get(self.alert, ()))
        else:
            slugs = ()
        rejected_by = self.rejected_by(side)
        wrong = _NEVER_OF[_other(rejected_by)] if rejected_by is not None else frozenset[str]()
        slugs = tuple(dict.fromkeys(slug for slug in slugs if slug not in wrong)) or slugs
        if side is not None and "plaintext-peer" in slugs:
            # The same words at a server are about a client that did not speak TLS.
            slugs = tuple(_PLAINTEXT[side] if s == "plaintext-peer" else s for s in slugs)
        return slugs or ("internal-error",)


def _other(side: Side) -> Side:
    return "server" if side == "client" else "client"


_PLAINTEXT: dict[Side, str] = {"client": "plaintext-peer", "server": "plaintext-client"}

# Faults that cannot be this side's: nobody looks for a host's name in a client's certificate.
_NEVER_OF: dict[Side, frozenset[str]] = {
    "client": frozenset({"wrong-name", "no-san", "no-server-certificate"}),
    "server": frozenset({"no-client-certificate"}),
}

# 21 (unable to verify the first certificate) follows 20 where verification went on, and is what
# node keeps; 24 was 79 before OpenSSL 3.
_SAME_VERDICT = {21: 20, 24: 79, 63: 62}

# What `diagnosis` can tell from the first bytes received, words alone cannot: mostly this is HTTP.
_WORDS_ALONE = {
    "WRONG_VERSION_NUMBER": ("plaintext-peer",),
    "NO_SUITABLE_SIGNATURE_ALGORITHM": ("no-common-signature-algorithm",),
}

# What stacks other than OpenSSL mean by an alert (measured: Go 1.19, Java 17, GnuTLS 3.7), and
# what a handshake failure can be when nobody saw how far the handshake had come.
_OTHER_STACKS: dict[int, tuple[str, ...]] = {
    A.bad_certificate: ("wrong-name", "no-client-certificate", "unknown-authority", "expired"),
    A.certificate_unknown: ("unknown-authority", "expired", "wrong-name", "wrong-usage"),
    A.access_denied: ("not-authorised", "unknown-authority", "expired"),
    A.handshake_failure: (
        "no-client-certificate",
        "no-common-cipher",
        "no-common-group",
        "no-common-signature-algorithm",
        "no-server-certificate",
    ),
}
_DECIDES = {
    A.bad_certificate: "which stack sent it: Go sends it for every fault of a client certificate,"
    " a missing one included; OpenSSL for names, dates to come and weak keys",
    A.certificate_unknown: "which stack sent it: Java sends it for every fault of a certificate",
    A.access_denied: "which stack sent it: GnuTLS's server sends it for every bad certificate",
    A.handshake_failure: "when it came: right after ClientHello there is nothing in common; after"
    " the client's Certificate (TLS 1.2) it is about that certificate, or that there was none",
    A.certificate_required: "whether the client has a certificate at all: some (Go, Java, GnuTLS)"
    " send none when theirs is from no authority that the server named",
}

# Alerts that only a server sends, so that whoever received one is a client.
_SERVERS_ONLY = {
    A.certificate_required, A.unrecognized_name, A.no_application_protocol,
    A.inappropriate_fallback, A.unknown_psk_identity,
}  # fmt: skip
_CLIENTS_REASONS = {"INAPPROPRIATE_FALLBACK"}
_SERVERS_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE", "NO_SHARED_CIPHER", "NO_SUITABLE_KEY_SHARE",
    "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "NO_APPLICATION_PROTOCOL",
}  # fmt: skip

_BY_NAME = {a.name.replace("_", ""): a.value for a in A if a is not A.close_notify} | ALERT_WORDS


def _alert_named(name: str) -> int | None:
    return _BY_NAME.get(re.sub(r"[ _-]", "", name))


def _received(code: int | None, refused: Refused = "peer") -> Reading | None:
    """An alert from the peer; close_notify and its like refuse nothing."""
    if code is None or code not in set(A) - {A.close_notify, A.user_canceled}:
        return None
    side: Side | None = "client" if code in _SERVERS_ONLY else None
    decides = _DECIDES.get(A(code), "")
    return Reading("alert received", refused, side=side, alert=code, decides=decides)


def _sent(code: int | None) -> Reading | None:
    reading = _received(code)
    if reading is None:
        return None
    side: Side | None = "server" if code in _SERVERS_ONLY else None
    return replace(reading, kind="alert sent", refused="printer", side=side)


def _verdict(code: int) -> Reading | None:
    if code == 0:  # "Verify return code: 0 (ok)"
        return None
    side: Side | None = "client" if code in (62, 64) else None
    return Reading("verdict", "printer", verify_code=code, side=side)


def _packed(text: str) -> Reading | None:
    """OpenSSL's number: library and reason in one word, alerts from 1000 (``SSL_AD_...``)."""
    packed = int(text, 16)
    library, reason = packed >> 24, packed & 0xFFF  # 0x0A and 0x14 are OpenSSL's, 0x10 BoringSSL's
    return _received(reason - 1000) if library in (0x0A, 0x14, 0x10) and reason > 1000 else None


def _reason(symbol: str) -> Reading:
    side: Side | None = None
    if symbol in _SERVERS_REASONS:
        side = "server"
    elif symbol in _CLIENTS_REASONS:
        side = "client"
    refused: Refused = "nobody" if symbol.startswith(("HTTP", "WRONG_VERSION")) else "printer"
    return Reading("reason", refused, side=side, reason=symbol)


class _Grammar(NamedTuple):
    program: str
    pattern: str
    read: Callable[[re.Match[str]], Reading | None]


_RFC_NAMES = "|".join(
    sorted((a.name.replace("_", "[ _]") for a in A if a is not A.close_notify), key=len)[::-1]
)
_REASONS = "|".join(key.lower().replace("_", "[ _]") for key in sorted(REASON, key=len)[::-1])
_OPENSSL = (
    r"(?:^|\[ssl: |\[ssl\] |ssl routines:\w{0,60}:|openssl_internal:|err_ssl_|state=error: "
    r"|(?:tls|ssl)(?:/ssl)? error: |ssl_(?:read|write|connect|accept): )"
)

# Numbers and names that stand in the text itself.
_GRAMMARS = (
    _Grammar("mtls-echo", r"received:? alert \w{1,40} \((\d{1,3})\)", lambda m: _received(int(m[1]))),
    _Grammar("mtls-echo", r'"code": ?(\d{1,3}), ?"direction": ?"received"', lambda m: _received(int(m[1]))),
    _Grammar("OpenSSL", r"\balert number:? (\d{1,3})\b", lambda m: _received(int(m[1]))),
    _Grammar("OpenSSL", rf"(?:sslv3|tlsv13|tlsv1)[ _](?:alert[ _])?({_RFC_NAMES})(?![a-z])", lambda m: _received(_alert_named(m[1]))),
    _Grammar("OpenSSL", r"\berror:([0-9a-f]{8}):", lambda m: _packed(m[1])),
    _Grammar("Envoy", r"\b(?:tls|ssl)[ _]error:?[ _|]{0,3}(2684\d{5}):", lambda m: _packed(f"{int(m[1]):08x}")),
    _Grammar("OpenSSL", r"ssl3 alert read:fatal:([a-z ]{1,40})", lambda m: _received(_alert_named(m[1]))),
    _Grammar("OpenSSL", r"<<< tls 1\.\d, alert \[length 0002\], fatal (\w{1,40})", lambda m: _received(_alert_named(m[1]))),
    _Grammar("OpenSSL", r">>> tls 1\.\d, alert \[length 0002\], fatal (\w{1,40})", lambda m: _sent(_alert_named(m[1]))),
    _Grammar("Java or rustls", r"received fatal alert: ?(\w{1,40})", lambda m: _received(_alert_named(m[1]))),
    _Grammar("rustls", r"alertreceived\((\w{1,40})\)", lambda m: _received(_alert_named(m[1]))),
    _Grammar("rustls", r"sending fatal alert (?:alertdescription::)?(\w{1,40})", lambda m: _sent(_alert_named(m[1]))),
    _Grammar("Go", r"remote error: tls: ([a-z ]{1,40})", lambda m: _received(_alert_named(m[1]))),
    _Grammar("Go", r"local error: tls: ([a-z ]{1,40})", lambda m: _sent(_alert_named(m[1]))),
    _Grammar("GnuTLS", r"received alert \[(\d{1,3})\]", lambda m: _received(int(m[1]))),
    _Grammar("GnuTLS", r"gnutls_handshake\(\) failed: ([a-z ]{1,60})", lambda m: _received(_alert_named(m[1]))),
    _Grammar(".NET", r"remote party sent a tls alert: '(\w{1,40})'", lambda m: _received(_alert_named(m[1]))),
    _Grammar("Windows", r"fatal alert was received.{0,90}?(?:code is|:) (\d{1,3})\b", lambda m: _received(int(m[1]))),
    _Grammar("Windows", r"fatal alert was generated.{0,120}?code is:? (\d{1,3})\b", lambda m: _sent(int(m[1]))),
    _Grammar("curl", r"\(in\), tls alert, [^(]{1,40}\((\d{1,4})\)", lambda m: _received(int(m[1]) & 0xFF)),
    _Grammar("Firefox", r"\bssl_error_(?:rx_)?(\w{1,40})_alert\b", lambda m: _received(NSS_ALERTS.get(m[1]))),
    _Grammar("macOS", r"(?<![\d.])(-98\d\d)\b", lambda m: _secure_transport(int(m[1]))),
    _Grammar("OpenSSL", r"verif(?:y|ication) (?:return )?(?:error|code):? ?(?:num=|\()?(\d{1,3})\b", lambda m: _verdict(int(m[1]))),
    _Grammar("HAProxy", r"(?:\bverify|ssl_c_err)=(\d{1,3})\b", lambda m: _verdict(int(m[1]))),
    _Grammar("curl", r"\(out\), tls alert, [^(]{1,40}\((\d{1,4})\)", lambda m: _sent(int(m[1]) & 0xFF)),
)  # fmt: skip

_AFTER_FACTS = (
    _Grammar("OpenSSL", rf"{_OPENSSL}({_REASONS})\b", lambda m: _reason(m[1].upper().replace(" ", "_"))),
    _Grammar("mtls-echo", r"\bsent:? alert \w{1,40} \((\d{1,3})\)", lambda m: _sent(int(m[1]))),
)  # fmt: skip

# The whole text is a number or a name: whether it was sent or received, it does not say.
_BARE = re.compile(rf"(?:(?:tls|ssl|fatal) )*(?:alert[ :]*)?(\d{{1,3}}|{_RFC_NAMES})(?: alert)?\W?")


def _secure_transport(status: int) -> Reading | None:
    meaning = SECURE_TRANSPORT.get(status)
    if meaning is None:
        return None
    if isinstance(meaning, int):
        return _received(meaning)
    return Reading("statement", "unsaid" if len(meaning) > 2 else "printer", stated=meaning)


def _own_words() -> re.Pattern[str]:
    """Our own sentences, from the catalogue that they are made of."""
    clauses: list[str] = []
    for slug, cause in CAUSES.items():
        clause = re.escape(cause.says.lower())
        for name, words in (("its", "(?:its|our)"), ("it", "(?:it|we)"), ("owner", r"\w+"),
                            ("judges", r"(?:our|the \w+'s)"), ("judge", r"\w+")):  # fmt: skip
            clause = clause.replace(rf"\{{{name}\}}", words)
        clauses.append(f"(?P<{slug.replace('-', '_')}>{clause})")
    who = r"(?P<who>we refused the \w{6}|the \w{6} refused us|the server turned us away"
    return re.compile(rf"{who}|turned the client away): (?:{'|'.join(clauses)})")


_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)")
_QUOTES = str.maketrans("‘’“”`´", "''\"\"''")


def plain(text: str, *, joint: str = " ") -> str:
    """The text as the patterns expect it: one line, lower case, straight quotes, no colours.

    Args:
        text: What somebody pasted.
        joint: What a line break becomes; the empty string mends words that a terminal cut.
    """
    text = _ANSI.sub("", text).translate(_QUOTES).replace("\\n", " ")
    text = joint.join(line.strip(" \t\r") for line in text.splitlines())
    return " ".join(text.lower().split()).strip("'\" ")


def readings(text: str) -> list[Reading]:
    """Everything that the text proves, most certain first; empty when nothing is recognised."""
    for joint in (" ", ""):
        line = plain(text, joint=joint)
        found = list(_read(line))
        if found:
            program, side = _printed_by(line)
            return [_attributed(reading, program, side) for reading in found]
    return []


def _attributed(reading: Reading, program: str | None, side: Side | None) -> Reading:
    generic = reading.program == "OpenSSL"
    return replace(
        reading,
        program=program if program is not None and generic else reading.program,
        side=reading.side or side,
    )


def _printed_by(line: str) -> tuple[str | None, Side | None]:
    program, side = None, None
    for pattern, name, usual_side in PROGRAMS:
        if re.search(pattern, line):
            program, side = name, usual_side
            break
    for pattern, printed_by in SIDES:
        if re.search(pattern, line):
            return program, printed_by
    return program, side


def _read(line: str) -> Iterator[Reading]:
    bare = _BARE.fullmatch(line)
    if bare is not None:
        code = int(bare[1]) if bare[1].isdigit() else _alert_named(bare[1])
        reading = _received(code)
        if reading is not None:
            yield replace(
                reading, kind="alert", program="RFC 8446", words=bare[0],
                decides="whether your program sent or received it; and a number could also be"
                " something else: then write `verify code 20` or `curl: (60)`"
                if bare[1].isdigit() else "whether your program sent or received it",
            )  # fmt: skip
        return
    if ours := _OWN_WORDS.search(line):
        slug = next(name for name, words in ours.groupdict().items() if words and name != "who")
        refused: Refused = "printer" if ours["who"].startswith(("we ", "turned")) else "peer"
        alert = re.search(r"alert \w{1,40} \((\d{1,3})\)", line)
        yield Reading(
            "statement", refused, "mtls-echo", ours[0], stated=(slug.replace("_", "-"),),
            alert=int(alert[1]) if alert else None,
        )  # fmt: skip
    yield from _by_grammar(_GRAMMARS, line)
    for program, pattern, code in VERDICTS:
        if match := re.search(pattern, line):
            verdict = _verdict(code)
            if verdict is not None:
                yield replace(verdict, program=program, words=match[0])
            break
    found_fact = False
    for fact in FACTS:
        if not (found_fact and fact.vague) and (match := re.search(fact.pattern, line)):
            found_fact = True
            yield Reading(
                "statement", fact.refused, fact.program, match[0], fact.side, stated=fact.causes,
                decides=fact.decides,
            )  # fmt: skip
    yield from _by_grammar(_AFTER_FACTS, line)


def _by_grammar(grammars: tuple[_Grammar, ...], line: str) -> Iterator[Reading]:
    for program, pattern, read in grammars:
        for match in re.finditer(pattern, line):
            reading = read(match)
            if reading is not None:
                yield replace(reading, program=program, words=match[0])
                break


_OWN_WORDS = _own_words()
