"""Certificates loaded as leniently as OpenSSL does, and reading that fails in one way.

``cryptography`` has a different exception for each kind of part it cannot read: a version that was
never defined, an extension that stands there twice, a general name of a rare type, a curve it does
not know, a date in the year 0. Few of them are a ``ValueError``, none is a reason for a traceback,
and what it warns of the user cannot change. Inside :func:`parsing`, whatever it raises is an
:exc:`UnreadableError`, and its warnings are not shown.

OpenSSL reads more than it does, so a certificate that ``cryptography`` refuses as a whole may be
one that a handshake has accepted. Then ``cryptography`` reads a copy of it that is put right.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.der import (
    SEQUENCE,
    UnreadableError,
    canonical,
    elements,
    encode,
    first,
)
from mtls_echo_pki.certificates.outline import (
    canonical_algorithm,
    outline_of,
    signed_parts,
    time_of,
    version_of,
)

# What reading a part of a certificate or a CRL with `cryptography` may raise.
UNREADABLE = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

# A version 3 certificate, in which extensions are allowed.
VERSION_3 = bytes.fromhex("a003020102")
VERSION = 0xA0


@contextmanager
def parsing() -> Generator[None]:
    """Read what others wrote: without warnings, and failing in one way.

    Raises:
        UnreadableError: If ``cryptography`` cannot read it.
    """
    with warnings.catch_warnings():
        # A serial number that is not positive (RFC 5280 §4.1.2.2) is in nine of the 144
        # certificates of Debian 12's trust store, and a peer may present anything. The user can do
        # nothing about either.
        warnings.simplefilter("ignore")
        try:
            yield
        except UnreadableError:
            raise
        except UNREADABLE as error:
            raise UnreadableError(str(error)) from error


def load_certificate(der: bytes) -> x509.Certificate:
    """Parse a certificate, in DER or nearly so (:func:`is_odd`).

    Raises:
        UnreadableError: If it has a part without which nothing can be verified; see
            :func:`outline_of` for what can be read of it all the same.
    """
    try:
        with parsing():
            return x509.load_der_x509_certificate(der)
    except UnreadableError:
        with parsing():
            return cast("x509.Certificate", _Odd(der))


def is_odd(certificate: x509.Certificate) -> bool:
    """Return whether ``cryptography`` refuses a certificate that OpenSSL reads."""
    return isinstance(certificate, _Odd)


class _Odd:
    """A certificate that is not quite DER, or that RFC 5280 forbids, as one of ``cryptography``.

    Which reads a copy, put right: lengths, strings, dates, the version. What is signed, hashed,
    compared and sent is the certificate itself.
    """

    def __init__(self, der: bytes) -> None:
        self._der = der
        self._copy = x509.load_der_x509_certificate(_put_right(der))

    def public_bytes(self, encoding: Encoding) -> bytes:
        if encoding is Encoding.DER:
            return self._der
        import ssl  # otherwise nothing that makes certificates needs it

        return ssl.DER_cert_to_PEM_cert(self._der).encode()

    @property
    def tbs_certificate_bytes(self) -> bytes:
        return first(first(self._der).contents).der

    def __getattr__(self, name: str) -> Any:
        return getattr(self._copy, name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Odd) and other._der == self._der

    def __hash__(self) -> int:
        return hash(self._der)


def _put_right(der: bytes) -> bytes:
    outline, parts = outline_of(der), signed_parts(der)
    whole, signed = first(der), first(first(der).contents)
    if outline.begin is None or outline.end is None or whole.der != der:
        raise UnreadableError("a date cannot be read, or something follows the certificate")
    number = version_of(parts)
    if parts[0].tag == VERSION:
        del parts[0]
    serial, algorithm, issuer, validity, *rest = parts
    _, outer, signature = elements(whole.contents)
    dates = [*elements(validity.contents)]
    if {whole.tag, signed.tag, outer.tag} != {SEQUENCE} or len(dates) != 2:
        raise UnreadableError("it does not have the parts of a certificate")
    contents = (
        b"" if number == 1 else VERSION_3,
        canonical(serial),
        canonical_algorithm(algorithm),
        canonical(issuer),
        encode(SEQUENCE, b"".join(map(time_of, (outline.begin, outline.end)))),
        *map(canonical, rest),
    )
    copy = encode(SEQUENCE, b"".join(contents))
    return encode(SEQUENCE, copy + canonical_algorithm(outer) + canonical(signature))
