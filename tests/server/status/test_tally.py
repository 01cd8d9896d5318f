"""What a tally keeps, and how what workers have to tell reaches it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import msgspec
import pytest
from msgspec.structs import replace

from mtls_echo_server import events
from mtls_echo_server.status.tally import (
    LARGEST_MESSAGE,
    MOST_OTHERS,
    MOST_REFUSED,
    Feed,
    Tally,
    channel,
    decode,
)
from mtls_echo_tls.material.reloader import Reload
from mtls_echo_tls.trace.decoding import TraceEntry
from tests.server.status.world import ended, refusal, report


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    inbox, outbox = channel()
    with inbox, outbox:
        yield inbox, outbox


def drain(inbox: socket.socket, tally: Tally) -> int:
    """Take in what has arrived; return how many messages that was."""
    taken = 0
    while True:
        try:
            message = inbox.recv(2 * LARGEST_MESSAGE)
        except BlockingIOError:
            return taken
        tally.take_in(decode(message))
        taken += 1


def test_what_is_kept_is_bounded_and_successes_push_no_refusal_out() -> None:
    tally = Tally()
    tally(ended(refusal(1)))
    for number in range(2, 3_000):
        tally(ended(report(number)))
        tally(ended(refusal(number, client_random=None, causes=["closed-without-alert"])))
    assert tally.find(f"{1:064x}") is not None
    assert tally.find(f"{2_999:064x}") is not None
    assert tally.find(f"{2:064x}") is None
    assert len(tally.last(10_000)) == MOST_OTHERS + 1
    for number in range(3_000, 4_000):
        tally(ended(refusal(number)))
    assert tally.find(f"{1:064x}") is None
    assert len(tally.last(10_000)) == MOST_OTHERS + MOST_REFUSED


def test_a_flood_of_one_client_pushes_no_refusal_of_another_or_for_another_cause_out() -> None:
    tally = Tally()

    def refused(number: int, address: str, cause: str = "expired") -> None:
        event = ended(refusal(number, causes=[cause]))
        tally(replace(event, details={**event.details, "peer_address": address}))

    refused(1, "192.0.2.7:99")
    refused(2, "198.51.100.9:7", "revoked")
    refused(3, "[2001:db8::7]:99")
    for number in range(10, 2_000):
        refused(number, f"198.51.100.{number % 250}:{number}")

    assert [tally.find(f"{number:064x}") is not None for number in (1, 2, 3, 10)] == [
        *(True, True, True),
        False,
    ]
    kept = tally.last(10_000, refused_only=True)
    assert len(kept) == MOST_REFUSED
    assert kept[0].report.client_random == f"{1_999:064x}"


def test_a_large_trace_is_not_kept() -> None:
    tally = Tally()
    for number, size in ((1, 1_000), (2, 100_000)):
        entry = TraceEntry(
            time_ms=0, direction="sent", name="Certificate", size=size, protected=True, fields={}
        )
        tally(ended(refusal(number, trace=[entry])))
    large, small = (record.report.trace for record in tally.last(2))
    assert (large, bool(small)) == (None, True)


def test_a_worker_tells_what_is_new_and_nothing_twice(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    inbox, outbox = ends
    tally, here, now = Tally(), 4, 100.0
    feed = Feed(2, outbox, lambda: here, lambda: now)
    feed.send()
    assert drain(inbox, tally) == 1
    assert tally.workers == {2: 4}
    feed(events.accepted("127.0.0.1:1", None, "TLSv1.3", 0.01))
    feed(events.reload(Reload(True, 2, ("certificate",))))
    for number in range(100):
        feed(ended(report(number)))
    refused = refusal(1000)
    feed(ended(refused))
    here = 5
    feed.send()
    feed.send()
    assert drain(inbox, tally) <= 4
    assert tally.counts.handshakes["completed TLSv1.3"] == 100
    assert tally.counts.failures["server expired"] == 1
    assert sum(tally.counts.durations.counts) == 1
    assert tally.counts.reloads == {"success": 0, "failure": 0}
    assert tally.workers == {2: 5}
    record = tally.find(f"{1000:064x}")
    assert record is not None
    assert record.worker == 2
    assert record.report == refused
    assert len(tally.last(1000)) == 31
    now += 10  # whoever reads may be a new process
    feed.send()
    assert drain(inbox, tally) == 1


def test_where_nobody_reads_counts_wait_and_nothing_blocks(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    inbox, outbox = ends
    feed = Feed(1, outbox, lambda: 0)
    for number in range(2_000):
        feed(ended(refusal(number)))
        feed.send()
    tally = Tally()
    drain(inbox, tally)
    assert tally.counts.failures["server expired"] < 2_000
    feed.send()
    drain(inbox, tally)
    assert tally.counts.failures["server expired"] == 2_000


def test_a_report_that_fits_into_no_message_is_left_out(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    inbox, outbox = ends
    feed = Feed(1, outbox, lambda: 0)
    feed(ended(refusal(1, remedy="x" * LARGEST_MESSAGE)))
    feed(ended(refusal(2)))
    feed.send()
    tally = Tally()
    drain(inbox, tally)
    assert tally.counts.failures["server expired"] == 2
    assert [int(record.report.client_random or "", 16) for record in tally.last(9)] == [2]


def test_a_record_survives_its_way() -> None:
    tally = Tally()
    tally(ended(refusal(1)))
    [record] = tally.last(1)
    assert msgspec.json.decode(msgspec.json.encode(record), type=type(record)) == record
