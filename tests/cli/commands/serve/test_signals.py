"""`mtls-echo serve` and its signals: how it drains, and its exit status."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from mtls_echo_pki.directory.directory import Directory
from tests.cli.commands.serve.clients import assert_echoes, client_of, never_reading
from tests.cli.commands.serve.clients import directory as directory
from tests.support.servers import ServeProcess
from tests.support.timing import TIMEOUT


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_drains_the_connections(directory: Directory, number: int) -> None:
    with ServeProcess(pki=directory.path) as running:
        with running.connect(client_of(directory)) as tls:
            tls.sendall(b"hello")
            assert tls.recv(5) == b"hello"
            running.process.send_signal(number)
            assert running.event("stopping")["connections"] == 1
            tls.sendall(b"still")
            assert tls.recv(5) == b"still"
            assert tls.recv(1) == b""  # close_notify
        assert running.event("stopped") | {"drained": 1, "aborted": 0} == running.event("stopped")
        assert running.process.wait() == 0


def test_an_expired_grace_period_cuts_off_the_rest_with_status_1(directory: Directory) -> None:
    with (
        ServeProcess("--grace-period", "0.2", pki=directory.path) as running,
        never_reading(running, client_of(directory)),
    ):
        assert_echoes(running, client_of(directory))
        assert running.stop() == 1
        assert running.event("stopped")["aborted"] == 1


def test_a_second_signal_cuts_off_the_rest_with_status_1(directory: Directory) -> None:
    with (
        ServeProcess("--grace-period", "3600", pki=directory.path) as running,
        never_reading(running, client_of(directory)),
    ):
        assert_echoes(running, client_of(directory))
        running.process.send_signal(signal.SIGTERM)
        running.event("stopping")
        assert running.stop(signal.SIGTERM) == 1


def test_an_unauthenticated_connection_does_not_delay_a_stop(directory: Directory) -> None:
    limits = ("--handshake-timeout", "3600", "--grace-period", "3600")
    with ServeProcess(*limits, pki=directory.path) as running, running.tcp() as silent:
        assert_echoes(running, client_of(directory))
        assert running.stop() == 0
        assert running.event("stopped")["aborted"] == 0
        assert silent.recv(1) == b""


def test_signals_that_come_while_it_starts_are_kept_until_it_serves(directory: Directory) -> None:
    script = (
        "import os, signal\n"
        "import mtls_echo.commands.serve as command\n"
        "read = command._read\n"
        "due = [signal.SIGHUP, signal.SIGTERM]\n"
        "def signalled(options, **given):\n"  # the port is open by now
        "    while due:\n"  # once: SIGHUP has it read again
        "        os.kill(os.getpid(), due.pop(0))\n"
        "    return read(options, **given)\n"
        "command._read = signalled\n"
        "command.serve()"
    )
    options = ["--pki", str(directory.path), "--listen", "127.0.0.1:0"]
    done = subprocess.run(
        [sys.executable, "-c", script, *options],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].endswith("stopped, 0 connections finished, 0 aborted")
