"""The one value in which a connection is told: printed, logged, returned and compared.

Both ends produce it, with the same fields. `mtls-echo connect --json` prints it, `mtls-echo serve
--log-format json` logs it, `TLSFailure.report` returns it. The fields are a contract that scripts
rely on; the sentences in ``summary`` and ``remedy`` are for people and may be improved.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from mtls_echo_tls.evidence import Side, Stage

Outcome = Literal["echoed", "refused", "denied", "failed"]


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """The alert that ended the connection (RFC 8446 §6)."""

    name: str
    code: int
    direction: Literal["sent", "received"]
    protected: bool | None


class Fact(msgspec.Struct, frozen=True):
    """One thing that is known for certain, and that the causes were inferred from."""

    fact: str
    value: str


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """What the handshake agreed on."""

    version: str | None
    cipher: str | None
    alpn: str | None
    server_name: str | None
    resumed: bool


class CertificateSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A presented end-entity certificate, accepted or not. Times are RFC 3339, UTC."""

    subject: str
    issuer: str
    names: list[str]
    serial: str
    fingerprint: str
    not_before: str
    not_after: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One connection, as one side saw it.

    Attributes:
        side: Who reports.
        outcome: ``echoed`` (all went well), ``refused`` (by one side's TLS), ``denied``
            (authenticated, not authorised), ``failed`` (the connection ended otherwise).
        rejected_by: The side that refused; None when neither did.
        stage: How far it came.
        causes: Slugs, most likely first. One element is certain.
        alert: The alert that ended it.
        verify_code: OpenSSL's verdict on the certification path, when we judged.
        evidence: What the causes were inferred from.
        summary: Who refused whom, and why, in one sentence.
        remedy: What the reader can do about the first cause.
        rfc: Where to read more.
        tls: What was negotiated; None when the handshake did not get that far.
        peer, own: The certificates presented.
        client_random: ``ClientHello.random``, hexadecimal: joins the two sides' reports.
        duration_ms: From the first byte to the verdict.
    """

    side: Side
    outcome: Outcome
    rejected_by: Side | None
    stage: Stage
    causes: list[str]
    alert: Alert | None
    verify_code: int | None
    evidence: list[Fact]
    summary: str
    remedy: str
    rfc: str
    tls: Parameters | None
    peer: CertificateSummary | None
    own: CertificateSummary | None
    client_random: str | None
    duration_ms: float

    def encode(self) -> bytes:
        """The report as one JSON object on one line, without a newline."""
        return msgspec.json.encode(self)


def describe(report: Report) -> tuple[str, str | None]:
    """The report for a person: a message of several lines, and a hint.

    The first line says who refused whom and why; the further ones name what was compared and
    what went over the wire.
    """
    lines = [report.summary]
    width = max((len(fact.fact) for fact in report.evidence), default=0) + 1
    lines += [f"{fact.fact + ':':<{width}} {fact.value}" for fact in report.evidence]
    return "\n".join(lines), report.remedy or None
