"""Open the listening sockets that an option names, or say why that cannot be done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mtls_echo.console import CommandError

if TYPE_CHECKING:
    import socket


def listen_on(option: str, addresses: Sequence[str]) -> list[socket.socket]:
    """Open a listening socket for each address, all or none.

    Raises:
        CommandError: One is no address, or cannot be listened on.
    """
    from mtls_echo_server.listeners import FORMS, ListenError, listen

    try:
        return listen(addresses)
    except ValueError as error:
        raise CommandError(f"{option}: {error}", f"write {FORMS}") from error
    except ListenError as error:
        raise CommandError(str(error), error.hint) from error
