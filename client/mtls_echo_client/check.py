"""One connection to a server of any make, and what it proves: no echo is asked for.

A server that does not echo refuses its client in one of two ways. In the handshake: in TLS 1.3
after the client's part of it is complete, so that silence is waited for, and is not taken for
acceptance. Or in its answer to a request (`mtls_echo_client.http`).
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import trio

from mtls_echo_client.context import client_context
from mtls_echo_client.dial import Prologue
from mtls_echo_client.http import HTTPRequest, ask, offer_http
from mtls_echo_client.session import Session, connect
from mtls_echo_client.starttls.negotiation import starttls as negotiate
from mtls_echo_client.starttls.ports import PORTS
from mtls_echo_tls.answers.answer import heard, unknown
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.material.load import Material, client_material

# What a server of such a protocol is, where it is one product's.
_PRODUCTS = {"postgres": "PostgreSQL"}

# How long a server may take to answer our close_notify, in seconds: nothing depends on it.
_GOODBYE = 0.5


async def check(
    host: str,
    port: int,
    context: ssl.SSLContext | None = None,
    *,
    ca: str | Path | None = None,
    cert: str | Path | None = None,
    key: str | Path | None = None,
    crl: str | Path | None = None,
    password_file: str | Path | None = None,
    server_name: str | None = None,
    http: str | HTTPRequest | None = None,
    wait: float = 1.0,
    timeout: float = 10.0,  # noqa: ASYNC109  a part of it goes on to limit the answer
    trace: bool = False,
    starttls: str | None = None,
) -> Report:
    """Connect to a server of any make, and report what it proves.

    Args:
        host, port: A host name or an IP address, and the TCP port.
        context: From `client_context`; or, in its place, files:
        ca, cert, key, crl, password_file: As for `client_material`.
        server_name: The reference identifier (RFC 9525 §4) and SNI, if not ``host``.
        http: A path to ask for in HTTP/1.1, or a whole request; None: complete the handshake and
            wait for a refusal.
        wait: How many seconds to wait for it.
        timeout: Seconds for connecting and the handshake; then for the answer.
        trace: Report the handshake's messages.
        starttls: The plaintext protocol in whose middle TLS begins: ``postgres``, ``mysql``,
            ``smtp``, ``imap``, ``pop3``, ``ldap`` or ``xmpp``.

    Returns:
        The report: ``completed`` unless one side refused the other, or the connection failed.

    Raises:
        MaterialError, ConfigurationError: A file cannot be used, or none is given.
        ValueError: The host cannot be verified, the request not be written, or the plaintext
            protocol is not among those.
    """
    if starttls is not None and starttls not in PORTS:
        raise ValueError(f"{starttls!r} is not among {', '.join(PORTS)}")
    request = HTTPRequest(http) if isinstance(http, str) else http
    if context is None:
        files = (ca, cert, key, crl, password_file)
        context = await trio.to_thread.run_sync(_context_of, files, request is not None)
    evidence = await examine(
        host,
        port,
        context,
        server_name=server_name,
        request=request,
        wait=wait,
        timeout=timeout,
        trace=trace,
        starttls=starttls,
    )
    return await trio.to_thread.run_sync(diagnose, evidence)


async def examine(
    host: str,
    port: int,
    context: ssl.SSLContext,
    *,
    server_name: str | None = None,
    request: HTTPRequest | None = None,
    wait: float = 1.0,
    timeout: float = 10.0,  # noqa: ASYNC109  as for `check`
    trace: bool = False,
    starttls: str | None = None,
) -> Evidence:
    """As `check`; what was observed, whether the connection failed or not."""
    try:
        session = await connect(
            host,
            port,
            context,
            server_name=server_name,
            timeout=timeout,
            # The messages tell the server's stack, also when it refuses us later.
            trace=True,
            prologue=prologue_of(starttls),
        )
    except TLSFailure as failure:
        evidence = failure.evidence
    else:
        evidence = session.evidence
        try:
            if request is None:
                await await_verdict(session, wait)
            else:
                await ask(session, request, port, timeout)
        except TLSFailure:
            pass  # the evidence has it
        finally:
            if not session.stream.received and evidence.waited is None:
                evidence.leave_unused()
            evidence.finish()  # the verdict is known; closing is not part of it
            with trio.move_on_after(_GOODBYE):
                await session.aclose()
    evidence.recorder.requested = trace
    product = None if starttls is None else _PRODUCTS.get(starttls, "")
    evidence.intend("handshake" if request is None else "http", product)
    return evidence


def prologue_of(starttls: str | None) -> Prologue | None:
    """What to say in the clear before TLS, in one of these protocols."""
    return partial(negotiate, starttls) if starttls is not None else None


async def await_verdict(session: Session, wait: float) -> None:
    """Wait for an alert, an end or data, which in TLS 1.3 is the first sign of acceptance."""
    evidence, data = session.evidence, None
    with trio.move_on_after(wait):
        data = await session.stream.receive_some()
    if data is None:
        evidence.wait_in_vain(wait)
    elif data:
        evidence.read_denial(data)
        evidence.hear(heard(data) or unknown(data))
    elif evidence.stage == "established":
        evidence.close_early("right after the handshake")


def _context_of(files: Sequence[str | Path | None], offers_http: bool) -> ssl.SSLContext:
    ca, cert, key, crl, password_file = (Path(it) if it is not None else None for it in files)
    if not any((ca, cert, key, crl, password_file)):
        raise ValueError("give a context, or the files to make one of: ca, and cert and key")
    material = client_material(
        ca=ca, cert=cert, key=key, crl=crl, password_file=password_file, strict=False
    )

    def build(material: Material) -> ssl.SSLContext:
        assert material.trust is not None  # noqa: S101  client_material() demands it
        context = client_context(material.trust, material.credential, strict=material.strict)
        if offers_http:
            offer_http(context)
        return context

    return material.context(build)
