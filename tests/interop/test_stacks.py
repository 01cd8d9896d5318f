"""What foreign stacks' alerts mean: the first cause is the right one, whatever the stack calls it.

A server of each stack refuses our client's certificate, and a client of each our server's, for
one fault at a time, in both TLS versions. Go says bad_certificate of them all, Java
certificate_unknown, gnutls-serv access_denied, and node nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import tests.support.command_line as command_line
from tests.interop.foreign_clients import CLIENTS, Case, ForeignClient
from tests.interop.foreign_peers import SOURCES, VERSIONS, Program, need, started, write_material
from tests.interop.foreign_servers import SERVERS, ForeignServer, program_server
from tests.support.ports import server_port
from tests.support.timing import TIMEOUT

# Our client's credential, and what is wrong with it.
CLIENT_FAULTS = {
    "none": "no-client-certificate",
    "client-of-another-authority": "unknown-authority",
    "client-expired": "expired",
    "client-with-a-server-certificate": "wrong-usage",
}

# Our server's.
SERVER_FAULTS = {
    "server-of-another-authority": "unknown-authority",
    "server-expired": "expired",
    "server-with-a-client-certificate": "wrong-usage",
    "server-of-another-name": "wrong-name",
}

SERVER_STACKS = ("openssl", "node", "java", "python", "go", "gnutls")
CLIENT_STACKS = ("openssl", "curl", "node", "java", "python", "go", "gnutls")
PROGRAMS = {"go": "go", "gnutls": "gnutls-serv"}

# How a report calls the stack; node and asyncio are OpenSSL, and curl is here.
DISPLAYED = {"java": "Java", "go": "Go", "gnutls": "GnuTLS"}

# Verified without looking at it: gnutls-serv takes a server's certificate for a client's.
ACCEPTED = {("gnutls", "client-with-a-server-certificate")}

# A name that the program itself compares, after the handshake.
UNCOMPARED = {("curl", "server-of-another-name")}


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stacks")
    write_material(folder)
    return folder


@pytest.fixture(scope="session")
def go_program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The Go peer, compiled once."""
    need("go")
    folder = tmp_path_factory.mktemp("go")
    kept = {"GOFLAGS": "-mod=mod", "GO111MODULE": "off", "GOCACHE": str(folder / "cache")}
    program = folder / "refused"
    command = ["go", "build", "-o", str(program), str(SOURCES / "refused.go")]
    done = subprocess.run(command, env={**os.environ, **kept}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return lambda: (str(program),)


# --- they judge our client -----------------------------------------------------------------------


@contextlib.contextmanager
def gnutls_server(folder: Path, cases: Sequence[str]) -> Generator[ForeignServer]:
    """A gnutls-serv for each case."""
    here = ForeignServer()
    with contextlib.ExitStack() as stack:
        for case in cases:
            version = case.partition("/")[0].removeprefix("TLSv")
            port = server_port()
            command = [
                *("gnutls-serv", "--echo", "--port", str(port), "--require-client-cert"),
                *("--verify-client-cert", "--x509cafile", str(folder / "clients.crt")),
                *("--x509certfile", str(folder / "server.crt")),
                *("--x509keyfile", str(folder / "server.key")),
                *("--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}"),
            ]
            stack.enter_context(started(*command))
            wait_for(port)
            here.opened(case, port)
        yield here


def wait_for(port: int) -> None:
    """Until something listens: what gnutls-serv prints of it stays in its buffer."""
    ends = time.monotonic() + TIMEOUT
    while time.monotonic() < ends:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
    raise AssertionError("gnutls-serv does not listen")


@pytest.fixture(scope="module", params=SERVER_STACKS)
def server_stack(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    need(PROGRAMS.get(name) or SERVERS[name][0])
    return name


@pytest.fixture(scope="module")
def server(
    server_stack: str, material: Path, request: pytest.FixtureRequest
) -> Iterator[ForeignServer]:
    start: Callable[[Path, Sequence[str]], contextlib.AbstractContextManager[ForeignServer]]
    if server_stack == "go":
        start = partial(program_server, request.getfixturevalue("go_program"))
    elif server_stack == "gnutls":
        start = gnutls_server
    else:
        start = SERVERS[server_stack][1]
    with start(material, [f"{version}/server" for version in VERSIONS]) as running:
        yield running


def refused_by(server: ForeignServer, material: Path, version: str, who: str) -> dict[str, Any]:
    """Our client's report."""
    own = []
    if who != "none":
        own = ["--cert", str(material / f"{who}.crt"), "--key", str(material / f"{who}.key")]
    done = command_line.run(
        *("connect", f"127.0.0.1:{server.port(f'{version}/server')}", "level"),
        *("--server-name", "localhost", "--ca", str(material / "servers.crt"), *own),
        *("--tls", version.removeprefix("TLSv"), "--json"),
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize("who", CLIENT_FAULTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_refused_client_is_told_the_right_cause_first(
    server_stack: str, server: ForeignServer, material: Path, version: str, who: str
) -> None:
    report = refused_by(server, material, version, who)

    if (server_stack, who) in ACCEPTED:
        assert report["outcome"] == "echoed"
        return
    silent, causes = said(report)
    assert causes[0] == CLIENT_FAULTS[who]
    assert silent == (server_stack == "node" and who != "none")
    if server_stack in DISPLAYED and who != "none":
        assert {"fact": "server runs"}.items() <= stack_of(report).items()
        assert DISPLAYED[server_stack] in stack_of(report)["value"]
    if who == "client-of-another-authority":
        # Whatever is said, our path shows nothing of it: then it is not the only cause.
        assert len(causes) > 1


def said(report: dict[str, Any]) -> tuple[bool, list[str]]:
    """Whether the peer left without an alert, and what is suspected of it."""
    causes: list[str] = report["causes"]
    silent = causes[-1] in ("closed-without-alert", "truncated", "reset")
    return silent, (causes[:-1] or causes) if silent else causes


def stack_of(report: dict[str, Any]) -> dict[str, str]:
    facts: list[dict[str, str]] = report["evidence"]
    return next((fact for fact in facts if fact["fact"].endswith(" runs")), {"value": ""})


# --- they judge our server -----------------------------------------------------------------------


def gnutls_once(port: int, folder: Path, case: Case) -> str:
    version = case.version.removeprefix("TLSv")
    done = subprocess.run(
        [
            *("gnutls-cli", "--port", str(port), "--x509cafile", str(folder / "servers.crt")),
            *("--sni-hostname", "localhost", "--verify-hostname", "localhost"),
            *("--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}", "127.0.0.1"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return done.stdout + done.stderr


def openssl_once(port: int, folder: Path, case: Case) -> str:
    done = subprocess.run(
        [
            *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-no_ign_eof"),
            *("-servername", "localhost", "-verify_hostname", "localhost"),
            *("-verify_return_error", "-CAfile", str(folder / "servers.crt")),
            f"-{case.version.lower().replace('v1.', '1_')}",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return done.stderr


@pytest.fixture(scope="module", params=CLIENT_STACKS)
def client_stack(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    need({**PROGRAMS, "gnutls": "gnutls-cli"}.get(name) or CLIENTS[name].program)
    return name


@pytest.fixture(scope="module")
def client(client_stack: str, request: pytest.FixtureRequest) -> ForeignClient:
    if client_stack == "go":
        return ForeignClient("go", program_for_many=request.getfixturevalue("go_program"))
    if client_stack in ("gnutls", "openssl"):
        once = gnutls_once if client_stack == "gnutls" else openssl_once
        return ForeignClient(client_stack, once=once)
    return CLIENTS[client_stack]


@pytest.fixture(scope="module", params=SERVER_FAULTS)
def our_server(
    request: pytest.FixtureRequest, material: Path
) -> Iterator[tuple[str, command_line.Serving]]:
    """Our server with a certificate that has a fault."""
    name: str = request.param
    files = ("--cert", str(material / f"{name}.crt"), "--key", str(material / f"{name}.key"))
    with command_line.serving(*files, "--client-auth", "none") as running:
        yield name, running


@pytest.mark.parametrize("version", VERSIONS)
def test_a_refused_server_logs_the_right_cause_first(
    client_stack: str,
    client: ForeignClient,
    our_server: tuple[str, command_line.Serving],
    material: Path,
    version: str,
) -> None:
    name, running = our_server
    before = running.count("connection")
    client.observe(running.port, material, [Case(version, "none")])
    report = running.wait_for("connection", before + 1)

    if (client_stack, name) in UNCOMPARED:
        assert report["outcome"] == "completed"
        return
    silent, causes = said(report)
    assert causes[0] == SERVER_FAULTS[name]
    assert not silent or len(causes) > 1 or name == "server-self-signed"
    assert silent == (client_stack == "node")
    if client_stack in DISPLAYED:
        assert DISPLAYED[client_stack] in stack_of(report)["value"]
