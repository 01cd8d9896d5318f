"""What the documentation shows is what happens: transcripts are run, programs are run, links lead.

In a transcript ``…`` stands for text that differs from run to run; alone on a line, for any number
of lines.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from mtls_echo_pki.directory import Directory
from mtls_echo_tls.protocol import denial_line

from .client_helpers import Behaviour, answering, saying, serving
from .command_line import environment

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
COMPONENTS = ("cli", "server", "client", "tls", "pki")
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.glob("*.md")])

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
_PATIENCE = 60.0


def _blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in _BLOCK.findall(page.read_text("utf-8")) if kind == language]


class Shell:
    """Runs the commands of a page one after the other, as a reader would in two terminals."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.status = 0
        self.port = 8443
        self.server: subprocess.Popen[str] | None = None
        command = home / "bin" / "mtls-echo"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mtls_echo "$@"\n')
        command.chmod(0o700)
        path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = environment(home / "state", PATH=path)

    def run(self, command: str, lines: int) -> str:
        """The output of a command; of a server, its first ``lines`` lines."""
        # The port of the documentation may be taken on this machine.
        if command == "mtls-echo serve":
            return self._serve(lines)
        here = re.sub(r"mtls-echo connect(?! local)", "mtls-echo connect localhost:8443", command)
        ran = subprocess.run(
            [
                "bash",
                "-o",
                "pipefail",
                "-c",
                f"(exit {self.status}); {here.replace('8443', str(self.port))}",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE,
            cwd=self.home,
            env=self.environment,
        )
        self.status = ran.returncode
        return ran.stdout.replace(str(self.port), "8443")

    def _serve(self, lines: int) -> str:
        self.server = subprocess.Popen(
            [self.home / "bin" / "mtls-echo", "serve", "--listen", "127.0.0.1:0"],
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )
        assert self.server.stderr is not None
        output = "".join(self.server.stderr.readline() for _ in range(lines))
        listening = re.search(r"127\.0\.0\.1:(\d+)", output)
        assert listening is not None, output
        self.port = int(listening[1])
        return output.replace(listening[1], "8443")

    def close(self) -> None:
        if self.server is not None:
            self.server.send_signal(signal.SIGKILL)
            self.server.wait()
            assert self.server.stderr is not None
            self.server.stderr.close()


def _pattern(expected: str) -> str:
    lines = []
    for line in expected.splitlines():
        if line.strip() == "…":
            lines.append(r"(?:.*\n)*?")
        else:
            # A run of them keeps columns aligned; as many wildcards would take for ever.
            lines.append(".*".join(map(re.escape, re.split("…+", line))) + r"[ ]*\n")
    return "".join(lines)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if _blocks(page, "console")], ids=lambda page: page.name
)
def test_every_transcript_is_what_the_commands_print(page: Path, tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    try:
        for block in _blocks(page, "console"):
            for command, expected in _COMMAND.findall(block):
                asked = command == "echo $?"
                # A status that is not shown is 0; one that is shown belongs to the command above.
                assert shell.status == 0 or asked, f"before $ {command}: exit {shell.status}"
                printed = shell.run(command, expected.count("\n"))

                assert re.fullmatch(_pattern(expected), printed), f"$ {command}\n{printed}"
                assert "Traceback" not in printed
        assert shell.status == 0
    finally:
        shell.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_transcript_leaves_out_all_that_a_command_prints(page: Path) -> None:
    for block in _blocks(page, "console"):
        for command, expected in _COMMAND.findall(block):
            shown = expected.replace("…", "").strip()
            assert shown or not expected, f"$ {command}"


def test_the_readme_s_certificates_are_those_of_its_python() -> None:
    program = next(text for text in _blocks(ROOT / "README.md", "python") if "Authority" in text)
    contexts = {
        "server_context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        "client_context": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    }
    exec(program, contexts)  # noqa: S102  our own README

    assert contexts["client_context"].cert_store_stats()["x509_ca"] == 1


def test_the_library_page_shows_the_programs_that_are_tested() -> None:
    shown = _blocks(DOCS / "library.md", "python")

    for program in ("server.py", "client.py"):
        assert (DOCS / "examples" / program).read_text("utf-8") in shown


def test_the_programs_of_the_library_page_talk_to_each_other(tmp_path: Path) -> None:
    pki = str(tmp_path / "pki")
    program = [sys.executable, str(DOCS / "examples" / "server.py"), "127.0.0.1:0", pki]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            listening = re.search(r":(\d+),", server.stderr.readline())
            assert listening is not None

            def ask(host: str) -> subprocess.CompletedProcess[str]:
                return subprocess.run(
                    [sys.executable, DOCS / "examples" / "client.py", host, listening[1], pki],
                    capture_output=True,
                    text=True,
                    timeout=_PATIENCE,
                )

            answered = ask("localhost")
            refused = ask("127.0.0.2")  # the same server, by a name that its certificate lacks
        finally:
            server.kill()

    assert answered.stdout == "hello client.test, you said: good morning\n"
    assert answered.returncode == 0
    assert refused.returncode == 1


def ask(port: int, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the client of the library page with the certificates of a PKI directory."""
    return subprocess.run(
        [sys.executable, DOCS / "examples" / "client.py", "localhost", str(port), folder],
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
    )


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        (saying(denial_line("only bob")), "the server turned us away"),
        (saying(), "closed without an alert"),
        (answering(b"hello cli"), "closed the connection before more answer had come"),
    ],
    ids=["denied", "closed", "closed in the middle of the line"],
)
def test_no_answer_is_never_a_success(tmp_path: Path, behaviour: Behaviour, told: str) -> None:
    pki = Directory.create(tmp_path / "pki")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pki.credential("server").load_into(context)
    with serving(behaviour, context) as port:
        ran = ask(port, tmp_path / "pki")

    assert (ran.returncode, ran.stdout) == (1, "")
    assert told in ran.stderr
    assert "Traceback" not in ran.stderr


def test_lines_are_found_however_the_bytes_come(tmp_path: Path) -> None:
    pki = Directory.create(tmp_path / "pki")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    pki.trust("servers").load_into(context)
    pki.credential("client").load_into(context)
    program = [sys.executable, str(DOCS / "examples" / "server.py"), "127.0.0.1:0", str(pki.path)]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            listening = re.search(r":(\d+),", server.stderr.readline())
            assert listening is not None
            with (
                socket.create_connection(("127.0.0.1", int(listening[1]))) as tcp,
                context.wrap_socket(tcp, server_hostname="localhost") as tls,
                tls.makefile("rb") as answers,
            ):
                for piece in (b"on", b"e\ntwo\nth", b"ree\n"):
                    tls.sendall(piece)
                heard = [answers.readline() for _ in range(3)]
                tls.sendall(b"x" * 5000)  # a line without an end is not waited for
                end = answers.read()
        finally:
            server.kill()

    said = b"hello client.test, you said: %s\n"
    assert heard == [said % word for word in (b"one", b"two", b"three")]
    assert end == b""


def test_the_programs_have_less_than_30_lines_each() -> None:
    for program in ("server.py", "client.py"):
        assert len((DOCS / "examples" / program).read_text("utf-8").splitlines()) < 30


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_inside_the_project_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_and_functions_named_in_the_documentation_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    named = re.findall(r"`((?:tests|docs|benchmarks|cli|server|client|tls|pki)/[\w./]+)`", text)

    for path in named:
        assert (ROOT / path).exists(), path

    sources = [
        path.read_text("utf-8") for name in COMPONENTS for path in ROOT.glob(name + "/*/*.py")
    ]
    for function in re.findall(r"`(?:\w+\.)*(\w+)\(\)`", text):
        assert any(re.search(rf"(def|class) {function}\b", source) for source in sources), function
