"""A TLS server that authenticates its clients, and echoes what the admitted ones say.

Most names below are imported when they are first used: `mtls-echo serve --help` lives in this
package too, and must not wait a quarter of a second for trio and cryptography.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

# At once, and before anything else can: or the name would stand for the module that holds it.
from mtls_echo_server.echo import echo

if TYPE_CHECKING:
    from mtls_echo_server.access import Access
    from mtls_echo_server.connection import Connection, Limits
    from mtls_echo_server.context import ClientAuth, server_context
    from mtls_echo_server.events import Event, EventLog
    from mtls_echo_server.listeners import ListenError
    from mtls_echo_server.service import Server, Stopped, serve

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

_HOMES = {
    "Access": "access",
    "ClientAuth": "context",
    "Connection": "connection",
    "Event": "events",
    "EventLog": "events",
    "Limits": "connection",
    "ListenError": "listeners",
    "Server": "service",
    "Stopped": "service",
    "serve": "service",
    "server_context": "context",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
