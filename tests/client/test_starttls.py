"""TLS in the middle of a plaintext protocol: begun, refused, injected behind, garbled, silent."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from functools import partial

import pytest
import trio.testing

from mtls_echo_client.check import check
from mtls_echo_client.exit_status import exit_status
from mtls_echo_client.session import connect
from mtls_echo_client.starttls.negotiation import starttls
from mtls_echo_client.starttls.ports import PORTS
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.diagnosis.report import Report
from tests.client.sessions import alice
from tests.client.sessions import world as world
from tests.support.clients import (
    Behaviour,
    World,
    close_at_once,
    drain,
    echo,
    saying,
    serving,
    speaking_plainly,
)
from tests.support.timing import TIMEOUT, flying

# What the server says, and before it how a request of the client's has to begin.
Script = Sequence[tuple[bytes, bytes]]

MYSQL = (
    b"\x0a" + b"8.0.36\0" + b"\1\0\0\0" + b"challeng" + b"\0" + b"\xff\xff" + b"\x2d\2\0\xff\xdf"
)
WITHOUT_TLS = MYSQL.replace(b"\xff\xff", b"\xff\xf7")
LDAP_OID = b"1.3.6.1.4.1.1466.20037"
STREAM = b"<?xml version='1.0'?><stream:stream from='localhost' id='1>2' version='1.0'>"
TLS_FEATURE = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"
PROCEED = b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"


def packet(payload: bytes, number: int = 0) -> bytes:
    """A packet of MySQL's protocol."""
    return len(payload).to_bytes(3, "little") + bytes([number]) + payload


def postgres_error(*fields: bytes) -> bytes:
    """An ErrorResponse."""
    contents = b"".join(field + b"\0" for field in fields) + b"\0"
    return b"E" + (len(contents) + 4).to_bytes(4, "big") + contents


def ldap_result(code: int, text: bytes = b"") -> bytes:
    """An extended response, as OpenLDAP sends it."""
    contents = b"\x0a\1" + bytes([code]) + b"\4\0\4" + bytes([len(text)]) + text
    response = b"\x78" + bytes([len(contents)]) + contents
    return b"\x30" + bytes([len(response) + 3]) + b"\2\1\1" + response


def features(*inside: bytes) -> bytes:
    """What an XMPP server opens its stream with."""
    return STREAM + b"<stream:features>" + b"".join(inside) + b"</stream:features>"


GOOD: dict[str, Script] = {
    "postgres": [(b"\0\0\0\x08\x04\xd2\x16\x2f", b"S")],
    "mysql": [(b"", packet(MYSQL)), (b"\x20\0\0\1\0\x8a\x08\0", b"")],
    "smtp": [
        (b"", b"220-mail.test ESMTP\r\n220 at your service\r\n"),
        (b"EHLO [127.0.0.1]\r\n", b"250-mail.test\r\n250-SIZE 1\r\n250-STARTTLS\r\n250 HELP\r\n"),
        (b"STARTTLS\r\n", b"220 go ahead\r\n"),
    ],
    "imap": [
        (b"", b"* OK ready\r\n"),
        (b"a1 CAPABILITY\r\n", b"* CAPABILITY IMAP4rev1 STARTTLS\r\na1 OK\r\n"),
        (b"a2 STARTTLS\r\n", b"* OK still here\r\na2 OK begin\r\n"),
    ],
    "pop3": [
        (b"", b"+OK ready\r\n"),
        (b"CAPA\r\n", b"+OK\r\nTOP\r\nSTLS\r\n.\r\n"),
        (b"STLS\r\n", b"+OK begin\r\n"),
    ],
    "ldap": [(b"\x30\x1d\2\1\1\x77\x18\x80\x16" + LDAP_OID, ldap_result(0))],
    "xmpp": [
        (b"<?xml version='1.0'?><stream:stream ", features(TLS_FEATURE)),
        (b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", PROCEED),
    ],
}

every_protocol = pytest.mark.parametrize("protocol", PORTS)


def speaking(script: Script, then: Behaviour = echo, *, in_pieces: bool = False) -> Behaviour:
    """A server that follows a script; then it shakes hands and echoes, unless said otherwise."""

    def behave(connection: socket.socket, context: ssl.SSLContext) -> None:
        for wanted, said in script:
            received = b""
            while len(received) < len(wanted):
                received += connection.recv(len(wanted) - len(received))
            assert received == wanted
            if wanted.endswith(b" "):  # a tag goes on with the server's name
                while not received.endswith(b">"):
                    received += connection.recv(1)
                assert b' to="localhost" ' in received
            if wanted[:4] == b"\x20\0\0\1":  # the rest of MySQL's SSLRequest
                assert connection.recv(28, socket.MSG_WAITALL)[-23:] == bytes(23)
            for piece in [bytes([byte]) for byte in said] if in_pieces else [said]:
                connection.sendall(piece)
        then(connection, context)

    return behave


def ending(connection: socket.socket, _: ssl.SSLContext) -> None:
    connection.shutdown(socket.SHUT_WR)
    drain(connection)


def changed(script: Script, said: bytes) -> Script:
    """A script whose last answer is another one."""
    return [*script[:-1], (script[-1][0], said)]


async def report_of(
    world: World, protocol: str, behaviour: Behaviour, *, patience: float = TIMEOUT
) -> Report:
    served = serving(behaviour, world.server_context("1.3"))
    with served as port, pytest.raises(TLSFailure) as caught:
        await connect(
            *("localhost", port, alice(world)),
            timeout=patience,
            prologue=partial(starttls, protocol),
        )
    return caught.value.report


def fact(report: Report, name: str) -> str:
    return next(each.value for each in report.evidence if each.fact == name)


@every_protocol
@pytest.mark.parametrize("in_pieces", [False, True], ids=["at once", "byte by byte"])
async def test_tls_begins_behind_the_go_ahead(
    world: World, protocol: str, in_pieces: bool
) -> None:
    behaviour = speaking(GOOD[protocol], in_pieces=in_pieces)

    with serving(behaviour, world.server_context("1.3")) as port:
        session = await connect(
            "localhost", port, alice(world), prologue=partial(starttls, protocol)
        )
        async with session:
            await session.echo(b"hello")

    assert session.report.outcome == "echoed"


@pytest.mark.parametrize(
    ("protocol", "script", "missing"),
    [
        ("postgres", changed(GOOD["postgres"], b"N"), "SSLRequest (ssl = on)"),
        ("mysql", [(b"", packet(WITHOUT_TLS))], "CLIENT_SSL"),
        ("smtp", [GOOD["smtp"][0], (b"EHLO [127.0.0.1]\r\n", b"250 HELP\r\n")], "STARTTLS"),
        (
            "imap",
            [GOOD["imap"][0], (b"a1 CAPABILITY\r\n", b"* CAPABILITY IMAP4rev1\r\na1 OK\r\n")],
            "STARTTLS",
        ),
        ("pop3", [GOOD["pop3"][0], (b"CAPA\r\n", b"+OK\r\nTOP\r\n.\r\n")], "STLS"),
        (
            "ldap",
            changed(GOOD["ldap"], ldap_result(2, b"unsupported")),
            "StartTLS; the server said protocolError: 'unsupported'",
        ),
        ("xmpp", [(GOOD["xmpp"][0][0], features(b"<mechanisms/>"))], "starttls"),
        # One of this name in another namespace is something else.
        ("xmpp", [(GOOD["xmpp"][0][0], features(b"<starttls xmlns='a:b'/>"))], "starttls"),
    ],
)
async def test_a_server_without_starttls_is_told_as_such(
    world: World, protocol: str, script: Script, missing: str
) -> None:
    report = await report_of(world, protocol, speaking(script, ending))

    assert (report.outcome, report.causes) == ("failed", ["plaintext-peer"])
    assert report.summary == "the server does not offer to start TLS here"
    assert fact(report, "missing") == missing
    assert "switch TLS on in the server" in report.remedy
    assert exit_status(report) == 8


@pytest.mark.parametrize(
    ("protocol", "script", "said"),
    [
        (
            "postgres",
            changed(GOOD["postgres"], postgres_error(b"SFATAL", b"C53300", b"Mtoo many clients")),
            "'too many clients'",
        ),
        ("mysql", [(b"", packet(b"\xff\x6a\4Host is not allowed"))], "'Host is not allowed'"),
        ("smtp", [(b"", b"554 no service\r\n")], "554 no service"),
        ("smtp", changed(GOOD["smtp"], b"454 TLS not available\r\n"), "454 TLS not available"),
        ("imap", changed(GOOD["imap"], b"a2 BAD no\x1b[31m\r\n"), "a2 BAD no\\x1b[31m"),
        ("imap", changed(GOOD["imap"], b"* BYE\r\n"), "* BYE"),
        ("imap", [(b"", b"* PREAUTH welcome\r\n")], "* PREAUTH welcome"),
        ("pop3", changed(GOOD["pop3"], b"-ERR no\r\n"), "-ERR no"),
        ("ldap", changed(GOOD["ldap"], ldap_result(51)), "busy"),
        (
            "xmpp",
            changed(GOOD["xmpp"], b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
            "<failure/>",
        ),
        (
            "xmpp",
            [(GOOD["xmpp"][0][0], STREAM + b"<stream:error><host-unknown/></stream:error>")],
            "<host-unknown/>",
        ),
    ],
)
async def test_a_server_that_refuses_is_quoted(
    world: World, protocol: str, script: Script, said: str
) -> None:
    report = await report_of(world, protocol, speaking(script, ending))

    assert (report.outcome, report.causes) == ("failed", ["plaintext-peer"])
    assert report.summary == "the server refused to start TLS"
    assert fact(report, "server said") == said
    assert exit_status(report) == 8


@every_protocol
async def test_what_comes_behind_the_go_ahead_in_the_clear_is_an_error(
    world: World, protocol: str
) -> None:
    """Or it would be taken for something that the server has said under TLS."""
    last = GOOD[protocol][-1]
    if protocol == "mysql":  # its greeting is its go-ahead
        script: Script = [(b"", GOOD["mysql"][0][1] + b"\7injected")]
    else:
        script = changed(GOOD[protocol], last[1] + b"\7injected")

    report = await report_of(world, protocol, speaking(script, ending))

    assert (report.outcome, report.rejected_by) == ("refused", "client")
    assert report.causes == ["protocol-violation", "tampered"]
    assert report.summary.startswith(
        "we refused the server: more came in the clear than was asked"
    )
    assert "injected" in fact(report, "received")
    assert exit_status(report) == 4


@pytest.mark.parametrize("protocol", ["smtp", "imap", "pop3"])
async def test_so_is_an_answer_that_comes_before_its_command(world: World, protocol: str) -> None:
    before, after = GOOD[protocol][0][1], GOOD[protocol][1][1]

    report = await report_of(world, protocol, speaking([(b"", before + after)], ending))

    assert report.causes == ["protocol-violation", "tampered"]


GARBAGE = [
    pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n" * 9, "SSH-2.0-OpenSSH_9.2", id="another protocol"),
    pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 4, "HTTP/1.1 400", id="HTTP"),
    pytest.param(b"\0" * 70, "\\x00\\x00", id="zeros"),
    pytest.param(b"<" * 70 + b">\n", "<<<<", id="brackets"),
    pytest.param(b"\xff" * 70 + b"\n>", "\\xff\\xff", id="ones"),
    pytest.param(b"0\x84\xff\xff\xff\xff" * 12 + b"\n", "0\\x84", id="a long length"),
    pytest.param(b"0\x07\2\1\1\x78\x02\x0a\x7f" + b"0" * 99 + b"\n>", "", id="a short element"),
    pytest.param(b"<!DOCTYPE a [<!ENTITY b 'c'>]>\n" * 3, "<!DOCTYPE", id="a document type"),
]


@every_protocol
@pytest.mark.parametrize(("garbage", "shown"), GARBAGE)
async def test_another_protocol_is_quoted(
    world: World, protocol: str, garbage: bytes, shown: str
) -> None:
    script = [(b"", garbage)] if protocol == "mysql" else [(GOOD[protocol][0][0], garbage)]

    report = await report_of(world, protocol, speaking(script, ending))

    assert (report.outcome, report.causes) == ("failed", ["plaintext-peer"])
    assert exit_status(report) == 8
    assert (
        report.summary == "the server does not speak the protocol in which TLS was to be started"
    )
    assert shown in fact(report, "received")


@every_protocol
async def test_a_server_that_expects_tls_at_once_is_told_as_such(
    world: World, protocol: str
) -> None:
    """Its alert is the answer to the first command."""
    alert = b"\x15\3\3\0\2\2\x0a"

    script = [(GOOD[protocol][0][0], alert + b"\n>")]

    report = await report_of(world, protocol, speaking(script, ending))

    assert (report.outcome, report.causes) == ("failed", ["plaintext-client"])
    assert "connect without STARTTLS" in report.remedy
    assert exit_status(report) == 8


@every_protocol
@pytest.mark.parametrize("kept", [0, 1])
async def test_silence_is_limited_by_the_deadline(
    world: World, protocol: str, kept: int, mock_clock: trio.testing.MockClock
) -> None:
    time_flies = flying(mock_clock)

    def stop(connection: socket.socket, _: ssl.SSLContext) -> None:
        time_flies()
        drain(connection)

    script = GOOD[protocol][:kept] if protocol != "postgres" else []

    report = await report_of(world, protocol, speaking(script, stop), patience=10)

    assert report.causes == ["timeout"]
    assert exit_status(report) == 7


@every_protocol
async def test_an_end_before_tls_is_one_without_a_reason(world: World, protocol: str) -> None:
    report = await report_of(world, protocol, speaking([], ending))

    assert report.causes == ["closed-without-alert"]
    assert report.summary == "the server ended the connection before TLS could begin"
    assert exit_status(report) == 6


@every_protocol
@pytest.mark.parametrize(
    "piece",
    [
        b"a" * 1000,
        b"\n",
        b"220-a\r\n",
        b"* OK a\r\n",
        b"+OK a\r\n",
        b"<stream:stream>",
        b"<a>",
        b"<a b='>",
        b"0\x82\x0f\xff",
        b"E\0\0\x0f\xff",
        b"\xff\x0f\0\0",
    ],
)
async def test_a_server_without_an_end_is_left(world: World, protocol: str, piece: bytes) -> None:
    def endless(connection: socket.socket, _: ssl.SSLContext) -> None:
        while True:  # until the client has gone
            connection.sendall(piece * 100)

    report = await report_of(world, protocol, speaking([], endless))

    assert report.causes[0] in ("plaintext-peer", "protocol-violation")
    assert sum(len(each.value) for each in report.evidence) < 300


async def test_check_takes_the_protocol_by_its_name(world: World) -> None:
    with serving(speaking(GOOD["smtp"], saying(b"hello")), world.server_context()) as port:
        report = await check(
            "localhost", port, alice(world), wait=TIMEOUT, timeout=TIMEOUT, starttls="smtp"
        )
    assert report.outcome == "completed"

    with pytest.raises(ValueError, match="'ftp' is not among postgres, mysql, smtp"):
        await check("localhost", 1, alice(world), starttls="ftp")


# --- where it has to be asked for, and is not ----------------------------------------------------


async def remedy_of(world: World, behaviour: Behaviour) -> tuple[str, str]:
    """The first cause, and the remedy, of a client that begins TLS at once."""
    with serving(behaviour, world.server_context()) as port:
        report = await check("localhost", port, alice(world), wait=TIMEOUT, timeout=TIMEOUT)
    return report.causes[0], report.remedy


@pytest.mark.parametrize(
    ("banner", "option"),
    [
        (b"220 mx.test ESMTP Exim 4.96\r\n", "smtp"),
        (b"* OK Dovecot ready.\r\n", "imap"),
        (b"+OK Dovecot ready.\r\n", "pop3"),
        (b"\x4a\0\0\0\x0a5.5.5-10.11.6-MariaDB\0", "mysql"),
    ],
)
async def test_a_protocol_in_whose_middle_tls_can_begin_is_named(
    world: World, banner: bytes, option: str
) -> None:
    cause, remedy = await remedy_of(world, speaking_plainly(banner))

    assert cause == "plaintext-peer"
    assert f"TLS can begin: connect with starttls {option}" in remedy


async def test_a_server_that_leaves_at_once_may_wait_for_its_own_protocol(world: World) -> None:
    """As PostgreSQL and OpenLDAP do."""
    cause, remedy = await remedy_of(world, close_at_once)

    assert cause == "closed-without-alert"
    assert "in whose middle TLS begins: starttls" in remedy
