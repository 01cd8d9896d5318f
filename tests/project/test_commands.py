"""What the documentation says to type can be typed: every command that it names, and option."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest

from mtls_echo.__main__ import mtls_echo

ROOT = Path(__file__).parents[2]
# The changelog names what is gone, too.
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")} - {ROOT / "CHANGELOG.md"})


# Of other programs: pytest, and the measurements.
FOREIGN = {"--version", "--no-tls-explained", "--page"}


def _named(page: Path) -> Iterator[list[str]]:
    """The words behind each ``mtls-echo`` that is typed, as far as they are ours."""
    text = re.sub(r"\\\n\s*", " ", page.read_text("utf-8"))
    blocks = re.findall(r"^```(?:|sh|console)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    for line in [*lines, *re.findall(r"`([^`]+)`", text)]:
        typed = re.match(r"mtls-echo ([a-z-][^|;]*)$", line.split(" | ")[0])
        if typed is not None and not re.search(r" CA\b", line):
            yield typed[1].split(" -- ")[0].split()


def _inner(group: click.Group, name: str) -> click.Command | None:
    with click.Context(group) as context:
        return group.get_command(context, name)


def _options(command: click.Command) -> set[str]:
    with click.Context(command) as context:
        return {name for each in command.get_params(context) for name in each.opts}


def _commands(group: click.Group) -> Iterator[click.Command]:
    with click.Context(group) as context:
        names = group.list_commands(context)
    for name in names:
        if (inner := _inner(group, name)) is not None:
            yield inner
            if isinstance(inner, click.Group):
                yield from _commands(inner)


def check_options(words: Sequence[str]) -> None:
    """Assert that a command exists, and has the options that it is typed with."""
    found: click.Command = mtls_echo
    for word in words:
        if not isinstance(found, click.Group) or word.startswith("-"):
            break
        inner = _inner(found, word)
        assert inner is not None, words
        found = inner
    asked = {re.sub(r"=.*$|[.,]$", "", each) for each in words if each.startswith("--")}
    assert asked - _options(found) <= {"--"}, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_on_a_page_exists_with_its_options(page: Path) -> None:
    for words in _named(page):
        check_options(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_in_the_text_of_a_page_is_one_of_ours(page: Path) -> None:
    known = FOREIGN.union(*map(_options, _commands(mtls_echo)))
    named = set(re.findall(r"`(--[a-z][\w.-]*[a-z])", page.read_text("utf-8")))

    assert {each for each in named if not any(n.startswith(each) for n in known)} == set()
