"""The registry of failure cases: every failure that can be played here, by name.

`make observe` shows them, the tests check them, and `docs/failures.md` is written from them. Most
are the deliberately bad credentials of `mtls_echo_pki.flaws`, one for each role that can have
them, verified by our own client or server as strictly as any other credential. The others
(`mtls_echo.failures.without_bad_certificate`) have good certificates.

**What two reports cannot decide** is stated here too. A verifier that finds no path to a trust
anchor does not know whether a trust anchor or an intermediate is missing, unless the other side
has the root. A signature by another key and a damaged signature are equally invalid.

``clock-skew`` is missing: it takes two machines with two clocks.
"""

from __future__ import annotations

import ssl
from functools import partial

from mtls_echo.demo.credentials import HOST
from mtls_echo.failures import without_bad_certificate
from mtls_echo.failures.case import (
    ALTERED_OR_NOT_OWNED,
    VERSIONS,
    Expected,
    FailureCase,
    credentials,
    lenient_context,
    strict_context,
)
from mtls_echo.failures.play import Setup
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.flaws.baseline import ValidationInput
from mtls_echo_pki.flaws.flaw import Flaw, TLSVersion
from mtls_echo_pki.flaws.registry import FLAWS
from mtls_echo_pki.lookup import look_up
from mtls_echo_tls.sides import Side, peer_of

_NO_PATH = frozenset({"unknown-authority", "missing-intermediate"})
_WRONG_SIGNATURE = frozenset({"bad-signature", "impostor-authority"})

_UNDECIDED: dict[str, frozenset[str]] = {
    **dict.fromkeys(
        ("unknown-authority", "missing-intermediate", "missing-intermediate-wrong-one"), _NO_PATH
    ),
    **dict.fromkeys(
        ("bad-signature", "bad-signature-authority", "impostor-authority-copied-identifier"),
        _WRONG_SIGNATURE,
    ),
}

_REQUESTS = {
    "server": Request.server(HOST, "127.0.0.1", "::1", subject="server"),
    "client": Request.client("client.test", subject="client"),
}


def _case_of_flaw(flaw: Flaw, whose: Side) -> FailureCase:
    return FailureCase(
        slug=flaw.slug,
        cause=flaw.cause,
        whose=whose,
        title=flaw.title,
        about=flaw.about,
        expected={version: _expect(flaw, whose, version) for version in VERSIONS},
        set_up=partial(_set_up, flaw, whose),
    )


def _expect(flaw: Flaw, whose: Side, version: TLSVersion) -> Expected:
    exception = flaw.expected(whose, version)
    verifier = peer_of(whose)
    possible = _UNDECIDED.get(flaw.slug, frozenset({flaw.cause}))
    if flaw.slug == "key-not-owned" and version == "1.2":
        possible = ALTERED_OR_NOT_OWNED
    return Expected(
        refuser=whose if exception is not None and exception.by_presenter else verifier,
        alert=exception.alert if exception is not None else flaw.alert,
        possible=possible,
    )


def _set_up(flaw: Flaw, whose: Side, version: TLSVersion) -> Setup:
    inputs = flaw.build(Authority.root(), _REQUESTS[whose])
    good = credentials()
    # The presenter is lenient: our own contexts refuse to load some of the flaws.
    if whose == "server":
        return Setup(
            client=_verifier("client", inputs, version),
            server=lenient_context("server", inputs.credential, good.client_trust, version),
            reference=inputs.reference,
        )
    return Setup(
        client=lenient_context("client", inputs.credential, good.server_trust, version),
        server=_verifier("server", inputs, version),
    )


def _verifier(side: Side, inputs: ValidationInput, version: TLSVersion) -> ssl.SSLContext:
    """The context of one of our ends; without trust anchors, which it refuses, a lenient one."""
    own = credentials().alice if side == "client" else credentials().server
    if not inputs.trust.anchors:
        return lenient_context(side, own, inputs.trust, version)
    return strict_context(side, version, own, inputs.trust)


FAILURE_CASES: tuple[FailureCase, ...] = (
    *(_case_of_flaw(flaw, whose) for flaw in FLAWS.values() for whose in flaw.roles),
    *(value for value in vars(without_bad_certificate).values() if isinstance(value, FailureCase)),
)


def find(name: str) -> tuple[FailureCase, ...]:
    """The failure cases of a slug, or of a cause.

    Raises:
        ValueError: There are none.
    """
    exactly = tuple(each for each in FAILURE_CASES if name in (each.slug, each.name))
    found = exactly or tuple(each for each in FAILURE_CASES if each.cause == name)
    known = {word: found for each in FAILURE_CASES for word in (each.slug, each.cause)}
    return found or look_up("failure", name, known, "mtls-echo observe --list")
