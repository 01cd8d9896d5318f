"""Claim: an attacker cannot make two ends agree on less than both support.

The hellos are in the clear, and the attacker removes from ClientHello whatever it does not like.
But both ends authenticate the hellos as they saw them: with mutual TLS the client by its
CertificateVerify, both by their Finished, and in TLS 1.3 by every key. And the random that a
server signs in TLS 1.2 says if it supports TLS 1.3 (RFC 8446 §4.1.3). So the handshake fails
before anything is said.

Noticed by the client: downgrade, illegal_parameter, or in TLS 1.3 bad_record_mac; in TLS 1.2 the
server, by the client's signature: decrypt_error.
"""

from __future__ import annotations

import ssl

import pytest

from mtls_echo.attacks.relay import HEADER, Attack, Record
from mtls_echo.failures.middlebox import without_tls13
from tests.attacks.world import V12, V13, attacked, client_of

# Record header; then type and length of the handshake message, version, random (RFC 8446 §4.1.2).
_SESSION_ID = HEADER + 4 + 2 + 32

# A value that is never a cipher suite (RFC 8701): unknown ones are ignored.
_GREASE = b"\x0a\x0a"

# Not a suite but the promise of secure renegotiation (RFC 5746 §3.3): clients insist on an answer.
_SCSV = b"\x00\xff"

AES_128 = {V12: b"\xc0\x2b", V13: b"\x13\x01"}


def only(suite: bytes) -> Attack:
    """Leave one suite in the ClientHello; the others become values that no end knows."""

    def attack(record: Record) -> list[bytes]:
        if (record.sender, record.number) != ("client", 0):
            return [record.data]
        hello = record.data
        start = _SESSION_ID + 1 + hello[_SESSION_ID] + 2
        end = start + int.from_bytes(hello[start - 2 : start])
        offered = [hello[place : place + 2] for place in range(start, end, 2)]
        assert suite in offered
        kept = b"".join(each if each in (suite, _SCSV) else _GREASE for each in offered)
        return [hello[:start] + kept + hello[end:]]

    return attack


def strip_version(record: Record) -> list[bytes]:
    """Remove TLS 1.3 from the ClientHello."""
    is_hello = (record.sender, record.number) == ("client", 0)
    return [without_tls13(record.data) if is_hello else record.data]


async def test_the_client_notices_that_tls13_was_taken_from_its_hello() -> None:
    async with attacked() as path:
        clean = await path.converse(client_of())
        connection = await path.converse(client_of(), strip_version)

    assert clean.client.tls is not None
    assert clean.client.tls.version == "TLSv1.3"
    assert connection.echoed == 0
    assert connection.client.rejected_by == connection.server.rejected_by == "client"
    assert connection.client.causes == ["downgrade"]
    assert connection.server.alert is not None
    assert connection.server.alert.name == "illegal_parameter"


@pytest.mark.parametrize(
    ("version", "noticed_by", "alert"),
    [
        # The server verifies the client's CertificateVerify, which is over both hellos.
        pytest.param(V12, "server", "decrypt_error", id="TLS 1.2"),
        # All keys depend on the hellos: the server's first encrypted record cannot be decrypted.
        pytest.param(V13, "client", "bad_record_mac", id="TLS 1.3"),
    ],
)
async def test_cipher_suites_cannot_be_taken_from_the_hello(
    version: ssl.TLSVersion, noticed_by: str, alert: str
) -> None:
    async with attacked(version) as path:
        context = client_of(version)
        clean = await path.converse(context)
        connection = await path.converse(context, only(AES_128[version]))

    assert clean.client.tls is not None
    assert "AES_256" in (clean.client.tls.cipher or "").replace("AES256", "AES_256")
    assert connection.echoed == 0
    for report in connection.client, connection.server:
        assert report.rejected_by == noticed_by
        assert "tampered" in report.causes
        assert report.alert is not None
        assert report.alert.name == alert


async def test_with_a_version_as_floor_there_is_nothing_to_fall_back_to() -> None:
    async with attacked() as path:
        connection = await path.converse(client_of(V13), strip_version)

    assert connection.echoed == 0
    # Without TLS 1.3, nothing that such a client offers is of use to the server.
    for report in connection.client, connection.server:
        assert report.rejected_by == "server"
        assert report.alert is not None
        assert report.alert.name == "handshake_failure"
    assert "tampered" in connection.client.causes
