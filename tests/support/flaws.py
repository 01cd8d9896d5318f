"""What the tests of flaws share: a bad input, verified in a real handshake."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.flaws.baseline import ValidationInput
from mtls_echo_pki.flaws.flaw import FlawRole, TLSVersion
from mtls_echo_tls.diagnosis.report import Report
from tests.support.tls import NO_CERTIFICATE_COMPRESSION, reports, tls_pair

TLS_VERSIONS: dict[TLSVersion, ssl.TLSVersion] = {
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}

REQUESTS = {
    "server": Request.server("localhost", "127.0.0.1", "::1", subject="server"),
    "client": Request.client("client.test", subject="client"),
}

# The other side is always the same, and never at fault.
OTHERS = Authority.root("the other side's authority")
OTHER_SERVER = OTHERS.issue("localhost")
OTHER_CLIENT = OTHERS.issue(Request.client("other.test"))


@dataclass(frozen=True)
class PlayedFlaw:
    """What came of a handshake: each side's report, and OpenSSL's reason where it failed."""

    verifier: Report
    presenter: Report
    verifier_reason: str | None
    presenter_reason: str | None


async def meet_verifier(inputs: ValidationInput, role: FlawRole, tls: TLSVersion) -> PlayedFlaw:
    """Let the presenter of a credential and its verifier shake hands over TCP.

    The verifier is as strict as this project's contexts, on every version of Python; the presenter
    presents whatever it has.
    """
    presenter, verifier = contexts(inputs, role, tls)
    if role == "server":
        one, other = tls_pair(verifier, presenter, name=inputs.reference)
        verifier_report, presenter_report = await reports(one, other)
        return PlayedFlaw(
            verifier_report, presenter_report, one.evidence.reason, other.evidence.reason
        )
    one, other = tls_pair(presenter, verifier)
    presenter_report, verifier_report = await reports(one, other)
    return PlayedFlaw(
        verifier_report, presenter_report, other.evidence.reason, one.evidence.reason
    )


def contexts(
    inputs: ValidationInput, role: FlawRole, tls: TLSVersion
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The presenter's context and the verifier's."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if role == "server":
        presenter, verifier, other = server_context, client_context, OTHER_CLIENT
    else:
        presenter, verifier, other = client_context, server_context, OTHER_SERVER
    for context in (server_context, client_context):
        # A compressed certificate is refused by other rules than a large one.
        context.options |= NO_CERTIFICATE_COMPRESSION
        context.minimum_version = context.maximum_version = TLS_VERSIONS[tls]
    server_context.num_tickets = 0
    server_context.verify_mode = ssl.CERT_REQUIRED
    client_context.hostname_checks_common_name = False

    # Without this a weak credential would not load: the presenter is a peer that does not care.
    presenter.set_ciphers("DEFAULT:@SECLEVEL=0")
    inputs.credential.load_into(presenter)
    OTHERS.trust.load_into(presenter)
    other.load_into(verifier)
    if inputs.trust.anchors:  # otherwise there is nothing that could be loaded
        inputs.trust.load_into(verifier)
    verifier.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    return presenter, verifier


def load_error(credential: Credential) -> str | None:
    """OpenSSL's reason for not loading a credential at its default security level."""
    try:
        credential.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    except ssl.SSLError as error:
        return error.reason
    return None
