"""`--verify` with a CA as openssl makes it by itself, which has no keyUsage."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.command_line import run, serving

CONFIGURATION = """\
[req]
distinguished_name=dn
x509_extensions=ca
[dn]
[ca]
subjectKeyIdentifier=hash
basicConstraints=critical,CA:true
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """`ca.pem` by `openssl req -x509`, and what it issued by `openssl x509 -req -extfile`."""
    (tmp_path / "openssl.cnf").write_text(CONFIGURATION)
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    request = ["req", "-config", "openssl.cnf", *new]
    root = ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=x"]
    openssl(tmp_path, *request, "-x509", *root)
    for side in ("server", "client"):
        openssl(tmp_path, *request, *f"-keyout {side}.key -out r.csr -subj /CN={side}".split())
        extensions = f"subjectAltName=DNS:localhost\nextendedKeyUsage={side}Auth\n"
        (tmp_path / "extensions").write_text(extensions)
        issue = "x509 -req -in r.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 9"
        openssl(tmp_path, *issue.split(), "-extfile", "extensions", "-out", f"{side}.crt")
    return tmp_path


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def own(files: Path, side: str, ca: str) -> list[str]:
    paths = {"--cert": f"{side}.crt", "--key": f"{side}.key", ca: "ca.pem"}
    return [word for option, name in paths.items() for word in (option, str(files / name))]


def test_with_files_of_ones_own_it_works_from_both_ends_with_one_warning_each(
    files: Path,
) -> None:
    with serving(*own(files, "server", "--client-ca")) as running:
        warning = running.wait_for("warning")
        ran = run("connect", f"localhost:{running.port}", "hello", *own(files, "client", "--ca"))

    expected = (
        "the trust anchor 'x' is refused by strict verifiers (Python from 3.13 on by default, and"
        " OpenSSL with -x509_strict), and what it issued: it has no keyUsage (RFC 5280 §4.2.1.3)"
    )
    assert (ran.returncode, ran.stdout) == (0, "hello\n"), ran.stderr
    assert ran.stderr.count("warning:") == 1
    assert f"warning: {expected}\n" in ran.stderr
    assert expected in str(warning)


def test_a_strict_client_names_the_missing_key_usage_and_the_way_out(files: Path) -> None:
    with serving(*own(files, "server", "--client-ca")) as running:
        options = [*own(files, "client", "--ca"), "--verify", "strict"]
        ran = run("connect", f"localhost:{running.port}", "hello", *options)

    assert ran.returncode == 4
    assert "breaks a rule of RFC 5280 that strict verification enforces" in ran.stderr
    assert "“x” has no keyUsage, which RFC 5280 requires" in ran.stderr
    assert "with keyUsage keyCertSign, cRLSign" in ran.stderr
    assert "may not issue" not in ran.stderr
    assert "--verify default" in ran.stderr


def test_a_strict_server_refuses_and_the_client_says_what_it_may_have_been(files: Path) -> None:
    with serving(*own(files, "server", "--client-ca"), "--verify", "strict") as running:
        ran = run("connect", f"localhost:{running.port}", "hello", *own(files, "client", "--ca"))

    assert ran.returncode == 5
    assert "“x” has no keyUsage" in ran.stderr
    # Whether the server is strict cannot be known here.
    assert "or our certificate could not be checked for revocation" in ran.stderr


@pytest.mark.parametrize("command", ["serve", "connect", "endpoints"])
def test_each_command_has_the_option_and_says_its_default(command: str) -> None:
    page = " ".join(run(command, "--help").stdout.split())

    assert "--verify [strict|default]" in page
    default = "default" if command == "endpoints" else "strict with --pki, default with files"
    assert f"[default: {default}]" in page
