"""What the recorded messages of a handshake show, in one pass over them.

It takes the last message of each type and direction. Two types are read by kind, not by direction:
the ClientHello, of which there are two after a HelloRetryRequest, and the CertificateRequest.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mtls_echo_tls.sides import Side
from mtls_echo_tls.trace import codepoints, messages
from mtls_echo_tls.trace.decoding import Requested, requested_in
from mtls_echo_tls.trace.messages import (
    ALERT,
    CERTIFICATE,
    CERTIFICATE_REQUEST,
    CERTIFICATE_VERIFY,
    CLIENT_HELLO,
    COMPRESSED_CERTIFICATE,
    ENCRYPTED_EXTENSIONS,
    HANDSHAKE,
    SERVER_HELLO,
    SERVER_KEY_EXCHANGE,
)
from mtls_echo_tls.trace.recorder import Recorder


class AlertSeen(msgspec.Struct, frozen=True):
    """An alert, ours if `sent`, that crossed the connection.

    One that was not protected proves nothing about who wrote it; None: there is no recording.
    """

    code: int
    sent: bool
    protected: bool | None


class Shown(msgspec.Struct, frozen=True):
    """What one side's recording shows; empty, false or None where no message shows it.

    Attributes:
        own_chain, peer_chain: The certificates presented, DER, end-entity first.
        request: What the CertificateRequest asks for.
        hello_answered, is_tls13: Whether there is a ServerHello, and EncryptedExtensions.
        client_random, server_name: Of the first ClientHello; the name is its SNI.
        alpn_offered, tls13_offered: Whether a ClientHello offers application protocols, TLS 1.3.
        group, signature: What key exchange and signature the server has used.
        alert: The fatal alert that was recorded first: there is one verdict.
    """

    own_chain: tuple[bytes, ...]
    peer_chain: tuple[bytes, ...]
    request: Requested | None
    hello_answered: bool
    is_tls13: bool
    client_random: str | None
    server_name: str | None
    alpn_offered: bool
    tls13_offered: bool
    group: str | None
    signature: str | None
    alert: AlertSeen | None


def shown_by(recorder: Recorder, side: Side) -> Shown:
    """What the recording of this side shows so far."""
    sent: dict[int, bytes] = {}  # the last of each type
    received: dict[int, bytes] = {}
    hellos: list[bytes] = []
    request: Requested | None = None
    alerted = False
    for _, way, version, content_type, body in recorder.recorded():
        if content_type == HANDSHAKE and body:
            kind = body[0]
            if kind == CLIENT_HELLO:
                hellos.append(body)
            elif kind == CERTIFICATE_REQUEST:
                request = requested_in(body, version)
            elif way == "write":
                sent[kind] = body
            else:
                received[kind] = body
        elif content_type == ALERT:
            alerted = True
    by_server = sent if side == "server" else received
    answer = by_server.get(SERVER_HELLO, b"")
    exchange = by_server.get(SERVER_KEY_EXCHANGE, b"")
    proof = by_server.get(CERTIFICATE_VERIFY, b"")
    group, signature = messages.agreed_in(answer, exchange, proof)
    read = [messages.read_hello(hello) for hello in hellos]
    # A second one, after a HelloRetryRequest, repeats the name and the random, which lies behind
    # 4 bytes of header and 2 of legacy_version (RFC 8446 §4.1.2).
    random = hellos[0][6:38] if hellos else b""
    return Shown(
        own_chain=_chain_in(sent),
        peer_chain=_chain_in(received),
        request=request,
        hello_answered=bool(answer),
        is_tls13=ENCRYPTED_EXTENSIONS in by_server,
        client_random=random.hex() if len(random) == 32 else None,
        server_name=read[0][0] if read else None,
        alpn_offered=any(alpn for _, alpn, _ in read),
        tls13_offered=any(tls13 for _, _, tls13 in read),
        group=codepoints.named(codepoints.GROUPS, group) if group else None,
        signature=codepoints.named(codepoints.SIGNATURE_SCHEMES, signature) if signature else None,
        alert=_alert_in(recorder) if alerted else None,
    )


def _alert_in(recorder: Recorder) -> AlertSeen | None:
    alert = recorder.fatal_alert
    if alert is None:
        return None
    return AlertSeen(alert.body[1], sent=alert.direction == "sent", protected=alert.protected)


def _chain_in(said: Mapping[int, bytes]) -> tuple[bytes, ...]:
    message = said.get(CERTIFICATE) or said.get(COMPRESSED_CERTIFICATE)
    return messages.chain_of(message) if message else ()
