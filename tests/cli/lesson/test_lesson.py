"""The lesson: what it claims is so, it fits a screen, and it says when something is not so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from rich.console import Console
from rich.text import Text

from mtls_echo.commands.demo import demo
from mtls_echo.demo.blocks import Prose, Section, Table
from mtls_echo.lesson.chapters import CHAPTERS, ONWARD, TOUR, Chapter
from mtls_echo.lesson.refusals import SCENES
from mtls_echo.lesson.show import pages
from tests.interop.foreign_peers import need
from tests.support.command_line import COMMAND, environment, run, serving
from tests.support.lesson import PAGE, is_in_the_page
from tests.support.timing import TIMEOUT

# What chapters are played here; those that take seconds have tests of their own.
QUICK = {chapter.name: chapter for chapter in (*CHAPTERS[:6], ONWARD, TOUR)}


@pytest.fixture(scope="module")
def played() -> dict[str, list[Section]]:
    return {name: trio.run(each.play, lambda _: None) for name, each in QUICK.items()}


def text_of(sections: list[Section]) -> str:
    return "\n\n".join(block.markdown() for section in sections for block in section.blocks)


@pytest.mark.parametrize("name", QUICK)
def test_everything_in_a_chapter_is_as_announced(
    name: str, played: dict[str, list[Section]]
) -> None:
    assert [section.mismatches for section in played[name]] == [()] * len(played[name])


@pytest.mark.parametrize("name", [name for name in QUICK if name != TOUR.name])
def test_the_page_of_the_lesson_is_up_to_date(name: str, played: dict[str, list[Section]]) -> None:
    assert is_in_the_page(name, played[name]), "`make docs` writes docs/lesson.md anew"


def test_nothing_in_the_page_differs_from_run_to_run() -> None:
    assert not re.search(r"\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d|\d ms|[0-9a-f]{38}", PAGE)
    assert {*re.findall(r"127\.0\.0\.1:(\d+)", PAGE)} == {f"4000{port}" for port in range(1, 5)}


@pytest.mark.parametrize("name", QUICK)
def test_each_section_is_one_page_of_80_columns_and_24_lines(
    name: str, played: dict[str, list[Section]]
) -> None:
    screen = Console(width=80, height=24, force_terminal=True)

    for section in played[name]:
        assert len(list(pages(screen, QUICK[name], section))) == 1, section.title


@pytest.mark.parametrize("width", [40, 60, 80])
@pytest.mark.parametrize("name", QUICK)
def test_no_line_is_wider_than_the_terminal(
    name: str, width: int, played: dict[str, list[Section]]
) -> None:
    screen = Console(width=width, height=24, force_terminal=True)

    for section in played[name]:
        for page in pages(screen, QUICK[name], section):
            for line in page:
                text = "".join(segment.text for segment in line)
                # A path is not broken, but by the terminal.
                assert len(text) <= width or max(map(len, text.split())) > 30


def test_the_chapters_build_on_each_other_in_the_order_of_the_list() -> None:
    ran = run("demo", "--list")

    numbers, names = zip(*(line.split()[:2] for line in ran.stdout.splitlines()), strict=True)
    assert numbers == tuple(f"{number}." for number in range(1, 10))
    assert [*names] == [
        *("tls", "certificate", "handshake", "mutual", "authority", "refusals"),
        *("attacks", "rotation", "endpoints"),
    ]


def test_a_chapter_is_chosen_by_its_name_or_its_number() -> None:
    ran = run("demo", "--chapter", "certificate", "--chapter", "1")

    titles = re.findall(r"^── (\d)\. ([a-z]+): ", ran.stdout, re.MULTILINE)
    assert [*dict.fromkeys(titles)] == [("1", "tls"), ("2", "certificate")]


def test_only_without_tls_the_line_can_be_read(played: dict[str, list[Section]]) -> None:
    without, with_tls = text_of(played["tls"]).split("And with TLS", maxsplit=1)

    assert "my password is s" in without
    assert "17 03 03 00 2a" in with_tls
    assert "an anonymous client" in with_tls


def test_a_signature_verifies_for_one_text_and_one_key_only(
    played: dict[str, list[Section]],
) -> None:
    text = text_of(played["certificate"])

    assert text.count("**verifies**") == 2
    assert text.count("**does not verify**") == 3
    assert "| localhose, 127.0.0.1, ::1 | **does not verify** |" in text


def test_both_ends_compute_a_secret_that_the_relay_does_not_have(
    played: dict[str, list[Section]],
) -> None:
    text = text_of(played["handshake"])
    client, server = re.findall(r"\| (?:client|server) \| ((?:[0-9a-f]{2} ?){12}) \|", text)

    assert client == server
    assert re.search(r"\| relay \| \*\*not found in [\d,]+ bytes\*\* \|", text)
    assert "| to the relay, the certificate is | **readable** | **encrypted** |" in text
    assert re.search(r"\| before it sends data, the client waits \| 2 times \| once \|", text)


def test_in_tls_1_3_the_client_learns_of_its_refusal_later(
    played: dict[str, list[Section]],
) -> None:
    text = text_of(played["mutual"])

    assert "| that client learns of it | in the handshake | with its first read |" in text
    assert "| handshake_failure | certificate_required |" in text
    assert re.search(r"══ Certificate of alice", text)


def test_a_server_admits_whom_its_ca_has_issued_for(played: dict[str, list[Section]]) -> None:
    text = text_of(played["authority"])

    assert text.count("**accepted**") == 1
    assert text.count("**refused: unknown_ca**") == 2
    assert "$ mtls-echo pki init pki\nmade pki with a CA for servers" in text


def test_each_refusal_is_shown_from_both_ends(played: dict[str, list[Section]]) -> None:
    text = text_of(played["refusals"])

    assert text.count("what the client saw") == text.count("what the server saw") == len(SCENES)
    for scene in SCENES:
        tls12, tls13 = scene.alerts
        assert f"| {scene.title} | the {scene.rejected_by} | {tls12} | {tls13} |" in text
    assert text.count("refuses: wrong-name") == text.count("refuses: expired") == 1


# --- deviations ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("cause='revoked'", "does not name revoked"),
        ("alerts=('unknown_ca', 'unknown_ca')", "not unknown_ca"),
        ("rejected_by='client'", "refused by server"),
        ("credential='alice'", "echoed by None"),
    ],
)
def test_a_deviation_from_what_is_announced_is_reported_and_exits_1(
    change: str, complaint: str
) -> None:
    program = (
        "from dataclasses import replace\n"
        "from mtls_echo import __main__\n"
        "from mtls_echo.lesson import refusals\n"
        f"changed = replace(refusals.SCENES[2], {change})\n"
        "refusals.SCENES = (*refusals.SCENES[:2], changed)\n"
        "__main__.main(['demo', '--chapter', 'refusals'])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=TIMEOUT
    )

    assert ran.returncode == 1
    assert "not as announced: " in ran.stdout
    assert "mtls-echo: error: not everything happened as announced" in ran.stderr
    assert complaint in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--tour --list", "--list and --tour exclude each other"),
        ("--keep x", "no effect without --chapter endpoints"),
        ("--chapter tls --chapter endpoints --keep x", "no effect without --chapter endpoints"),
        ("--chapter nonsense", "'nonsense' is not one of 'tls'"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments: str, complaint: str) -> None:
    ran = run("demo", *arguments.split())

    assert ran.returncode == 2
    assert complaint in ran.stderr


def test_a_refusal_of_what_must_be_refused_is_a_good_result(
    played: dict[str, list[Section]],
) -> None:
    [admission] = (each for each in played["authority"] if each.title == "whom a server admits")
    [table] = (block for block in admission.blocks if isinstance(block, Table))
    cells = [cell for _, cell in table.rows if isinstance(cell, Text)]

    assert [cell.plain.partition(":")[0] for cell in cells] == ["accepted", "refused", "refused"]
    assert {str(cell.style) for cell in cells} == {"bold green"}


def test_a_quiet_demo_shows_what_is_not_as_announced_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def play(_: Chapter, status: object) -> list[Section]:
        await trio.lowlevel.checkpoint()
        return [Section("the moon rises", (Prose("It is new."),), mismatch) for mismatch in said]

    monkeypatch.setattr(Chapter, "play", play)
    said: list[tuple[str, ...]] = [()]
    demo.main(["--quiet"], standalone_mode=False)
    assert capsys.readouterr() == ("", "")

    said = [(), ("the moon is full",)]
    with pytest.raises(SystemExit, match="1"):
        demo.main(["--tour", "-q"], standalone_mode=False)
    out, err = capsys.readouterr()
    assert out.count("the moon rises") == 1
    assert "not as announced: the moon is full" in out
    assert "the moon is full" in err


def test_the_lesson_ends_with_what_to_type_next(played: dict[str, list[Section]]) -> None:
    commands = re.findall(r"`(mtls-echo [^`]+)`", text_of(played["next"]).replace("\n", " "))

    assert {each.split()[1] for each in commands} >= {"serve", "connect", "explain", "probe"}
    assert run("demo", "--list").stdout.count("\n") == len(CHAPTERS)


# --- the short tour ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def toured() -> str:
    ran = run("demo", "--tour")

    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def test_the_tour_is_two_screens_of_plain_text(toured: str) -> None:
    lines = toured.splitlines()

    assert len(lines) <= 2 * 26 + 2
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in toured


def test_a_terminal_without_line_drawing_gets_ascii() -> None:
    ran = run("demo", "--tour", PYTHONIOENCODING="ascii")

    assert ran.returncode == 0
    assert "| == Certificate of alice" in ran.stdout
    assert ran.stdout.isascii()


def test_a_reader_that_leaves_early_ends_it_quietly() -> None:
    demo = subprocess.Popen(
        [*COMMAND, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    assert demo.stdout is not None
    assert demo.stderr is not None
    with demo, demo.stdout, demo.stderr:
        demo.stdout.readline()
        demo.stdout.close()
        complaints = demo.stderr.read()

    assert complaints == b""
    assert demo.returncode == 128 + 13


def test_the_commands_it_ends_with_work_when_pasted(tmp_path: Path, toured: str) -> None:
    """Pasted into a shell, with this test's port and directory in place of the default."""
    pki = tmp_path / "pki"
    need("curl")
    pasted = re.findall(r"(?m)^  (\S(?:.*\\\n)*.*)$", toured.partition("tour: now you")[2])
    commands = [command for command in pasted if "localhost:8443" in command]
    directory = re.search(r"--cacert (\S+)/trust/servers/ca.crt", toured)
    assert directory is not None
    assert len(commands) == 3

    outputs: dict[str, subprocess.CompletedProcess[str]] = {}
    with serving(pki=pki) as server:
        for command in commands:
            here = command.replace("8443", str(server.port)).replace(directory[1], str(pki))
            outputs[command] = subprocess.run(
                ["bash", "-c", here],
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                env=environment(pki),
            )

    for command, ran in outputs.items():
        if "--no-cert" in command:
            assert ran.returncode == 5, ran.stderr
            assert "certificate_required (116)" in ran.stderr
        else:
            assert (ran.stdout.strip(), ran.returncode) == ("hello", 0), (command, ran)


def test_it_runs_in_a_directory_that_has_been_deleted() -> None:
    ran = subprocess.run(
        [
            *("sh", "-c", 'cd "$(mktemp -d)" && rmdir "$PWD" && exec "$@"', "sh"),
            *(*COMMAND, "demo", "--tour"),
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env=environment(),
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    # A long path to the program breaks the command's line.
    assert "localhost:8443 hello" in re.sub(r"\s*\\\n\s*", " ", ran.stdout)


def test_it_runs_for_a_user_without_a_home() -> None:
    program = (
        "from pathlib import Path\n"
        "from mtls_echo.__main__ import main\n"
        "def nowhere(): raise RuntimeError('Could not determine home directory.')\n"
        "Path.home = nowhere\n"
        "main(['demo', '--tour'])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=TIMEOUT
    )

    assert (ran.returncode, ran.stderr) == (0, "")


def test_every_chapter_has_a_module_of_its_own() -> None:
    modules = [chapter.module for chapter in (*CHAPTERS, ONWARD, TOUR)]

    assert len({*modules}) == len(modules)
    assert all(isinstance(chapter, Chapter) for chapter in QUICK.values())
