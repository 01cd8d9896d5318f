"""A configuration that is understood, and the effect of each of its keys."""

from __future__ import annotations

import json
import re
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from mtls_echo_client.endpoints.configuration.errors import EndpointsError
from mtls_echo_client.endpoints.configuration.read import parse_configuration, read_configuration
from mtls_echo_client.endpoints.plan import TLSSettings
from mtls_echo_pki.files.pem import read_credential
from mtls_echo_tls.address import Address
from tests.client.endpoints.configuration.reading import folder as folder
from tests.client.endpoints.configuration.reading import parse, refusal
from tests.support.endpoints import LISTED, TLS, make_files, with_files, with_tls

PROPOSAL = """\
- tls_config:
    cert_file: "alice.crt"
    key_file: "alice.key"
    ca_file: "servers.crt"
    server_name: ""
  endpoints: ["store-1.test:10901", "store-2.test:10901"]
  endpoints_sd_files:
    - files: []
  mode:
"""


def test_the_slides_own_yaml_filled_in_is_understood(folder: Path) -> None:
    filled = PROPOSAL.replace("files: []", 'files: ["targets/*.json"]')

    configuration = parse(filled, folder)

    (group,) = configuration.groups
    assert (
        parse(PROPOSAL, folder).groups[0].files == ()
    )  # an empty list is what the proposal writes
    assert (group.name, group.strict, group.plaintext) == ("[0]", False, None)
    assert [server.address for server in group.servers] == [
        Address("store-1.test", 10901),
        Address("store-2.test", 10901),
    ]
    assert [files.pattern for files in group.files] == [folder / "targets" / "*.json"]
    assert group.tls == TLSSettings(
        ca_file=folder / "servers.crt",
        cert_file=folder / "alice.crt",
        key_file=folder / "alice.key",
        server_name=None,
        minimum_version=ssl.TLSVersion.TLSv1_2,
        origin="[0].tls_config",
    )
    assert configuration.material == (
        folder / "servers.crt",
        folder / "alice.crt",
        folder / "alice.key",
    )


@pytest.mark.parametrize("number", [0, 1], ids=["a list", "a mapping"])
def test_the_documentation_shows_what_is_understood(number: int, tmp_path: Path) -> None:
    make_files(tmp_path)
    for name in ("client.crt", "client.key", "others.crt"):
        (tmp_path / name).symlink_to({"others.crt": "clients.crt"}.get(name, f"alice{name[-4:]}"))
    page = (Path(__file__).parents[4] / "docs" / "endpoints.md").read_text("utf-8")
    shown = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)

    configuration = parse(shown[number], tmp_path)

    assert len(shown) == 2
    assert all(group.tls is not None for group in configuration.groups)


def test_every_key_of_the_slides_shape_has_its_effect(folder: Path) -> None:
    (first, second) = parse(
        "- name: stores\n"
        "  tls_config: {ca_file: servers.crt, server_name: store.test}\n"
        "  endpoints: ['dns+a.test:1']\n"
        "  endpoints_sd_files:\n"
        "  - {files: [/etc/a.yml, 'b/c*d.json'], refresh_interval: 1m30s}\n"
        "  - {files: [e.yaml]}\n"
        "  mode: ''\n"
        "- endpoints: ['[::1]:2']\n"
        "  mode: strict\n",
        folder,
    ).groups

    assert (first.name, first.place, second.name) == ("stores", "[0]", "[1]")
    assert (first.strict, second.strict) == (False, True)
    assert first.tls is not None
    assert first.tls.server_name == "store.test"
    assert [server.is_name for server in (*first.servers, *second.servers)] == [True, False]
    assert second.servers[0].address == Address("::1", 2)
    assert [files.pattern for files in first.files] == [
        Path("/etc/a.yml"),
        folder / "b" / "c*d.json",
        folder / "e.yaml",
    ]
    assert (first.names_interval, first.files_interval) == (90.0, 90.0)
    assert (second.names_interval, second.files_interval) == (30.0, 300.0)
    assert second.tls is None
    assert second.plaintext == ("[1]", "has no tls_config")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("1d", 86_400),
        ("1w2d", 777_600),
        ("1y", 31_536_000),
    ],
)
def test_an_interval_is_written_as_prometheus_writes_durations(
    text: str, seconds: float, folder: Path
) -> None:
    (group,) = parse(with_files(f"{{files: [a.json], refresh_interval: {text}}}"), folder).groups

    assert group.files_interval == seconds


def test_json_is_yaml(folder: Path) -> None:
    text = json.dumps([{"endpoints": ["a.test:1"], "tls_config": {"ca_file": "servers.crt"}}])

    assert parse(text, folder).groups == parse(LISTED + TLS, folder).groups


def test_one_tls_config_may_be_written_once_and_used_again(folder: Path) -> None:
    (first, second, third) = parse(
        "- endpoints: ['a.test:1']\n"
        "  tls_config: &ours {ca_file: servers.crt, cert_file: alice.crt, key_file: alice.key}\n"
        "- {endpoints: ['b.test:1'], tls_config: *ours}\n"
        "- endpoints: ['c.test:1']\n"
        "  tls_config: {server_name: c.test, ca_file: clients.crt, <<: *ours}\n",
        folder,
    ).groups

    assert first.tls == second.tls
    assert third.tls is not None
    assert third.tls.ca_file == folder / "clients.crt"  # what is written wins over what is merged
    assert (third.tls.cert_file, third.tls.server_name) == (folder / "alice.crt", "c.test")


def test_a_key_that_yaml_reads_as_a_boolean_is_still_a_key(folder: Path) -> None:
    assert refusal("- on: 1", folder).reason.startswith("unknown key 'on'")


def test_relative_paths_begin_at_the_folder_of_the_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    (folder / "endpoints.yaml").write_text(LISTED + TLS, "utf-8")

    configuration = read_configuration(Path(folder.name) / "endpoints.yaml")

    assert configuration.material == (folder / "servers.crt",)
    assert configuration.name == f"{folder.name}/endpoints.yaml"


def test_relative_paths_of_an_inline_text_begin_at_the_current_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)

    assert parse_configuration(LISTED + TLS).material == (folder / "servers.crt",)
    with pytest.raises(EndpointsError, match=r"^configuration: \[0\]"):
        parse_configuration("- {}")


def test_a_byte_order_mark_is_not_a_part_of_the_text(folder: Path) -> None:
    (folder / "marked.yaml").write_bytes(b"\xef\xbb\xbf" + (LISTED + TLS).encode())

    assert len(read_configuration(folder / "marked.yaml").groups) == 1


def test_what_loads_but_will_not_work_is_a_warning(folder: Path) -> None:
    fields = "ca_file: servers.crt, cert_file: server.crt, key_file: server.key"

    (warning,) = parse(with_tls(fields), folder).warnings

    assert warning == (
        "[0].tls_config.cert_file: our certificate's extendedKeyUsage does not include clientAuth"
    )


@pytest.mark.parametrize("key", ["alice.p12", "alice.key"])
def test_pkcs12_is_refused_with_a_command_where_no_password_can_be_given(
    folder: Path, key: str
) -> None:
    credential = read_credential(folder / "alice.crt", folder / "alice.key")
    (folder / "alice.p12").write_bytes(credential.pkcs12(b"geheim"))
    text = PROPOSAL.replace("alice.crt", "alice.p12").replace("alice.key", key)

    refused = refusal(text, folder)

    assert "alice.p12: is a PKCS#12 file" in str(refused)
    assert "convert it: openssl pkcs12 -in" in (refused.hint or "")
    assert (refused.hint or "").endswith("; name what it writes as cert_file and as key_file")


def test_an_encrypted_key_is_refused_with_a_command(folder: Path) -> None:
    credential = read_credential(folder / "alice.crt", folder / "alice.key")
    pem = credential.key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"geheim")
    )
    (folder / "locked.key").write_bytes(pem)

    refused = refusal(PROPOSAL.replace("alice.key", "locked.key"), folder)

    assert "[0].tls_config.key_file: " in str(refused)
    assert "locked.key: the private key is encrypted" in str(refused)
    assert "openssl pkey -in" in (refused.hint or "")
    assert (refused.hint or "").endswith("; name that file as key_file")
