"""DER (X.690), as far as it takes to find the parts of a certificate or a CRL.

Lengths may be longer than they need be, as OpenSSL takes them; an indefinite one is not read.
What the parts hold is for others to read, each by itself, so that an odd one spoils no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

INTEGER, BIT_STRING, OCTET_STRING, OBJECT_IDENTIFIER = 0x02, 0x03, 0x04, 0x06
SEQUENCE, SET = 0x30, 0x31


class UnreadableError(ValueError):
    """A certificate or CRL, or a part of one, that cannot be read."""


class Element(NamedTuple):
    """One element: its tag, its contents, and the whole of it."""

    tag: int
    contents: bytes
    der: bytes


def elements(contents: bytes) -> Iterator[Element]:
    """Split the contents of a constructed element into its elements.

    Raises:
        UnreadableError: If they are cut off.
    """
    position = 0
    while position < len(contents):
        found = first(contents, position)
        yield found
        position += len(found.der)


def first(der: bytes, position: int = 0) -> Element:
    """Return the element that begins at a position; what follows it is ignored.

    Raises:
        UnreadableError: If it is cut off.
    """
    header = der[position : position + 2] + b"\0\0"
    tag, length = header[0], header[1]
    start = position + 2
    if length > 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[position + 2 : start])
    elif length == 0x80:
        raise UnreadableError("the length of a DER element is indefinite")
    end = start + length
    if len(der) < max(end, position + 2) or tag & 0x1F == 0x1F:
        raise UnreadableError("a DER element is cut off")
    return Element(tag, der[start:end], der[position:end])


def encode(tag: int, contents: bytes) -> bytes:
    """Return an element; the length is as short as it can be (X.690 §10.1)."""
    length = len(contents)
    if length < 0x80:
        return bytes([tag, length]) + contents
    octets = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(octets)]) + octets + contents


def dotted(contents: bytes) -> str:
    """Return an OBJECT IDENTIFIER in dotted form, from its contents (X.690 §8.19)."""
    arcs, arc = list[int](), 0
    for octet in contents:
        arc = arc << 7 | octet & 0x7F
        if octet < 0x80:
            arcs.append(arc)
            arc = 0
    root = min(arcs[0] // 40, 2) if arcs else 0
    return ".".join(map(str, (root, arcs[0] - 40 * root, *arcs[1:]))) if arcs else ""
