"""Trying many logins: a list of leaked ones, or a list of likely passwords; and what a try costs.

*Credential stuffing* tries names and passwords that were stolen somewhere else: people use one
password at many sites. *Brute force* tries what is likely first. Both need a server that checks
what anyone sends. Behind mutual TLS there is none: a client without a certificate of the right CA
is refused in the handshake, and no password of it is ever read.

What remains to be guessed is the client's private key. A P-256 key takes about 2**128 operations
(NIST SP 800-57 part 1, table 2), and `years` says what that means.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mtls_echo.attacks.bank import Customer
from mtls_echo_tls.diagnosis.report import Report

KEY_STEPS = 2**128

_SECONDS_OF_A_YEAR = 365.25 * 24 * 3600


@dataclass
class Tries:
    """What came of a list of logins.

    Attributes:
        made: How many connections were made.
        checked: How many passwords the server answered.
        found: The login that fits; None if none did.
        refusal: The attacker's report of the last connection that TLS refused.
        seconds: From the first connection to the last.
    """

    made: int = 0
    checked: int = 0
    found: str | None = None
    refusal: Report | None = None
    seconds: float = 0.0


async def try_logins(
    port: int, context: ssl.SSLContext, site: str, logins: Iterable[str]
) -> Tries:
    """Try one login after the other, each over a connection of its own, until one fits."""
    tries, began = Tries(), time.monotonic()
    for login in logins:
        visit = await Customer(login).visit(port, context, site)
        tries.made += 1
        tries.checked += len(visit.answers)
        if visit.report.outcome == "refused":
            tries.refusal = visit.report
        if visit.is_logged_in:
            tries.found = login
            break
    tries.seconds = time.monotonic() - began
    return tries


@dataclass(frozen=True)
class HandshakeCost:
    """The CPU seconds that one handshake takes either end, whether it succeeds or not."""

    client: float
    server: float


def measure_handshake(
    client: Callable[[], ssl.SSLContext],
    server: ssl.SSLContext,
    site: str,
    repetitions: int = 20,
) -> HandshakeCost:
    """Shake hands in memory, and take the time of each end.

    Args:
        client: Makes the attacker's context for each try, as for a new key it has to; that is
            not counted.
        server, site: The server's context, and the name that is asked for.
        repetitions: The least of so many is what is reported.
    """
    costs: list[tuple[float, float]] = []
    for _ in range(repetitions):
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = (
            client().wrap_bio(to_client, to_server, server_hostname=site),
            server.wrap_bio(to_server, to_client, server_side=True),
        )
        spent = [0.0, 0.0]
        for turn in range(6):  # more than any handshake has flights
            began = time.thread_time()
            # It waits for the other, or refuses it: for what it costs, that makes no difference.
            with contextlib.suppress(ssl.SSLError):
                ends[turn % 2].do_handshake()
            spent[turn % 2] += time.thread_time() - began
        costs.append((spent[0], spent[1]))
    return HandshakeCost(min(c for c, _ in costs), min(s for _, s in costs))


def years(steps: int, per_second: float) -> float:
    """How long so many steps take."""
    return steps / per_second / _SECONDS_OF_A_YEAR
