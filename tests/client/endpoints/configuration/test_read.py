"""Is every configuration either understood completely or refused with the place that is wrong?"""

from __future__ import annotations

import json
import re
import ssl
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtls_echo_client.endpoints.configuration import yaml_reader as document
from mtls_echo_client.endpoints.configuration.errors import EndpointsError
from mtls_echo_client.endpoints.configuration.read import parse_configuration, read_configuration
from mtls_echo_client.endpoints.groups import Configuration
from mtls_echo_client.endpoints.plan import TLSSettings
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.flaws.baseline import ValidationInput
from mtls_echo_tls.address import Address
from tests.support.endpoints import LISTED, TLS, make_files, thanos, with_files, with_tls
from tests.support.pki import unprivileged

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

REFUSED: list[dict[str, str]] = tomllib.loads(
    Path(__file__).with_name("refusals.toml").read_text("utf-8")
)["refused"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("material")
    make_files(made)
    return made


def parse(text: str, folder: Path) -> Configuration:
    return parse_configuration(text, name="FILE", folder=folder)


def refusal(text: str, folder: Path) -> EndpointsError:
    with pytest.raises(EndpointsError) as refused:
        parse(text, folder)
    return refused.value


def only_tls(configuration: Configuration) -> TLSSettings:
    (group,) = configuration.groups
    assert group.tls is not None
    return group.tls


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", REFUSED, ids=lambda wrong: f"{wrong['shape']}: {wrong['name']}")
def test_a_wrong_configuration_is_refused_in_one_line(wrong: dict[str, str], folder: Path) -> None:
    refused = refusal(wrong["text"], folder)

    def shown(text: str) -> str:
        text = text.replace(str(folder), "DIR")
        return re.sub("(?<=is not YAML: ).*", "…", text)

    assert shown(str(refused)) == f"FILE: {wrong['says']}"
    assert shown(refused.hint or "") == wrong.get("hint", "")


def test_a_refusal_stays_one_line_whatever_was_written(folder: Path) -> None:
    refused = refusal('- "\\u202e\\n\\e[2J": x\n- endpoints: ["a\\nb:1"]', folder)

    assert str(refused).isprintable()


@pytest.mark.parametrize(
    "text", ["- ? %s\n  : 1", "- endpoints: [%s]", "- {endpoints: ['a.test:1'], mode: %s}"]
)
def test_a_refusal_does_not_repeat_a_megabyte(text: str, folder: Path) -> None:
    refused = refusal(text % ("x" * 500_000), folder)

    assert len(str(refused)) < 900
    assert "xxx" in str(refused)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda path: None, "does not exist", id="missing"),
        pytest.param(lambda path: path.mkdir(), "is a directory, not a file", id="a directory"),
        pytest.param(
            lambda path: path.symlink_to("nowhere"),
            "is a link to a file that does not exist",
            id="a link to nowhere",
        ),
        pytest.param(lambda path: path.write_bytes(b"- \xff"), "line 1: is not UTF-8", id="bytes"),
        pytest.param(lambda path: path.write_bytes(b""), "is empty", id="empty"),
        pytest.param(
            lambda path: path.write_bytes(b"#" * (1 << 20) + b"\n"), "larger than 1 MiB", id="huge"
        ),
    ],
)
def test_a_configuration_file_that_cannot_be_read_is_named_with_the_reason(
    make: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "endpoints.yaml"
    make(path)

    with pytest.raises(EndpointsError) as refused:
        read_configuration(path)

    assert str(refused.value) == f"{path}: {message}"


def test_a_configuration_file_that_only_others_may_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text(LISTED)
    path.chmod(0)
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(parent.stat().st_mode | 0o111)

    with unprivileged(), pytest.raises(EndpointsError) as refused:
        read_configuration(path)

    assert str(refused.value) == f"{path}: permission denied"


def test_a_key_that_openssl_finds_too_weak_is_refused_before_anything_starts(
    folder: Path, flaw: Callable[..., ValidationInput]
) -> None:
    weak = flaw("weak-key", Request.client("weak.test")).credential
    (folder / "weak.crt").write_bytes(weak.certificate_pem)
    (folder / "weak.key").write_bytes(weak.key_pem)

    refused = refusal(
        with_tls("ca_file: servers.crt, cert_file: weak.crt, key_file: weak.key"), folder
    )

    assert str(refused) == (
        f"FILE: [0].tls_config.cert_file: {folder}/weak.crt: OpenSSL refuses it (ee key too small)"
    )
    assert refused.hint is not None
    assert "P-256" in refused.hint


@pytest.mark.parametrize(
    "write",
    [json.dumps, lambda key: key.replace("\n", "\n      ")],
    ids=["in quotes", "over several lines"],
)
def test_a_key_written_in_place_of_its_path_is_not_repeated(
    write: Callable[[str], str], folder: Path
) -> None:
    """What is refused is printed and logged, and more people read logs than keys."""
    secret = (folder / "alice.key").read_text().strip()
    key = write(secret)
    fields = f"\n    ca_file: servers.crt\n    cert_file: alice.crt\n    key_file: {key}\n"

    refused = refusal(f"- endpoints: ['a.test:1']\n  tls_config:{fields}", folder)

    assert str(refused) == "FILE: [0].tls_config.key_file: holds PEM itself"
    assert secret.splitlines()[1] not in repr(refused)


# --- bounds --------------------------------------------------------------------------------------


def test_aliases_count_for_all_that_they_stand_for(folder: Path) -> None:
    """Ten lines that would be a thousand million values: the "billion laughs"."""
    lines = ["- &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"- &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]

    refused = refusal("\n".join(lines), folder)

    assert "has more than 200000 values, aliases counted in full" in refused.reason


def test_merging_counts_for_all_that_is_merged(folder: Path) -> None:
    many = ", ".join(f"k{n}: v" for n in range(1000))
    merges = "\n".join("- {<<: *a}" for _ in range(500))

    assert "more than 200000 values" in refusal(f"- &a {{{many}}}\n{merges}", folder).reason


@pytest.mark.parametrize("text", ["[" * 500, "[" * 500_000, "- " * 500_000, "{a: " * 500])
def test_depth_is_bounded(text: str, folder: Path) -> None:
    assert re.search("nested more than 32 deep|not YAML", refusal(text, folder).reason)


def test_pyyaml_without_libyaml_reads_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_libyaml = parse(LISTED + TLS, folder)
    monkeypatch.setattr(document, "_LOADER", yaml.SafeLoader)

    assert parse(LISTED + TLS, folder) == with_libyaml
    assert "nested more than 32 deep" in refusal("[" * 500_000, folder).reason
    assert refusal("- a: b: c\n", folder).place == "line 1, column 7"


def test_a_text_given_inline_is_bounded_too(folder: Path) -> None:
    assert str(refusal("#" * ((1 << 20) + 1), folder)) == "FILE: larger than 1 MiB"


def test_a_text_given_inline_may_be_bytes_that_are_no_text(folder: Path) -> None:
    assert str(refusal("- \udcff", folder)) == "FILE: line 1: is not UTF-8"


def test_more_endpoints_than_the_limit_are_refused(folder: Path) -> None:
    listed = ", ".join(f"h{n}.test:1" for n in range(10_001))

    assert refusal(f"- endpoints: [{listed}]", folder).reason == (
        "lists 10001 endpoints; at most 10000"
    )


# --- what is understood --------------------------------------------------------------------------


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


def test_a_byte_order_mark_is_no_part_of_the_text(folder: Path) -> None:
    (folder / "marked.yaml").write_bytes(b"\xef\xbb\xbf" + (LISTED + TLS).encode())

    assert len(read_configuration(folder / "marked.yaml").groups) == 1


def test_what_loads_but_will_not_work_is_a_warning(folder: Path) -> None:
    fields = "ca_file: servers.crt, cert_file: server.crt, key_file: server.key"

    (warning,) = parse(with_tls(fields), folder).warnings

    assert warning == (
        "[0].tls_config.cert_file: our certificate's extendedKeyUsage does not include clientAuth"
    )


# --- the form that Thanos reads ------------------------------------------------------------------

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
            "cert_file: stranger.crt, key_file: stranger.key",
            "servers.crt",
            "stranger.crt",
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
            "ca_file: clients.crt, cert_file: stranger.crt, key_file: stranger.key,"
            " insecure_skip_verify: false, min_version: '1.3'",
            "clients.crt",
            "stranger.crt",
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


# --- anything at all -----------------------------------------------------------------------------

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
