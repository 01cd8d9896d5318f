"""Any server, set up in ways that are not in the book: does `connect` still say what is so?

Each row is a server with a setting, how it is asked, and what each client is to be told: the exit
status and the first cause. Settings that demand a certificate late, in part, or in a rule of their
own are where a tool is tempted to say too much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.interop.servers import apache, caddy, haproxy, nginx, redis
from tests.interop.servers.asking import ask_with, files_of, options, way
from tests.interop.servers.programs import SERVER_NODE
from tests.interop.servers.running import ClientAuth, Server
from tests.interop.servers.starttls import dovecot, exim, postgres
from tests.interop.test_any_server import EXPIRED, FOREIGN, NONE
from tests.interop.test_any_server import material as material

BOTH = ("1.2", "1.3")

PER_LOCATION = "<Location />\nSSLVerifyClient require\nSSLVerifyDepth 2\n</Location>"
HANDSHAKE = ("--handshake", "--wait", "0.05")


class Row(NamedTuple):
    """A server with a setting, and what its clients are told in the versions that are listed."""

    about: str
    server: Server
    expected: Mapping[str, tuple[int, str | None]]
    client_auth: ClientAuth = "required"
    extra: str = ""
    asked: Sequence[str] | None = None
    versions: Sequence[str] = BOTH


ROWS = [
    Row(
        "nginx optional: served without a certificate, refused with a bad one",
        *(nginx.SERVER, {"none": (0, None), "expired": (5, EXPIRED)}, "optional"),
    ),
    Row(
        "nginx optional_no_ca: served with any",
        *(nginx.SERVER, {"none": (0, None), "foreign": (0, None)}, "unverified"),
    ),
    Row(
        "nginx optional_no_ca, and a rule of its own",
        *(nginx.SERVER, {"good": (0, None), "none": (5, NONE), "foreign": (5, FOREIGN)}),
        *("unverified", "if ($ssl_client_verify != SUCCESS) { return 403; }"),
    ),
    Row(
        "nginx without ssl_verify_client",
        *(nginx.SERVER, {"good": (0, None), "none": (0, None)}, "none"),
    ),
    Row(
        "nginx, and its own statuses",
        *(nginx.SERVER, {"none": (5, NONE), "expired": (5, EXPIRED)}, "required"),
        "error_page 495 496 =403 @refused; location @refused { return 403 'no'; }",
    ),
    Row(
        "nginx, of which the handshake shows nothing",
        *(nginx.SERVER, {"good": (0, None), "none": (0, None), "expired": (0, None)}),
        asked=HANDSHAKE,
    ),
    Row(
        "Apache asks for a certificate behind the handshake",
        *(apache.SERVER, {"good": (0, None), "none": (5, NONE), "expired": (5, EXPIRED)}),
        *("none", PER_LOCATION),
        versions=("1.3",),
    ),
    Row(
        "Apache asks by renegotiating",
        *(apache.SERVER, {"good": (5, "renegotiation"), "none": (5, "renegotiation")}),
        *("none", PER_LOCATION),
        versions=("1.2",),
    ),
    Row(
        "HAProxy optional, and a rule against clients without",
        *(haproxy.SERVER, {"good": (0, None), "none": (5, NONE), "expired": (5, EXPIRED)}),
        *("optional", "http-request deny deny_status 403 unless { ssl_c_used 1 }"),
    ),
    Row(
        "HAProxy ignores every error, and has a rule against it",
        *(haproxy.SERVER, {"good": (0, None), "expired": (5, EXPIRED), "foreign": (5, FOREIGN)}),
        *("unverified", "http-request deny deny_status 403 if ! { ssl_c_verify 0 }"),
    ),
    Row(
        "HAProxy has a rule that the certificate has nothing to do with",
        *(haproxy.SERVER, {"good": (9, "not-authorised")}, "required", "http-request deny"),
    ),
    Row(
        "Caddy verifies if a certificate is given",
        *(caddy.SERVER, {"none": (0, None), "expired": (5, EXPIRED)}, "optional"),
    ),
    Row(
        "node leaves it to the program, which answers 401",
        *(SERVER_NODE, {"good": (0, None), "none": (5, NONE), "expired": (5, EXPIRED)}),
        "optional",
    ),
    Row(
        "node, and an answer that has nothing to do with it",
        *(SERVER_NODE, {"good": (6, "error-answer")}, "required", "503"),
    ),
    Row(
        "Redis is no echo server",
        *(redis.SERVER, {"good": (8, "other-protocol"), "expired": (5, EXPIRED)}),
        asked=("level",),
    ),
    Row(
        "Dovecot begins in the clear",
        *(dovecot.SERVER_IMAP, {"good": (8, "plaintext-peer")}),
        asked=HANDSHAKE,
    ),
    Row(
        "Exim is not an IMAP server",
        *(exim.SERVER, {"good": (8, "plaintext-peer")}),
        asked=("--starttls", "imap"),
    ),
    Row(
        "Exim that does not offer TLS",
        *(exim.SERVER, {"good": (8, "plaintext-peer")}),
        extra="tls_advertise_hosts =",
    ),
    Row(
        "PostgreSQL without TLS",
        *(postgres.SERVER, {"good": (8, "plaintext-peer")}, "required", "ssl = off"),
    ),
]


@pytest.mark.parametrize("row", [pytest.param(row, id=row.about) for row in ROWS])
def test_a_client_is_told_what_became_of_it(row: Row, material: Path) -> None:
    row.server.need()
    asked = way(row.server) if row.asked is None else row.asked
    found: dict[str, tuple[int, str | None]] = {}
    with row.server.start(files_of(material), row.client_auth, extra=row.extra) as port:
        for who in row.expected:
            for tls in row.versions:
                verdict = ask_with(port, *asked, *options(material, who), "--tls", tls)
                found[f"{who} in TLS {tls}"] = verdict.status, verdict.first

    assert found == {
        f"{who} in TLS {tls}": expected
        for who, expected in row.expected.items()
        for tls in row.versions
    }
