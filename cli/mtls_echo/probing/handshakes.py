"""Odd handshakes: ways around the certificate that a server demands.

Most advisories of servers that let clients in were not about certificates but about what surrounds
them: a session resumed under another name, a name that no rule matches, a ClientHello that is cut
so that no rule sees its name, HTTP on the same port. Each case finds out what an identity gets by
the usual way, and whether there is another way to get more.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import trio

from mtls_echo.probing import sessions
from mtls_echo.probing.attempt import attempt
from mtls_echo.probing.result import Case, ProbeRow
from mtls_echo.probing.sessions import Run
from mtls_echo.probing.target import MESSAGE
from mtls_echo.probing.verdict import status_of
from mtls_echo_tls.address import Address
from mtls_echo_tls.answers.answer import heard, unknown

if TYPE_CHECKING:
    from mtls_echo.probing.prober import Prober
    from mtls_echo_client.http import HTTPRequest

# A server that names this many CAs that are not its clients' trusts a store of public ones.
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
            return [case.untested(f"{what}; whether it admits their clients takes their keys")]
        if requested.authorities:
            return [case.row("refused", "it names the CA of its clients, and no other")]
    return [case.untested("the server names no CA")]


# --- without a certificate, by another way -------------------------------------------------------


def _bare(
    *, sni: Callable[[str], str] | None = None, split: bool = False, forge: bool = False
) -> Run:
    """A client without a certificate; where that is refused, there may be another way in."""

    async def run(prober: Prober, case: Case) -> list[ProbeRow]:
        target, name = prober.target, prober.target.server_names[0]
        if forge and (prober.mode != "http" or not target.forge_headers):
            return [case.untested("only in HTTP, and when asked for (--headers)")]
        if sni is not None and _is_address(name):
            return [case.untested("the server is asked for by its address")]
        request = _forged(prober) if forge else target.request
        rows: list[ProbeRow] = []
        for version in prober.versions:
            if (await prober.usual(None, version, name)).verdict == "admitted":
                rows.append(case.untested("no certificate is needed anyway", version))
                continue
            once = partial(
                attempt,
                target,
                prober.client(None, version, verify=sni is None),
                prober.pace,
                prober.mode,
                sni=None if sni is None else sni(name),
                request=request,
                split=split,
            )
            found = await prober.repeated(once, prober.good[version])
            asked = "" if sni is None else sni(name)
            rows.append(
                case.row(
                    found.verdict, found.how, tls=version, server_name=asked, tries=found.tries
                )
            )
        return rows

    return run


def _forged(prober: Prober) -> HTTPRequest:
    subject = prober.credential.certificate.subject.rfc4514_string()
    name = subject.partition("CN=")[2].partition(",")[0]
    header = [
        (field, value.format(subject=subject, name=name)) for field, value in _HEADERS.items()
    ]
    request = prober.target.request
    return replace(request, header=(*request.header, *header))


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
    target, name = prober.target, prober.target.server_names[0]
    lines = "".join(f"{k}: {v}\r\n" for k, v in target.request.fields(name, target.port))
    request = f"{target.request.method} {target.request.path} HTTP/1.1\r\n{lines}\r\n".encode()
    received, connected = bytearray(), False
    async with prober.pace:
        with trio.move_on_after(target.timeout):
            try:
                async with await trio.open_tcp_stream(target.host, target.port) as stream:
                    connected = True
                    await stream.send_all(MESSAGE if prober.mode == "echo" else request)
                    while len(received) < _MOST_PLAIN and (data := await stream.receive_some()):
                        received += data
                        if prober.mode == "echo":
                            break
            except (OSError, trio.BrokenResourceError):
                pass
    if not connected:
        return [case.untested("no TCP connection")]
    if prober.mode == "echo" and received.startswith(MESSAGE):
        return [case.row("admitted", "the echo came back in the clear")]
    good = next(iter(prober.good.values()))
    expected = good.tried.report.answer
    answer = heard(bytes(received)) or unknown(bytes(received))
    if answer.status is None:
        if received and expected is not None and good.is_answer(answer.text, ()):
            return [case.row("admitted", f"it is greeted in the clear: {answer}")]
        return [case.row("refused", "no answer in the clear")]
    if not answer.is_success or answer.location.startswith("https://"):
        return [case.row("refused", status_of(answer))]
    if (
        expected is not None
        and (answer.status, answer.location) == (expected.status, expected.location)
        and good.is_answer(answer.text, ())
    ):
        return [case.row("admitted", status_of(answer))]
    return [case.row("unclear", f"{status_of(answer)}, which is not what the good identity got")]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


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

# This one changes what the server makes of the good identity, and so comes last.
LAST = "ticket-after-change"
