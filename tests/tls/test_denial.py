"""The denial line, by which an authenticated client is refused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mtls_echo_tls.denial import DENIAL, denial_in, denial_line


def test_a_denial_is_read_back() -> None:
    assert denial_in(denial_line("no --allow-dns names a.test")) == "no --allow-dns names a.test"


@given(st.text(alphabet=st.characters(), max_size=1000))
def test_a_denial_is_one_bounded_printable_line_whatever_the_names_are(reason: str) -> None:
    line = denial_line(reason)
    assert line.startswith(DENIAL)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert len(line) <= 512
    read = denial_in(line)
    assert read is not None
    assert read.isprintable()
    assert reason.startswith(read) or not reason.isprintable()


@given(st.binary(max_size=600))
def test_what_a_server_says_is_a_denial_or_not_and_never_commands_a_terminal(said: bytes) -> None:
    assert denial_in(said) is None or said.startswith(DENIAL)
    read = denial_in(DENIAL + said + b"\n")
    assert read is None or read.isprintable()


def test_an_echo_that_only_looks_like_a_denial_is_none() -> None:
    for data in (DENIAL, DENIAL + b"x", b"x" + DENIAL + b"\n", DENIAL + b"a\nb\n", b""):
        assert denial_in(data) is None
    assert denial_in(DENIAL + b"x" * 600 + b"\n") is None
