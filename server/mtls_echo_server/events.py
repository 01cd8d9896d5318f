"""What happened, one line each: for a person to read, or for a program.

A server's log is written by its clients as much as by its administrator: whoever can open a TCP
connection decides what names appear in it and how often. Three rules keep it useful.

**A line is a line.** What a peer chose (names in a certificate, bytes that were not TLS) is
escaped where it is not printable, so that nobody can forge a second line or move a terminal's
cursor; and it is cut, so that a certificate with ten thousand names is one line too. The drawing
of a traced handshake alone takes more, all indented.

**A flood is counted, not copied.** The same refusal of the same address is written `BURST` times,
then `RATE` times a second; the rest is counted, and the count is written as ``suppressed`` (which
client_random each had is lost, that it happened is not). What authenticated clients do is always
written.

**A log that cannot be written never stops the server**: the reader of our standard error may go
away. (One that stays and reads nothing does stop it, as it would any program that logs to a pipe.)
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias, cast

import msgspec

from mtls_echo_pki.printable import printable
from mtls_echo_tls.address import Address

if TYPE_CHECKING:
    from mtls_echo_tls.identity import PeerIdentity
    from mtls_echo_tls.report import Report

LogFormat = Literal["text", "json"]

# How many events of one flood are written at once, and then per second. Two hundred is more than
# a person's experiments and tests produce; ten a second can still be read, and are 13 KiB of JSON.
BURST, RATE = 200.0, 10.0

# What lasts for as long as it lasts, and is news once: then every ten seconds.
_LASTING = {"accept-error": (1.0, 0.1), "full": (1.0, 0.1)}

# Seconds after which the count of a flood that goes on is written.
_REPORT_AFTER = 10.0

# Addresses whose refusals are counted apart; beyond, they share one count per kind.
_MOST_KEYS = 64

# Longest text line and longest string in JSON, in characters; longest list.
_LONGEST_LINE = 1000
_LONGEST_STRING = 512
_LONGEST_LIST = 64


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Args:
        name: ``created``, ``listening``, ``accepted``, ``connection``, ``warning``, ``error``,
            ``accept-error``, ``suppressed``, ``stopping`` or ``stopped``.
        text: What a person reads, one line.
        fields: What a program reads; JSON types.
        flood: Events of one flood share this; None for what no stranger can cause.
        report: Of a connection. When it was traced, the handshake is drawn below the text.
    """

    name: str
    text: str
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    flood: tuple[str, ...] | None = None
    report: Report | None = None


Events: TypeAlias = Callable[[Event], None]


# --- the events ----------------------------------------------------------------------------------


def listening(address: str, port: int, *, client_auth: str, pid: int) -> Event:
    """The server accepts connections on this address; one event per socket."""
    demands = {
        "none": "clients are not asked for certificates",
        "optional": "client certificates optional",
        "required": "client certificates required",
    }
    return Event(
        "listening",
        f"listening on {Address(address, port)}, {demands[client_auth]}",
        {"address": address, "port": port, "client_auth": client_auth, "pid": pid},
    )


def accepted(where: str, peer: PeerIdentity | None, version: str | None) -> Event:
    """A client has been authenticated, and may enter."""
    who = f'"{peer}"' if peer is not None else "an anonymous client"
    return Event(
        "accepted",
        f"accepted {where}: {who}, {version}",
        {
            "peer_address": where,
            "identity": None if peer is None else str(peer),
            "fingerprint": None if peer is None else peer.fingerprint,
            "version": version,
        },
        flood=("accepted", _host(where)) if peer is None else None,
    )


def connection(
    where: str, report: Report, *, ended: str, received: int, sent: int, silent: bool = False
) -> Event:
    """A connection is over; the report says how it went.

    Args:
        where: The client's address.
        report: The diagnosis.
        ended: Who or what ended it: ``client``, ``idle``, ``age``, ``drain``, ``abort``,
            ``crowded``, ``interrupted``, ``handler``, ``denied``, ``error`` or ``failure``.
        received: Bytes of plaintext received.
        sent: Bytes of plaintext sent.
        silent: Not even ciphertext has come: a port scan, or a load balancer's health check.
    """
    known = report.outcome in ("echoed", "denied") and report.peer is not None
    cause = report.causes[0] if report.causes else ""
    return Event(
        "connection",
        _connection_text(where, report, ended, received, sent, silent),
        {
            "peer_address": where,
            "ended": ended,
            "bytes_received": received,
            "bytes_sent": sent,
            **cast("dict[str, Any]", msgspec.to_builtins(report)),
        },
        flood=None if known else ("connection", _host(where), report.outcome, cause),
        report=report,
    )


_ENDED = {
    "client": "closed by the client",
    "idle": "closed after the idle timeout",
    "age": "closed at its maximum age",
    "drain": "closed, the server is stopping",
    "handler": "closed by its handler",
    "error": "closed, its handler failed",
}


# Where we ended it ourselves, and not for anything that the client did.
_CUT_OFF = {
    "abort": "we cut it off while stopping",
    "crowded": "too many others were waiting to be admitted, and it had waited longest",
    "interrupted": "it was busy when its time was over",
}


def _connection_text(
    where: str, report: Report, ended: str, received: int, sent: int, silent: bool
) -> str:
    if ended in _CUT_OFF and not report.causes:
        return f"cut off {where}: {_CUT_OFF[ended]}, {received} bytes in, {sent} bytes out"
    if silent and report.causes != ["timeout"]:
        return f"failed {where}: connected and left without a word"
    if report.outcome == "echoed":
        seconds = report.duration_ms / 1000
        return (
            f"finished {where}: {_ENDED.get(ended, ended)}, {received} bytes in, {sent} bytes "
            f"out, {seconds:.1f} s"
        )
    word = {"refused": "refused", "denied": "denied", "failed": "failed"}[report.outcome]
    if report.rejected_by == "client":
        word = "refused by"
    line = f"{word} {where}: {report.summary}"
    if report.alert is not None:
        line += f" ({report.alert.direction} alert {report.alert.name} ({report.alert.code}))"
    if report.peer is not None:
        names = ", ".join(report.peer.names[:2]) or report.peer.subject
        line += f"; presented: {names}, issued by {report.peer.issuer}"
    return f"{line}; hint: {report.remedy}" if report.remedy else line


def warning(message: str, **fields: Any) -> Event:
    """Something is not as it should be, and the server goes on."""
    return Event("warning", f"warning: {message}", {"message": message, **fields})


def created(path: str) -> Event:
    """There was no PKI, and now there is one for tests."""
    return Event("created", f"made test certificates in {path}", {"path": path})


def full(most: int) -> Event:
    """As many connections are open as may be; further clients wait in the kernel's queue."""
    message = f"{most} connections are open, the most allowed: further clients wait"
    return Event("warning", f"warning: {message}", {"message": message}, flood=("full",))


def error(where: str, message: str, traceback: str) -> Event:
    """A handler has failed: a bug. It ended its own connection, and nothing else."""
    return Event(
        "error",
        f"error: the handler of {where} failed: {message}",
        {"peer_address": where, "message": message, "traceback": traceback},
        flood=("error", _host(where), message[:80]),
    )


def accept_error(reason: str) -> Event:
    """The system has no room for another connection; it is tried again."""
    return Event(
        "accept-error",
        f"cannot accept: {reason}; trying again",
        {"message": reason},
        flood=("accept-error", reason),
    )


def stopping(connections: int, grace: float) -> Event:
    """Nothing is accepted any more; what is open may finish."""
    return Event(
        "stopping",
        f"stopping, {connections} open connections have {grace:g} s to finish",
        {"connections": connections, "grace_period": grace},
    )


def stopped(drained: int, aborted: int) -> Event:
    """The last event.

    Args:
        drained: Connections that were open when the server began to stop, and finished.
        aborted: Those that did not.
    """
    return Event(
        "stopped",
        f"stopped, {drained} connections finished, {aborted} aborted",
        {"drained": drained, "aborted": aborted},
    )


def _suppressed(flood: tuple[str, ...], count: int, seconds: float) -> Event:
    what = " ".join(part for part in flood if part)
    return Event(
        "suppressed",
        f"{count} more events like this in {seconds:.0f} s: {what}",
        {"of": flood[0], "like": list(flood[1:]), "count": count, "seconds": round(seconds, 1)},
    )


def _host(where: str) -> str:
    return where.rpartition(":")[0]


# --- writing them --------------------------------------------------------------------------------


@dataclass
class _Bucket:
    """How many more events of one flood may be written now."""

    burst: float
    rate: float
    tokens: float
    at: float
    left_out: int = 0
    since: float = 0.0

    def refill(self, now: float) -> None:
        """Take over the tokens that came with the time."""
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now


class EventLog:
    """Writes events, one line each.

    Args:
        log_format: ``text``, with local time; or ``json``, an object with ``event``, ``time``
            (RFC 3339, UTC) and the event's fields.
        file: Standard error unless said.
        clock: Seconds, monotonic; for tests.
    """

    def __init__(
        self,
        log_format: LogFormat = "text",
        file: IO[str] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._format = log_format
        self._file = file
        self._clock = clock
        self._buckets: dict[tuple[str, ...], _Bucket] = {}

    def __call__(self, event: Event) -> None:
        """Write an event, or count it when it belongs to a flood."""
        if event.flood is None or self._admit(event.flood):
            self._write(event)

    def flush(self, *, final: bool = False) -> None:
        """Write the counts of what was left out; to be called every second or so.

        Args:
            final: Also those of floods that have not ended.
        """
        now = self._clock()
        for flood, bucket in list(self._buckets.items()):
            bucket.refill(now)
            over = bucket.tokens >= bucket.burst
            if bucket.left_out and (final or over or now - bucket.since >= _REPORT_AFTER):
                self._write(_suppressed(flood, bucket.left_out, now - bucket.since))
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
        file = self._file or _standard_error()
        if file is None:
            return
        moment = datetime.now(UTC)
        if self._format == "json":
            stamp = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            fields = cast("dict[str, Any]", _bounded(dict(event.fields)))
            line = msgspec.json.encode({"event": event.name, "time": stamp, **fields}).decode()
        else:
            text = f"{moment.astimezone():%H:%M:%S} {printable(event.text)}"
            line = text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE - 1]}…"
            line += self._drawing(event, file)
        try:
            file.write(f"{line}\n")
            file.flush()
        except BrokenPipeError:
            if file is sys.stderr:
                # Its buffer could not be emptied at exit either, which would then be the exit
                # status (120) of a server that stopped as it should.
                sys.stderr = open(os.devnull, "w")  # noqa: SIM115  open until the end
        except (OSError, ValueError):
            pass  # the file is full or closed: no reason to stop serving

    def _drawing(self, event: Event, file: IO[str]) -> str:
        """The handshake of a traced connection, indented, so that no line passes for an event."""
        if event.report is None or not event.report.trace:
            return ""
        from mtls_echo_tls.sequence import WIDTH, sequence

        encoding = getattr(file, "encoding", None) or "utf-8"
        plain = not encoding.lower().startswith("utf")
        drawn = sequence(event.report, width=WIDTH - 2, ascii_only=plain)
        return "".join(f"\n  {line}" for line in drawn)


def _standard_error() -> IO[str] | None:
    return sys.stderr  # None when we were started without (``2>&-``), which its type does not say


def _bounded(value: object) -> object:
    if isinstance(value, str):
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
