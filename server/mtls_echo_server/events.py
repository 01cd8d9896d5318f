"""Events of a server: each a line of text for people and fields for programs.

What an event contains of a peer was chosen by that peer (names in a certificate, bytes that were
not TLS); `mtls_echo_server.log`, which writes events, escapes and cuts it. An event that
unauthenticated clients can cause at will has a ``flood``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import msgspec

from mtls_echo_pki.lifetimes import describe_seconds
from mtls_echo_tls.address import Address

if TYPE_CHECKING:
    from mtls_echo_tls.diagnosis.report import Outcome, Report
    from mtls_echo_tls.material.reloader import Reload
    from mtls_echo_tls.path.certificates import PeerIdentity

# Who or what ended a connection.
# fmt: off
Ended: TypeAlias = Literal[
    "client", "idle", "age", "drain", "handler",
    "denied", "failure", "error", "abort", "crowded", "interrupted",
]
# fmt: on


# Outcomes of connections on which all went well.
FINE: frozenset[Outcome] = frozenset({"echoed", "completed"})


class Event(msgspec.Struct, frozen=True):
    """One thing that happened.

    Args:
        name: ``created``, ``listening``, ``accepted``, ``connection``, ``reload``, ``warning``,
            ``error``, ``accept-error``, ``status``, ``suppressed``, ``worker-started``,
            ``worker-ended``, ``stopping`` or ``stopped``.
        wording: Its ``text``, or what makes it when it is asked for.
        details: For programs, but for the report; JSON types.
        flood: Events of one flood share this; None for what takes an authenticated client.
        version: Of TLS, which our ServerHello chose; where there was one.
    """

    name: str
    wording: str | Callable[[], str]
    details: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])
    flood: tuple[str, ...] | None = None
    report: Report | None = None
    version: str | None = None

    @property
    def text(self) -> str:
        """For people, one line; below it the handshake is drawn, if the report has its trace."""
        return self.wording if isinstance(self.wording, str) else self.wording()

    @property
    def fields(self) -> dict[str, Any]:
        """All fields, those of the report included; JSON types."""
        if self.report is None:
            return dict(self.details)
        return {**self.details, **cast("dict[str, Any]", msgspec.to_builtins(self.report))}


Events: TypeAlias = Callable[[Event], None]


class Redirect:
    """Passes events on to a target that may be changed."""

    def __init__(self, target: Events) -> None:
        self.target = target

    def __call__(self, event: Event) -> None:
        """Pass an event on."""
        self.target(event)


def listening(address: str, port: int, *, client_auth: str, pid: int, workers: int = 1) -> Event:
    """The server accepts connections on this address; one event per socket."""
    demands = {
        "none": "clients are not asked for certificates",
        "optional": "client certificates optional",
        "required": "client certificates required",
    }
    return Event(
        "listening",
        f"listening on {Address(address, port)}, {demands[client_auth]}"
        + (f", {workers} workers" if workers > 1 else ""),
        {"address": address, "port": port, "client_auth": client_auth, "pid": pid}
        | ({"workers": workers} if workers > 1 else {}),
    )


def status(address: str, port: int, *, is_loopback: bool) -> Event:
    """The status port is open."""
    warned = "" if is_loopback else ": every client that reaches it reads names of peers"
    return Event(
        "status",
        f"status on http://{Address(address, port)}/{warned}",
        {"address": address, "port": port},
    )


def accepted(
    where: str, peer: PeerIdentity | None, version: str | None, seconds: float = 0.0
) -> Event:
    """A client is authenticated and authorised, and is served: so long after its ClientHello."""
    identity = None if peer is None else str(peer)
    who = "an anonymous client" if identity is None else f'"{identity}"'
    return Event(
        "accepted",
        f"accepted {where}: {who}, {version}",
        {
            "peer_address": where,
            "identity": identity,
            "fingerprint": None if peer is None else peer.fingerprint,
            "version": version,
            "handshake_ms": round(seconds * 1000, 3),
        },
        flood=("accepted", _host(where)) if peer is None else None,
    )


def connection(
    where: str,
    report: Report,
    *,
    ended: Ended,
    received: int,
    sent: int,
    requests: int = 0,
    silent: bool = False,
    version: str | None = None,
) -> Event:
    """A connection is over; ``ended`` says who or what ended it.

    ``requests``: so many of HTTP were answered. ``silent``: not even ciphertext has come: a port
    scan, or a load balancer's health check. ``version``: of TLS, that our ServerHello chose.
    """
    known = (report.outcome in FINE or report.outcome == "denied") and report.peer is not None
    cause = report.causes[0] if report.causes else ""
    return Event(
        "connection",
        partial(_connection_text, where, report, ended, received, sent, requests, silent),
        {"peer_address": where, "ended": ended, "bytes_received": received, "bytes_sent": sent}
        | ({"http_requests": requests} if requests else {}),
        flood=None if known else ("connection", _host(where), report.outcome, cause),
        report=report,
        version=version,
    )


_ENDED: dict[Ended, str] = {
    "client": "closed by the client",
    "idle": "closed after the idle timeout",
    "age": "closed at its maximum age",
    "drain": "closed, the server is stopping",
    "handler": "closed by its handler",
    "error": "closed, its handler failed",
}


# Where the server ended it, and not for anything that the client did.
_CUT_OFF: dict[Ended, str] = {
    "abort": "we cut it off while stopping",
    "crowded": "too many were waiting to be admitted, and of its network it had waited longest",
    "interrupted": "it was busy when its time was over",
}


# Faults of a refused path on one line.
_MOST_FOUND = 2


def _connection_text(
    where: str,
    report: Report,
    ended: Ended,
    received: int,
    sent: int,
    requests: int,
    silent: bool,
) -> str:
    if ended in _CUT_OFF and not report.causes:
        return f"cut off {where}: {_CUT_OFF[ended]}, {received} bytes in, {sent} bytes out"
    if silent and report.causes != ["timeout"]:
        return f"failed {where}: connected and left without a word, as health checks do"
    if report.outcome in FINE:
        took = describe_seconds(report.duration_ms / 1000)
        traffic = f"{received} bytes in, {sent} bytes out"
        if requests:
            traffic = f"{requests} HTTP request{'s' if requests > 1 else ''}, {traffic}"
        how = _ENDED.get(ended, ended)
        if ended == "client" and not received and not sent:
            # curl leaves so, without an alert, where the name is not the one that it asked for.
            why = "".join(f", {fact}" for fact in _found(report))
            how += f" before it had sent a byte, as some do that refuse our certificate{why}"
        return f"finished {where}: {how}, {traffic}, {took}"
    word = {"refused": "refused", "denied": "denied", "failed": "failed"}[report.outcome]
    if report.rejected_by == "client":
        word = "refused by"
    line = f"{word} {where}: {report.summary}"
    if report.alert is not None:
        line += f" ({report.alert.direction} alert {report.alert.name} ({report.alert.code}))"
    if report.peer is not None:
        names = ", ".join(report.peer.names[:2]) or report.peer.subject
        line += f"; presented: {names}, issued by {report.peer.issuer}"
    line += "".join(f"; {fact}" for fact in _found(report)[:_MOST_FOUND])
    return f"{line}; hint: {report.remedy}" if report.remedy else line


def _found(report: Report) -> list[str]:
    """What explains it best: what was compared, what a client was told, or what it spoke."""
    shown = {"found", "told the client"}
    if report.causes == ["plaintext-client"]:
        shown.add("received")
    return [f"{fact.fact}: {fact.value}" for fact in report.evidence if fact.fact in shown]


def warning(message: str, **fields: Any) -> Event:
    """Something is not as it should be; the server goes on."""
    return Event("warning", f"warning: {message}", {"message": message, **fields})


def reload(result: Reload) -> Event:
    """The files were read again, and something is new: in use, wrong, or repaired."""
    hint = f"; hint: {result.hint}" if result.hint else ""
    not_after = result.not_after and result.not_after.isoformat().replace("+00:00", "Z")
    return Event(
        "reload",
        f"reloaded: {result}" if result.ok else f"not reloaded: {result}{hint}",
        {
            "ok": result.ok,
            "generation": result.generation,
            "changed": list(result.changed),
            "error": result.error,
            "hint": result.hint,
            "not_after": not_after,
        },
    )


def created(path: str) -> Event:
    """A PKI for tests was made, where there was none."""
    return Event("created", f"made test certificates in {path}", {"path": path})


def full(most: int) -> Event:
    """The most connections allowed are open; further clients wait in the kernel's queue."""
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
    """The server accepts no more; open connections may finish."""
    waits = f", open connections: {connections}, which have {grace:g} s to finish"
    return Event(
        "stopping",
        f"stopping{waits if connections else ''}",
        {"connections": connections, "grace_period": grace},
    )


def stopped(drained: int, aborted: int) -> Event:
    """The last event: which of the connections open when the server began to stop finished."""
    return Event(
        "stopped",
        f"stopped, {drained} connections finished, {aborted} aborted",
        {"drained": drained, "aborted": aborted},
    )


def suppressed(flood: tuple[str, ...], count: int, seconds: float) -> Event:
    """Some events of a flood were counted instead of written."""
    what = " ".join(part for part in flood if part)
    return Event(
        "suppressed",
        f"{count} more events like this in {seconds:.0f} s: {what}",
        {"of": flood[0], "like": list(flood[1:]), "count": count, "seconds": round(seconds, 1)},
    )


def unwritten(count: int, seconds: float) -> Event:
    """Some events were lost: the log took no more, unread or on a full disk."""
    return Event(
        "suppressed",
        f"{count} events in {seconds:.0f} s were not written: the log took no more",
        {"of": "log", "like": [], "count": count, "seconds": round(seconds, 1)},
    )


def _host(where: str) -> str:
    return where.rpartition(":")[0]


def innermost(bugs: BaseException) -> str:
    """Return the exception in one line, out of the groups that nurseries wrap around it."""
    if isinstance(bugs, BaseExceptionGroup):
        nested = cast("BaseExceptionGroup[BaseException]", bugs).exceptions
        return "; ".join(innermost(bug) for bug in nested)
    return f"{type(bugs).__name__}: {bugs}"
