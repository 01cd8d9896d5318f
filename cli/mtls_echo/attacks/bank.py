"""A bank's server, with two ways to log in: a name and a password, or a client certificate.

Here only to be attacked. The login with a password is as good as one can be: passwords are kept as
scrypt hashes (RFC 7914), each with its own salt; they are compared in constant time; and an
unknown name takes as long as a wrong password, so that time does not tell which names exist. What
no care can change is what a password is: a secret that is told to each server that asks for it.

The two ways differ in one thing, where the name comes from::

    client                       server
    NAME PASSWORD                                 with a password only
                                 welcome, NAME
    ORDER                                         as many as it likes
                                 done: ORDER

There is no limit on tries, which is what an attacker would wish for. A limit per name or address
slows a guesser down (`mtls_echo.attacks.guessing`), and changes nothing about the other attacks:
they need one try.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import trio

from mtls_echo_client.session import Session, connect
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.stream.tls import TLSStream

WELCOME = "welcome, "
WRONG = "wrong name or password"
DONE = "done: "

# The cost that scrypt was made with in mind for interactive logins (Percival 2009, RFC 7914 §2):
# 16 MiB of memory for each check.
COST = 2**14
_BLOCK_SIZE, _PARALLEL = 8, 1
_SALT = 16

# The longest line that is waited for.
_LONGEST_LINE = 1024

# Against a hang only, in seconds: no result depends on it.
TIMEOUT = 10.0


class Accounts:
    """Names and the hashes of their passwords.

    Attributes:
        checks: How many passwords were checked.
        seconds: The CPU time that took.
    """

    def __init__(self, passwords: Mapping[str, str], *, cost: int = COST) -> None:
        self.checks = 0
        self.seconds = 0.0
        self._cost = cost
        self._hashes: dict[str, tuple[bytes, bytes]] = {}
        for name, password in passwords.items():
            salt = os.urandom(_SALT)
            self._hashes[name] = salt, self._hash(password, salt)
        self._unknown = os.urandom(_SALT), b""

    def check(self, name: str, password: str) -> bool:
        """Return whether this is the password of that name; blocking, for about 50 ms."""
        began = time.thread_time()
        salt, expected = self._hashes.get(name, self._unknown)
        # For an unknown name too: the time that this takes must not tell which names exist.
        found = hmac.compare_digest(self._hash(password, salt), expected)
        self.seconds += time.thread_time() - began
        self.checks += 1
        return found

    def _hash(self, password: str, salt: bytes) -> bytes:
        return hashlib.scrypt(
            password.encode(), salt=salt, n=self._cost, r=_BLOCK_SIZE, p=_PARALLEL
        )


@dataclass
class Bank:
    """A server that carries out the orders of clients that have logged in.

    Attributes:
        accounts: Who may log in with which password; None: by certificate only.
        orders: Those carried out, each with the name it was given in.
    """

    accounts: Accounts | None = None
    orders: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one client until it closes: a handler for `mtls_echo_server.service.Server`."""
        lines = _LineReader(stream)
        name = await self._log_in(stream, lines)
        if name is None:
            await _send_line(stream, WRONG)
            return
        await _send_line(stream, f"{WELCOME}{name}")
        while order := await lines.read():
            self.orders.append((name, order))
            await _send_line(stream, f"{DONE}{order}")

    async def _log_in(self, stream: trio.abc.Stream, lines: _LineReader) -> str | None:
        if self.accounts is None:
            # TLS has verified the certificate, and that the client has its key.
            peer = stream.peer if isinstance(stream, TLSStream) else None
            return None if peer is None else str(peer)
        name, _, password = (await lines.read() or "").partition(" ")
        right = await trio.to_thread.run_sync(self.accounts.check, name, password)
        return name if right else None


class _LineReader:
    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._received = b""

    async def read(self) -> str | None:
        """The next line without its end; None when none will come."""
        while b"\n" not in self._received:
            data = await self._stream.receive_some()
            self._received += data
            if not data or len(self._received) > _LONGEST_LINE:
                return None
        line, _, self._received = self._received.partition(b"\n")
        return line.decode("utf-8", "replace")


async def _send_line(stream: trio.abc.SendStream, line: str) -> None:
    await stream.send_all(f"{line}\n".encode())


# --- its customers -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Visit:
    """What a customer was answered, line by line, and what its client reports."""

    answers: list[str]
    report: Report

    @property
    def is_logged_in(self) -> bool:
        """Whether the bank knows the customer by name."""
        return bool(self.answers) and self.answers[0].startswith(WELCOME)


@dataclass(frozen=True)
class Customer:
    """A client of the bank.

    Args:
        login: "NAME PASSWORD"; None: the client's certificate is enough.
        orders: What it has the bank do.
    """

    login: str | None
    orders: tuple[str, ...] = ()

    async def visit(self, port: int, context: ssl.SSLContext, site: str) -> Visit:
        """Log in at a site and give the orders, as far as one gets."""
        answers: list[str] = []
        try:
            async with await connect(
                "127.0.0.1", port, context, server_name=site, timeout=TIMEOUT
            ) as session:
                await self._talk(session, answers)
                return Visit(answers, session.report)
        except TLSFailure as failure:
            return Visit(answers, failure.report)

    async def _talk(self, session: Session, answers: list[str]) -> None:
        if self.login is not None:
            await session.send(f"{self.login}\n".encode())
        answers.append(await _receive_line(session))
        for order in self.orders if answers[0].startswith(WELCOME) else ():
            await session.send(f"{order}\n".encode())
            answers.append(await _receive_line(session))


async def _receive_line(session: Session) -> str:
    received = b""
    while not received.endswith(b"\n"):
        received += await session.receive()
    return received.decode("utf-8", "replace").rstrip()
