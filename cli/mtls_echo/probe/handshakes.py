"""Odd handshakes: ways around the certificate that a server demands.

Most advisories of servers that let clients in were not about certificates but about what surrounds
them: a session resumed under another name, a name that no rule matches, a ClientHello that is cut
so that no rule sees its name, HTTP on the same port. Each case finds out what an identity gets by
the usual way, and whether there is another way to get more.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import trio

from mtls_echo.probe.attempt import SplitHello, Tried, attempt, make_client
from mtls_echo.probe.identities import Severity
from mtls_echo.probe.result import Row
from mtls_echo.probe.verdict import Verdict, judged
from mtls_echo_client.http import HTTPRequest
from mtls_echo_tls.answers.answer import heard

if TYPE_CHECKING:
    from mtls_echo.probe.run import Prober
    from mtls_echo_pki.certificates.credential import Credential
    from mtls_echo_pki.flaws.flaw import TLSVersion

Run = Callable[["Prober", "Handshake"], Awaitable[list[Row]]]

# A server that trusts this many CAs that are not its clients' trusts a store of public ones.
_MANY = 20

# Bytes read of an answer in the clear.
_MOST_PLAIN = 16 * 1024

# How proxies tell the server behind them who the client is; {subject} is the good identity's.
_HEADERS = {
    "X-Forwarded-Client-Cert": 'Hash=0;Subject="{subject}";URI=',
    "X-SSL-Client-Verify": "SUCCESS",
    "X-SSL-Client-S-DN": "{subject}",
    "X-SSL-Client-Cert-Verify": "SUCCESS",
    "SSL-Client-Verify": "SUCCESS",
    "SSL-Client-Subject-DN": "{subject}",
    "SSL-Client-S-DN": "{subject}",
    "X-Client-Verify": "SUCCESS",
    "X-Client-Subject": "{subject}",
    "X-Client-CN": "{name}",
    "X-Forwarded-User": "{name}",
}


@dataclass(frozen=True, kw_only=True)
class Handshake:
    """One odd handshake.

    Attributes:
        differs: What is odd about it, in one clause.
        test: Tries it, in every version in which the good identity was served.
    """

    slug: str
    severity: Severity
    differs: str
    test: Run

    async def run(self, prober: Prober) -> list[Row]:
        """The rows of this case."""
        return await self.test(prober, self)

    def row(
        self, verdict: Verdict, how: str, *, tls: str = "", name: str = "", tries: int = 1
    ) -> Row:
        """A row of this case."""
        return Row(
            slug=self.slug,
            group="handshake",
            tls=tls,
            server_name=name,
            verdict=verdict,
            how=how,
            differs=self.differs,
            severity=self.severity,
            tries=tries,
        )


# --- the CAs that the server names ---------------------------------------------------------------


async def _ca_names(prober: Prober, case: Handshake) -> list[Row]:
    await trio.lowlevel.checkpoint()
    good = prober.issuer.good
    for version, tried in prober.good.items():
        requested = tried.report.requested
        if requested is None:
            return [case.row("not tested", "the server asks for no certificate", tls=version)]
        named = requested.authorities
        if not named:
            return [case.row("not tested", "the server names no CA", tls=version)]
        own = set[str]()
        if good is not None:
            issuers = (good.certificate, *good.chain)
            own = {each.issuer.rfc4514_string() for each in issuers}
        foreign = [name for name in named if name not in own]
        if not foreign:
            return [
                case.row("refused", "it names the CA of its clients, and no other", tls=version)
            ]
        what = f"it names {len(named)} CAs, for example {foreign[0][:80]}"
        if len(foreign) > _MANY:
            what += ": it may trust the system's CAs, and anyone can have a certificate of those"
        return [case.row("unclear", what, tls=version)]
    return []


# --- another name --------------------------------------------------------------------------------


async def _odd_name(prober: Prober, case: Handshake, sni: Callable[[str], str]) -> list[Row]:
    """Without a certificate, under a name that no rule of the server may match."""
    rows: list[Row] = []
    name = prober.target.server_names[0]
    for version in prober.good:
        if await _is_open(prober, version, name):
            rows.append(case.row("not tested", "no certificate is needed anyway", tls=version))
            continue
        context = make_client(prober.target, None, version, check_name=False)
        verdict, how, tries = await prober.repeated(
            lambda context=context: attempt(  # type: ignore[misc]
                prober.target,
                context,
                prober.pace,
                prober.mode,
                sni=sni(name),
                request=_for_host(prober, name),
            ),
            version,
        )
        rows.append(case.row(verdict, how, tls=version, name=sni(name), tries=tries))
    return rows


def _under(sni: Callable[[str], str]) -> Run:
    return lambda prober, case: _odd_name(prober, case, sni)


def _for_host(prober: Prober, name: str) -> HTTPRequest:
    """The request, for a host that need not be the one of the handshake."""
    request = prober.target.request
    return replace(request, header=(*request.header, ("Host", name)))


async def _is_open(prober: Prober, version: TLSVersion, name: str) -> bool:
    """Whether a client without a certificate is admitted in the usual way."""
    return (await prober.tried(None, version, name))[0] == "admitted"


async def _split(prober: Prober, case: Handshake) -> list[Row]:
    rows: list[Row] = []
    for version in prober.good:
        if await _is_open(prober, version, prober.target.server_names[0]):
            rows.append(case.row("not tested", "no certificate is needed anyway", tls=version))
            continue
        context = prober.context(None, version)
        verdict, how, tries = await prober.repeated(
            lambda context=context: attempt(  # type: ignore[misc]
                prober.target, context, prober.pace, prober.mode, transport_of=SplitHello
            ),
            version,
        )
        rows.append(case.row(verdict, how, tls=version, tries=tries))
    return rows


# --- several names -------------------------------------------------------------------------------


def _openings(prober: Prober) -> Iterator[tuple[TLSVersion, Credential | None, str, str]]:
    """Each version, identity, and pair of names."""
    names = prober.target.server_names
    identities = (None, prober.issuer.good)
    for version, credential in itertools.product(prober.good, identities):
        for one, other in itertools.permutations(names, 2):
            yield version, credential, one, other


async def _across(prober: Prober, case: Handshake, try_it: _TryIt) -> list[Row]:
    """What an identity gets at a name that refuses it, by way of one that admits it."""
    if len(prober.target.server_names) < 2:
        return [case.row("not tested", "only one --server-name is given")]
    rows: list[Row] = []
    got: dict[tuple[object, ...], Verdict] = {}
    for version, credential, one, other in _openings(prober):
        for name in (one, other):
            key = version, credential is None, name
            if key not in got:
                got[key] = (await prober.tried(credential, version, name))[0]
        way_in, usual = (got[version, credential is None, name] for name in (one, other))
        if way_in == "admitted" and usual in ("refused", "refused late"):
            who = "nobody" if credential is None else "the good identity"
            tried = await try_it(prober, version, credential, one, other)
            verdict, how = judged(tried, prober.good[version])
            if case.slug == "ticket-across-names" and not tried.resumed and verdict != "admitted":
                how += ", not resumed"
            rows.append(
                case.row(verdict, f"{who}, from {one} to {other}: {how}", tls=version, name=other)
            )
    return rows or [
        case.row("not tested", "no identity is admitted under one name and refused under another")
    ]


_TryIt = Callable[["Prober", "TLSVersion", "Credential | None", str, str], Awaitable[Tried]]


async def _resume(
    prober: Prober, version: TLSVersion, credential: Credential | None, one: str, other: str
) -> Tried:
    context = prober.context(credential, version)
    target, pace, mode = prober.target, prober.pace, prober.mode
    first = await attempt(target, context, pace, mode, server_name=one, keep_session=True)
    return await attempt(target, context, pace, mode, server_name=other, session=first.session)


async def _other_host(
    prober: Prober, version: TLSVersion, credential: Credential | None, one: str, other: str
) -> Tried:
    context = prober.context(credential, version)
    return await attempt(
        prober.target,
        context,
        prober.pace,
        prober.mode,
        server_name=one,
        request=_for_host(prober, other),
    )


def _ways(try_it: _TryIt) -> Run:
    return lambda prober, case: _across(prober, case, try_it)


# --- without TLS, and by what a proxy would say --------------------------------------------------


async def _plaintext(prober: Prober, case: Handshake) -> list[Row]:
    target, name = prober.target, prober.target.server_names[0]
    fields = target.request.fields(name, target.port)
    lines = "".join(f"{field}: {value}\r\n" for field, value in fields)
    request = f"{target.request.method} {target.request.path} HTTP/1.1\r\n{lines}\r\n".encode()
    received = bytearray()
    async with prober.pace:
        with trio.move_on_after(target.timeout):
            try:
                async with await trio.open_tcp_stream(target.host, target.port) as stream:
                    await stream.send_all(request)
                    while len(received) < _MOST_PLAIN and (data := await stream.receive_some()):
                        received += data
            except (OSError, trio.BrokenResourceError):
                pass
    answer = heard(bytes(received))
    if answer is None or answer.status is None:
        return [case.row("refused", "no answer in HTTP")]
    how = f"{answer.protocol} {answer.status} {answer.phrase}".rstrip()
    good = next(iter(prober.good.values())).report.answer
    if not answer.is_success:
        return [case.row("refused", how)]
    if good is not None and (answer.status, answer.location) == (good.status, good.location):
        return [case.row("admitted", how)]
    return [case.row("unclear", f"{how}, which is not what the good identity got")]


async def _forged(prober: Prober, case: Handshake) -> list[Row]:
    if prober.mode != "http":
        return [case.row("not tested", "the server is not spoken to in HTTP")]
    if not prober.target.forge_headers:
        return [case.row("not tested", "only when asked for (--headers)")]
    rows: list[Row] = []
    good = prober.issuer.good
    subject = good.certificate.subject.rfc4514_string() if good is not None else "CN=client"
    name = subject.partition("CN=")[2].partition(",")[0]
    header = tuple(
        (field, value.format(subject=subject, name=name)) for field, value in _HEADERS.items()
    )
    request = prober.target.request
    request = replace(request, header=(*request.header, *header))
    for version in prober.good:
        if await _is_open(prober, version, prober.target.server_names[0]):
            rows.append(case.row("not tested", "no certificate is needed anyway", tls=version))
            continue
        context = prober.context(None, version)
        verdict, how, tries = await prober.repeated(
            lambda context=context: attempt(  # type: ignore[misc]
                prober.target, context, prober.pace, prober.mode, request=request
            ),
            version,
        )
        rows.append(case.row(verdict, how, tls=version, tries=tries))
    return rows


def _flipped(name: str) -> str:
    """A name in the other case, which is the same name (RFC 4343)."""
    return name.upper() if name != name.upper() else name.lower()


HANDSHAKES: tuple[Handshake, ...] = (
    Handshake(
        slug="ca-names",
        severity="medium",
        differs="The server names CAs other than its clients' (CertificateRequest)",
        test=_ca_names,
    ),
    Handshake(
        slug="sni-none",
        severity="high",
        differs="No certificate, and no name is asked for (SNI)",
        test=_under(lambda _: ""),
    ),
    Handshake(
        slug="sni-unknown",
        severity="high",
        differs="No certificate, and a name is asked for that the server does not have",
        test=_under(lambda _: "unknown.invalid"),
    ),
    Handshake(
        slug="sni-case",
        severity="high",
        differs="No certificate, and the name is asked for in capitals",
        test=_under(_flipped),
    ),
    Handshake(
        slug="sni-trailing-dot",
        severity="high",
        differs="No certificate, and the name is asked for with a dot at its end",
        test=_under(lambda name: f"{name}."),
    ),
    Handshake(
        slug="split-hello",
        severity="high",
        differs="No certificate, and the ClientHello is sent in pieces",
        test=_split,
    ),
    Handshake(
        slug="ticket-across-names",
        severity="high",
        differs="A session from a name that admits the client is resumed under one that does not",
        test=_ways(_resume),
    ),
    Handshake(
        slug="host-not-sni",
        severity="high",
        differs="The handshake is for a name that admits the client, the request for another",
        test=_ways(_other_host),
    ),
    Handshake(
        slug="plaintext",
        severity="high",
        differs="HTTP without TLS, on the same port",
        test=_plaintext,
    ),
    Handshake(
        slug="forged-headers",
        severity="high",
        differs="No certificate, and headers that a proxy would set for a client that has one",
        test=_forged,
    ),
)
