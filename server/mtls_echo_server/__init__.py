"""A TLS server that authenticates its clients, and echoes what the admitted ones say.

Most names below are imported when they are first used: `mtls-echo serve --help` lives in this
package too, and must not wait a quarter of a second for trio and cryptography.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtls_echo_pki.lazy import exporter

# At once, and before anything else can: or the name would stand for the module that holds it.
from mtls_echo_server.echo import echo

if TYPE_CHECKING:
    from mtls_echo_server.access import Access
    from mtls_echo_server.connection import Connection, Limits
    from mtls_echo_server.context import ClientAuth, server_context
    from mtls_echo_server.events import Event
    from mtls_echo_server.listeners import ListenError
    from mtls_echo_server.log import EventLog
    from mtls_echo_server.service import Server, Stopped
    from mtls_echo_server.serving import serve

__all__ = [
    "Access",
    "ClientAuth",
    "Connection",
    "Event",
    "EventLog",
    "Limits",
    "ListenError",
    "Server",
    "Stopped",
    "echo",
    "serve",
    "server_context",
]

__getattr__ = exporter(
    __name__,
    {
        "access": ("Access",),
        "connection": ("Connection", "Limits"),
        "context": ("ClientAuth", "server_context"),
        "events": ("Event",),
        "listeners": ("ListenError",),
        "log": ("EventLog",),
        "service": ("Server", "Stopped"),
        "serving": ("serve",),
    },
)
