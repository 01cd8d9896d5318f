"""A connection to one server that has echoed: dialled, probed, watched, and probed again.

In TLS 1.3 a handshake does not yet prove us to the server (RFC 8446 §2), so a link is handed over
only after its first echo. Each probe sends bytes that were never sent before. Between two probes
the connection is read, so that the close_notify of a server that stops is seen at once.

Plaintext is a kind of link of its own. It is made for an endpoint without TLS settings only, and
nothing turns one kind into the other.
"""

from __future__ import annotations

import abc
import secrets
import ssl
import time

import msgspec
import trio

from mtls_echo_client.dial import open_tcp
from mtls_echo_client.endpoints.monitor.remedies import CONFIGURATION
from mtls_echo_client.endpoints.plan import Endpoint
from mtls_echo_client.session import Session, connect
from mtls_echo_tls.diagnosis.context_info import ContextInfo
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.sides import TransportEnd
from mtls_echo_tls.stream.delivery import CLOSE_TIMEOUT
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.vocabulary import Vocabulary

_UNASKED = "bytes came that nothing had been sent for"

# ContentType alert and a version's first byte (RFC 8446 §5.1): a TLS server's answer to plaintext.
_TLS_ALERT = b"\x15\x03"


class Link(abc.ABC):
    """A connection that has echoed.

    Attributes:
        report: What its making showed.
    """

    report: Report

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout

    async def prove(self) -> None:
        """Probe a new link and report on it; close it if it does not echo."""
        try:
            await self.probe()
        except BaseException:
            await self.aclose()
            raise
        self.report = self._make_report()

    async def probe(self) -> float:
        """Send something new and wait until it has come back.

        Returns:
            How long it took, in seconds.

        Raises:
            TLSFailure: It did not, or not in time.
        """
        nonce = b"mtls-echo %s\n" % secrets.token_hex(8).encode()
        started = time.perf_counter()
        # All of it has this long: a server that sends a byte now and then is not silent.
        with trio.move_on_after(self._timeout) as scope:
            await self._echo(nonce)
        if scope.cancelled_caught:
            raise self._expire()
        return time.perf_counter() - started

    @abc.abstractmethod
    def _make_report(self) -> Report: ...

    @abc.abstractmethod
    async def _echo(self, nonce: bytes) -> None: ...

    @abc.abstractmethod
    def _expire(self) -> TLSFailure: ...

    @abc.abstractmethod
    async def watch(self, seconds: float) -> None:
        """Return after ``seconds``, during which the connection lasted.

        Raises:
            TLSFailure: It ended, or brought bytes that were not asked for.
        """

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Close with close_notify, within `CLOSE_TIMEOUT` seconds even when cancelled."""


async def dial(
    endpoint: Endpoint,
    context: ssl.SSLContext | None,
    limit: float,
    vocabulary: Vocabulary = CONFIGURATION,
) -> Link:
    """Connect, and prove the connection by an echo.

    Args:
        endpoint: Where to.
        context: For its TLS settings; None exactly when it has none.
        limit: Seconds for TCP connection and handshake together, and again for the echo.
        vocabulary: For plaintext connections; a context has its own.

    Raises:
        TLSFailure: There is no connection that echoes; the report tells why.
        ValueError: A context is missing, or there is one for plaintext.
    """
    if (endpoint.tls is None) is not (context is None):
        raise ValueError(f"{endpoint.written}: TLS settings and context do not go together")
    link: Link
    if context is None:
        evidence = Evidence("client", context_info=ContextInfo(vocabulary=vocabulary))
        tcp = await open_tcp(endpoint.address, evidence, trio.current_time() + limit)
        evidence.accept()
        link = _PlainLink(tcp, evidence, limit)
    else:
        host, port = endpoint.address
        name = endpoint.server_name
        session = await connect(host, port, context, server_name=name, timeout=limit)
        link = _SecureLink(session, limit)
    await link.prove()
    return link


class _SecureLink(Link):
    def __init__(self, session: Session, timeout: float) -> None:
        super().__init__(timeout)
        self._session = session

    def _make_report(self) -> Report:
        self._session.evidence.finish()
        return self._session.report

    async def _echo(self, nonce: bytes) -> None:
        await self._session.echo(nonce)

    def _expire(self) -> TLSFailure:
        return self._session.stream.expire()

    async def watch(self, seconds: float) -> None:
        evidence = self._session.evidence
        with trio.move_on_after(seconds):
            if await self._session.stream.receive_some():
                evidence.mismatch(_UNASKED)
            else:
                evidence.close_early("while nothing was due")
            raise TLSFailure(evidence)

    async def aclose(self) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_TIMEOUT):
            await self._session.aclose()


class _PlainLink(Link):
    # The server proves only that it echoes.

    def __init__(self, tcp: TCPStream, evidence: Evidence, timeout: float) -> None:
        super().__init__(timeout)
        self._tcp = tcp
        self._evidence = evidence

    def _make_report(self) -> Report:
        summary = "echoed in plaintext: neither side has proved who it is"
        return msgspec.structs.replace(diagnose(self._evidence), summary=summary)

    async def watch(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self._receive(1)
            self._evidence.mismatch(_UNASKED)
            raise self._failure()

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._tcp)

    async def _echo(self, nonce: bytes) -> None:
        try:
            await self._tcp.send_all(nonce)
        except trio.BrokenResourceError:
            raise self._end("reset") from None
        answer = b""
        while len(answer) < len(nonce):
            answer += await self._receive(len(nonce) - len(answer))
            if not nonce.startswith(answer):
                seen = f"sent text, received {answer[:24]!r}"
                if answer.startswith(_TLS_ALERT):
                    seen += ", as a TLS server answers plaintext"
                self._evidence.mismatch(seen)
                raise self._failure()

    async def _receive(self, limit: int) -> bytes:
        try:
            data = await self._tcp.receive_some(limit)
        except trio.BrokenResourceError:
            raise self._end("reset") from None
        if not data:
            raise self._end("eof")
        return data

    def _end(self, how: TransportEnd) -> TLSFailure:
        self._evidence.await_first_read()  # or the end would be said to lack a close_notify
        self._evidence.end_transport(how)
        return self._failure()

    def _expire(self) -> TLSFailure:
        self._evidence.time_out()
        return self._failure()

    def _failure(self) -> TLSFailure:
        self._evidence.fail()
        return TLSFailure(self._evidence)
