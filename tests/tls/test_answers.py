"""What servers say in place of an echo: the tables, and how they are read."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtls_echo_tls.answers.answer import ServerAnswer, heard, text_of, unknown
from mtls_echo_tls.answers.meaning import TURNED_AWAY, meaning_of, turned_away
from mtls_echo_tls.answers.settings import product_of, settings, topic_of
from mtls_echo_tls.answers.tables import rows
from mtls_echo_tls.causes import CAUSES
from mtls_echo_tls.slugs import Slug

TABLES = {"http.tsv": 5, "banners.tsv": 3, "settings.tsv": 4}


@pytest.mark.parametrize("name", TABLES)
def test_every_row_is_whole_and_has_its_source(name: str) -> None:
    for row in rows(name):
        assert len(row) == TABLES[name], row
        assert row[-1].strip(), row
    assert len({*rows(name)}) == len(rows(name))


def test_the_table_of_answers_knows_causes_and_texts_in_lower_case() -> None:
    for _, status, text, causes, _ in rows("http.tsv"):
        assert re.fullmatch(r"\d{3}|4xx", status)
        assert text == text.casefold()
        assert causes in ("*", "?") or {*causes.split()} <= CAUSES.keys()


@pytest.mark.parametrize("product", ["nginx", "Apache", "HAProxy", "Envoy", "Go", "Java", "node"])
def test_every_topic_has_a_setting_of_every_product(product: str) -> None:
    topics = {row[0] for row in rows("settings.tsv")}

    for topic in topics:
        assert [name for name, _ in settings(topic, product)] == [product]
        assert [name for name, _ in settings(topic, None)] == ["nginx", "Apache", "HAProxy"]
        assert [*settings(topic, "")] == []
    assert {topic_of(slug, "client") for slug in get_args(Slug)} <= {*topics, ""}


@pytest.mark.parametrize(
    ("said", "protocol"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "SSH"),
        (b"220 mx.test ESMTP Exim 4.96\r\n", "SMTP"),
        (b"500 unrecognized command\r\n", "SMTP"),
        (b"220 (vsFTPd 3.0.3)\r\n", "FTP"),
        (b"220 hello\r\n", "SMTP or FTP"),
        (b"* OK [CAPABILITY IMAP4rev1] Dovecot ready.\r\n", "IMAP"),
        (b"hello BAD Error in IMAP command received by server.\r\n", "IMAP"),
        (b"+OK Dovecot ready.\r\n", "POP3"),
        (b"-ERR Unknown command.\r\n", "POP3"),
        (b"-ERR unknown command 'hello', with args beginning with: \r\n", "Redis"),
        (b"-NOAUTH Authentication required.\r\n", "Redis"),
        (b"*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n", "Redis"),
        (b"E\0\0\0\x90SFATAL\0VFATAL\0C0A000\0", "PostgreSQL"),
        (b"\x4a\0\0\0\x0a5.5.5-10.11.6-MariaDB-0+deb12u1\0", "MySQL or MariaDB"),
        (b"<?xml version='1.0'?><stream:stream xmlns='jabber:client'", "XMPP"),
        (b"\0\0\x12\x04\0\0\0\0\0\0\x03", "HTTP/2"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1"),
        (b"ERROR\r\n", "memcached"),
    ],
)
def test_a_protocol_is_known_by_how_it_begins(said: bytes, protocol: str) -> None:
    answer = heard(said)

    assert answer is not None
    assert answer.protocol == protocol


@pytest.mark.parametrize("said", [b"", b"hello\n", b"good morning", b"\0", b"HTTP/1.1 abc", b"2"])
def test_what_may_be_anything_is_not_called_a_protocol(said: bytes) -> None:
    assert heard(said) is None


@given(st.binary(max_size=2000))
def test_whatever_is_heard_is_told_in_bounds_and_printable(data: bytes) -> None:
    for answer in (heard(data), unknown(data), unknown(b"HTTP/1.1 " + data, "why")):
        if answer is not None:
            assert str(answer).isprintable()
            assert answer.said.isprintable()
            assert len(str(answer)) < 400
    assert text_of(data).isprintable() or text_of(data) == ""
    assert len(text_of(data * 100)) <= 1000


def test_a_page_is_read_as_its_text() -> None:
    page = b"<html><head><title>T</title></head><style>x{}</style><h1>A &amp; B</h1><!-- c -->d"

    assert text_of(page) == "A & B d"
    assert text_of(b"<html><head><title>only\n this</title></head></html>") == "only this"
    assert text_of(b"<" * 100_000) == text_of(b"<" * 16_384)
    assert text_of(b"a<SCRIPT >x</script >b<style>never closed") == "a b"


def answer(status: int, text: str = "", server: str = "") -> ServerAnswer:
    return ServerAnswer(protocol="HTTP/1.1", status=status, text=text, server=server)


def test_a_status_without_words_leaves_open_what_it_is_about() -> None:
    asked = {"asked": True, "sent": True}

    assert meaning_of(answer(403), **asked).causes == ("not-authorised", "unknown-authority")
    assert meaning_of(answer(403), asked=True, sent=False).causes == (
        "no-client-certificate", "not-authorised",
    )  # fmt: skip
    assert meaning_of(answer(401), asked=False, sent=False).causes == ("not-authorised",)
    assert meaning_of(answer(200), **asked).causes == ()
    assert meaning_of(answer(404), **asked).causes == ()


@pytest.mark.parametrize(
    "text", ["Request forbidden by administrative rules.", "RBAC: access denied"]
)
def test_nor_do_the_words_of_a_rule_that_does_not_say_what_it_forbids(text: str) -> None:
    forbidden = answer(403, text)

    assert meaning_of(forbidden, asked=True, sent=False).causes[0] == "no-client-certificate"
    assert meaning_of(forbidden, asked=True, sent=True).causes == TURNED_AWAY
    assert meaning_of(forbidden, asked=False, sent=False).causes == ("not-authorised",)
    assert meaning_of(forbidden, asked=True, sent=True).product


@pytest.mark.parametrize("text", ["UNABLE_TO_GET_ISSUER_CERT", "invalid client certificate"])
def test_a_client_that_sent_no_certificate_is_told_nothing_of_one(text: str) -> None:
    """node's authorizationError is the former then."""
    unsent = meaning_of(answer(401, text), asked=True, sent=False)

    assert unsent.causes == ("no-client-certificate",)
    assert len(meaning_of(answer(401, text), asked=True, sent=True).causes) > 1


def test_the_listed_cas_tell_whether_a_client_was_turned_away_for_its_ca() -> None:
    assert turned_away((), {b"ours"}, [b"ours"]) == ("not-authorised",)
    assert turned_away((), {b"ours"}, [b"other"]) == ("unknown-authority", "not-authorised")
    assert turned_away((), {b"ours"}, []) == ("not-authorised", "unknown-authority")
    assert turned_away(("expired",), {b"ours"}, [b"ours"])[0] == "expired"


def test_an_issuer_that_seems_to_be_an_intermediate_was_left_out_rather_than_unknown() -> None:
    missing = turned_away((), {b"ours"}, [b"other"], omitted=True)

    assert missing == ("missing-intermediate", "unknown-authority", "not-authorised")
    assert "missing-intermediate" not in turned_away((), {b"ours"}, [b"ours"], omitted=True)


@pytest.mark.parametrize(
    ("of", "stacks", "product"),
    [
        (answer(400, server="nginx/1.22.1"), set[str](), "nginx"),
        (answer(403, server="Apache/2.4.62 (Debian)"), {"OpenSSL"}, "Apache"),
        (answer(403, "RBAC: access denied"), {"BoringSSL"}, "Envoy"),
        (answer(403, server="gunicorn"), {"OpenSSL"}, "gunicorn"),
        (answer(403), {"OpenSSL"}, None),
        (None, {"Go up to 1.20", "Go since 1.21"}, "Go"),
        (None, {"Java"}, "Java"),
        (None, {"GnuTLS"}, ""),
        (None, {"OpenSSL"}, None),
        (None, set[str](), None),
    ],
)
def test_a_product_is_known_by_what_it_shows(
    of: ServerAnswer | None, stacks: set[str], product: str | None
) -> None:
    assert product_of(of, stacks) == product
