"""Run a probe: first what the good identity gets, then every other, then the odd handshakes.

Nothing is judged where the good identity is not served: a server that refuses every client refuses
those it must, and that proves nothing. An identity that is admitted once is admitted; one that is
refused has to be so in every try.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import trio

from mtls_echo.probing.attempt import Tried, attempt, make_client
from mtls_echo.probing.handshakes import HANDSHAKES, LAST, doubt_ways_around
from mtls_echo.probing.identities import IDENTITIES
from mtls_echo.probing.issuer import IdentityFactory, NotMadeError
from mtls_echo.probing.meanings import wrong_alert
from mtls_echo.probing.prober import Prober, at_once
from mtls_echo.probing.result import Case, GoodOutcome, ProbeRow, Result
from mtls_echo.probing.target import Mode, PaceLimit, ProbeTarget
from mtls_echo.probing.verdict import BEHIND_HTTP, OTHER_TEXT, REFUSALS, SILENT, Good, judged
from mtls_echo_tls.address import Address
from mtls_echo_tls.path.certificates import PeerIdentity

if TYPE_CHECKING:
    from mtls_echo_pki.certificates.credential import Credential
    from mtls_echo_pki.flaws.flaw import TLSVersion

Progress = Callable[[int, int], None]


async def run(
    target: ProbeTarget,
    issuer: IdentityFactory,
    *,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    pace: float = 10.0,
    progress: Progress | None = None,
    admitted: dict[str, Credential] | None = None,
) -> Result:
    """Probe a server.

    Args:
        target: The server, which must be one that you may test.
        issuer: The good identity, and what others are issued by.
        only, skip: The slugs of cases.
        pace: Connections in a second, at most.
        progress: Called with how many cases are done, and of how many.
        admitted: Is given the identities that were admitted and must not be.
    """
    good = issuer.good if issuer.good is not None else issuer.again()
    prober = Prober(target, issuer, good, PaceLimit(pace), target.mode or "http")
    if admitted is not None:
        prober.admitted = admitted
    result = Result(
        target=str(Address(target.host, target.port)),
        mode=prober.mode,
        client_auth=target.client_auth,
        good=str(PeerIdentity.of_peer(good.chain_der[0])),
    )
    await _find_baseline(prober, result)
    result.mode, result.protocols = prober.mode, prober.target.offers(prober.mode)
    if result.served:
        await _choose_issuer(prober, result)
        await _run_cases(
            prober, result, lambda slug: (not only or slug in only) and slug not in skip, progress
        )
        _conclude(prober, result)
    result.connections = prober.pace.opened
    return result


# --- what the good identity gets -----------------------------------------------------------------


async def _find_baseline(prober: Prober, result: Result) -> None:
    for version in prober.target.versions:
        tried = await _try_good(prober, version)
        if not prober.good and _has_begun(tried):
            tried = await _find_mode(prober, version, tried)
        report = tried.report
        served = _is_served(tried)
        if served:
            prober.good[version] = Good(tried, tried)
            result.server = result.server or _server_of(tried)
        result.baseline.append(
            GoodOutcome(
                tls=version,
                served=served,
                how=judged(tried, Good(tried, tried))[1] if served else report.summary,
                facts=[] if served else [f"{each.fact}: {each.value}" for each in report.evidence],
                remedy="" if served else report.remedy,
                we_refused=report.rejected_by == "client" or report.causes == ["plaintext-peer"],
                connected=_is_connected(tried),
            )
        )
        if not _is_connected(tried):
            return
    again = await at_once([partial(_try_good, prober, version) for version in prober.versions])
    for version, tried in zip(prober.versions, again, strict=True):
        # One at a time, if two at once were too many.
        second = tried if _is_served(tried) else await _try_good(prober, version)
        if _is_served(second):
            prober.good[version] = replace(prober.good[version], again=second)
    target = prober.target
    if prober.mode == "handshake" and target.prologue is None:
        for version in prober.versions[:1]:
            context = make_client(target, prober.credential, version, "http")
            offered = await attempt(target, context, prober.pace, "handshake")
            agreed = offered.report.tls
            prober.speaks_http |= agreed is not None and agreed.alpn in ("http/1.1", "h2")
    for version in prober.versions:
        for name in target.server_names[1:]:
            first, second = await at_once([partial(_try_good, prober, version, name)] * 2)
            if _is_served(first):
                second = second if _is_served(second) else first
                prober.good_elsewhere[version, name] = Good(first, second)


async def _find_mode(prober: Prober, version: TLSVersion, tried: Tried) -> Tried:
    """How the server wants to be spoken to, by what it made of the first attempt; and the next."""
    target = prober.target
    prober.mode = target.mode or _mode_of(tried)
    only_h2 = _wants_other_alpn(tried) or _protocol_of(tried) == "HTTP/2"
    # Some that speak HTTP/2 only refuse an offer of HTTP/1.1 by an alert, and some just close.
    closed = bool(tried.ended) and tried.report.answer is None
    may_be_h2 = only_h2 or (target.mode is None and closed)
    if target.mode in (None, "http") and may_be_h2 and not target.alpn:
        mode, prober.mode = prober.mode, "http"
        prober.target = replace(target, alpn=("h2", "http/1.1"))
        by_h2 = await _try_good(prober, version)
        if _is_served(by_h2) or target.mode == "http":
            return by_h2
        prober.mode = mode
        if not by_h2.is_up:
            prober.target = target
    prober.speaks_http = prober.mode == "handshake" and "HTTP" in _protocol_of(tried)
    return tried if prober.mode == (target.mode or "http") else await _try_good(prober, version)


async def _try_good(prober: Prober, version: TLSVersion, name: str | None = None) -> Tried:
    context = prober.client(prober.credential, version)
    return await prober.attempt(context, server_name=name)


def _is_served(tried: Tried) -> bool:
    return tried.report.outcome in ("echoed", "completed")


def _is_connected(tried: Tried) -> bool:
    return tried.report.stage != "connect"


def _has_begun(tried: Tried) -> bool:
    """Whether TLS is up, or was refused for the protocol that was to be spoken over it."""
    return tried.is_up or _wants_other_alpn(tried)


def _wants_other_alpn(tried: Tried) -> bool:
    return "no_application_protocol" in str(tried.report.alert)


def _protocol_of(tried: Tried) -> str:
    return tried.report.answer.protocol if tried.report.answer is not None else ""


def _mode_of(tried: Tried) -> Mode:
    """How a server wants to be spoken to, by what it made of a request in HTTP."""
    answer = tried.report.answer
    if answer is not None and answer.server == "mtls-echo":
        return "echo"  # in HTTP it tells each client about itself
    if _protocol_of(tried) == "HTTP" or _protocol_of(tried).startswith("HTTP/1"):
        return "http"  # as well where the header of its answer has no end
    if answer is not None and answer.text.startswith(("GET ", "HEAD ")):
        return "echo"
    return "handshake"


def _server_of(tried: Tried) -> str:
    peer, answer = tried.report.peer, tried.report.answer
    name = peer.names[0] if peer is not None and peer.names else ""
    return f"{name} ({answer.server})" if answer is not None and answer.server else name


async def _choose_issuer(prober: Prober, result: Result) -> None:
    """Whether certificates that are issued anew are admitted, with our mark in their subject."""
    if not prober.issuer.can_issue:
        result.notes.append(
            "the key of the CA that the server trusts is not given: what only it can sign is not"
            " tested"
        )
        return
    how = ""
    for issuer in (prober.issuer, prober.issuer.unmarked()):
        outcome = await prober.outcome(issuer.again(), prober.versions[0])
        if outcome.verdict == "admitted" or outcome.how in (SILENT, BEHIND_HTTP):
            prober.issuer = issuer
            if not issuer.marked:
                result.notes.append(
                    "the server wants the good identity's own subject: connections of this probe"
                    " cannot be told from its client's in the log"
                )
            return
        how = outcome.how
    prober.issuer = replace(prober.issuer, clients=None)
    result.notes.append(
        f"a certificate that the CA issues anew for the good identity is not admitted ({how}), so"
        " that refusing what else the CA signs proves nothing, and it is not tested; the server"
        " may know its clients by their certificates"
    )


# --- every other ---------------------------------------------------------------------------------


async def _run_cases(
    prober: Prober, result: Result, wanted: Callable[[str], bool], progress: Progress | None
) -> None:
    slugs = [slug for slug in (*IDENTITIES, *HANDSHAKES) if wanted(slug)]
    rows: dict[str, list[ProbeRow]] = {}

    async def try_case(slug: str) -> None:
        if slug in HANDSHAKES:
            rows[slug] = await HANDSHAKES[slug](prober, Case(slug, "handshake"))
        else:
            rows[slug] = await prober.in_each_version(
                partial(_judge, prober, Case(slug, "identity"))
            )
        if progress is not None:
            progress(len(rows), len(slugs))

    async with trio.open_nursery() as nursery:
        for slug in slugs:
            if slug != LAST:
                nursery.start_soon(try_case, slug)
    await doubt_ways_around(prober, rows)
    ends = [await _try_good(prober, version) for version in prober.versions]
    if LAST in slugs:
        await try_case(LAST)
    found = [row for slug in (*IDENTITIES, *HANDSHAKES) for row in rows.get(slug, ())]
    result.rows = _resolved(found, prober.target.wait)
    if late := sorted({row.slug for row in found if row.verdict == "admitted" and row.tries > 1}):
        result.notes.append(
            f"{', '.join(late)}: admitted, and not at the first try; so others may be: try"
            " --repeat 20"
        )
    if lost := [tried.report.summary for tried in ends if not _is_served(tried)]:
        result.notes.append(
            f"at the end the good identity was not served either ({lost[0]}): try --pace 1"
        )
        result.rows = [_in_doubt(row) for row in result.rows]


async def _judge(prober: Prober, case: Case, version: TLSVersion) -> ProbeRow:
    name, client_auth = prober.target.server_names[0], prober.target.client_auth
    row = partial(
        case.row,
        tls=version,
        server_name=name,
        allowed=prober.may_enter(case.slug),
    )
    try:
        credential = IDENTITIES[case.slug](prober.issuer)
        if credential is None:
            outcome = await prober.usual(None, version, name)
        else:
            outcome = await prober.outcome(credential, version)
    except NotMadeError as error:
        return row("not tested", str(error))
    except ssl.SSLError as error:
        return row("not tested", f"OpenSSL does not load it here: {error.reason}")
    verdict, how, tries, tried = outcome
    if credential is not None:
        asked = tried.report.requested is not None or not tried.is_up
        if verdict in ("admitted", "unclear") and not asked:
            return row("not tested", "the server asks for no certificate")
        if verdict in REFUSALS and not tried.presented:
            return row("not tested", f"the certificate was never sent: {how}")
        if verdict == "admitted" and client_auth == "optional" and prober.mode == "http":
            none = await prober.usual(None, version, name)
            if none.verdict == "admitted":
                how += ", as without a certificate; name another --http PATH"
                return row("unclear", how, tries=tries)
    note = wrong_alert(case.slug, how) if verdict == "refused" else ""
    found = row(verdict, how, tries=tries, note=note)
    if found.is_finding and credential is not None:
        prober.admitted[case.slug] = credential
    return found


def _but(row: ProbeRow, **changes: object) -> ProbeRow:
    changed: ProbeRow = msgspec.structs.replace(row, **changes)
    return changed


def _resolved(rows: Sequence[ProbeRow], wait: float) -> list[ProbeRow]:
    """Where a server of TLS 1.3 says nothing: that it refuses others shows that it has judged."""
    # An identity: a name may be refused before there is anything else to judge.
    judges = {
        row.tls: row.slug for row in rows if row.verdict == "refused" and row.group == "identity"
    }
    return [
        _but(
            row,
            verdict="admitted",
            how=f"it is not refused within {wait:g} s, as {judges[row.tls]} is",
        )
        if row.how == SILENT and row.tls in judges
        else row
        for row in rows
    ]


def _in_doubt(row: ProbeRow) -> ProbeRow:
    """A connection that ended without an alert may have been one too many."""
    if row.verdict in REFUSALS and row.how.endswith("without an alert"):
        return _but(row, verdict="unclear", how=f"{row.how}; nor is the good identity served now")
    return row


def _conclude(prober: Prober, result: Result) -> None:
    """What is worth knowing beside the verdicts."""
    notes = result.notes
    for each in result.baseline:
        if not each.served:
            notes.append(f"TLS {each.tls} is not tested: {each.how}")
    hows = {each.how for each in result.baseline if each.served}
    if len(hows) > 1:
        notes.append(f"the good identity gets {' and '.join(sorted(hows))}, by version")
    if result.client_auth != "required":
        for row in result.rows:
            if row.slug == "none" and row.verdict in REFUSALS:
                notes.append(
                    f"a client without a certificate is {row.verdict} in TLS {row.tls}"
                    f" ({row.how}), where --client-auth {result.client_auth} is declared"
                )
    sessions = {version: prober.good[version].tried.session for version in prober.versions}
    lasting = [
        f"{session.ticket_lifetime_hint} s in TLS {version}"
        for version, session in sessions.items()
        if session is not None and session.has_ticket
    ]
    if lasting:
        notes.append(
            f"sessions can be resumed for {' and '.join(lasting)}; whether that outlives a"
            " revocation is tested by --between"
        )
    if any(row.verdict == "unclear" and row.how.endswith(OTHER_TEXT) for row in result.rows):
        notes.append(
            "some get another page with the same status, which may be a refusal: name one whose"
            " status tells (--http PATH)"
        )
    if any(re.match(r"HTTP/\S+ (429|503)\b", row.how) for row in result.rows):
        notes.append("the server may limit how often it is asked: try --pace 1")
