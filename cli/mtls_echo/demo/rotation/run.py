"""`mtls-echo demo --rotation`: certificates change under load, and nothing is lost.

The three occasions of `mtls_echo.demo.rotation.scenarios`, one after the other, in the service of
`mtls_echo.demo.rotation.load`, on a PKI directory that is made for it and gone afterwards.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from mtls_echo.demo.drawing import bar
from mtls_echo.demo.rotation.load import CLIENTS, Drill, Tally
from mtls_echo.demo.rotation.printer import Narrator
from mtls_echo.demo.rotation.scenarios import OCCASIONS, PKI, SHORT_LIFE, Stage, run

if TYPE_CHECKING:
    from rich.console import Console


async def demonstrate(console: Console) -> list[str]:
    """Play the drill.

    Returns:
        What did not happen as announced; nothing when everything did.
    """
    tally = Tally()
    narrator = Narrator(console, tally)
    surprises: list[str] = []
    narrator.tell(
        f"A server and {CLIENTS} clients are at work all through what follows. The clients"
        " connect, prove themselves, have a line echoed, close and connect again, half of them in"
        " TLS 1.2; one more stays connected from beginning to end. Session tickets are on, which"
        " is the harder case. Everything is real, and on this machine only."
    )
    with tempfile.TemporaryDirectory(prefix="mtls-echo-") as folder:
        path = Path(folder) / PKI
        await run(path, narrator, surprises, "pki", "init", PKI)
        short = ("pki", "renew", PKI, "client", "--same-key", "--lifetime", SHORT_LIFE)
        await run(path, narrator, surprises, *short)
        if surprises:
            return surprises
        drill = Drill(path, tally)
        async with trio.open_nursery() as nursery:
            await nursery.start(drill.run)
            for number, occasion in enumerate(OCCASIONS, start=1):
                before = tally.echoes
                narrator.heading(number, occasion.title, occasion.story)
                await occasion.play(Stage(drill, path, narrator, surprises))
                narrator.balance(before)
            nursery.cancel_scope.cancel()
    surprises += tally.lost
    console.rule(characters=bar(console))
    verdict = "all as announced" if not surprises else f"{len(surprises)} things not as announced"
    console.print(
        f"[bold]{tally.connections} connections, one of them from beginning to end; "
        f"{tally.echoes} echoes, {len(tally.lost) or 'none'} lost; {verdict}.[/]"
    )
    return surprises
