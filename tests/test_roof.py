"""The command as a whole: help, version, completion, errors and endings."""

from __future__ import annotations

import ssl
import subprocess
import sys

import pytest

import mtls_echo

from .command_line import run

COMMANDS = ("demo", "serve", "connect", "pki", "completion")


def test_help_lists_every_command_and_where_to_start() -> None:
    ran = run("--help")

    assert ran.returncode == 0
    for command in COMMANDS:
        assert f"  {command} " in ran.stdout
    assert "mtls-echo demo" in ran.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples_or_its_exit_status(command: str) -> None:
    ran = run(command, "--help")

    assert ran.returncode == 0
    assert f"Usage: mtls-echo {command}" in ran.stdout
    assert "xample" in ran.stdout or "xit status" in ran.stdout


def test_the_version_comes_with_those_of_python_and_openssl() -> None:
    ran = run("--version")

    assert ran.stdout.startswith(f"mtls-echo {mtls_echo.__version__} (Python 3.")
    assert ssl.OPENSSL_VERSION in ran.stdout


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["demo", "--nonsense"], ["demo", "--tls", "1.1"], ["pki", "nonsense"], ["pki"]],
    ids=" ".join,
)
def test_a_mistake_is_one_error_with_a_hint_and_exit_2(arguments: list[str]) -> None:
    ran = run(*arguments)

    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr
    if arguments != ["pki"]:  # which, asked for nothing, shows its help
        assert ran.stderr.count("mtls-echo: error: ") == 1
        assert ran.stderr.count("mtls-echo: hint: ") == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_complete_this_command(shell: str) -> None:
    ran = run("completion", shell)

    assert ran.returncode == 0
    assert "_MTLS_ECHO_COMPLETE" in ran.stdout


def test_a_shell_is_offered_the_commands() -> None:
    ran = run(_MTLS_ECHO_COMPLETE="bash_complete", COMP_WORDS="mtls-echo ", COMP_CWORD="1")

    for command in COMMANDS:
        assert f"plain,{command}" in ran.stdout


def test_the_module_and_the_script_are_the_same_command() -> None:
    program = "from mtls_echo.__main__ import main; main(['--version'])"
    script = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert script.stdout == run("--version").stdout
