"""A plan of endpoints, made once from what is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtls_echo_client.endpoints.configuration.errors import EndpointsError
from mtls_echo_client.endpoints.plan import Plan, Problem
from tests.client.endpoints.discovery.planning import Resolver, addresses, name_targets, planner
from tests.client.endpoints.discovery.planning import folder as folder
from tests.client.endpoints.discovery.planning import material as material
from tests.client.endpoints.discovery.planning import resolver as resolver
from tests.support.endpoints import LISTED, TLS, thanos

# A planner looks at its files from time to time.
pytestmark = pytest.mark.real_time


# --- once ----------------------------------------------------------------------------------------


async def test_a_plan_has_everything_resolved(folder: Path, resolver: Resolver) -> None:
    name_targets(folder / "t.json", "c.test:3", job="echo")
    plan = await planner(
        folder,
        "- name: stores\n"
        "  tls_config: {ca_file: servers.crt}\n"
        "  endpoints: ['[::1]:1', 'dns+a.test:2']\n"
        "  endpoints_sd_files: [{files: ['*.json']}]\n"
        "- endpoints: ['b.test:4']\n"
        "  tls_config: {ca_file: clients.crt, server_name: other.test}\n"
        "  mode: strict\n",
    ).once()

    assert [
        (str(each.address), each.group, each.strict, each.server_name, each.origin)
        for each in plan.endpoints
    ] == [
        ("[::1]:1", "stores", False, "::1", "[0].endpoints[0]"),
        ("10.0.0.2:2", "stores", False, "a.test", "[0].endpoints[1]"),
        ("10.0.0.10:2", "stores", False, "a.test", "[0].endpoints[1]"),
        ("[::2]:2", "stores", False, "a.test", "[0].endpoints[1]"),
        ("c.test:3", "stores", False, "c.test", f"{folder}/t.json [0].targets[0]"),
        ("b.test:4", "[1]", True, "other.test", "[1].endpoints[0]"),
    ]
    assert plan.problems == ()
    assert plan.endpoints[4].labels == {"job": "echo", "__meta_filepath": f"{folder}/t.json"}
    assert plan.endpoints[1].written == "dns+a.test:2"
    assert [each.tls.ca_file.name for each in plan.endpoints if each.tls] == [
        *["servers.crt"] * 5,
        "clients.crt",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(LISTED, "[0]: has no tls_config", id="no tls_config"),
        pytest.param(
            LISTED + TLS + "- endpoints: ['b.test:1']\n",
            "[1]: has no tls_config",
            id="one group of two",
        ),
        pytest.param(
            thanos("address: 'a.test:1', client_config: {tls_config: {enabled: false}}"),
            "endpoints[0].client_config.tls_config.enabled: is false",
            id="enabled is false",
        ),
    ],
)
async def test_plaintext_must_be_allowed_outright(text: str, message: str, folder: Path) -> None:
    with pytest.raises(EndpointsError) as refused:
        await planner(folder, text).once()

    assert str(refused.value) == (
        f"{folder}/endpoints.yaml: {message}: everything would be sent in plaintext"
    )
    assert "allow_plaintext=True" in (refused.value.hint or "")

    plan = await planner(folder, text, allow_plaintext=True).once()
    plain = plan.endpoints[-1]
    assert (plain.tls, plain.server_name) == (None, None)


async def test_allowing_plaintext_takes_tls_from_no_endpoint(folder: Path) -> None:
    plan = await planner(folder, LISTED + TLS, allow_plaintext=True).once()

    assert plan.endpoints[0].tls is not None


async def test_a_broken_configuration_starts_nothing(folder: Path) -> None:
    making = planner(folder, "- endpoints: 1\n")

    with pytest.raises(EndpointsError):
        await making.once()
    published: list[Plan] = []
    with pytest.raises(EndpointsError):
        await making.run(published.append)
    assert published == []


async def test_what_files_and_names_fail_to_give_are_problems(
    folder: Path, resolver: Resolver
) -> None:
    (folder / "bad.json").write_text('[{"targets": ["c.test')
    plan = await planner(
        folder,
        "- endpoints: ['dns+nowhere.test:1', 'dns+empty.test:1', 'b.test:1']\n"
        + TLS
        + "  endpoints_sd_files: [{files: [bad.json, missing.json, nowhere/*.yml]}]\n",
    ).once()

    assert addresses(plan) == ["b.test:1"]
    assert plan.problems == (
        Problem(f"{folder}/missing.json", "does not exist, and names no targets"),
        Problem(f"{folder}/nowhere", "does not exist, and names no targets"),
        Problem(
            f"{folder}/bad.json",
            "line 1, column 15: is not JSON: unterminated string starting",
        ),
        Problem("dns+nowhere.test:1", "cannot be looked up: name or service not known"),
        Problem("dns+empty.test:1", "cannot be looked up: it has no address"),
    )


# --- an address twice ----------------------------------------------------------------------------


async def test_a_target_never_takes_an_endpoint_from_the_configuration(
    folder: Path, resolver: Resolver
) -> None:
    """Else a line in a target file would decide by which authority a server is verified."""
    name_targets(folder / "t.json", "B.test.:1", "10.0.0.2:2", "c.test:1", "c.test:1")
    plan = await planner(
        folder,
        "- endpoints_sd_files: [{files: [t.json]}]\n"
        "  tls_config: {ca_file: clients.crt}\n"
        "- endpoints: ['dns+a.test:2', 'b.test:1', '10.0.0.10:2']\n" + TLS,
    ).once()

    assert [
        (str(each.address), each.tls and each.tls.ca_file.name) for each in plan.endpoints
    ] == [
        ("c.test:1", "clients.crt"),
        ("10.0.0.2:2", "servers.crt"),
        ("[::2]:2", "servers.crt"),
        ("b.test:1", "servers.crt"),
        ("10.0.0.10:2", "servers.crt"),
    ]
    assert plan.problems == (
        Problem(
            "dns+a.test:2",
            "10.0.0.10:2 at [1].endpoints[0] is left out: it is already at [1].endpoints[2]",
        ),
        Problem(
            f"{folder}/t.json",
            "B.test.:1 at [0].targets[0] is left out: it is already at [1].endpoints[1];"
            " so are 2 more",
        ),
    )


async def test_a_plan_has_a_bounded_number_of_endpoints(folder: Path) -> None:
    for name in ("a", "b"):
        targets = (f"{name}{number}.test:1" for number in range(6000))
        name_targets(folder / f"{name}.json", *targets)
    plan = await planner(
        folder, "-" + TLS[1:] + "  endpoints_sd_files: [{files: ['*.json']}]\n"
    ).once()

    assert len(plan.endpoints) == 10_000
    assert plan.problems == (
        Problem(f"{folder}/endpoints.yaml", "leads to 12000 endpoints; the first 10000 are used"),
    )
