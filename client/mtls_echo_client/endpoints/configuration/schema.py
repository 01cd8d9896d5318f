"""Decode a document strictly, and explain what is wrong with one that does not fit.

`msgspec` decides whether a value has its type. Its verdict is a sentence for programmers, so a
refused value is walked through once more beside its type, for the sentence that a person can act
on: where it is, what is there, what is allowed, and where a misplaced key belongs.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import msgspec
from msgspec import inspect

from mtls_echo_client.endpoints.configuration.errors import EndpointsError

_T = TypeVar("_T")

# For each structure, keys that belong elsewhere, and where.
Misplaced = Mapping[type[msgspec.Struct], Mapping[str, str]]

_QUOTES = "put it in quotes"


def decode(value: object, shape: type[_T], name: str, misplaced: Misplaced) -> _T:
    """The value as ``shape``, strictly: no unknown keys, nothing converted.

    Args:
        value: From `mtls_echo_client.endpoints.configuration.yaml_reader`.
        shape: A `msgspec.Struct`, or a list of them.
        name: Of the file.
        misplaced: For the hints.

    Raises:
        EndpointsError: It is something else.
    """
    try:
        return msgspec.convert(value, shape, strict=True)
    except msgspec.ValidationError as error:
        _Walk(name, misplaced).check(value, inspect.type_info(shape), "")
        raise EndpointsError(name, "", f"cannot be understood: {error}") from error


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _enumeration(words: Sequence[str]) -> str:
    *first, end = words
    return f"{', '.join(first)} and {end}" if first else end


def _kind_of(value: object) -> str:
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


@dataclass(frozen=True)
class _Walk:
    """Looks for the first fault of a value that does not have its type."""

    name: str
    misplaced: Misplaced

    def check(self, value: object, info: inspect.Type, place: str) -> None:
        match info:
            case inspect.UnionType(types=types):
                if value is None and any(isinstance(each, inspect.NoneType) for each in types):
                    return
                first, *others = (each for each in types if not isinstance(each, inspect.NoneType))
                if not (others and isinstance(value, (str, float))):
                    self.check(value, first, place)
            case inspect.ListType(item_type=item):
                if not isinstance(value, list):
                    hint = "put '- ' before it, or brackets around it"
                    reason = f"must be a list, not {_kind_of(value)}"
                    raise self._fault(place, reason, hint if isinstance(value, str) else None)
                for index, each in enumerate(cast("list[object]", value)):
                    self.check(each, item, f"{place}[{index}]")
            case inspect.DictType(value_type=each_type):
                for key, each in self._mapping(value, place).items():
                    self.check(each, each_type, _join(place, key))
            case inspect.StructType():
                fields = self._mapping(value, place, _as_mapping(value, info.fields))
                self._check_structure(fields, info, place)
            case inspect.BoolType():
                if not isinstance(value, bool):
                    raise self._fault(place, f"must be true or false, not {_kind_of(value)}")
            case _:
                if not isinstance(value, str):
                    reason = f"must be a text, not {_kind_of(value)}"
                    raise self._fault(place, reason, _as_text(value))

    def _check_structure(
        self, value: dict[str, object], info: inspect.StructType, place: str
    ) -> None:
        allowed = [field.encode_name for field in info.fields]
        for key in value:
            if key not in allowed:
                raise self._unknown(key, value, info, place)
        for field in info.fields:
            if field.encode_name in value:
                each = _join(place, field.encode_name)
                self.check(value[field.encode_name], field.type, each)
            elif field.required:
                raise self._fault(place, f"{field.encode_name} is missing")

    def _unknown(
        self, key: str, value: dict[str, object], info: inspect.StructType, place: str
    ) -> EndpointsError:
        allowed = [field.encode_name for field in info.fields]
        misplaced = self.misplaced.get(info.cls, {})
        meant = _meant(key, allowed)
        elsewhere = next((each for each in misplaced if _bare(each) == _bare(key)), None)
        if elsewhere is not None and meant is None:
            home = misplaced[elsewhere]
            parent = home.removeprefix("inside ")
            hint = f"write {elsewhere}" if elsewhere != key else None
            if parent in value and not value[parent]:
                # The line above it is there, and nothing is indented under it.
                hint = f"indent {elsewhere} by two more spaces than {parent}"
            return self._fault(place, f"{key} belongs {home}, not here", hint)
        are = "are" if len(allowed) > 1 else "is"
        reason = f"unknown key {key!r}; allowed {are} {_enumeration(allowed)}"
        return self._fault(place, reason, f"write {meant}" if meant else None)

    def _mapping(self, value: object, place: str, hint: str | None = None) -> dict[str, object]:
        if not isinstance(value, dict):
            raise self._fault(place, f"must be a mapping, not {_kind_of(value)}", hint)
        return cast("dict[str, object]", value)

    def _fault(self, place: str, reason: str, hint: str | None = None) -> EndpointsError:
        return EndpointsError(self.name, place, reason, hint)


def _meant(key: str, allowed: Sequence[str]) -> str | None:
    same = [each for each in allowed if _bare(each) == _bare(key)]
    # Of a long key nothing is close, and comparing it takes its time.
    near = difflib.get_close_matches(key[:50], allowed, n=1, cutoff=0.75)
    return next(iter(same or near), None)


def _bare(key: str) -> str:
    return re.sub(r"[\W_]", "", key).lower()


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
