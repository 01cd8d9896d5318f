"""Alerts arrive: other people's programs, refused, print the alert that was meant for them.

An alert is worth what the refused side's own tools make of it, so they are asked: openssl
s_client, curl, node, Java and Python's blocking `ssl` as clients of the real server process; then
s_server, node, Java and Python as servers that our real client process refuses. Both TLS versions;
with nothing in flight, and with 5 MB that the server has not read when it refuses.

The number of connections per case is ``MTLS_ECHO_REPETITIONS``, by default 20, and 50 for the
peers that need no process of their own per connection (node, Java, Python); 5 where 5 MB are
ready but TLS 1.2 lets the client send none of them. A lost alert is a race: run with 200 to be
sure.

A peer that is not installed is skipped by name. With ``CI=true`` that is a failure.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import tests.support.command_line as command_line
from tests.interop.foreign_clients import CLIENTS, Case, Observed, observe
from tests.interop.foreign_peers import (
    IN_FLIGHT,
    PLAINTEXT_ALERT_UNREAD,
    VERSIONS,
    need,
    write_material,
)
from tests.interop.foreign_servers import SERVERS, ForeignServer
from tests.interop.relay import Relay

# What a client did wrong, and the alert for it (RFC 5246 §7.2.2, RFC 8446 §6.2). Only the
# missing certificate has a different one in each version.
REFUSED_CLIENTS = {
    "none": {"TLSv1.2": "handshake_failure", "TLSv1.3": "certificate_required"},
    "client-of-another-authority": dict.fromkeys(VERSIONS, "unknown_ca"),
    "client-expired": dict.fromkeys(VERSIONS, "certificate_expired"),
    "client-with-a-server-certificate": dict.fromkeys(VERSIONS, "unsupported_certificate"),
}

REFUSED_SERVERS = {
    "server-of-another-name": "bad_certificate",
    "server-of-another-authority": "unknown_ca",
    "server-expired": "certificate_expired",
}


def repetitions(peer: str, version: str = "TLSv1.3", size: int = 0) -> int:
    """How often this peer meets its verdict."""
    if told := os.environ.get("MTLS_ECHO_REPETITIONS"):
        return int(told)
    if size and version == "TLSv1.2" and peer != "python":
        # The same on the wire as without: see tests/interop/foreign_peers.py on False Start.
        return 5
    return 20 if peer in {"openssl", "curl"} else 50


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign")
    write_material(folder)
    return folder


# --- they are refused ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def port(material: Path) -> Generator[int]:
    """One server process for all of them."""
    files = [
        *("--cert", str(material / "server.crt"), "--key", str(material / "server.key")),
        *("--client-ca", str(material / "clients.crt")),
    ]
    with command_line.serving(*files) as process:
        yield process.port
        assert process.process.poll() is None, "the server did not live on"
        assert process.stop() == 0


@pytest.fixture(scope="module", params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    peer: str = request.param
    need(CLIENTS[peer].program)
    return peer


@pytest.fixture(scope="module")
def observed(client: str, port: int, material: Path) -> Observed:
    """All that this client sees, in one go: a Java machine starts once."""
    refused = [
        Case(version, credential, size, repetitions(client, version, size))
        for version in VERSIONS
        for credential in REFUSED_CLIENTS
        for size in (0, IN_FLIGHT)
    ]
    return observe(client, port, material, [*refused, *(_echo(version) for version in VERSIONS)])


def _echo(version: str) -> Case:
    return Case(version, "client", len(b"hello\n"))


@pytest.mark.parametrize("size", [0, IN_FLIGHT], ids=["idle", "5-MB-in-flight"])
@pytest.mark.parametrize("credential", REFUSED_CLIENTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_refused_client_reports_the_alert_every_time(
    client: str, version: str, credential: str, size: int, observed: Observed
) -> None:
    case = Case(version, credential, size, repetitions(client, version, size))

    assert observed[case] == Counter({REFUSED_CLIENTS[credential][version]: case.times})


@pytest.mark.parametrize("version", VERSIONS)
def test_an_admitted_client_gets_its_echo(client: str, version: str, observed: Observed) -> None:
    [text] = observed[_echo(version)]

    assert text == ("answered" if client == "curl" else "echoed 6")


def test_the_server_never_resets_a_refused_client_that_is_still_there(
    client: str, port: int, material: Path
) -> None:
    # Independent of what the client makes of it: a reset can only destroy an alert.
    cases = [Case(version, "none", IN_FLIGHT, 5) for version in VERSIONS]
    with Relay(port) as relay:
        seen = observe(client, relay.port, material, cases)
        connections = relay.wait()

    assert len(connections) == 10
    assert not [connection for connection in connections if connection.reset_first("server")]
    for case in cases:
        assert seen[case] == Counter({REFUSED_CLIENTS["none"][case.version]: case.times})


# --- we refuse them ------------------------------------------------------------------------------

SERVER_CASES = [
    f"{version}/{credential}"
    for version in VERSIONS
    for credential in ("server", *REFUSED_SERVERS)
]
# Again, so that what is counted above is not counted twice.
RELAYED = [f"{version}/server-expired-too" for version in VERSIONS]


@pytest.fixture(scope="module", params=SERVERS)
def server_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    need(SERVERS[kind][0])
    return kind


@pytest.fixture(scope="module")
def foreign_server(server_kind: str, material: Path) -> Generator[ForeignServer]:
    with SERVERS[server_kind][1](material, [*SERVER_CASES, *RELAYED]) as running:
        yield running


Reports = list[dict[str, object]]


def connect(port: int, material: Path, version: str, times: int) -> Reports:
    """Our client's reports; "level" reads the same from a server that reverses lines."""
    result = command_line.run(
        *("connect", f"127.0.0.1:{port}", "level", "--server-name", "localhost"),
        *("--cert", str(material / "client.crt"), "--key", str(material / "client.key")),
        *("--ca", str(material / "servers.crt"), "--tls", version.removeprefix("TLSv")),
        *("--repeat", "0", "--count", str(times), "--json"),
    )
    lines = result.stdout.splitlines()
    # Before anything waits for what a server saw of connections that were never made.
    assert len(lines) == times, result.stderr
    return [{**json.loads(line), "exit_status": result.returncode} for line in lines]


def meetings(server_kind: str, case: str) -> int:
    return 3 if case.endswith("/server") else repetitions(server_kind)


@pytest.fixture(scope="module")
def reported(
    server_kind: str, foreign_server: ForeignServer, material: Path
) -> dict[str, Reports]:
    """What our client says of each case; two processes at a time."""

    def ask(case: str) -> Reports:
        version = case.split("/")[0]
        return connect(foreign_server.port(case), material, version, meetings(server_kind, case))

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(SERVER_CASES, pool.map(ask, SERVER_CASES), strict=True))


@pytest.mark.parametrize("credential", REFUSED_SERVERS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_refused_server_reports_the_alert_every_time(
    server_kind: str,
    version: str,
    credential: str,
    foreign_server: ForeignServer,
    reported: dict[str, Reports],
) -> None:
    case = f"{version}/{credential}"
    times = meetings(server_kind, case)
    ours = Counter((r["exit_status"], r["rejected_by"]) for r in reported[case])
    theirs = foreign_server.saw(case, times)

    alert = REFUSED_SERVERS[credential]
    assert ours == {(4, "client"): times}
    if server_kind == "java" and version == "TLSv1.3" and alert not in theirs:
        # Its own limitation, and the same with every OpenSSL client: see the test on the wire.
        assert all(PLAINTEXT_ALERT_UNREAD in text for text in theirs), theirs
        assert theirs.total() == times
    else:
        assert theirs == {alert: times}


@pytest.mark.parametrize("version", VERSIONS)
def test_an_accepted_server_echoes(
    server_kind: str, version: str, foreign_server: ForeignServer, reported: dict[str, Reports]
) -> None:
    case = f"{version}/server"
    times = meetings(server_kind, case)

    ours = Counter((r["exit_status"], r["outcome"]) for r in reported[case])

    assert ours == {(0, "echoed"): times}
    if server_kind != "openssl":  # which says nothing of a connection that went well
        assert foreign_server.saw(case, times) == {"echoed 6": times}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_alert_for_a_server_is_on_the_wire_and_no_reset_follows_it(
    version: str, foreign_server: ForeignServer, material: Path
) -> None:
    case = f"{version}/server-expired-too"
    with Relay(foreign_server.port(case)) as relay:
        reports = connect(relay.port, material, version, 5)
        connections = relay.wait()

    # In clear in both versions: the last thing said, fatal (2), certificate_expired (45).
    assert len(reports) == len(connections) == 5
    for connection in connections:
        assert connection.last_of_client.endswith(bytes.fromhex("15 0303 0002 02 2d")), connection
        assert not connection.reset_first("client"), connection


# --- none is left out quietly --------------------------------------------------------------------


def test_a_missing_peer_is_a_skip_that_names_it_and_on_ci_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="node is not installed"):
        need("node")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="node is not installed"):
        need("node")
