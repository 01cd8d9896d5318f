"""The chapter about rotation: certificates, keys and CAs replaced under load.

The three scenarios of `mtls_echo.demo.rotation.scenarios` are played one after the other on the
service of `mtls_echo.demo.rotation.load`, with a PKI directory that is made for this and removed
afterwards.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import trio

from mtls_echo.demo.blocks import Section, Status
from mtls_echo.demo.rotation.load import CLIENTS, Counts, LoadedService
from mtls_echo.demo.rotation.notes import Notes
from mtls_echo.demo.rotation.scenarios import PKI, SCENARIOS, ScenarioContext, run, short_lifetime

_INTRODUCTION = (
    f"A server and {CLIENTS} clients are at work throughout. The clients connect, authenticate,"
    " have a line echoed, close and connect again, half of them in TLS 1.2; one more stays"
    " connected from beginning to end. Session tickets are on, which is the harder case."
    " Everything is real, and on this machine only."
)


async def play(status: Status) -> list[Section]:
    """Play the three scenarios; it takes about ten seconds."""
    counts = Counts()
    notes = Notes(counts, status)
    with tempfile.TemporaryDirectory(prefix="mtls-echo-") as folder:
        path = Path(folder) / PKI
        async with trio.open_nursery() as nursery:
            nursery.start_soon(notes.tell)
            if await _prepare(path, notes):
                service = LoadedService(path, counts)
                await nursery.start(service.run)
                for scenario in SCENARIOS:
                    before = counts.echoes
                    notes.section(scenario.title, scenario.text)
                    await scenario.play(ScenarioContext(service, path, notes))
                    notes.totals(before)
                notes.conclude()
            nursery.cancel_scope.cancel()
    notes.close()
    return notes.sections


async def _prepare(path: Path, notes: Notes) -> bool:
    """Make the PKI directory, with a client's certificate that expires soon."""
    notes.section("a service under load", _INTRODUCTION)
    began = trio.current_time()
    if not await run(path, notes, "pki", "init", PKI):
        return False
    lifetime = short_lifetime(trio.current_time() - began)
    renew = ("pki", "renew", PKI, "client", "--same-key", "--lifetime", lifetime)
    return await run(path, notes, *renew)
