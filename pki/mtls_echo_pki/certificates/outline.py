"""The outline of a certificate or a CRL, read from its DER: names, dates, serial number.

``cryptography`` refuses a certificate as a whole where one string in a name has a character that
its type forbids, or a date is written in an unusual way, and raises later where a name holds
Latin-1 bytes in a UTF8String, a TeletexString with an umlaut, an INTEGER. It warns where a country
has three letters. OpenSSL takes them all, so a peer with such a certificate authenticates, and
people have to see whom. Here each part is read by itself, and a string that cannot be decoded is
shown in hexadecimal (RFC 4514 §2.4).

Two names are the same if OpenSSL says so: strings of different types but the same text are equal,
without regard to case and repeated spaces (RFC 5280 §7.1).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeAlias

import msgspec
from cryptography import x509

from mtls_echo_pki.certificates.der import (
    BOOLEAN,
    INTEGER,
    SEQUENCE,
    UTF8_STRING,
    Element,
    UnreadableError,
    canonical,
    dotted,
    elements,
    encode,
    first,
    text_of,
)

_VERSION, _EXTENSIONS, _CRL_EXTENSIONS = 0xA0, 0xA3, 0xA0

# OpenSSL's version is a C long.
_LONGEST_VERSION = 8

# Most certificates have less than 2 KiB.
_ORDINARY = 4096

# RFC 4514 §3, and the e-mail address, which every program but RFC 4514 knows by this name.
_SHORT = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
}


# The string types by their tags. OpenSSL, too, takes a TeletexString for Latin-1.
_DECODERS: dict[int, Callable[[bytes], str]] = {
    UTF8_STRING: text_of,
    0x12: text_of,  # NumericString
    0x13: text_of,  # PrintableString
    0x14: lambda value: value.decode("latin-1"),  # TeletexString
    0x16: text_of,  # IA5String
    0x1A: text_of,  # VisibleString
    0x1C: lambda value: value.decode("utf-32-be"),  # UniversalString
    0x1E: lambda value: value.decode("utf-16-be"),  # BMPString
}

_Comparable: TypeAlias = tuple[frozenset[tuple[str, str | bytes]], ...]


class Attribute(NamedTuple):
    """One attribute of a name: its type as a dotted OID, and its value."""

    oid: str
    value: Element

    @property
    def text(self) -> str | None:
        """The value as text; None if it is not a string, or cannot be decoded."""
        try:
            return _DECODERS[self.value.tag](self.value.contents)
        except (KeyError, UnicodeDecodeError):
            return None

    @property
    def comparable(self) -> tuple[str, str | bytes]:
        """What is equal for two attributes that OpenSSL takes for the same."""
        if self.text is None:
            return self.oid, self.value.der
        folded = re.sub(r"[ \t-\r]+", " ", self.text.strip(" \t\n\v\f\r"))
        return self.oid, re.sub(r"[A-Z]+", lambda upper: upper[0].lower(), folded)

    def __str__(self) -> str:
        name = _SHORT.get(self.oid, self.oid)
        text = f"#{self.value.der.hex()}" if self.text is None else _escaped(self.text)
        return f"{name}={text}"


@dataclass(frozen=True, eq=False)
class DistinguishedName:
    """A name, of which everything that can be read is read.

    Args:
        der: The whole Name, a SEQUENCE.
    """

    der: bytes

    @classmethod
    def of(cls, name: x509.Name) -> DistinguishedName:
        """Return a name that ``cryptography`` has read."""
        return cls(name.public_bytes())

    @functools.cached_property
    def rdns(self) -> tuple[tuple[Attribute, ...], ...]:
        """The relative distinguished names; those before the first that is malformed."""
        found = list[tuple[Attribute, ...]]()
        with suppress(UnreadableError):
            for rdn in elements(first(self.der).contents):
                found.append(tuple(_attributes(rdn)))
        return tuple(found)

    @functools.cached_property
    def comparable(self) -> _Comparable:
        """What is equal for two names that OpenSSL takes for the same, RDN by RDN."""
        return tuple(frozenset(each.comparable for each in rdn) for rdn in self.rdns)

    @functools.cached_property
    def is_whole(self) -> bool:
        """Whether nothing of it is malformed."""
        try:
            return len(self.rdns) == sum(1 for _ in elements(first(self.der).contents))
        except UnreadableError:
            return False

    @property
    def common_name(self) -> str | None:
        """The first commonName; None without one."""
        return next(
            (
                each.text or None
                for rdn in self.rdns
                for each in rdn
                if _SHORT.get(each.oid) == "CN"
            ),
            None,
        )

    def is_within(self, subtree: DistinguishedName) -> bool:
        """Return whether it begins with another name (RFC 5280 §4.2.1.10)."""
        return self.comparable[: len(subtree.rdns)] == subtree.comparable

    def __str__(self) -> str:
        """The name in the form of RFC 4514, the last RDN first; empty if the name is.

        One that is malformed ends with all of it in hexadecimal.
        """
        parts = ["+".join(map(str, rdn)) for rdn in reversed(self.rdns)]
        return ",".join(parts if self.is_whole else [*parts, f"#{self.der.hex()}"])

    def __bool__(self) -> bool:
        return len(self.der) > 2

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DistinguishedName):
            return NotImplemented
        if self.der == other.der:
            return True
        return self.is_whole and other.is_whole and self.comparable == other.comparable

    def __hash__(self) -> int:
        return hash(self.comparable)


def _attributes(rdn: Element) -> Iterator[Attribute]:
    for attribute in elements(rdn.contents):
        parts = [*elements(attribute.contents)]
        if attribute.tag != SEQUENCE or len(parts) < 2:
            raise UnreadableError("an attribute of a name is not a pair")
        yield Attribute(dotted(parts[0].contents), parts[1])


def _escaped(text: str) -> str:
    r"""Escape a value as RFC 4514 §2.4 demands: ``a, b`` is ``a\, b``."""
    text = re.sub(r'([\\"+,;<>])', r"\\\1", text).replace("\0", r"\00")
    if text.startswith("#") or (text.startswith(" ") and len(text) > 1):
        text = f"\\{text}"
    return f"{text[:-1]}\\ " if text.endswith(" ") else text


# --- the outline ---------------------------------------------------------------------------------


class RawExtension(NamedTuple):
    """An extension as it stands there: its type, whether it is critical, and the whole of it."""

    oid: str
    critical: bool
    der: bytes


class Outline(msgspec.Struct, frozen=True):
    """What can be read of a certificate or a CRL, whatever the rest of it holds.

    Args:
        serial: Of a certificate; 0 of a CRL.
        issuer: The issuer's name.
        begin, end: The validity, or thisUpdate and nextUpdate; None if it is not there, or not a
            date. A year before 1 is taken for the first moment there is.
        subject: Of a certificate; empty of a CRL.
        extensions: In their order.
    """

    serial: int
    issuer: DistinguishedName
    begin: datetime | None
    end: datetime | None
    subject: DistinguishedName
    extensions: tuple[RawExtension, ...]


NAMELESS = DistinguishedName(bytes([SEQUENCE, 0]))


def outline_of(der: bytes) -> Outline:
    """Read the outline of a certificate, from its DER.

    Raises:
        UnreadableError: If it is not the DER of a certificate, or is cut off.
    """
    return (_ordinary_outline if len(der) <= _ORDINARY else _large_outline)(der)


def _outline(der: bytes) -> Outline:
    parts = signed_parts(der)
    if parts and parts[0].tag == _VERSION:
        del parts[0]
    if [part.tag for part in parts[:6]] != [INTEGER, *5 * [SEQUENCE]]:
        raise UnreadableError("it does not have the parts of a certificate")
    serial, _, issuer, validity, subject, _, *optional = parts
    begin, end, *_ = (*map(_moment, elements(validity.contents)), None, None)
    return Outline(
        int.from_bytes(serial.contents, signed=True),
        DistinguishedName(issuer.der),
        begin,
        end,
        DistinguishedName(subject.der),
        tuple(_raw_extensions(optional, _EXTENSIONS)),
    )


# Kept, because the same peers come again; few large ones: a peer must not fill our memory.
_ordinary_outline = functools.lru_cache(maxsize=256)(_outline)
_large_outline = functools.lru_cache(maxsize=4)(_outline)


@functools.lru_cache(maxsize=64)
def crl_outline_of(tbs: bytes) -> Outline:
    """Read the outline of a CRL, from the DER of what is signed.

    Raises:
        UnreadableError: If it is not that of a CRL, or is cut off.
    """
    parts = [*elements(first(tbs).contents)]
    if parts and parts[0].tag == INTEGER:
        del parts[0]
    if [part.tag for part in parts[:2]] != 2 * [SEQUENCE]:
        raise UnreadableError("it does not have the parts of a CRL")
    _, issuer, *rest = parts
    times = [part for part in rest[:2] if part.tag in _TIMES]
    begin, end, *_ = (*map(_moment, times), None, None)
    extensions = tuple(_raw_extensions(rest[len(times) :], _CRL_EXTENSIONS))
    return Outline(0, DistinguishedName(issuer.der), begin, end, NAMELESS, extensions)


def signed_parts(der: bytes) -> list[Element]:
    """Return what is signed, element by element."""
    return [*elements(first(first(der).contents).contents)]


def version_of(parts: list[Element]) -> int:
    """Return the version of a certificate, from the parts of what is signed.

    Raises:
        UnreadableError: If what stands in its place is not a number, or a very long one.
    """
    if parts[0].tag != _VERSION:
        return 1
    contents = first(parts[0].contents).contents
    if len(contents) > _LONGEST_VERSION:
        raise UnreadableError("its version is too long a number")
    number = int.from_bytes(contents, signed=True)
    written = number.to_bytes(number.bit_length() // 8 + 1, signed=True)
    if canonical(parts[0]) != encode(_VERSION, encode(INTEGER, written)):
        raise UnreadableError("its version is not a number")
    return number + 1


def canonical_algorithm(identifier: Element) -> bytes:
    """An AlgorithmIdentifier with the parameters that it may have, which OpenSSL does not mind."""
    kind, *parameters = elements(identifier.contents)
    kept = [] if is_without_parameters(dotted(kind.contents)) else parameters[:1]
    return encode(SEQUENCE, b"".join(map(canonical, (kind, *kept))))


def is_without_parameters(algorithm: str) -> bool:
    """Return whether a signature algorithm has none (RFC 5758 §3.2, RFC 8410 §3)."""
    return algorithm.startswith(("1.2.840.10045.4.", "1.3.101."))


def _raw_extensions(parts: list[Element], tag: int) -> Iterator[RawExtension]:
    with suppress(UnreadableError):  # what follows a malformed one is not found
        for part in parts:
            for extension in elements(first(part.contents).contents) if part.tag == tag else ():
                oid, *rest = (*elements(extension.contents), extension)
                critical = any(e.tag == BOOLEAN and e.contents != b"\0" for e in rest)
                yield RawExtension(dotted(oid.contents), critical, extension.der)


# UTCTime (RFC 5280 §4.1.2.5.1) and GeneralizedTime; what others write after the minutes, too.
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_TIMES = {
    _UTC_TIME: re.compile(rb"(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?(?:[.,]\d+)?(Z|[+-]\d{4})?"),
    _GENERALIZED_TIME: re.compile(
        rb"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?(?:[.,]\d+)?(Z|[+-]\d{4})?"
    ),
}
FIRST_MOMENT = datetime.min.replace(tzinfo=UTC)


def _moment(time: Element) -> datetime | None:
    pattern = _TIMES.get(time.tag)
    match = pattern and pattern.fullmatch(time.contents)
    if not match:
        return None
    year, month, day, hour, minute, second = (int(number or 0) for number in match.groups()[:6])
    if time.tag == _UTC_TIME:
        year += 2000 if year < 50 else 1900
    if year == 0:
        return FIRST_MOMENT
    zone = (match[7] or b"Z").decode()
    offset = timedelta(0)
    if zone != "Z":
        offset = timedelta(hours=int(zone[:3]), minutes=int(zone[0] + zone[3:]))
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC) - offset
    except (ValueError, OverflowError):
        return None


def time_of(moment: datetime) -> bytes:
    """Return a date as a certificate has it (RFC 5280 §4.1.2.5)."""
    text = f"{moment.year:04}{moment:%m%d%H%M%SZ}".encode()
    if 1950 <= moment.year < 2050:
        return encode(_UTC_TIME, text[2:])
    return encode(_GENERALIZED_TIME, text)
