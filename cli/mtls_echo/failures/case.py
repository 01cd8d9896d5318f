"""An observation is a promise about two ends at once, which anybody can watch being kept.

It says who refuses whom, which alert crosses the wire, and what both reports joined leave
possible; and it knows how to make it happen. The promise is checked where it is shown: an
observation that comes out otherwise says in which respect.

What two reports cannot decide is part of the promise (`Expected.possible`): an account that
claims more than can be known is wrong, even when it happens to be right.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

from mtls_echo.demo.scenes import Cast
from mtls_echo.failures.play import Setting, Sighting, play
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.flaws.flaw import TLSVersion
from mtls_echo_tls.diagnosis.context_info import Configuration, remember
from mtls_echo_tls.sides import Side, peer_of

VERSIONS: dict[TLSVersion, ssl.TLSVersion] = {
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}

Arrangement: TypeAlias = Callable[[TLSVersion], Setting]

# In TLS 1.2 the key exchange is signed together with both hellos: a wrong signature means a wrong
# key, or a hello that was altered on the way.
ALTERED_OR_NOT_OWNED = frozenset({"key-not-owned", "tampered"})


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What must come of an encounter.

    Attributes:
        refuser: Who refuses the other; None when the connection ends in another way.
        alert: What crosses the wire, by its RFC 8446 name.
        possible: What the joined account may still hold possible, the true cause among it.
        forged: Whether the alert is nobody's, so that each side believes the other refused.
    """

    refuser: Side | None
    alert: str | None
    possible: frozenset[str]
    forged: bool = False


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One failure, as it can be played.

    Attributes:
        slug: Its name; a flaw's, or the cause's.
        cause: What both sides must name, or at least not rule out.
        whose: Whose credential is bad; None when the cause lies elsewhere.
        title: What is wrong, in one sentence.
        about: What else there is to know; may be empty.
        expected: What must come of it, for each version in which it exists.
        arrange: Builds the two ends.
    """

    slug: str
    cause: str
    whose: Side | None
    title: str
    about: str
    expected: Mapping[TLSVersion, Expected]
    arrange: Arrangement

    @property
    def name(self) -> str:
        """The slug, and whose fault it is where either side can have it."""
        return f"{self.slug} ({self.whose})" if self.whose else self.slug

    def play(self, version: TLSVersion) -> Sighting:
        """Let it happen."""
        return play(self.arrange(version), version)

    def surprises(self, sighting: Sighting) -> list[str]:
        """What did not happen as the registry says; empty when everything did."""
        expected, found = self.expected[sighting.version], list[str]()
        seen = [each.report for each in (sighting.client, sighting.server) if each is not None]
        for report in seen:
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
        account = sighting.account
        if account is not None:
            if account.rejected_by != expected.refuser:
                found.append(f"both together say that {account.rejected_by} refused")
            if self.cause not in account.causes or not expected.possible >= {*account.causes}:
                found.append(f"both together say {account.causes}")
            if account.forged != expected.forged:
                found.append(f"both together say forged={account.forged}")
        return found


def observation(
    refuser: Side | None,
    alert: str | dict[TLSVersion, str] | None,
    *,
    cause: str | None = None,
    possible: dict[TLSVersion, frozenset[str]] | None = None,
    forged: bool = False,
) -> Callable[[Arrangement], Observation]:
    """Make an observation of a function; see `Expected` for the arguments.

    Args:
        refuser: As there.
        alert: As there; a dictionary has the versions in which the failure exists.
        cause: What both sides must name; the slug unless given.
        possible: As there, for the versions in which it is not the cause alone.
        forged: As there.
    """

    def make(arrange: Arrangement) -> Observation:
        slug = arrange.__name__.replace("_", "-")
        certain = frozenset({cause or slug})
        alerts: Mapping[TLSVersion, str | None]
        alerts = alert if isinstance(alert, dict) else dict.fromkeys(VERSIONS, alert)
        title, _, about = (arrange.__doc__ or "").strip().partition("\n")
        return Observation(
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
            arrange=arrange,
        )

    return make


@cache
def cast() -> Cast:
    """Those who are never at fault."""
    return Cast.make()


def careless(
    side: Side, credential: Credential | None, trust: Trust, version: TLSVersion
) -> ssl.SSLContext:
    """The context of a peer that minds nothing about itself."""
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
    remember(context, Configuration(credential, trust))
    return context
