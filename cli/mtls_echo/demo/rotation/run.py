"""`mtls-echo demo --rotation`: replace certificates, keys and CAs under load without a failure.

The three scenarios of `mtls_echo.demo.rotation.scenarios` are played one after the other on the
service of `mtls_echo.demo.rotation.load`, with a PKI directory that is made for this and removed
afterwards.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from mtls_echo.demo.drawing import bar, summary
from mtls_echo.demo.rotation.load import CLIENTS, Counts, LoadedService
from mtls_echo.demo.rotation.printer import Printer
from mtls_echo.demo.rotation.scenarios import PKI, SCENARIOS, ScenarioContext, run, short_lifetime

if TYPE_CHECKING:
    from rich.console import Console


async def replace_certificates(console: Console) -> list[str]:
    """Play the three scenarios, and return what did not happen as announced."""
    counts = Counts()
    printer = Printer(console, counts)
    mismatches: list[str] = []
    printer.paragraph(
        f"A server and {CLIENTS} clients are at work throughout. The clients connect,"
        " authenticate, have a line echoed, close and connect again, half of them in TLS 1.2; one"
        " more stays connected from beginning to end. Session tickets are on, which is the harder"
        " case. Everything is real, and on this machine only."
    )
    with tempfile.TemporaryDirectory(prefix="mtls-echo-") as folder:
        path = Path(folder) / PKI
        began = trio.current_time()
        await run(path, printer, mismatches, "pki", "init", PKI)
        lifetime = short_lifetime(trio.current_time() - began)
        short = ("pki", "renew", PKI, "client", "--same-key", "--lifetime", lifetime)
        await run(path, printer, mismatches, *short)
        if mismatches:
            return mismatches
        service = LoadedService(path, counts)
        async with trio.open_nursery() as nursery:
            await nursery.start(service.run)
            for number, scenario in enumerate(SCENARIOS, start=1):
                before = counts.echoes
                printer.heading(number, scenario.title, scenario.text)
                await scenario.play(ScenarioContext(service, path, printer, mismatches))
                printer.totals(before)
            nursery.cancel_scope.cancel()
    mismatches += counts.lost
    console.rule(characters=bar(console))
    console.print(
        f"[bold]{counts.connections} connections, one of them from beginning to end; "
        f"{counts.echoes} echoes, {len(counts.lost) or 'none'} lost; {summary(mismatches)}.[/]"
    )
    return mismatches
