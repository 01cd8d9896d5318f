"""The two sides of a TLS connection, and the stages that a connection passes."""

from __future__ import annotations

from typing import Literal

Side = Literal["client", "server"]
Stage = Literal["connect", "handshake", "first-read", "established"]

_PEER: dict[Side, Side] = {"client": "server", "server": "client"}


def peer_of(side: Side) -> Side:
    """The other side."""
    return _PEER[side]
