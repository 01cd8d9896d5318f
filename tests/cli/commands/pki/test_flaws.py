"""`pki issue --flaw` and `pki flaws`: what they make, what they print, and that it works."""

from __future__ import annotations

import json
import shlex
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mtls_echo.commands.pki.group import pki
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.flaws.baseline import ValidationInput
from mtls_echo_pki.flaws.flaw import FlawRole
from mtls_echo_pki.flaws.registry import FLAWS
from tests.support import command_line
from tests.support.flaws import meet_verifier
from tests.support.pki import tree
from tests.support.timing import TIMEOUT

IDENTITIES = {"server": ("localhost", "127.0.0.1", "::1"), "client": ("client.test",)}


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(pki, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Directory.create(tmp_path_factory.mktemp("flaws") / "pki").path


@pytest.fixture
def made(pristine: Path, tmp_path: Path) -> Path:
    shutil.copytree(pristine, tmp_path / "pki", symlinks=True)
    return tmp_path / "pki"


def issue(made: Path, slug: str, role: FlawRole) -> Result:
    return invoke("issue", made, "bad", *IDENTITIES[role], f"--{role}", "--flaw", slug)


@pytest.mark.parametrize(
    ("slug", "role"), [(slug, role) for slug, flaw in FLAWS.items() for role in flaw.roles]
)
def test_every_flaw_can_be_issued_and_says_what_will_come_of_it(
    made: Path, slug: str, role: FlawRole
) -> None:
    flaw = FLAWS[slug]

    result = issue(made, slug, role)

    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"issued {made / 'bad'}: ")
    assert lines[1] == f"flaw: {flaw.title}"
    assert flaw.alert in lines[3]
    assert lines[-3] == "see it fail:"
    assert Directory(made).ledger("servers" if role == "server" else "clients")[-1].name == "bad"
    folder = made / "bad"
    assert (folder / "tls.key").stat().st_mode & 0o777 == 0o600
    assert (folder / "crl.pem").exists() == ("CRL" in flaw.differs)
    for file in ("ca.crt", "crl.pem"):
        assert (folder / file).exists() == (str(folder / file) in result.stdout)


@pytest.mark.parametrize("slug", ["expired", "expired-authority", "revoked"])
def test_a_pki_with_intermediates_issues_flaws_too(tmp_path: Path, slug: str) -> None:
    made = Directory.create(tmp_path / "pki", intermediate=True).path

    result = issue(made, slug, "client")

    assert result.exit_code == 0, result.output
    assert len(Directory(made).credential("bad").chain) == 1


def test_without_the_roots_key_only_flaws_below_it_can_be_issued(tmp_path: Path) -> None:
    made = Directory.create(tmp_path / "pki", intermediate=True).path
    (made / "authorities" / "clients" / "root.key").unlink()
    before = tree(made)

    refused = issue(made, "expired-authority", "client")

    assert refused.exit_code == 2
    assert "root.key: does not exist" in refused.stderr
    assert tree(made) == before
    assert issue(made, "expired", "client").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["a.test", "--client", "--flaw", "expierd"], "no flaw", "did you mean expired"),
        (
            ["a.test", "--client", "--flaw", "wrong-name"],
            "server certificates only",
            "not checked for it",
        ),
        (["10.0.0.1", "--server", "--flaw", "wrong-name"], "is about host names", "localhost"),
        (
            ["a.test", "--client", "--flaw", "key-not-owned", "--key-type", "ed25519"],
            "needs an EC key",
            "choose p256",
        ),
        (
            ["a.test", "--client", "--flaw", "expired", "--pkcs12", "p"],
            "--flaw and --pkcs12 exclude each other",
            "give one of them",
        ),
    ],
)
def test_a_flaw_that_cannot_be_is_refused_and_nothing_is_issued(
    made: Path, arguments: list[str], error: str, hint: str
) -> None:
    before = tree(made)

    result = invoke("issue", made, "bad", *arguments)

    assert result.exit_code == 2
    assert error in result.stderr.splitlines()[0]
    assert hint in result.stderr.splitlines()[-1]
    assert tree(made) == before


@pytest.mark.parametrize("loads", [True, False])
def test_what_openssl_does_not_load_is_presented_by_its_own_command(
    made: Path, monkeypatch: pytest.MonkeyPatch, loads: bool
) -> None:
    """OpenSSL 3.6 loads a signature over SHA-1, and those before it do not."""

    def load(credential: Credential, context: ssl.SSLContext) -> None:
        if not loads:
            error = ssl.SSLError("refused")
            error.reason = "CA_MD_TOO_WEAK"
            raise error

    monkeypatch.setattr(Credential, "load_into", load)
    said = issue(made, "weak-signature", "server").stdout

    refused = (
        "mtls-echo cannot present it: the OpenSSL used here does not load it (CA_MD_TOO_WEAK)"
    )
    assert (refused in said) == (not loads)
    assert ("openssl s_server" in said) == (not loads)
    assert (f"mtls-echo serve --pki {made} --as bad" in said) == loads


def test_a_key_that_is_not_the_certificates_is_not_read_back(made: Path) -> None:
    issue(made, "key-not-owned", "client")

    shown = invoke("check", made)

    assert shown.exit_code == 1
    assert "bad/tls.key: the private key is damaged" in shown.stdout


def test_the_list_names_every_flaw_within_eighty_columns() -> None:
    text = invoke("flaws").stdout

    assert [line for line in text.splitlines() if not line.startswith(" ")] == [*FLAWS]
    assert max(map(len, text.splitlines())) <= 80
    assert "    code 10, certificate_expired\n" in text
    assert "    EXCESSIVE_MESSAGE_SIZE, illegal_parameter\n" in text
    assert "    code 66, bad_certificate, load: EE_KEY_TOO_SMALL\n" in text
    assert "    code 62, bad_certificate, servers only\n" in text


def test_the_list_in_json_says_all_that_there_is_to_know() -> None:
    listed = json.loads(invoke("flaws", "--json").stdout)

    assert [entry["slug"] for entry in listed] == [*FLAWS]
    for entry in listed:
        flaw = FLAWS[entry["slug"]]
        for field in ("cause", "title", "about", "differs", "verify_code", "reason", "alert"):
            assert entry[field] == getattr(flaw, field)
        assert entry["roles"] == [*flaw.roles]
        assert [each["reason"] for each in entry["unless"]] == [
            each.reason for each in flaw.unless
        ]


def test_a_shell_is_offered_the_flaws_that_begin_so() -> None:
    words = "mtls-echo pki issue ./pki a a.test --client --flaw exp"

    ran = command_line.run(_MTLS_ECHO_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD="8")

    assert ran.stdout.splitlines() == [f"plain,{slug}" for slug in FLAWS if slug.startswith("exp")]


def test_the_list_is_not_loaded_for_a_help() -> None:
    code = (
        "import sys; from mtls_echo.commands.pki.group import pki; "
        "pki(['issue', '--help'], standalone_mode=False); "
        "print([name for name in sys.modules if 'flaws_of' in name or 'cryptography' in name])"
    )

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.splitlines()[-1] == "[]"


# --- the commands that are printed ---------------------------------------------------------------


def commands(result: Result) -> tuple[list[str], list[str]]:
    """The two commands that show a flaw failing, the server's first."""
    first, second = (shlex.split(line) for line in result.stdout.splitlines()[-2:])
    return first, second


@pytest.mark.parametrize("slug", ["expired", "missing-intermediate", "weak-key", "key-not-owned"])
def test_the_commands_show_a_client_refused_as_announced(made: Path, slug: str) -> None:
    serve, connect = commands(issue(made, slug, "client"))
    assert serve[:2] == ["mtls-echo", "serve"]

    with command_line.serving(*serve[2:]) as serving:
        address = f"localhost:{serving.port}"
        at = [address if word == "localhost:8443" else word for word in connect]
        if at[0] == "mtls-echo":
            ran = command_line.run(*at[1:])
            assert ran.returncode == 5, ran.stderr
        else:
            # Its status depends on whether the alert or the end of its input comes first.
            subprocess.run(at, input="hello\n", capture_output=True, text=True, timeout=TIMEOUT)
        event = serving.wait_for("connection")

    assert event["rejected_by"] == "server"
    assert event["verify_code"] == FLAWS[slug].verify_code
    assert event["alert"]["name"] == FLAWS[slug].alert


@pytest.mark.parametrize("slug", ["expired", "wrong-name", "wrong-name-address-as-host"])
def test_the_commands_show_a_server_refused_as_announced(made: Path, slug: str) -> None:
    serve, connect = commands(issue(made, slug, "server"))

    with command_line.serving(*serve[2:]) as serving:
        address = f"localhost:{serving.port}"
        at = [address if word == "localhost:8443" else word for word in connect]
        ran = command_line.run(*at[1:], "--json")

    report = json.loads(ran.stdout)
    assert ran.returncode == 4, ran.stderr
    assert report["verify_code"] == FLAWS[slug].verify_code
    assert report["causes"][0] == FLAWS[slug].cause
    assert report["alert"]["name"] == FLAWS[slug].alert


# --- the fixture ---------------------------------------------------------------------------------


async def test_the_fixture_makes_a_flaw_by_its_name(flaw: Callable[..., ValidationInput]) -> None:
    late, untrusted = flaw("expired"), flaw("unknown-authority", Request.client("a.test"))

    assert (await meet_verifier(late, "server", "1.3")).verifier.verify_code == 10
    assert (await meet_verifier(untrusted, "client", "1.3")).verifier.verify_code == 20
