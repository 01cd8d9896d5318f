"""The command, whose log is a pipe that is not read for a while."""

from __future__ import annotations

from pathlib import Path

from mtls_echo_client.context import client_context
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_server.log_file import MOST_HELD
from tests.support.servers import ServeProcess


def test_it_serves_on_while_its_log_is_not_read_and_says_what_was_lost(tmp_path: Path) -> None:
    directory = Directory.create(tmp_path / "pki")
    context = client_context(directory.trust("servers"), directory.credential("client"))
    # A traced connection takes more than 2,500 bytes of JSON.
    with ServeProcess("--trace", pki=directory.path) as running:
        served = 0
        while served * 2_500 < MOST_HELD + 64 * 1024 + 100_000:
            with running.connect(context) as client:
                client.sendall(b"hello")
                assert client.recv(5) == b"hello"
            served += 1
        lost = running.event("suppressed")
        assert lost["of"] == "log"
        assert lost["count"] > 0
        assert running.stop() == 0
    told = len([event for event in running.events if event["event"] in ("accepted", "connection")])
    assert told + lost["count"] == 2 * served
