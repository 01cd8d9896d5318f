"""An mTLS client whose success means something: connect, prove, verify every echo.

A complete program is `client_context`, `connect` and `Session.echo`; a failure is a
`mtls_echo_tls.TLSFailure`, whose ``report`` says who refused whom and why. Layers, each knowing
only those before it: :mod:`~mtls_echo_client.context` (what is demanded and what is presented),
:mod:`~mtls_echo_client.session` (the connection and its echoes),
:mod:`~mtls_echo_client.dialogue` (sessions between standard input and output).

The names below are loaded on first use, so that ``mtls-echo connect --help``, which lives in this
package too, need not load trio and OpenSSL to print a page of text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtls_echo_pki.lazy import exporter
from mtls_echo_tls.address import Address, parse_address

if TYPE_CHECKING:
    from mtls_echo_client.context import client_context
    from mtls_echo_client.session import Session, connect

__all__ = ["Address", "Session", "client_context", "connect", "parse_address"]

__getattr__ = exporter(
    __name__,
    {
        "context": ("client_context",),
        "session": ("Session", "connect"),
    },
)
