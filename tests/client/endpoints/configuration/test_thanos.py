"""The form of configuration that Thanos reads."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from mtls_echo_client.endpoints.groups import Configuration
from mtls_echo_client.endpoints.plan import TLSSettings
from tests.client.endpoints.configuration.reading import folder as folder
from tests.client.endpoints.configuration.reading import parse
from tests.support.endpoints import thanos


def only_tls(configuration: Configuration) -> TLSSettings:
    (group,) = configuration.groups
    assert group.tls is not None
    return group.tls


PAIR = "cert_file: alice.crt, key_file: alice.key"

WHOLE = f"default_client_config: {{tls_config: {{ca_file: servers.crt, {PAIR}}}}}\n"


def endpoint(client_config: str, default: str = WHOLE) -> str:
    return thanos(f"address: 'a.test:1', client_config: {{{client_config}}}", default)


def test_every_endpoint_of_the_shape_that_shipped_is_a_group_of_one(folder: Path) -> None:
    text = f"{WHOLE}endpoints:\n- address: a.test:1\n  strict: true\n- address: dns+b.test:2\n"

    first, second = parse(text, folder).groups

    assert (first.name, first.strict, second.name, second.strict) == (
        "endpoints[0]",
        True,
        "endpoints[1]",
        False,
    )
    assert second.servers[0].is_name
    assert first.tls == second.tls
    assert first.tls is not None
    assert first.tls.origin == "default_client_config.tls_config"


@pytest.mark.parametrize(
    ("tls_config", "ca", "cert", "version", "origin"),
    [
        pytest.param(
            "min_version: 1.2",
            "servers.crt",
            "alice.crt",
            ssl.TLSVersion.TLSv1_2,
            " (ca_file, cert_file, key_file: default_client_config.tls_config)",
            id="only the version",
        ),
        pytest.param(
            "ca_file: clients.crt",
            "clients.crt",
            "alice.crt",
            ssl.TLSVersion.TLSv1_3,
            " (cert_file, key_file: default_client_config.tls_config)",
            id="only the anchors",
        ),
        pytest.param(
            "cert_file: foreign.crt, key_file: foreign.key",
            "servers.crt",
            "foreign.crt",
            ssl.TLSVersion.TLSv1_3,
            " (ca_file: default_client_config.tls_config)",
            id="only the pair",
        ),
        pytest.param(
            "enabled: true",
            "servers.crt",
            "alice.crt",
            ssl.TLSVersion.TLSv1_3,
            " (ca_file, cert_file, key_file: default_client_config.tls_config)",
            id="enabled, which takes nothing away",
        ),
        pytest.param(
            "ca_file: clients.crt, cert_file: foreign.crt, key_file: foreign.key,"
            " insecure_skip_verify: false, min_version: '1.3'",
            "clients.crt",
            "foreign.crt",
            ssl.TLSVersion.TLSv1_3,
            "",
            id="everything",
        ),
    ],
)
def test_each_setting_that_an_endpoint_does_not_write_is_the_defaults(
    tls_config: str, ca: str, cert: str, version: ssl.TLSVersion, origin: str, folder: Path
) -> None:
    tls = only_tls(parse(endpoint(f"tls_config: {{{tls_config}}}"), folder))

    assert tls.ca_file == folder / ca
    assert tls.cert_file == folder / cert
    assert tls.minimum_version is version
    assert tls.origin == f"endpoints[0].client_config.tls_config{origin}"


@pytest.mark.parametrize(
    ("client_config", "name"),
    [
        pytest.param(
            "compression: none", "shared.test", id="an endpoint that says nothing of TLS"
        ),
        pytest.param("server_name: own.test", "own.test", id="one with a name"),
        pytest.param("tls_config: {enabled: true}", None, id="one with settings of its own"),
    ],
)
def test_the_defaults_server_name_goes_over_only_with_the_whole(
    client_config: str, name: str | None, folder: Path
) -> None:
    default = WHOLE.replace("}}\n", "}, server_name: shared.test}\n")

    assert only_tls(parse(endpoint(client_config, default), folder)).server_name == name


@pytest.mark.parametrize(
    ("text", "plaintext"),
    [
        pytest.param(
            endpoint("tls_config: {enabled: false}"),
            ("endpoints[0].client_config.tls_config.enabled", "is false"),
            id="an endpoint's own word",
        ),
        pytest.param(
            thanos(
                "address: 'a.test:1'", "default_client_config: {tls_config: {enabled: false}}\n"
            ),
            ("default_client_config.tls_config.enabled", "is false"),
            id="the default's",
        ),
        pytest.param(
            thanos("address: 'a.test:1'", ""),
            ("endpoints[0]", "has no tls_config, and neither has default_client_config"),
            id="of no endpoint",
        ),
    ],
)
def test_plaintext_says_where_it_comes_from(
    text: str, plaintext: tuple[str, str], folder: Path
) -> None:
    (group,) = parse(text, folder).groups

    assert group.tls is None
    assert group.plaintext == plaintext


def test_what_changes_nothing_is_accepted(folder: Path) -> None:
    text = thanos(
        "address: 'a.test:1', strict: false, group: false, service_config: '',"
        " client_config: {compression: none, server_name: '', tls_config:"
        " {enabled: true, insecure_skip_verify: false, min_version: '', cert_file: ''}}"
    )

    assert only_tls(parse(text, folder)).ca_file == folder / "servers.crt"
