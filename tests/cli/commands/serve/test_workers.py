"""`mtls-echo serve --workers`: one service, whatever happens to one of its processes."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import ssl
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from mtls_echo.commands.serve import serve
from mtls_echo_pki.directory.directory import Directory
from tests.cli.commands.serve.clients import assert_echoes, client_of, never_reading
from tests.cli.commands.serve.clients import directory as directory
from tests.support.servers import ServeProcess
from tests.support.timing import TIMEOUT


class Service(ServeProcess):
    """Two workers, each of which serves one client at a time: a second meets the other worker."""

    def __init__(self, directory: Directory, *options: str) -> None:
        limits = ("--workers", "2", "--max-connections", "2", "--reload-interval", "0")
        super().__init__(*limits, *options, pki=directory.path)
        self.workers: dict[int, int] = {}

    def __enter__(self) -> Service:
        super().__enter__()
        for number in (1, 2):
            self.started(number)
        return self

    def started(self, number: int) -> int:
        """Wait for the ``number``-th start of a worker, and return which it is."""
        event = self.event("worker-started", number)
        self.workers[event["worker"]] = event["pid"]
        return int(event["worker"])

    def client(
        self, context: ssl.SSLContext, session: ssl.SSLSession | None = None
    ) -> tuple[ssl.SSLSocket, int]:
        """A client that has its echo, and the worker that serves it."""
        number = sum(event["event"] == "accepted" for event in self.events) + 1
        tls = context.wrap_socket(self.tcp(), server_hostname="localhost", session=session)
        assert echo(tls)
        return tls, self.event("accepted", number)["worker"]

    def kill_worker(self, worker: int) -> None:
        os.kill(self.workers[worker], signal.SIGKILL)


def echo(tls: ssl.SSLSocket) -> bool:
    tls.sendall(b"hello")
    return tls.recv(5) == b"hello"


def test_workers_share_clients_sessions_and_the_key_log_and_drain_together(
    directory: Directory, tmp_path: Path
) -> None:
    keylog, context = tmp_path / "keys.log", client_of(directory)
    options = ("--keylog", str(keylog), "--session-tickets", "on", "--listen", "127.0.0.1:0")
    with Service(directory, *options) as running:
        ports = {running.event("listening", number)["port"] for number in (1, 2)}
        assert running.event("listening") | {"pid": running.process.pid, "workers": 2} == (
            running.event("listening")
        )
        first, one = running.client(context)
        (running.port,) = ports - {running.port}
        second, other = running.client(context, first.session)
        with first, second:
            assert {one, other} == {1, 2}
            assert second.session_reused
            running.process.send_signal(signal.SIGTERM)
            os.kill(running.workers[one], signal.SIGTERM)  # as a service manager does
            assert running.event("stopping")["connections"] == 2
            assert echo(first)
            assert echo(second)
            assert (first.recv(1), second.recv(1)) == (b"", b"")  # close_notify
        assert running.event("stopped") | {"drained": 2, "aborted": 0} == running.event("stopped")
        assert running.process.wait() == 0
        assert running.events[-1]["event"] == "stopped"
        assert {e["worker"] for e in running.events if e["event"] == "connection"} == {1, 2}
    # Python begins it with a line of comment, which a fork may repeat.
    lines = [line for line in keylog.read_text().splitlines() if not line.startswith("# TLS")]
    assert all(re.fullmatch("[A-Z0-9_]+ [0-9a-f]{64} [0-9a-f]+", line) for line in lines)
    assert len({line.split()[1] for line in lines}) == 2


def test_a_killed_worker_is_replaced_by_one_that_has_what_the_others_have(
    directory: Directory,
) -> None:
    context = client_of(directory)
    with Service(directory) as running:
        lost, one = running.client(context)
        kept, _ = running.client(context)
        running.kill_worker(one)
        with lost, contextlib.suppress(ssl.SSLEOFError, ConnectionResetError):
            assert lost.recv(1) == b""
        ended = running.event("worker-ended")
        assert ended | {"worker": one, "signal": 9, "restart_in": 0.0} == ended
        assert running.started(3) == one
        with kept:
            assert echo(kept)
            third, its_worker = running.client(context)
            assert its_worker == one
            third.close()

        directory.renew("server", rekey=False)
        running.process.send_signal(signal.SIGHUP)
        reloads = [running.event("reload", number) for number in (1, 2)]
        assert {(each["worker"], each["generation"]) for each in reloads} == {(1, 2), (2, 2)}
        running.kill_worker(one)
        assert running.started(4) == one
        reload = running.event("reload", 3)
        assert (reload["worker"], reload["generation"], reload["ok"]) == (one, 2, True)
        assert running.events.index(reload) < running.events.index(
            running.event("worker-started", 4)  # it had not accepted a client before
        )

        (directory.path / "server" / "tls.crt").write_text("")
        running.kill_worker(one)
        ended = running.event("worker-ended", 4)  # in its place one that could not serve
        assert (ended["worker"], ended["exit_status"]) == (one, 1)
        assert "tls.crt" in ended["reason"]
        assert "Traceback" not in ended["reason"]
        assert_echoes(running, context)  # by the other one
        assert running.stop() == 0


def test_a_second_signal_cuts_off_the_rest_with_status_1(directory: Directory) -> None:
    with (
        Service(directory, "--grace-period", "3600") as running,
        never_reading(running, client_of(directory)),
    ):
        assert_echoes(running, client_of(directory))
        running.process.send_signal(signal.SIGTERM)
        running.event("stopping")
        assert running.stop(signal.SIGINT) == 1
        assert running.event("stopped")["aborted"] == 1


def test_no_worker_outlives_a_supervisor_that_is_killed_under_load(directory: Directory) -> None:
    context = client_of(directory)

    def load() -> None:
        with contextlib.suppress(OSError):
            while True:
                with running.connect(context) as tls:
                    tls.sendall(b"x" * 100_000)
                    tls.recv(1)

    with Service(directory) as running:
        ends = [os.pidfd_open(pid) for pid in running.workers.values()]
        clients = [threading.Thread(target=load) for _ in range(3)]
        for client in clients:
            client.start()
        running.event("connection", 3)
        running.process.kill()
        for end in ends:
            assert select.select([end], [], [], TIMEOUT)[0]
            os.close(end)
        for client in clients:
            client.join()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", running.port))


def test_under_load_a_reload_loses_nothing_and_a_killed_worker_its_own_sessions_alone(
    directory: Directory,
) -> None:
    context = client_of(directory)
    lost: list[int] = []
    over = threading.Event()

    def load() -> None:
        while not over.is_set():
            tcp = running.tcp()
            port = tcp.getsockname()[1]
            try:
                with context.wrap_socket(tcp, server_hostname="localhost") as tls:
                    echoed = [echo(tls) for _ in range(3)]
            except OSError:
                echoed = [False]
            if not all(echoed):
                lost.append(port)

    def served(more: int) -> None:
        now = sum(event["event"] == "accepted" for event in running.events)
        running.event("accepted", now + more)

    with Service(directory, "--max-connections", "100") as running:
        clients = [threading.Thread(target=load) for _ in range(4)]
        for client in clients:
            client.start()
        served(20)
        directory.renew("server", rekey=True)
        running.process.send_signal(signal.SIGHUP)
        running.event("reload", 2)
        served(20)
        assert lost == []
        running.kill_worker(1)
        assert running.started(3) == 1
        served(20)
        over.set()
        for client in clients:
            client.join()
        assert running.stop() == 0
        others = {
            int(event["peer_address"].rpartition(":")[2])
            for event in running.events
            if event["event"] == "accepted" and event["worker"] == 2
        }
        assert len(lost) <= len(clients)
        assert not others & {*lost}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--workers", "-1"], "x>=0"),
        (["--workers", "many"], "not a valid integer"),
        (["--workers", "3", "--max-connections", "2"], "some could serve no client"),
    ],
    ids=["negative", "a word", "more than clients"],
)
def test_a_number_of_workers_that_could_not_serve_is_refused(
    options: list[str], says: str
) -> None:
    done = CliRunner().invoke(serve, options)
    assert done.exit_code == 2
    assert says in " ".join(done.output.split())
