"""No name of a peer's choosing gives orders to a terminal, wherever it is shown."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from mtls_echo.console import complain, say
from mtls_echo_client.context import client_context
from mtls_echo_client.session import connect as connected
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_pki.flaws.baseline import with_extension
from mtls_echo_pki.printable import printable
from mtls_echo_tls.denial import denial_in, denial_line
from mtls_echo_tls.diagrams.overview import draw
from tests.support.clients import World, echo, serving
from tests.support.clients import run as connect
from tests.support.command_line import COMMAND, environment, run
from tests.support.timing import TIMEOUT

# Clears the screen, forges a line; C1 and bidirectional controls cannot stand in an IA5String.
NAME = "x\x1b[2J\r\n12:00:00 forged"
SHOWN = r"x\x1b[2J\r\n12:00:00 forged"


@given(st.text())
@example("\ud800\u202e\u2028\x9b")
def test_every_text_becomes_one_line_that_can_be_seen(text: str) -> None:
    shown = printable(text)

    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    assert shown.encode().decode() == shown  # also what cannot be encoded
    assert shown == text or not text.isprintable()


def test_a_peer_is_described_in_one_line_and_an_error_in_as_many_as_it_has(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say(f"met {NAME}")
    complain("first\n  of two \x1b[2J", f"ask {NAME}")

    assert capsys.readouterr().err.splitlines() == [
        f"mtls-echo: met {SHOWN}",
        "mtls-echo: error: first",
        r"    of two \x1b[2J",
        f"mtls-echo: hint: ask {SHOWN}",
    ]


# --- where it is shown ---------------------------------------------------------------------------


def named(authority: Authority, request: Request, *more: str) -> Credential:
    """A credential for `NAME` first and ``more``, which our own `issue` would refuse to make."""
    names = x509.SubjectAlternativeName([x509.DNSName(name) for name in (NAME, *more)])
    credential = authority.issue(request)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    tbs = with_extension(TBSCertificate.of(credential.certificate), names)
    tbs = replace(tbs, subject=subject)
    return replace(credential, certificate=authority.certify(tbs))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world whose server, and whose client alice, have hostile names."""
    world = World.create(tmp_path_factory.mktemp("world"))
    world = replace(
        world,
        server=named(world.servers, Request.server("localhost"), "localhost"),
        alice=named(world.clients, Request.client("alice.test")),
    )
    for name in ("server", "alice"):
        credential: Credential = getattr(world, name)
        (world.folder / f"{name}.crt").write_bytes(credential.certificate_pem)
        (world.folder / f"{name}.key").write_bytes(credential.key_pem)
    return world


def test_the_client_s_greeting_is_one_line_with_the_name_that_was_verified(world: World) -> None:
    with serving(echo, world.server_context()) as port:
        done = connect(f"localhost:{port}", "hello", *world.files)

    assert done.returncode == 0
    assert done.stderr.decode() == (
        f"mtls-echo: connected to localhost:{port} as {SHOWN};"
        " it proved to be localhost (TLSv1.3)\n"
    )


def test_a_refusal_shows_the_certificate_on_one_line(world: World) -> None:
    with serving(echo, world.server_context()) as port:
        done = connect(f"localhost:{port}", "hello", *world.files, "--server-name", "other.test")

    assert done.returncode == 4
    assert SHOWN in done.stderr.decode()
    assert all(line.isprintable() for line in done.stderr.decode().split("\n"))


def test_an_event_of_the_server_is_one_line(world: World) -> None:
    files = [str(world.folder / name) for name in ("server.crt", "server.key", "clients.crt")]
    options = ["--listen", "127.0.0.1:0", "--cert", files[0], "--key", files[1]]
    process = subprocess.Popen(
        [*COMMAND, "serve", *options, "--client-ca", files[2]],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    with process:
        assert process.stderr is not None
        port = process.stderr.readline().partition("127.0.0.1:")[2].partition(",")[0]
        assert connect(f"localhost:{port}", "hello", *world.files).returncode == 0
        process.terminate()
        events = process.stderr.read()
        assert process.wait(TIMEOUT) == 0

    assert SHOWN in events
    assert all(line.isprintable() for line in events.split("\n"))


def test_pki_show_and_check_print_it_on_one_line(world: World, tmp_path: Path) -> None:
    pki = tmp_path / "pki"
    assert run("pki", "init", str(pki)).returncode == 0
    shown = run("pki", "show", str(world.folder / "server.crt"))
    for name in ("tls.crt", "tls.key"):
        there = (pki / "server" / name).resolve()
        there.write_bytes((world.folder / name.replace("tls", "server")).read_bytes())
    checked = run("pki", "check", str(pki))

    assert f"names        {SHOWN}, localhost" in shown.stdout
    assert checked.returncode == 1
    for output in (shown.stdout, checked.stdout, checked.stderr):
        assert all(line.isprintable() for line in output.split("\n"))


def test_a_denial_quotes_it_on_one_line() -> None:
    assert denial_in(denial_line(NAME)) == SHOWN


async def test_a_diagram_keeps_it_between_its_rails(world: World) -> None:
    context = client_context(world.servers.trust, world.alice)
    with serving(echo, world.server_context()) as port:
        async with await connected("localhost", port, context, trace=True) as session:
            await session.echo(b"hello\n")
    lines = draw(session.evidence.recorder.messages, session.report)

    assert sum(r"x\x1b[2J" in line for line in lines) == 2
    assert all(line.isprintable() for line in lines)
