"""Does the client's context demand what it says, and no less?"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable

import pytest

from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust


def handshake(client_side: ssl.SSLContext, server_side: ssl.SSLContext) -> ssl.SSLObject:
    """A handshake in memory with ``localhost``; returns the client's connection."""
    ends = [ssl.MemoryBIO() for _ in range(4)]
    near = client_side.wrap_bio(ends[0], ends[1], server_hostname="localhost")
    far = server_side.wrap_bio(ends[2], ends[3], server_side=True)
    for _ in range(4):
        for connection, outgoing, incoming in ((near, ends[1], ends[2]), (far, ends[3], ends[0])):
            with contextlib.suppress(ssl.SSLWantReadError):
                connection.do_handshake()
            incoming.write(outgoing.read())
    return near


def serving_with(credential: Credential) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    credential.load_into(context)
    return context


def test_a_server_of_the_named_authority_is_accepted(
    authority: Authority, server_credential: Credential
) -> None:
    connection = handshake(client_context(authority.trust), serving_with(server_credential))

    assert connection.version() == "TLSv1.3"
    assert connection.getpeercert(binary_form=True) == server_credential.chain_der[0]


@pytest.mark.parametrize(
    ("issue", "verify_code"),
    [
        pytest.param(lambda a: Authority.root().issue("localhost"), 20, id="another authority's"),
        pytest.param(lambda a: a.issue("other.test"), 62, id="another name"),
        pytest.param(
            lambda a: a.issue(Request.client("localhost")), 26, id="a client's certificate"
        ),
        pytest.param(
            lambda a: a.issue(Request.server("other.test", subject="localhost")),
            62,
            id="the name only as common name",
        ),
    ],
)
def test_any_other_server_is_refused_for_the_reason(
    authority: Authority, issue: Callable[[Authority], Credential], verify_code: int
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError) as refusal:
        handshake(client_context(authority.trust), serving_with(issue(authority)))

    assert refusal.value.verify_code == verify_code


def test_a_pinned_server_certificate_is_trust_enough(server_credential: Credential) -> None:
    pinned = Trust((server_credential.certificate,))

    assert handshake(client_context(pinned), serving_with(server_credential)).version()


def test_the_system_s_authorities_are_not_trusted(authority: Authority) -> None:
    context = client_context(authority.trust)

    assert context.get_ca_certs(binary_form=True) == [
        ssl.PEM_cert_to_DER_cert(authority.trust.pem.decode())
    ]


def test_every_protection_is_on(authority: Authority) -> None:
    context = client_context(authority.trust)

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert not context.hostname_checks_common_name
    assert context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN
    for option in (ssl.OP_NO_TICKET, ssl.OP_NO_RENEGOTIATION, ssl.OP_NO_COMPRESSION):
        assert context.options & option
    if ssl.OPENSSL_VERSION_INFO >= (3, 2):
        assert context.options >> 32 & 0b11 == 0b11  # certificates are not compressed
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.maximum_version is ssl.TLSVersion.TLSv1_3


def test_the_offered_protocols_are_negotiated(
    authority: Authority, server_credential: Credential
) -> None:
    far = serving_with(server_credential)
    far.set_alpn_protocols(["echo/1"])

    near = handshake(client_context(authority.trust, alpn=("h2", "echo/1")), far)

    assert near.selected_alpn_protocol() == "echo/1"


def test_a_context_that_could_accept_no_peer_is_refused(authority: Authority) -> None:
    with pytest.raises(ValueError, match="no trust anchors"):
        client_context(Trust(()))
    with pytest.raises(ValueError, match="nothing to offer"):
        client_context(
            authority.trust,
            minimum_version=ssl.TLSVersion.TLSv1_3,
            maximum_version=ssl.TLSVersion.TLSv1_2,
        )
