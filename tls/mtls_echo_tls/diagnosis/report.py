"""The report of a connection: printed, logged, returned and compared.

Both ends produce it, with the same fields. `mtls-echo connect --json` prints it, `mtls-echo serve
--log-format json` logs it, `TLSFailure.report` returns it. The fields are a contract that scripts
rely on; the sentences in ``summary`` and ``remedy`` are for people and may be improved.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from mtls_echo_tls.answers.answer import ServerAnswer
from mtls_echo_tls.fault_causes import Variant
from mtls_echo_tls.path.summaries import CertificateSummary
from mtls_echo_tls.sides import Side, Stage
from mtls_echo_tls.slugs import Slug
from mtls_echo_tls.trace.decoding import Requested, TraceEntry

Outcome = Literal["echoed", "completed", "refused", "denied", "failed"]


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
    """What the handshake agreed on; the signature is the server's."""

    version: str | None
    cipher: str | None
    group: str | None = None
    signature: str | None = None
    alpn: str | None
    server_name: str | None
    resumed: bool


class FaultFound(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with the certification path that was refused.

    Attributes:
        slug: The cause it would be reported as, were it the only one.
        depth: Which certificate has it: 0 is the end-entity certificate.
        detail: The two things that were compared.
        fingerprint: SHA-256 of that certificate.
        subject, issuer: Its names: the common name, or the whole.
        root: Whether it is its own issuer.
        variant: Of which kind, where the slug has several (`mtls_echo_tls.fault_causes`).
        fix: What the certificate must have once it is reissued.
    """

    slug: Slug
    depth: int
    detail: str
    fingerprint: str | None = None
    subject: str | None = None
    issuer: str | None = None
    root: bool = False
    variant: Variant | None = None
    fix: str = ""


class Issuer(msgspec.Struct, frozen=True, kw_only=True):
    """A CA above the reporting side's own certificate, by SHA-256 of its certificate.

    Whether it was presented, and whether the path ends with it: a root need not be sent.
    """

    fingerprint: str
    presented: bool
    root: bool


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One connection, as one side saw it.

    Attributes:
        outcome: ``echoed`` (all went well), ``completed`` (so did what was asked for in place of
            an echo: a handshake, which ``stage`` says to be accepted or not, or a request in
            HTTP), ``refused`` (by one side's TLS, or in HTTP for a certificate), ``denied``
            (authenticated, not authorised), ``failed`` (the connection ended otherwise).
        rejected_by: The side that refused; None when neither did.
        stage: How far it came.
        causes: Slugs, most likely first. One element is certain.
        faults: Everything that is wrong with the path that was refused, the causes among it: the
            second fault that would show as soon as the first is mended.
        verify_code: OpenSSL's verdict on the certification path, when we refused.
        evidence: What the causes were inferred from, and what worked.
        summary, remedy: Who refused whom, and why; what the reader can do about the first cause.
        tls: What was negotiated; None when the handshake did not get that far.
        requested: What the server asked of the client's certificate; None when it asked for none.
        answer: What the server said that is not an echo; None when it said nothing.
        peer, own: The certificates presented.
        anchors: When we refused a certificate: SHA-256 of our trust anchors. Empty when there
            are more than 32.
        issuers: When the peer refused us: the CAs above our certificate, lowest first,
            as far as they are known here.
        client_random: ``ClientHello.random``, hexadecimal: joins the two sides' reports.
        duration_ms: From the first byte to the verdict.
        trace: The handshake message by message; None unless it was asked for.
    """

    side: Side
    outcome: Outcome
    rejected_by: Side | None
    stage: Stage
    causes: list[Slug]
    faults: list[FaultFound] = msgspec.field(default_factory=list[FaultFound])
    alert: Alert | None
    verify_code: int | None
    evidence: list[Fact]
    summary: str
    remedy: str
    rfc: str
    tls: Parameters | None
    requested: Requested | None = None
    answer: ServerAnswer | None = None
    peer: CertificateSummary | None
    own: CertificateSummary | None
    anchors: list[str] = msgspec.field(default_factory=list[str])
    issuers: list[Issuer] = msgspec.field(default_factory=list[Issuer])
    client_random: str | None
    duration_ms: float
    trace: list[TraceEntry] | None = None

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
