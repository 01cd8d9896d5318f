"""Run a probe: first what the good identity gets, then everybody else.

Nothing is judged where the good identity is not served: a server that refuses everybody refuses
whom it must, and that proves nothing. An identity that is admitted once is admitted; one that is
refused has to be so in every try.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import trio

from mtls_echo.probe import handshakes
from mtls_echo.probe.attempt import Tried, attempt, make_client
from mtls_echo.probe.identities import IDENTITIES, NONE, Identity
from mtls_echo.probe.issuer import Issuer, NotMadeError
from mtls_echo.probe.result import Baseline, Result, Row
from mtls_echo.probe.target import Mode, Pace, Target
from mtls_echo.probe.verdict import Verdict, judged
from mtls_echo_tls.address import Address

if TYPE_CHECKING:
    import ssl

    from mtls_echo_pki.certificates.credential import Credential
    from mtls_echo_pki.flaws.flaw import TLSVersion

Progress = Callable[[int, int], None]
Wanted = Callable[[str], bool]


@dataclass
class Prober:
    """The state of one probe, for its cases.

    Attributes:
        good: What the good identity got, in each version in which it was served.
        mode: How the server is spoken to.
    """

    target: Target
    issuer: Issuer
    pace: Pace
    mode: Mode
    good: dict[TLSVersion, Tried]

    def context(self, credential: Credential | None, version: TLSVersion) -> ssl.SSLContext:
        """A context for an identity, whose connections may resume one another's sessions."""
        return make_client(self.target, credential, version)

    async def tried(
        self, credential: Credential | None, version: TLSVersion, server_name: str | None = None
    ) -> tuple[Verdict, str, int]:
        """The verdict on an identity, over as many tries as it takes."""
        context = self.context(credential, version)
        return await self.repeated(
            lambda: attempt(self.target, context, self.pace, self.mode, server_name=server_name),
            version,
            credential,
        )

    async def repeated(
        self,
        once: Callable[[], Awaitable[Tried]],
        version: TLSVersion,
        credential: Credential | None = None,
    ) -> tuple[Verdict, str, int]:
        """Try until it is admitted, or often enough; unclear is what is never clear."""
        worst: tuple[Verdict, str] | None = None
        words = self._words(credential)
        for tries in range(1, self.target.repeat + 1):
            verdict, how = judged(await once(), self.good[version], words)
            if verdict == "admitted":
                return verdict, how, tries
            if worst is None or verdict == "unclear":
                worst = verdict, how
        assert worst is not None  # noqa: S101  narrows the type: there is one try at least
        return *worst, self.target.repeat

    def _words(self, credential: Credential | None) -> list[str]:
        """What an answer may say of an identity, and be the good one's answer."""
        found: list[str] = []
        for each in filter(None, (credential, self.issuer.good)):
            subject = each.certificate.subject
            found += [subject.rfc4514_string(), *(str(a.value) for a in subject)]
            found += [each.fingerprint, f"{each.certificate.serial_number:x}"]
        return [word for word in found if word]


async def probe(
    target: Target,
    issuer: Issuer,
    *,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    pace: float = 10.0,
    progress: Progress | None = None,
) -> Result:
    """Probe a server.

    Args:
        target: The server, which must be one that you may test.
        issuer: The good identity, and what others are issued by.
        only, skip: The slugs of cases.
        pace: Connections in a second, at most.
        progress: Called with how many cases are done, and of how many.
    """

    def wanted(slug: str) -> bool:
        return (not only or slug in only) and slug not in skip

    prober = Prober(target, issuer, Pace(pace), target.mode or "http", {})
    good = issuer.good if issuer.good is not None else issuer.again()
    result = Result(
        target=str(Address(target.host, target.port)),
        mode=prober.mode,
        good=_called(good),
    )
    await _baseline(prober, good, result)
    result.mode = prober.mode
    if result.served:
        await _choose_mark(prober, result)
        await _cases(prober, result, wanted, progress)
    result.connections = prober.pace.opened
    return result


async def _baseline(prober: Prober, good: Credential, result: Result) -> None:
    target = prober.target
    for version in target.versions:
        context = make_client(target, good, version)
        tried = await attempt(target, context, prober.pace, prober.mode)
        if target.mode is None and not prober.good:
            prober.mode = mode = _mode_of(tried)
            if mode != "http":
                tried = await attempt(target, context, prober.pace, mode)
        report = tried.report
        served = report.outcome in ("echoed", "completed")
        if served:
            prober.good[version] = tried
            result.server = result.server or _server_of(tried)
        result.baseline.append(
            Baseline(
                tls=version,
                served=served,
                how=judged(tried, tried)[1] if served else report.summary,
                remedy="" if served else report.remedy,
                by_client=report.rejected_by == "client",
                connected=report.stage != "connect",
            )
        )


def _mode_of(tried: Tried) -> Mode:
    """How a server wants to be spoken to, by what it made of a request in HTTP."""
    answer = tried.report.answer
    if answer is not None and answer.protocol.startswith("HTTP/"):
        return "http"
    if answer is not None and answer.text.startswith(("GET ", "HEAD ")):
        return "echo"
    return "handshake"


def _server_of(tried: Tried) -> str:
    peer, answer = tried.report.peer, tried.report.answer
    name = peer.names[0] if peer is not None and peer.names else ""
    return f"{name} ({answer.server})" if answer is not None and answer.server else name


def _called(credential: Credential) -> str:
    from mtls_echo_tls.path.certificates import PeerIdentity

    return str(PeerIdentity.of_peer(credential.chain_der[0]))


async def _choose_mark(prober: Prober, result: Result) -> None:
    """Whether certificates that are issued anew are admitted, with our mark in their subject."""
    if not prober.issuer.can_issue:
        result.notes.append(
            "the key of the CA that the server trusts is not given: what only it can sign is not"
            " tested"
        )
        return
    version = next(iter(prober.good))
    for issuer in (prober.issuer, prober.issuer.unmarked()):
        verdict, how, _ = await replace_issuer(prober, issuer).tried(issuer.again(), version)
        if verdict == "admitted":
            prober.issuer = issuer
            if not issuer.marked:
                result.notes.append(
                    "the server wants the good identity's own subject, so that this probe's"
                    " connections cannot be told by theirs"
                )
            return
    prober.issuer = replace(prober.issuer, clients=None)
    result.notes.append(
        f"a certificate that the CA issues anew for the good identity is not admitted ({how}), so"
        " that what else the CA signs proves nothing; the server may know its clients by their"
        " certificates"
    )


def replace_issuer(prober: Prober, issuer: Issuer) -> Prober:
    """The same probe with another issuer."""
    return replace(prober, issuer=issuer)


async def _cases(
    prober: Prober, result: Result, wanted: Wanted, progress: Progress | None
) -> None:
    identities = [each for each in IDENTITIES if wanted(each.slug)]
    odd = [each for each in handshakes.HANDSHAKES if wanted(each.slug)]
    total = len(identities) * len(prober.good) + len(odd)
    done = 0
    rows: dict[tuple[int, str], list[Row]] = {}

    def add(key: tuple[int, str], found: Iterable[Row]) -> None:
        nonlocal done
        rows[key] = list(found)
        done += 1
        if progress is not None:
            progress(done, total)

    async def identify(number: int, identity: Identity, version: TLSVersion) -> None:
        add((number, version), [await _judge(prober, identity, version)])

    async def shake(number: int, case: handshakes.Handshake) -> None:
        add((len(identities) + number, ""), await case.run(prober))

    async with trio.open_nursery() as nursery:
        for number, identity in enumerate(identities):
            for version in prober.good:
                nursery.start_soon(identify, number, identity, version)
        for number, case in enumerate(odd):
            nursery.start_soon(shake, number, case)
    for key in sorted(rows):
        result.rows += rows[key]


async def _judge(prober: Prober, identity: Identity, version: TLSVersion) -> Row:
    target = prober.target
    verdict: Verdict
    try:
        credential = identity.make(prober.issuer)
    except NotMadeError as error:
        verdict, how, tries = "not tested", str(error), 0
    else:
        verdict, how, tries = await prober.tried(credential, version)
    return Row(
        slug=identity.slug,
        group="identity",
        tls=version,
        server_name=target.server_names[0],
        verdict=verdict,
        how=how,
        differs=identity.differs,
        severity=identity.severity,
        allowed=_is_allowed(identity, target),
        tries=tries,
    )


def _is_allowed(identity: Identity, target: Target) -> bool:
    """Whether the operator meant to admit it."""
    if target.client_auth == "none":
        return True
    return identity is NONE and target.client_auth == "optional"
