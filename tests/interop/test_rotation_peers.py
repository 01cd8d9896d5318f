"""Clients that are not ours stay connected while the authority above them is replaced."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mtls_echo_pki.directory.directory import Directory
from tests.interop.foreign_peers import Program, alert_seen, java, need, node, started
from tests.support.servers import ServeProcess

Command = Callable[[int, Path, str], list[str]]

# What a client has to have.
FILES = ("trust/servers/ca.crt", "client/tls.crt", "client/tls.key")


def _openssl(port: int, pki: Path, version: str) -> list[str]:
    return [
        *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost"),
        *("-verify_return_error", "-quiet", "-no_ign_eof", f"-{version.replace('.', '_')}"),
        *("-CAfile", str(pki / "trust/servers/ca.crt")),
        *("-cert", str(pki / "client/tls.crt"), "-cert_chain", str(pki / "client/tls.crt")),
        *("-key", str(pki / "client/tls.key")),
    ]


def _program(program: Program) -> Command:
    def command(port: int, pki: Path, version: str) -> list[str]:
        files = [str(pki / file) for file in FILES]
        return [*program(), str(port), *files, version.replace("tls1", "TLSv1")]

    return command


_node = _program(partial(node, "staying"))
_java = _program(partial(java, "Staying"))


def answer(process: subprocess.Popen[str], line: str) -> str:
    """What comes back for a line: the first line that is not about certificates."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # then what it has printed says why
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
    while True:
        found = process.stdout.readline()
        # What s_client prints of the path that it verifies.
        if not found.startswith(("depth=", "verify ")):
            return found.rstrip("\n")


def reload(server: ServeProcess, number: int) -> None:
    """Have the server read its files, and wait until it has."""
    server.process.send_signal(signal.SIGHUP)
    assert server.event("reload", number)["ok"]


@pytest.mark.parametrize("version", ["tls1.2", "tls1.3"])
@pytest.mark.parametrize(
    ("program", "command"),
    [("openssl", _openssl), ("node", _node), ("java", _java)],
    ids=["openssl", "node", "java"],
)
def test_a_foreign_client_stays_through_the_whole_replacement_and_comes_back_at_each_step(
    tmp_path: Path, program: str, command: Command, version: str
) -> None:
    need(program)
    directory = Directory.create(tmp_path / "pki")
    steps: list[Callable[[], object]] = [
        directory.introduce,
        directory.switch,
        lambda: [directory.renew(name, rekey=True) for name in ("server", "client")],
        directory.retire,
    ]
    with (
        ServeProcess("--reload-interval", "0", pki=directory.path) as server,
        started(*command(server.port, directory.path, version)) as staying,
    ):
        assert answer(staying, "first") == "first"
        old_client = tmp_path / "old"
        for file in FILES:
            (old_client / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(directory.path / file, old_client / file)
        for number, step in enumerate(steps, start=1):
            step()
            reload(server, number)

            assert answer(staying, f"still here, {number}") == f"still here, {number}"
            with started(*command(server.port, directory.path, version)) as coming:
                assert answer(coming, f"back, {number}") == f"back, {number}"

        (old_client / "trust/servers/ca.crt").write_bytes(
            directory.trust("servers").pem  # or it would refuse the server before it is refused
        )
        with started(*command(server.port, old_client, version)) as former:
            assert alert_seen(answer(former, "me again")) == "unknown_ca"
        assert answer(staying, "last") == "last"
