"""Chapter 4, mutual TLS: the client presents a certificate too."""

from __future__ import annotations

from mtls_echo.demo.blocks import (
    Bullets,
    Cell,
    Diagram,
    Prose,
    Section,
    Status,
    Table,
    bad,
    good,
    unmet,
)
from mtls_echo.demo.credentials import TLS12, TLS13, DemoCredentials
from mtls_echo.lesson.stage import Played, accounts, stage

_LEARNS = {"handshake": "in the handshake", "first-read": "with its first read"}


async def play(_: Status) -> list[Section]:
    """Connect with a certificate, in both versions, and without one."""
    made = DemoCredentials.make()
    async with stage(made.server_context(mutual=True)) as scene:
        accepted = [await scene.play(made.client_context(made.alice, v)) for v in (TLS12, TLS13)]
        refused = [await scene.play(made.client_context(None, v)) for v in (TLS12, TLS13)]
    return [_mutual(accepted[1]), _versions(made, accepted, refused)]


def _mutual(played: Played) -> Section:
    known = played.server.peer.names if played.server.peer else []
    return Section(
        "both ends prove who they are",
        (
            Prose(
                "In mutual TLS (mTLS) the server asks for a certificate, with CertificateRequest."
                " Alice's client sends hers, and signs the handshake with her private key. The"
                " server verifies both, with the trust anchors that it has for clients:"
            ),
            Diagram(played.messages, played.client),
            accounts(played),
            Prose(
                "Before the first byte of data the server knows"
                f" who is there, {', '.join(known)}. Whether alice may do what she asks for is"
                " another question: authorisation, as in `mtls-echo serve --allow-dns`."
            ),
        ),
        unmet(
            {
                "both ends accept": played.client.outcome == played.server.outcome == "echoed",
                "the server knows alice": known == ["alice.test"],
            }
        ),
    )


def _versions(made: DemoCredentials, accepted: list[Played], refused: list[Played]) -> Section:
    certificate = made.alice.chain_der[0]
    readable = [certificate in each.tap.everything for each in accepted]
    alerts = [each.client.alert.name if each.client.alert else "none" for each in refused]
    stages = [each.client.stage for each in refused]
    return Section(
        "mutual TLS in TLS 1.2 and 1.3",
        (
            Table(
                ("", "TLS 1.2", "TLS 1.3"),
                (
                    ("alice's certificate, on the path", *map(_readable, readable)),
                    ("the alert to a client without one", *alerts),
                    ("that client learns of it", *(_LEARNS.get(each, each) for each in stages)),
                ),
            ),
            Bullets(
                (
                    "In TLS 1.2 everyone on the path reads who the client is. TLS 1.3 encrypts all"
                    " certificates.",
                    "In TLS 1.3 the client's certificate is in its last message. So for the"
                    " client the handshake is over **before** the server has verified anything. It"
                    " may have sent its first request already when the alert comes, and a"
                    " program that reports “connected” at that point is wrong. `mtls-echo connect`"
                    " waits for the first byte from the server before it says so.",
                    "A server that closes the connection at once can lose its alert: a TCP reset"
                    " deletes what the client has not read yet, and all it sees is “connection"
                    " reset by peer”. `mtls-echo serve` keeps the connection until the client has"
                    " the alert.",
                )
            ),
            Prose(
                "Most trouble with mutual TLS is of this kind: one end refuses, the other does not"
                " learn why. Chapter 6 shows both ends."
            ),
        ),
        unmet(
            {
                "TLS 1.2 shows alice's certificate, TLS 1.3 does not": readable == [True, False],
                "the client learns of a refusal in, and after, the handshake": stages
                == ["handshake", "first-read"],
            }
        ),
    )


def _readable(found: bool) -> Cell:
    return bad("readable") if found else good("encrypted")
