"""One request in HTTP/2, by h2, and what its answer says, of servers that speak nothing else.

Its bounds are those of `mtls_echo_client.http`: h2 takes a header of 64 KiB, more of a body than
its first window is never asked for, `_MOST` is all that is received, and all of it has the
deadline of the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from mtls_echo_tls.answers.answer import MOST_BODY, ServerAnswer, heard, http_answer, unknown
from mtls_echo_tls.diagnosis.failure import TLSFailure

if TYPE_CHECKING:
    from h2.connection import H2Connection
    from h2.events import Event

    from mtls_echo_client.http import HTTPRequest
    from mtls_echo_client.session import Session

# As for HTTP/1.1: the status has been read by then.
_BODY_PATIENCE = 1.0

# A header and a body as long as they may be, and what is sent between; h2 keeps a frame until it
# is whole, however long that says it is.
_MOST = 256 * 1024

# The length of a frame's head, and the server's first has to be SETTINGS (RFC 9113 §3.4).
_HEAD = 9

# The first, and only, stream of a client.
_STREAM = 1

# Of one connection of HTTP/1.1 (RFC 9113 §8.2.2), and what the pseudo-header has.
_LEFT_OUT = ("host", "connection", "proxy-connection", "keep-alive", "upgrade", "te")


async def ask(session: Session, request: HTTPRequest, port: int, limit: float) -> None:
    """Send one request, and note the answer in the session's evidence.

    Raises:
        TLSFailure: There was no answer: a refusal, an end, or silence.
    """
    from h2.config import H2Configuration
    from h2.connection import H2Connection

    connection = H2Connection(H2Configuration(header_encoding=None))
    connection.local_settings.enable_push = 0
    connection.initiate_connection()
    fields = request.fields(session.evidence.server_name or "", port)
    connection.send_headers(_STREAM, _header(request, fields), end_stream=True)
    with trio.move_on_after(limit) as scope:
        session.evidence.hear(await _answer(session, connection))
    if scope.cancelled_caught:
        raise session.stream.expire()


def _header(request: HTTPRequest, fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pseudo-header, which comes first, and what a request of HTTP/1.1 has (RFC 9113 §8.3)."""
    lower = [(name.lower(), value) for name, value in fields]
    return [
        (":method", request.method),
        (":scheme", "https"),
        (":authority", dict(lower)["host"]),
        (":path", request.path),
        *((name, value) for name, value in lower if name not in _LEFT_OUT),
    ]


async def _answer(session: Session, connection: H2Connection) -> ServerAnswer:
    """The answer, once its header is complete; text of its body as far as that comes soon."""
    from h2.exceptions import ProtocolError

    received, begun, size = _Received(), b"", 0
    with trio.CancelScope() as patience:
        while not received.is_over:
            try:
                await session.stream.send_all(connection.data_to_send())
                data = await session.stream.receive_some()
                size += len(data)
                if len(begun) < _HEAD:
                    begun += data
                    known = heard(begun)
                    if len(begun) >= _HEAD and (known is None or known.protocol != "HTTP/2"):
                        return known or unknown(begun)
                events = connection.receive_data(data) if data else []
            except ProtocolError as error:
                return received.answer() or _no_answer(f"what h2 takes for {type(error).__name__}")
            except TLSFailure:
                if received.header is None:
                    raise
                break
            if not data:
                break
            for event in events:
                received.note(event)
            if size > _MOST:
                return received.answer() or _no_answer(f"more than {_MOST // 1024} KiB")
            if received.header is not None and patience.deadline == float("inf"):
                patience.deadline = trio.current_time() + _BODY_PATIENCE
    if answer := received.answer():
        return answer
    if session.evidence.stage != "first-read":
        session.evidence.close_early("before it had answered")
    raise TLSFailure(session.evidence)


class _Received:
    """What has come of an answer."""

    def __init__(self) -> None:
        self.header: dict[bytes, bytes] | None = None
        self.is_over = False
        self._body = b""
        self._in_its_place = ""

    def note(self, event: Event) -> None:
        """Take what one event has."""
        from h2 import events

        if isinstance(event, events.StreamReset | events.ConnectionTerminated):
            self._in_its_place = f"error {int(event.error_code or 0)}"
            self.is_over = True
        elif getattr(event, "stream_id", _STREAM) != _STREAM:
            return
        elif isinstance(event, events.ResponseReceived):
            self.header = {bytes(name): bytes(value) for name, value in event.headers or ()}
        elif isinstance(event, events.DataReceived):
            self._body = (self._body + bytes(event.data or b""))[:MOST_BODY]
            self.is_over |= len(self._body) == MOST_BODY
        elif isinstance(event, events.StreamEnded):
            self.is_over = True

    def answer(self) -> ServerAnswer | None:
        """What the server said; None if it has said nothing of this request."""
        if self.header is not None:
            status = self.header[b":status"]
            number = int(status) if status.isdigit() and len(status) == 3 else 0
            return http_answer(b"2", number, b"", self.header, self._body)
        return _no_answer(self._in_its_place) if self._in_its_place else None


def _no_answer(what: str) -> ServerAnswer:
    """Where a request was not answered: it was reset, or the server is about to go.

    That says nothing of who asks: a server that drains sends it too (RFC 9113 §6.8), and one that
    is asked too often.
    """
    return ServerAnswer(protocol="HTTP/2", text=f"{what} in place of an answer")
