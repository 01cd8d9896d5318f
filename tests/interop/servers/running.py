"""Run a server that is not ours in a folder of its own, unprivileged, until a block ends.

A module of this folder is about one product: a `Server`, whose `start` takes the files and what is
to become of clients, and yields the port. Nothing is shared between two of them, nothing is left
behind, and no port is one that another program may have got meanwhile: a server that cannot bind
is started once more with another.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal, Protocol

import pytest

from tests.support.ports import server_port
from tests.support.timing import TIMEOUT

# What becomes of a client: it needs a certificate; one that it presents must be good; whatever it
# presents is taken; or it is not asked for one.
ClientAuth = Literal["required", "optional", "unverified", "none"]

# How it is spoken to once TLS is up.
Speaks = Literal["http", "echo", "nothing"]

# `nobody`: a test is root's in a container, and most of these servers refuse to run as root.
_USER = 65534

_ATTEMPTS = 5

# Between two looks at a server that has not begun to listen.
_MOMENT = 0.02


@dataclass(frozen=True)
class Files:
    """What a server is configured with, as PEM.

    Attributes:
        certificate, key: The server's own; with intermediates behind it.
        client_ca: The CAs that issue clients.
        crl: Their CRLs.
    """

    certificate: Path
    key: Path
    client_ca: Path
    crl: Path | None = None


class Start(Protocol):
    """Starts a server; the contents of the block has its port."""

    def __call__(
        self, files: Files, client_auth: ClientAuth = "required", *, extra: str = ""
    ) -> contextlib.AbstractContextManager[int]:
        """Start it; ``extra`` is in the language of its configuration."""
        ...


@dataclass(frozen=True)
class Server:
    """A product.

    Attributes:
        name: As tests call it.
        programs: What must be installed.
        start: Starts it.
        speaks: What it answers once TLS is up.
        starttls: The plaintext protocol in whose middle TLS begins, by the name of its option.
    """

    name: str
    programs: tuple[str, ...]
    start: Start
    speaks: Speaks = "http"
    starttls: str | None = None

    def __str__(self) -> str:
        return self.name

    def need(self) -> None:
        """Skip, naming what is absent; where nothing may be missing that is a failure."""
        for program in self.programs:
            if shutil.which(program, path=search_path()) is None:
                pytest.skip(f"{program} is not installed")


def search_path() -> str:
    """PATH, and where servers are installed."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


@contextlib.contextmanager
def folder_for(files: Files) -> Generator[tuple[Path, Files]]:
    """A folder with copies of the files, all of which belong to the user that servers run as."""
    with tempfile.TemporaryDirectory(prefix="mtls-echo-server-", dir="/tmp") as name:
        folder = Path(name)
        copies: dict[str, Path] = {}
        for field in fields(files):
            source: Path | None = getattr(files, field.name)
            if source is not None:
                copies[field.name] = folder / f"{field.name}.pem"
                shutil.copyfile(source, copies[field.name])
        give_away(folder)
        yield folder, replace(files, **copies)


def give_away(folder: Path) -> None:
    """Let a folder and all that is in it belong to the user that servers run as."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
        if os.geteuid() == 0:
            os.chown(path, _USER, _USER)


def environment(folder: Path) -> dict[str, str]:
    """That of a server: nothing of the caller's but where programs are."""
    return {"PATH": search_path(), "HOME": str(folder), "TMPDIR": str(folder), "LC_ALL": "C"}


def run_once(folder: Path, *command: str, stdin: bytes = b"") -> None:
    """Run a program that prepares a server, to its end."""
    user = _USER if os.geteuid() == 0 else None
    done = subprocess.run(
        command,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=environment(folder),
        timeout=TIMEOUT,
        check=False,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")


@contextlib.contextmanager
def process(
    folder: Path,
    command: Sequence[str],
    *,
    ends_by: int = signal.SIGKILL,
    as_root: bool = False,
) -> Generator[subprocess.Popen[bytes]]:
    """A server and all its children, which end with the block."""
    user = _USER if os.geteuid() == 0 and not as_root else None
    output = folder / "output"
    with output.open("ab") as log, contextlib.ExitStack() as stack:
        if user is not None:
            os.fchown(log.fileno(), user, user)  # /dev/stderr is opened anew by some
        running = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=folder,
            env=environment(folder),
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            start_new_session=True,  # then all its children can be ended by their group
        )
        watchdog = threading.Timer(TIMEOUT, _end, (running, signal.SIGKILL))
        watchdog.start()
        stack.callback(watchdog.cancel)
        assert running.stdout is not None
        stack.callback(running.stdout.close)
        try:
            yield running
        finally:
            _end(running, ends_by)
            running.wait()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)  # children that have stayed


def _end(running: subprocess.Popen[bytes], how: int) -> None:
    if running.poll() is None:
        if how == signal.SIGKILL:
            os.killpg(running.pid, how)
        else:
            running.send_signal(how)


@contextlib.contextmanager
def listening(
    folder: Path,
    command: Callable[[int], Sequence[str]],
    *,
    ends_by: int = signal.SIGKILL,
    as_root: bool = False,
) -> Generator[int]:
    """A server that has to be told its port, once it listens there."""
    with contextlib.ExitStack() as stack:
        for attempt in range(_ATTEMPTS):
            port = server_port()
            running = stack.enter_context(
                process(folder, command(port), ends_by=ends_by, as_root=as_root)
            )
            if _begins(running, port):
                break
            stack.close()
            said = (folder / "output").read_text(errors="replace")
            in_use = "in use" in said or "EADDRINUSE" in said
            assert in_use, said
            assert attempt + 1 < _ATTEMPTS, said
        yield port


def _begins(running: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until it listens; whether it did before it ended."""
    ends = time.monotonic() + TIMEOUT
    while time.monotonic() < ends:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(_MOMENT)
            return False
    raise AssertionError(f"{running.args!r} does not listen")


@contextlib.contextmanager
def saying_its_port(folder: Path, command: Sequence[str]) -> Iterator[int]:
    """A server that chooses its port, and prints a line that ends with it."""
    with process(folder, command) as running:
        assert running.stdout is not None
        for line in running.stdout:
            number = line.decode(errors="replace").replace("\t", ":").rpartition(":")[2].strip()
            if number.isdecimal():
                break
        else:
            raise AssertionError((folder / "output").read_text(errors="replace"))
        yield int(number)
