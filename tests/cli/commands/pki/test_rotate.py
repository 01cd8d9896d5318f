"""`mtls-echo pki renew`, `revoke`, `crl`, `rollover`, as a person or a script meets them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mtls_echo.commands.pki.rollover import STEPS
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.directory.rollover import Step
from mtls_echo_pki.flaws.registry import find_flaw
from tests.cli.commands.pki.invoking import invoke, refused
from tests.support.pki import tree

SERIAL = "[0-9a-f]{30,40}"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return Directory.create(tmp_path / "pki").path


def told(*arguments: str | Path, status: int = 0) -> str:
    """What a command prints on standard output; it must have nothing to complain about."""
    result = invoke(*arguments)
    assert result.exit_code == status, result.output
    assert result.stderr == ""
    return result.stdout


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["client"], "say --same-key or --new-key", "a key that leaked needs --new-key"),
        (["--same-key"], "give the NAME of a credential, or --all", "renew --help"),
        (["client", "--all", "--new-key"], "give the NAME of a credential, or --all", None),
        (["absent", "--new-key"], 'has no credential named "absent"', "it has: client, server"),
        (
            ["client", "--new-key", "--lifetime", "9999d"],
            "would outlive its CA",
            "rollover",
        ),
        (["../x", "--new-key"], "cannot name a credential", None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_renew_refuses_what_it_cannot_do_and_changes_nothing(
    made: Path, arguments: list[str], error: str, hint: str | None
) -> None:
    before = tree(made)

    refused(invoke("renew", made, *arguments), error=error, hint=hint)

    assert tree(made) == before


def test_renew_says_what_it_did_and_what_it_leaves(made: Path) -> None:
    same = told("renew", made, "client", "--same-key")
    new = told("renew", made, "client", "--new-key", "--lifetime", "12h")

    assert same == f"renewed {made}/client with the same key: client.test; expires in 30 days\n"
    assert new == (
        f"renewed {made}/client with a new key: client.test; expires in 12 hours\n"
        f"  the previous key is still trusted; if it leaked: mtls-echo pki revoke {made} client\n"
    )
    told("revoke", made, "client", "--present")
    assert "still trusted" not in told("renew", made, "client", "--new-key")


def test_renew_all_leaves_alone_what_is_bad_on_purpose_until_it_is_named(made: Path) -> None:
    directory = Directory(made)
    directory.issue_flawed("late", Request.client("late.test"), find_flaw("expired"))

    everything = told("renew", made, "--all", "--new-key").splitlines()
    assert [line for line in everything if line[0] != " "] == [
        f"renewed {made}/client with a new key: client.test; expires in 30 days",
        f"left {made}/late as it is: bad on purpose (expired)",
        f"renewed {made}/server with a new key: localhost, 127.0.0.1, ::1; expires in 30 days",
    ]
    assert "it was bad on purpose (expired), and is good now" in told(
        "renew", made, "late", "--same-key"
    )
    assert "all well" in told("check", made)


def test_renew_all_with_the_same_key_leaves_alone_whose_key_was_revoked(made: Path) -> None:
    told("revoke", made, "client", "--reason", "keyCompromise")

    assert told("renew", made, "--all", "--same-key").splitlines() == [
        f"left {made}/client as it is: its key was revoked (keyCompromise)",
        f"renewed {made}/server with the same key: localhost, 127.0.0.1, ::1; expires in 30 days",
    ]
    refused(
        invoke("renew", made, "client", "--same-key"),
        error="cannot be renewed with the same key, which was revoked on",
        hint=f"mtls-echo pki renew {made} client --new-key",
    )
    assert f"renewed {made}/client with a new key" in told("renew", made, "--all", "--new-key")


def test_renew_all_goes_on_after_one_that_fails(made: Path) -> None:
    (made / "client" / "tls.key").resolve().write_bytes(b"")

    result = invoke("renew", made, "--all", "--same-key")

    assert result.exit_code == 2
    assert f"renewed {made}/server" in result.stdout
    assert result.stderr.startswith(f"mtls-echo: error: client: {made}/client/tls.key: is empty")


def test_revoke_names_each_certificate_and_what_comes_next(made: Path) -> None:
    told("renew", made, "client", "--new-key")

    first = told("revoke", made, "client", "--reason", "key-compromise")
    second = told("revoke", made, "client")
    third = told("revoke", made, "client", "--present")

    assert re.fullmatch(
        rf"""revoked 1 certificate of client \(keyCompromise\):
  {SERIAL}, would have expired in 30 days
still trusted:
  {SERIAL}, the present key, expires in 30 days
published {made}/trust/clients/crl.pem
""",
        first,
    ), first
    assert re.fullmatch(
        rf"""nothing to revoke: what client had before is revoked already:
  {SERIAL}, would have expired in 30 days
still trusted:
  {SERIAL}, the present key, expires in 30 days
to revoke it as well: mtls-echo pki revoke {made} client --present
""",
        second,
    ), second
    assert third.startswith("revoked 1 certificate of client (unspecified):\n")
    assert third.endswith(f"next: mtls-echo pki renew {made} client --new-key\n")


def test_revoke_takes_the_serial_number_that_show_prints(made: Path) -> None:
    entry = json.loads(told("show", made / "client", "--json"))[0]
    told("renew", made, "client", "--same-key")

    printed = told("revoke", made, "client", "--serial", entry["serial"])

    assert entry["serial"] in printed.partition("still trusted")[0]
    assert "still trusted" in printed


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["absent"], 'has never issued anything to "absent"', "it has: client, server"),
        (["client", "--reason", "stolen"], "is not a reason", "give one of unspecified"),
        (["client", "--reason", "certificate-hold"], "does not revoke for good", "give one of"),
        (["client", "--reason", "removeFromCRL"], "does not revoke for good", "give one of"),
        (["client", "--serial", "xyz"], '"xyz" is not a serial number', "pki show prints"),
        (["client", "--serial", "1"], "has the serial number 1", "it has: "),
        (["client", "--serial", "1", "--present"], "exclude each other", "give one of them"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_revoke_refuses_what_it_cannot_do_and_changes_nothing(
    made: Path, arguments: list[str], error: str, hint: str
) -> None:
    before = tree(made)

    refused(invoke("revoke", made, *arguments), error=error, hint=hint)

    assert tree(made) == before


def test_crl_publishes_crls_for_both_sides_and_says_when_they_end(made: Path) -> None:
    assert told("crl", made, "--lifetime", "30d") == (
        f"published {made}/trust/servers/crl.pem: expires in 30 days\n"
        f"published {made}/trust/clients/crl.pem: expires in 30 days\n"
    )
    refused(invoke("crl", made, "--lifetime", "0s"), error='"0s" is not a lifetime')


def test_a_rollover_is_shown_step_by_step(made: Path) -> None:
    a, b = r"CN=mtls-echo clients CA [0-9a-f]{6}", r"CN=mtls-echo clients CA \w{6}"
    only = ("--authority", "clients")
    introduced = told("rollover", made, "introduce", *only)
    again = told("rollover", made, "introduce", *only)
    switched = told("rollover", made, "switch", *only)
    told("renew", made, "client", "--same-key")
    retired = told("rollover", made, "retire", *only)

    assert re.fullmatch(
        rf"""introduced, for clients: {a} issues, {b} is trusted as well
next:
  see that every peer has the new trust: what is in trust/ goes to all of them
  mtls-echo pki rollover {made} switch --authority clients
""",
        introduced,
    ), introduced
    assert again == introduced.replace("introduced,", "introduced already,")
    assert re.fullmatch(
        rf"""switched, for clients: {b} issues, {a} is still trusted
  still from the previous CA: client
next:
  mtls-echo pki renew {made} client --same-key
  mtls-echo pki rollover {made} retire --authority clients
""",
        switched,
    ), switched
    assert re.fullmatch(
        rf"retired, for clients: {b} issues, and no other is trusted\n", retired
    ), retired


def test_the_commands_that_a_refusal_names_can_be_pasted(made: Path) -> None:
    told("rollover", made, "introduce")
    told("rollover", made, "switch")
    result = invoke("rollover", made, "retire")
    refused(result, error="still in use from there: server, client", hint="renew first: ")

    commands = result.stderr.rpartition("renew first: ")[2].strip().split("; ")
    for command in commands:
        told(*command.removeprefix("mtls-echo pki ").split())

    assert told("rollover", made, "retire").count("retired, for") == 2


def test_a_rollover_can_be_run_by_a_script_that_only_follows_show(made: Path) -> None:
    told("rollover", made, "introduce")
    ran: list[str] = []
    for _ in range(10):
        ends = [each for each in json.loads(told("show", made, "--json")) if "stage" in each]
        commands = [command for end in ends for command in end["next"]]
        if not commands:
            break
        ran.append(commands[0].removeprefix("mtls-echo pki ").replace(str(made), "DIR"))
        told(*commands[0].removeprefix("mtls-echo pki ").split())

    assert ran == [
        "rollover DIR switch --authority servers",
        "renew DIR server --same-key",
        "rollover DIR retire --authority servers",
        "rollover DIR switch --authority clients",
        "renew DIR client --same-key",
        "rollover DIR retire --authority clients",
    ]


def test_an_unknown_step_or_ca_is_refused(made: Path) -> None:
    refused(invoke("rollover", made, "begin"), error="'begin' is not one of", hint="--help")
    refused(
        invoke("rollover", made, "introduce", "--authority", "both"),
        error="'both' is not one of",
        hint="--help",
    )
    assert tuple(step.value for step in Step) == STEPS


def test_show_tells_where_a_rollover_stands_what_ends_and_who_is_out(made: Path) -> None:
    hour = timedelta(hours=1)
    directory = Directory(made)
    directory.issue("soon", Request.client("soon.test", backdate=23 * hour, lifetime=hour))
    directory.renew("client", rekey=True)
    directory.revoke("client")
    directory.introduce("clients")

    shown = told("show", made).split("\n\n")[-1]

    assert re.fullmatch(
        rf"""{made}/authorities/clients, for clients
  stage        introduced: CN=mtls-echo clients CA \w+ issues, CN=mtls-echo
                 clients CA \w+ is trusted as well
  ends         soon expires in 1 hour, due
               CRL of CN=mtls-echo clients CA \w+ expires in 7 days
               CRL of CN=mtls-echo clients CA \w+ expires in 7 days
               client expires in 30 days
               CN=mtls-echo clients CA \w+ expires in 10 years
               CN=mtls-echo clients CA \w+ expires in 10 years
  revoked      {SERIAL} of client on \S+
                 \S+ UTC, unspecified, would have expired in 30 days
  next         mtls-echo pki renew {made} soon --same-key
               mtls-echo pki rollover {made} switch --authority clients
""",
        shown,
    ), shown


def test_show_tells_scripts_the_same(made: Path) -> None:
    directory = Directory(made)
    directory.renew("client", rekey=True)
    directory.revoke("client")

    end = json.loads(told("show", made, "--json"))[-1]

    assert end["roles"] == ["clients"]
    assert [each["what"].partition(" CN=")[0] for each in end["endings"]] == [
        "CRL of",
        "client",
        end["endings"][2]["what"],
    ]
    (revoked,) = end["revocations"]
    assert revoked["serial"] == directory.ledger("clients")[0].serial
    assert datetime.fromisoformat(revoked["not_after"]) > datetime.now(UTC)


def test_show_of_a_pki_whose_memory_is_damaged_shows_the_rest_and_says_so(made: Path) -> None:
    (made / "authorities" / "clients" / "ledger.json").write_bytes(b"{}")

    result = invoke("show", made)

    assert result.exit_code == 2
    assert result.stdout.count("fingerprint") == 6
    assert "ledger.json: is damaged" in result.stderr


def test_every_example_of_the_help_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = 0
    for command in ("renew", "revoke", "crl", "rollover"):
        Directory.create(tmp_path / command / "pki")
        monkeypatch.chdir(tmp_path / command)
        # An example that is wider than the terminal goes on in the next line.
        shown = re.sub(r" \\\n\s+", " ", invoke(command, "--help").stdout)
        for line in shown.splitlines():
            if not line.startswith("    mtls-echo pki"):
                continue
            for example in line.split("&&"):
                told(*example.strip().removeprefix("mtls-echo pki ").split())
                ran += 1
    assert ran == 13
