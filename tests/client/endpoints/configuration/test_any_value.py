"""Any value and any text is either understood or refused."""

from __future__ import annotations

from pathlib import Path

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mtls_echo_client.endpoints.configuration import yaml_reader as document
from mtls_echo_client.endpoints.configuration.errors import EndpointsError
from mtls_echo_client.endpoints.configuration.read import parse_configuration
from tests.client.endpoints.configuration.reading import folder as folder
from tests.client.endpoints.configuration.reading import parse

_KEYS = st.sampled_from(
    [
        *("name", "tls_config", "endpoints", "endpoints_sd_files", "mode", "files", "address"),
        *("refresh_interval", "ca_file", "cert_file", "key_file", "server_name", "enabled"),
        *("default_client_config", "client_config", "strict", "min_version", "compression", "<<"),
    ]
)

_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["a.test:1", "dns+a.test:1", "servers.crt", "alice.key", "strict", "5m", ""])
)

_VALUES = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_KEYS | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(value=_VALUES | st.lists(st.dictionaries(_KEYS, _VALUES, max_size=4), max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_value_is_understood_or_refused(value: object, folder: Path) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    try:
        configuration = parse(text, folder)
    except EndpointsError as error:
        message = str(error)
    else:
        message = "FILE: "
        assert all(group.tls is not None or group.plaintext for group in configuration.groups)
    assert message.startswith("FILE: ")
    assert message.isprintable()


@given(
    text=st.text(
        st.characters(codec="utf-8") | st.sampled_from("-:[]{}&*<>!|'\"#\n\t "), max_size=60
    )
)
def test_any_text_is_understood_or_refused(text: str) -> None:
    message = ""
    try:
        parse_configuration(text, name="FILE")
    except EndpointsError as error:
        message = str(error)
    assert message.isprintable()


_GOOD = """\
- name: metrics
  mode: ""
  tls_config:
    ca_file: servers.crt
    cert_file: alice.crt
    key_file: alice.key
  endpoints: [a.test:1, "dns+b.test:2"]
  endpoints_sd_files:
    - files: ["targets/*.yml"]
      refresh_interval: 5m
"""


@given(
    changes=st.lists(
        st.tuples(
            st.integers(0, len(_GOOD) - 1),
            st.integers(0, 12),
            st.text(st.sampled_from("-:[]{}&*<>!|'\"#\n\t ,a1\0"), max_size=4),
        ),
        max_size=4,
    )
)
@example(changes=[])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_damaged_configuration_is_understood_or_refused(
    changes: list[tuple[int, int, str]], folder: Path
) -> None:
    text = _GOOD
    for start, length, instead in changes:
        text = text[:start] + instead + text[start + length :]
    message = "FILE: "
    try:
        groups = parse(text, folder).groups
    except EndpointsError as error:
        message = str(error)
    else:
        assert all(group.tls is not None or group.plaintext for group in groups)
    assert message.startswith("FILE: ")
    assert message.isprintable()
    assert changes or message == "FILE: "


@given(value=_VALUES)
def test_a_document_is_read_as_any_other_loader_reads_it(value: object) -> None:
    """Where the two may agree: numbers are compared as numbers, keys as texts."""
    written = yaml.safe_dump([_plain(value)], allow_unicode=True)

    assert document.parse_yaml(written, "FILE") == yaml.safe_load(written)


def _plain(value: object) -> object:
    match value:
        case float() | int() if not isinstance(value, bool):
            return 0.5
        case list():
            return [_plain(each) for each in value]
        case dict():
            return {f"k{key}": _plain(each) for key, each in value.items()}
        case _:
            return value
