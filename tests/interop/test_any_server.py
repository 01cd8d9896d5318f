"""Any server: what `connect` says of other people's servers, right ones and every fault with them.

The table is what each product does with a client that has one fault, as the command is to tell it:
the exit status, and the first of the causes. 0 stands where the product lets the client in, or has
not looked at its certificate yet: nothing has been seen of that, and nothing is said of it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.foreign_peers import write_material
from tests.interop.servers import apache, caddy, haproxy, nginx, ours, redis, s_server, stunnel
from tests.interop.servers.asking import CLIENTS, VERSIONS, ask_with, files_of, options, way
from tests.interop.servers.programs import SERVER_GO, SERVER_JAVA, SERVER_NODE
from tests.interop.servers.running import Server
from tests.interop.servers.starttls import dovecot, exim, mariadb, postgres, prosody, slapd

# What is wrong with each of the clients, and with the server for the last.
NONE, EXPIRED, FOREIGN, USAGE = (
    "no-client-certificate", "expired", "unknown-authority", "wrong-usage",
)  # fmt: skip

# fmt: off
EXPECTED: list[tuple[Server, dict[str, tuple[int, str | None]]]] = [
    # In HTTP, by a status: nginx completes every handshake.
    (nginx.SERVER, {"none": (5, NONE), "expired": (5, EXPIRED), "foreign": (5, FOREIGN),
                    "usage": (5, USAGE)}),
    # By an alert that names the fault.
    (apache.SERVER, {"none": (5, NONE), "expired": (5, EXPIRED), "foreign": (5, FOREIGN),
                     "usage": (5, USAGE)}),
    (haproxy.SERVER, {"none": (5, NONE), "expired": (5, EXPIRED), "foreign": (5, FOREIGN),
                      "usage": (5, USAGE)}),
    (haproxy.SERVER_TCP, {"none": (5, NONE), "expired": (5, EXPIRED), "foreign": (5, FOREIGN),
                          "usage": (5, USAGE)}),
    (stunnel.SERVER, {"none": (5, NONE), "expired": (5, EXPIRED), "foreign": (5, FOREIGN),
                      "usage": (5, USAGE)}),
    (s_server.SERVER, {"none": (5, NONE), "expired": (5, EXPIRED), "foreign": (5, FOREIGN),
                       "usage": (5, USAGE)}),
    (redis.SERVER, {"none": (5, NONE), "expired": (5, EXPIRED), "foreign": (5, FOREIGN),
                    "usage": (5, USAGE)}),
    (ours.SERVER, {"none": (5, NONE), "expired": (5, EXPIRED), "foreign": (5, FOREIGN),
                   "usage": (5, USAGE)}),
    # By one and the same alert, whatever the fault is.
    (caddy.SERVER, {"none": (5, NONE), "expired": (5, EXPIRED), "foreign": (5, FOREIGN),
                    "usage": (5, USAGE)}),
    (SERVER_GO, {"none": (5, NONE), "expired": (5, EXPIRED), "foreign": (5, FOREIGN),
                 "usage": (5, USAGE)}),
    # Without a word: node sends an alert for a missing certificate alone, Java's HttpsServer none.
    (SERVER_NODE, {"none": (5, NONE), "expired": (6, EXPIRED), "foreign": (6, FOREIGN),
                   "usage": (6, USAGE)}),
    (SERVER_JAVA, {"none": (6, NONE), "expired": (6, EXPIRED), "foreign": (6, FOREIGN),
                   "usage": (6, USAGE)}),
    # A user without one is turned away when it logs in.
    (postgres.SERVER, {"none": (0, None), "expired": (5, EXPIRED), "foreign": (5, FOREIGN),
                       "usage": (5, USAGE)}),
    (mariadb.SERVER, {"none": (0, None), "expired": (5, EXPIRED), "foreign": (5, FOREIGN),
                      "usage": (5, USAGE)}),
    # GnuTLS, behind which the program verifies: neither looks at the usage.
    (exim.SERVER, {"none": (5, NONE), "expired": (5, EXPIRED), "foreign": (5, FOREIGN),
                   "usage": (0, None)}),
    (slapd.SERVER, {"none": (6, NONE), "expired": (6, EXPIRED), "foreign": (6, FOREIGN),
                    "usage": (0, None)}),
    # They verify, and keep the verdict for themselves until somebody logs in.
    (prosody.SERVER, {"none": (5, NONE), "expired": (0, None), "foreign": (0, None),
                      "usage": (0, None)}),
    (dovecot.SERVER_IMAP, {"none": (0, None), "expired": (0, None), "foreign": (0, None),
                           "usage": (0, None)}),
    (dovecot.SERVER_POP3, {"none": (0, None), "expired": (0, None), "foreign": (0, None),
                           "usage": (0, None)}),
]
# fmt: on

# The same of every server: a good client, and one that refuses the server.
ALWAYS: dict[str, tuple[int, str | None]] = {"good": (0, None), "refused": (4, FOREIGN)}


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    write_material(folder)
    return folder


@pytest.mark.parametrize(
    ("server", "expected"), [pytest.param(*row, id=row[0].name) for row in EXPECTED]
)
def test_each_client_of_each_server_is_told_what_became_of_it(
    server: Server, expected: dict[str, tuple[int, str | None]], material: Path
) -> None:
    server.need()
    wanted = {**ALWAYS, **expected}
    found: dict[str, tuple[int, str | None]] = {}
    with server.start(files_of(material)) as port:
        for who in CLIENTS:
            arguments = [*way(server, refused=wanted[who][0] != 0), *options(material, who)]
            for tls in VERSIONS:
                verdict = ask_with(port, *arguments, "--tls", tls)
                found[f"{who} in TLS {tls}"] = verdict.status, verdict.first

    assert found == {f"{who} in TLS {tls}": wanted[who] for who in CLIENTS for tls in VERSIONS}
