"""Explain the TLS error in a Python exception, however a library has wrapped it.

The verify code, the reason and the library that OpenSSL reported stand in the exception itself;
its text is read only for what they do not tell. An exception of urllib, requests, urllib3, httpx,
aiohttp or asyncio has the `ssl.SSLError` somewhere inside.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

from mtls_echo.explanation import Explanation, explanation_of
from mtls_echo_tls.alerts import alert_of_reason
from mtls_echo_tls.explain.findings import Finding, alert_received, own_reason, own_verdict
from mtls_echo_tls.explain.parse import findings
from mtls_echo_tls.reasons import CAUSES_BY_REASON
from mtls_echo_tls.sides import Side

# More than any library wraps.
_MOST_EXCEPTIONS = 100

# Libraries that are clients only.
_CLIENTS = {"aiohttp", "http", "httpcore", "httpx", "requests", "urllib", "urllib3"}

# No errors, but what a non-blocking connection waits for.
_WAITING = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


def explain_exception(exc: BaseException) -> Explanation | None:
    """Say which side refused the other, why, and what to do, for an exception of any library.

    Args:
        exc: The `ssl.SSLError` is looked for in it, in what it was raised from or while handling,
            in the members of exception groups, and in its ``reason`` and ``args``.

    Returns:
        None when there is none, or one that says nothing about TLS.
    """
    chain = list(_chain(exc))
    for error in chain:
        if isinstance(error, ssl.SSLError) and (found := _findings(error)):
            return explanation_of(found, _side(chain, found[0]))
    return None


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """The exception and all inside it, the outermost first and each once."""
    waiting: list[object] = [exc]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_EXCEPTIONS:
        one = waiting.pop(0)
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        if not isinstance(one, _WAITING):
            yield one
        if isinstance(one, BaseExceptionGroup):
            waiting += cast("BaseExceptionGroup[BaseException]", one).exceptions
        # urllib has what it wraps in `reason`, urllib3, requests and aiohttp in `args`.
        waiting += [one.__cause__, one.__context__, vars(one).get("reason"), *one.args]


def _findings(error: ssl.SSLError) -> list[Finding]:
    """What an error proves, the numbers and symbols in it before its words."""
    text = f"ssl.{type(error).__name__}: {error}"
    said = findings(text)
    known = _known(error)
    if known is None:
        return said
    return [replace(known, program="Python", words=said[0].words if said else text), *said]


def _known(error: ssl.SSLError) -> Finding | None:
    code: object = getattr(error, "verify_code", None)
    if isinstance(code, int) and code:
        return own_verdict(code)
    reason: object = getattr(error, "reason", None)
    # Of OpenSSL's other libraries (X509, PEM) a reason is about a file or a key.
    if not isinstance(reason, str) or getattr(error, "library", None) not in ("SSL", None):
        return None
    alert = alert_of_reason(reason)
    if alert is not None:
        return alert_received(alert)
    return own_reason(reason) if reason in CAUSES_BY_REASON else None


def _side(chain: list[BaseException], found: Finding) -> Side | None:
    """The side whose exception it is: a client's, where a library for clients has wrapped it."""
    if found.side is not None:
        return None  # the error itself says it
    modules = {type(each).__module__.partition(".")[0] for each in chain}
    return None if modules.isdisjoint(_CLIENTS) else "client"
