"""What the documentation shows is what happens: transcripts are run, programs are run, links lead.

In a transcript ``…`` stands for text that differs from run to run; alone on a line, for any number
of lines. One without a command is what the server of the page writes next.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import sysconfig
import threading
import venv
from pathlib import Path

import pytest

import mtls_echo
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_tls.denial import denial_line
from tests.interop.foreign_peers import need
from tests.support.clients import Behaviour, answering, saying, serving
from tests.support.command_line import environment
from tests.support.ports import server_port
from tests.support.timing import TIMEOUT

# What a reader pastes to install and to uninstall. It is not run as pasted, since it fetches
# packages and writes into a user's home; `test_packaging.py` installs the checkout without a
# network, `make check` the wheel.
INSTALLING = {
    "pipx install .", "uv tool install .", "pip install .",
    f"pip install dist/mtls_echo-{mtls_echo.__version__}-py3-none-any.whl",
    "pipx uninstall mtls-echo", "uv tool uninstall mtls-echo", "pip uninstall mtls-echo",
}  # fmt: skip

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
COMPONENTS = ("cli", "server", "client", "tls", "pki")
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)


def _blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in _BLOCK.findall(page.read_text("utf-8")) if kind == language]


class Terminal:
    """A bash that runs one command after the other, as a reader pastes them."""

    _END = "the command has ended with "

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.status = 0
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env=variables,
            start_new_session=True,
        )
        self.run("set -o pipefail")

    def run(self, command: str, lines: int | None = None) -> str:
        """The output of a command to its end, or its first ``lines`` lines: then it goes on."""
        assert self._bash.stdin is not None
        # The status of the command before, for who asks; nothing of what follows to this one.
        self._bash.stdin.write(f"(exit {self.status})\n{{ {command}\n}} </dev/null\n")
        self._bash.stdin.write(f'printf "\\n%s%s\\n" "{self._END}" $?\n')
        self._bash.stdin.flush()
        return self.read(lines, command)

    def read(self, lines: int | None, command: str = "") -> str:
        """So many lines of what is printed; all of it, to the end of a command, unless given."""
        assert self._bash.stdout is not None
        watchdog = threading.Timer(TIMEOUT, self.close)
        watchdog.start()
        output = ""
        while lines is None or output.count("\n") < lines:
            line = self._bash.stdout.readline()
            assert line, f"bash has ended in {command}:\n{output}"
            if line.startswith(self._END):
                self.status = int(line.removeprefix(self._END))
                output = output[:-1]
                break
            output += line
        watchdog.cancel()
        return output

    def close(self) -> None:
        """End it and what runs in it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.wait()
        for stream in (self._bash.stdin, self._bash.stdout):
            if stream is not None:
                stream.close()


class Reader:
    """Runs the commands of a page in order, in two terminals: one is for the server.

    Args:
        folder: Where the terminals are opened.
        variables: Their environment.
    """

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self._opened, self._serving = (folder, variables), False
        self.terminal, self.other = Terminal(*self._opened), Terminal(*self._opened)
        self.port = str(server_port())

    def run(self, command: str, expected: str = "") -> str:
        """The output of a command; of a server, its first lines."""
        if command.startswith(". "):
            self.other.run(command)  # as the page says: in every terminal
        here = re.sub(r"mtls-echo connect(?! local)", "mtls-echo connect localhost:8443", command)
        here = re.sub(r"(localhost:|\"localhost\", )8443", rf"\g<1>{self.port}", here)
        if re.match(r"mtls-echo serve(?! .*--help)", command):
            return self._told(self._serve(command, expected.count("\n")))
        return self._told(self.terminal.run(here))

    def follow(self, transcript: str) -> None:
        """Run every command of a transcript, and compare what it prints with what is shown."""
        if not transcript.startswith("$ "):
            printed = self._told(self.other.read(transcript.count("\n")))
            assert re.fullmatch(_pattern(transcript), printed), printed
        for command, expected in _COMMAND.findall(transcript):
            asked = command == "echo $?"
            # A status that is not shown is 0; one that is shown belongs to the command above.
            assert self.terminal.status == 0 or asked, f"exit status before $ {command}"
            printed = self.run(command, expected)

            assert re.fullmatch(_pattern(expected), printed), f"$ {command}\n{printed}"
            assert "Traceback" not in printed

    def _serve(self, command: str, lines: int) -> str:
        """The first lines of a server, in place of the one before."""
        if self._serving:
            self.other.close()
            self.other, self.port = Terminal(*self._opened), str(server_port())
        self._serving = True
        return self.other.run(f"{command} --listen 127.0.0.1:{self.port}", lines)

    def close(self) -> None:
        """Close both terminals."""
        self.terminal.close()
        self.other.close()

    def _told(self, output: str) -> str:
        return output.replace(self.port, "8443")


def _pattern(expected: str) -> str:
    lines = []
    for line in expected.splitlines():
        if line.strip() == "…":
            lines.append(r"(?:.*\n)*?")
        else:
            # A run of them keeps columns aligned; as many wildcards would take for ever.
            lines.append(".*".join(map(re.escape, re.split("…+", line))) + r"[ ]*\n")
    return "".join(lines)


def _user(home: Path, path: Path | str) -> dict[str, str]:
    """The environment of a user who has no mtls-echo but the one in ``path``, if any."""
    rest = [
        folder
        for folder in os.environ["PATH"].split(os.pathsep)
        if not (Path(folder) / "mtls-echo").exists()
    ]
    home.mkdir()
    return environment(PATH=os.pathsep.join([str(path), *rest]), HOME=str(home))


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if _blocks(page, "console") and page.name != "README.md"],
    ids=lambda page: page.name,
)
def test_every_transcript_is_what_the_commands_print(page: Path, tmp_path: Path) -> None:
    command = tmp_path / "bin" / "mtls-echo"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mtls_echo "$@"\n')
    command.chmod(0o700)
    reader = Reader(tmp_path, _user(tmp_path / "home", command.parent))
    try:
        for block in _blocks(page, "console"):
            reader.follow(block)
        assert reader.terminal.status == 0
    finally:
        reader.close()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of this project in which `make` has installed what it installs."""
    need("make")
    copy = tmp_path / "mtls-echo"
    unwanted = shutil.ignore_patterns(".*", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=unwanted)
    made = copy / ".venv"
    venv.create(made, symlinks=True)
    # What comes over the network is borrowed from here; what is tested is in the copy.
    paths = [*(str(copy / name) for name in COMPONENTS), sysconfig.get_path("purelib")]
    (site,) = made.glob("lib/python*/site-packages")
    (site / "checkout.pth").write_text("\n".join(paths), "utf-8")
    command = made / "bin" / "mtls-echo"
    command.write_text(
        f"#!{made}/bin/python\nfrom mtls_echo.__main__ import main\nmain()\n", "utf-8"
    )
    command.chmod(0o755)
    for stamp in (".run", ".docs", ".dev"):
        (made / stamp).touch()
    return copy


def test_every_block_of_the_readme_runs_as_pasted_and_in_order(
    checkout: Path, tmp_path: Path
) -> None:
    readme = (checkout / "README.md").read_text("utf-8")
    reader = Reader(checkout, _user(tmp_path / "home", "/nowhere"))
    assert reader.terminal.run("command -v mtls-echo") == ""
    reader.terminal.status = 0
    ran = 0
    try:
        for kind, block in re.findall(r"^```(\w*)\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL):
            match kind:
                case "console":
                    reader.follow(block)
                case "python":
                    printed = reader.run(f"python - <<'END'\n{block}END")
                    assert "Traceback" not in printed, printed
                    refused = printed.startswith("we refused the server: ")
                    assert refused is ("except TLSFailure" in block), printed
                case "yaml":  # the text above it says where it belongs
                    reader.run(f"cat >endpoints.yaml <<'END'\n{block}END")
                case "sh":
                    assert set(block.splitlines()) <= INSTALLING
                    for wheel in re.findall(r"dist/\S+", block):  # the block above has built it
                        assert (checkout / wheel).exists()
                case "":
                    for command in block.splitlines():
                        reader.run(command)
                        assert reader.terminal.status == 0, command
                case other:
                    raise AssertionError(f"a block of {other} is not run")
            assert reader.terminal.status == 0, block
            ran += 1
        assert ran == readme.count("```") / 2
    finally:
        reader.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_transcript_leaves_out_all_that_a_command_prints(page: Path) -> None:
    for block in _blocks(page, "console"):
        for command, expected in _COMMAND.findall(block):
            shown = expected.replace("…", "").strip()
            assert shown or not expected, f"$ {command}"


def test_the_picture_of_the_architecture_has_every_room() -> None:
    picture = (DOCS / "architecture.md").read_text("utf-8").split("```")[1]
    rooms = {
        package.parent.name
        for name in COMPONENTS
        for package in ROOT.glob(f"{name}/**/__init__.py")
    }

    assert {room for room in rooms if not re.search(rf"\b{room}/", picture)} == set()


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
                    timeout=TIMEOUT,
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
        timeout=TIMEOUT,
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


def _contents(page: str) -> list[str]:
    """The list of the sections of a page, as it is to be written above the first of them."""
    text = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    lines = list[str]()
    for level, title in re.findall(r"^##(#?) (.+)$", text, re.MULTILINE):
        anchor = re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        lines.append(f"{'  ' * len(level)}- [{title}](#{anchor})")
    return lines


@pytest.mark.parametrize(
    "page",
    [each for each in DOCS.glob("*.md") if each.name not in ("failures.md", "lesson.md")],
    ids=lambda page: page.name,
)
def test_a_long_page_begins_with_the_list_of_its_sections(page: Path) -> None:
    """The two that are generated come with a list of their own."""
    text = page.read_text("utf-8")
    written = re.findall(r"^ *- \[.*\]\(#.*\)$", text.partition("\n## ")[0], re.MULTILINE)

    if written or text.count("\n") > 200:
        assert written == _contents(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_and_functions_named_in_the_documentation_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    named = re.findall(r"`((?:tests|docs|benchmarks|cli|server|client|tls|pki)/[\w./]+)`", text)

    for path in named:
        assert (ROOT / path).exists(), path

    sources = [
        path.read_text("utf-8") for name in COMPONENTS for path in ROOT.glob(name + "/**/*.py")
    ]
    for function in re.findall(r"`(?:\w+\.)*(\w+)\(\)`", text):
        assert any(re.search(rf"(def|class) {function}\b", source) for source in sources), function
