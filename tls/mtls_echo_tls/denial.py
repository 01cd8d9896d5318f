"""The echo protocol has one sentence of its own: the line that turns an identity away.

Authentication ("who are you?") is TLS's work, and its refusal is an alert. Authorisation ("may
you enter?") comes after it, over an established connection that both sides trust; refusing with
an alert there would read as a broken certificate. So the server says it in one line of
application data, then closes cleanly, and the client can tell the two apart: exit 9, not 5.
"""

from __future__ import annotations

from mtls_echo_pki.printable import printable

DENIAL = b"mtls-echo: not authorised: "

# The line quotes the peer's own names, which the peer chose.
_LONGEST_LINE = 512


def denial_line(reason: str) -> bytes:
    """The one line a server sends to an authenticated client that may not enter.

    Args:
        reason: What was looked for and not found; what is not printable is escaped, and
            the line is cut at 512 bytes.
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
