"""A connection to one server that has echoed: dialled, probed, watched, and probed again.

A handshake proves the server to us, and in TLS 1.3 not yet us to the server (RFC 8446 §2); so a
link is handed over only after its first echo. Each proof sends bytes that were never sent before:
what comes back was made for this probe.

Between two probes the connection is read. A server that stops sends close_notify, and a client
that only asked every few seconds would count on it until then.

Plaintext is a kind of link of its own. It is made for an endpoint without TLS settings only, and
nothing turns one kind into the other.
"""

from __future__ import annotations

import abc
import secrets
import ssl
import time
from typing import NoReturn

import msgspec
import trio

from mtls_echo_client.dial import open_tcp
from mtls_echo_client.endpoints.monitor.remedies import CONFIGURATION
from mtls_echo_client.endpoints.plan import Endpoint
from mtls_echo_client.session import Session, connect
from mtls_echo_tls.diagnosis.context_info import ContextInfo
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence, TransportEnd
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.stream.delivery import CLOSE_TIMEOUT
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.vocabulary import Vocabulary

_UNASKED = "bytes came that nothing had been sent for"
_AT_REST = "while nothing was due"

# ContentType alert and a version's first byte (RFC 8446 §5.1): a TLS server's answer to plaintext.
_TLS_ALERT = b"\x15\x03"


class Link(abc.ABC):
    """A connection that has echoed.

    Attributes:
        report: What its making showed.
    """

    report: Report

    @abc.abstractmethod
    def make_report(self) -> Report:
        """What is known of it now."""

    @abc.abstractmethod
    async def probe(self) -> float:
        """Send something new and wait until it has come back.

        Returns:
            How long it took, in seconds.

        Raises:
            TLSFailure: It did not, or not in time.
        """

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
        endpoint: Where to, and whether with TLS.
        context: For its TLS settings; None exactly when it has none.
        limit: Seconds for TCP connection and handshake together, and again for the echo.
        vocabulary: For the remedies of plaintext connections; a context has its own.

    Raises:
        TLSFailure: There is no connection that echoes; the report tells why.
        ValueError: A context is missing, or there is one for plaintext.
    """
    if (endpoint.tls is None) is not (context is None):
        raise ValueError(f"{endpoint.written}: TLS settings and context do not go together")
    if context is None:
        return await _dial_plainly(endpoint, limit, vocabulary)
    host, port = endpoint.address
    session = await connect(host, port, context, server_name=endpoint.server_name, timeout=limit)
    link = SecureLink(session, limit)
    await _probe_first(link)
    return link


async def _probe_first(link: Link) -> None:
    try:
        await link.probe()
    except BaseException:
        await link.aclose()
        raise
    link.report = link.make_report()


class SecureLink(Link):
    """A link over TLS."""

    def __init__(self, session: Session, timeout: float) -> None:
        self.session = session
        self._timeout = timeout

    def make_report(self) -> Report:
        """See `Link.make_report`."""
        self.session.evidence.finish()
        return self.session.report

    async def probe(self) -> float:
        """See `Link.probe`."""
        nonce = _nonce()
        started = time.perf_counter()
        # A session limits silence, and a server that sends a byte now and then is not silent.
        with trio.move_on_after(self._timeout) as scope:
            await self.session.echo(nonce)
        if scope.cancelled_caught:
            raise self.session.stream.expire()
        return time.perf_counter() - started

    async def watch(self, seconds: float) -> None:
        """See `Link.watch`."""
        with trio.move_on_after(seconds):
            data = await self.session.stream.receive_some()
            if data:
                self.session.evidence.mismatch(_UNASKED)
            else:
                self.session.evidence.close_early(_AT_REST)
            raise TLSFailure(self.session.evidence)

    async def aclose(self) -> None:
        """See `Link.aclose`."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_TIMEOUT):
            await self.session.aclose()


async def _dial_plainly(endpoint: Endpoint, limit: float, vocabulary: Vocabulary) -> PlainLink:
    evidence = Evidence("client", context_info=ContextInfo(vocabulary=vocabulary))
    tcp = await open_tcp(endpoint.address, evidence, trio.current_time() + limit)
    evidence.accept()
    link = PlainLink(tcp, evidence, limit)
    await _probe_first(link)
    return link


class PlainLink(Link):
    """A link without TLS: the server has proved only that it echoes."""

    def __init__(self, tcp: TCPStream, evidence: Evidence, timeout: float) -> None:
        self._tcp = tcp
        self._evidence = evidence
        self._timeout = timeout

    def make_report(self) -> Report:
        """See `Link.make_report`; never more than that it echoes."""
        summary = "echoed in plaintext: neither side has proved who it is"
        return msgspec.structs.replace(diagnose(self._evidence), summary=summary)

    async def probe(self) -> float:
        """See `Link.probe`."""
        nonce = _nonce()
        started = time.perf_counter()
        with trio.move_on_after(self._timeout) as scope:
            await self._exchange(nonce)
        if scope.cancelled_caught:
            self._evidence.time_out()
            self._fail()
        return time.perf_counter() - started

    async def watch(self, seconds: float) -> None:
        """See `Link.watch`."""
        with trio.move_on_after(seconds):
            await self._receive(1)
            self._evidence.mismatch(_UNASKED)
            self._fail()

    async def _exchange(self, nonce: bytes) -> None:
        try:
            await self._tcp.send_all(nonce)
        except trio.BrokenResourceError:
            self._end("reset")
        answer = b""
        while len(answer) < len(nonce):
            answer += await self._receive(len(nonce) - len(answer))
            if not nonce.startswith(answer):
                self._contradict(answer)

    async def _receive(self, limit: int) -> bytes:
        try:
            data = await self._tcp.receive_some(limit)
        except trio.BrokenResourceError:
            self._end("reset")
        return data or self._end("eof")

    def _contradict(self, answer: bytes) -> NoReturn:
        seen = f"sent text, received {answer[:24]!r}"
        if answer.startswith(_TLS_ALERT):
            seen += ", as a TLS server answers plaintext"
        self._evidence.mismatch(seen)
        self._fail()

    def _end(self, how: TransportEnd) -> NoReturn:
        self._evidence.await_first_read()  # or the end would be said to lack a close_notify
        self._evidence.end_transport(how)
        self._fail()

    def _fail(self) -> NoReturn:
        self._evidence.fail()
        raise TLSFailure(self._evidence)

    async def aclose(self) -> None:
        """See `Link.aclose`."""
        await trio.aclose_forcefully(self._tcp)


def _nonce() -> bytes:
    return b"mtls-echo %s\n" % secrets.token_hex(8).encode()
