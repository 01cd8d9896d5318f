"""Find and parse target files: each is used whole or not at all.

Prometheus calls it file-based service discovery: a list of ``{targets, labels}``, as JSON or YAML
by the file's suffix. In YAML every scalar is a text, as Prometheus decodes it. One target that
cannot be read refuses its file: the rest of it may still be being written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import filter as matching
from pathlib import Path

import msgspec

from mtls_echo_client.endpoints.configuration.errors import EndpointsError
from mtls_echo_client.endpoints.configuration.schema import Misplaced, decode
from mtls_echo_client.endpoints.configuration.yaml_reader import (
    decode_text,
    parse_json,
    parse_yaml,
)
from mtls_echo_client.endpoints.groups import MAX_ENDPOINTS, ServerEntry, read_server

# The label that says which file a target is from.
FILEPATH = "__meta_filepath"

# One pattern finds no more.
MAX_FILES = 1000


class _TargetGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    targets: list[str] | None = None
    labels: dict[str, str | None] | None = None


_MISPLACED: Misplaced = {
    _TargetGroup: {
        "endpoints": "to the configuration; here it is targets",
        **dict.fromkeys(("tls_config", "mode", "name"), "to the configuration"),
    }
}


@dataclass(frozen=True)
class Target:
    """One target of a file, with its group's labels and `FILEPATH`."""

    server: ServerEntry
    labels: Mapping[str, str]


def find_files(pattern: Path) -> list[Path]:
    """The files that a pattern means, in the order of their names.

    ``*`` in the last segment stands for anything but a dot at its beginning, where editors put
    their temporary files; no other character is special.

    Raises:
        OSError: The folder cannot be listed, or a file in it cannot be examined.
        ValueError: There are more than 1000.
    """
    if "*" not in pattern.name:
        try:
            pattern.lstat()
        except FileNotFoundError:
            return []
        return [pattern]
    exact = pattern.name.replace("[", "[[]").replace("?", "[?]")
    with os.scandir(pattern.parent) as entries:
        names = matching((entry.name for entry in entries), exact)
    found = sorted(name for name in names if pattern.name[0] == "." or name[0] != ".")
    if len(found) > MAX_FILES:
        raise ValueError(f"matches {len(found)} files; at most {MAX_FILES}")
    return [pattern.parent / name for name in found]


def parse_targets(contents: bytes, path: Path) -> tuple[Target, ...]:
    """The targets of a file, in their order.

    Args:
        contents: UTF-8; JSON if the suffix is ``.json``, else YAML.
        path: For the suffix, the label and messages.

    Raises:
        EndpointsError: It is not a list of ``{targets, labels}`` with ``HOST:PORT`` as targets.
    """
    name = str(path)
    text = decode_text(contents, name)
    is_json = path.suffix.lower() == ".json"
    document = parse_json(text, name) if is_json else parse_yaml(text, name, strings_only=True)
    groups = decode(document, list[_TargetGroup], name, _MISPLACED)
    if (count := sum(len(group.targets or ()) for group in groups)) > MAX_ENDPOINTS:
        raise EndpointsError(name, "", f"has {count} targets; at most {MAX_ENDPOINTS}")
    return tuple(
        target
        for index, group in enumerate(groups)
        for target in _targets(group, f"[{index}]", name)
    )


def _targets(group: _TargetGroup, place: str, name: str) -> list[Target]:
    labels = {key: value or "" for key, value in (group.labels or {}).items()}
    for key, value in labels.items():
        if not key or not _is_text(key + value):
            raise EndpointsError(name, f"{place}.labels", f"{key!r} is not a label")
    labels[FILEPATH] = name
    found: list[Target] = []
    for index, text in enumerate(group.targets or ()):
        here = f"{place}.targets[{index}]"
        try:
            found.append(Target(read_server(text, here), labels))
        except ValueError as error:
            raise EndpointsError(name, here, str(error)) from error
    return found


def _is_text(text: str) -> bool:
    """JSON can write half a surrogate pair, which no terminal can show."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
