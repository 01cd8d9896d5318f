"""What one connection proves, judged by what the good identity got.

A server refuses in three ways: by an alert or an end in the handshake, in TLS 1.3 after the
client's part of it is done; by closing in place of an answer; or in its answer. It admits whom it
answers as it answers the good identity. Whatever is neither is unclear: silence is not acceptance,
an error of the server's (5xx) or a limit of its rate (429) is not a refusal, and an answer that a
client without a certificate gets as well says nothing about certificates.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Literal, TypeAlias

from mtls_echo_tls.answers.answer import LONGEST_TEXT

if TYPE_CHECKING:
    from mtls_echo.probing.attempt import Tried
    from mtls_echo_pki.certificates.credential import Credential
    from mtls_echo_tls.answers.answer import ServerAnswer

Verdict: TypeAlias = Literal["refused", "refused late", "admitted", "unclear", "not tested"]

REFUSALS: frozenset[Verdict] = frozenset({"refused", "refused late"})

# Statuses that say nothing of who asks: it took too long, or asks too often.
_NOT_ABOUT_IDENTITY = frozenset({408, 425, 429})

# The path of a URL, and where it leads a client that is not let in, or is to prove otherwise who
# it is.
_PATH = re.compile(r"(?:[a-zA-Z][\w+.-]*:)?(?://[^/?#]*)?([^?#]*)")
_TO_LOG_IN = re.compile(
    r"(?i)(?<![a-z])(log.?[io]n|sign.?in|auth|authenticate|oauth2?|saml2?|sso|denied|forbidden"
    r"|unauthori[sz]ed|accessdenied)(?![a-z])"
)

# What differs from one answer to the next: times, counters, digests and tokens.
_LEFT_OUT = "*"
_VOLATILE = re.compile(r"\b(?=\w*\d)[\w:.+-]*\w")


@dataclass(frozen=True)
class Good:
    """What the good identity got in one version: twice, so that what changes by itself shows."""

    tried: Tried
    again: Tried

    def is_answer(self, text: str, words: Iterable[str]) -> bool:
        """Whether a text is the good identity's answer.

        Args:
            words: What differs between the two identities (names, serial numbers), which an
                answer may repeat and be the same.
        """
        texts = (text, self.tried.text, self.again.text)
        given, first, second = (without(each, words).split() for each in texts)
        if any(word != _LEFT_OUT for word in first):
            # A greeting is the same without a name in it, for a client that has none.
            given, first, second = (
                [word for word in each if word != _LEFT_OUT] for each in (given, first, second)
            )
        if max(map(len, texts)) >= LONGEST_TEXT:
            # Of a longer text only the beginning is known; its last word may have been cut.
            shortest = min(map(len, (given, first, second))) - 1
            given, first, second = given[:shortest], first[:shortest], second[:shortest]
        return len(first) == len(second) and all(
            mine == one or one != other
            for mine, one, other in zip_longest(given, first, second, fillvalue=None)
        )


def judged(tried: Tried, good: Good, words: Sequence[str] = ()) -> tuple[Verdict, str]:
    """The verdict on a connection, and what it rests on, in a few words."""
    report = tried.report
    alert, answer = report.alert, report.answer
    if alert is not None and alert.direction == "received":
        return "refused", f"alert {alert.name}"
    if report.rejected_by == "client":
        return "unclear", f"we refused the server: {report.causes[0]}"
    if answer is not None and answer.status is not None:
        return by_answer(answer, good, words, denied=report.outcome in ("refused", "denied"))
    if report.outcome == "denied":
        return "refused late", "denied by a line of text"
    if report.outcome == "refused":
        return "refused", report.causes[0]
    if report.outcome == "echoed":
        return "admitted", "the echo came back"
    if report.outcome == "completed":
        return _after_the_handshake(tried, good, words)
    if tried.unseen:
        early = "before it had seen a certificate; it may have too many connections"
        return "unclear", f"{tried.ended}, {early}"
    if tried.ended:
        late = report.stage == "established"
        return ("refused late" if late else "refused"), f"{tried.ended}, without an alert"
    timed_out = report.causes == ["timeout"]
    return "unclear", "no answer within the timeout" if timed_out else report.summary


def by_answer(
    answer: ServerAnswer, good: Good, words: Sequence[str] = (), *, denied: bool = False
) -> tuple[Verdict, str]:
    """The verdict on what a server says, in HTTP or as the greeting of another protocol."""
    expected = good.tried.report.answer
    if answer.status is None:
        if expected is not None and good.is_answer(answer.text, words):
            return "admitted", f"it is greeted as the good identity: {answer}"
        return "unclear", f"the server says: {answer}"
    how = status_of(answer)
    if answer.status in _NOT_ABOUT_IDENTITY:
        return "unclear", how
    if denied or 400 <= answer.status < 500:
        return "refused late", how
    if not answer.is_success or expected is None:
        return "unclear", how
    same = answer.status == expected.status
    if not same or without(answer.location, words) != without(expected.location, words):
        turned_away = _is_to_log_in(answer) and not _is_to_log_in(expected)
        verdict: Verdict = "refused late" if turned_away else "unclear"
        return verdict, f"{how}, where the good identity got {status_of(expected)}"
    if not good.is_answer(answer.text, words):
        return "unclear", f"{how}, {OTHER_TEXT}"
    return "admitted", how


def _is_to_log_in(answer: ServerAnswer) -> bool:
    """Whether it leads to where one logs in, by the path; a query may name anything."""
    leads = 300 <= (answer.status or 0) < 400
    path = _PATH.match(answer.location)
    return leads and path is not None and _TO_LOG_IN.search(path[1]) is not None


def _after_the_handshake(tried: Tried, good: Good, words: Sequence[str]) -> tuple[Verdict, str]:
    """Of a handshake that was not refused; what counts is that the good identity got no more."""
    answer = tried.report.answer
    if answer is not None and good.tried.report.answer is not None:
        return by_answer(answer, good, words)
    if tried.accepted or answer is not None:
        if good.tried.report.answer is not None:
            return "unclear", "the handshake is complete, but the good identity is sent something"
        return "admitted", "the handshake is complete, and not refused"
    if good.tried.accepted:
        return "unclear", "the server says nothing, where it accepts the good identity"
    return "unclear", SILENT


# What a handshake alone does not show: nginx completes it with any client, and answers 400; and
# PostgreSQL asks for a certificate, and demands it of a user that has logged in.
BEHIND_HTTP = "TLS lets it in; the server speaks HTTP, and may refuse in its answer (--http)"
BEHIND_STARTTLS = "TLS lets it in; what the protocol behind it does is not seen"

# An error page with the status of a success, or one that greets each client by its name.
OTHER_TEXT = "with another text than the good identity got"

# A server of TLS 1.3 that says nothing to any client; `mtls_echo.probing.run` may know more.
SILENT = "the server says nothing: neither to this identity nor to the good one"


def status_of(answer: ServerAnswer) -> str:
    """The status of an answer in HTTP, and where it leads."""
    how = f"{answer.protocol} {answer.status} {answer.phrase}".rstrip()
    return f"{how}, to {without(answer.location, ())}" if answer.location else how


def without(text: str, words: Iterable[str]) -> str:
    """A text without what differs from one answer to the next, and an identity's own words."""
    for word in sorted(words, key=len, reverse=True):
        text = text.replace(word, _LEFT_OUT)
    return _VOLATILE.sub(_LEFT_OUT, text)


def words_of(*credentials: Credential | None) -> list[str]:
    """What an answer may say of an identity."""
    from mtls_echo_pki.certificates.identifiers import presented_identifiers

    found: list[str] = []
    for each in filter(None, credentials):
        for name in (each.certificate.subject, each.certificate.issuer):
            found += [name.rfc4514_string(), *(str(a.value) for a in name)]
        found += [str(identifier) for identifier in presented_identifiers(each.certificate)]
        serial = each.certificate.serial_number
        found += [each.fingerprint, f"{serial:x}", f"{serial:X}", str(serial)]
    return [word for word in found if len(word) > 1]
