"""A certificate was written by somebody else, and ``cryptography`` reads less than OpenSSL does.

It parses the parts of a certificate when they are asked for, and has a different exception for
each kind it cannot read: a version that was never defined, an extension that stands there twice, a
general name of a rare type, a curve it does not know. Few of them are a ``ValueError``, and none
is a reason for a traceback. Inside :func:`parsing` all of them are one.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning

# Whatever reading a part of a certificate or a revocation list may raise.
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@contextmanager
def parsing() -> Generator[None]:
    """Read what somebody else wrote: without warnings, and failing in one way.

    Raises:
        ValueError: If ``cryptography`` cannot read it.
    """
    with warnings.catch_warnings():
        # A serial number that is not positive (RFC 5280 §4.1.2.2) is in nine of the 144
        # certificates of Debian 12's trust store. Whoever trusts them can do nothing about it.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        try:
            yield
        except UNREADABLE as error:
            raise ValueError(str(error)) from error
