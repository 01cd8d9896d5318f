"""Claim: no altered bit is accepted, in any record, in either direction.

Each bit of a whole connection is flipped in turn: handshake, a message, its echo, close_notify.
What is encrypted is authenticated with the record (RFC 8446 §5.2), and the receiver refuses it.
What is in the clear is authenticated by what follows: the signatures in CertificateVerify and, in
TLS 1.2, ServerKeyExchange; the Finished messages; and the keys, which depend on all of it. Where
the bit is part of a length, the receiver waits for what does not come, until its deadline.

One byte is accepted in any form, since it says nothing: the minor version in the record header of
either hello, which "MUST be ignored for all purposes" (RFC 8446 §5.1). And nothing hangs on the
server's close_notify here: the client closes first, when it has had every echo.

A sample of the bits is tried; ``MTLS_ECHO_EVERY_BIT=1`` tries all of them (`make bits`).

Noticed by the receiver: bad_record_mac for what is encrypted; decrypt_error where a signature or
Finished does not fit any more; a deadline where a length says that more is to come.
"""

from __future__ import annotations

import os
import ssl

import pytest
import trio.testing

from mtls_echo.attacks.relay import Attack, Record
from mtls_echo_pki.certificates.request import KeyType, Request
from mtls_echo_tls.diagnosis.joint import join_reports
from mtls_echo_tls.sides import Side, peer_of
from mtls_echo_tls.trace.messages import CHANGE_CIPHER_SPEC
from tests.attacks.world import (
    CANARY,
    V12,
    V13,
    Connection,
    attacked,
    both_directions,
    both_versions,
    client_of,
    server_of,
)
from tests.support.authorities import CLIENTS, SERVERS
from tests.support.servers import limits

# One in so many bits. An altered certificate in the clear costs most: its report finds the bit.
STRIDES = {V12: 131, V13: 47}

# All of them take minutes, so they are tried in shares.
SHARES = 64 if os.environ.get("MTLS_ECHO_EVERY_BIT") else 1

# Signatures of one length: every connection has the same records.
SERVER, ALICE = (
    SERVERS.issue(Request.server("localhost", subject="server", key_type=KeyType.ED25519)),
    CLIENTS.issue(Request.client("alice.test", subject="alice", key_type=KeyType.ED25519)),
)

# Of the ends, in seconds that pass when nothing else can happen.
DEADLINE = 10.0

# The minor version in a record's header, in bits.
MINOR_VERSION = range(16, 24)


def bits_of(record: Record, version: ssl.TLSVersion, share: int) -> range:
    """A share of a record's bits; of a sample, at least one of each record."""
    bits = 8 * len(record.data)
    if SHARES > 1:
        return range(share, bits, SHARES)
    # Begins elsewhere in each record, so that each field of the headers is met.
    stride = STRIDES[version]
    return range(record.number * 5 % min(stride, bits), bits, stride)


def flip(target: Record, bit: int) -> Attack:
    def attack(record: Record) -> list[bytes]:
        meant = (record.sender, record.number) == (target.sender, target.number)
        return [record.altered(bit) if meant else record.data]

    return attack


def is_refused(connection: Connection) -> bool:
    """Whether both ends report a failure, and nothing came through."""
    return connection.echoed == 0 and "echoed" not in (
        connection.client.outcome,
        connection.server.outcome,
    )


@both_versions
@both_directions
@pytest.mark.parametrize("share", range(SHARES))
async def test_no_altered_bit_is_accepted(
    version: ssl.TLSVersion, sender: Side, share: int, patient_clock: trio.testing.MockClock
) -> None:
    client, server = client_of(version, ALICE), server_of(version, SERVER)
    short = limits(handshake_timeout=DEADLINE, idle_timeout=DEADLINE)
    accepted: list[tuple[int, int]] = []
    async with attacked(context=server, limits=short) as path:
        clean = await path.converse(client, messages=[CANARY])
        assert clean.verdicts == ("echoed", "echoed")
        *records, goodbye = clean.tap.sent_by(sender)
        keys_change = [record.content_type for record in records].index(CHANGE_CIPHER_SPEC)
        for record in records:
            for bit in bits_of(record, version, share):
                connection = await path.converse(
                    client, flip(record, bit), [CANARY], timeout=DEADLINE
                )
                if not is_refused(connection):
                    assert connection.verdicts == ("echoed", "echoed"), (record.number, bit)
                    assert connection.echoed == len(CANARY)
                    accepted.append((record.number, bit))
                    continue
                for report in connection.client, connection.server:
                    assert report.causes, (record.number, bit)
                    assert report.summary
                noticed = connection.of(peer_of(sender))
                if record.number > keys_change and noticed.outcome == "refused":
                    assert "tampered" in noticed.causes, (record.number, bit)
                if connection.client.client_random == connection.server.client_random:
                    join_reports(connection.client, connection.server)
        for bit in bits_of(goodbye, version, share):
            connection = await path.converse(client, flip(goodbye, bit), [CANARY])
            assert connection.echoed == len(CANARY)
            if sender == "client":
                assert connection.server.outcome in ("refused", "failed")
                assert {"tampered", "truncated"} & {*connection.server.causes}

    assert {*accepted} <= {(0, bit) for bit in MINOR_VERSION}


@both_directions
async def test_a_record_that_was_made_too_short_is_not_called_an_internal_error_alone(
    sender: Side,
) -> None:
    """OpenSSL answers a Finished of TLS 1.2 that has 8 bytes with internal_error."""
    async with attacked(context=server_of(V12, SERVER)) as path:
        clean = await path.converse(client_of(V12, ALICE), messages=[CANARY])
        records = clean.tap.sent_by(sender)
        keys_change = [record.content_type for record in records].index(CHANGE_CIPHER_SPEC)
        finished = records[keys_change + 1]
        shortened = 4 * 8 + 5  # the bit of its length that is worth 32
        connection = await path.converse(
            client_of(V12, ALICE), flip(finished, shortened), [CANARY]
        )

    assert len(finished.data) == 5 + 40
    assert connection.echoed == 0
    for report in connection.client, connection.server:
        assert report.rejected_by == peer_of(sender)
    assert "tampered" in connection.of(peer_of(sender)).causes
