"""Two real ends, and bytes that are changed, left out, repeated or put in between them.

Whatever is done to them, what is delivered is what was sent, in order and from the beginning;
neither end hangs, and each says something sane about it. With a damage that did nothing, both
ends are content.
"""

from __future__ import annotations

import ssl
from typing import TypeAlias

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.stream.tls import TLSStream
from tests.support.fuzzing import examples
from tests.support.tls import V12, V13, client_side, server_side
from tests.tls.fuzz.wire import ends

# Where, what, and what with.
Change: TypeAlias = tuple[int, str, bytes]

_CONTEXTS = {version: (client_side(version), server_side(version)) for version in (V12, V13)}
_MESSAGES = [b"first", bytes(20_000), b"last"]

# A handshake has some 1,500 bytes in each direction; its last bytes and the data come behind.
_WHERE = st.one_of(st.integers(0, 60), st.integers(0, 2_500), st.integers(0, 25_000))
_CHANGES = st.lists(
    st.tuples(
        _WHERE,
        st.sampled_from(["flip", "flip", "set", "omit", "insert", "repeat"]),
        st.binary(min_size=1, max_size=40),
    ),
    max_size=3,
)


class Damage:
    """Changes to what one end sends, by the offset in it."""

    def __init__(self, changes: list[Change]) -> None:
        self.changes = changes
        self.done = 0

    def __call__(self, start: int, data: bytes) -> bytes:
        damaged = bytearray(data)
        for where, what, value in sorted(self.changes, reverse=True):
            at = where - start
            if not 0 <= at < len(damaged):  # less than was sent, if some was left out
                continue
            before, size = bytes(damaged), len(value)
            match what:
                case "flip":
                    damaged[at] ^= 1 << value[0] % 8
                case "set":
                    damaged[at : at + size] = value[: len(damaged) - at]
                case "omit":
                    del damaged[at : at + size]
                case "insert":
                    damaged[at:at] = value
                case _:
                    damaged[at:at] = damaged[at : at + size]
            self.done += damaged != before
        return bytes(damaged)


async def converse(stream: TLSStream, *, first: bool) -> tuple[bytes, Report]:
    """Send everything and receive everything; what was received, and the report."""
    received = b""
    try:
        await stream.do_handshake()
        if first:
            for message in _MESSAGES:
                await stream.send_all(message)
        while len(received) < sum(map(len, _MESSAGES)):
            if not (data := await stream.receive_some()):
                break
            received += data
            if not first:
                await stream.send_all(data)
        await stream.aclose()
    except TLSFailure as failure:
        await stream.aclose()
        return received, failure.report
    return received, diagnose(stream.evidence)


@given(version=st.sampled_from([V12, V13]), there=_CHANGES, back=_CHANGES)
@examples(150)
def test_what_is_damaged_is_never_delivered(
    version: ssl.TLSVersion, there: list[Change], back: list[Change]
) -> None:
    damages = Damage(there), Damage(back)
    told: list[tuple[bytes, Report]] = []

    async def run() -> None:
        transports = ends(100_000, 100_000, damages)
        contexts = _CONTEXTS[version]
        client = TLSStream(transports[0], contexts[0], server_name="localhost")
        server = TLSStream(transports[1], contexts[1], server_side=True)

        async def one(stream: TLSStream, *, first: bool) -> None:
            # A length that was changed makes an end wait for more than will come: as every
            # user of a stream has to, it has a deadline.
            with trio.move_on_after(10):
                told.append(await converse(stream, first=first))
                return
            failure = stream.expire()
            await stream.aclose()
            told.append((b"", failure.report))

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: one(client, first=True))
                nursery.start_soon(lambda: one(server, first=False))

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))

    everything = b"".join(_MESSAGES)
    untouched = damages[0].done == damages[1].done == 0
    for received, report in told:
        assert everything.startswith(received)
        assert report.summary.isprintable()
        assert report.outcome == "echoed" or report.causes
        # An alert in the clear may become any other: access_denied, too.
        assert report.outcome in ("echoed", "failed", "refused", "denied")
        assert not untouched or (report.outcome == "echoed" and received == everything)
