"""What a server that does not echo proves by its answer in HTTP."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

import pytest
import trio.testing

from mtls_echo_client.check import check
from mtls_echo_client.exit_status import exit_status
from mtls_echo_client.http import HTTPRequest
from mtls_echo_tls.diagnosis.report import describe
from tests.client.checking import facts, falling_silent, page, report_of
from tests.client.sessions import alice, versions
from tests.client.sessions import world as world
from tests.support.clients import (
    Behaviour,
    World,
    accepted,
    answering,
    close_at_once,
    drain,
    leaving_unanswered,
    saying,
    serving,
    truncate,
)
from tests.support.timing import flying


@versions
@pytest.mark.parametrize(
    ("answer", "outcome", "cause", "status"),
    [
        pytest.param(page("200 OK"), "completed", None, 0, id="200"),
        pytest.param(page("302 Found", "", "Location: /else"), "completed", None, 0, id="302"),
        pytest.param(
            page("400 Bad Request", "No required SSL certificate was sent", "Server: nginx"),
            "refused", "no-client-certificate", 5, id="nginx, none",
        ),
        pytest.param(
            page("400 Bad Request", "The SSL certificate error"),
            "refused", "unknown-authority", 5, id="nginx, bad",
        ),
        pytest.param(
            page("403 Forbidden", "HTTP Error 403.17 - Forbidden"),
            "refused", "expired-authority", 5, id="IIS, date",
        ),
        pytest.param(page("421 Misdirected Request"), "refused", "unrecognised-name", 5, id="421"),
        pytest.param(
            page("403 Forbidden", "RBAC: access denied"),
            "denied", "not-authorised", 9, id="Envoy",
        ),
        pytest.param(page("401 Unauthorized"), "denied", "not-authorised", 9, id="401"),
        pytest.param(page("404 Not Found"), "failed", "error-answer", 6, id="404"),
        pytest.param(page("400 Bad Request"), "failed", "error-answer", 6, id="400"),
        pytest.param(page("503 Unavailable"), "failed", "error-answer", 6, id="503"),
    ],
)  # fmt: skip
async def test_what_an_answer_means(
    world: World, version: str, answer: bytes, outcome: str, cause: str | None, status: int
) -> None:
    report = await report_of(world, answering(answer), version=version, http="/")

    assert (report.outcome, exit_status(report)) == (outcome, status)
    assert report.causes[:1] == ([cause] if cause else [])
    assert report.rejected_by == ("server" if outcome in ("refused", "denied") else None)
    assert report.answer is not None
    assert report.answer.status == int(answer[9:12])


async def test_a_proof_that_is_wanted_in_http_is_named(world: World) -> None:
    asking = page("401 Unauthorized", "", 'WWW-Authenticate: Bearer realm="api"')

    report = await report_of(world, answering(asking), http="/")

    assert exit_status(report) == 9
    assert facts(report)["it wants"].startswith('Bearer realm="api", which a request can bring')


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        pytest.param(b"good morning\n", "something that is not known here “good morning”", id="?"),
        pytest.param(b"<html>hello</html>", "a page without a header of HTTP", id="HTTP/0.9"),
        pytest.param(b"\0\0\x12\x04\0\0\0\0\0" + bytes(18), "HTTP/2", id="HTTP/2"),
        pytest.param(b"HTTP/1.1 abc\r\n\r\n", "malformed HTTP", id="no status"),
        pytest.param(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            "“a switch to another protocol (101) that was not asked for”", id="101",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 10_000_000,
            "malformed HTTP “a header of more than 64 KiB”", id="10 MB of header",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 100_000,
            "malformed HTTP “a header of more than 64 KiB”", id="100,000 fields",
        ),
        pytest.param(b"\x1b[2J\r\n" * 9, r"“\x1b[2J", id="control characters"),
    ],
)  # fmt: skip
async def test_an_answer_that_is_not_http(world: World, answer: bytes, told: str) -> None:
    report = await report_of(world, answering(answer), http="/")

    assert (report.causes, exit_status(report)) == (["other-protocol"], 8)
    assert told in report.summary
    assert len(report.summary) < 300
    assert report.summary.isprintable()


async def test_what_a_page_makes_us_quote_is_printable_and_short(world: World) -> None:
    nasty = page("403 \x1b]0;x", "\x1b[2J\u202e" * 5000, "Server: \x9b2J" + "s" * 5000)

    report = await report_of(world, answering(nasty), http="/")

    message, _ = describe(report)
    assert all(line.isprintable() and len(line) < 600 for line in message.split("\n"))
    assert exit_status(report) in (8, 9)


@versions
@pytest.mark.parametrize(
    ("behaviour", "status"),
    [
        pytest.param(saying(), 6, id="closes"),
        pytest.param(answering(b"HTTP/1.1 200 OK\r\nServ"), 6, id="closes in the header"),
        pytest.param(truncate, 6, id="breaks off"),
        pytest.param(close_at_once, 6, id="closes before TLS"),
    ],
)
async def test_no_whole_answer_is_a_failure(
    world: World, version: str, behaviour: Behaviour, status: int
) -> None:
    report = await report_of(world, behaviour, version=version, http="/")

    assert (report.outcome, exit_status(report)) == ("failed", status)


async def test_a_server_that_says_nothing_is_a_timeout(
    world: World, mock_clock: trio.testing.MockClock
) -> None:
    unanswered = leaving_unanswered(flying(mock_clock), tls=True)

    report = await report_of(world, unanswered, http="/", timeout=1)

    assert (report.causes, exit_status(report)) == (["timeout"], 7)
    assert report.summary == "mutual TLS is up, but nothing came in time from the server"
    assert facts(report)["proved"].startswith("nothing yet, which is not yet proof")
    assert "is asked by" not in facts(report)["proved"]  # it was


def dripping(head: bytes, piece: bytes) -> Behaviour:
    """A server that says ``head``, and then for ever ``piece``."""

    def behave(connection: socket.socket, context: ssl.SSLContext) -> None:
        with accepted(connection, context) as tls:
            tls.recv(16_384)
            tls.sendall(head)
            while True:
                tls.sendall(piece)

    return behave


async def test_an_endless_body_is_read_up_to_its_bound(world: World) -> None:
    endless = dripping(b"HTTP/1.1 403 Forbidden\r\n\r\n", b"<p>no</p>" * 1000)

    report = await report_of(world, endless, http="/")

    assert (report.causes[0], exit_status(report)) == ("not-authorised", 9)
    assert report.answer is not None
    assert len(report.answer.text) <= 1000


async def test_a_slow_body_does_not_hold_up_the_verdict(
    world: World, mock_clock: trio.testing.MockClock
) -> None:
    answer = b"HTTP/1.1 496 x\r\nContent-Length: 100\r\n\r\nno"
    slow = falling_silent(flying(mock_clock), answer, asked=True)

    report = await report_of(world, slow, http="/")

    assert (report.causes, exit_status(report)) == (["no-client-certificate"], 5)


async def test_a_slow_header_ends_at_the_deadline(
    world: World, mock_clock: trio.testing.MockClock
) -> None:
    slow = falling_silent(flying(mock_clock), b"HTTP/1.1 200 OK\r\nX: ", asked=True)

    report = await report_of(world, slow, http="/", timeout=5)

    assert (report.causes, exit_status(report)) == (["timeout"], 7)
    began = "its answer did not end in time: HTTP “HTTP/1.1 200 OK”"
    assert report.summary == f"mutual TLS is up, but {began}"


async def test_a_banner_is_heard_although_the_server_goes_on_to_wait(
    world: World, mock_clock: trio.testing.MockClock
) -> None:
    waiting = falling_silent(flying(mock_clock), b"SSH-2.0-OpenSSH_9.2\r\n")

    report = await report_of(world, waiting, http="/", timeout=5)

    assert (report.causes, exit_status(report)) == (["other-protocol"], 8)
    assert "SSH-2.0-OpenSSH_9.2" in report.summary


def repeating(heard: list[bytes]) -> Behaviour:
    def behave(connection: socket.socket, context: ssl.SSLContext) -> None:
        with accepted(connection, context) as tls:
            heard.append(tls.recv(16_384))
            tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            drain(tls)

    return behave


async def test_the_request_is_what_was_asked_for(world: World) -> None:
    heard: list[bytes] = []
    asked = HTTPRequest("/a?b=c", "HEAD", (("Host", "other.test"), ("X-Trace", "7")))
    with serving(repeating(heard), world.server_context()) as port:
        one = await check("localhost", port, alice(world), http=asked)
        two = await check("127.0.0.1", port, alice(world), http="/")

    assert [one.outcome, two.outcome] == ["completed", "completed"]
    first, *fields = heard[0].decode().strip().split("\r\n")
    assert first == "HEAD /a?b=c HTTP/1.1"
    assert {*fields} == {
        "User-Agent: mtls-echo", "Accept: */*", "Connection: close", "Host: other.test",
        "X-Trace: 7",
    }  # fmt: skip
    assert f"Host: 127.0.0.1:{port}\r\n".encode() in heard[1]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: HTTPRequest("health"),
        lambda: HTTPRequest("/a b"),
        lambda: HTTPRequest("/\r\nX: y"),
        lambda: HTTPRequest("/", "GET", (("X Y", "z"),)),
        lambda: HTTPRequest("/", "GET", (("X", "a\r\nY: b"),)),
        lambda: HTTPRequest("/", "GET", (("Content-Length", "9"),)),
    ],
)
def test_what_cannot_be_written_as_a_request_is_a_mistake_of_the_caller(
    wrong: Callable[[], HTTPRequest],
) -> None:
    with pytest.raises(ValueError, match=r"path|header|field"):
        wrong()


async def test_files_in_place_of_a_context(world: World) -> None:
    folder = world.folder
    with serving(answering(page("200 OK")), world.server_context()) as port:
        report = await check(
            "localhost",
            port,
            ca=folder / "servers.crt",
            cert=str(folder / "alice.crt"),
            key=folder / "alice.key",
            http="/",
        )
        with pytest.raises(ValueError, match="give a context, or the files"):
            await check("localhost", port)

    assert report.outcome == "completed"
    assert report.own is not None
    assert report.own.names == ["alice.test"]
