"""The exit status of a client: what a script can know without parsing anything.

0 echoed, or what was asked for in its place; 2 usage, configuration or unusable files; 3 no TCP
connection; 4 I refused the server; 5 the server refused me; 6 closed or reset without an alert, or
another answer than was asked for; 7 timeout; 8 protocol mismatch, or not TLS at all; 9
authenticated but not authorised.
"""

from __future__ import annotations

from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.diagnosis.tables import silence_in
from mtls_echo_tls.slugs import Slug

OK = 0
USAGE = 2
NO_CONNECTION = 3
REFUSED_SERVER = 4
REFUSED_BY_SERVER = 5
CLOSED = 6
TIMEOUT = 7
MISMATCH = 8
DENIED = 9

# Refusals that say "we do not speak the same language" rather than "I do not trust you",
# whichever side noticed.
_MISMATCHES: frozenset[Slug] = frozenset(
    {
        "no-common-version", "no-common-cipher", "no-common-group", "no-common-alpn",
        "no-common-signature-algorithm", "plaintext-peer", "plaintext-client", "other-protocol",
    }
)  # fmt: skip


def exit_status(report: Report) -> int:
    """The exit status for a client's report.

    0 echoed, or what was asked for in its place; 3 no TCP connection; 4 we refused the server; 5
    the server refused us; 6 closed or reset without an alert, or another answer; 7 timeout; 8 no
    protocol in common; 9 not authorised. (2 is for usage and files, which are not reported.)
    """
    if report.outcome in ("echoed", "completed"):
        return OK
    if report.outcome == "denied":
        return DENIED
    cause: Slug = report.causes[0] if report.causes else "internal-error"
    if cause == "timeout":
        return TIMEOUT
    if report.stage == "connect":
        return NO_CONNECTION
    if cause in _MISMATCHES and silence_in(tuple(report.causes)) is None:
        return MISMATCH
    if report.rejected_by == "client":
        return REFUSED_SERVER
    if report.rejected_by == "server":
        return REFUSED_BY_SERVER
    return CLOSED
