"""The exception of a TLS connection that failed, with its evidence and its report."""

from __future__ import annotations

import functools

import trio

from mtls_echo_tls.alerts import alert_name
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.report import Report


class TLSFailure(trio.BrokenResourceError):
    """The TLS connection failed; `evidence` says what is known, `report` what it means.

    A subclass of `trio.BrokenResourceError`, so that code written for any trio stream treats it
    as what it is: the end of this connection.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        super().__init__(evidence)

    @functools.cached_property
    def report(self) -> Report:
        """The diagnosis of this failure, made when it is first asked for.

        In an event loop with other work, ask for `diagnosed`.
        """
        return diagnose(self.evidence)

    async def diagnosed(self) -> Report:
        """The `report`, made in a thread: to find one altered bit in a certificate takes 0.3 s.

        Who is cancelled meanwhile does not get it.
        """
        return await trio.to_thread.run_sync(lambda: self.report, abandon_on_cancel=True)

    def __str__(self) -> str:
        evidence = self.evidence
        if evidence.alert is not None:
            way = "sent" if evidence.alert.sent else "received"
            name = alert_name(evidence.alert.code)
            return f"{way} alert {name} ({evidence.alert.code}) during {evidence.stage}"
        if evidence.timed_out:
            return f"timed out during {evidence.stage}"
        if evidence.transport_end != "open":
            return f"the peer ended the connection ({evidence.transport_end}) in {evidence.stage}"
        return f"TLS failed during {evidence.stage}: {evidence.reason or 'no reason recorded'}"
