"""Odd handshakes: ways around the certificate that a server demands.

Most advisories of servers that let clients in were not about certificates but about what surrounds
them: a session resumed under another name, a name that no rule matches, a ClientHello that is cut
so that no rule sees its name, HTTP on the same port. Each case finds out what an identity gets by
the usual way, and whether there is another way to get more.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import trio

from mtls_echo.probing import sessions
from mtls_echo.probing.result import Case, ProbeRow
from mtls_echo.probing.sessions import Run
from mtls_echo.probing.target import MESSAGE
from mtls_echo.probing.verdict import by_answer, status_of
from mtls_echo_pki.certificates.identifiers import is_address
from mtls_echo_tls.address import Address
from mtls_echo_tls.alerts import alert_name
from mtls_echo_tls.answers.answer import heard, unknown
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.trace.messages import ALERT

if TYPE_CHECKING:
    from mtls_echo.probing.prober import Prober
    from mtls_echo_client.http import HTTPRequest
    from mtls_echo_pki.flaws.flaw import TLSVersion

# A server that names this many CAs that are not its clients' trusts a store of public ones.
_MANY = 20

# Bytes read of an answer in the clear; those of an alert in a record, the last of which names it.
_MOST_PLAIN, _ALERT_SIZE = 16 * 1024, 7

# A permanent error in place of a greeting, of servers that speak first (FTP and SMTP). 4xx is a
# transient one, and IMAP's BYE may be: of load say, and not of who asks.
_ERROR = re.compile(r"5\d\d[ -]")

# How a connection without TLS ended that shows nothing.
_NO_TCP = "no TCP connection"
_SILENT = "nothing came in the clear, and the server did not close within the timeout"

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


# --- the CAs that the server names ---------------------------------------------------------------


async def _ca_names(prober: Prober, case: Case) -> list[ProbeRow]:
    await trio.lowlevel.checkpoint()
    for version in prober.versions:
        requested = prober.good[version].tried.report.requested
        if requested is None:
            return [case.untested("the server asks for no certificate")]
        own = prober.issuer.ca_names
        foreign = [name for name in requested.authorities if name not in own]
        if len(foreign) > _MANY:
            what = f"it names {len(foreign)} CAs besides its clients', for example {foreign[0]}"
            return [case.row("unclear", f"{what}: clients of any may get in", tls=version)]
        if foreign:
            what = f"it names other CAs as well: {', '.join(foreign)}"
            tried = "servers-ca tries that of its own certificate, and others take their keys"
            return [case.untested(f"{what}; {tried}")]
        if requested.authorities:
            return [case.row("refused", "it names the CA of its clients, and no other")]
    return [case.untested("the server names no CA")]


# --- without a certificate, by another way -------------------------------------------------------

_NEEDLESS = "no certificate is needed anyway"

# How many times as often as usual to try what may be chance.
_OFTEN = 8


def _bare(
    *, sni: Callable[[str], str] | None = None, split: bool = False, forge: bool = False
) -> Run:
    """A client without a certificate; where that is refused, there may be another way in."""

    async def run(prober: Prober, case: Case) -> list[ProbeRow]:
        target, name = prober.target, prober.target.server_names[0]
        if forge and (prober.mode != "http" or not target.forge_headers):
            return [case.untested("only in HTTP, and when asked for (--headers)")]
        if sni is not None and is_address(name):
            return [case.untested("the server is asked for by its address")]
        if sni is not None and _has_own_fields(target.request):
            return [case.untested("a server that is not verified is sent no header of one's own")]
        request = target.request
        if forge:
            request = _forged(prober)
        elif sni is not None:
            # The server's own host, whatever name the handshake is for.
            host = dict(request.fields(name, target.port))["Host"]
            request = replace(request, header=(("Host", host),))
        sent = None if sni is None else sni(name)

        async def row(version: TLSVersion) -> ProbeRow:
            if (await prober.usual(None, version, name)).verdict == "admitted":
                return case.untested(_NEEDLESS, version)
            client = prober.client(None, version, verify=sni is None)
            found = await prober.repeated(
                partial(prober.attempt, client, sni=sent, request=request, split=split),
                prober.good[version],
            )
            return case.row(
                found.verdict, found.how, tls=version, server_name=sent or "", tries=found.tries
            )

        return await prober.in_each_version(row)

    return run


def _has_own_fields(request: HTTPRequest) -> bool:
    """Whether a request says more than whom it is for: it may have a password or a token."""
    return any(field.lower() != "host" for field, _ in request.header)


def _forged(prober: Prober) -> HTTPRequest:
    subject = prober.credential.certificate.subject.rfc4514_string()
    name = subject.partition("CN=")[2].partition(",")[0]
    header = [
        (field, value.format(subject=subject, name=name)) for field, value in _HEADERS.items()
    ]
    request = prober.target.request
    return replace(request, header=(*request.header, *header))


async def doubt_ways_around(prober: Prober, rows: dict[str, list[ProbeRow]]) -> None:
    """Whether what admits a client is a way around, or chance: one server of several admits all.

    Args:
        rows: Of each case; those that chance explains are replaced.
    """
    for version in prober.versions:
        ways = [
            row
            for slug in _WITHOUT
            for row in rows.get(slug, ())
            if row.tls == version and row.verdict == "admitted"
        ]
        if not ways:
            continue
        found = await prober.outcome(None, version, times=_OFTEN)
        if found.verdict != "admitted":
            continue
        for row in ways:
            needless = Case(row.slug, row.group).untested(_NEEDLESS, version)
            rows[row.slug] = [needless if each is row else each for each in rows[row.slug]]
        none = Case("none", "identity").row(
            found.verdict,
            found.how,
            tls=version,
            server_name=prober.target.server_names[0],
            tries=found.tries,
            allowed=prober.may_enter("none"),
        )
        rest = [each for each in rows.get("none", ()) if each.tls != version]
        rows["none"] = sorted([none, *rest], key=lambda each: each.tls)


# --- without TLS ---------------------------------------------------------------------------------


async def _renegotiation(prober: Prober, case: Case) -> list[ProbeRow]:
    await trio.lowlevel.checkpoint()
    where = Address(prober.target.host, prober.target.port)
    return [
        case.untested(
            f"this client cannot ask for it; openssl s_client -tls1_2 -connect {where} can: type R"
        )
    ]


async def _plaintext(prober: Prober, case: Case) -> list[ProbeRow]:
    target, good = prober.target, next(iter(prober.good.values()))
    if target.prologue is not None:
        return [case.untested("the protocol begins in the clear")]
    if _has_own_fields(target.request):
        return [case.untested("no header of one's own is sent in the clear")]
    async with prober.pace:
        received, end = await _say_in_the_clear(prober)
    if not received:
        # A server that waits for the rest of a ClientHello is right, too.
        untested = end in (_NO_TCP, _SILENT)
        return [case.untested(end) if untested else case.row("refused", end)]
    if prober.mode == "echo" and received.startswith(MESSAGE):
        return [case.row("admitted", "the echo came back in the clear")]
    if received[0] == ALERT and len(received) >= _ALERT_SIZE:
        return [case.row("refused", f"alert {alert_name(received[_ALERT_SIZE - 1])}")]
    answer = heard(received) or unknown(received)
    if answer.location.startswith("https://"):
        return [case.row("refused", status_of(answer))]
    if answer.status is None and _ERROR.match(answer.text):
        return [case.row("refused", f"an error in the clear: {answer.text}")]
    verdict, how = by_answer(answer, good)
    return [case.row("refused" if verdict == "refused late" else verdict, how)]


async def _say_in_the_clear(prober: Prober) -> tuple[bytes, str]:
    """What a server answers without TLS, and how that ended."""
    target, name = prober.target, prober.target.server_names[0]
    lines = "".join(f"{k}: {v}\r\n" for k, v in target.request.fields(name, target.port))
    request = f"{target.request.method} {target.request.path} HTTP/1.1\r\n{lines}\r\n".encode()
    received, end = bytearray(), _NO_TCP
    with trio.move_on_after(target.timeout):
        try:
            async with await TCPStream.connect(target.host, target.port) as stream:
                end = _SILENT
                await stream.send_all(MESSAGE if prober.mode == "echo" else request)
                while len(received) < _MOST_PLAIN and (data := await stream.receive_some()):
                    received += data
                    if prober.mode == "echo":
                        break
                end = "the server closed, without an answer in the clear"
        except OSError:
            pass
        except trio.BrokenResourceError:
            end = "the server reset the connection"
    return bytes(received), end


def _flipped(name: str) -> str:
    """A name in the other case, which is the same name (RFC 4343)."""
    return name.upper() if name != name.upper() else name.lower()


HANDSHAKES: dict[str, Run] = {
    "ca-names": _ca_names,
    "sni-none": _bare(sni=lambda _: ""),
    "sni-unknown": _bare(sni=lambda _: "unknown.invalid"),
    "sni-case": _bare(sni=_flipped),
    "sni-trailing-dot": _bare(sni=lambda name: f"{name}."),
    "split-hello": _bare(split=True),
    "forged-headers": _bare(forge=True),
    "plaintext": _plaintext,
    "renegotiation": _renegotiation,
    "ticket-of-refused": sessions.of_a_refused,
    "ticket-across-names": sessions.across(sessions.resumed_under),
    "host-not-sni": sessions.across(sessions.for_other_host),
    "ticket-after-change": sessions.after_a_change,
}

# Those of a client without a certificate, which the usual way is compared with.
_WITHOUT = tuple(slug for slug in HANDSHAKES if slug.startswith(("sni-", "split-", "forged-")))

# This one changes what the server makes of the good identity, and so comes last.
LAST = "ticket-after-change"
