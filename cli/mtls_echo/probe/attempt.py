"""One connection to the server that is probed, and what it showed.

Everything that a probe varies is an argument: the identity, the version, the name that is sent
(SNI) beside the one that is verified, a session to resume, how the ClientHello is cut into records.
The server is verified as by any client of ours, unless another name than its own is sent.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from mtls_echo.probe.target import Mode, Pace, Target
from mtls_echo_client.dial import open_tcp
from mtls_echo_client.http import HTTPRequest, ask, offer_http
from mtls_echo_client.session import Session
from mtls_echo_tls.address import Address
from mtls_echo_tls.answers.answer import heard, unknown
from mtls_echo_tls.diagnosis.context_info import ContextInfo, describe_context
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tls import TLSStream

if TYPE_CHECKING:
    from mtls_echo_pki.certificates.credential import Credential
    from mtls_echo_pki.flaws.flaw import TLSVersion
    from mtls_echo_tls.diagnosis.report import Report
    from mtls_echo_tls.stream.tcp import TCPStream

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

# Keys and signatures that are presented as flaws have to be loaded.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=0"

# How long a server may take to answer our close_notify: nothing depends on it.
_GOODBYE = 0.5

MESSAGE = b"mtls-echo probe\n"


@dataclass(frozen=True)
class Client:
    """A context for one identity in one version, and the server's trust in it."""

    context: ssl.SSLContext
    credential: Credential | None


def make_client(
    target: Target, credential: Credential | None, version: TLSVersion, *, check_name: bool = True
) -> ssl.SSLContext:
    """The context of a client that presents this credential, whatever is wrong with it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = _VERSIONS[version]
    context.set_ciphers(_CIPHERS)
    context.check_hostname = check_name
    if target.trust is not None:
        target.trust.load_into(context)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if credential is not None:
        credential.load_into(context)
    describe_context(context, ContextInfo(credential, target.trust, complete=False))
    return context


@dataclass
class Tried:
    """What one connection showed.

    Attributes:
        report: Ours, of this end.
        mode: How it was spoken to.
        body: The text of the server's answer, if it gave one.
        session: To be resumed; None where the server gave none.
        resumed: Whether one was.
        chain: The certificates that the server sent, DER.
    """

    report: Report
    mode: Mode
    session: ssl.SSLSession | None = None
    resumed: bool = False
    evidence: Evidence | None = field(default=None, repr=False)

    @property
    def body(self) -> str:
        """The text of the server's answer."""
        return self.report.answer.text if self.report.answer is not None else ""


class _Stream(TLSStream):
    """A TLS connection whose session can be taken, and given to another."""

    __slots__ = ()

    @property
    def session(self) -> ssl.SSLSession | None:
        return self._records.connection.session

    def resume(self, session: ssl.SSLSession) -> None:
        self._records.connection.session = session


async def attempt(
    target: Target,
    context: ssl.SSLContext,
    pace: Pace,
    mode: Mode,
    *,
    server_name: str | None = None,
    sni: str | None = None,
    session: ssl.SSLSession | None = None,
    request: HTTPRequest | None = None,
    transport_of: type[trio.abc.HalfCloseableStream] | None = None,
    keep_session: bool = False,
) -> Tried:
    """Connect once, and speak to the server as ``mode`` says.

    Args:
        server_name: The name to verify and to send; the target's first unless given.
        sni: The name to send in its place; the context must then check no name. Empty: none.
        session: Of an earlier connection with the same context, to be resumed.
        request: What to ask for in HTTP; the target's unless given.
        transport_of: What the connection is wrapped in, below TLS.
        keep_session: Wait for what a session needs to be resumed (in TLS 1.3 a ticket).
    """
    name = server_name or target.server_names[0]
    sent = name if sni is None else sni or None
    evidence = Evidence("client", name)
    async with pace:
        try:
            deadline = trio.current_time() + target.timeout
            transport = await open_tcp(Address(target.host, target.port), evidence, deadline)
        except TLSFailure as failure:
            return Tried(diagnose(failure.evidence), mode)
        below = transport if transport_of is None else transport_of(transport)  # type: ignore[call-arg]
        if mode == "http":
            offer_http(context)
        stream = _Stream(below, context, server_name=sent, trace=True)
        if session is not None:
            stream.resume(session)
        found: ssl.SSLSession | None = None
        try:
            with trio.CancelScope(deadline=deadline) as scope:
                await stream.do_handshake()
            if scope.cancelled_caught:
                raise stream.expire()
            await _speak(target, Session(stream, timeout=target.timeout), mode, request)
            if keep_session:
                found = stream.session
        except TLSFailure:
            pass  # the evidence has it
        finally:
            stream.evidence.finish()
            with trio.move_on_after(_GOODBYE):
                await stream.aclose()
            transport.close()
    stream.evidence.intend("echo" if mode == "echo" else mode)
    report = await trio.to_thread.run_sync(diagnose, stream.evidence)
    return Tried(report, mode, found, stream.evidence.resumed, stream.evidence)


async def _speak(
    target: Target, session: Session, mode: Mode, request: HTTPRequest | None
) -> None:
    if mode == "http":
        await ask(session, request or target.request, target.port, target.timeout)
    elif mode == "echo":
        await session.echo(MESSAGE)
    else:
        await _await_verdict(session, target.wait)


async def _await_verdict(session: Session, wait: float) -> None:
    """Wait for an alert, an end or data."""
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


class SplitHello(trio.abc.HalfCloseableStream):
    """A transport whose first record is sent as several, in several segments (RFC 8446 §5.1)."""

    PIECE = 32

    def __init__(self, transport: TCPStream) -> None:
        self._transport = transport
        self._whole = True

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send; the first time, in records of a few bytes each."""
        if self._whole:
            self._whole = False
            header, fragment = bytes(data[:3]), bytes(data[5:])
            for start in range(0, len(fragment), self.PIECE):
                piece = fragment[start : start + self.PIECE]
                await self._transport.send_all(header + len(piece).to_bytes(2) + piece)
        else:
            await self._transport.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """As the transport's."""
        await self._transport.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As the transport's."""
        return await self._transport.receive_some(max_bytes)

    async def send_eof(self) -> None:
        """As the transport's."""
        await self._transport.send_eof()

    async def aclose(self) -> None:
        """As the transport's."""
        await self._transport.aclose()
