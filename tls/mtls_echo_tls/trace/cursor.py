"""Read numbers and vectors of TLS messages, without trusting a length.

RFC 8446 §3.4 knows numbers of fixed width and vectors: a length, then so many bytes, which may
hold vectors again. `Cursor` reads them front to back; a length that leads beyond the end raises
`MalformedError`, which `mtls_echo_tls.trace.decoding` catches. Lists and texts for a reader are
cut at a bound, and a list says how much is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mtls_echo_pki.certificates.outline import DistinguishedName
from mtls_echo_tls.trace.codepoints import named
from mtls_echo_tls.trace.messages import extensions

# Entries of a list, of which the last may say how many more there were. OpenSSL offers 31 suites.
_MOST_ENTRIES = 64
_LONGEST_TEXT = 256


class MalformedError(Exception):
    """The message ends before its fields do."""


class Cursor:
    """Reads a message front to back, and never beyond its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes are still to be read."""
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        """The next bytes."""
        if size > self.left:
            raise MalformedError
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, width: int) -> int:
        """The next ``width`` bytes, as a number."""
        return int.from_bytes(self.take(width))

    def vector(self, width: int) -> bytes:
        """What follows a length of ``width`` bytes (RFC 8446 §3.4)."""
        return self.take(self.number(width))

    def extensions(self) -> dict[int, bytes]:
        """The extensions that end a message; none at all in old ones."""
        return dict(extensions(self.vector(2))) if self.left else {}


def numbers(data: bytes, prefix: int = 0) -> list[int]:
    """The two-byte numbers of a vector, after a length of ``prefix`` bytes."""
    whole = Cursor(data).vector(prefix) if prefix else data
    return [int.from_bytes(whole[at : at + 2]) for at in range(0, len(whole) - 1, 2)]


def names_of(table: Mapping[int, str], codes: Sequence[int], width: int = 2) -> list[str]:
    """The registered names of code points, for a reader."""
    return bounded(codes, lambda code: named(table, code, width))


def bounded(items: Sequence[Any], show: Callable[[Any], str]) -> list[str]:
    """The text of each item, and of how many there are beyond the bound."""
    if len(items) <= _MOST_ENTRIES:
        return [show(item) for item in items]
    shown = _MOST_ENTRIES - 1
    return [*map(show, items[:shown]), f"and {len(items) - shown} more"]


def server_name(extension: Cursor) -> str:
    """The host name in a server_name extension (RFC 6066 §3)."""
    names = Cursor(extension.vector(2))
    names.number(1)
    return text(names.vector(2))


def protocols(extension: bytes) -> list[str]:
    """The names in an ALPN extension (RFC 7301 §3.1)."""
    listed = Cursor(Cursor(extension).vector(2))
    names: list[bytes] = []
    while listed.left:
        names.append(listed.vector(1))
    return bounded(names, text)


def key_shares(extension: bytes) -> list[int]:
    """The groups for which a ClientHello brings a key (RFC 8446 §4.2.8)."""
    shares = Cursor(Cursor(extension).vector(2))
    groups: list[int] = []
    while shares.left:
        groups.append(shares.number(2))
        shares.vector(2)
    return groups


def text(data: bytes) -> str:
    """Bytes that should be a name, as text of bounded length."""
    return data[:_LONGEST_TEXT].decode("utf-8", "backslashreplace")


def distinguished_name(name: bytes) -> str:
    """A DER Name in the form of RFC 4514, of bounded length; in hexadecimal if malformed."""
    read = DistinguishedName(name)
    return str(read)[:_LONGEST_TEXT] if read.is_whole else f"0x{name[:32].hex()}"
