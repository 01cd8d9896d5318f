"""The denial line: the one line by which the echo server refuses an authenticated client.

Authentication is the work of TLS, which refuses by an alert. Authorisation comes after it, over an
established connection that both sides trust; refusing with an alert there would look like a broken
certificate. So the server sends one line of application data, then closes cleanly, and the client
can tell the two apart: exit 9, not 5.
"""

from __future__ import annotations

from mtls_echo_pki.printable import printable

DENIAL = b"mtls-echo: not authorised: "

# What the reason says where no rule names the client, and where its certificate cannot be read.
NOT_AMONG = "is not among the clients that are authorised"
ONLY_CERTAIN = "no client certificate was presented, and only certain clients are authorised"
UNREADABLE = "the client certificate cannot be read"

# The line quotes the client's own names, which are untrusted.
_LONGEST_LINE = 512


def denial_line(reason: str) -> bytes:
    """The line that a server sends to an authenticated client that is not authorised.

    Unprintable characters of the reason are escaped, and the line is cut at 512 bytes.
    """
    room = _LONGEST_LINE - len(DENIAL) - 1
    fitting = printable(reason).encode()[:room].decode("utf-8", "ignore")
    return DENIAL + fitting.encode() + b"\n"


def denial_in(received: bytes) -> str | None:
    """The reason, when ``received`` is a denial line and nothing else; else None."""
    if not received.startswith(DENIAL) or not received.endswith(b"\n"):
        return None
    if len(received) > _LONGEST_LINE or received.count(b"\n") != 1:
        return None
    return printable(received[len(DENIAL) : -1].decode("utf-8", "replace"))
