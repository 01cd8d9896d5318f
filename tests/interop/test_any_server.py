"""Any server: what `connect` says of other people's servers, right ones and every fault with them.

The table is what each product does with a client that has one fault, as the program shall tell it:
its exit status, and the first of the causes that it names. A product that does not look at what it
is shown lets it in, and that is told, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.foreign_peers import write_material
from tests.interop.servers import apache, caddy, haproxy, nginx, ours, redis, s_server, stunnel
from tests.interop.servers.asking import CLIENTS, VERSIONS, Verdict, ask, files_of
from tests.interop.servers.programs import SERVER_GO, SERVER_JAVA, SERVER_NODE
from tests.interop.servers.running import Server
from tests.interop.servers.starttls import dovecot, exim, mariadb, postgres, prosody, slapd

SERVERS = [
    *(nginx.SERVER, apache.SERVER, haproxy.SERVER, caddy.SERVER, stunnel.SERVER, s_server.SERVER),
    *(SERVER_GO, SERVER_JAVA, SERVER_NODE, redis.SERVER, ours.SERVER, postgres.SERVER),
    *(mariadb.SERVER, exim.SERVER, dovecot.SERVER_IMAP, dovecot.SERVER_POP3, slapd.SERVER),
    prosody.SERVER,
]

REFUSED = (5, "unknown-authority")
EVERY_FAULT_FOUND = {
    "good": (0, None),
    "none": (5, "no-client-certificate"),
    "expired": (5, "expired"),
    "foreign": (5, "unknown-authority"),
    "usage": (5, "wrong-usage"),
    "refused": (4, "unknown-authority"),
}
