"""The README's first picture: the page of `make demo` on which a client is refused."""

from __future__ import annotations

import tempfile
from pathlib import Path

from docs.pictures.session import Command, environment
from docs.pictures.terminal import Window, draw, prompt

_DESCRIPTION = (
    "A handshake, drawn message by message: the client presents no certificate, and the server"
    " refuses it with the alert certificate_required. Below, side by side, what each of them says."
)


def picture() -> str:
    """Play the tour, and draw its page with the refusal."""
    with tempfile.TemporaryDirectory() as home:
        tour = Command("mtls-echo demo --tour", environment(Path(home)))
        status = tour.end()
    assert status == 0, tour.as_printed
    lines = tour.printed.splitlines(keepends=True)
    begin, end = (number for number, line in enumerate(lines) if "tour: " in line and number)
    shown = f"{prompt('make demo')}…\n{''.join(lines[begin:end])}…"
    return draw([Window("make demo", shown)], _DESCRIPTION)
