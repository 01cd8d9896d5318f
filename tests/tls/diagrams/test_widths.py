"""Every diagram in terminals of any width: it fits, or a list of the messages says why."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from mtls_echo_pki.certificates.request import Request
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.diagrams.columns import one_column_each
from mtls_echo_tls.diagrams.narrow import glance_within, sequence_within
from mtls_echo_tls.trace.decoding import TraceEntry
from mtls_echo_tls.trace.messages import Direction, Message
from tests.support import timing
from tests.support.authorities import CLIENTS
from tests.support.tls import V12, V13
from tests.tls.diagrams.test_diagrams import conversation


async def _recorded() -> list[tuple[Report, list[Message]]]:
    long = CLIENTS.issue(Request.client(f"{'a' * 60}.{'b' * 60}.test"))
    talks = [
        await conversation(V12),
        await conversation(V13),
        await conversation(V13, name="wrong.test"),
        await conversation(V13, bearer=long),
    ]
    return [(client, messages) for client, _, messages in talks]


RECORDED = timing.run(_recorded)


def in_columns(columns: int, *, ascii_only: bool = False) -> list[list[str]]:
    """Both diagrams of every handshake."""
    return [
        lines
        for report, messages in RECORDED
        for lines in (
            sequence_within(report, columns, ascii_only=ascii_only),
            glance_within(messages, report, columns, indent=2, ascii_only=ascii_only),
        )
    ]


def words(lines: list[str]) -> list[str]:
    """What is written, without the borders, and as it is when it is not cut."""
    text = " ".join(lines)
    return sorted({word.rstrip(",") for word in re.findall(r"[\w.,-]+", text)})


@pytest.mark.parametrize("columns", [14, 36, 39, 47, 59, 60, 80, 100, 200])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_no_line_is_wider_than_the_terminal(columns: int, ascii_only: bool) -> None:
    for lines in in_columns(columns, ascii_only=ascii_only):
        assert lines
        assert max(map(cell_len, lines)) <= columns
        assert not ascii_only or all(line.isascii() for line in lines)


@pytest.mark.parametrize("columns", [47, 60, 80, 200])
def test_words_are_whole(columns: int) -> None:
    suite = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
    in_full, glance, *_ = in_columns(columns)

    assert suite in words(in_full)
    assert {"ServerKeyExchange", "CertificateVerify", "alice.test"} <= set(words(glance))


def test_where_it_has_no_room_a_line_says_so_and_the_messages_are_listed() -> None:
    narrow, wide = in_columns(47)[2], in_columns(80)[2]

    assert " ".join(narrow[:2]) == "the diagram needs 60 columns; this terminal has 47"
    assert re.fullmatch(r"→ ClientHello, \d+ bytes, at \d+\.\d ms", narrow[2])
    assert "← Finished, " in "\n".join(narrow)
    assert not re.search("[│▶◀═─]", "".join(narrow))
    said = re.compile(r"verifies|refuses|accepted|sends?|application|data")
    assert said.findall(" ".join(narrow)) == said.findall(" ".join(wide))


def test_the_glance_is_drawn_in_forty_columns_and_listed_in_less() -> None:
    drawn, listed = in_columns(40)[1], in_columns(39)[1]

    assert drawn[0].split() == ["client", "server"]
    assert listed[:2] == ["  the diagram needs 40 columns; this", "  terminal has 39"]
    assert "  → ClientHello for localhost" in listed


def test_a_list_of_no_messages_is_empty() -> None:
    assert sequence_within(msgspec.structs.replace(RECORDED[0][0], trace=None), 40) == []


def test_every_character_has_one_column() -> None:
    everything = "".join(chr(number) for number in range(0x110000))
    kept = [character for character in everything if one_column_each(character) == character]

    assert [unicodedata.name(it) for it in kept if cell_len(it) != 1] == []
    assert {"a", "ü", "ж", "“", "…", "→"} <= set(kept)
    assert not {"\n", "\x1b", "中", "\u0301", "\ufe0f", "🔒", "\u202e", "\ud800"} & set(kept)


def _entry(direction: Direction, name: str, **fields: Any) -> TraceEntry:
    return TraceEntry(
        time_ms=1.0, direction=direction, name=name, size=9, protected=False, fields=fields
    )


@given(st.text(max_size=200), st.integers(14, 120), st.booleans())
def test_no_name_that_a_peer_chose_is_wider(name: str, columns: int, ascii_only: bool) -> None:
    certificate = {"subject": f"CN={name}", "issuer": name, "names": [name]} | dict.fromkeys(
        ("not_before", "not_after"), "2026-01-01T00:00:00Z"
    )
    hello = _entry("sent", "ClientHello", server_name=name)
    theirs = _entry("received", "Certificate", certificates=[certificate])
    report = msgspec.structs.replace(RECORDED[0][0], trace=[hello, theirs])

    for line in sequence_within(report, columns, ascii_only=ascii_only):
        assert line.isprintable()
        assert cell_len(line) <= columns
