"""HTTP/1.1 over a stream, by h11: request after request, each answered whole.

Whatever a client does is bounded: the size of a request's head (h11 counts it), that of a body,
the time from a request's first byte to its last, the time to send the answer, and how many
requests one connection may bring. Requests that were sent ahead (pipelining) wait in the buffer of
h11, and no more is received before they are answered.

What two programs could understand differently is refused, and the connection closed: a length
beside chunks (RFC 9112 §6.3), a version that is not 1.0 or 1.1, a target without a path.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.utils import formatdate
from http import HTTPStatus
from typing import Protocol

import h11
import trio

from mtls_echo_server.http.detect import PREFACE
from mtls_echo_server.http.problems import problem
from mtls_echo_server.http.site import HTTPResponse, ReceivedRequest, Route, Site

# Of a request line and its headers, in bytes.
MOST_HEAD = 16 * 1024


class ByteStream(Protocol):
    """What a conversation needs of a stream: one of trio's, or a TLS connection."""

    async def receive_some(self) -> bytes | bytearray:
        """Receive bytes; none at the end."""
        ...

    async def send_all(self, data: bytes) -> None:
        """Send bytes."""
        ...


@dataclass(frozen=True)
class Bounds:
    """How long and how many; times in seconds.

    Args:
        reading: From the first byte of a request to its last.
        sending: Of the answer.
        waiting: For the next request; by default that is left to the caller.
        requests: On one connection.
    """

    reading: float = 10.0
    sending: float = 30.0
    waiting: float = math.inf
    requests: int = 1000


class Conversation:
    """One connection of HTTP/1.1.

    Args:
        stream: Where the client is.
        site: What answers it.
        begun: What was received already.
        bounds: How long and how many.
        between: Told whether the client is between two requests, where it may go without a word.
        closing: Whether the next answer is to be the last one.

    Attributes:
        requests: How many were answered, what was no request at all included.
        stalled: Whether an answer could not be sent in time: half of it may be out.
        finished: Whether the client has ended it, with nothing outstanding.
    """

    def __init__(
        self,
        stream: ByteStream,
        site: Site,
        *,
        begun: bytes = b"",
        bounds: Bounds | None = None,
        between: Callable[[bool], object] = bool,
        closing: Callable[[], bool] = bool,
    ) -> None:
        self._stream = stream
        self._site = site
        self._bounds = bounds or Bounds()
        self._between = between
        self._closing = closing
        self._begun = begun
        self._is_head = False
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEAD)
        self.requests = 0
        self.stalled = False
        self.finished = False

    async def run(self) -> None:
        """Answer until either side ends it; the caller closes the stream."""
        while await self._wait_for_request():
            self._between(False)
            if PREFACE.startswith(self._begun[:24]) and self._begun[:4] == PREFACE[:4]:
                await self._send(_NOT_HTTP2)
                self.requests += 1
                return
            if self._begun:
                self._http.receive_data(self._begun)
                self._begun = b""
            response, close = await self._read_and_answer()
            self.requests += 1
            close |= self.requests >= self._bounds.requests or self._closing()
            if not await self._send(self._encoded(response, close=close)):
                return
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()
            self._between(True)

    async def _wait_for_request(self) -> bool:
        if self._begun or self._http.trailing_data[0]:
            return True
        with trio.move_on_after(self._bounds.waiting):
            self._begun = bytes(await self._stream.receive_some())
            self.finished = not self._begun
        return bool(self._begun)

    # --- a request -------------------------------------------------------------------------------

    async def _read_and_answer(self) -> tuple[HTTPResponse, bool]:
        """The response to the next request, and whether the connection is to be closed for it."""
        html = self._is_head = False
        try:
            with trio.move_on_after(self._bounds.reading):
                head = await self._next_event()
                if not isinstance(head, h11.Request):
                    return problem(400, "the connection ended before a request"), True
                self._is_head = head.method == b"HEAD"
                request = _request(head)
                html = request.wants_html
                found = self._find(request)
                if isinstance(found, HTTPResponse):
                    # A body would have to be read first.
                    has_body = self._has_body(head)
                    if not has_body:
                        await self._next_event()
                    return found, has_body
                return await self._answer(request, head, *found)
            return problem(408, "the request did not arrive in time", html=html), True
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint
            why = _TOO_LONG if status == 431 else _QUOTED.sub(r"\2", f"{error}")
            return problem(status, why, html=html), True
        except _RefusedError as error:
            return problem(error.status, f"{error}", html=html), True

    def _find(self, request: ReceivedRequest) -> HTTPResponse | tuple[Route, int]:
        rule = self._site(request.path)
        if rule is None:
            return problem(
                404, f"there is nothing at {request.path[:200]}", html=request.wants_html
            )
        route = rule.route(request.method)
        if route is None:
            why = f"{request.method[:20]} is not allowed here; allowed: {rule.allowed}"
            return problem(405, why, (("Allow", rule.allowed),), html=request.wants_html)
        return route, rule.most_body

    def _has_body(self, head: h11.Request) -> bool:
        return any(name in _FRAMING and value != b"0" for name, value in head.headers)

    async def _answer(
        self, request: ReceivedRequest, head: h11.Request, route: Route, most_body: int
    ) -> tuple[HTTPResponse, bool]:
        too_much = f"the body has more than the {most_body} bytes that are allowed here"
        body = bytearray()
        for name, value in head.headers:
            if name == b"content-length" and int(value) > most_body:
                raise _RefusedError(413, too_much)
        while not isinstance(event := await self._next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                body += event.data
                if len(body) > most_body:
                    raise _RefusedError(413, too_much)
            else:
                raise _RefusedError(400, "the connection ended in the middle of a request")
        return route(replace(request, body=bytes(body))), False

    async def _next_event(self) -> h11.Event:
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    go_on = self._http.send(h11.InformationalResponse(status_code=100, headers=[]))
                    await self._stream.send_all(go_on or b"")
                self._http.receive_data(bytes(await self._stream.receive_some()))
            elif event is h11.PAUSED:
                raise h11.RemoteProtocolError("there is no request here")
            else:
                assert not isinstance(event, type)  # noqa: S101  narrows the type
                return event

    # --- a response ------------------------------------------------------------------------------

    def _encoded(self, response: HTTPResponse, *, close: bool) -> bytes:
        headers = [
            ("Date", formatdate(usegmt=True)),
            ("Server", "mtls-echo"),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", response.policy),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
            ("Vary", "Accept"),
            *response.headers,
        ]
        if response.status != 204:
            headers += [
                ("Content-Type", response.kind),
                ("Content-Length", str(len(response.body))),
            ]
        if close:
            headers.append(("Connection", "close"))
        reason = HTTPStatus(response.status).phrase
        head = h11.Response(status_code=response.status, headers=headers, reason=reason)
        parts = [self._http.send(head)]
        if response.body and not self._is_head:
            parts.append(self._http.send(h11.Data(data=response.body)))
        parts.append(self._http.send(h11.EndOfMessage()))
        return b"".join(part or b"" for part in parts)

    async def _send(self, data: bytes) -> bool:
        with trio.move_on_after(self._bounds.sending):
            await self._stream.send_all(data)
            return True
        self.stalled = True
        return False


class _RefusedError(Exception):
    """A request that is refused with this status."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


_FRAMING = frozenset({b"content-length", b"transfer-encoding"})

_TOO_LONG = f"a request line and its headers have {MOST_HEAD} bytes at most"

# How h11 quotes what it could not read.
_QUOTED = re.compile(r"bytearray\(b(['\"])(.*)\1\)")


def _request(head: h11.Request) -> ReceivedRequest:
    size = len(head.target) + sum(len(name) + len(value) for name, value in head.headers)
    if size > MOST_HEAD:
        # h11 counts what is incomplete only, and this came at once.
        raise _RefusedError(431, _TOO_LONG)
    if head.http_version not in (b"1.0", b"1.1"):
        raise _RefusedError(505, "this server speaks HTTP/1.1")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    if {"content-length", "transfer-encoding"} <= headers.keys():
        raise _RefusedError(400, "a request has a Content-Length or a Transfer-Encoding, not both")
    method, target = head.method.decode("latin-1"), head.target.decode("latin-1")
    try:
        return ReceivedRequest.of(method, target, headers)
    except ValueError as error:
        raise _RefusedError(400, f"the target of a request is a path: {error}") from error


def _frame(kind: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind]) + bytes(5) + payload


# To a client that begins with HTTP/2 without having asked whether it may: SETTINGS, which have to
# come first, then GOAWAY with HTTP_1_1_REQUIRED (RFC 9113 §7).
_NOT_HTTP2 = _frame(4, b"") + _frame(
    7, bytes(4) + (0xD).to_bytes(4) + b"this port speaks HTTP/1.1, not HTTP/2"
)
