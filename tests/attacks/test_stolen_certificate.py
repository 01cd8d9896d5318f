"""Claim: a certificate without its private key is worth nothing, to a client or to a server.

Certificates are public. The proof is the signature over the handshake, and an attacker has four
ways to come by one: sign with another key, make up the bytes, take one that the owner made in
another handshake, or alter its own. The verifier finds each of them: decrypt_error (51), sent by
it and received by the attacker.

Noticed by the verifier: key-not-owned, decrypt_error.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from mtls_echo.attacks.copies import present_copy
from mtls_echo.attacks.handmade import Sign, present
from mtls_echo.attacks.relay import HEADER, Attack, Record
from mtls_echo_pki.flaws.keys import StolenCertificate
from mtls_echo_tls.alerts import AlertDescription
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.sides import Side
from mtls_echo_tls.trace.messages import CERTIFICATE_VERIFY, HANDSHAKE
from tests.attacks.world import (
    ALICE,
    CANARY,
    LOCALHOST,
    V12,
    V13,
    Connection,
    attacked,
    both_versions,
    client_of,
    server_of,
)


def pretender(version: ssl.TLSVersion) -> ssl.SSLContext:
    """A client with alice's certificate and a key of its own."""
    context = client_of(version, None)
    present_copy(context, ALICE.chain_der[0])
    return context


def assert_unproved(connection: Connection, verifier: Side) -> None:
    """The verifier refuses for want of proof; both ends name it, and nothing was echoed."""
    assert connection.echoed == 0
    presenter: Side = "server" if verifier == "client" else "client"
    noticed, told = connection.of(verifier), connection.of(presenter)
    for report, direction in (noticed, "sent"), (told, "received"):
        assert report.rejected_by == verifier
        assert "key-not-owned" in report.causes or "tampered" in report.causes
        assert report.alert is not None
        assert (report.alert.name, report.alert.direction) == ("decrypt_error", direction)
    assert noticed.causes[0] == "key-not-owned"
    assert noticed.peer is not None
    assert noticed.peer.fingerprint  # whose certificate was abused is in the log


@both_versions
async def test_a_client_that_signs_with_another_key(version: ssl.TLSVersion) -> None:
    async with attacked(version) as path:
        connection = await path.converse(pretender(version))

    assert_unproved(connection, "server")
    assert shown(connection.server) == ALICE.fingerprint


@both_versions
async def test_a_server_that_signs_with_another_key(version: ssl.TLSVersion) -> None:
    key = LOCALHOST.key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    stolen = StolenCertificate(
        key, LOCALHOST.certificate, own=key, foreign=ec.generate_private_key(key.curve)
    )
    async with attacked(context=server_of(version, stolen)) as path:
        connection = await path.converse(client_of(version))

    assert_unproved(connection, "client")
    assert shown(connection.client) == LOCALHOST.fingerprint


def shown(report: Report) -> str | None:
    return None if report.peer is None else report.peer.fingerprint


# --- in TLS 1.2, where CertificateVerify is in the clear -----------------------------------------


def is_verify(record: Record) -> bool:
    """Whether it has a CertificateVerify: an encrypted Finished may begin with any byte."""
    message = record.data[HEADER:]
    is_whole = int.from_bytes(message[1:4]) == len(message) - 4
    return record.content_type == HANDSHAKE and message[0] == CERTIFICATE_VERIFY and is_whole


def verify_of(connection: Connection) -> bytes:
    """The CertificateVerify that an eavesdropper saw."""
    [found] = [
        record.data[HEADER:] for record in connection.tap.sent_by("client") if is_verify(record)
    ]
    return found


def with_signature(verify: bytes, signature: bytes) -> bytes:
    """The same message with another signature."""
    body = verify[4:6] + len(signature).to_bytes(2) + signature
    return verify[:1] + len(body).to_bytes(3) + body


def made_up(verify: bytes) -> bytes:
    """A signature of the right form, of two random numbers."""
    numbers = (int.from_bytes(os.urandom(31)) for _ in "rs")
    return with_signature(verify, utils.encode_dss_signature(*numbers))


def altered(message: bytes) -> bytes:
    """The genuine one with its last bit flipped."""
    return message[:-1] + bytes([message[-1] ^ 1])


def replay_signature(verify: bytes) -> Attack:
    """Put another CertificateVerify in the place of the client's."""

    def attack(record: Record) -> list[bytes]:
        data = record.data
        if record.sender != "client" or not is_verify(record):
            return [data]
        return [data[: HEADER - 2] + len(verify).to_bytes(2) + verify]

    return attack


@pytest.mark.parametrize("forge", [made_up, altered, bytes])
async def test_a_forged_signature_in_the_place_of_the_clients(
    forge: Callable[[bytes], bytes],
) -> None:
    """Made up, altered, or alice's own of the connection before."""
    async with attacked(V12) as path:
        clean = await path.converse(client_of(V12))
        assert clean.verdicts == ("echoed", "echoed")
        for context in client_of(V12), pretender(V12):
            attack = replay_signature(forge(verify_of(clean)))
            assert_unproved(await path.converse(context, attack), "server")


async def test_what_is_put_in_its_place_is_what_the_server_verifies() -> None:
    """The forgery above fails for what it is: alice's own signature, put there again, passes."""
    async with attacked(V12) as path:
        connection = await path.converse(client_of(V12), put_back(), [CANARY])

    assert connection.verdicts == ("echoed", "echoed")


def put_back() -> Attack:
    def attack(record: Record) -> list[bytes]:
        data = record.data
        if record.sender == "client" and is_verify(record):
            return list(replay_signature(data[HEADER:])(record) or ())
        return [data]

    return attack


# --- in TLS 1.3, by a client made by hand --------------------------------------------------------

OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
SHA256 = ec.ECDSA(hashes.SHA256())


def by_alice(content: bytes) -> bytes:
    assert isinstance(ALICE.key, ec.EllipticCurvePrivateKey)
    return ALICE.key.sign(content, SHA256)


# fmt: off
SIGNATURES: dict[str, Sign] = {
    "made up": lambda _: utils.encode_dss_signature(2**255 + 1, 2**254 + 3),
    "not even one": lambda _: b"",
    "by another key": lambda content: OTHER_KEY.sign(content, SHA256),
    "by alice, altered": lambda content: altered(by_alice(content)),
    "by alice, in another handshake": lambda content: by_alice(altered(content)),
    "by alice, as a server": lambda content: by_alice(content.replace(b"client", b"server")),
}
# fmt: on


@pytest.mark.parametrize("sign", SIGNATURES.values(), ids=SIGNATURES)
async def test_no_other_signature_is_accepted(sign: Sign) -> None:
    """With the right one, the same client is let in: `test_phishing` does that."""
    async with attacked(V13) as path:
        answer = await present(path.relay.port, "localhost", ALICE.chain_der[0], sign)
        report = await path.next_report()

    assert answer.alert in (AlertDescription.decrypt_error, AlertDescription.decode_error)
    assert answer.data == b""
    assert report.rejected_by == "server"
    assert report.alert is not None
    assert report.alert.code == answer.alert
    assert shown(report) == ALICE.fingerprint
