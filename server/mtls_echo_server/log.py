"""Write events one line each, so that no client can forge a line, flood the log or stop it.

A server's log is written by its clients as much as by its administrator: any client that can open
a TCP connection decides what names appear in it and how often. Three rules keep it useful.

**A line is a line.** What a peer chose (names in a certificate, bytes that were not TLS) is
escaped where it is not printable, so that it cannot forge a second line or move a terminal's
cursor; and it is cut, so that a certificate with ten thousand names is one line too. The drawing
of a traced handshake alone takes more, all indented.

**A flood is counted, not copied.** The same refusal of the same address is written `BURST` times,
then `RATE` times a second; the rest is counted, and the count is written as ``suppressed`` (which
client_random each had is lost, that it happened is not). A count that is due is written with the
next event, the last ones before ``stopped``, and all of them in time while `EventLog.run` runs.
What authenticated clients do is always written.

**A log that cannot be written never stops the server**: its reader may go away, or stay and read
nothing, and a disk may be full. What cannot be written is held, up to a bound, then counted, and
the count is written when there is room again (`mtls_echo_server.log_file`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import IO, Any, Literal, TypeAlias, cast

import msgspec

from mtls_echo_pki.printable import printable
from mtls_echo_server.events import FINE, Event, suppressed, unwritten
from mtls_echo_server.log_file import LogFile

LogFormat = Literal["text", "json"]
View: TypeAlias = Callable[[Event, str], str]

# Events of one flood that are written at once, and then per second. Two hundred is more than a
# person's experiments and tests produce; ten a second can still be read, and are 13 KiB of JSON.
BURST, RATE = 200.0, 10.0

# Conditions that last: written once, then every ten seconds.
_LASTING = {"accept-error": (1.0, 0.1), "full": (1.0, 0.1)}

# Seconds after which the count of a flood that goes on is written; and between looks for one.
_REPORT_AFTER, _LOOK = 10.0, 1.0

# Addresses whose refusals are counted apart; beyond, they share one count per kind.
_MOST_KEYS = 64

# Behind each event on its way from a worker to its supervisor. It is in no event: what is not
# printable is escaped.
END_OF_EVENT = "\0"

_NO_TAG: Mapping[str, Any] = {}

# Longest text line and longest string in JSON, in characters; longest list.
_LONGEST_LINE = 1000
_LONGEST_STRING = 512
_LONGEST_LIST = 64


class _Bucket(msgspec.Struct):
    """How many more events of one flood may be written now."""

    burst: float
    rate: float
    tokens: float
    at: float
    left_out: int = 0
    since: float = 0.0

    def refill(self, now: float) -> None:
        """Add the tokens of the time that has passed."""
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now


class EventLog:
    """Writes events, one line each: ``text``, with local time, or ``json``.

    The JSON is an object with ``event``, ``time`` (RFC 3339, UTC) and the event's fields.

    Args:
        log_format: ``text`` or ``json``.
        file: Where to; standard error unless given.
        clock: In seconds; monotonic.
        worker: The number that is in each event of a worker, for `forward` by its supervisor.
        keep: Which events are written at all; None for all.
        view: Makes the lines of an event of its text, in place of `text_of`: for a terminal, on
            which less is more. The second argument is what the line begins with: when it was, and
            which worker's it is.

    Attributes:
        also: Is told of every event, those too that are only counted, or not kept.
    """

    def __init__(
        self,
        log_format: LogFormat = "text",
        file: IO[str] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        worker: int | None = None,
        keep: Callable[[Event], bool] | None = None,
        view: View | None = None,
    ) -> None:
        self._format: LogFormat = log_format
        self._keep = keep
        self._view = view
        self._tag = {} if worker is None else {"worker": worker}
        self._prefix = "" if worker is None else f"worker {worker}: " if worker else "status: "
        self._ending = "" if worker is None else END_OF_EVENT
        self._end_of_json = f"\n{self._ending}".encode()
        self._file = LogFile(file, clock)
        self._clock = clock
        self._buckets: dict[tuple[str, ...], _Bucket] = {}
        self._look_at = -math.inf
        self.also: Callable[[Event], object] | None = None

    async def run(self) -> None:
        """Write every count as soon as it is due, until cancelled."""
        import trio  # here, since this module is needed before trio is

        while True:
            await trio.sleep(_LOOK)
            self.flush()

    def __call__(self, event: Event) -> None:
        """Write the counts that are due; then the event, or count it as part of a flood."""
        if self.also is not None:
            self.also(event)
        last = event.name == "stopped"
        if last or self._clock() >= self._look_at:
            self.flush(final=last)
        if self._keep is not None and not self._keep(event):
            return
        if event.flood is None or self._admit(event.flood):
            self._write(event)
        if last:
            self._file.catch_up(last=True)

    def finish(self) -> None:
        """Write what remains, as with ``stopped``: nothing is written after it."""
        self.flush(final=True)
        self._file.catch_up(last=True)

    # --- several processes -----------------------------------------------------------------------

    @property
    def encoding(self) -> str:
        """How text is encoded."""
        return self._file.encoding

    def of_worker(self, number: int, file: IO[str]) -> EventLog:
        """The log of a worker: what it writes is for `forward` here."""
        return EventLog(self._format, file, worker=number, keep=self._keep, view=self._view)

    def forward(self, text: bytes) -> None:
        """Write events of workers; none is lost here, so take them while the log is not behind."""
        self._catch_up()
        self._file.write_encoded(text)

    @property
    def is_behind(self) -> bool:
        """Whether there is something that could not be written."""
        return self._file.is_behind

    # --- writing ---------------------------------------------------------------------------------

    def flush(self, *, final: bool = False) -> None:
        """Write the counts that are due; when final, also those of floods that have not ended."""
        now = self._clock()
        self._look_at = now + _LOOK
        self._catch_up(last=final)
        for flood, bucket in list(self._buckets.items()):
            bucket.refill(now)
            over = bucket.tokens >= bucket.burst
            if bucket.left_out and (final or over or now - bucket.since >= _REPORT_AFTER):
                self._write(suppressed(flood, bucket.left_out, now - bucket.since))
                bucket.left_out = 0
            if over:
                del self._buckets[flood]

    def _admit(self, flood: tuple[str, ...]) -> bool:
        now = self._clock()
        bucket = self._buckets.get(flood)
        if bucket is None and len(self._buckets) >= _MOST_KEYS:
            flood = (flood[0], "other addresses", *flood[2:])
            bucket = self._buckets.get(flood)
        if bucket is None:
            burst, rate = _LASTING.get(flood[0], (BURST, RATE))
            bucket = self._buckets[flood] = _Bucket(burst, rate, burst, now)
        bucket.refill(now)
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return True
        bucket.since = bucket.since if bucket.left_out else now
        bucket.left_out += 1
        return False

    def _write(self, event: Event) -> None:
        if self._file.is_behind:
            self._catch_up()
        moment = datetime.now(UTC)
        if self._format == "json":
            stamp = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            self._file.write_utf8(_json(event, stamp, self._tag) + self._end_of_json)
            return
        start = f"{moment.astimezone():%H:%M:%S} {self._prefix}"
        if self._view is not None:
            lines = self._view(event, start)
        else:
            lines = text_of(event, start) + self._drawing(event)
        self._file.write(f"{lines}\n{self._ending}")

    def _catch_up(self, *, last: bool = False) -> None:
        """Write what could not be written before, and how much was lost meanwhile."""
        if self._file.is_behind and self._file.catch_up(last=last):
            lost, seconds = self._file.take_lost()
            if lost:
                self._write(unwritten(lost, seconds))

    def _drawing(self, event: Event) -> str:
        """Draw the handshake of a traced connection, indented unlike an event."""
        if event.report is None or not event.report.trace:
            return ""
        from mtls_echo_tls.diagrams.full import WIDTH, sequence

        plain = not self._file.encoding.lower().startswith("utf")
        drawn = sequence(event.report, width=WIDTH - 2, ascii_only=plain)
        return "".join(f"\n  {line}" for line in drawn)


def text_of(event: Event, start: str) -> str:
    """The text of an event as a line that is one, and no longer than a line may be."""
    text = f"{start}{printable(event.text)}"
    return text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE - 1]}…"


def _json(event: Event, stamp: str, tag: Mapping[str, Any] = _NO_TAG) -> bytes:
    head = {"event": event.name, "time": stamp, **tag}
    report = event.report
    if report is None or report.outcome not in FINE or report.trace is not None:
        return msgspec.json.encode(head | cast("dict[str, Any]", _bounded(event.fields)))
    # Of a success every string is short and printable already: `_bounded` would change nothing.
    encoded = msgspec.json.encode({**head, **event.details})
    return encoded[:-1] + b"," + report.encode()[1:]


def _bounded(value: object) -> object:
    if isinstance(value, str):
        if len(value) <= _LONGEST_STRING and value.isascii():
            return value
        # A lone surrogate cannot be encoded; a peer's certificate may well contain one.
        text = value if len(value) <= _LONGEST_STRING else f"{value[: _LONGEST_STRING - 1]}…"
        return text.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        entries = cast("dict[str, object]", value)
        return {key: _bounded(entry) for key, entry in entries.items()}
    if isinstance(value, list | tuple):
        items = cast("list[object]", value)
        return [_bounded(item) for item in items[:_LONGEST_LIST]]
    return value
