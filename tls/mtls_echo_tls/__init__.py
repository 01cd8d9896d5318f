"""TLS over trio in which every failure explains itself: what both ends of mtls-echo share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtls_echo_pki.lazy import exporter

if TYPE_CHECKING:
    from mtls_echo_tls.alerts import AlertDescription
    from mtls_echo_tls.diagnosis import diagnose
    from mtls_echo_tls.evidence import Evidence
    from mtls_echo_tls.failure import TLSFailure
    from mtls_echo_tls.identity import PeerIdentity
    from mtls_echo_tls.reload import Reload, Reloader
    from mtls_echo_tls.report import Report, describe
    from mtls_echo_tls.stream import TLSStream
    from mtls_echo_tls.transport import TCPStream

__all__ = [
    "AlertDescription",
    "Evidence",
    "PeerIdentity",
    "Reload",
    "Reloader",
    "Report",
    "TCPStream",
    "TLSFailure",
    "TLSStream",
    "describe",
    "diagnose",
]

__getattr__ = exporter(
    __name__,
    {
        "alerts": ("AlertDescription",),
        "diagnosis": ("diagnose",),
        "evidence": ("Evidence",),
        "failure": ("TLSFailure",),
        "identity": ("PeerIdentity",),
        "reload": ("Reload", "Reloader"),
        "report": ("Report", "describe"),
        "stream": ("TLSStream",),
        "transport": ("TCPStream",),
    },
)
