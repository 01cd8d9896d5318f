"""A wrong or unbounded configuration is refused with the place that is wrong."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mtls_echo_client.endpoints.configuration import yaml_reader as document
from mtls_echo_client.endpoints.configuration.errors import EndpointsError
from mtls_echo_client.endpoints.configuration.read import read_configuration
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.flaws.baseline import ValidationInput
from tests.client.endpoints.configuration.reading import folder as folder
from tests.client.endpoints.configuration.reading import parse, refusal
from tests.support.endpoints import LISTED, TLS, with_tls
from tests.support.pki import unprivileged

REFUSED: list[dict[str, str]] = tomllib.loads(
    Path(__file__).with_name("refusals.toml").read_text("utf-8")
)["refused"]


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


def test_a_text_given_inline_may_be_bytes_that_are_not_text(folder: Path) -> None:
    assert str(refusal("- \udcff", folder)) == "FILE: line 1: is not UTF-8"


def test_more_endpoints_than_the_limit_are_refused(folder: Path) -> None:
    listed = ", ".join(f"h{n}.test:1" for n in range(10_001))

    assert refusal(f"- endpoints: [{listed}]", folder).reason == (
        "lists 10001 endpoints; at most 10000"
    )
