"""`mtls-echo serve` meets clients of HTTP, with workers and without, and can be told not to."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
from pathlib import Path

import pytest

from mtls_echo_pki.directory.directory import Directory
from tests.cli.commands.serve.clients import assert_echoes, client_of, never_reading
from tests.cli.commands.serve.clients import directory as directory
from tests.support.servers import ServeProcess, refused_start
from tests.support.timing import TIMEOUT

REQUEST = b"GET /json HTTP/1.1\r\nHost: localhost\r\n\r\n"


def browsing(directory: Directory) -> ssl.SSLContext:
    """As `http.client` and what stands on it have it."""
    context = client_of(directory)
    context.set_alpn_protocols(["http/1.1"])
    return context


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_client_of_http_is_answered_and_not_logged_as_failed(
    directory: Directory, workers: str
) -> None:
    with ServeProcess("--workers", workers, pki=directory.path) as running:
        client = http.client.HTTPSConnection(
            "localhost", running.port, context=browsing(directory), timeout=TIMEOUT
        )
        for _ in range(2):
            client.request("GET", "/json", headers={"Accept": "*/*"})
            told = json.load(client.getresponse())
            assert told["client"]["names"] == ["client.test"]
        client.close()  # without close_notify
        report = running.event("connection")
        assert report["client_random"] == told["client_random"]
        assert (report["outcome"], report["ended"]) == ("completed", "client")
        assert report["http_requests"] == 2
        assert_echoes(running, client_of(directory))
        assert running.stop() == 0


def test_without_http_everything_is_echoed(directory: Directory) -> None:
    with ServeProcess("--no-http", pki=directory.path) as running:
        with running.connect(browsing(directory)) as client:
            assert client.selected_alpn_protocol() is None
            client.sendall(REQUEST)
            assert client.recv(1000) == REQUEST
        assert running.stop() == 0


def test_named_protocols_are_the_ones_that_are_offered(directory: Directory) -> None:
    with ServeProcess("--alpn", "echo", pki=directory.path) as running:
        context = client_of(directory)
        context.set_alpn_protocols(["http/1.1", "echo"])
        with running.connect(context) as client:
            assert client.selected_alpn_protocol() == "echo"
            client.sendall(REQUEST)
            assert client.recv(20).startswith(b"HTTP/1.1 200 OK\r\n")
        assert running.stop() == 0


# --- the status port -----------------------------------------------------------------------------


def status_of(running: ServeProcess, target: str, host: str | None = None) -> tuple[int, str]:
    """What the status port answers."""
    port = int(running.event("status")["port"])
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    with contextlib.closing(client):
        client.request("GET", target, headers={"Host": host} if host else {})
        answer = client.getresponse()
        return answer.status, answer.read().decode()


def until(running: ServeProcess, target: str, wanted: str) -> str:
    """The answer, when it has that in it: several processes tell it in their time."""
    while wanted not in (answer := status_of(running, target)[1]):
        pass
    return answer


def refuse_one(running: ServeProcess, directory: Directory) -> str:
    """The second client, without a certificate; returns its client_random."""
    with contextlib.suppress(OSError), running.connect(client_of(directory, None)) as client:
        client.recv(10)
    return str(running.event("connection", 2)["client_random"])


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_status_port_tells_of_every_process_until_the_last_has_ended(
    directory: Directory, workers: str
) -> None:
    options = ("--status", "127.0.0.1:0", "--workers", workers, "--grace-period", "200")
    with ServeProcess(*options, pki=directory.path) as running:
        until(running, "/readyz", "ready\n")
        assert_echoes(running, client_of(directory))
        assert running.event("connection")["outcome"] == "echoed"
        random = refuse_one(running, directory)
        found = json.loads(until(running, f"/reports/{random}", "causes"))
        assert found["causes"] == ["no-client-certificate"]
        assert found["worker"] is None if workers == "1" else found["worker"] in (1, 2)
        done = 'mtls_echo_handshakes_total{result="completed",version="TLSv1.3"} 1.0'
        until(running, "/metrics", done)
        assert status_of(running, "/readyz", "evil.test")[0] == 421
        config = json.loads(status_of(running, "/config")[1])
        assert config["client_auth"] == "required"
        assert config["generation"] == 1
        with never_reading(running, client_of(directory)):
            until(running, "/metrics", "mtls_echo_connections 1.0")
            running.process.send_signal(signal.SIGTERM)
            assert until(running, "/readyz", "draining").startswith("not ready: ")
            assert status_of(running, "/healthz")[0] == 200
            running.process.send_signal(signal.SIGTERM)
            assert running.event("stopped")["aborted"] == 1
        assert running.process.wait() == 1


def test_the_status_process_is_replaced_and_learns_what_it_missed(directory: Directory) -> None:
    options = ("--status", "127.0.0.1:0", "--workers", "2")
    with ServeProcess(*options, pki=directory.path) as running:
        until(running, "/readyz", "ready\n")
        until(running, "/metrics", "mtls_echo_workers 2.0")
        os.kill(_first_child(running.process.pid), signal.SIGKILL)
        ended = running.event("worker-ended")
        assert (ended["worker"], ended["signal"]) == (0, signal.SIGKILL)
        until(running, "/metrics", "mtls_echo_workers 2.0")
        assert status_of(running, "/readyz")[0] == 200
        assert_echoes(running, client_of(directory))
        assert running.stop() == 0


def _first_child(pid: int) -> int:
    """Linux: the process that was forked first, which is not a worker."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return min(map(int, children))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_reload_shows(directory: Directory, workers: str) -> None:
    options = ("--status", "127.0.0.1:0", "--workers", workers, "--reload-interval", "0")
    with ServeProcess(*options, pki=directory.path) as running:
        until(running, "/readyz", "ready\n")
        directory.renew("server", rekey=True)
        running.process.send_signal(signal.SIGHUP)
        answer = until(running, "/metrics", "mtls_echo_generation 2.0")
        assert 'mtls_echo_reloads_total{result="success"} 1.0' in answer
        assert running.stop() == 0


def test_a_status_port_that_cannot_be_had_is_said(directory: Directory) -> None:
    material = ("--pki", str(directory.path), "--listen", "127.0.0.1:0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = refused_start(*material, "--status", address)
        assert f"cannot listen on {address}: the port is in use" in said
    assert "--status: " in refused_start(*material, "--status", "nonsense")


def test_a_status_port_for_other_machines_is_warned_of(directory: Directory) -> None:
    with ServeProcess("--status", "0.0.0.0:0", pki=directory.path) as running:
        assert not running.event("status")["address"].startswith("127.")
        assert status_of(running, "/healthz", "any.name")[0] == 200
        assert running.stop() == 0
