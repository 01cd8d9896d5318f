"""Ways around a certificate by names and sessions: what one name admits, used under another.

A session that is resumed is not verified again. So what a server remembers with it decides: the
name it was made for, the rules that were in force, and whether there was a certificate at all.
"""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import trio

from mtls_echo.probing.attempt import Tried
from mtls_echo.probing.identities import IDENTITIES
from mtls_echo.probing.issuer import NotMadeError
from mtls_echo.probing.verdict import REFUSALS, judged, status_of, without
from mtls_echo_tls.address import Address

if TYPE_CHECKING:
    import ssl

    from mtls_echo.probing.prober import Prober
    from mtls_echo.probing.result import Case, ProbeRow
    from mtls_echo.probing.verdict import Verdict
    from mtls_echo_pki.certificates.credential import Credential
    from mtls_echo_pki.flaws.flaw import TLSVersion

# Tries one case, in every version in which the good identity was served.
Run = Callable[["Prober", "Case"], Awaitable[list["ProbeRow"]]]

_Way = Callable[["Prober", "TLSVersion", "Credential | None", str, str], Awaitable[Tried | None]]


def across(way: _Way) -> Run:
    """What an identity gets under a name that refuses it, by way of one that admits it."""

    async def run(prober: Prober, case: Case) -> list[ProbeRow]:
        names = prober.target.server_names
        if len(names) < 2:
            return [case.untested("only one --server-name is given")]
        rows: list[ProbeRow] = []
        for version, credential in itertools.product(prober.versions, (None, prober.credential)):
            for one, other in itertools.permutations(names, 2):
                way_in = await prober.usual(credential, version, one)
                usual = await prober.usual(credential, version, other)
                if way_in.verdict != "admitted" or usual.verdict not in REFUSALS:
                    continue
                tried = await way(prober, version, credential, one, other)
                who = "no certificate" if credential is None else "the good identity"
                verdict, how = _got(prober, tried, way_in.tried, version, other)
                how = f"{who}, from {one} to {other}: {how}"
                rows.append(case.row(verdict, how, tls=version, server_name=other))
        why = "no identity is admitted under one name and refused under another"
        return rows or [case.untested(why)]

    return run


def _got(
    prober: Prober, tried: Tried | None, at_first: Tried, version: TLSVersion, name: str
) -> tuple[Verdict, str]:
    """The verdict under a name under which nothing is known of the good identity's answer."""
    if tried is None:
        return "not tested", "the server gives no ticket"
    verdict, how = judged(tried, prober.good_at(version, name))
    answer = tried.report.answer
    if answer is not None and answer.is_success and not answer.location:
        if tried.resumed:
            return "admitted", f"{status_of(answer)}, in a session that was resumed"
        if without(answer.text, ()) != without(at_first.text, ()):
            return "admitted", f"{status_of(answer)}, and not the page of the name that admits it"
        return "unclear", f"{status_of(answer)}, with the page of the name that admits it"
    return verdict, how + (", resumed" if tried.resumed else "")


async def resumed_under(
    prober: Prober, version: TLSVersion, credential: Credential | None, one: str, other: str
) -> Tried | None:
    """Resume a session of one name under the other; None where there is no ticket."""
    once = partial(prober.attempt, prober.client(credential, version))
    session = (await once(server_name=one)).session
    return None if session is None else await once(server_name=other, session=session)


async def for_other_host(
    prober: Prober, version: TLSVersion, credential: Credential | None, one: str, other: str
) -> Tried | None:
    """Ask for the host of one name in a handshake for the other."""
    target = prober.target
    host = ("Host", str(Address(other, target.port)))
    request = replace(target.request, header=(*target.request.header, host))
    context = prober.client(credential, version)
    return await prober.attempt(context, server_name=one, request=request)


async def of_a_refused(prober: Prober, case: Case) -> list[ProbeRow]:
    """nginx and others complete the handshake with any client, and give it a ticket."""
    name = prober.target.server_names[0]
    try:
        credential = IDENTITIES["unknown-authority"](prober.issuer)
    except NotMadeError as error:
        return [case.untested(str(error))]

    async def row(version: TLSVersion) -> ProbeRow:
        usual = await prober.usual(credential, version, name)
        if usual.verdict not in REFUSALS:
            return case.untested(f"in the first place it is {usual.verdict}: {usual.how}", version)
        tried = await resumed_under(prober, version, credential, name, name)
        if tried is None:
            return case.untested("the server gives it no ticket", version)
        verdict, how = judged(tried, prober.good[version])
        how += ", resumed" if tried.resumed else ", not resumed"
        return case.row(verdict, how, tls=version)

    return await prober.in_each_version(row)


async def after_a_change(prober: Prober, case: Case) -> list[ProbeRow]:
    """The good identity after the operator's change: by a full handshake, and resumed."""
    between = prober.target.between
    if between is None:
        return [case.untested("no command is given that revokes or reloads (--between)")]
    clients: dict[TLSVersion, ssl.SSLContext] = {
        version: prober.client(prober.credential, version) for version in prober.versions
    }
    firsts = {version: await prober.attempt(context) for version, context in clients.items()}
    done = await trio.run_process(
        ["/bin/sh", "-c", between], check=False, stdout=subprocess.DEVNULL
    )
    if done.returncode != 0:
        return [case.untested(f"the command of --between ends with {done.returncode}")]
    rows: list[ProbeRow] = []
    for version, context in clients.items():
        session = firsts[version].session
        if session is None:
            rows.append(case.untested("the server gives no ticket", version))
            continue
        # Resumed first: a server that reloads on its own time has had no less of it.
        resumed = await prober.attempt(context, session=session)
        full = await prober.attempt(prober.client(prober.credential, version))
        by_full, how_full = judged(full, prober.good[version])
        if by_full not in REFUSALS:
            rows.append(case.untested(f"by a full handshake it is still {by_full}", version))
            continue
        verdict, how = judged(resumed, prober.good[version])
        if verdict == "admitted" and not resumed.resumed:
            # A full handshake, from before the change had come into force.
            rows.append(case.untested("the session was not resumed", version))
            continue
        how += f", {'' if resumed.resumed else 'not '}resumed; in full: {how_full}"
        rows.append(case.row(verdict, how, tls=version))
    return rows
