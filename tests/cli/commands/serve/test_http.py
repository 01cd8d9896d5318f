"""`mtls-echo serve` meets clients of HTTP, with workers and without, and can be told not to."""

from __future__ import annotations

import http.client
import json
import ssl

import pytest

from mtls_echo_pki.directory.directory import Directory
from tests.cli.commands.serve.clients import assert_echoes, client_of
from tests.cli.commands.serve.clients import directory as directory
from tests.support.servers import ServeProcess
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
        assert (report["outcome"], report["ended"]) == ("echoed", "client")
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
