"""One connection to the server that is probed, and what it showed.

Everything that a probe varies is an argument: the identity, the version, the name that is sent
(SNI) beside the one that is verified, a session to resume, how the ClientHello is cut up.
The server is verified as by any client of ours, unless another name than its own is sent.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import trio

from mtls_echo.probing.target import MESSAGE, Mode, PaceLimit, ProbeTarget
from mtls_echo_client import http2
from mtls_echo_client.check import await_verdict
from mtls_echo_client.http import HTTPRequest, ask
from mtls_echo_client.session import Session, connect
from mtls_echo_tls.diagnosis.context_info import (
    ContextInfo,
    describe_context,
    with_vocabulary,
)
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream

if TYPE_CHECKING:
    from mtls_echo_pki.certificates.credential import Credential
    from mtls_echo_pki.flaws.flaw import TLSVersion
    from mtls_echo_tls.diagnosis.evidence import Evidence
    from mtls_echo_tls.diagnosis.report import Report

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

# Keys and signatures that are presented as flaws have to be loaded.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=0"

# How long a server may take to answer our close_notify: nothing depends on it.
_GOODBYE = 0.5


def make_client(
    target: ProbeTarget,
    credential: Credential | None,
    version: TLSVersion,
    mode: Mode,
    *,
    verify: bool = True,
) -> ssl.SSLContext:
    """The context of a client that presents this credential, whatever is wrong with it.

    Args:
        verify: Whether the server has to prove its name. Under another name than its own it
            may present another certificate; what is asked then is only whether it lets us in.

    Raises:
        ssl.SSLError: OpenSSL does not load the credential.
        ValueError: A credential would be presented to a server that proves nothing.
    """
    if not verify and credential is not None:
        raise ValueError("nothing is presented to a server that is not verified")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = _VERSIONS[version]
    context.set_ciphers(_CIPHERS)
    if not verify:
        # Nothing of ours is at stake there: no identity is presented, and no answer is believed
        # but as an admission.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif target.trust is not None:
        target.trust.load_into(context)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if credential is not None:
        credential.load_into(context)
    if alpn := target.offers(mode):
        context.set_alpn_protocols(list(alpn))
    describe_context(context, ContextInfo(credential, target.trust, complete=False))
    with_vocabulary(context, target.vocabulary)
    return context


@dataclass(frozen=True)
class Tried:
    """What one connection showed.

    Attributes:
        report: Ours, of this end.
        session: To be resumed; None where the server gave none.
        accepted: Whether the server has shown that it had judged us, and did not mind: in TLS 1.2
            it completes the handshake; in TLS 1.3 it sends a ticket or data, or had nothing to
            judge, because it asked for no certificate.
        presented: Whether a certificate of ours was sent.
        ended: How the server ended the connection without an alert, if it did.
        unseen: Whether it did so before it had answered the ClientHello of an ordinary client: it
            knows nothing yet of who that is, and may have too many.
    """

    report: Report
    session: ssl.SSLSession | None = field(default=None, repr=False)
    accepted: bool = False
    presented: bool = False
    ended: str = ""
    unseen: bool = False

    @property
    def text(self) -> str:
        """What the server said."""
        return self.report.answer.text if self.report.answer is not None else ""

    @property
    def is_up(self) -> bool:
        """Whether TLS is: the client is done with the handshake."""
        return self.report.stage in ("first-read", "established")

    @property
    def resumed(self) -> bool:
        """Whether a session was."""
        return self.report.tls is not None and self.report.tls.resumed


class _Stream(TLSStream):
    """A TLS connection whose session can be taken, and given to another."""

    __slots__ = ()

    @property
    def session(self) -> ssl.SSLSession | None:
        """What can be resumed, once the handshake is complete; in TLS 1.3 that takes a ticket."""
        found = self._records.connection.session if self._handshaken else None
        return found if found is None or found.has_ticket or not self.evidence.is_tls13 else None

    def resume(self, session: ssl.SSLSession) -> None:
        self._records.connection.session = session


async def attempt(
    target: ProbeTarget,
    context: ssl.SSLContext,
    pace: PaceLimit,
    mode: Mode,
    *,
    server_name: str | None = None,
    sni: str | None = None,
    session: ssl.SSLSession | None = None,
    request: HTTPRequest | None = None,
    split: bool = False,
) -> Tried:
    """Connect once, and speak to the server as ``mode`` says.

    Args:
        server_name: The name to verify and to send; the target's first unless given.
        sni: The name to send in its place; the context must then verify none. Empty: none.
        session: Of an earlier connection with the same context, to be resumed.
        request: What to ask for in HTTP; the target's unless given.
        split: Whether to send the ClientHello in pieces.
    """
    found: ssl.SSLSession | None = None

    def layer(transport: TCPStream, context: ssl.SSLContext, *, server_name: str) -> TLSStream:
        below = SplitHello(transport.socket) if split else transport
        sent = server_name if sni is None else sni or None
        stream = _Stream(below, context, server_name=sent, trace=True)
        if session is not None:
            stream.resume(session)
        return stream

    async with pace:
        try:
            connected = await connect(
                target.host,
                target.port,
                context,
                server_name=server_name or target.server_names[0],
                timeout=target.timeout,
                prologue=target.prologue,
                layer=layer,
            )
        except TLSFailure as failure:
            evidence = failure.evidence
        else:
            evidence = connected.evidence
            try:
                await _speak(target, connected, mode, request or target.request)
            except TLSFailure:
                pass  # the evidence has it
            finally:
                evidence.finish()
                found = cast("_Stream", connected.stream).session
                with trio.move_on_after(_GOODBYE):
                    await connected.aclose()
    ended = _end_of(evidence)
    ordinary = not split and sni is None
    unseen = bool(ended) and ordinary and not evidence.hello_answered
    if evidence.stage == "handshake" and (evidence.timed_out or unseen):
        pace.slow_down()
    evidence.intend(mode)
    report = await trio.to_thread.run_sync(diagnose, evidence)
    ticket = evidence.recorder.find("received", "NewSessionTicket") is not None
    judged = ticket or not evidence.certificate_requested
    return Tried(
        report,
        session=found,
        accepted=evidence.stage == "established" or (evidence.stage == "first-read" and judged),
        presented=bool(evidence.own_chain),
        ended=ended,
        unseen=unseen,
    )


def _end_of(evidence: Evidence) -> str:
    if evidence.transport_end == "reset":
        return "the server reset the connection"
    closed = evidence.close_notify or evidence.closed_early is not None
    return "the server closed" if closed or evidence.transport_end == "eof" else ""


async def _speak(target: ProbeTarget, session: Session, mode: Mode, request: HTTPRequest) -> None:
    if mode == "http" and session.evidence.alpn == "h2":
        await http2.ask(session, request, target.port, target.timeout)
    elif mode == "http":
        await ask(session, request, target.port, target.timeout)
    elif mode == "echo":
        await session.echo(MESSAGE)
    else:
        await await_verdict(session, target.wait)


class SplitHello(TCPStream):
    """A transport whose first record is sent as several, in several segments (RFC 8446 §5.1)."""

    __slots__ = ("_whole",)

    PIECE = 32

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._whole = True

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send; the first time, in records of a few bytes each."""
        if not self._whole:
            return await super().send_all(data)
        self._whole = False
        header, fragment = bytes(data[:3]), bytes(data[5:])
        for start in range(0, len(fragment), self.PIECE):
            piece = fragment[start : start + self.PIECE]
            await super().send_all(header + len(piece).to_bytes(2) + piece)
