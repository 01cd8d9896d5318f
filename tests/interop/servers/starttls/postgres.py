"""PostgreSQL: TLS begins behind an SSLRequest.

A certificate that is presented is always verified; whether one is needed, a line of pg_hba.conf
says, which is looked at when the client has told its name: behind the handshake.
"""

from __future__ import annotations

import contextlib
import functools
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.interop.servers.running import (
    ClientAuth,
    Files,
    Server,
    folder_for,
    listening,
    run_once,
)

_AUTHENTICATION = {
    "required": "hostssl all all all trust clientcert=verify-ca",
    "optional": "hostssl all all all trust",
    "none": "hostssl all all all trust",
}


@functools.cache
def _programs() -> Path:
    """Where Debian has those of its newest version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name)
    assert found, "postgresql is not installed"
    return found[-1]


@contextlib.contextmanager
def start(files: Files, client_auth: ClientAuth = "required", *, extra: str = "") -> Iterator[int]:
    """``extra`` are further settings, as of postgresql.conf."""
    with folder_for(files) as (folder, mine):
        data = folder / "data"
        options = ("--auth=trust", "--no-sync", "--encoding=UTF8", "--no-instructions")
        run_once(folder, str(_programs() / "initdb"), "-D", str(data), "-U", "test", *options)
        (data / "pg_hba.conf").write_text(_AUTHENTICATION[client_auth] + "\n")
        settings = [
            "ssl = on",
            f"ssl_cert_file = '{mine.certificate}'",
            f"ssl_key_file = '{mine.key}'",
            f"ssl_ca_file = '{mine.client_ca}'" if client_auth != "none" else "",
            f"ssl_crl_file = '{mine.crl}'" if mine.crl else "",
            "listen_addresses = '127.0.0.1'",
            f"unix_socket_directories = '{folder}'",
            "fsync = off",
            "shared_buffers = 16MB",
            extra,
        ]
        with (data / "postgresql.conf").open("a") as file:
            file.write("\n".join([*settings, ""]))

        def command(port: int) -> list[str]:
            return [str(_programs() / "postgres"), "-D", str(data), "-p", str(port)]

        # An immediate shutdown, which leaves no shared memory behind.
        with listening(folder, command, ends_by=signal.SIGQUIT) as port:
            yield port


SERVER = Server("postgres", (), start, "nothing", "postgres")
