"""Failure cases without a bad certificate: configurations, identities and middleboxes.

Each function is one failure: its name is the slug, the first line of its docstring what happens,
and the rest what else there is to know. All credentials are good; each function changes one thing
about the two ends, or puts a middlebox between them (`mtls_echo.failures.middlebox`).
"""

from __future__ import annotations

import ssl
from functools import partial

from mtls_echo.demo.credentials import HOST
from mtls_echo.failures import middlebox
from mtls_echo.failures.case import (
    ALTERED_OR_NOT_OWNED,
    VERSIONS,
    credentials,
    failure_case,
    lenient_context,
    strict_context,
)
from mtls_echo.failures.play import Middlebox, PlainPeer, Setup
from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import KeyType, Request
from mtls_echo_pki.flaws.flaw import TLSVersion
from mtls_echo_server.access import Access
from mtls_echo_tls.stream.tcp import TCPStream

_client = partial(strict_context, "client")
_server = partial(strict_context, "server")


def _through(version: TLSVersion, middlebox: Middlebox) -> Setup:
    return Setup(client=_client(version), server=_server(version), middlebox=middlebox)


@failure_case("server", {"1.2": "handshake_failure", "1.3": "certificate_required"})
def no_client_certificate(version: TLSVersion) -> Setup:
    """A client presents no certificate to a server that requires one.

    TLS 1.2 has no alert for this and uses the most general one (RFC 5246 §7.4.6).
    """
    one = VERSIONS[version]
    anonymous = client_context(
        credentials().server_trust, minimum_version=one, maximum_version=one
    )
    return Setup(client=anonymous, server=_server(version))


@failure_case("server", {"1.2": "handshake_failure", "1.3": "protocol_version"})
def no_server_certificate(version: TLSVersion) -> Setup:
    """A server was started without a certificate.

    Without one, OpenSSL finds no usable cipher suite (TLS 1.2) or version (TLS 1.3), and reports
    that none is in common.
    """
    without = lenient_context("server", None, credentials().client_trust, version)
    return Setup(client=_client(version), server=without)


@failure_case("server", "protocol_version")
def no_common_version(version: TLSVersion) -> Setup:
    """The client supports only this version of TLS, and the server only the other one."""
    other: TLSVersion = "1.3" if version == "1.2" else "1.2"
    return Setup(client=_client(version), server=_server(other))


@failure_case("server", {"1.2": "handshake_failure"})
def no_common_cipher(version: TLSVersion) -> Setup:
    """Each side permits one cipher suite, and not the same one.

    Before 3.15, Python cannot disable any of the three suites of TLS 1.3, so all peers share one.
    """
    client_side, server_side = _client(version), _server(version)
    client_side.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    server_side.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")
    return Setup(client=client_side, server=server_side)


@failure_case("server", "handshake_failure")
def no_common_group(version: TLSVersion) -> Setup:
    """Each side permits one group for the key exchange, and not the same one."""
    client_side, server_side = _client(version), _server(version)
    client_side.set_ecdh_curve("prime256v1")
    server_side.set_ecdh_curve("secp521r1")
    return Setup(client=client_side, server=server_side)


@failure_case("server", "handshake_failure")
def no_common_signature_algorithm(version: TLSVersion) -> Setup:
    """The server's certificate has an Ed25519 key, and the client accepts no such signatures.

    OpenSSL's security level 4 demands 192 bits of strength, and Ed25519 has 128.
    """
    servers = Authority.root()
    ed25519 = servers.issue(Request.server(HOST, subject="server", key_type=KeyType.ED25519))
    client_side = _client(version)
    client_side.set_ciphers("DEFAULT:@SECLEVEL=4")
    return Setup(client=client_side, server=_server(version, ed25519))


@failure_case("client", None)
def no_common_alpn(version: TLSVersion) -> Setup:
    """The client offers one application protocol, and the server insists on another.

    OpenSSL continues without one, and Python cannot send the alert for it,
    no_application_protocol. Our client checks, and closes the connection.
    """
    return Setup(
        client=_client(version, alpn=("mtls-echo/2",)),
        server=_server(version, alpn=("mtls-echo/1",)),
    )


@failure_case("server", "unrecognized_name")
def unrecognised_name(version: TLSVersion) -> Setup:
    """The client asks for a name that the server does not serve, and the server says so.

    Most servers instead present the certificate that they have, and the client refuses it
    (wrong-name).
    """
    server_side = _server(version)

    def refuse(*_: object) -> int:
        return ssl.AlertDescription.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    server_side.sni_callback = refuse
    return Setup(client=_client(version), server=server_side)


def _sends(data: bytes) -> PlainPeer:
    """A peer that sends something other than TLS."""

    async def send(stream: TCPStream) -> None:
        await stream.send_all(data)
        await stream.send_eof()
        while await stream.receive_some():
            pass

    return send


@failure_case(None, None)
def plaintext_peer(version: TLSVersion) -> Setup:
    """The client has connected to a port without TLS.

    Here it is an SSH server's, which sends its greeting first.
    """
    return Setup(client=_client(version), server=_sends(b"SSH-2.0-OpenSSH_9.2\r\n"))


@failure_case(None, None)
def plaintext_client(version: TLSVersion) -> Setup:
    """The client speaks HTTP, and the server expects TLS."""
    return Setup(client=_sends(b"GET / HTTP/1.1\r\n\r\n"), server=_server(version))


@failure_case(None, None)
def timeout(version: TLSVersion) -> Setup:
    """Nothing comes back in time: a middlebox drops what the two sides send."""
    return _through(version, middlebox.drop)


@failure_case(None, None)
def reset(version: TLSVersion) -> Setup:
    """A middlebox resets the connection in the middle of the handshake."""
    return _through(version, middlebox.reset)


@failure_case(None, None)
def closed_without_alert(version: TLSVersion) -> Setup:
    """A middlebox closes the connection in the middle of the handshake."""
    return _through(version, middlebox.close)


@failure_case(None, None)
def truncated(version: TLSVersion) -> Setup:
    """A middlebox closes the connection while data is exchanged.

    Only close_notify proves that the other side has finished: any host on the path can close a TCP
    connection.
    """
    return _through(version, middlebox.truncate)


@failure_case("server", "bad_record_mac")
def tampered(version: TLSVersion) -> Setup:
    """An on-path attacker flips one bit of what the client sends after the handshake."""
    return _through(version, middlebox.damage_data)


@failure_case(
    "client",
    {"1.2": "decrypt_error", "1.3": "bad_record_mac"},
    cause="tampered",
    possible={"1.2": ALTERED_OR_NOT_OWNED},
)
def tampered_hello(version: TLSVersion) -> Setup:
    """An on-path attacker flips one bit of ServerHello.

    Hellos are sent in the clear. In TLS 1.2 the server's signature over them does not verify; in
    TLS 1.3 all keys depend on them, so the first encrypted record cannot be decrypted.
    """
    return _through(version, middlebox.damage_hello)


@failure_case(None, "decrypt_error", cause="tampered", forged=True)
def tampered_forged_alert(version: TLSVersion) -> Setup:
    """An on-path attacker sends both sides an alert in the other's name.

    Until the keys are in use an alert is sent in the clear, and does not prove who sent it. To
    each side the other seems to have refused; only both reports together show that neither did.
    """
    return _through(version, middlebox.forge_alert)


@failure_case("client", {"1.2": "illegal_parameter"})
def downgrade(version: TLSVersion) -> Setup:
    """An on-path attacker makes two sides that support TLS 1.3 fall back to TLS 1.2.

    A server that supports TLS 1.3 and is offered less says so in its random (RFC 8446 §4.1.3),
    which proves the attack to a client that had offered more.
    """
    setup = _through(version, middlebox.strip_tls13)
    for context in (setup.client, setup.server):
        if isinstance(context, ssl.SSLContext):
            context.maximum_version = VERSIONS["1.3"]
    return setup


@failure_case("server", None)
def not_authorised(version: TLSVersion) -> Setup:
    """The client's certificate is valid, but the server admits only another client.

    Authentication and authorisation are two questions. TLS has answered the first, so the server
    says this in a line of data and not in an alert.
    """
    return Setup(
        client=_client(version), server=_server(version), access=Access(dns=("bob.test",))
    )
