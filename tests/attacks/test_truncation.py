"""Claim: an attacker that cuts a connection short cannot make it look finished.

Any host on the path can send a FIN in the name of either end; TCP does not know better.
Only close_notify (RFC 8446 §6.1), which is authenticated as all records are, says that the peer
has sent everything. Without it both ends report a failure, not an end: however much had arrived,
and also when close_notify is all that is missing.

Noticed by the end that still waits for something: truncated. There is no alert to receive any
more.
"""

from __future__ import annotations

import ssl

from mtls_echo.attacks.relay import Attack, Record
from mtls_echo_tls.sides import Side
from tests.attacks.world import (
    CANARY,
    SECOND,
    attacked,
    both_directions,
    both_versions,
    client_of,
)


def cut_at(sender: Side, number: int) -> Attack:
    """End both TCP connections in place of one record."""

    def attack(record: Record) -> list[bytes] | None:
        return None if (record.sender, record.number) == (sender, number) else [record.data]

    return attack


@both_versions
@both_directions
async def test_an_end_without_close_notify_is_a_failure(
    version: ssl.TLSVersion, sender: Side
) -> None:
    context = client_of(version)
    async with attacked(version) as path:
        clean = await path.converse(context, messages=[CANARY])
        last = len(clean.tap.sent_by(sender)) - 1
        data = await path.converse(context, cut_at(sender, last), [CANARY, SECOND])
        goodbye = await path.converse(context, cut_at(sender, last), [CANARY])

    assert data.client.outcome == data.server.outcome == "failed"
    assert data.client.causes == data.server.causes == ["truncated"]
    assert data.echoed == len(CANARY)
    # A client that has sent close_notify has had every echo before, and waits for nothing.
    assert goodbye.client.outcome == "echoed"
    assert goodbye.echoed == len(CANARY)
    if sender == "client":
        assert (goodbye.server.outcome, goodbye.server.causes) == ("failed", ["truncated"])


@both_versions
@both_directions
async def test_a_connection_that_is_cut_in_the_handshake_was_never_one(
    version: ssl.TLSVersion, sender: Side
) -> None:
    context = client_of(version)
    async with attacked(version) as path:
        clean = await path.converse(context, messages=[CANARY])
        handshake = len(clean.tap.sent_by(sender)) - 2
        for number in range(handshake):
            connection = await path.converse(context, cut_at(sender, number), [CANARY])

            assert connection.echoed == 0
            assert connection.client.outcome == "failed"
            assert connection.client.rejected_by is None
            assert connection.server.outcome == "failed"
