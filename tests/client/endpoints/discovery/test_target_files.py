"""Do target files mean what they mean to Prometheus, whatever happens to them?"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mtls_echo_client.endpoints.configuration.errors import EndpointsError
from mtls_echo_client.endpoints.discovery.target_files import Discovery
from mtls_echo_client.endpoints.discovery.targets import find_files, parse_targets
from mtls_echo_client.endpoints.plan import Problem
from mtls_echo_pki.files.atomic_writer import publish
from mtls_echo_pki.files.durable import replace_file
from tests.support.pki import unprivileged


def written(*targets: str, **labels: str) -> bytes:
    return json.dumps([{"targets": targets, "labels": labels}]).encode()


def named(discovery: Discovery, pattern: Path) -> list[str]:
    """What a pattern's files name, in order."""
    return [
        target.server.written for found in discovery.found(pattern) for target in found.targets
    ]


def troubles(discovery: Discovery, pattern: Path) -> list[Problem]:
    of_files = [found.problem for found in discovery.found(pattern)]
    return [*discovery.problems, *(each for each in of_files if each is not None)]


# --- what a file says ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        (
            "t.json",
            '[{"targets": ["a.test:1", "dns+b.test:2"], "labels": {"job": "x"}},'
            ' {"targets": ["c.test:3"]}]',
        ),
        (
            "t.yml",
            "- targets: [a.test:1, dns+b.test:2]\n  labels: {job: x}\n- targets:\n  - c.test:3\n",
        ),
        (
            "t.yaml",
            "- {targets: [a.test:1, 'dns+b.test:2'], labels: {job: x}}\n- targets: [c.test:3]",
        ),
        (
            "t.JSON",
            '[{"labels":{"job":"x"},"targets":["a.test:1","dns+b.test:2"]},'
            '{"targets":["c.test:3"],"labels":null}]',
        ),
    ],
    ids=["JSON", "YAML", "YAML in flow style", "JSON in capitals"],
)
def test_targets_and_labels_are_read_by_the_suffix_of_the_file(name: str, contents: str) -> None:
    targets = parse_targets(contents.encode(), Path("/x") / name)

    assert [(each.server.written, each.server.place) for each in targets] == [
        ("a.test:1", "[0].targets[0]"),
        ("dns+b.test:2", "[0].targets[1]"),
        ("c.test:3", "[1].targets[0]"),
    ]
    assert [each.server.is_name for each in targets] == [False, True, False]
    assert targets[0].labels == {"job": "x", "__meta_filepath": f"/x/{name}"}
    assert targets[2].labels == {"__meta_filepath": f"/x/{name}"}


def test_in_yaml_every_scalar_is_a_text_as_prometheus_decodes_it() -> None:
    text = b"- targets: [a.test:1]\n  labels: {on: yes, port: 0x1f, day: 2026-01-01, none: ~}\n"

    (target,) = parse_targets(text, Path("t.yml"))

    assert dict(target.labels) == {
        "on": "yes",
        "port": "0x1f",
        "day": "2026-01-01",
        "none": "",
        "__meta_filepath": "t.yml",
    }


@pytest.mark.parametrize(("name", "contents"), [("t.json", b"[]"), ("t.yml", b"[]")])
def test_a_file_may_name_no_targets(name: str, contents: bytes) -> None:
    assert parse_targets(contents, Path(name)) == ()


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        pytest.param("t.json", '[{"targets": ["a.test:1', "line 1, column 15: is not JSON: "
            "unterminated string starting", id="half-written JSON"),
        pytest.param("t.json", "", "is empty", id="empty JSON"),
        pytest.param("t.yml", "", "is empty", id="empty YAML"),
        pytest.param("t.json", "- targets: []", "line 1, column 1: is not JSON: expecting value",
            id="YAML in a JSON file"),
        pytest.param("t.json", '{"targets": ["a.test:1"]}', "must be a list, not a mapping",
            id="no list"),
        pytest.param("t.json", "[null]", "[0]: must be a mapping, not nothing", id="a nil item"),
        pytest.param("t.yml", "- targets: [a.test:1]\n-\n", "[1]: must be a mapping, not nothing",
            id="a nil item in YAML"),
        pytest.param("t.json", '[{"target": ["a.test:1"]}]',
            "[0]: unknown key 'target'; allowed are targets and labels", id="an unknown key"),
        pytest.param("t.yml", "- endpoints: [a.test:1]",
            "[0]: endpoints belongs to the configuration; here it is targets, not here",
            id="a key of the configuration"),
        pytest.param("t.json", '[{"targets": "a.test:1"}]',
            "[0].targets: must be a list, not a text", id="targets as a text"),
        pytest.param("t.json", '[{"targets": [1]}]', "[0].targets[0]: must be a text, not the "
            "number 1", id="a number"),
        pytest.param("t.json", '[{"targets": [], "labels": {"a": 1}}]',
            "[0].labels.a: must be a text, not the number 1", id="a number for a label"),
        pytest.param("t.json", '[{"targets": [], "labels": {"": "x"}}]',
            "[0].labels: '' is not a label", id="a label without a name"),
        pytest.param("t.json", '[{"targets": [], "labels": {"a": "\\ud800"}}]',
            "[0].labels: 'a' is not a label", id="half a character"),
        pytest.param("t.json", '[{"targets": [], "targets": ["a.test:1"]}]',
            "the key 'targets' is there twice in one mapping", id="a key twice"),
        pytest.param("t.yml", "- targets: ['']",
            "[0].targets[0]: '' is not HOST:PORT: both must be given", id="an empty target"),
        pytest.param("t.yml", "- targets: [a.test]",
            "[0].targets[0]: 'a.test' is not HOST:PORT: both must be given", id="no port"),
        pytest.param("t.yml", "- targets: ['https://a.test:1']",
            "[0].targets[0]: 'https://a.test:1' is a URL; write only host and port: a.test:1",
            id="a URL"),
        pytest.param("t.json", "[" * 100_000, "is nested too deeply, or has too long a number",
            id="too deep"),
        pytest.param("t.json", f"[{'9' * 10_000}]",
            "is nested too deeply, or has too long a number", id="too long a number"),
        pytest.param("t.json", json.dumps([{"targets": ["a.test:1"] * 10_001}]),
            "has 10001 targets; at most 10000", id="too many targets"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_whole_with_the_place_in_it(
    name: str, contents: str, message: str
) -> None:
    with pytest.raises(EndpointsError) as refused:
        parse_targets(contents.encode(), Path("/x") / name)

    assert str(refused.value) == f"/x/{name}: {message}"


_ANY = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=6) | st.just("a.test:1"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["targets", "labels"]) | st.text(max_size=3), inner)
    ),
    max_leaves=8,
)


@given(value=_ANY | st.lists(st.dictionaries(st.sampled_from(["targets", "labels"]), _ANY)))
def test_any_value_is_targets_or_refused(value: object) -> None:
    for suffix, text in ((".json", json.dumps(value)), (".yml", yaml.safe_dump(value))):
        message = ""
        try:
            parse_targets(text.encode(), Path(f"t{suffix}"))
        except EndpointsError as error:
            message = str(error)
        assert message.isprintable()


# --- which files ---------------------------------------------------------------------------------


def test_a_star_stands_for_anything_in_the_last_segment_only(tmp_path: Path) -> None:
    for name in ("b.json", "a.json", "a.yml", ".hidden.json", "a[1].json", "a1.json"):
        (tmp_path / name).touch()
    (tmp_path / "*").mkdir()
    (tmp_path / "*" / "c.json").touch()

    def found(pattern: str) -> list[str]:
        return [path.name for path in find_files(tmp_path / pattern)]

    assert found("*.json") == ["a.json", "a1.json", "a[1].json", "b.json"]
    assert found("a*.json") == ["a.json", "a1.json", "a[1].json"]
    assert found("*1*.json") == ["a1.json", "a[1].json"]
    assert found("a[1].json") == ["a[1].json"]  # no other character is special
    assert found("a[1]*.json") == ["a[1].json"]
    assert found(".*.json") == [".hidden.json"]
    assert found("absent*.json") == []


def test_a_pattern_matches_a_bounded_number_of_files(tmp_path: Path) -> None:
    for number in range(1001):
        (tmp_path / f"{number}.json").touch()

    looked = Discovery().look([tmp_path / "*.json"])

    assert looked.problems == (
        Problem(str(tmp_path / "*.json"), "matches 1001 files; at most 1000"),
    )


# --- what happens to them ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rewrite",
    [
        pytest.param(lambda path, contents: path.write_bytes(contents), id="in place"),
        pytest.param(lambda path, contents: replace_file(path, contents, 0o644), id="by rename"),
    ],
)
def test_a_changed_file_is_read_anew(
    rewrite: Callable[[Path, bytes], object], tmp_path: Path
) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(written("a.test:1"))
    before = Discovery().look([path])
    rewrite(path, written("b.test:1", "c.test:1"))

    after = before.look([path])

    assert named(before, path) == ["a.test:1"]
    assert named(after, path) == ["b.test:1", "c.test:1"]
    assert troubles(after, path) == []


def test_a_change_is_seen_though_time_and_size_stay(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(written("a.test:1"))
    before = Discovery().look([path])
    status = path.stat()
    path.write_bytes(written("b.test:1"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert named(before.look([path]), path) == ["b.test:1"]


def test_a_half_written_file_keeps_its_targets_until_it_is_whole(tmp_path: Path) -> None:
    path, whole = tmp_path / "t.json", written("b.test:1")
    path.write_bytes(written("a.test:1"))
    looked = Discovery().look([path])
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        looked = looked.look([path])

        assert named(looked, path) == ["a.test:1"]
        (problem,) = troubles(looked, path)
        assert problem.where == str(path)

    path.write_bytes(whole)
    looked = looked.look([path])

    assert named(looked, path) == ["b.test:1"]
    assert troubles(looked, path) == []


def seen_once(folder: Path) -> tuple[Path, Discovery]:
    """A file with one target, and what was found in it."""
    path = folder / "t.json"
    path.write_bytes(written("a.test:1"))
    return path, Discovery().look([path])


def test_a_file_that_becomes_what_it_was_is_not_a_problem_any_more(tmp_path: Path) -> None:
    path, looked = seen_once(tmp_path)
    for contents in (b"[", written("a.test:1")):
        path.write_bytes(contents)
        looked = looked.look([path])

    assert named(looked, path) == ["a.test:1"]
    assert troubles(looked, path) == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(lambda path: path.mkdir(), "is a directory, not a file", id="a directory"),
        pytest.param(os.mkfifo, "not a regular file", id="a pipe"),
        pytest.param(
            lambda path: path.symlink_to("nowhere"),
            "is a link to a file that does not exist",
            id="a link to nowhere",
        ),
        pytest.param(
            lambda path: path.write_bytes(b" " * ((1 << 20) + 1)), "larger than 1 MiB", id="huge"
        ),
        pytest.param(lambda path: path.write_bytes(b"\xff"), "line 1: is not UTF-8", id="bytes"),
    ],
)
def test_a_file_that_cannot_be_read_keeps_its_targets(
    spoil: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    path, looked = seen_once(tmp_path)
    path.unlink()
    spoil(path)

    looked = looked.look([path])

    assert named(looked, path) == ["a.test:1"]
    assert troubles(looked, path) == [Problem(str(path), message)]


def test_a_folder_that_may_not_be_entered_keeps_the_targets_of_its_files(tmp_path: Path) -> None:
    """A file whose status may not be read is not a file that is gone."""
    folder = tmp_path / "targets"
    folder.mkdir()
    path = folder / "t.json"
    path.write_bytes(written("a.test:1"))
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(parent.stat().st_mode | 0o111)
    looked = Discovery().look([path])
    folder.chmod(0)
    try:
        with unprivileged():
            looked = looked.look([path])
    finally:
        folder.chmod(0o700)

    assert named(looked, path) == ["a.test:1"]
    assert Problem(str(folder), "permission denied") in troubles(looked, path)


def test_a_deleted_file_has_no_targets(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_bytes(written(f"{name}.test:1"))
    pattern = tmp_path / "*.json"
    looked = Discovery().look([pattern])
    (tmp_path / "a.json").unlink()

    looked = looked.look([pattern])

    assert named(looked, pattern) == ["b.test:1"]
    assert troubles(looked, pattern) == []


def test_a_file_that_was_named_outright_is_missed(tmp_path: Path) -> None:
    path, looked = seen_once(tmp_path)
    path.unlink()

    looked = looked.look([path])

    assert named(looked, path) == []
    assert troubles(looked, path) == [Problem(str(path), "does not exist, and names no targets")]


def test_a_folder_that_is_gone_has_no_files(tmp_path: Path) -> None:
    folder = tmp_path / "targets"
    folder.mkdir()
    (folder / "t.json").write_bytes(written("a.test:1"))
    looked = Discovery().look([folder / "*.json"])
    folder.rename(tmp_path / "elsewhere")

    looked = looked.look([folder / "*.json"])

    assert named(looked, folder / "*.json") == []
    assert looked.problems == (Problem(str(folder), "does not exist, and names no targets"),)


def test_new_files_are_picked_up_in_the_order_of_their_names(tmp_path: Path) -> None:
    pattern = tmp_path / "*.json"
    looked = Discovery()
    for name in ("b", "c", "a"):
        (tmp_path / f"{name}.json").write_bytes(written(f"{name}.test:1"))
        looked = looked.look([pattern])

    assert named(looked, pattern) == ["a.test:1", "b.test:1", "c.test:1"]


def test_a_folder_that_swaps_a_link_is_followed(tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap: the file's own link never changes."""
    pattern = tmp_path / "*.json"
    publish(tmp_path, {"t.json": written("a.test:1")}, {})
    before = Discovery().look([pattern])
    publish(tmp_path, {"t.json": written("b.test:1")}, {})

    assert named(before, pattern) == ["a.test:1"]
    assert named(before.look([pattern]), pattern) == ["b.test:1"]


def test_a_link_to_another_file_is_followed(tmp_path: Path) -> None:
    link = tmp_path / "t.json"
    for name in ("a", "b"):
        (tmp_path / f"{name}.targets").write_bytes(written(f"{name}.test:1"))
    link.symlink_to("a.targets")
    before = Discovery().look([link])
    (tmp_path / "next").symlink_to("b.targets")
    (tmp_path / "next").replace(link)

    assert named(before.look([link]), link) == ["b.test:1"]


def test_what_has_not_changed_is_not_parsed_again(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(written("a.test:1"))
    before = Discovery().look([path])

    assert before.look([path]).found(path)[0] is before.found(path)[0]


def test_a_pattern_that_is_not_asked_for_any_more_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(written("a.test:1"))
    looked = Discovery().look([path]).look([])

    assert looked.found(path) == ()
    path.write_bytes(b"[")
    assert named(looked.look([path]), path) == []
