"""Hints for a text that is not YAML: the mistakes that people make most often.

The parser says where it gave up, which is seldom where the mistake is: a quote that is never
closed is missed at the end of the file, a colon on the line below. So the place is the one where
the unfinished thing began, and the line there is looked at for what an editor leaves in it.
"""

from __future__ import annotations

import re
import unicodedata

import yaml

from mtls_echo_client.endpoints.configuration.errors import EndpointsError

# What begins something else than a text, and stands at the beginning of patterns and passwords.
_INDICATORS = "*&%@`!|>"

_IPV6 = re.compile(r"(?<![\"'])(\[[0-9A-Fa-f]*:[0-9A-Fa-f:.]*\]:\d+)")

_QUOTE_IPV6 = 'put an IPv6 address in quotes: "[::1]:8443"'


def position(line: int, column: int) -> str:
    """A place as editors count it, of numbers from 0."""
    return f"line {line + 1}, column {column + 1}"


def explain(error: yaml.YAMLError, text: str, name: str) -> EndpointsError:
    """The error that a person can act on, from the parser's about ``text``."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        reason = getattr(error, "reason", None) or getattr(error, "problem", None) or "unreadable"
        at = getattr(error, "position", None)
        place = "" if at is None else f"line {1 + text.encode().count(10, 0, at)}"
        return EndpointsError(name, place, f"is not YAML: {lower(str(reason))}")
    lines, mark, begun = text.splitlines(), error.problem_mark, error.context_mark
    problem = lower(error.problem or "")
    is_cut_off = mark.line >= len(lines)
    if begun is not None and (is_cut_off or error.context == "while scanning a simple key"):
        mark, problem = begun, f"{problem} {error.context}"
    line = lines[mark.line] if mark.line < len(lines) else ""
    hint = (
        _in_the_line(line, lines[: mark.line])
        or _before(problem, line[: mark.column], lines[: mark.line])
        or ("the end is missing: was the file being written?" if is_cut_off else None)
        or _at(error, line)
    )
    return EndpointsError(name, position(mark.line, mark.column), f"is not YAML: {problem}", hint)


def _in_the_line(line: str, above: list[str]) -> str | None:
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "YAML is indented with spaces, never with tabs"
    if (strange := next((c for c in line if _looks_like_a_space(c)), None)) is not None:
        called = unicodedata.name(strange, "control character").lower()
        return f"there is a {called} (U+{ord(strange):04X}) in this line: write ordinary spaces"
    is_key = line[:1].isalpha() and ":" in line
    if is_key and any(each.startswith("- ") for each in above):
        return "indent this line by two spaces: it belongs to the list item above it"
    return _QUOTE_IPV6 if _IPV6.search(line) else None


def _before(problem: str, start: str, above: list[str]) -> str | None:
    """About a value where none may be: a line without a colon goes on in the next one."""
    if not problem.startswith("mapping values are not allowed"):
        return None
    if ": " in start:
        return "put in quotes what contains a colon and a space"
    last = above[-1] if above else ""
    if any(map(_looks_like_a_space, last)):
        return f"in the line above, {_in_the_line(last, [])}"
    if ": " in last:
        return "begin it in the same column as the key in the line above"
    return "in the line above, write a colon and a space after the key"


def _looks_like_a_space(character: str) -> bool:
    """What a web page or a messenger writes in place of a space, or beside it."""
    return character not in " \t" and unicodedata.category(character) in ("Zs", "Cf")


def _at(error: yaml.MarkedYAMLError, line: str) -> str | None:
    """About the place that the parser names."""
    mark, begun = error.problem_mark, error.context_mark
    if error.context == "while scanning a simple key":
        return "write a colon and a space after the key"
    for each in (mark, begun):
        if each is not None and line[each.column : each.column + 1] in tuple(_INDICATORS):
            return f"put in quotes what begins with {line[each.column]}"
    if not mark or not begun or error.context != "while parsing a block mapping":
        return None
    if line[: mark.column].isspace() and mark.column != begun.column:
        return f"begin it in column {begun.column + 1}, as the other keys of this mapping"
    return None


def lower(text: str) -> str:
    """A message, to be continued from a place."""
    return text[:1].lower() + text[1:]
