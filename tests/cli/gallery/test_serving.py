"""The gallery as a server: one port, an exhibit for each name, and none that harms another."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec
import pytest
import trio

from mtls_echo.gallery.collection import ALIASES, EXHIBITS, REMARKS
from mtls_echo.gallery.exhibit import Exhibit, ExhibitVisit
from mtls_echo.gallery.page import show_exhibit
from mtls_echo.gallery.server import INDEX, Gallery
from mtls_echo.gallery.world import World
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_server.listeners import listen
from mtls_echo_tls.alerts import AlertDescription
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream

DOMAIN = "gallery.localhost"
WORLD = World()
GOOD_TRUST = Trust((WORLD.servers.certificate,))


@dataclass
class Visited:
    """A gallery that is served, and who was there."""

    port: int
    visits: list[ExhibitVisit] = field(default_factory=list[ExhibitVisit])
    came: trio.Event = field(default_factory=trio.Event)

    def keep(self, visit: ExhibitVisit) -> None:
        self.visits.append(visit)
        self.came.set()

    async def next(self) -> ExhibitVisit:
        await self.came.wait()
        return self.visits[0]

    def tcp(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port))

    def tls(self, name: str | None, context: ssl.SSLContext) -> TLSStream:
        return TLSStream(TCPStream(self.tcp()), context, server_name=name)


@pytest.fixture
async def gallery() -> AsyncIterator[Visited]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(each) for each in listen(["127.0.0.1:0"])]
        served = Visited(sockets[0].getsockname()[1])
        async with trio.open_nursery() as serving:
            serving.start_soon(Gallery(WORLD, DOMAIN).serve, sockets, served.keep)
            yield served
            serving.cancel_scope.cancel()
    assert [visit.bug for visit in served.visits if visit.bug is not None] == []
    for visit in served.visits:
        assert visit.line.startswith(f"{visit.exhibit.slug}: ")
        assert json.loads(msgspec.json.encode(visit.fields))["exhibit"] == visit.exhibit.slug


def client_context(trust: Trust = GOOD_TRUST, *alpn: str, check: bool = True) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = check
    context.hostname_checks_common_name = False
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    trust.load_into(context)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def asking(visited: Visited, slug: str) -> TLSStream:
    return visited.tls(f"{slug}.{DOMAIN}", client_context())


async def request(stream: TLSStream, head: bytes = b"GET / HTTP/1.1\r\nHost: x\r\n") -> bytes:
    await stream.do_handshake()
    await stream.send_all(head + b"Connection: close\r\n\r\n")
    answer = b""
    while received := await stream.receive_some():
        answer += received
    await stream.aclose()
    return answer


# --- which exhibit ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("expired.gallery.localhost", "expired"),
        ("EXPIRED.Gallery.LOCALHOST", "expired"),
        ("expired.gallery.localhost.", "expired"),
        ("wrong.host.gallery.localhost", "wrong-name"),
        ("Untrusted-Root.gallery.localhost", "unknown-authority-root-sent"),
        ("gallery.localhost", "index"),
        ("unknown.gallery.localhost", "index"),
        ("edellroot.gallery.localhost", "unknown-authority"),
        ("rc4.gallery.localhost", "alert-handshake-failure"),
        ("expired.elsewhere.test", "index"),
        ("a.expired.gallery.localhost", "index"),
        ("expiredgallery.localhost", "index"),
        ("", "index"),
        (None, "index"),
        # It has to be asked for by address, so no name shows it.
        ("wrong-name-address-as-host.gallery.localhost", "index"),
        ("index.gallery.localhost", "index"),
    ],
)
def test_the_name_picks_the_exhibit(name: str | None, slug: str) -> None:
    exhibit, names = Gallery(WORLD, DOMAIN).asked_for(name)
    assert exhibit.slug == slug
    if slug == "index":
        assert names == (DOMAIN, f"*.{DOMAIN}", "localhost", "127.0.0.1", "::1")
    else:
        assert name is not None
        assert names == (name.lower().rstrip("."),)


@pytest.mark.parametrize("name", ["EXPIRED.gallery.LOCALHOST", None, "nothing.gallery.localhost"])
async def test_the_name_is_that_of_the_client_hello(gallery: Visited, name: str | None) -> None:
    context = client_context(check=False)
    context.verify_mode = ssl.CERT_NONE
    stream = gallery.tls(name, context)
    answer = await request(stream)
    assert (b"expired" in answer and b'"must": "refuse"' in answer) is (name == EXPIRED)
    visit = await gallery.next()
    assert (visit.server_name, visit.established) == (name, True)


EXPIRED = "EXPIRED.gallery.LOCALHOST"


# --- what is wrong with it ----------------------------------------------------------------------

BY_NAME_ONLY = [each for each in EXHIBITS.values() if not each.by_address]
BY_NAME = [pytest.param(each, id=each.slug) for each in BY_NAME_ONLY if each.flaw is not None]


@pytest.mark.parametrize("exhibit", BY_NAME)
async def test_an_exhibit_is_its_flaw_by_name_in_the_trust_of_the_gallery(
    gallery: Visited, exhibit: Exhibit
) -> None:
    assert exhibit.flaw is not None
    flaw, deviation = exhibit.flaw, exhibit.flaw.expected("server", "1.3")
    trust = WORLD.trust([exhibit], Gallery(WORLD, DOMAIN).names_of)
    if exhibit.group == "certificate":
        trust |= GOOD_TRUST
    stream = gallery.tls(f"{exhibit.slug}.{DOMAIN}", client_context(trust))
    try:
        await stream.do_handshake()
    except TLSFailure as failure:
        report = failure.report
        assert deviation is None or deviation.reason is not None
        assert flaw.cause in report.causes
        if deviation is None:
            assert report.verify_code == flaw.verify_code
    else:
        assert deviation is not None
        assert deviation.reason is None
    finally:
        await trio.aclose_forcefully(stream)


def test_an_exhibit_differs_from_its_control_in_one_thing() -> None:
    # That a flaw differs in one thing only is tested where they are made: so it is in a world.
    for exhibit in EXHIBITS.values():
        control = exhibit.control
        assert (control.flaw, control.must) == (None, "work")
        assert (control.prepare, control.group) == (exhibit.prepare, exhibit.group)
    slugs = {each.control.slug for each in EXHIBITS.values() if each.flaw is not None}
    assert slugs.isdisjoint(EXHIBITS)
    assert len(slugs) < 12


def test_every_flaw_of_a_server_is_exhibited_and_each_says_its_rule() -> None:
    from mtls_echo_pki.flaws.registry import FLAWS

    servers = {slug for slug, flaw in FLAWS.items() if "server" in flaw.roles}
    assert servers - EXHIBITS.keys() == {"empty-trust"}
    assert {*REMARKS.aliases} <= EXHIBITS.keys()
    assert ALIASES.keys().isdisjoint(EXHIBITS)
    for each in EXHIBITS.values():
        assert re.match(r"RFC \d+", each.rule)
        assert re.fullmatch(r"[a-z0-9-]+", each.slug)
        assert bool(each.choice) is (each.must == "either")


def test_the_trust_of_a_gallery_does_not_let_one_exhibit_change_another() -> None:
    trust = WORLD.trust(BY_NAME_ONLY, Gallery(WORLD, DOMAIN).names_of)
    names = [anchor.subject.rfc4514_string() for anchor in trust.anchors]
    assert len(set(names)) == len(names)
    issuers = {crl.issuer for crl in trust.crls}
    # good can be asked for by a client that checks for revocation.
    assert WORLD.servers.certificate.subject in issuers


@pytest.mark.parametrize("alert", AlertDescription)
async def test_an_alert_is_sent_as_it_is_called(gallery: Visited, alert: AlertDescription) -> None:
    with gallery.tcp() as tcp:
        tcp.sendall(client_hello(f"alert-{alert.name.replace('_', '-')}.{DOMAIN}"))
        tcp.shutdown(socket.SHUT_WR)
        answer = await trio.to_thread.run_sync(read_all, tcp)
    level = 1 if alert in (AlertDescription.close_notify, AlertDescription.user_canceled) else 2
    assert answer == bytes([21, 3, 3, 0, 2, level, alert])


@pytest.mark.parametrize(
    ("slug", "causes"),
    [
        ("closes", {"closed-without-alert"}),
        ("resets", {"reset"}),
        ("plaintext", {"plaintext-peer"}),
    ],
)
async def test_a_protocol_fault_is_what_a_client_finds(
    gallery: Visited, slug: str, causes: set[str]
) -> None:
    stream = asking(gallery, slug)
    with pytest.raises(TLSFailure):
        await stream.do_handshake()
    assert causes <= {*diagnose(stream.evidence).causes}
    await trio.aclose_forcefully(stream)


async def test_half_an_answer_ends_without_close_notify(gallery: Visited) -> None:
    stream = asking(gallery, "truncates")
    await stream.do_handshake()
    await stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
    answer = b""
    while True:
        try:
            answer += await stream.receive_some()
        except TLSFailure:
            break
    assert b"Content-Length: 1000\r\n" in answer
    assert diagnose(stream.evidence).causes == ["truncated"]
    await trio.aclose_forcefully(stream)


# --- what it answers ----------------------------------------------------------------------------


async def test_it_echoes_what_is_not_http(gallery: Visited) -> None:
    stream = asking(gallery, "good")
    await stream.do_handshake()
    for said in (b"hello", b"GET well soon", b"\0" * 1000):
        await stream.send_all(said)
        heard = b""
        while len(heard) < len(said):
            heard += await stream.receive_some()
        assert heard == said
    await stream.aclose()


@pytest.mark.parametrize("path", [b"/", b"/any/path?at=all"])
async def test_it_answers_http_on_any_path(gallery: Visited, path: bytes) -> None:
    answer = await request(asking(gallery, "good"), b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert json.loads(body)["exhibit"] == "good"


async def test_a_page_escapes_what_the_client_said(gallery: Visited) -> None:
    presented = WORLD.clients.issue(
        Request.client("client.test", subject="<b>\N{RIGHT-TO-LEFT OVERRIDE}")
    )
    context = client_context()
    presented.load_into(context)
    stream = gallery.tls(f"client-required.{DOMAIN}", context)
    answer = await request(stream, b"GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n")
    assert b"<h1>client-required</h1>" in answer
    assert b"&lt;b&gt;" in answer
    assert "\N{RIGHT-TO-LEFT OVERRIDE}".encode() not in answer
    assert b"as it must be" in answer


@pytest.mark.parametrize(
    ("slug", "mark"),
    [
        ("no-alpn", b'good">as it must be<'),
        ("missing-key-identifier", b'warn">accepted, as the rules allow<'),
        ("expired", b'bad">accepted<'),
    ],
)
async def test_a_page_says_whether_it_should_have_been_seen(
    gallery: Visited, slug: str, mark: bytes
) -> None:
    context = client_context(check=False)
    context.verify_mode = ssl.CERT_NONE  # only who verifies nothing sees the page of a bad one
    stream = gallery.tls(f"{slug}.{DOMAIN}", context)
    answer = await request(stream, b"GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n")
    assert mark in answer
    assert b"<dt>server name</dt>" in answer


@pytest.mark.parametrize("html", [True, False])
async def test_the_index_lists_all_that_a_name_can_pick(gallery: Visited, html: bool) -> None:
    accept = b"Accept: text/html\r\n" if html else b""
    stream = gallery.tls(DOMAIN, client_context())
    answer = (await request(stream, b"GET / HTTP/1.1\r\nHost: x\r\n" + accept)).decode()
    for each in EXHIBITS.values():
        url = f"https://{each.slug}.{DOMAIN}:{gallery.port}/"
        assert (url in answer) is not each.by_address
    assert ('<a href="' in answer) is html


@pytest.mark.parametrize("slug", ["client-none", "client-optional", "client-required"])
@pytest.mark.parametrize("with_certificate", [True, False])
async def test_it_says_which_client_was_seen(
    gallery: Visited, slug: str, with_certificate: bool
) -> None:
    context = client_context()
    if with_certificate:
        WORLD.client.load_into(context)
    stream = gallery.tls(f"{slug}.{DOMAIN}", context)
    if slug == "client-required" and not with_certificate:
        with pytest.raises(TLSFailure):
            await request(stream)
        await trio.aclose_forcefully(stream)
        return
    seen = json.loads((await request(stream)).partition(b"\r\n\r\n")[2])["client"]
    is_asked = slug != "client-none"
    assert ("client.test" in (seen or "")) is (is_asked and with_certificate)


# --- what harms none ----------------------------------------------------------------------------

HOSTILE = (
    b"",
    b"\0",
    b"\x16",
    b"\x16\x03\x01\x00\x05",
    b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff",
    b"\x16\x03\x01\x40\x01" + b"\xff" * 0x4001,
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x80\x2e\x01\x00\x02",
    b"\xff" * 70_000,
)


@pytest.mark.parametrize("first", HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_first_bytes_end_their_connection_only(
    gallery: Visited, first: bytes
) -> None:
    with gallery.tcp() as tcp, contextlib.suppress(ConnectionError):
        tcp.sendall(first)
        tcp.shutdown(socket.SHUT_WR)
        await trio.to_thread.run_sync(read_all, tcp)
    assert b"200" in await request(asking(gallery, "good"))


@pytest.mark.parametrize("flipped", range(0, 200, 7))
async def test_a_damaged_client_hello_harms_none(gallery: Visited, flipped: int) -> None:
    hello = bytearray(client_hello(f"expired.{DOMAIN}"))
    hello[5 + flipped] ^= 0xFF
    with gallery.tcp() as tcp, contextlib.suppress(ConnectionError):
        tcp.sendall(hello)
        tcp.shutdown(socket.SHUT_WR)
        await trio.to_thread.run_sync(read_all, tcp)
    assert b"200" in await request(asking(gallery, "good"))


async def test_a_hundred_clients_at_once_over_all_exhibits(gallery: Visited) -> None:
    slow = {"silent", "slow"}
    slugs = [each for each in EXHIBITS if each not in slow]
    context = client_context()
    stalled = [gallery.tcp() for _ in range(20)]
    for each in stalled[:10]:
        each.sendall(client_hello(f"silent.{DOMAIN}"))
    answers: list[bytes] = []

    async def visit(slug: str) -> None:
        stream = gallery.tls(f"{slug}.{DOMAIN}", context)
        try:
            answer = await request(stream)
        except (TLSFailure, trio.BrokenResourceError):
            await trio.aclose_forcefully(stream)
        else:
            if slug == "good":
                answers.append(answer)

    async with trio.open_nursery() as clients:
        for number in range(100):
            clients.start_soon(visit, "good" if number % 4 == 0 else slugs[number % len(slugs)])
    assert len(answers) >= 25
    assert all(b" 200 " in each for each in answers)
    for each in stalled:
        each.close()


async def test_a_connection_that_came_before_the_end_is_kept() -> None:
    # The client has sent and gone before its connection was ever accepted.
    async with Gallery(WORLD).alone(EXHIBITS["closes"]) as place:
        with socket.create_connection(("127.0.0.1", place.port)) as tcp:
            tcp.sendall(client_hello("localhost"))
    assert place.came


async def test_an_exhibit_alone_is_there_by_ipv6_too() -> None:
    async with Gallery(WORLD).alone(EXHIBITS["good"]) as place:
        tcp = socket.create_connection(("::1", place.port))
        stream = TLSStream(TCPStream(tcp), client_context(), server_name="::1")
        assert b" 200 " in await request(stream)
    assert (place.came, place.established, place.received > 0) == (True, True, True)


def test_the_index_is_an_exhibit_of_its_own() -> None:
    assert INDEX.slug not in EXHIBITS
    assert EXHIBITS["good"].behave is show_exhibit


def client_hello(name: str) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = client_context().wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


def read_all(tcp: socket.socket) -> bytes:
    found = b""
    while received := tcp.recv(65536):
        found += received
    return found
