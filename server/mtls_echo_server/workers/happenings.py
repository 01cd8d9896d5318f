"""The events of a service that is several processes: its workers start, and end."""

from __future__ import annotations

import signal

from mtls_echo_server import events
from mtls_echo_server.events import Event


def worker_started(worker: int, pid: int) -> Event:
    """One of several workers accepts connections: at the start, and in place of one that ended."""
    return Event(
        "worker-started",
        f"worker {worker} accepts connections, process {pid}",
        {"worker": worker, "pid": pid},
    )


def worker_ended(
    worker: int, pid: int, status: int, *, reason: str | None, pause: float | None
) -> Event:
    """A worker has ended, and its connections with it; another is started after the pause.

    The status is negative for a signal; no pause: the server stops.
    """
    killed = signal.strsignal(-status) if status < 0 else None
    how = f"by signal {-status} ({killed})" if status < 0 else f"with status {status}"
    name = f"worker {worker}" if worker else "the status process"
    what = f"{name} (process {pid}) ended {how}" + (f": {reason}" if reason else "")
    again = "" if pause is None else f"; another is started {_in_time(pause)}"
    return Event(
        "worker-ended",
        what + again,
        {
            "worker": worker,
            "pid": pid,
            "exit_status": status if status >= 0 else None,
            "signal": -status if status < 0 else None,
            "reason": reason,
            "restart_in": pause,
        },
    )


def worker_not_started(worker: int, reason: str, pause: float) -> Event:
    """The system has no room for another process."""
    return events.warning(
        f"worker {worker} cannot be started: {reason}; trying again {_in_time(pause)}"
    )


def _in_time(seconds: float) -> str:
    return f"in {seconds:g} s" if seconds else "now"
