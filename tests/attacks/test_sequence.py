"""Claim: records arrive once each and in the order in which they were sent, or not at all.

Deleted, inserted, replayed or put in another order: the receiver notices with the first record
that is not the next one, refuses with bad_record_mac (20), and gives nothing of it to the
application. The reason is the same each time: the number of the record, counted from the change
of keys, goes into its authentication tag, by the nonce in TLS 1.3 (RFC 8446 §5.3), as additional
data in TLS 1.2 (RFC 5246 §6.2.3.3). It is not sent: both ends count. And what was recorded on
another connection, or in the other direction, was protected with other keys.

An attacker that delivers nothing at all is not noticed by TLS: that is what deadlines are for.

Noticed by the receiver: tampered, bad_record_mac.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence

import pytest
import trio

from mtls_echo.attacks.relay import Attack, Record
from mtls_echo_tls.sides import Side, peer_of
from tests.attacks.world import (
    CANARY,
    SECOND,
    Connection,
    attacked,
    both_directions,
    both_versions,
    client_of,
)
from tests.support.tls import assert_damaged

# The last records of each end of a connection with one message: that, and close_notify.
AT_THE_END = 2

# What is done with the two messages, after an earlier connection over the same path.
Play = Callable[[Record, Record, Connection], Sequence[bytes]]

# fmt: off
PLAYS: dict[str, Play] = {
    "the first deleted": lambda _, second, __: [second.data],
    "the second before the first": lambda one, second, _: [second.data, one.data],
    "the first again": lambda one, second, _: [one.data, one.data, second.data],
    "the first in place of the second": lambda one, *_: [one.data, one.data],
    "made up": lambda one, second, _: [made_up(one), one.data, second.data],
    "in the clear": lambda one, second, _: [in_the_clear(one), one.data, second.data],
    "from another connection": lambda one, second, earlier: [
        earlier.tap.sent_by(one.sender)[one.number].data, one.data, second.data
    ],
    "the other direction's": lambda one, second, earlier: [
        earlier.tap.sent_by(peer_of(one.sender))[-AT_THE_END].data, one.data, second.data
    ],
}
# fmt: on


def made_up(record: Record) -> bytes:
    """A record of the same length whose content is invented."""
    return record.data[:5] + bytes(len(record.data) - 5)


def in_the_clear(_: Record) -> bytes:
    """Application data that is not encrypted."""
    return b"\x17\x03\x03" + len(CANARY).to_bytes(2) + CANARY


def hold_both(play: Play, sender: Side, clean: Connection, first_seen: trio.Event) -> Attack:
    """Keep the first message until the second is there; deliver what is made of both."""
    first = len(clean.tap.sent_by(sender)) - AT_THE_END
    kept: list[Record] = []

    def attack(record: Record) -> Sequence[bytes]:
        if record.sender != sender or record.number < first:
            return [record.data]
        kept.append(record)
        first_seen.set()
        if len(kept) == 2:
            return play(kept[0], kept[1], clean)
        return [record.data] if len(kept) > 2 else []

    return attack


@both_versions
@both_directions
@pytest.mark.parametrize("play", PLAYS.values(), ids=PLAYS)
async def test_the_receiver_refuses_what_is_not_the_next_record(
    version: ssl.TLSVersion, sender: Side, play: Play
) -> None:
    context = client_of(version)
    async with attacked(version) as path:
        clean = await path.converse(context, messages=[CANARY])
        seen = trio.Event()
        attack = hold_both(play, sender, clean, seen)
        connection = await path.converse(context, attack, [CANARY, SECOND], then=seen)
    receiver = peer_of(sender)
    noticed, told = connection.of(receiver), connection.of(sender)

    assert clean.verdicts == ("echoed", "echoed")
    assert (noticed.side, noticed.outcome) == (receiver, "refused")
    assert_damaged(noticed)
    assert (told.outcome, told.rejected_by) == ("refused", receiver)
    assert "tampered" in told.causes
    assert told.alert is not None
    assert (told.alert.name, told.alert.direction) == ("bad_record_mac", "received")
    # What came before the forgery was genuine, and nothing else was given to the application.
    assert connection.echoed in (0, len(CANARY))
