"""The `mtls-echo pki` commands, as a person or a script meets them."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mtls_echo.commands.pki.errors import as_command_errors
from mtls_echo.commands.pki.group import KEY_TYPES
from mtls_echo.commands.pki.pkcs12 import PASSWORD_VARIABLE
from mtls_echo.console import CommandError
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import KeyType
from mtls_echo_pki.directory.directory import Directory
from tests.cli.commands.pki.invoking import invoke, refused
from tests.cli.commands.pki.invoking import made as made
from tests.support.pki import run, tree, unprivileged


def test_the_commands_work_one_after_the_other_in_processes_of_their_own(tmp_path: Path) -> None:
    made = run("init", "pki", cwd=tmp_path)
    issued = run("issue", "pki", "alice", "alice@mail.test", "--client", cwd=tmp_path)
    shown = run("show", "pki", cwd=tmp_path)
    checked = run("check", "pki", cwd=tmp_path)

    assert [r.returncode for r in (made, issued, shown, checked)] == [0, 0, 0, 0]
    assert [r.stderr for r in (made, issued, shown, checked)] == [""] * 4
    assert made.stdout == (
        "made pki with a CA for servers, one for clients\n"
        "  server  localhost, 127.0.0.1, ::1; expires in 30 days\n"
        "  client  client.test; expires in 30 days\n"
        "next:\n"
        "  mtls-echo serve --pki pki\n"
        "  mtls-echo connect localhost:8443 --pki pki\n"
    )
    assert issued.stdout == "issued pki/alice: alice@mail.test; expires in 30 days\n"
    assert shown.stdout.count("fingerprint") == 7
    assert checked.stdout == "pki: all well, 3 credentials checked\n"


def test_the_next_commands_can_be_pasted_whatever_the_path_and_names(tmp_path: Path) -> None:
    first = invoke("init", tmp_path / "a b", "--name", "::1")
    second = invoke("init", tmp_path / "c", "--name", "*.a.test")

    assert f"mtls-echo connect '[::1]:8443' --pki '{tmp_path}/a b'" in first.stdout
    assert f"mtls-echo connect --pki {tmp_path}/c" in second.stdout


def test_init_honours_its_options(tmp_path: Path) -> None:
    result = invoke(
        *("init", tmp_path / "pki", "--name", "echo.test", "--name", "10.0.0.7"),
        *("--client-name", "spiffe://td.test/a", "--single-authority", "--intermediate"),
        *("--key-type", "p384"),
    )

    assert result.exit_code == 0, result.output
    directory = Directory(tmp_path / "pki")
    assert directory.ledger("servers")[0].identities == ["echo.test", "10.0.0.7"]
    assert directory.ledger("servers")[1].identities == ["spiffe://td.test/a"]
    assert directory.authority("clients") == directory.authority("servers")
    assert len(directory.credential("client").chain) == 1
    assert "secp384r1" in invoke("show", tmp_path / "pki").stdout


def test_init_loses_nothing(made: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)

    refused(invoke("init", made), error="exists and is not empty", hint="name a new directory")
    refused(
        invoke("init", tmp_path / "x", "--name", "a b"), error="is not an identity", hint="give"
    )
    refused(invoke("init", made / "server" / "tls.crt"), error="is a file")

    assert tree(tmp_path) == before


def test_init_without_permission_is_refused() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        with unprivileged():
            result = invoke("init", Path(folder, "pki"))
        refused(result, error="permission denied", hint="may write")


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["a", "a.test"], "--server or a --client", "issue --help"),
        (["a", "--client"], "missing argument 'IDENTITY...'", "issue --help"),
        (["a", "a.test", "--client", "--bogus"], "--bogus", "issue --help"),
        (["a", "10.0.0.0/8", "--client"], '"10.0.0.0/8" is not an identity', "give a host"),
        (["a/b", "a.test", "--client"], '"a/b" cannot name', "use up to 64"),
        ([".a", "a.test", "--client"], '".a" cannot name', "use up to 64"),
        (["trust", "a.test", "--client"], "is a part of every PKI", None),
        (["authorities", "a.test", "--client"], "is a part of every PKI", None),
        (["server", "a.test", "--client"], "already something", "another name"),
        (["a", "a.test", "--client", "--lifetime", "3651d"], "outlive its CA", "shorter"),
        (["a", "a.test", "--client", "--lifetime", "1w"], '"1w" is not a lifetime', "write 60s"),
        (["a", "a.test", "--client", "--key-type", "dsa"], "'dsa' is not one of", "--help"),
        (["a", "a.test", "--client", "--pkcs12", "p"], "no password", PASSWORD_VARIABLE),
        (
            ["a", "a.test", "--client", "--pkcs12-password-file", "p"],
            "needs --pkcs12 FILE",
            "--help",
        ),
    ],
)
def test_issue_refuses_wrong_input_and_loses_nothing(
    made: Path, arguments: list[str], error: str, hint: str | None
) -> None:
    before = tree(made)

    result = invoke("issue", made, *arguments)

    refused(result, error=error, hint=hint)
    assert tree(made) == before


def test_issue_needs_a_pki(tmp_path: Path) -> None:
    refused(
        invoke("issue", tmp_path / "no", "a", "a.test", "--client"),
        error="does not exist",
        hint="mtls-echo pki init",
    )
    refused(invoke("issue", tmp_path, "a", "a.test", "--client"), error="is not a PKI directory")


def test_an_error_of_the_operating_system_may_name_no_file() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(CommandError, match=r"^no space left on device$"), as_command_errors():
        raise full


def test_check_prints_one_line_for_each_finding_and_exits_with_1(made: Path) -> None:
    made.chmod(0o755)
    (made / "client" / "tls.key").resolve().chmod(0o640)

    result = invoke("check", made)

    assert result.exit_code == 1
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0] == f"{made}: has mode 0755: others can look into it (hint: chmod 700 {made})"
    assert "mode 0640" in lines[1]


def test_check_of_what_is_not_a_pki_exits_with_2(tmp_path: Path) -> None:
    refused(invoke("check", tmp_path), error="is not a PKI directory", hint="pki init")


@pytest.mark.parametrize(
    "command", ["init", "issue", "show", "check", "renew", "revoke", "crl", "rollover"]
)
def test_the_help_has_examples_that_use_the_command_and_the_exit_status(command: str) -> None:
    text = invoke(command, "--help").stdout

    assert f"    mtls-echo pki {command} ./pki" in text
    assert "exit status: 0" in text
    assert f"  {command}" in invoke("--help").stdout


def test_the_examples_of_the_help_work_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = 0
    for command in ("init", "issue", "check"):
        for line in invoke(command, "--help").stdout.splitlines():
            example = line.strip()
            if not line.startswith("    mtls-echo pki") or "&&" in example:
                continue
            folder = tmp_path / str(ran)
            folder.mkdir()
            if command != "init":
                Directory.create(folder / "pki")
            arguments = example.removeprefix("mtls-echo pki ").split()
            monkeypatch.chdir(folder)
            result = invoke(*arguments, env={PASSWORD_VARIABLE: "x"})
            assert result.exit_code == 0, (example, result.output)
            ran += 1
    assert ran >= 8


def test_a_help_loads_nothing_it_does_not_need() -> None:
    code = (
        "import sys; from mtls_echo.commands.pki.group import pki; "
        "pki(['issue', '--help'], standalone_mode=False); "
        "print({'ssl', 'trio', 'rich', 'click.testing'} & {*sys.modules})"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert result.stdout.splitlines()[-1] == "set()"


def test_the_key_types_on_offer_are_those_there_are() -> None:
    assert tuple(key_type.value for key_type in KeyType) == KEY_TYPES


def test_no_command_prints_a_key(made: Path) -> None:
    secret = (made / "server" / "tls.key").read_text().splitlines()[1]
    (made / "server" / "tls.key").resolve().write_bytes(Authority.root().key_pem)

    for command, path in (("show", made), ("check", made), ("show", made / "server/tls.key")):
        assert secret not in invoke(command, path).output
