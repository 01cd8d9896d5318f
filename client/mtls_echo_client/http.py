"""One request in HTTP/1.1, by h11, and what its answer says: a server's verdict on its client.

nginx and others complete the handshake with any client, and refuse in their answer. Everything
about that answer is the server's choice, so every part of it is bounded: the header by
`MOST_HEADER` bytes, what is read of the body by `MOST_BODY` bytes and `_BODY_PATIENCE` seconds,
and all of it by the deadline of the connection.
"""

from __future__ import annotations

import re
import ssl
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import trio

from mtls_echo_client.session import Session
from mtls_echo_tls.address import Address
from mtls_echo_tls.answers.answer import (
    MOST_BODY,
    ServerAnswer,
    heard,
    http_answer,
    unfinished,
    unknown,
)
from mtls_echo_tls.diagnosis.failure import TLSFailure

if TYPE_CHECKING:
    import h11

# As much as common servers send at most, several times over.
MOST_HEADER = 64 * 1024

# The status has been read by then, and only an error's text may still tell more.
_BODY_PATIENCE = 1.0

# What is given to h11 at once, which limits what is incomplete and not what is whole.
_PIECE = 16 * 1024

# Of h11 for a header that is too long (RFC 6585 §5).
_TOO_LARGE = 431

_SWITCH = re.compile(rb"HTTP/1\.\d 101\b")

_TOKEN = frozenset(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~")  # RFC 9110 §5.6.2

_HTTPS = 443


@dataclass(frozen=True)
class HTTPRequest:
    """What to ask for.

    Attributes:
        path: With a query if need be; it begins with a slash.
        header: More fields, or others in place of Host, User-Agent, Accept and Connection.

    Raises:
        ValueError: It cannot be written in HTTP.
    """

    path: str = "/"
    method: Literal["GET", "HEAD"] = "GET"
    header: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not self.path.startswith("/"):
            raise ValueError(f"{self.path!r} is not a path: it begins with /")
        if not (self.path.isascii() and self.path.isprintable()) or " " in self.path:
            raise ValueError(f"{self.path!r} has characters that a path must have encoded (%20)")
        for name, value in self.header:
            if not name or not {*name} <= _TOKEN:
                raise ValueError(f"{name!r} is not the name of a header field")
            if not (value.isprintable() and value.isascii()):
                raise ValueError(f"the field {name} has a value of other than printable ASCII")
            if name.lower() in ("content-length", "transfer-encoding"):
                raise ValueError(f"the field {name} belongs to a request with a body")

    def fields(self, host: str, port: int) -> list[tuple[str, str]]:
        """The whole header of a request to this server."""
        bracketed = str(Address(host, port)) if port != _HTTPS else _bracketed(host)
        usual = {
            "Host": bracketed,
            "User-Agent": "mtls-echo",
            "Accept": "*/*",
            "Connection": "close",
        }
        given = {name.lower() for name, _ in self.header}
        own = [(name, value) for name, value in usual.items() if name.lower() not in given]
        return [*own, *self.header]


def offer_http(context: ssl.SSLContext) -> None:
    """Offer HTTP/1.1 (ALPN, RFC 7301), without which a server may speak HTTP/2; insist on none.

    And offer to be asked for a certificate behind the handshake (RFC 8446 §4.6.2), as Apache does
    where not every path demands one.
    """
    context.set_alpn_protocols(["http/1.1"])
    context.post_handshake_auth = True


async def ask(session: Session, request: HTTPRequest, port: int, limit: float) -> None:
    """Send one request, and note the answer in the session's evidence.

    Args:
        port: Belongs in the field Host.
        limit: Seconds for the whole exchange.

    Raises:
        TLSFailure: There was no answer: a refusal, an end, or silence.
    """
    import h11

    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEADER)
    header = request.fields(session.evidence.server_name or "", port)
    head = connection.send(h11.Request(method=request.method, target=request.path, headers=header))
    received = bytearray()
    with trio.move_on_after(limit) as scope:
        await session.stream.send_all((head or b"") + (connection.send(h11.EndOfMessage()) or b""))
        session.evidence.hear(await _answer(session, connection, received))
    if not scope.cancelled_caught:
        return
    if received and not _is_http(received):
        session.evidence.hear(_other(session, bytes(received)))
        return
    if received:
        session.evidence.hear(unfinished(bytes(received)))
    raise session.stream.expire()


async def _answer(
    session: Session, connection: h11.Connection, received: bytearray
) -> ServerAnswer:
    """The answer, once its header is complete; text of its body as far as that comes soon.

    ``received`` is filled with the first bytes of it, for where it never is complete.
    """
    import h11

    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                break
            if event is h11.NEED_DATA:
                data = await session.stream.receive_some(_PIECE)
                if not data:
                    return _closed(session, bytes(received))
                received += data[: MOST_BODY - len(received)]
                connection.receive_data(data)
    except h11.RemoteProtocolError as error:
        why = str(error)
        if error.error_status_hint == _TOO_LARGE:
            why = f"a header of more than {MOST_HEADER // 1024} KiB"
        elif connection.their_state is h11.ERROR and _SWITCH.match(received):
            why = "a switch to another protocol (101) that was not asked for"
        return _other(session, bytes(received), why)
    body = bytearray()
    with trio.move_on_after(_BODY_PATIENCE):
        await _read_body(session, connection, body)
    header = {bytes(name).lower(): bytes(value) for name, value in event.headers}
    version, phrase = bytes(event.http_version), bytes(event.reason)
    return http_answer(version, event.status_code, phrase, header, bytes(body))


async def _read_body(session: Session, connection: h11.Connection, body: bytearray) -> None:
    import h11

    try:
        while len(body) < MOST_BODY:
            event = connection.next_event()
            if isinstance(event, h11.Data):
                body += event.data[: MOST_BODY - len(body)]
            elif event is h11.NEED_DATA:
                connection.receive_data(await session.stream.receive_some(_PIECE))
            else:
                return
    except (h11.RemoteProtocolError, TLSFailure):
        return  # many a server ends without close_notify; the status has been read


def _closed(session: Session, received: bytes) -> ServerAnswer:
    """What the server said before it closed, if that is whole; else it fails."""
    if received and not _is_http(received):
        return _other(session, received)
    # A close_notify where TLS 1.3 owed us a verdict is evidence enough by itself.
    if session.evidence.stage != "first-read":
        when = "in the middle of its answer" if received else "before it had answered"
        session.evidence.close_early(when)
    raise TLSFailure(session.evidence)


def _other(session: Session, received: bytes, why: str = "") -> ServerAnswer:
    """What is not an answer in HTTP: a denial, another protocol, or nothing that is known."""
    session.evidence.read_denial(received)
    known = None if _is_http(received) else heard(received)
    return known or unknown(received, why)


def _is_http(received: bytes | bytearray) -> bool:
    return received.startswith(b"HTTP/")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
