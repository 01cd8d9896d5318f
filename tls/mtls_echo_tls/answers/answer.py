"""The answer of a server that does not echo: an HTTP response, or what another protocol says.

Every part of it was chosen by the peer: it is kept as bounded, printable text.
"""

from __future__ import annotations

import re

import msgspec

from mtls_echo_pki.printable import printable
from mtls_echo_tls.answers.tables import rows

# Characters kept of a field of the header, and of the text.
_LONGEST_FIELD = 200
LONGEST_TEXT = 1000

# Shown to a reader.
_LONGEST_SHOWN = 120

# Bytes of what may be the first line of another protocol.
_LONGEST_BANNER = 1024

# Bytes of a body that are read for its text: the error page of IIS has its styles first.
MOST_BODY = 16 * 1024

# Where a part begins that is not shown, and where it ends.
_UNSEEN = (
    (re.compile("<!--"), re.compile("-->")),
    *(
        (re.compile(rf"(?i)<{name}\b"), re.compile(rf"(?i)</{name}\s*>"))
        for name in ("style", "script", "head")
    ),
)
_TITLE = re.compile(r"(?i)<title\b[^<>]*>([^<]*)")
_TAG = re.compile(r"<[^<>]{0,1000}>")

_STATUS_LINE = re.compile(rb"HTTP/(\d\.\d) (\d{3})(?: ([^\r\n]*))?\r?\n")

# A SETTINGS frame on stream 0 opens every connection of HTTP/2 (RFC 9113 §3.4).
_HTTP2 = re.compile(rb"\0\0.\x04\0\0{4}", re.DOTALL)


_UNAUTHORISED = 401


class ServerAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a server said in the place of an echo.

    Attributes:
        protocol: ``HTTP/1.1``, ``HTTP/2``, or what a first line is known for; "" when unknown.
        status: Of an HTTP response.
        phrase, server, location: Its reason phrase, and those fields of its header.
        challenge: Its field WWW-Authenticate: the proof that it wants, which is not a certificate.
        text: What it says, without markup.
    """

    protocol: str
    status: int | None = None
    phrase: str = ""
    server: str = ""
    location: str = ""
    challenge: str = ""
    text: str = ""

    @property
    def is_success(self) -> bool:
        """Whether a request was granted, or led elsewhere."""
        return self.status is not None and 200 <= self.status < 400

    @property
    def wanted(self) -> str:
        """The proof that a client is asked for in HTTP (RFC 9110 §15.5.2)."""
        if self.status != _UNAUTHORISED or not self.challenge:
            return ""
        return f"{_cut(self.challenge)}, which a request can bring, and TLS cannot"

    def __str__(self) -> str:
        """The answer on one short line."""
        if self.status is None:
            said = f" “{_cut(self.text)}”" if self.text else ""
            return f"{self.protocol or 'something that is not known here'}{said}"
        leads = f", to {_cut(self.location)}" if self.location and self.status < 400 else ""
        by = f" ({_cut(self.server)})" if self.server else ""
        return f"{self.protocol} {self.status} {_cut(self.phrase)}".rstrip() + leads + by

    @property
    def said(self) -> str:
        """What its text says, beyond the status and the server; short."""
        status = "" if self.status is None else f"{self.status} {self.phrase}"
        text = self.text.removeprefix(status).removesuffix(self.server or "\0").strip()
        return "" if text.casefold() in status.casefold() else _cut(text)


def http_answer(
    version: bytes, status: int, phrase: bytes, header: dict[bytes, bytes], body: bytes
) -> ServerAnswer:
    """An HTTP response; the names of ``header`` are in lower case."""
    return ServerAnswer(
        protocol=f"HTTP/{_line(version)}",
        status=status,
        phrase=_line(phrase),
        server=_line(header.get(b"server", b"")),
        location=_line(header.get(b"location", b"")),
        challenge=_line(header.get(b"www-authenticate", b"")),
        text=text_of(body),
    )


def heard(data: bytes) -> ServerAnswer | None:
    """What was received in the place of an echo, if it can be told which protocol that is."""
    if response := _STATUS_LINE.match(data):
        version, status, phrase = response.groups(b"")
        head, _, body = data.partition(b"\r\n\r\n")
        fields = (line.partition(b":") for line in head.split(b"\r\n")[1:])
        header = {name.lower(): value.strip() for name, _, value in fields}
        return http_answer(version, int(status), phrase, header, body)
    if _HTTP2.match(data):
        return ServerAnswer(protocol="HTTP/2")
    for protocol, pattern, _ in rows("banners.tsv"):
        if re.match(pattern.encode(), data[:_LONGEST_BANNER]):
            return ServerAnswer(protocol=protocol, text=_line(data.split(b"\n")[0]))
    return None


def unknown(data: bytes, why: str = "") -> ServerAnswer:
    """What was received, where no protocol is known for it, or it is broken HTTP: then why."""
    if data.startswith(b"HTTP/"):
        return ServerAnswer(protocol="malformed HTTP", text=_line(why.encode()) or _line(data))
    kind = "a page without a header of HTTP" if data.lstrip().startswith(b"<") else ""
    return ServerAnswer(protocol=kind, text=_line(data))


def unfinished(data: bytes) -> ServerAnswer:
    """The beginning of an HTTP response whose header did not end in time."""
    return ServerAnswer(protocol="HTTP", text=_line(data.split(b"\n")[0]))


def text_of(body: bytes) -> str:
    """The text of a page without its markup; its title, where there is no other."""
    page = body[:MOST_BODY].decode("utf-8", "replace")
    shown = page
    for begin, end in _UNSEEN:
        # One pass from front to back, whatever the server has made of it.
        first, *parts = begin.split(shown)
        shown = " ".join([first, *(rest for part in parts for rest in end.split(part, 1)[1:])])
    shown = _TAG.sub(" ", shown)
    if not shown.strip() and (title := _TITLE.search(page)):
        shown = title[1]
    from html import unescape  # with the 2,231 names of characters in HTML

    return _bounded(unescape(shown), LONGEST_TEXT)


def _line(data: bytes) -> str:
    return _bounded(data[: 4 * _LONGEST_FIELD].decode("utf-8", "replace"), _LONGEST_FIELD)


def _bounded(text: str, most: int) -> str:
    """On one line; escaping may lengthen it."""
    return printable(" ".join(text.split())[:most])[:most]


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"
