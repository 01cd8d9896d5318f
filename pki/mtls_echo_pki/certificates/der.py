"""DER (X.690), as far as it takes to find the parts of a certificate or a CRL.

Lengths may be longer than they need be, as OpenSSL takes them; an indefinite one is not read.
What the parts hold is for others to read, each by itself, so that an odd one spoils no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, OBJECT_IDENTIFIER = 0x01, 0x02, 0x03, 0x04, 0x06
UTF8_STRING, SEQUENCE, SET = 0x0C, 0x30, 0x31

# NumericString, PrintableString, IA5String and VisibleString: each with characters of its own.
_RESTRICTED, _CONSTRUCTED = frozenset({0x12, 0x13, 0x16, 0x1A}), 0x20

_FALSE = bytes([BOOLEAN, 1, 0])

# The parts of a certificate that are read here are nested less deeply.
_DEEPEST = 16

# Octets of an arc of an OID: a UUID, the largest number that is in use as one, takes 19.
_LONGEST_ARC = 32


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


def canonical(element: Element, depth: int = _DEEPEST) -> bytes:
    """Return an element as strict readers of DER want it, with what others have left in it.

    Lengths are as short as they can be, what is false by default is left out, sets are in order,
    and a string of a type that forbids some characters is a UTF8String.

    Raises:
        UnreadableError: If a part is cut off, or nested too deeply.
    """
    if element.tag == BOOLEAN:
        if len(element.contents) != 1:
            raise UnreadableError("a BOOLEAN is not one octet")
        return encode(BOOLEAN, b"\xff" if any(element.contents) else b"\0")
    if element.tag in _RESTRICTED:
        return encode(UTF8_STRING, text_of(element.contents).encode())
    if not element.tag & _CONSTRUCTED:
        return encode(element.tag, element.contents)
    if not depth:
        raise UnreadableError("DER elements are nested too deeply")
    parts = [canonical(part, depth - 1) for part in elements(element.contents)]
    kept = [part for part in parts if part != _FALSE]
    return encode(element.tag, b"".join(sorted(kept) if element.tag == SET else kept))


def text_of(contents: bytes) -> str:
    """Return a string that should be ASCII or UTF-8, and is Latin-1 as a rule where it is not."""
    try:
        return contents.decode()
    except UnicodeDecodeError:
        return contents.decode("latin-1")


def dotted(contents: bytes) -> str:
    """Return an OBJECT IDENTIFIER in dotted form, from its contents (X.690 §8.19).

    One with a number that is too long to be calculated with is returned in hexadecimal.
    """
    arcs, arc, length = list[int](), 0, 0
    for octet in contents:
        arc, length = arc << 7 | octet & 0x7F, length + 1
        if length > _LONGEST_ARC:
            return f"#{encode(OBJECT_IDENTIFIER, contents).hex()}"
        if octet < 0x80:
            arcs.append(arc)
            arc = length = 0
    root = min(arcs[0] // 40, 2) if arcs else 0
    return ".".join(map(str, (root, arcs[0] - 40 * root, *arcs[1:]))) if arcs else ""
