"""What one connection proves, judged by what the good identity got.

A server refuses in three ways: by an alert or an end in the handshake, in TLS 1.3 after the
client's part of it is done; by closing in place of an answer; or in its answer. It admits whom it
answers as it answers the good identity. Whatever is neither is unclear: silence is not acceptance,
and an error of the server's (5xx) is not a refusal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from mtls_echo.probe.attempt import Tried

Verdict: TypeAlias = Literal["refused", "refused late", "admitted", "unclear", "not tested"]

# Ends that are no alert; where the good identity was served they are a refusal.
_ENDS = frozenset({"closed-without-alert", "reset", "truncated"})


def judged(tried: Tried, good: Tried, own_words: Iterable[str] = ()) -> tuple[Verdict, str]:
    """The verdict on an identity, and what it rests on, in a few words.

    Args:
        tried: What it got.
        good: What the good identity got, in the same version and mode.
        own_words: What differs between the two identities (names, serial numbers), which an
            answer may repeat and be the same answer.
    """
    report = tried.report
    alert = report.alert
    if report.rejected_by == "server" and alert is not None and alert.direction == "received":
        return "refused", f"alert {alert.name}"
    if report.rejected_by == "client":
        return "unclear", f"we refused the server: {report.causes[0]}"
    if report.answer is not None and report.answer.status is not None:
        return _by_status(tried, good, own_words)
    if report.outcome == "denied":
        return "refused late", "denied by a line of text"
    if report.outcome == "refused":
        return "refused", f"{report.causes[0]}"
    if report.outcome == "echoed":
        return "admitted", "the echo came back"
    if report.outcome == "completed":
        return _silent(tried, good)
    if report.stage == "connect":
        return "unclear", report.summary
    cause = report.causes[0] if report.causes else ""
    if cause in _ENDS:
        late = report.stage == "established"
        return ("refused late" if late else "refused"), f"{_SAID[cause]}, without an alert"
    return "unclear", cause or report.summary


_SAID = {
    "closed-without-alert": "the server closed",
    "reset": "the server reset the connection",
    "truncated": "the server ended the connection",
}


def _by_status(tried: Tried, good: Tried, own_words: Iterable[str]) -> tuple[Verdict, str]:
    answer, expected = tried.report.answer, good.report.answer
    assert answer is not None and answer.status is not None  # noqa: S101  narrows the type
    how = f"{answer.protocol} {answer.status} {answer.phrase}".rstrip()
    if tried.report.outcome in ("refused", "denied") or 400 <= answer.status < 500:
        return "refused late", how
    if not answer.is_success or expected is None:
        return "unclear", how
    if answer.status != expected.status or answer.location != expected.location:
        return "unclear", f"{how}, where the good identity got {expected.status}"
    words = list(own_words)
    if _without(answer.text, words) != _without(expected.text, words):
        return "unclear", f"{how}, with another text than the good identity got"
    return "admitted", how


def _without(text: str, words: Iterable[str]) -> str:
    """A text without what is different in every answer: numbers, and the identity's own words."""
    for word in sorted(words, key=len, reverse=True):
        text = text.replace(word, "*")
    return re.sub(r"[0-9][0-9A-Fa-f:.]*", "*", text)


def _silent(tried: Tried, good: Tried) -> tuple[Verdict, str]:
    """Of a handshake that was not refused; what counts is that the good one got no more."""
    if (tried.report.answer is None) == (good.report.answer is None):
        waited = "" if tried.report.answer is not None else ", and is not refused"
        return "admitted", f"the handshake is complete{waited}"
    return "unclear", "the handshake is complete, but the good identity was sent something"
