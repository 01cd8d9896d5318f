"""Chapter 3, the handshake, message by message: TLS 1.3, where its keys come from, and TLS 1.2."""

from __future__ import annotations

import itertools
import ssl
import tempfile
from pathlib import Path

from mtls_echo.demo.blocks import Cell, Diagram, Prose, Section, Status, Table, bad, good, unmet
from mtls_echo.demo.credentials import HOST, TLS12, TLS13, DemoCredentials
from mtls_echo.lesson.stage import Played, stage
from mtls_echo_tls.trace.decoding import decoded
from mtls_echo_tls.trace.messages import HANDSHAKE

# The secret of which a client's keys for application data are made (RFC 8446 §7.1), by its name
# in a key log (RFC 9850).
_LABEL = "CLIENT_TRAFFIC_SECRET_0"


async def play(_: Status) -> list[Section]:
    """Shake hands in both versions, and compare what the ends computed with what the relay has."""
    made = DemoCredentials.make()
    context = made.server_context(mutual=False)
    with tempfile.TemporaryDirectory(prefix="mtls-echo-") as folder:
        logs = [Path(folder) / side for side in ("client", "server")]
        client = made.client_context(version=TLS13)
        client.keylog_filename, context.keylog_filename = map(str, logs)
        async with stage(context) as scene:
            tls13 = await scene.play(client)
            tls12 = await scene.play(made.client_context(version=TLS12))
        secrets = [_secret(log) for log in logs]
    return [_messages(tls13), _keys(tls13, secrets, context), _version_1_2(made, tls12, tls13)]


def _secret(log: Path) -> bytes:
    lines = (line.split() for line in log.read_text("ascii").splitlines())
    return next(bytes.fromhex(line[2]) for line in lines if line[:1] == [_LABEL])


def _messages(played: Played) -> Section:
    hello = decoded(played.messages)[0]
    offered = sum("SCSV" not in suite for suite in hello.fields["cipher_suites"])
    tls = played.client.tls
    chosen = f"{tls.cipher} and {tls.group}" if tls else "nothing"
    return Section(
        "TLS 1.3, message by message",
        (
            Diagram(played.messages, played.client),
            Table(
                ("message", "says"),
                (
                    (
                        "ClientHello",
                        f"a random number; versions and {offered} cipher suites to choose from; a"
                        " public key, made for this connection",
                    ),
                    ("ServerHello", f"the choice, {chosen}, and a public key"),
                    ("Certificate", "encrypted (══) from here on; that of chapter 2"),
                    (
                        "CertificateVerify",
                        "a signature over all messages so far, by the private key",
                    ),
                    ("Finished", "a MAC over all messages: none of them was altered"),
                ),
            ),
        ),
        unmet({"both ends accept": played.client.outcome == played.server.outcome == "echoed"}),
    )


def _keys(played: Played, secrets: list[bytes], context: ssl.SSLContext) -> Section:
    everything = played.tap.everything
    seen = any(secret in everything for secret in secrets)
    relay: Cell = bad("has it") if seen else good(f"not found in {len(everything):,} bytes")
    exchanges = [suite["kea"] for suite in context.get_ciphers() if suite["protocol"] == "TLSv1.2"]
    return Section(
        "where the keys come from",
        (
            Prose(
                "The two public keys in the hellos are of a Diffie-Hellman exchange (ECDHE). From"
                " its own private key and the other's public key each end computes the same"
                " secret, which is never sent, and from that all keys of the connection. Both ends"
                " were asked here to write down a secret that they computed:"
            ),
            Table(
                ("end", f"{len(secrets[0])} bytes, which begin with"),
                (
                    ("client", secrets[0][:12].hex(" ")),
                    ("server", secrets[1][:12].hex(" ")),
                    ("relay", relay),
                ),
            ),
            Prose(
                "You may have read that the client makes a session key and sends it encrypted with"
                " the server's public key. That is the RSA key exchange of older versions. Its"
                " flaw: with the private key, stolen years later, every recorded connection can be"
                " decrypted. TLS 1.3 removed it, and none of the"
                f" {len(exchanges)} cipher suites that this server has for TLS 1.2 uses it. Here"
                " the server's private key signs, and a thief of it can decrypt no recording. This"
                " is called forward secrecy."
            ),
        ),
        unmet(
            {
                "both ends compute the same secret": secrets[0] == secrets[1],
                "the relay does not have it": not seen,
                "each TLS 1.2 suite is ephemeral": set(exchanges) == {"kx-ecdhe"},
            }
        ),
    )


def _version_1_2(made: DemoCredentials, tls12: Played, tls13: Played) -> Section:
    certificate = made.server.chain_der[0]
    both = (tls12, tls13)
    name = [HOST.encode() in each.tap.everything for each in both]
    readable = [certificate in each.tap.everything for each in both]
    return Section(
        "the same in TLS 1.2",
        (
            Diagram(tls12.messages, tls12.client),
            Table(
                ("", "TLS 1.2", "TLS 1.3"),
                (
                    ("before it sends data, the client waits", *map(_waits, both)),
                    ("to the relay, the name asked for is", *map(_readable, name)),
                    ("to the relay, the certificate is", *map(_readable, readable)),
                    ("the server signs", "its ephemeral key", "all messages so far"),
                ),
            ),
        ),
        unmet(
            {
                "TLS 1.2 shows the certificate, TLS 1.3 does not": readable == [True, False],
                "both show the name": name == [True, True],
                "TLS 1.3 needs one round trip, TLS 1.2 two": [*map(_round_trips, both)] == [2, 1],
            }
        ),
    )


def _round_trips(played: Played) -> int:
    """How often the client had to wait for the server before it could send data."""
    handshake = [each.direction for each in played.messages if each.content_type == HANDSHAKE]
    return sum(turn == ("sent", "received") for turn in itertools.pairwise(handshake))


def _waits(played: Played) -> str:
    return f"{_round_trips(played)} times" if _round_trips(played) > 1 else "once"


def _readable(found: bool) -> Cell:
    return bad("readable") if found else good("encrypted")
