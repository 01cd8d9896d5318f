"""`mtls-echo probe`, from its arguments to its exit status, against our own server."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mtls_echo import assert_refuses
from mtls_echo.__main__ import mtls_echo
from mtls_echo.probing import library
from mtls_echo_pki.directory.directory import Directory
from tests.cli.probing.servers import GOOD, context
from tests.cli.probing.threads import Threaded
from tests.support.authorities import CLIENTS, SERVERS
from tests.support.timing import TIMEOUT

Files = dict[str, Path]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probe") / "pki"
    Directory.create(folder)
    return folder


@pytest.fixture
def files(tmp_path: Path) -> Files:
    contents = {
        "ca": SERVERS.trust.pem,
        "issuer.crt": CLIENTS.certificate_pem,
        "issuer.key": CLIENTS.key_pem,
        "good.crt": GOOD.certificate_pem,
        "good.key": GOOD.key_pem,
    }
    for name, pem in contents.items():
        (tmp_path / name).write_bytes(pem)
    return {name: tmp_path / name for name in contents}


@pytest.fixture(scope="module")
def optional() -> Iterator[Threaded]:
    with Threaded(context(ssl.CERT_OPTIONAL)) as server:
        yield server


@pytest.fixture(scope="module")
def required() -> Iterator[Threaded]:
    with Threaded(context()) as server:
        yield server


def probe(*arguments: object) -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""
    words = [str(each) for each in ("probe", *arguments)]
    done = CliRunner().invoke(mtls_echo, words, prog_name="mtls-echo")
    return done.exit_code, done.stdout, done.stderr


def options(files: Files, *, issuer: bool = True) -> list[object]:
    """For a probe of a server of the tests' CA, fast."""
    given: list[object] = ["--ca", files["ca"], "--cert", files["good.crt"]]
    given += ["--key", files["good.key"], "--pace", 1000, "--timeout", 60, "--repeat", 1]
    if issuer:
        given += ["--issuer-cert", files["issuer.crt"], "--issuer-key", files["issuer.key"]]
    return [*given, "--server-name", "localhost"]


def test_a_finding_is_explained_and_can_be_seen_again(
    files: Files, optional: Threaded, tmp_path: Path
) -> None:
    junit, sarif, keep = tmp_path / "j.xml", tmp_path / "s.json", tmp_path / "kept"
    status, out, _ = probe(
        *(optional.address, *options(files), "--only", "none", "--only", "expired"),
        *("--junit", junit, "--sarif", sarif, "--keep", keep),
    )

    assert status == 1
    assert "1. none (high, TLS 1.2 and 1.3)" in out
    assert f"curl -ik --tlsv1.2 --tls-max 1.2 --connect-to ::{optional.address}" in out
    assert json.loads(sarif.read_bytes())["runs"][0]["results"][0]["ruleId"] == "none"
    assert b'failures="2"' in junit.read_bytes()
    assert (keep / "ca.crt").read_bytes() == SERVERS.trust.pem


def test_the_identities_that_were_admitted_are_kept_as_files(
    files: Files, required: Threaded, tmp_path: Path
) -> None:
    keep = tmp_path / "kept"
    status, out, _ = probe(
        *(required.address, *options(files), "--only", "wrong-usage-any", "--keep", keep),
        *("--fail-on", "low", "--json"),
    )

    assert status == json.loads(out)["exit_status"]
    for row in json.loads(out)["rows"]:
        assert (keep / "wrong-usage-any.key").exists() is row["finding"]


def test_without_the_key_of_the_ca_the_weaker_half_is_tested(
    files: Files, required: Threaded
) -> None:
    status, out, _ = probe(required.address, *options(files, issuer=False), "--json")
    found = json.loads(out)
    tested = {row["slug"] for row in found["rows"] if row["verdict"] == "refused"}

    assert status == 0
    assert {"none", "unknown-authority", "self-signed", "impostor-authority"} <= tested
    assert {"good-sent-along", "bad-signature", "split-hello", "plaintext"} <= tested
    assert "expired" not in tested
    assert found["protocols"] == ["http/1.1"]
    assert any("what only it can sign is not tested" in note for note in found["notes"])


def test_a_directory_has_all_that_is_needed(pki: Path, required: Threaded) -> None:
    # Its CA is not the server's: we refuse it, and nothing is judged.
    status, out, err = probe(required.address, "--pki", pki, "--server-name", "localhost")

    assert (status, out) == (4, "")
    assert "nothing is judged" in err
    assert "hint: " in err


def test_without_files_it_has_the_certificates_that_serve_has_made(
    pki: Path, required: Threaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTLS_ECHO_PKI", str(pki))
    given = probe(required.address, "--pki", pki, "--server-name", "localhost")

    assert probe(required.address, "--server-name", "localhost") == given
    assert probe(required.address, "--server-name", "localhost", "--as", "client") == given


def test_a_good_identity_that_is_refused_is_explained(
    files: Files, pki: Path, required: Threaded
) -> None:
    status, out, err = probe(
        required.address, "--pki", pki, "--ca", files["ca"], "--server-name", "localhost"
    )

    assert (status, out) == (5, "")
    assert "unknown_ca" in err


def test_where_nothing_listens_there_is_no_connection(files: Files) -> None:
    with Threaded(context()) as server:
        address = server.address
    status, _, err = probe(address, *options(files))

    assert status == 3
    assert "Connection refused" in err or "refused" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--echo",), "missing argument"),
        (("localhost:1",), "there is no identity that the server would admit"),
        (("localhost:1", "--pki", "x", "--cert", "y"), "exclude each other"),
        (("localhost:1", "--cert", "y", "--as", "z"), "--as and --other name"),
        (("localhost:1", "--pki", "x", "--http", "/", "--echo"), "exclude each other"),
        (("localhost:1", "--pki", "x", "--method", "HEAD"), "--method has no effect"),
        (
            ("localhost:1", "--pki", "x", "--only", "expird"),
            'there is no case "expird"\nmtls-echo: hint: did you mean expired',
        ),
        (("localhost:0", "--pki", "x"), "port"),
        (("localhost:1", "--pki", "x"), "x"),
        (("localhost:1", "--issuer-cert", "y"), "--issuer-key is missing"),
    ],
)
def test_what_does_not_fit_together_is_a_usage_error(
    run_command: Callable[..., tuple[int, str]], arguments: tuple[str, ...], message: str
) -> None:
    status, err = run_command("probe", *arguments)

    assert status == 2
    assert message in err.lower() or message in err


@pytest.fixture
def run_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs the command as a shell does, in an empty folder."""
    from mtls_echo.__main__ import main

    monkeypatch.setenv("MTLS_ECHO_PKI", str(tmp_path / "none"))

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        code = ended.value.code
        return (code if isinstance(code, int) else 0), capsys.readouterr().err

    return run


def test_a_path_may_be_left_out_before_the_address(files: Files, required: Threaded) -> None:
    status, out, _ = probe(*options(files), "--only", "expired", "--http", required.address)

    assert status == 0
    assert "asked in HTTP" in out


def test_the_cases_are_listed_with_what_they_prove() -> None:
    status, out, _ = probe("--list")

    assert status == 0
    assert "unknown-authority (high)" in out
    assert "ticket-after-change (high)" in out


@pytest.mark.parametrize("identity", ["expired", "unknown-authority", "wrong-usage"])
def test_a_test_asserts_that_a_server_refuses(required: Threaded, identity: str) -> None:
    assert_refuses(
        required.address,
        identity,
        trust=SERVERS.trust,
        issuer=CLIENTS,
        server_names=["localhost"],
        timeout=60,
    )


def test_such_an_assertion_fails_where_the_client_is_admitted_or_nothing_is_tested(
    optional: Threaded,
) -> None:
    ours = {"trust": SERVERS.trust, "issuer": CLIENTS, "server_names": ["localhost"]}
    with pytest.raises(AssertionError, match="admitted: HTTP"):
        assert_refuses(optional.address, "none", **ours, timeout=60)
    with pytest.raises(AssertionError, match="does not serve the good identity"):
        assert_refuses(optional.address, "none", **{**ours, "issuer": SERVERS}, timeout=60)
    with pytest.raises(ValueError, match="there is no identity 'expird'"):
        assert_refuses(optional.address, "expird", **ours)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"only": ["expird"]}, 'there is no case "expird"; did you mean expired'),
        ({"skip": ["expird"]}, 'there is no case "expird"; did you mean expired'),
        ({"repeat": 0}, "tried at least once"),
        ({"versions": ()}, "tried at least once"),
    ],
)
async def test_a_probe_that_would_test_nothing_is_an_error(
    options: dict[str, Any], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        await library.probe("localhost:1", issuer=CLIENTS, **options)


SERVICE = """
import sys
from types import SimpleNamespace

import pytest

sys.path.insert(0, {root!r})
from tests.cli.probing.servers import context
from tests.cli.probing.threads import Threaded
from tests.support.authorities import CLIENTS, SERVERS


@pytest.fixture(scope="module")
def service():
    with Threaded(context()) as server:
        yield SimpleNamespace(address=server.address, client_ca=CLIENTS, server_ca=SERVERS)
"""


def test_the_example_of_the_page_is_a_test_that_passes(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    page = (root / "docs" / "probe.md").read_text("utf-8")
    example = page.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "conftest.py").write_text(SERVICE.format(root=str(root)))
    (tmp_path / "test_example.py").write_text(example)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:randomly",
            "-k",
            "expired or none",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )

    assert "3 passed" in done.stdout, done.stdout
