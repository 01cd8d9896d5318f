"""Failures that lie in no certificate: in a configuration, an identity, or on the way.

One function is one failure: its name is the slug, the first line of its docstring what happens,
and the rest what there is to know. Credentials are sound throughout; each function changes one
thing about the two ends, or puts somebody between them (`mtls_echo.failures.middlebox`).
"""

from __future__ import annotations

import ssl

from mtls_echo.demo.scenes import HOST
from mtls_echo.failures import middlebox as interferences
from mtls_echo.failures.case import ALTERED_OR_NOT_OWNED, VERSIONS, careless, cast, observation
from mtls_echo.failures.play import Interference, Setting, Stranger
from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import KeyType, Request
from mtls_echo_pki.flaws.flaw import TLSVersion
from mtls_echo_server.access import Access
from mtls_echo_server.context import server_context
from mtls_echo_tls.stream.tcp import TCPStream


def _client(
    version: TLSVersion, credential: Credential | None = None, alpn: tuple[str, ...] = ()
) -> ssl.SSLContext:
    one = VERSIONS[version]
    return client_context(
        cast().server_trust,
        credential or cast().alice,
        minimum_version=one,
        maximum_version=one,
        alpn=alpn,
    )


def _server(
    version: TLSVersion, credential: Credential | None = None, alpn: tuple[str, ...] = ()
) -> ssl.SSLContext:
    one = VERSIONS[version]
    return server_context(
        credential or cast().server,
        cast().client_trust,
        minimum_version=one,
        maximum_version=one,
        alpn=alpn,
    )


def _disturbed(version: TLSVersion, interference: Interference) -> Setting:
    return Setting(client=_client(version), server=_server(version), interference=interference)


@observation("server", {"1.2": "handshake_failure", "1.3": "certificate_required"})
def no_client_certificate(version: TLSVersion) -> Setting:
    """A client presents no certificate to a server that requires one.

    TLS 1.2 has no alert for this and uses the most general one (RFC 5246 §7.4.6).
    """
    one = VERSIONS[version]
    anonymous = client_context(cast().server_trust, minimum_version=one, maximum_version=one)
    return Setting(client=anonymous, server=_server(version))


@observation("server", {"1.2": "handshake_failure", "1.3": "protocol_version"})
def no_server_certificate(version: TLSVersion) -> Setting:
    """A server was started without a certificate.

    Nothing it could agree on would work without one, so OpenSSL finds no cipher suite (TLS 1.2)
    or no version (TLS 1.3) in common, and says that.
    """
    bare = careless("server", None, cast().client_trust, version)
    return Setting(client=_client(version), server=bare)


@observation("server", "protocol_version")
def no_common_version(version: TLSVersion) -> Setting:
    """The client speaks this version of TLS only, and the server only the other one."""
    other: TLSVersion = "1.3" if version == "1.2" else "1.2"
    return Setting(client=_client(version), server=_server(other))


@observation("server", {"1.2": "handshake_failure"})
def no_common_cipher(version: TLSVersion) -> Setting:
    """Each side permits one cipher suite, and not the same one.

    In TLS 1.3 Python can choose none of the three suites away before 3.15, so all peers share one.
    """
    client_side, server_side = _client(version), _server(version)
    client_side.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    server_side.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")
    return Setting(client=client_side, server=server_side)


@observation("server", "handshake_failure")
def no_common_group(version: TLSVersion) -> Setting:
    """Each side permits one group for the key exchange, and not the same one."""
    client_side, server_side = _client(version), _server(version)
    client_side.set_ecdh_curve("prime256v1")
    server_side.set_ecdh_curve("secp521r1")
    return Setting(client=client_side, server=server_side)


@observation("server", "handshake_failure")
def no_common_signature_algorithm(version: TLSVersion) -> Setting:
    """The server's certificate has an Ed25519 key, and the client accepts no such signatures.

    OpenSSL's security level 4 demands 192 bits of strength, and Ed25519 has 128.
    """
    servers = Authority.root()
    ed25519 = servers.issue(Request.server(HOST, subject="server", key_type=KeyType.ED25519))
    client_side = _client(version)
    client_side.set_ciphers("DEFAULT:@SECLEVEL=4")
    return Setting(client=client_side, server=_server(version, ed25519))


@observation("client", None)
def no_common_alpn(version: TLSVersion) -> Setting:
    """The client offers one application protocol, and the server insists on another.

    OpenSSL goes on without one unless an application objects, and Python cannot send the alert
    for it, no_application_protocol: our client minds, and closes the connection.
    """
    return Setting(
        client=_client(version, alpn=("mtls-echo/2",)),
        server=_server(version, alpn=("mtls-echo/1",)),
    )


@observation("server", "unrecognized_name")
def unrecognised_name(version: TLSVersion) -> Setting:
    """The client asks for a name that the server does not serve, and the server says so.

    Most servers rather show the certificate that they have, and leave it to the client to refuse
    it (wrong-name).
    """
    server_side = _server(version)

    def refuse(*_: object) -> int:
        return ssl.AlertDescription.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    server_side.sni_callback = refuse
    return Setting(client=_client(version), server=server_side)


def _says(words: bytes) -> Stranger:
    """Somebody who says something that is not TLS."""

    async def speak(stream: TCPStream) -> None:
        await stream.send_all(words)
        await stream.send_eof()
        while await stream.receive_some():
            pass

    return speak


@observation(None, None)
def plaintext_peer(version: TLSVersion) -> Setting:
    """The client has come to a port on which nobody speaks TLS.

    Here it is an SSH server's, which greets first.
    """
    return Setting(client=_client(version), server=_says(b"SSH-2.0-OpenSSH_9.2\r\n"))


@observation(None, None)
def plaintext_client(version: TLSVersion) -> Setting:
    """The client speaks HTTP, and the server expects TLS."""
    return Setting(client=_says(b"GET / HTTP/1.1\r\n\r\n"), server=_server(version))


@observation(None, None)
def timeout(version: TLSVersion) -> Setting:
    """Nothing comes back in time: the path swallows what the two sides send."""
    return _disturbed(version, interferences.swallow)


@observation(None, None)
def reset(version: TLSVersion) -> Setting:
    """Somebody on the path resets the connection in the middle of the handshake."""
    return _disturbed(version, interferences.reset)


@observation(None, None)
def closed_without_alert(version: TLSVersion) -> Setting:
    """Somebody on the path closes the connection in the middle of the handshake."""
    return _disturbed(version, interferences.close)


@observation(None, None)
def truncated(version: TLSVersion) -> Setting:
    """Somebody on the path closes the connection in the middle of the conversation.

    Only close_notify says that the other side has finished; anybody can end a TCP connection.
    """
    return _disturbed(version, interferences.truncate)


@observation("server", "bad_record_mac")
def tampered(version: TLSVersion) -> Setting:
    """Somebody on the path flips one bit of what the client sends after the handshake."""
    return _disturbed(version, interferences.damage_data)


@observation(
    "client",
    {"1.2": "decrypt_error", "1.3": "bad_record_mac"},
    cause="tampered",
    possible={"1.2": ALTERED_OR_NOT_OWNED},
)
def tampered_hello(version: TLSVersion) -> Setting:
    """Somebody on the path flips one bit of ServerHello.

    Hellos travel in the clear. In TLS 1.2 the server's signature over them comes out wrong; in
    TLS 1.3 all keys depend on them, so the first encrypted record cannot be read.
    """
    return _disturbed(version, interferences.damage_hello)


@observation(None, "decrypt_error", cause="tampered", forged=True)
def tampered_forged_alert(version: TLSVersion) -> Setting:
    """Somebody on the path sends both sides an alert in the other's name.

    Until the keys are in use an alert travels in the clear, and proves nothing about who wrote
    it. Each side believes that the other refused; only both reports together show that neither
    did.
    """
    return _disturbed(version, interferences.forge_alert)


@observation("client", {"1.2": "illegal_parameter"})
def downgrade(version: TLSVersion) -> Setting:
    """Somebody on the path makes two sides that speak TLS 1.3 fall back to TLS 1.2.

    A server that knows TLS 1.3 and is asked for less says so in its random (RFC 8446 §4.1.3),
    which a client that had asked for more takes as proof.
    """
    setting = _disturbed(version, interferences.strip_tls13)
    for context in (setting.client, setting.server):
        if isinstance(context, ssl.SSLContext):
            context.maximum_version = VERSIONS["1.3"]
    return setting


@observation("server", None)
def not_authorised(version: TLSVersion) -> Setting:
    """The client's certificate is genuine, but the server admits only somebody else.

    Who somebody is and whether that one may enter are two questions. TLS has answered the first,
    so this is told in a line of data and not in an alert.
    """
    return Setting(
        client=_client(version), server=_server(version), access=Access(dns=("bob.test",))
    )
