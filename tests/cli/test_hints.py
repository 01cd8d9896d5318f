"""Every error of a command ends with a hint that is about what was wrong."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mtls_echo.__main__ import mtls_echo
from mtls_echo.console import CommandError, split_hint, usage_error
from mtls_echo_pki.directory.directory import Directory
from tests.project.test_commands import check_options

# What ends a command, and how many arguments it has when a hint is among them.
_ERRORS = {
    "CommandError": 2,
    "ConfigurationError": 2,
    "DirectoryError": 2,
    "ListenError": 2,
    "MaterialError": 3,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a PKI directory and a file."""
    folder = tmp_path_factory.mktemp("place")
    Directory.create(folder / "test-pki")
    (folder / "file").touch()
    return folder


def error_of(*words: str) -> CommandError:
    """The error that a command ends with."""
    with pytest.raises(click.ClickException) as raised:
        mtls_echo.main(list(words), prog_name="mtls-echo", standalone_mode=False)
    error = raised.value
    if isinstance(error, click.UsageError):
        return usage_error(error)
    assert isinstance(error, CommandError)
    return error


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("serve --allow-fingerprint zz", "see a certificate's: mtls-echo pki show FILE"),
        ("serve --allow-uri zz", "see a certificate's: mtls-echo pki show FILE"),
        ("serve --status nonsense", "write HOST:PORT, such as 127.0.0.1:8443"),
        ("serve --pki {place}/new --keylog {place}/NOPE/x", "name another, to be written"),
        ("serve --pki {place}/new --as x", "make one: mtls-echo pki init {place}/new"),
        ("serve --pki {place}/test-pki --as x", "{place}/test-pki x IDENTITY --server"),
        ("pki check {place}/test-pky", "{place}/test-pki is there, or make one: "),
        ("pki remove {place}/NOPE", "{place}/test-pki is there"),
        ("pki remove {place}/NOPE/NOPE", "there is nothing to remove"),
        ("pki issue {place}/test-pki x a.test --server --lifetime 5x", "write 60s, 10m, 12h"),
        ("pki issue {place}/test-pki x a.test --server --flaw expird", "did you mean expired"),
        ("pki renew {place}/test-pki client", "a key that leaked needs --new-key"),
        ("pki init {place}/file/x", "name another directory"),
        *(
            (f"{each} --alpn ''", "it has 1 to 255 ASCII characters")
            for each in ("serve", "connect :1", "probe :1")
        ),
        ("endpoints --endpoint.config []", "its form is in: mtls-echo endpoints --help"),
        ("demo --tour --list", "give one of them"),
        ("demo --chapter endpoints --keep {place}/file/x", "name another"),
        ("observe expird", "did you mean expired"),
        ("observe nope", "see them all: mtls-echo observe --list"),
        ("observe no-common-cipher --tls 1.3", "leave out --tls"),
        ("gallery --domain ü", "write one such as gallery.localhost"),
        ("gallery --listen 127.0.0.1:0 --pki {place}/test-pky", "{place}/test-pki is there"),
        ("gallery judge --client crl", "did you mean curl?"),
        ("gallery judge --client curl --only expird", "did you mean expired"),
        ("gallery judge --client openssl --expect {place}/NOPE", "write a table per exhibit"),
        ("probe localhost:1 --only expird", "did you mean expired"),
        ("explain {place}/NOPE.json", "name a file of reports that you may read"),
        ("man serv", "did you mean serve"),
        ("man --write {place}/file/x", "name another, to be written"),
    ],
)
def test_a_hint_is_about_what_was_wrong(command: str, hint: str, place: Path) -> None:
    error = error_of(*(word.format(place=place) for word in shlex.split(command)))

    assert error.hint is not None
    assert hint.format(place=place) in error.hint
    for named in re.findall(r"mtls-echo ([^;]+)", error.hint):
        check_options(named.split())
    assert not (place / "new").exists()


def _bare(tree: ast.AST) -> Iterator[ast.Call]:
    """The errors that are made without a hint."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            arguments = [*node.args, *node.keywords]
            is_starred = any(isinstance(each, ast.Starred) for each in arguments)
            if len(arguments) < _ERRORS.get(node.func.id, 0) and not is_starred:
                yield node


@pytest.mark.parametrize("component", ["cli", "client", "server", "tls", "pki"])
def test_no_error_is_made_without_a_hint(component: str) -> None:
    root = Path(__file__).parents[2] / component
    found = [
        f"{path.relative_to(root)}:{call.lineno}"
        for path in root.rglob("*.py")
        for call in _bare(ast.parse(path.read_text("utf-8")))
    ]

    assert found == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("it is wrong; mend it", ("it is wrong", "mend it")),
        ('"a; b" is wrong', ('"a; b" is wrong', None)),
        ("'a; b' is wrong; mend it; or not", ("'a; b' is wrong", "mend it; or not")),
        ("the CA's key is wrong; the client's too", ("the CA's key is wrong", "the client's too")),
    ],
)
def test_the_hint_of_a_wrong_value_is_behind_a_semicolon_that_is_not_quoted(
    text: str, parts: tuple[str, str | None]
) -> None:
    assert split_hint(text) == parts
