"""The registry of observations: every failure that can be shown here, by name.

`make observe` plays it for people, the tests play it for us, and `docs/failures.md` is written
from it. Most entries are the deliberately bad credentials of `mtls_echo_pki.flaws.registry`, one
for each role that can have them, laid before our own client or server, which judge as strictly as
they always do. The others (`mtls_echo.failures.without_bad_certificate`) lie in no certificate.

**What two reports cannot decide** is said here too. A judge that finds no path to an anchor does
not know whether it misses an authority or an intermediate, unless the other side has the root. A
signature by another key and a signature that was damaged are equally wrong.

Missing on purpose: ``clock-skew``, which takes two machines with two clocks.
"""

from __future__ import annotations

import ssl
from difflib import get_close_matches
from functools import partial

from mtls_echo.demo.scenes import HOST
from mtls_echo.failures import without_bad_certificate as mishaps
from mtls_echo.failures.case import (
    ALTERED_OR_NOT_OWNED,
    VERSIONS,
    Expected,
    Observation,
    careless,
    cast,
)
from mtls_echo.failures.play import Setting
from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.flaws.baseline import ValidationInput
from mtls_echo_pki.flaws.flaw import Flaw, TLSVersion
from mtls_echo_pki.flaws.registry import FLAWS
from mtls_echo_server.context import server_context
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


def _observe_flaw(flaw: Flaw, whose: Side) -> Observation:
    return Observation(
        slug=flaw.slug,
        cause=flaw.cause,
        whose=whose,
        title=flaw.title,
        about=flaw.about,
        expected={version: _expect(flaw, whose, version) for version in VERSIONS},
        arrange=partial(_lay_before_judge, flaw, whose),
    )


def _expect(flaw: Flaw, whose: Side, version: TLSVersion) -> Expected:
    exception = flaw.expected(whose, version)
    judge = peer_of(whose)
    possible = _UNDECIDED.get(flaw.slug, frozenset({flaw.cause}))
    if flaw.slug == "key-not-owned" and version == "1.2":
        possible = ALTERED_OR_NOT_OWNED
    return Expected(
        refuser=whose if exception is not None and exception.by_presenter else judge,
        alert=exception.alert if exception is not None else flaw.alert,
        possible=possible,
    )


def _lay_before_judge(flaw: Flaw, whose: Side, version: TLSVersion) -> Setting:
    inputs = flaw.build(Authority.root(), _REQUESTS[whose])
    others = cast()
    # The bearer minds nothing about itself: our own ends would not load all of it.
    if whose == "server":
        return Setting(
            client=_judge("client", inputs, version),
            server=careless("server", inputs.credential, others.client_trust, version),
            reference=inputs.reference,
        )
    return Setting(
        client=careless("client", inputs.credential, others.server_trust, version),
        server=_judge("server", inputs, version),
    )


def _judge(side: Side, inputs: ValidationInput, version: TLSVersion) -> ssl.SSLContext:
    """One of our own ends. None of them starts without trust anchors, so that takes a raw one."""
    own = cast().alice if side == "client" else cast().server
    if not inputs.trust.anchors:
        return careless(side, own, inputs.trust, version)
    one = VERSIONS[version]
    if side == "client":
        return client_context(inputs.trust, own, minimum_version=one, maximum_version=one)
    return server_context(own, inputs.trust, minimum_version=one, maximum_version=one)


OBSERVATIONS: tuple[Observation, ...] = (
    *(_observe_flaw(flaw, whose) for flaw in FLAWS.values() for whose in flaw.roles),
    *(value for value in vars(mishaps).values() if isinstance(value, Observation)),
)


def find(name: str) -> tuple[Observation, ...]:
    """The observations of a slug, or of a cause.

    Raises:
        ValueError: There is none.
    """
    exactly = tuple(each for each in OBSERVATIONS if name in (each.slug, each.name))
    found = exactly or tuple(each for each in OBSERVATIONS if each.cause == name)
    if not found:
        known = {word for each in OBSERVATIONS for word in (each.slug, each.cause)}
        close = get_close_matches(name, sorted(known), n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ValueError(f'there is no observation "{name}"{hint}')
    return found
