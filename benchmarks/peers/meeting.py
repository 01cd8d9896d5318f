"""One case: a process of ours and a foreign one meet, each with the files it has."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from benchmarks.peers.faults import Fault
from benchmarks.peers.grading import Outcome, grade
from benchmarks.peers.profiles import Issued
from benchmarks.peers.stacks import MESSAGE, Part, Stack, settings
from benchmarks.processes import SECONDS, event, last_line, started
from benchmarks.worlds import OTHER, Side

# The exit status of `connect` when it cannot use its files.
_UNUSABLE = 2

# Most end at the end of their input; curl does not.
_SECONDS_TO_END = 0.5


@dataclass(frozen=True)
class Meeting:
    """A case, ready to be played.

    Attributes:
        stack: The foreign end.
        part: What it is to be.
        fault: What is wrong, and with which judge.
        judge: ``ours`` or ``theirs``.
        profile: Whose certificates these are.
        sound: What the judge itself presents.
        root: What the presenter trusts.
        options: Of our end, further ones.
        refuser: Who must refuse; None: the judge's side.
        tls: Our end's only version.
    """

    stack: Stack
    part: Part
    fault: Fault
    judge: str
    profile: str
    sound: tuple[Issued, ...]
    root: Issued
    tls: str
    options: tuple[str, ...] = ()
    refuser: Side | None = None

    @property
    def ours(self) -> Side:
        """The side of our end."""
        return OTHER[self.part.side]

    def play(self, python: str) -> Outcome:
        """Let the two ends meet, and grade what ours reports."""
        also = self.fault.also if self.judge == "theirs" else frozenset[str]()
        outcome = Outcome(
            *(self.fault.slug, self.stack.name, self.part.side, self.tls, self.profile),
            *(self.judge, tuple(sorted(self.fault.causes | also))),
        )
        with TemporaryDirectory(prefix="mtls-echo-peers-") as name:
            folder = Path(name)
            theirs, arguments = self._write(folder)
            if self.ours == "server":
                self._serve(python, folder, theirs, arguments, outcome)
            else:
                self._connect(python, folder, theirs, arguments, outcome)
        if not outcome.note:
            judge_side = self.part.side if self.judge == "theirs" else self.ours
            alone = len(self.fault.chain) == 1
            refuser = None if self.fault.either else self.refuser or judge_side
            grade(outcome, refuser, self.fault.culprits, alone=alone)
        return outcome

    # --- files -----------------------------------------------------------------------------------

    def _write(self, folder: Path) -> tuple[Path, list[str]]:
        """The foreign end's folder, and our end's options with the files that they name."""
        fault, trusted = self.fault, (self.fault.trusts or self.root,)
        # Our end knows the CA of its own certificate, as the one CA of both sides. A foreign end
        # on OpenSSL would complete what it presents with it, and not send what is weak.
        known: tuple[Issued, ...] = (self.root,)
        if fault.trusts and self.judge == "theirs":
            known = (self.root, fault.trusts)
        judged = _End(fault.chain, known)
        judging = _End(self.sound, trusted, fault.crls)
        ours, theirs = (judging, judged) if self.judge == "ours" else (judged, judging)
        there = folder / "theirs"
        there.mkdir()
        _write_foreign(there, self.stack.name, self.part, theirs)
        return there, [*_write_ours(folder / "ours", self.ours, ours), *self.options]

    # --- our end is the server -------------------------------------------------------------------

    def _serve(
        self, python: str, folder: Path, theirs: Path, arguments: list[str], outcome: Outcome
    ) -> None:
        arguments = ["--listen", "127.0.0.1:0", "--log-format", "json", *arguments]
        with started(python, "serve", *arguments, folder=folder) as server:
            listening = event(server, "listening")
            if listening is None:
                outcome.note = "our server does not start with these files"
                return
            command = self.stack.command(self.part, theirs, listening["port"])
            with _foreign(command, theirs) as (client, said):
                said.wait_for(rf"{MESSAGE}|GET /|\tsaw|saw\t")
                _end(client)
            outcome.said = said.text
            outcome.report = event(server, "connection")

    # --- our end is the client -------------------------------------------------------------------

    def _connect(
        self, python: str, folder: Path, theirs: Path, arguments: list[str], outcome: Outcome
    ) -> None:
        with _foreign(self.stack.command(self.part, theirs, 0), theirs) as (server, said):
            found = said.wait_for(self.stack.port)
            if found is None:
                outcome.note = f"the foreign server does not start: {last_line(said.text)}"
                return
            arguments = [f"localhost:{found[1]}", MESSAGE, "--json", "--tls", self.tls, *arguments]
            prefix: tuple[str, ...] = ()
            if self.stack.private:
                namespace = (f"--target={server.pid}", "--user", "--net")
                prefix = ("nsenter", *namespace, "--preserve-credentials")
            with started(python, "connect", *arguments, folder=folder, prefix=prefix) as client:
                output, errors = client.communicate()
                outcome.status = client.returncode
            outcome.said = said.text
        if output and outcome.status != _UNUSABLE:
            outcome.report = json.loads(output)
        else:
            outcome.note = f"our client does not start: {last_line(errors)}"


# --- files ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _End:
    """What an end has: no chain means that it has no certificate."""

    chain: tuple[Issued, ...]
    anchors: tuple[Issued, ...]
    crls: tuple[x509.CertificateRevocationList, ...] = ()


def _write_ours(folder: Path, side: Side, end: _End) -> list[str]:
    def file(name: str, content: bytes) -> str:
        (folder / name).mkdir(parents=True)
        path = folder / name / f"{name}.pem"
        path.touch(0o600)
        path.write_bytes(content)
        return str(path)

    found = ["--client-ca" if side == "server" else "--ca", file("anchors", _pem(end.anchors))]
    if end.chain:
        found += ["--cert", file("chain", _pem(end.chain))]
        found += ["--key", file("key", _key(end.chain[0]))]
    else:
        found.append("--no-cert")
    return [*found, "--crl", file("crls", _crls(end.crls))] if end.crls else found


def _write_foreign(folder: Path, stack: str, part: Part, end: _End) -> None:
    chain = end.chain
    for name in ("servers.crt", "clients.crt"):
        (folder / name).write_bytes(_pem(end.anchors))
    if chain:
        (folder / "me.crt").write_bytes(_pem(chain))
        (folder / "me.key").write_bytes(_key(chain[0]))
        if chain[1:]:
            (folder / "chain.crt").write_bytes(_pem(chain[1:]))
    if chain and stack == "java":
        others = [one.certificate for one in chain[1:]]
        found = pkcs12.serialize_key_and_certificates(
            *(b"me", chain[0].key, chain[0].certificate, others),
            BestAvailableEncryption(b"secret"),
        )
        (folder / "me.p12").write_bytes(found)
    if end.crls:
        (folder / "crl.pem").write_bytes(_crls(end.crls))
    content = settings(stack, part, folder)
    if content is not None:
        (folder / "settings.json").write_bytes(content)


def _pem(found: tuple[Issued, ...]) -> bytes:
    return b"".join(one.certificate.public_bytes(Encoding.PEM) for one in found)


def _crls(found: tuple[x509.CertificateRevocationList, ...]) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in found)


def _key(owner: Issued) -> bytes:
    return owner.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


# --- the foreign process -------------------------------------------------------------------------


class _Said:
    """What a process prints, as it prints it."""

    def __init__(self) -> None:
        self.text = ""
        self._ended = False
        self._news = threading.Condition()

    def read(self, process: subprocess.Popen[bytes]) -> None:
        """Take everything, to the end."""
        assert process.stdout is not None
        while chunk := os.read(process.stdout.fileno(), 65536):
            with self._news:
                self.text += chunk.decode(errors="replace")
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for(self, pattern: str) -> re.Match[str] | None:
        """The first match of the pattern; None when the process has ended without one."""
        with self._news:
            self._news.wait_for(lambda: self._ended or re.search(pattern, self.text), SECONDS)
            return re.search(pattern, self.text)


@contextmanager
def _foreign(command: list[str], folder: Path) -> Generator[tuple[subprocess.Popen[bytes], _Said]]:
    """A foreign process that has been told `MESSAGE`; killed at the end or when its time is up."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PATH": os.environ.get("PATH", ""), "HOME": str(folder)},
    )
    said = _Said()
    reader = threading.Thread(target=said.read, args=(process,))
    watchdog = threading.Timer(SECONDS, process.kill)
    reader.start()
    watchdog.start()
    try:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{MESSAGE}\n".encode())
            process.stdin.flush()
        yield process, said
    finally:
        watchdog.cancel()
        process.kill()
        reader.join()
        process.wait()
        with contextlib.suppress(BrokenPipeError):
            assert process.stdin is not None
            process.stdin.close()
            assert process.stdout is not None
            process.stdout.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let a client go: it has its echo, or has ended by itself."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_SECONDS_TO_END)
    process.kill()
