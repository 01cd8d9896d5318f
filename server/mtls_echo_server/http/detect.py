"""Tell a request of HTTP from what an echo client sends, by its first bytes.

Every connection is looked at once, so nothing is imported here that another protocol needs.
"""

from __future__ import annotations

import re

# What a TLS client says that it will speak (RFC 7301 §6).
HTTP_1_1 = "http/1.1"

# What a client of HTTP/2 says first (RFC 9113 §3.4).
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# A request line (RFC 9112 §3), or the beginning of one that is too long for a record. What only
# begins with such a word ("GET well soon") is to be echoed.
_METHOD = rb"(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH|PRI) "
_REQUEST = re.compile(_METHOD + rb"(?:[^\s]+ HTTP/\d|(?:/|https?://)[^\s]*\Z)")


def is_request(first: bytes) -> bool:
    """Whether the first bytes of a connection are a request of HTTP, or the beginning of one."""
    return _REQUEST.match(first) is not None
