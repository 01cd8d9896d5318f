"""Requests and responses as values, and a table of what answers which."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import parse_qs, urlsplit

import msgspec

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
JSON = "application/json"
BYTES = "application/octet-stream"

# What a page may do: nothing at all (CSP level 3). A page of HTML allows its own style besides.
NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@dataclass(frozen=True)
class ReceivedRequest:
    """A request, its body read.

    Attributes:
        path, query: Of its target, whether that was in origin form or absolute (RFC 9112 §3.2);
            the query's fields, the last of each name.
        headers: By their name in lower case, the last of each.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""

    @classmethod
    def of(cls, method: str, target: str, headers: Mapping[str, str]) -> ReceivedRequest:
        """Make one of a request line and headers; ValueError where the target has no path."""
        if (method, target) == ("OPTIONS", "*"):
            target = "/"  # asked of the server as a whole (RFC 9112 §3.2.4)
        path, _, asked = target.partition("?")
        if not target.startswith("/"):
            split = urlsplit(target)
            if not split.scheme or not split.netloc:
                raise ValueError(f"{target[:200]!r} is not one")
            path, asked = split.path or "/", split.query
        query = {name: values[-1] for name, values in parse_qs(asked).items()}
        return cls(method, path, query, headers)

    @property
    def wants_html(self) -> bool:
        """Whether HTML is asked for by name, and JSON not more (RFC 9110 §12.5.1)."""
        html, json = (_weight(self.headers.get("accept", ""), kind) for kind in _KINDS)
        return html > 0 and html >= json


_KINDS = "text/html", "application/json"


def _weight(accept: str, kind: str) -> float:
    for entry in accept.split(","):
        named, *parameters = (part.strip().lower() for part in entry.split(";"))
        if named == kind:
            for parameter in parameters:
                name, _, value = parameter.partition("=")
                if name.strip() == "q":
                    try:
                        return float(value)
                    except ValueError:
                        return 0.0
            return 1.0
    return 0.0


@dataclass(frozen=True)
class HTTPResponse:
    """A response; the headers are those beside what every response has."""

    status: int
    kind: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    policy: str = NOTHING

    @classmethod
    def text(cls, text: str, status: int = 200) -> HTTPResponse:
        """Plain text."""
        return cls(status, TEXT, text.encode("utf-8", "backslashreplace"))

    @classmethod
    def json(cls, value: object, status: int = 200) -> HTTPResponse:
        """A value as JSON, indented for people."""
        body = msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
        return cls(status, JSON, _BEYOND.sub(_escaped, body.decode()).encode())


# JSON needs no escape for these, but curl writes them to a terminal: what turns text around
# (U+202E), or controls it (U+009B), is a number, which is the same string to a program.
_BEYOND = re.compile(r"[\x7f-\U0010ffff]")


def _escaped(character: re.Match[str]) -> str:
    return character[0] if character[0].isprintable() else json.dumps(character[0])[1:-1]


Route: TypeAlias = Callable[[ReceivedRequest], HTTPResponse]


@dataclass(frozen=True)
class Rule:
    """What answers a path: a function for each method, and how large a body may be."""

    methods: Mapping[str, Route]
    most_body: int = 0

    @property
    def allowed(self) -> str:
        """The methods, as the header Allow has them."""
        names = {*self.methods, *(["HEAD"] if "GET" in self.methods else []), "OPTIONS"}
        return ", ".join(sorted(names))

    def route(self, method: str) -> Route | None:
        """What answers this method; HEAD is GET, whose body is not sent."""
        if method == "OPTIONS" and method not in self.methods:
            return lambda _: HTTPResponse(204, TEXT, b"", (("Allow", self.allowed),))
        return self.methods.get("GET" if method == "HEAD" else method)


# Finds what answers a path; None: there is nothing there.
Site: TypeAlias = Callable[[str], Rule | None]


def get(route: Route) -> Rule:
    """A rule for a path that can only be read."""
    return Rule({"GET": route})
