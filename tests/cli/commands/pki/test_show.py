"""`mtls-echo pki show`: what it prints for people and for scripts."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path

import pytest

from mtls_echo_pki.directory.directory import Directory
from tests.cli.commands.pki.invoking import invoke, refused
from tests.cli.commands.pki.invoking import made as made
from tests.support.pki import (
    EXTENDED_KEY_USAGE,
    KEY_USAGE,
    P256,
    SM2,
    altered,
    negative_serial,
    run,
)


def test_show_prints_what_matters_to_a_person(made: Path) -> None:
    shown = invoke("show", made / "client").stdout

    assert re.fullmatch(
        r"""\S+/client/tls\.crt
  subject      CN=client
  issuer       CN=mtls-echo clients CA [0-9a-f]{6}
  names        client\.test
  validity     \S+ \S+ to \S+ \S+ UTC, expires in 30 days
  usage        client
  key          EC secp256r1
  serial       [0-9a-f]+
  fingerprint  [0-9a-f]{64}
""",
        shown,
    ), shown


def test_show_prints_a_json_list_for_scripts(made: Path) -> None:
    described = json.loads(invoke("show", made, "--json").stdout)

    described, ends = described[:-2], described[-2:]
    assert [(end["roles"], end["stage"], end["next"]) for end in ends] == [
        (["servers"], "settled", []),
        (["clients"], "settled", []),
    ]
    assert [Path(entry["path"]).relative_to(made).as_posix() for entry in described] == [
        "authorities/clients/tls.crt",
        "authorities/servers/tls.crt",
        "trust/clients/ca.crt",
        "trust/servers/ca.crt",
        "client/tls.crt",
        "server/tls.crt",
    ]
    entry = described[-1]
    assert {key: entry[key] for key in ("position", "subject", "names", "usage", "key")} == {
        "position": 1,
        "subject": "CN=server",
        "names": ["localhost", "127.0.0.1", "::1"],
        "usage": ["server"],
        "key": "EC secp256r1",
    }
    credential = Directory(made).credential("server")
    assert entry["fingerprint"] == credential.fingerprint
    assert int(entry["serial"], 16) == credential.certificate.serial_number
    assert datetime.fromisoformat(entry["not_after"]) == credential.certificate.not_valid_after_utc


def test_show_shows_every_certificate_of_a_file_and_each_ca_once(tmp_path: Path) -> None:
    path = Directory.create(tmp_path / "pki", intermediate=True, single_authority=True).path

    one = json.loads(invoke("show", path / "server" / "tls.crt", "--json").stdout)
    everything = json.loads(invoke("show", path, "--json").stdout)

    assert [(entry["position"], entry["usage"]) for entry in one] == [
        (1, ["server"]),
        (2, ["authority"]),
    ]
    assert everything.pop()["roles"] == ["servers", "clients"]
    assert sum("authorities" in entry["path"] for entry in everything) == 2
    assert "tls.crt (2)" in invoke("show", path / "server").stdout


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (
            "server/tls.key",
            "holds a private key, not encrypted, and neither a certificate nor a CRL",
        ),
        ("missing", "does not exist"),
        ("..", "has no certificates in it"),
        ("authorities/servers/ledger.json", "is JSON"),
    ],
)
def test_show_says_why_there_is_nothing_to_show(made: Path, path: str, error: str) -> None:
    refused(invoke("show", made / path), error=error)


def test_show_shows_a_folder_of_cas(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cas"
    folder.mkdir()
    for role, name in (("servers", "one.pem"), ("clients", "TWO.CRT")):
        (folder / name).write_bytes((made / "trust" / role / "ca.crt").read_bytes())

    shown = json.loads(invoke("show", folder, "--json").stdout)

    assert {Path(entry["path"]).name for entry in shown} == {"one.pem", "TWO.CRT"}


@pytest.mark.parametrize(
    ("label", "header", "how"),
    [
        ("ENCRYPTED PRIVATE KEY", "", "encrypted with a password"),
        ("EC PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n",
         "encrypted with a password"),
        ("RSA PRIVATE KEY", "", "not encrypted"),
    ],
)  # fmt: skip
def test_show_says_what_the_file_of_a_key_is(
    tmp_path: Path, label: str, header: str, how: str
) -> None:
    key = tmp_path / "server.key"
    key.write_text(f"-----BEGIN {label}-----\n{header}AAAA\n-----END {label}-----\n")

    refused(
        invoke("show", key),
        error=f"holds a private key, {how}, and neither a certificate nor a CRL",
        hint=f"openssl pkey -in {key} -pubout",
    )


def test_show_names_a_key_it_does_not_know_by_its_algorithm(made: Path, tmp_path: Path) -> None:
    certificate = Directory(made).credential("server").certificate
    (tmp_path / "sm2.crt").write_bytes(altered(certificate, P256, SM2))

    name = "EC, on a curve that is not known here"
    assert f"  key          {name}\n" in invoke("show", tmp_path / "sm2.crt").stdout


def test_show_takes_a_serial_number_as_it_is(made: Path, tmp_path: Path) -> None:
    certificate = Directory(made).credential("server").certificate
    (tmp_path / "odd.crt").write_bytes(negative_serial(certificate))

    shown = run("show", "odd.crt", cwd=tmp_path)

    assert (shown.returncode, shown.stderr) == (0, "")
    assert "  serial       -" in shown.stdout


def test_show_names_the_extension_that_it_cannot_read(made: Path, tmp_path: Path) -> None:
    credential = Directory(made).credential("server")
    twice = altered(credential.certificate, EXTENDED_KEY_USAGE, KEY_USAGE)
    (tmp_path / "odd.crt").write_bytes(credential.certificate_pem + twice)

    shown = invoke("show", tmp_path / "odd.crt").stdout
    described = json.loads(invoke("show", tmp_path / "odd.crt", "--json").stdout)

    assert shown.count("CN=server") == 2
    assert shown.count("localhost, 127.0.0.1, ::1") == 2
    assert shown.rstrip().splitlines()[-1] == "  unreadable   extension 2.5.29.15"
    assert "unreadable" not in described[0]
    assert described[1]["unreadable"] == ["2.5.29.15"]
