"""`benchmarks.speed`: it measures, names what is missing, and leaves nothing running."""

from __future__ import annotations

import dataclasses
import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from xml.parsers import expat

import pytest
from benchmarks.speed import sizing
from benchmarks.speed.__main__ import run
from benchmarks.speed.commands import measure_commands
from benchmarks.speed.load import Generator, LoadError, Work
from benchmarks.speed.material import Material, Missing, Workshop
from benchmarks.speed.memory import measure_memory
from benchmarks.speed.report.goals import goals_table
from benchmarks.speed.report.page import filled
from benchmarks.speed.report.picture import picture
from benchmarks.speed.report.table import ratios, table
from benchmarks.speed.rows import ROWS, Plan, measure, start_all
from benchmarks.speed.running import Server
from benchmarks.speed.servers import PEERS, SETTINGS, C, Peer, serve_with
from benchmarks.speed.sizing import sizing_table

from tests.interop.foreign_peers import need
from tests.support.ports import server_port


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    need("cc")
    return Workshop(tmp_path_factory.mktemp("speed"))


def peer(name: str) -> Peer:
    return next(one for one in PEERS if one.name == name)


@pytest.mark.parametrize("python", [False, True])
@pytest.mark.parametrize(
    "work",
    [
        Work("handshakes", 2, 2),
        Work("handshakes", 1, 2, "1.2"),
        Work("resumed", 2, 2),
        Work("echoes", 2),
        Work("echoes", 1, 1 << 18),
        Work("once", 3, 1 << 18),
    ],
    ids=lambda work: f"{work.kind}-{work.size}-{work.tls}",
)
def test_both_load_generators_do_each_kind_of_work(
    workshop: Workshop, work: Work, python: bool
) -> None:
    generator = Generator(workshop, python=python)
    server = peer(C).start(workshop)
    try:
        spent = generator.spent(server, workshop.material("one"), work, 0.01)
    finally:
        server.close()
    assert spent.operations >= work.connections
    assert spent.cpu > 0
    assert spent.resumed == (spent.operations if work.kind == "resumed" else 0)
    assert 0 < spent.p50 <= spent.p99
    assert all(process.returncode is not None for process in server.processes)


def test_a_load_that_is_refused_says_why(workshop: Workshop) -> None:
    server = peer(C).start(workshop)
    try:
        with pytest.raises(LoadError, match=r"unknown|certificate"):
            Generator(workshop).spent(server, workshop.material("two"), Work("echoes", 1), 0.01)
    finally:
        server.close()


@pytest.mark.parametrize(
    ("ca", "message"),
    [
        ("none", "one without a certificate is served"),
        ("foreign", "one with a certificate of another CA is served"),
        ("two", "one that it trusts is refused"),
    ],
)
def test_a_server_that_does_not_verify_its_clients_is_not_measured(
    workshop: Workshop, ca: str, message: str
) -> None:
    started: list[Server] = []

    def launch(workshop: Workshop, material: Material) -> Server:
        certificate, key, _ = material.server
        clients = ("--client-auth", "none")
        if ca != "none":
            clients = ("--client-ca", str(workshop.material(ca).trust("clients")))
        files = ("--cert", str(certificate), "--key", str(key))
        started.append(serve_with(*files, *clients)(workshop, material))
        return started[0]

    lax = dataclasses.replace(peer("serve"), pki="one", launch=launch)
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        assert start_all([lax], workshop, stack, missing) == {}
    assert message in missing["serve"]
    assert [process.returncode for process in started[0].processes] == [-9]


@pytest.mark.parametrize(
    "one", [one for one in PEERS if one.kinds != frozenset({SETTINGS})], ids=lambda one: one.name
)
def test_every_peer_that_is_installed_verifies_its_clients(
    workshop: Workshop, one: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A benchmark runs alone; its test has others beside it.
    monkeypatch.setattr("benchmarks.speed.servers.free_port", server_port)
    try:
        one.start(workshop).close()
    except Missing as missing:
        pytest.skip(str(missing))


def test_every_row_has_what_the_goals_compare() -> None:
    for row in ROWS:
        names = {one.name for one in PEERS if row.takes(one)}
        assert row.kind or {C, "trio.SSLStream"} <= names
        assert any(name.startswith("serve") for name in names), row.name


def test_ratios_are_of_the_same_repeat_and_what_is_missing_is_named() -> None:
    row = {
        "name": "handshake",
        "unit": "µs",
        "load": [0.5, 1],
        "references": [C, "trio.SSLStream"],
        "figures": {"serve": [100.0, 400.0, 90.0], C: [200.0, 800.0, 100.0]},
    }
    assert ratios(row, "serve", C) == [0.5, 0.5, 0.9]
    facts = {"Python": "3.13", "OpenSSL": "3.0"}
    text = "\n".join(table({"facts": facts, "rows": [row], "missing": {"nginx": "not installed"}}))
    assert "0.50 [0.50, 0.90]" in text
    assert "100 [90, 400]" in text
    assert "load 0.5 to 1.0" in text
    assert "not measured: nginx: not installed" in text


def test_memory_start_up_and_certificates_are_rows_too(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.speed.memory.PEERS", (peer(C),))
    monkeypatch.setattr("benchmarks.speed.memory.MIB", 1 << 16)
    missing: dict[str, str] = {}
    said: list[str] = []
    rows = measure_memory(
        Plan(1, 0.01), workshop, Generator(workshop), missing, said.append, count=20
    )
    rows += measure_commands(Plan(1, 0.01), workshop, missing, said.append)
    by_name = {row["name"]: row["figures"] for row in rows}
    assert next(iter(by_name)) == "memory per connection, 20 idle"
    assert all(min(map(min, figures.values())) > 0 for figures in [*by_name.values()][2:])
    assert {*by_name["start-up"]} > {"python -c pass", "mtls-echo --help"}
    assert {*missing} <= {"trustme"}
    assert "start-up, 1/1: python -c pass" in said


def test_the_picture_has_a_bar_for_each_figure_and_escapes_names() -> None:
    row = {
        "name": "handshake",
        "unit": "µs",
        "load": [0.5, 1],
        "references": [C],
        "figures": {"serve": [80.0, 90.0, 100.0], C: [100.0] * 3, "a <b>": [9000.0] * 3},
    }
    named = ("measured", "Python", "OpenSSL", "trio", "repeats", "cores")
    drawn = picture({"facts": dict.fromkeys(named, "1"), "rows": [row], "missing": {}})
    expat.ParserCreate().Parse(drawn, True)
    bars = re.findall(r'<rect class="(\w+)"[^>]* width="([\d.]+)"', drawn)
    widths = [float(width) for _, width in bars]
    assert widths[0] == pytest.approx(0.9 * widths[1], abs=0.1)
    assert widths[2] == pytest.approx(6 * widths[1], abs=0.5)  # cut off there
    assert [kind for kind, _ in bars] == ["ours", "bar", "bar"]
    assert "90.00 · 9,000 µs" in " ".join(drawn.split())
    assert "a &lt;b&gt;" in drawn


def test_the_page_shows_the_results_that_it_comes_with() -> None:
    docs = Path(__file__).parents[2] / "docs"
    result = json.loads((docs / "performance.json").read_text("utf-8"))
    assert (docs / "performance.svg").read_text("utf-8") == picture(result)
    page = (docs / "performance.md").read_text("utf-8")
    assert filled(page, result) == page
    assert "\n".join(table(result)) in page
    for title in ("handshake, TLS 1.3, to C epoll", "one CA for both sides"):
        assert f"\n| {title} | " in page


def test_a_goal_is_reached_where_the_median_is_no_more_and_what_is_dearer_is_named() -> None:
    def row(name: str, unit: str, **figures: list[float]) -> dict[str, Any]:
        return {"name": name, "unit": unit, "figures": figures}

    made = row("handshake, TLS 1.3, 16 at once", "µs", serve=[84.0, 90, 80])
    made["figures"] |= {C: [100.0] * 3, "trio.SSLStream": [100.0] * 3}
    resumed = row("resumed", "µs", **{"serve, tickets": [150.0], "trio.SSLStream": [100.0]})
    held = row("memory per connection, 1,000 idle", "KiB", serve=[28.1])
    lines = [*goals_table({"rows": [made, resumed, held]})]
    assert "| handshake, TLS 1.3, to C epoll | 0.84 | 0.84 [0.80, 0.90] | yes |" in lines
    assert "| … to trio.SSLStream | 0.60 | 0.84 [0.80, 0.90] | no |" in lines
    assert "| KiB per idle connection, 1,000 | 28 | 28.1 | no |" in lines
    assert "| echoes of 1 MiB, 1 connection, to C epoll | 1.08 | not measured | |" in lines
    dearer = "| never dearer than trio.SSLStream | 1 | resumed: serve, tickets 1.50 | no |"
    assert dearer in lines


def test_the_formula_is_shown_beside_what_was_measured() -> None:
    made = {
        "constants": {"h": 1000.0, "b": 2.0, "k": 30.0},
        "memory": {"base": 2048, "formula": [102400], "measured": [102400]},
        "busy": {"formula": [1.0, 1.1], "measured": [1.0, 1.0]},
    }
    told = "\n".join(sizing_table({"sizing": made}))
    assert "| h | 1,000 µs: 1,000 per second and core |" in told
    assert "| b | 2.00 s per GB: 0.50 GB per second and core |" in told
    assert "| 1.05 s | 1 s | +5 % [+0, +10] |" in told
    assert "idle connections | 100 MiB | 100 MiB | +0 % |" in told


def test_the_formula_is_checked_with_a_mixture(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.speed.sizing._IDLE", 5)
    names = {row for row, _ in sizing.CONSTANTS.values()}
    names |= {row.name for row in ROWS if "1 at once" in row.name or "1 conn" in row.name}
    rows = [{"name": name, "figures": {"serve": [100.0]}} for name in names]
    missing: dict[str, str] = {}
    found = sizing.measure_sizing(
        Plan(1, 0.01), workshop, Generator(workshop), rows, missing, lambda _: None
    )
    assert missing == {}
    for part in ("memory", "busy", "quiet"):
        assert len(found[part]["formula"]) == len(found[part]["measured"]) == 1
        assert found[part]["measured"][0] > 0


def test_ctrl_c_ends_the_servers(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Server] = []

    def launch(*arguments: Any) -> Server:
        started.append(peer(C).launch(*arguments))
        return started[0]

    def interrupt(doing: str) -> None:
        if doing.endswith(C):
            raise KeyboardInterrupt

    only = (dataclasses.replace(peer(C), launch=launch),)
    monkeypatch.setattr("benchmarks.speed.rows.PEERS", only)
    with pytest.raises(KeyboardInterrupt):
        measure(Plan(1, 0.01), workshop, Generator(workshop), {}, interrupt)
    assert [process.returncode for process in started[0].processes] == [-9]


def test_a_run_with_tiny_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.speed.rows.PEERS", (peer("serve"), peer(C)))
    result = run(Plan(repeats=1, seconds=0.01, only="16 connections"), tmp_path)
    names = [row["name"] for row in result["rows"]]
    assert names == [
        "64 bytes there and back, 16 connections",
        "GB in echoes of 1 MiB, 16 connections",
    ]
    assert all({*row["figures"]} == {"serve", C} for row in result["rows"])
    assert result["missing"] == {}
