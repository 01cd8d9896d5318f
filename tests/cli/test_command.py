"""The command as a whole: help, version, completion, errors and endings."""

from __future__ import annotations

import inspect
import re
import shlex
import ssl
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

import mtls_echo
from mtls_echo.__main__ import mtls_echo as application
from mtls_echo.usage.help import SectionedCommand
from tests.support.command_line import COMMAND, environment, run
from tests.support.timing import TIMEOUT

COMMANDS = ("demo", "serve", "connect", "endpoints", "pki", "explain", "completion")


def test_help_lists_every_command_and_where_to_start() -> None:
    ran = run("--help")

    assert ran.returncode == 0
    for command in COMMANDS:
        assert f"  {command} " in ran.stdout
    assert "mtls-echo demo" in ran.stdout


@pytest.mark.parametrize("group", [(), ("pki",)], ids=["mtls-echo", "mtls-echo pki"])
def test_a_group_without_a_command_prints_its_help(group: tuple[str, ...]) -> None:
    bare = run(*group)

    assert (bare.returncode, bare.stderr) == (0, "")
    assert bare.stdout == run(*group, "--help").stdout


@pytest.mark.parametrize("name", ["probe", "endpoints"])
def test_a_command_that_can_do_nothing_without_arguments_prints_its_help(name: str) -> None:
    bare = run(name)

    assert (bare.returncode, bare.stderr) == (2, "")
    assert bare.stdout == run(name, "--help").stdout


def _commands(
    group: click.Group, context: click.Context, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The group, and every command in it and below it."""
    yield path, group
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, click.Context(command, context, name), (*path, name))
        else:
            yield (*path, name), command


EVERY_COMMAND = dict(_commands(application, click.Context(application)))


@pytest.mark.parametrize("path", EVERY_COMMAND, ids=" ".join)
def test_every_command_explains_itself_with_examples_that_it_understands(
    path: tuple[str, ...],
) -> None:
    ran = run(*path, "--help")
    text = re.sub(r" \\\n +", " ", ran.stdout)
    examples = re.findall(r"(?m)^ {4}(?:eval \"\$\()?mtls-echo( [^|>&)#\n]+)", text)

    assert ran.returncode == 0
    assert ran.stdout.startswith(" ".join(("Usage: mtls-echo", *path)))
    assert ran.stdout.count("\n  examples:\n") == 1
    assert ran.stdout.index("\n  examples:\n") > ran.stdout.index("  -h, --help ")
    assert any(example.startswith(" ".join(("", *path))) for example in examples)
    for example in examples:
        words = shlex.split(example)
        depth = 2 if words[0] == "pki" else 1
        command = EVERY_COMMAND[*words[:depth]]
        with command.make_context(" ".join(words[:depth]), words[depth:]):
            pass  # understood


@pytest.mark.parametrize("path", EVERY_COMMAND, ids=" ".join)
def test_what_is_laid_out_in_the_help_fits_80_columns(path: tuple[str, ...]) -> None:
    """But for what is wrapped so that it stays right: commands, sentences, exit statuses."""
    command = EVERY_COMMAND[path]
    lines = inspect.cleandoc(command.help or "").split("\n")
    lines += inspect.cleandoc(command.epilog or "").split("\n")
    wrapped = re.compile(r"  mtls-echo |      [A-Z`]|  +\d+  ")
    wide = [line for line in lines if len(line) > 76 and line.startswith("  ")]

    assert [line for line in wide if not wrapped.match(line)] == []


@pytest.mark.parametrize(
    ("mistyped", "meant"),
    [
        ("conect", "connect"),
        ("server", "serve"),
        ("pki isue", "issue"),
        ("isue", "pki issue"),
        ("demo --chapterr tls", "--chapter"),
        ("serve --lisen 127.0.0.1:0", r"--listen\?"),
        ("pki issue ./pki a a.test --cliennt", "--client"),
        ("observe expird", "expired"),
    ],
)
def test_a_mistyped_word_gets_the_one_that_is_like_it(mistyped: str, meant: str) -> None:
    ran = run(*mistyped.split())

    assert ran.returncode == 2
    assert re.search(rf"[Dd]id you mean '?{meant}(?!\w)", ran.stderr)


def test_a_word_like_none_gets_no_suggestion() -> None:
    assert "id you mean" not in run("nonsense").stderr


def test_the_version_comes_with_those_of_python_and_openssl() -> None:
    ran = run("--version")

    assert ran.stdout == run("-V").stdout
    assert ran.stdout.startswith(f"mtls-echo {mtls_echo.__version__} (Python 3.")
    assert ssl.OPENSSL_VERSION in ran.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["demo", "--nonsense"],
        ["demo", "--chapter", "tsl"],
        ["pki", "nonsense"],
        ["pki", "rollover", "./pki", "swich"],
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_error_with_a_hint_and_exit_2(arguments: list[str]) -> None:
    ran = run(*arguments)

    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr
    assert ran.stderr.count("mtls-echo: error: ") == 1
    assert ran.stderr.count("mtls-echo: hint: ") == 1
    assert "{" not in ran.stderr


@pytest.mark.parametrize(
    ("command", "option"),
    [("connect", "--timeout"), ("pki issue", "--lifetime"), ("gallery judge", "--expect")],
)
def test_the_hint_leads_to_the_help_of_the_command_whose_option_lacks_its_value(
    command: str, option: str
) -> None:
    ran = run(*command.split(), option)

    assert f"option '{option}' requires an argument" in ran.stderr
    assert f"hint: see: mtls-echo {command} --help" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "no_color", "coloured"),
    [
        ("nonsense", "", False),
        ("--color auto nonsense", "", False),
        ("--color always nonsense", "", True),
        ("--color always nonsense", "1", True),
        ("--color never nonsense", "", False),
        ("--color always serve --nonsense", "", True),
        ("--color always demo --tour", "", True),
        ("--color never demo --tour", "", False),
    ],
)
def test_the_colour_of_everything_is_chosen_at_one_place(
    arguments: str, no_color: str, coloured: bool
) -> None:
    ran = run(*arguments.split(), NO_COLOR=no_color)

    assert ("\x1b[" in ran.stdout + ran.stderr) is coloured


def test_colour_asked_of_a_command_is_told_where_it_is_asked_for() -> None:
    ran = run("serve", "--color", "never")

    assert "it goes before the command: mtls-echo --color WHEN serve" in ran.stderr


@pytest.mark.parametrize("name", ["serve", "connect", "probe", "endpoints"])
def test_options_are_under_headings(name: str) -> None:
    command = EVERY_COMMAND[(name,)]
    assert isinstance(command, SectionedCommand)
    named = [option for options in command.sections.values() for option in options]
    ran = run(name, "--help")

    assert {*named} <= {option.name for option in command.params}
    assert len(named) == len({*named})
    assert "Other options:\n  -h, --help " in ran.stdout
    assert all(f"\n{heading}:\n" in ran.stdout for heading in command.sections)
    for option in command.params:
        if isinstance(option, click.Option):
            assert len(re.findall(rf"(?m)^  {option.opts[0]}(?![\w-])", ran.stdout)) == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_complete_this_command(shell: str) -> None:
    ran = run("completion", shell)

    assert ran.returncode == 0
    assert "_MTLS_ECHO_COMPLETE" in ran.stdout


def test_a_shell_is_offered_the_commands() -> None:
    ran = run(_MTLS_ECHO_COMPLETE="bash_complete", COMP_WORDS="mtls-echo ", COMP_CWORD="1")

    for command in COMMANDS:
        assert f"plain,{command}" in ran.stdout


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = str(tmp_path_factory.mktemp("made") / "pki")
    assert run("pki", "init", directory).returncode == 0
    return directory


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("connect --pki {pki} --as c", ["client"]),
        ("pki renew {pki} ", ["client", "server"]),
        ("pki issue {pki} x --client --flaw exp", ["expired", "expired-authority"]),
        ("observe wrong-n", ["wrong-name", "wrong-name-address-as-host"]),
        ("probe --pki {pki} --as c", ["client"]),
        ("probe --skip exp", ["expired", "expired-authority"]),
        ("pki revoke {pki} client --reason key", ["keyCompromise"]),
        ("man pki re", ["remove", "renew", "revoke"]),
    ],
)
def test_a_shell_is_offered_names_and_slugs(words: str, offered: list[str], pki: str) -> None:
    line = f"mtls-echo {words.format(pki=pki)}"
    at = len(line.split()) - (not line.endswith(" "))
    ran = run(_MTLS_ECHO_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(at))

    found = [each.removeprefix("plain,") for each in ran.stdout.split()]
    assert found[: len(offered)] == offered


def redirected(redirection: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command from a shell that redirects its output."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *COMMAND, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT,
        env=environment(None, **more),
        check=False,
    )


@pytest.mark.parametrize(
    "arguments", [["--help"], ["pki", "show", "{pki}"], ["demo", "--tour"]], ids=" ".join
)
def test_a_closed_standard_output_is_a_command_without_output(
    arguments: list[str], pki: str
) -> None:
    ran = redirected(">&-", *(argument.format(pki=pki) for argument in arguments))

    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_server_with_a_closed_standard_output_stops_as_cleanly(pki: str) -> None:
    options = ["--listen", "127.0.0.1:0", "--log-format", "json"]
    with subprocess.Popen(
        ["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, "serve", *options, "--pki", pki],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as server:
        assert server.stderr is not None
        started = server.stderr.readline()
        server.terminate()
        stopped = server.stderr.read()

    assert '"event":"listening"' in started
    assert '"event":"stopped"' in stopped
    assert "Traceback" not in stopped
    assert server.returncode == 0


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["pki", "show", "{pki}"], ["demo"], ["explain", "unknown ca"]],
    ids=" ".join,
)
def test_an_output_that_cannot_be_written_is_one_error_and_exit_2(
    arguments: list[str], unbuffered: str, pki: str
) -> None:
    ran = redirected(
        ">/dev/full",
        *(argument.format(pki=pki) for argument in arguments),
        PYTHONUNBUFFERED=unbuffered,
    )

    assert ran.stderr == (
        "mtls-echo: error: standard output cannot be written: no space left on device\n"
        "mtls-echo: hint: redirect it to a file that can be written: > FILE\n"
    )
    assert ran.returncode == 2


def test_an_error_that_is_none_of_the_output_s_is_not_blamed_on_it() -> None:
    program = (
        "from mtls_echo import __main__\n"
        "from mtls_echo.usage import completion\n"
        "def fail(**_): raise FileNotFoundError(2, 'No such file', 'x')\n"
        "completion.completion.callback = fail\n"
        "__main__.main(['completion', 'bash'])\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert "FileNotFoundError" in ran.stderr
    assert "standard output" not in ran.stderr


def test_the_module_and_the_script_are_the_same_command() -> None:
    program = "from mtls_echo.__main__ import main; main(['--version'])"
    script = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert script.stdout == run("--version").stdout
