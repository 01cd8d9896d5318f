"""Decode a document strictly, and explain what is wrong with one that does not fit.

`msgspec` decides whether a value has its type; nothing passes that it does not pass. Its verdict
is a sentence for programmers, so a refused value is walked through once more beside its type, for
the sentence that a person can act on: where it is, what is there, what is allowed, and where a
key that stands in the wrong place belongs.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

import msgspec
from msgspec import inspect

from mtls_echo_client.endpoints.configuration.errors import EndpointsError

_T = TypeVar("_T")

# For each structure, keys that belong elsewhere, and where.
Misplaced = Mapping[type[msgspec.Struct], Mapping[str, str]]

_QUOTES = "put it in quotes"


class _Fault(Exception):
    """Found on the walk.

    Attributes:
        place: Where.
        reason: What.
        hint: The way out.
    """

    def __init__(self, place: str, reason: str, hint: str | None = None) -> None:
        super().__init__(place, reason, hint)
        self.place = place
        self.reason = reason
        self.hint = hint


def decode(value: object, shape: type[_T], name: str, misplaced: Misplaced) -> _T:
    """The value as ``shape``, strictly: no unknown keys, nothing converted.

    Args:
        value: From `mtls_echo_client.endpoints.configuration.yaml_reader`.
        shape: A `msgspec.Struct`, or a list of them.
        name: Of the file.
        misplaced: Advice about keys.

    Raises:
        EndpointsError: It is something else.
    """
    try:
        return msgspec.convert(value, shape, strict=True)
    except msgspec.ValidationError as error:
        try:
            _walk(value, inspect.type_info(shape), "", misplaced)
        except _Fault as fault:
            raise EndpointsError(name, fault.place, fault.reason, fault.hint) from error
        raise EndpointsError(name, "", f"cannot be understood: {error}") from error


def join(place: str, key: str) -> str:
    """The place of a key inside a mapping."""
    return f"{place}.{key}" if place else key


def enumeration(words: Sequence[str], last: str = "and") -> str:
    """``a, b and c``."""
    *first, end = words
    return f"{', '.join(first)} {last} {end}" if first else end


def kind_of(value: object) -> str:
    """What a value is, in words."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case float() | int():
            return f"the number {value:g}"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "a mapping"


def _walk(value: object, info: inspect.Type, place: str, misplaced: Misplaced) -> None:
    match info:
        case inspect.UnionType(types=types):
            if value is None and any(isinstance(each, inspect.NoneType) for each in types):
                return
            first, *others = (each for each in types if not isinstance(each, inspect.NoneType))
            if others and isinstance(value, (str, float)):
                return
            _walk(value, first, place, misplaced)
        case inspect.ListType(item_type=item):
            if not isinstance(value, list):
                raise _Fault(place, f"must be a list, not {kind_of(value)}", _listed(value))
            for index, each in enumerate(cast("list[object]", value)):
                _walk(each, item, f"{place}[{index}]", misplaced)
        case inspect.DictType(value_type=each_type):
            for key, each in _mapping(value, place).items():
                _walk(each, each_type, join(place, key), misplaced)
        case inspect.StructType():
            fields = _mapping(value, place, _as_mapping(value, info.fields))
            _walk_structure(fields, info, place, misplaced)
        case inspect.BoolType():
            if not isinstance(value, bool):
                raise _Fault(place, f"must be true or false, not {kind_of(value)}")
        case _:
            if not isinstance(value, str):
                raise _Fault(place, f"must be a text, not {kind_of(value)}", _as_text(value))


def _walk_structure(
    value: dict[str, object], info: inspect.StructType, place: str, misplaced: Misplaced
) -> None:
    allowed = [field.encode_name for field in info.fields]
    for key in value:
        if key not in allowed:
            raise _unknown(key, value, allowed, place, misplaced.get(info.cls, {}))
    for field in info.fields:
        if field.encode_name in value:
            each = join(place, field.encode_name)
            _walk(value[field.encode_name], field.type, each, misplaced)
        elif field.required:
            raise _Fault(place, f"{field.encode_name} is missing")


def _unknown(
    key: str,
    value: dict[str, object],
    allowed: Sequence[str],
    place: str,
    misplaced: Mapping[str, str],
) -> _Fault:
    meant = _meant(key, allowed)
    elsewhere = next((each for each in misplaced if _bare(each) == _bare(key)), None)
    if elsewhere is not None and meant is None:
        home = misplaced[elsewhere]
        parent = home.removeprefix("inside ")
        hint = f"write {elsewhere}" if elsewhere != key else None
        if parent in value and not value[parent]:
            # The line above it is there, and nothing is indented under it.
            hint = f"indent {elsewhere} by two more spaces than {parent}"
        return _Fault(place, f"{key} belongs {home}, not here", hint)
    return _Fault(
        place,
        f"unknown key {key!r}; allowed {'are' if len(allowed) > 1 else 'is'}"
        f" {enumeration(allowed)}",
        f"write {meant}" if meant else None,
    )


def _meant(key: str, allowed: Sequence[str]) -> str | None:
    same = [each for each in allowed if _bare(each) == _bare(key)]
    # Of a long key nothing is close, and comparing it takes its time.
    near = difflib.get_close_matches(key[:50], allowed, n=1, cutoff=0.75)
    return next(iter(same or near), None)


def _bare(key: str) -> str:
    return re.sub(r"[\W_]", "", key).lower()


def _mapping(value: object, place: str, hint: str | None = None) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _Fault(place, f"must be a mapping, not {kind_of(value)}", hint)
    return cast("dict[str, object]", value)


def _listed(value: object) -> str | None:
    return "put '- ' before it, or brackets around it" if isinstance(value, str) else None


def _as_mapping(value: object, fields: Sequence[inspect.Field]) -> str | None:
    if not isinstance(value, str):
        return None
    if value.partition(":")[0] in [field.encode_name for field in fields]:
        return "write a space after the colon"
    required = [field.encode_name for field in fields if field.required]
    return f"write {required[0]}: {value}" if required else None


def _as_text(value: object) -> str | None:
    if isinstance(value, bool):
        return f"YAML reads yes, no, on and off as true and false: {_QUOTES}"
    if isinstance(value, float):
        return _QUOTES
    is_pair = isinstance(value, dict) and len(cast("dict[str, object]", value)) == 1
    return "leave no space after the colon, or put it in quotes" if is_pair else None
