"""Read YAML and JSON from untrusted text into plain values.

YAML 1.1, of which JSON is a part, read event by event rather than by a loader: a loader builds
first and asks afterwards. A key that is there twice is refused (loaders take the last). No tag
makes an object. Aliases and merge keys (``<<``) count for all that they stand for, so that ten
lines cannot become a gigabyte. Size, depth and number of values have bounds.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentEndEvent,
    Event,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.nodes import ScalarNode
from yaml.resolver import Resolver

from mtls_echo_client.endpoints.configuration.errors import EndpointsError
from mtls_echo_client.endpoints.configuration.yaml_hints import explain, lower, position
from mtls_echo_pki.files.durable import MAX_FILE_SIZE, read_file

# Many times what 10,000 endpoints need.
MAX_VALUES = 200_000
MAX_DEPTH = 32

# No number in a configuration is longer; as a text it is refused like any other.
_LONGEST_NUMBER = 32

_TAG = "tag:yaml.org,2002:"
_BOOLEANS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}

# libyaml where PyYAML was built with it: twenty times as fast, the same events.
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_text(path: Path, name: str) -> str:
    """The contents of a regular file of at most 1 MiB.

    Raises:
        EndpointsError: It cannot be read, or is not UTF-8.
    """
    try:
        return decode_text(read_file(path), name)
    except OSError as error:
        reason = unreadable(error, path)
        raise EndpointsError(name, "", reason, "name a YAML file that you may read") from error


def decode_text(contents: bytes, name: str) -> str:
    """UTF-8, with or without a byte order mark.

    Raises:
        EndpointsError: It is not.
    """
    try:
        return contents.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = contents.count(b"\n", 0, error.start) + 1
        raise EndpointsError(name, f"line {line}", "is not UTF-8") from error


def unreadable(error: OSError, path: Path) -> str:
    """Why a file cannot be read, in one clause."""
    if isinstance(error, FileNotFoundError):
        return "is a link to a file that does not exist" if path.is_symlink() else "does not exist"
    if error.errno == errno.EISDIR:
        return "is a directory, not a file"
    return lower(error.strerror or os.strerror(error.errno or 0))


def parse_yaml(text: str, name: str, *, strings_only: bool = False) -> object:
    """The one value of a document: mappings, lists, strings, numbers, booleans and None.

    Args:
        text: YAML 1.1, at most 1 MiB.
        name: For messages.
        strings_only: Read every scalar but null as the string it is written as.

    Raises:
        EndpointsError: It is not YAML, is empty, is two documents, or passes a bound.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise EndpointsError(name, f"line {line}", "is not UTF-8") from error
    if size > MAX_FILE_SIZE:
        raise EndpointsError(name, "", "larger than 1 MiB")
    try:
        return _Builder(text, name, strings_only).document()
    except yaml.YAMLError as error:
        raise explain(error, text, name) from error


def parse_json(text: str, name: str) -> object:
    """The value of a JSON text (RFC 8259), where no object has a name twice.

    Raises:
        EndpointsError: It is not.
    """

    def pairs(found: list[tuple[str, object]]) -> dict[str, object]:
        result: dict[str, object] = {}
        for key, value in found:
            if key in result:
                raise EndpointsError(name, "", f"the key {key!r} is there twice in one mapping")
            result[key] = value
        return result

    try:
        return cast("object", json.loads(text, object_pairs_hook=pairs))
    except json.JSONDecodeError as error:
        if not text.strip():
            raise EndpointsError(name, "", "is empty") from error
        what = f"is not JSON: {lower(error.msg).removesuffix(' at')}"
        raise EndpointsError(name, position(error.lineno - 1, error.colno - 1), what) from error
    except (RecursionError, ValueError) as error:
        raise EndpointsError(name, "", "is nested too deeply, or has too long a number") from error


class _Builder:
    """Values from events."""

    def __init__(self, text: str, name: str, strings_only: bool) -> None:
        self._events: Iterator[Event] = yaml.parse(text, Loader=_LOADER)
        # What YAML takes a scalar for that has no quotes and no tag.
        self._kind = cast("Callable[[object, str, object], str]", Resolver().resolve)  # pyright: ignore[reportUnknownMemberType]  its stubs have no types
        self._name = name
        self._strings_only = strings_only
        # What an anchor stands for, and how many values that is.
        self._anchors: dict[str, tuple[object, int]] = {}
        self._count = 0

    def document(self) -> object:
        next(self._events)  # the stream's start
        if isinstance(next(self._events), StreamEndEvent):
            raise EndpointsError(self._name, "", "is empty")
        value = self._value(next(self._events), 1)
        while isinstance(event := next(self._events), DocumentEndEvent):
            pass
        if not isinstance(event, StreamEndEvent):
            raise self._error(event, "a second document begins here; one is read")
        if value is None:
            raise EndpointsError(self._name, "", "is empty")
        return value

    def _value(self, event: Event, depth: int) -> object:
        before = self._count
        self._add(1, event)
        if depth > MAX_DEPTH:
            raise self._error(event, f"is nested more than {MAX_DEPTH} deep")
        value: object
        match event:
            case AliasEvent():
                return self._alias(event)
            case ScalarEvent():
                value = self._scalar(event)
            case SequenceStartEvent():
                self._refuse_tag(event, "seq")
                value = [self._value(item, depth + 1) for item in self._items()]
            case MappingStartEvent():
                self._refuse_tag(event, "map")
                value = self._mapping(depth)
            case _:
                raise self._error(event, "is not a value")
        if event.anchor is not None:
            self._anchors[event.anchor] = value, self._count - before
        return value

    def _items(self) -> Iterator[Event]:
        while not isinstance(event := next(self._events), CollectionEndEvent):
            yield event

    def _mapping(self, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        merged: list[dict[str, object]] = []
        for key in self._items():
            self._add(1, key)
            if not isinstance(key, ScalarEvent):
                self._value(key, depth + 1)  # [::1]:8443 is read as one
                raise self._error(key, "a key must be a text")
            self._refuse_tag(key, "str")
            event = next(self._events)
            value = self._value(event, depth + 1)
            if key.value == "<<" and key.implicit[0]:
                merged += self._merged(event, value)
            elif key.value in found:
                raise self._error(key, f"the key {key.value!r} is there twice in one mapping")
            else:
                found[key.value] = value
        for other in merged:  # the first that has a key gives it
            for name, value in other.items():
                found.setdefault(name, value)
        return found

    def _merged(self, event: Event, value: object) -> list[dict[str, object]]:
        several = cast("list[object]", value) if isinstance(value, list) else [value]
        for each in several:
            if not isinstance(each, dict):
                raise self._error(event, "<< merges mappings, and this is not one")
            # Copied once more into the mapping that it is merged into.
            self._add(len(cast("dict[str, object]", each)), event)
        return cast("list[dict[str, object]]", several)

    def _scalar(self, event: ScalarEvent) -> object:
        text = event.value
        if event.tag is not None:
            self._refuse_tag(event, "str")
            return text
        kind = self._kind(ScalarNode, text, event.implicit).removeprefix(_TAG)
        if kind == "null":
            return None
        if self._strings_only:
            return text
        if kind == "bool":
            return _BOOLEANS[text.lower()]
        if kind in ("int", "float") and len(text) <= _LONGEST_NUMBER:
            try:
                return float(text)
            except ValueError:
                return text  # 0x1f, .inf, 1:30: numbers that nothing here is written as
        return text

    def _alias(self, event: AliasEvent) -> object:
        if (anchor := str(event.anchor)) not in self._anchors:
            raise self._error(event, f"*{anchor} stands for nothing that is complete here")
        value, count = self._anchors[anchor]
        self._add(count - 1, event)
        return value

    def _add(self, values: int, event: Event) -> None:
        self._count += values
        if self._count > MAX_VALUES:
            raise self._error(event, f"has more than {MAX_VALUES} values, aliases counted in full")

    def _refuse_tag(
        self, event: ScalarEvent | SequenceStartEvent | MappingStartEvent, allowed: str
    ) -> None:
        tag = event.tag
        if tag not in (None, "!", _TAG + allowed):
            raise self._error(event, f"the tag {tag} has no meaning here")

    def _error(self, event: Event, reason: str) -> EndpointsError:
        mark = event.start_mark
        place = position(mark.line, mark.column) if mark is not None else ""
        return EndpointsError(self._name, place, reason)
