"""--quiet: what goes well is not said, and what does not is."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click
import pytest
from click.testing import CliRunner

from mtls_echo.__main__ import mtls_echo
from mtls_echo.commands.endpoints.run import Findings
from mtls_echo.failures.case import FailureCase
from mtls_echo.gallery import judge as judging
from mtls_echo_client.endpoints.monitor.status import Status
from mtls_echo_client.endpoints.plan import Endpoint, Problem
from mtls_echo_tls.address import Address
from tests.cli.commands.connect.world import world as world
from tests.cli.commands.pki.invoking import invoke
from tests.cli.gallery import small_clients
from tests.cli.probing.test_command import Files, options, probe
from tests.cli.probing.test_command import files as files
from tests.cli.probing.test_command import optional as optional
from tests.cli.probing.test_command import required as required
from tests.cli.probing.threads import Threaded
from tests.support.clients import World, echo, run, saying, serving
from tests.support.ports import refusing_port


def call(*words: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""
    done = CliRunner().invoke(mtls_echo, words, prog_name="mtls-echo")
    return done.exit_code, done.stdout, done.stderr


def test_every_command_that_tells_what_it_does_can_be_quiet() -> None:
    able: set[str] = set()

    def look(command: click.Command, ctx: click.Context) -> None:
        if isinstance(command, click.Group):
            for name in command.list_commands(ctx):
                inner = command.get_command(ctx, name)
                assert inner is not None
                look(inner, click.Context(inner, info_name=name, parent=ctx))
        flags = {flag for option in command.params for flag in option.opts}
        if "--quiet" in flags:
            assert "-q" in flags
            able.add(ctx.command_path.removeprefix("mtls-echo "))

    look(mtls_echo, click.Context(mtls_echo, info_name="mtls-echo"))

    changing = ("init", "issue", "check", "renew", "revoke", "crl", "rollover", "remove")
    assert able >= {
        *("connect", "serve", "probe", "gallery", "gallery judge", "endpoints", "observe", "demo"),
        *(f"pki {command}" for command in changing),
    }


def test_of_what_was_done_nothing_is_printed(tmp_path: Path) -> None:
    pki = tmp_path / "pki"
    for command in (
        "init {}",
        "issue {} a a.test --client",
        "check {}",
        "issue {} b b.test --client --flaw expired",
        "revoke {} client --present --reason superseded",
        "revoke {} client --present",
        "crl {}",
        "rollover {} introduce",
        "rollover {} switch",
        "remove {} --yes",
    ):
        done = invoke(*command.format(pki).split(), "--quiet")
        assert (done.exit_code, done.output) == (0, ""), command


def test_what_was_not_done_and_who_is_trusted_still_is_printed(tmp_path: Path) -> None:
    pki = tmp_path / "pki"
    invoke("init", pki)
    invoke("issue", pki, "b", "b.test", "--client", "--flaw", "expired")

    assert "b/tls.crt: CN=b expired" in invoke("check", pki, "-q").stdout
    renewed = invoke("renew", pki, "client", "--new-key", "-q").stdout
    assert renewed.startswith("  the previous key is still trusted; if it leaked: mtls-echo pki ")
    assert "bad on purpose" in invoke("renew", pki, "--all", "--same-key", "-q").stdout
    revoked = invoke("revoke", pki, "client", "-q").stdout.splitlines()
    assert revoked[0] == "still trusted:"
    assert ", the present key, expires in 30 days" in revoked[1]


def test_connect_prints_the_echo_alone(world: World) -> None:
    with serving(echo, world.server_context()) as port:
        done = run(f"localhost:{port}", "hello", "-q", "--count", "2", *world.files)

    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello\n" * 2, b"")


def test_connect_says_of_another_server_by_its_exit_status_that_all_is_well(world: World) -> None:
    with serving(saying(b"220 mx.test ESMTP\r\n"), world.server_context()) as port:
        done = run(f"localhost:{port}", "--handshake", "--quiet", *world.files)

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_connect_says_what_failed(world: World) -> None:
    done = run(f"localhost:{refusing_port()}", "hello", "-q", *world.files)

    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.startswith(b"mtls-echo: error: ")


def test_a_probe_prints_findings_only(
    files: Files, required: Threaded, optional: Threaded
) -> None:
    only = (*options(files), "--only", "none", "--only", "self-signed", "-q")

    assert probe(f"127.0.0.1:{required.port}", *only) == (0, "", "")
    status, shown, _ = probe(f"127.0.0.1:{optional.port}", *only)
    assert status == 1
    assert "1. none" in shown
    assert probe("a.test", "-q", "--verbose")[0] == 2


def test_judge_prints_a_score_only_where_something_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(judging, "run_command", small_clients.run)
    asked = ("gallery", "judge", "-q", "--tls", "1.3", "--only", "expired", "--")

    assert call(*asked, "correct", "{url}", "{ca}") == (0, "", "")
    status, shown, _ = call(*asked, "ignores_expiry", "{url}", "{ca}")
    assert status == 1
    assert "accepted, and must not be:\n  expired" in shown


def test_observe_shows_what_is_not_as_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("observe", "oversize", "--tls", "1.3", "-q")
    assert call(*asked) == (0, "", "")

    monkeypatch.setattr(FailureCase, "mismatches", lambda *_: ["the moon is full"])
    status, shown, said = call(*asked)
    assert status == 1
    assert "not as announced: the moon is full" in shown
    assert "causes" not in shown.splitlines()[-1]
    assert "the moon is full" in said


def test_a_quiet_watch_tells_of_what_fails_and_that_it_is_well_again() -> None:
    def status(state: str, port: int = 1, problem: Problem | None = None) -> Status:
        endpoint = cast("Endpoint", type("", (), {"address": Address("a", port)}))
        values = {"endpoint": endpoint, "state": state, "problem": problem}
        return cast("Status", type("", (), values))

    told = Findings()
    torn = Problem("tls.crt", "torn")
    seen: list[Status | Problem] = [
        status("connecting"), status("up"), status("down"), status("connecting"), status("up"),
        status("up"), status("up", 2), status("up", 2, torn), status("up", 2), torn,
    ]  # fmt: skip
    assert [told(each) for each in seen] == [
        False, False, True, False, True, False, False, True, True, True,
    ]  # fmt: skip
