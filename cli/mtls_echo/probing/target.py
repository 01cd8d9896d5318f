"""The server that is probed: where it is, how it is spoken to, and how fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import trio

from mtls_echo_client.dial import Prologue
from mtls_echo_client.http import HTTPRequest
from mtls_echo_tls.vocabulary import API, Vocabulary

if TYPE_CHECKING:
    from mtls_echo_pki.certificates.trust import Trust
    from mtls_echo_pki.flaws.flaw import TLSVersion

# What tells that a client got in: an answer in HTTP, an echo, or a handshake that is not refused.
Mode: TypeAlias = Literal["http", "echo", "handshake"]

# What the operator meant.
ClientAuth: TypeAlias = Literal["required", "optional", "none"]

BOTH: tuple[TLSVersion, ...] = ("1.2", "1.3")

# What an echo is asked of.
MESSAGE = b"mtls-echo probe\n"


@dataclass(frozen=True, kw_only=True)
class ProbeTarget:
    """A server, and how it is probed.

    Attributes:
        trust: The CAs that it is verified with; None: the system's.
        server_names: Those it is asked for by, the first mostly; never empty.
        mode: As `Mode`; None: found out with the good identity.
        request: What is asked for in HTTP.
        client_auth: What the operator meant.
        versions: The versions of TLS to probe.
        wait: Seconds in which a server that says nothing would have refused a client.
        timeout: Seconds for one connection.
        alpn: Application protocols to offer (ALPN); empty: HTTP/1.1 where that is spoken.
        between: Run between taking a session from the server and resuming it.
        prologue: What a protocol says in the clear before TLS begins (STARTTLS).
        vocabulary: What options are called in remedies.
        forge_headers: Whether to claim identities in HTTP headers.
        repeat: How often an identity that is refused has to be, to count as refused.
    """

    host: str
    port: int
    trust: Trust | None
    server_names: tuple[str, ...]
    mode: Mode | None = None
    request: HTTPRequest = field(default_factory=HTTPRequest)
    client_auth: ClientAuth = "required"
    versions: tuple[TLSVersion, ...] = BOTH
    wait: float = 1.0
    timeout: float = 5.0
    alpn: tuple[str, ...] = ()
    between: str | None = None
    prologue: Prologue | None = None
    vocabulary: Vocabulary = API
    forge_headers: bool = False
    repeat: int = 3

    def offers(self, mode: Mode) -> tuple[str, ...]:
        """The application protocols that are offered where it is spoken to so."""
        return self.alpn or (("http/1.1",) if mode == "http" else ())


class PaceLimit:
    """Limits how many connections are opened in a second, and how many there are at once."""

    def __init__(self, per_second: float, at_once: int = 24) -> None:
        self._interval = 1 / per_second
        self._next = 0.0
        self._room = trio.CapacityLimiter(at_once)
        self.opened = 0

    def slow_down(self) -> None:
        """From now on one connection at a time: some servers do not serve several at once."""
        self._room.total_tokens = 1

    async def __aenter__(self) -> None:
        await self._room.acquire_on_behalf_of(trio.lowlevel.current_task())
        at = max(self._next, trio.current_time())
        self._next = at + self._interval
        try:
            await trio.sleep_until(at)
        except BaseException:
            self._room.release_on_behalf_of(trio.lowlevel.current_task())
            raise
        self.opened += 1

    async def __aexit__(self, *_: object) -> None:
        self._room.release_on_behalf_of(trio.lowlevel.current_task())
