"""Open a TCP connection, or fail with the name of each address that was tried.

A name may lead to several addresses, which trio tries side by side (RFC 8305). When none of them
answers, "connection refused" alone says too little: refused by ``::1`` or by ``127.0.0.1``?
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import cast

import trio

from mtls_echo_tls.address import Address
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tcp import TCPStream

# What a protocol says in the clear before TLS begins (STARTTLS).
Prologue = Callable[[TCPStream, Evidence], Awaitable[None]]


async def open_tcp(address: Address, evidence: Evidence, deadline: float) -> TCPStream:
    """Connect to the first address that answers before ``deadline``, on trio's clock.

    Raises:
        TLSFailure: None did; ``evidence`` names each that was tried.
    """
    cause: OSError | None = None
    with trio.CancelScope(deadline=deadline):
        try:
            return await TCPStream.connect(address.host, address.port)
        except UnicodeError as error:
            # A certificate may have a name that DNS cannot (RFC 5892): a snowman is one.
            cause = OSError(f"cannot be looked up: {str(error)[:1].lower()}{str(error)[1:]}")
        except OSError as error:
            cause = error
    reason = "no answer in time" if cause is None else _reasons(cause)
    evidence.no_connection(f"{await _tried(address)}: {reason}", timed_out=cause is None)
    raise TLSFailure(evidence) from cause


async def speak(
    prologue: Prologue, transport: TCPStream, evidence: Evidence, deadline: float
) -> None:
    """Say what comes before TLS; whatever it raises, the connection is closed.

    Raises:
        TLSFailure: It was not over before ``deadline``.
    """
    try:
        with trio.CancelScope(deadline=deadline) as scope:
            await prologue(transport, evidence)
        if scope.cancelled_caught:
            evidence.time_out()
            evidence.finish()
            raise TLSFailure(evidence)
    except BaseException:
        transport.close()
        raise


def _reasons(error: OSError) -> str:
    """Why the attempts failed, as the operating system says it, each reason once."""
    attempts = error.__cause__  # a group, with one error for each address
    found: list[OSError] = []
    if isinstance(attempts, ExceptionGroup):
        group = cast("ExceptionGroup[Exception]", attempts)
        found = [each for each in group.exceptions if isinstance(each, OSError)]
    return " / ".join(sorted({_reason(each) for each in found or [error]}))


def _reason(error: OSError) -> str:
    # The text of an attempt names its address in Python's notation; the number says the same.
    # A failed lookup has a negative number of its own kind.
    number = error.errno or 0
    text = os.strerror(number) if number > 0 else str(error.strerror or error)
    return text[:1].lower() + text[1:]


async def _tried(address: Address) -> str:
    """The socket addresses behind ``address``, or itself when the lookup is what failed."""
    with trio.move_on_after(1.0):
        try:
            found = await trio.socket.getaddrinfo(
                address.host, address.port, type=trio.socket.SOCK_STREAM
            )
        except (OSError, UnicodeError):
            return address.host
        targets = dict.fromkeys(str(Address(str(entry[4][0]), address.port)) for entry in found)
        return ", ".join(targets)
    return str(address)
