"""The two commands under measurement as processes, and what they say.

Black box: `serve --log-format json` and `connect --json` are started with PEM files, and asked,
with nothing of the caller's environment, neither its PKI nor its settings.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# No process takes a tenth of it; one that hangs must not hang the measurement.
SECONDS = 30.0


@contextmanager
def started(
    python: str, command: str, *arguments: str, folder: Path, prefix: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen[str]]:
    """A process of ours, killed at the end or when its time is up; a prefix may start it."""
    process = subprocess.Popen(
        [*prefix, python, "-m", "mtls_echo", command, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Nothing of the caller's: neither the PKI nor the settings.
        env={"PATH": os.environ.get("PATH", ""), "HOME": str(folder)},
    )
    try:
        with killed_after(SECONDS, process):
            yield process
    finally:
        process.communicate()


@contextmanager
def killed_after(seconds: float, process: subprocess.Popen[str]) -> Iterator[None]:
    """Kill a process when its time is up, and at the end of the block in any case."""
    watchdog = threading.Timer(seconds, process.kill)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()
        process.kill()


def event(server: subprocess.Popen[str], name: str) -> dict[str, Any] | None:
    """The next event of this name; None when the log ends before."""
    assert server.stderr is not None
    for line in server.stderr:
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            if found["event"] == name:
                return found
        else:
            print(f"serve: {line.rstrip()}", file=sys.stderr)
    return None


def last_line(text: str) -> str:
    """What a program said last, mostly why it ended."""
    return (text.strip().splitlines() or ["no word"])[-1]


def facts_of(python: str) -> dict[str, str]:
    """What ran, as the interpreter under measurement says."""
    asked = (
        "import json, platform, ssl, cryptography as c; print(json.dumps("
        "[platform.python_version(), ssl.OPENSSL_VERSION, c.__version__]))"
    )
    found = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True)
    names = ("python", "openssl", "cryptography")
    return dict(zip(names, json.loads(found.stdout), strict=True))
