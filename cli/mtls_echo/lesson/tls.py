"""Chapter 1, what TLS is: the same line with it and without it, as a host on the path sees it."""

from __future__ import annotations

from functools import partial

import trio

from mtls_echo.attacks.relay import Relay
from mtls_echo.demo.blocks import Bullets, Prose, Screen, Section, Status, unmet
from mtls_echo.demo.credentials import HOST, DemoCredentials
from mtls_echo.lesson.stage import stage
from mtls_echo_tls.trace.messages import APPLICATION_DATA

_LINE = b"my password is swordfish\n"

_PER_LINE = 16


async def play(_: Status) -> list[Section]:
    """Send a line twice, once without TLS."""
    plain = await _without_tls()
    made = DemoCredentials.make()
    async with stage(made.server_context(mutual=False)) as scene:
        played = await scene.play(made.client_context(), line=_LINE)
        logged = scene.log[-1]
    encrypted = [
        each.data for each in played.tap.sent_by("client") if each.content_type == APPLICATION_DATA
    ]
    record = encrypted[-2]  # the last is close_notify
    everything = played.tap.everything
    claims = {
        "without TLS the relay has the line": _LINE in plain,
        "with TLS it has not": b"swordfish" not in everything,
        "the client accepts the server": played.client.outcome == "echoed",
        "the server does not know the client": played.server.peer is None,
        "the name of the server is in the clear": HOST.encode() in everything,
    }
    return [
        Section(
            "what TLS is for",
            (
                Prose(
                    "TLS (Transport Layer Security) protects a connection between a client and a"
                    " server. It is the S in https, and mail, databases and calls between services"
                    " use it as well. Here a client sends one line to a server, twice. On the path"
                    " between them is a relay that keeps every byte, as any router could. Without"
                    " TLS it has this:"
                ),
                Screen(_dump(plain)),
                Prose("And with TLS, when the server receives the same line:"),
                Screen(_dump(record)),
                Prose(
                    "What can be read there is the header: `17 03 03`, encrypted data, and `00"
                    " 2a`, its length. The rest cannot be told from random bytes."
                ),
            ),
            unmet(claims),
        ),
        Section(
            "what TLS promises, and what it does not",
            (
                Bullets(
                    (
                        "**Confidentiality.** Only the two ends can read what is sent.",
                        "**Integrity.** If a byte is changed, repeated or left out on the path,"
                        " the connection ends with an error.",
                        "**Authentication of the server.** The client has proof that it is talking"
                        f" to {HOST}, and not to someone else in its place.",
                    )
                ),
                Prose("That is all. In particular:"),
                Bullets(
                    (
                        "The server does not know who the client is. This server has logged"
                        f" “{logged}”. Web sites then ask for a password; mutual TLS, in chapter"
                        " 4, does better.",
                        "A proved name says nothing about its owner's honesty. A fraudster can"
                        " have a certificate too, for a name of their own.",
                        "Who talks to whom, when, and how much stays visible. So does the name of"
                        f" the server: the client's first message says “{HOST}”, in the clear.",
                    )
                ),
            ),
        ),
    ]


async def _without_tls() -> bytes:
    """The bytes that a relay has of a connection without TLS."""
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, _echo, 0, host="127.0.0.1"))
        relay = Relay(listener.socket.getsockname()[1])
        await nursery.start(relay.run)
        async with await trio.open_tcp_stream("127.0.0.1", relay.port) as stream:
            await stream.send_all(_LINE)
            echoed = b""
            async for data in stream:
                echoed += data
                if len(echoed) >= len(_LINE):
                    break
        nursery.cancel_scope.cancel()
    return b"".join(record.data for record in relay.taps[0].sent_by("client"))


async def _echo(stream: trio.SocketStream) -> None:
    async for data in stream:
        await stream.send_all(data)


def _dump(data: bytes) -> str:
    """The bytes in hexadecimal, and as text where they are text."""
    rows = (data[start : start + _PER_LINE] for start in range(0, len(data), _PER_LINE))
    return "\n".join(
        f"{row.hex(' '):<{3 * _PER_LINE}} {''.join(map(_character, row))}" for row in rows
    )


def _character(byte: int) -> str:
    return chr(byte) if chr(byte).isascii() and chr(byte).isprintable() else "."
