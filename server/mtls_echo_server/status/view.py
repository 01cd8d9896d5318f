"""What the status port shows: the tally, the files in use, and whether clients are to be sent."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Mapping
from typing import Any

from mtls_echo_pki.certificates.reading import (
    expiry,
    fingerprint,
    invalidity,
    is_valid_at,
    issuer_name,
    subject_name,
)
from mtls_echo_pki.printable import printable
from mtls_echo_server.status.tally import Tally
from mtls_echo_tls.material.reloader import Reloader
from mtls_echo_tls.path.summaries import rfc3339, summarise

# Trust anchors that are listed; `system` has some hundred and forty.
_MOST_ANCHORS = 200


class StatusView:
    """Everything that is shown, as it is at the moment.

    Args:
        tally: What the server has done.
        reloader: Has the files in use; with workers, that of the status process.
        settings: What the server was started with, as JSON types.
        connections: How many are open; None: the workers tell.
        workers: How many processes serve; 0: this one.
    """

    def __init__(
        self,
        tally: Tally,
        reloader: Reloader,
        settings: Mapping[str, Any],
        connections: Callable[[], int] | None = None,
        *,
        workers: int = 0,
    ) -> None:
        self.tally = tally
        self.reloader = reloader
        self._settings = settings
        self._connections = connections
        self._workers = workers

    @property
    def connections(self) -> int:
        """How many clients are being served."""
        if self._connections is not None:
            return self._connections()
        return sum(self.tally.workers.values())

    @property
    def uptime(self) -> datetime.timedelta:
        """Since the start."""
        return datetime.timedelta(seconds=max(time.time() - self.tally.started, 0))

    @property
    def workers(self) -> tuple[int, int]:
        """How many processes serve, and how many should."""
        return len(self.tally.workers), self._workers

    def why_not_ready(self) -> str | None:
        """Why no client should be sent here; None when it may."""
        tally, now = self.tally, datetime.datetime.now(datetime.UTC)
        if tally.stopping:
            return "the server is draining"
        if not (tally.workers if self._workers else tally.listening):
            return "no process accepts connections"
        credential = self.reloader.material.credential
        for position, certificate in enumerate(credential.path if credential else ()):
            if not is_valid_at(certificate, now):
                which = (
                    "the server's certificate" if position == 0 else "a CA certificate it sends"
                )
                return f"{which}: {invalidity(certificate, now)}"
        return None

    def config(self) -> dict[str, Any]:
        """What the server was started with, what it presents, and whom it trusts."""
        material, tally = self.reloader.material, self.tally
        trust, credential = material.trust, material.credential
        now = datetime.datetime.fromtimestamp(tally.reloaded_at, datetime.UTC)
        anchors = trust.anchors if trust is not None else ()
        return {
            **self._settings,
            "source": material.source,
            "generation": self.reloader.generation,
            "last_reload": {
                "ok": tally.reload_ok,
                "error": self.reloader.problem,
                "succeeded": rfc3339(now),
            },
            "own": summarise(credential.chain_der) if credential is not None else None,
            "trusted": [
                {
                    "subject": printable(str(subject_name(anchor))),
                    "fingerprint": fingerprint(anchor),
                    "not_after": rfc3339(expiry(anchor)),
                }
                for anchor in anchors[:_MOST_ANCHORS]
            ],
            "trusted_more": max(len(anchors) - _MOST_ANCHORS, 0),
            "crls": [
                {
                    "issuer": printable(str(issuer_name(crl))),
                    "next_update": until and rfc3339(until),
                }
                for crl in (trust.crls if trust is not None else ())
                for until in (crl.next_update_utc,)
            ],
            "warnings": list(material.warnings),
        }
