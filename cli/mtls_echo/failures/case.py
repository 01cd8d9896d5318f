"""A failure case: how to produce a failure, and its expected result at both ends.

The expectation says which side refuses the other, which alert is sent, and which causes the joined
reports leave possible. It is compared with the result wherever a case is played.

What two reports cannot decide is part of the expectation (`Expected.possible`): a joint report
that claims more than can be known is wrong, even where it is right by chance.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import TypeAlias

from mtls_echo.demo.credentials import DemoCredentials
from mtls_echo.failures.play import PlayedFailure, Setup, play
from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.flaws.flaw import TLSVersion
from mtls_echo_server.context import server_context
from mtls_echo_tls.diagnosis.context_info import ContextInfo, describe_context
from mtls_echo_tls.sides import Side, peer_of

VERSIONS: dict[TLSVersion, ssl.TLSVersion] = {
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}

SetupFactory: TypeAlias = Callable[[TLSVersion], Setup]

# In TLS 1.2 the signature covers the key exchange and both hellos: a bad signature means a wrong
# key, or a hello that was altered on the path.
ALTERED_OR_NOT_OWNED = frozenset({"key-not-owned", "tampered"})


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The expected result of a failure case.

    Attributes:
        refuser: None when the connection ends in another way.
        alert: The one on the wire, by its RFC 8446 name.
        possible: The causes that the joint report may name, the true one included.
        forged: Neither side sent the alert: to each the other seems to have refused.
    """

    refuser: Side | None
    alert: str | None
    possible: frozenset[str]
    forged: bool = False


@dataclass(frozen=True, kw_only=True)
class FailureCase:
    """One failure that can be played.

    Attributes:
        slug: That of a flaw or of a cause.
        cause: What both sides must name, or at least not rule out.
        whose: Which side's credential is bad; None when the cause is not a credential.
        title: What is wrong, in one sentence.
        about: What else there is to know; may be empty.
        expected: For each version of TLS in which the failure exists.
    """

    slug: str
    cause: str
    whose: Side | None
    title: str
    about: str
    expected: Mapping[TLSVersion, Expected]
    set_up: SetupFactory

    @property
    def name(self) -> str:
        """The slug, and the side at fault where it can be either."""
        return f"{self.slug} ({self.whose})" if self.whose else self.slug

    def play(self, version: TLSVersion) -> PlayedFailure:
        """Produce the failure in a version of TLS."""
        return play(self.set_up(version), version)

    def mismatches(self, played: PlayedFailure) -> list[str]:
        """List in which respects a result is not the expected one."""
        expected, found = self.expected[played.version], list[str]()
        for report in filter(None, played.reports):
            refuser = expected.refuser
            if expected.forged:
                refuser = peer_of(report.side)
            if report.rejected_by != refuser:
                found.append(f"the {report.side} says that {report.rejected_by} refused")
            alert = report.alert and report.alert.name
            if alert != expected.alert:
                found.append(f"the {report.side} saw alert {alert}, not {expected.alert}")
            elif report.alert is not None and not expected.forged:
                direction = "sent" if report.side == expected.refuser else "received"
                if report.alert.direction != direction:
                    found.append(f"the {report.side} says that it {report.alert.direction} it")
            if self.cause not in report.causes:
                found.append(f"the {report.side} rules out {self.cause}: {report.causes}")
        account = played.account
        if account is not None:
            if account.rejected_by != expected.refuser:
                found.append(f"both together say that {account.rejected_by} refused")
            if self.cause not in account.causes or not expected.possible >= {*account.causes}:
                found.append(f"both together say {account.causes}")
            if account.forged != expected.forged:
                found.append(f"both together say forged={account.forged}")
        return found


def failure_case(
    refuser: Side | None,
    alert: str | dict[TLSVersion, str] | None,
    *,
    cause: str | None = None,
    possible: dict[TLSVersion, frozenset[str]] | None = None,
    forged: bool = False,
) -> Callable[[SetupFactory], FailureCase]:
    """Make a failure case of a function that builds the two ends.

    Args:
        refuser, forged: As in `Expected`.
        alert: As in `Expected`; a dictionary has the versions in which the failure exists.
        cause: What both sides must name; the slug unless given.
        possible: As in `Expected`, for the versions in which it is not the cause alone.
    """

    def make(set_up: SetupFactory) -> FailureCase:
        slug = set_up.__name__.replace("_", "-")
        certain = frozenset({cause or slug})
        alerts: Mapping[TLSVersion, str | None]
        alerts = alert if isinstance(alert, dict) else dict.fromkeys(VERSIONS, alert)
        title, _, about = (set_up.__doc__ or "").strip().partition("\n")
        return FailureCase(
            slug=slug,
            cause=cause or slug,
            whose=None,
            title=title.rstrip("."),
            about=" ".join(about.split()),
            expected={
                version: Expected(
                    refuser=refuser,
                    alert=name,
                    possible=(possible or {}).get(version, certain),
                    forged=forged,
                )
                for version, name in alerts.items()
            },
            set_up=set_up,
        )

    return make


@cache
def credentials() -> DemoCredentials:
    """The good credentials that all failure cases share."""
    return DemoCredentials.make()


def strict_context(
    side: Side,
    version: TLSVersion,
    credential: Credential | None = None,
    trust: Trust | None = None,
    *,
    alpn: tuple[str, ...] = (),
) -> ssl.SSLContext:
    """The context of one of our ends: the good credential and trust unless others are given."""
    good, one = credentials(), VERSIONS[version]
    context = (
        partial(client_context, trust or good.server_trust, credential or good.alice)
        if side == "client"
        else partial(server_context, credential or good.server, trust or good.client_trust)
    )
    return context(minimum_version=one, maximum_version=one, alpn=alpn)


def lenient_context(
    side: Side, credential: Credential | None, trust: Trust, version: TLSVersion
) -> ssl.SSLContext:
    """The context of a peer that presents any credential and verifies as little as it can."""
    protocol = ssl.PROTOCOL_TLS_CLIENT if side == "client" else ssl.PROTOCOL_TLS_SERVER
    context = ssl.SSLContext(protocol)
    context.minimum_version = context.maximum_version = VERSIONS[version]
    context.verify_mode = ssl.CERT_REQUIRED
    if side == "server":
        context.num_tickets = 0
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    if credential is not None:
        credential.load_into(context)
    if trust.anchors:
        trust.load_into(context)
    describe_context(context, ContextInfo(credential, trust))
    return context
