"""The two sides of a TLS connection, its stages and its end, and what it is made for."""

from __future__ import annotations

from typing import Literal

Side = Literal["client", "server"]
Stage = Literal["connect", "handshake", "first-read", "established"]

# How the transport ended, as seen from one side.
TransportEnd = Literal["open", "eof", "reset"]

# What a client connects for: to be echoed, to complete a handshake, or to ask in HTTP.
Purpose = Literal["echo", "handshake", "http"]

_PEER: dict[Side, Side] = {"client": "server", "server": "client"}


def peer_of(side: Side) -> Side:
    """The other side."""
    return _PEER[side]
