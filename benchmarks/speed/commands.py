"""What commands cost before they do anything, and how fast certificates are made."""

from __future__ import annotations

import importlib.util
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.speed.material import Missing, Workshop, program
from benchmarks.speed.rows import Plan, Say
from benchmarks.speed.running import environment
from benchmarks.speed.servers import ours, serve
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request

EMPTY = "python -c pass"

_OPENSSL = "openssl req"

Cost = Callable[[], float]


def measure_commands(
    plan: Plan, workshop: Workshop, missing: dict[str, str], say: Say
) -> list[dict[str, Any]]:
    """CPU of a command until it is done, or of a server until it listens; then the PKI."""
    python = sys.executable
    home = workshop.folder
    numbers = iter(range(1_000_000))

    def issue() -> float:
        name = f"client-{next(numbers)}"
        where = str(workshop.material("two").folder)
        return _spent(home, ours(), "pki", "issue", where, name, "a.test", "--client")

    starting: dict[str, Cost] = {
        EMPTY: lambda: _spent(home, python, "-c", "pass"),
        "mtls-echo --help": lambda: _spent(home, ours(), "--help"),
        "mtls-echo pki issue": issue,
        "mtls-echo serve, to listening": lambda: _until_listening(workshop),
    }
    leaves, authorities = _issuing(workshop, missing)
    return [
        _row("start-up", "ms", [EMPTY], starting, plan, say, 1e3),
        _row("end-entity certificate with its key", "µs", [_OPENSSL], leaves, plan, say, 1e6),
        _row("CA certificate with its key", "µs", [_OPENSSL], authorities, plan, say, 1e6),
    ]


def _row(
    name: str,
    unit: str,
    references: list[str],
    costs: Mapping[str, Cost],
    plan: Plan,
    say: Say,
    per_second: float,
) -> dict[str, Any]:
    figures: dict[str, list[float]] = {name: [] for name in costs}
    loads = [os.getloadavg()[0]]
    for repeat in range(plan.repeats + 1):
        for what in random.sample([*costs], len(costs)):
            say(f"{name}, {repeat}/{plan.repeats}: {what}")
            spent = costs[what]()
            if repeat:
                figures[what].append(spent * per_second)
    loads.append(os.getloadavg()[0])
    return {
        "name": name,
        "unit": unit,
        "figures": figures,
        "load": loads,
        "references": references,
    }


def _spent(home: Path, *command: str) -> float:
    """CPU seconds of a command from start to end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, env=environment(home))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _until_listening(workshop: Workshop) -> float:
    server = serve()(workshop, workshop.material("two"))
    try:
        return server.cpu()
    finally:
        server.close()


def _issuing(
    workshop: Workshop, missing: dict[str, str]
) -> tuple[dict[str, Cost], dict[str, Cost]]:
    """How each makes a P-256 key, a certificate for it, and PEM of both."""
    request = Request.server("localhost")
    root = Authority.root("benchmark")

    def leaf() -> None:
        made = root.issue(request)
        _ = made.certificate_pem, made.key_pem

    def authority() -> None:
        made = Authority.root("benchmark")
        _ = made.certificate_pem, made.key_pem

    leaves: dict[str, Cost] = {"mtls-echo": lambda: _each(leaf)}
    authorities: dict[str, Cost] = {"mtls-echo": lambda: _each(authority)}
    if importlib.util.find_spec("trustme") is None:
        missing["trustme"] = "trustme is not installed"
    else:
        trustme: Any = importlib.import_module("trustme")
        ca = trustme.CA()
        leaves["trustme"] = lambda: _each(
            lambda: ca.issue_cert("localhost").private_key_and_cert_chain_pem.bytes()
        )
        authorities["trustme"] = lambda: _each(
            lambda: _ignored(it := trustme.CA(), it.cert_pem.bytes(), it.private_key_pem.bytes())
        )
    try:
        command = (program("openssl"), "req", "-x509", "-newkey", "ec", "-noenc", "-batch")
    except Missing as error:
        missing["certificates by openssl"] = str(error)
        return leaves, authorities
    where = workshop.folder
    curve = ("-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=localhost")
    files = {kind: (where / f"{kind}.key", where / f"{kind}.crt") for kind in ("root", "leaf")}

    def output(kind: str) -> tuple[str, ...]:
        key, certificate = files[kind]
        return ("-keyout", str(key), "-out", str(certificate))

    key, certificate = map(str, files["root"])
    issuer = ("-CA", certificate, "-CAkey", key, "-addext", "subjectAltName=DNS:localhost")
    _spent(where, *command, *curve, *output("root"))
    leaves[_OPENSSL] = lambda: _spent(where, *command, *curve, *issuer, *output("leaf"))
    authorities[_OPENSSL] = lambda: _spent(where, *command, *curve, *output("root"))
    return leaves, authorities


def _ignored(*_: object) -> None:
    pass


def _each(make: Callable[[], object], count: int = 100) -> float:
    """CPU seconds for one of many."""
    before = time.process_time()
    for _ in range(count):
        make()
    return (time.process_time() - before) / count
