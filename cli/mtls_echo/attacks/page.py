"""Write `docs/why-mtls.md`: the chapter about attacks, and what the tests of attacks claim.

As `docs/failures.md` it cannot go out of date: a test writes it again and compares. What differs
from run to run, the cost of a guess, is left out. The claims at its end are those of the modules
in `tests/attacks`, in the words of their docstrings.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import trio

from mtls_echo.attacks.chapter import play
from mtls_echo.demo.blocks import Section

_PREAMBLE = """\
# Why mutual TLS

What it stops, what it does not, and why the public web does without it. This page is generated:
`make docs` plays every attack for real and writes down what the attacker got and what both ends
said; a test fails when it is out of date. `mtls-echo demo --chapter attacks` plays them on a
terminal.

In TLS, which protects https and much else, a server proves who it is in a handshake: it presents a
certificate, in which a CA (certification authority) confirms its name and its public key, and it
signs the handshake with the private key that goes with it. In mutual TLS the client proves who it
is in the same way.
"""

_CLAIMS = """\
## What is claimed, and tested

Each line is one module in `tests/attacks/`. Its tests attack the server and the client of this
project, in TLS 1.2 and 1.3, most of them through a relay on the path, and assert which end noticed
and what both reported: the cause, and the alert."""

_VARIABLE = re.compile(r"[\d.]+ ms")


class Claim(NamedTuple):
    """What a module of tests claims, and which end notices the attack."""

    text: str
    noticed: str


def read_claims(folder: Path) -> dict[str, Claim]:
    """Each module's claim by its name: the first paragraph of its docstring, and the last."""
    claims: dict[str, Claim] = {}
    for path in sorted(folder.glob("test_*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        paragraphs = [" ".join(each.split()) for each in docstring.split("\n\n")]
        first, last = paragraphs[0].removeprefix("Claim: "), paragraphs[-1]
        noticed = last.removeprefix("Noticed by ").rstrip(".")
        claims[path.stem] = Claim(f"{first[:1].upper()}{first[1:]}", noticed)
    return claims


def page(sections: Sequence[Section], claims: dict[str, Claim]) -> str:
    """The page, as Markdown."""
    parts = [_PREAMBLE]
    for section in sections:
        title = f"{section.title[0].upper()}{section.title[1:]}"
        parts += [f"## {title}", *(block.markdown() for block in section.blocks)]
    told = _VARIABLE.sub("… ms", "\n\n".join(part.strip("\n") for part in parts))
    return "\n\n".join([told, _CLAIMS, "\n".join(_claims_table(claims))]) + "\n"


def _claims_table(claims: dict[str, Claim]) -> Iterator[str]:
    yield "| claim | noticed by | tested in |"
    yield "|---|---|---|"
    for module, claim in claims.items():
        yield f"| {claim.text} | {claim.noticed} | `{module}` |"


def _ignore(status: str) -> None:
    del status


if __name__ == "__main__":
    played = trio.run(play, _ignore)
    sys.stdout.write(page(played, read_claims(Path(sys.argv[1]))))
