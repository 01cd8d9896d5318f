"""MariaDB: TLS begins behind its greeting; it asks for a certificate, and demands none in TLS."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.interop.servers.running import ClientAuth, Files, Server, folder_for, listening


@contextlib.contextmanager
def start(files: Files, client_auth: ClientAuth = "optional", *, extra: str = "") -> Iterator[int]:
    """A certificate that is presented is verified; ``extra`` are further options."""
    with folder_for(files) as (folder, mine):
        data = folder / "data"
        data.mkdir(mode=0o777)
        data.chmod(0o777)

        def command(port: int) -> list[str]:
            options = {
                "datadir": data,
                "socket": folder / "socket",
                "pid-file": folder / "pid",
                "bind-address": "127.0.0.1",
                "port": port,
                "ssl-cert": mine.certificate,
                "ssl-key": mine.key,
                "innodb-buffer-pool-size": "8M",
                "innodb-log-file-size": "4M",
            }
            if client_auth != "none":
                options["ssl-ca"] = mine.client_ca
            if mine.crl:
                options["ssl-crl"] = mine.crl
            given = [f"--{name}={value}" for name, value in options.items()]
            # No tables of users: nobody is to log in.
            return ["mariadbd", "--no-defaults", "--skip-grant-tables", *given, *extra.split()]

        with listening(folder, command) as port:
            yield port


SERVER = Server("mariadb", ("mariadbd",), start, "nothing", "mysql")
