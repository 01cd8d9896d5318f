"""What clients of HTTP get on the TLS port, what is logged, and that no other client notices."""

from __future__ import annotations

import contextlib
import ssl

import pytest
import trio
import trio.testing

from mtls_echo_pki.certificates.request import Request
from mtls_echo_server.context import ClientAuth
from mtls_echo_server.http.own_site import MOST_ECHOED
from mtls_echo_tls.denial import denial_in
from tests.server.http.world import answer, ask, client, faced, leave, request
from tests.server.http.world import pki as pki
from tests.support.servers import Authorities, access, echoed, everything
from tests.support.tls import both_versions

HTML = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"


@both_versions
async def test_a_client_gets_its_own_handshake(pki: Authorities, version: ssl.TLSVersion) -> None:
    async with faced(pki) as here, await here.connect(client(pki, version=version)) as stream:
        told = (await ask(stream, "/")).json
        assert told == (await ask(stream, "/json")).json
        assert told["outcome"] == "completed"
        assert told["tls"]["alpn"] == "http/1.1"
        assert told["tls"]["server_name"] == "localhost"
        assert told["client_random"] == stream.evidence.client_random
        assert told["hello"]["alpn"] == ["h2", "http/1.1"]
        assert told["hello"]["server_name"] == "localhost"
        name = "TLSv1.2" if version < ssl.TLSVersion.TLSv1_3 else "TLSv1.3"
        assert told["hello"]["versions"] == [name]
        assert told["client"]["names"] == ["alice.test"]
        assert 0 < told["client"]["days_left"] <= 400
        assert told["own"]["names"] == ["localhost", "127.0.0.1"]
        trace = (await ask(stream, "/trace")).text
        assert "ClientHello" in trace
        assert "CN=alice" in trace
        pem = (await ask(stream, "/certificate.pem")).text
        assert ssl.PEM_cert_to_DER_cert(pem) == ssl.PEM_cert_to_DER_cert(
            pki.alice.certificate_pem.decode()
        )
        page = await ask(stream, "/", HTML)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "You are <bdi>alice.test</bdi>" in page.text
        assert told["client_random"] in page.text


async def test_pages_may_load_and_run_nothing(pki: Authorities) -> None:
    async with faced(pki) as here, await here.connect(client(pki)) as stream:
        for target in "/", "/nix":
            page = await ask(stream, target, HTML)
            policy = page.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "script-src" not in policy
            assert "unsafe" not in policy
            assert "<script" not in page.text
            assert page.headers["cache-control"] == "no-store"
            assert "set-cookie" not in page.headers


@both_versions
@pytest.mark.parametrize("alpn", [(), ("http/1.1",)])
async def test_the_echo_of_http(
    pki: Authorities, version: ssl.TLSVersion, alpn: tuple[str, ...]
) -> None:
    async with (
        faced(pki) as here,
        await here.connect(client(pki, version=version, alpn=alpn)) as stream,
    ):
        for body in b"hello", bytes(MOST_ECHOED):
            got = await ask(stream, "/echo", method="POST", body=body)
            assert (got.status, got.body) == (200, body)
        too_much = await ask(stream, "/echo", method="POST", body=bytes(MOST_ECHOED + 1))
        assert too_much.status == 413
        assert await stream.receive_some() == b""


@pytest.mark.parametrize("alpn", [(), ("h2",), ("echo", "h2")])
@both_versions
async def test_echo_clients_notice_nothing(
    pki: Authorities, version: ssl.TLSVersion, alpn: tuple[str, ...]
) -> None:
    async with faced(pki) as here:
        for data in b"hello", b"GET well soon\n", b"\0" * 1000:
            async with await here.connect(client(pki, version=version, alpn=alpn)) as stream:
                for _ in range(5):
                    assert await echoed(stream, data) == data
                # What is not the first thing that is sent is no request.
                assert await echoed(stream, request("/")) == request("/")
        for number in 1, 2, 3:
            report = await here.event("connection", number)
            assert report["outcome"] == "echoed"
            assert "http_requests" not in report
            assert report["tls"]["alpn"] is None


async def test_the_hello_of_an_echo_client_is_not_kept(pki: Authorities) -> None:
    async with faced(pki) as here, await here.connect(client(pki, alpn=())) as stream:
        await here.event("accepted")
        [ours] = here.server._open
        assert ours.evidence.recorder.calls
        await echoed(stream)
        assert not ours.evidence.recorder.calls
        assert not ours.evidence.recorder.messages


async def test_a_trace_that_was_asked_for_is_kept(pki: Authorities) -> None:
    async with faced(pki, trace=True) as here:
        for number, alpn in enumerate(((), ("http/1.1",)), 1):
            async with await here.connect(client(pki, alpn=alpn)) as stream:
                await (ask(stream, "/json") if alpn else echoed(stream))
            names = [entry["name"] for entry in (await here.event("connection", number))["trace"]]
            assert names[0] == "ClientHello"
            assert "Finished" in names


@both_versions
@pytest.mark.parametrize("how", ["close", "leave", "asked"])
async def test_a_client_that_was_served_has_not_failed(
    pki: Authorities, version: ssl.TLSVersion, how: str
) -> None:
    async with faced(pki) as here:
        stream = await here.connect(client(pki, version=version))
        await ask(stream, "/json")
        await ask(stream, "/json", *(["Connection: close"] if how == "asked" else []))
        if how == "leave":
            await leave(stream)
        else:
            await stream.aclose()
        report = await here.event("connection")
        assert report["outcome"] == "completed"
        assert report["causes"] == []
        assert report["http_requests"] == 2
        assert report["ended"] == ("handler" if how == "asked" else "client")
        [text] = [event.text for event in here.events if event.name == "connection"]
        assert text.startswith("finished ")
        assert "2 HTTP requests" in text


async def test_a_request_that_is_cut_off_has_failed(pki: Authorities) -> None:
    async with faced(pki) as here:
        stream = await here.connect(client(pki))
        await ask(stream, "/json")
        await stream.send_all(request("/echo", method="POST", body=b"hello")[:-1])
        await leave(stream)
        report = await here.event("connection")
        assert report["outcome"] == "failed"
        assert report["causes"][0] in ("truncated", "reset")


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "CONNECT"])
async def test_a_client_that_is_not_authorised_gets_nothing_by_any_method(
    pki: Authorities, method: str
) -> None:
    async with (
        faced(pki, access=access(dns=["bob.test"])) as here,
        await here.connect(client(pki)) as stream,
    ):
        assert (await ask(stream, "/json", method=method)).status == 403
        assert await stream.receive_some() == b""


async def test_a_client_that_is_not_authorised_reads_why(pki: Authorities) -> None:
    async with faced(pki, access=access(dns=["bob.test"])) as here:
        for number, (field, shown) in enumerate(((HTML, "<h1>403"), ("Accept: */*", '"detail"'))):
            stream = await here.connect(client(pki))
            refused = await ask(stream, "/json", field)
            assert refused.status == 403
            assert shown in refused.text
            assert "alice.test" in refused.text
            assert "bob" not in refused.text
            assert "cipher" not in refused.text
            assert await stream.receive_some() == b""
            await stream.aclose()
            report = await here.event("connection", number + 1)
            assert report["outcome"] == "denied"
            assert report["causes"] == ["not-authorised"]
        # Who has not said that it speaks HTTP may wait for our word.
        async with await here.connect(client(pki, alpn=())) as stream:
            assert denial_in(await everything(stream))


async def test_a_client_without_a_certificate_is_told_so(pki: Authorities) -> None:
    for client_auth in ClientAuth.OPTIONAL, ClientAuth.NONE:
        async with faced(pki, client_auth) as here:
            context = pki.client_context()
            async with await here.connect(context) as stream:
                assert (await ask(stream, "/json")).json["client"] is None
                page = (await ask(stream, "/", HTML)).text
                assert "You are anonymous" in page
                assert (await ask(stream, "/certificate.pem")).status == 404


async def test_names_in_a_certificate_do_nothing_to_the_page(pki: Authorities) -> None:
    evil = "<script>alert(1)</script>\"'&\u202eevil\x1b[2J\u0301"
    uris = [f"https://{'a' * 200}.test/{number}/%3Cb%3E<b>" for number in range(100)]
    credential = pki.clients.issue(
        Request.client(*(f"n{number}.test" for number in range(3_000)), *uris, subject=evil)
    )
    async with faced(pki) as here, await here.connect(client(pki, credential)) as stream:
        page = await ask(stream, "/", HTML)
        assert "<script" not in page.text
        assert "<b>" not in page.text
        assert "the first 16</em>" in page.text
        assert "&lt;script\\&gt;alert(1)" in page.text
        for character in "\u202e\x1b\u0301":
            assert character not in page.text
        assert "\\u202e" in page.text
        assert len(page.body) < 60_000
        assert len((await ask(stream, "/json")).body) < 60_000
        assert (await ask(stream, "/trace")).text.isprintable() is False  # its line feeds
        assert all(line.isprintable() for line in (await ask(stream, "/trace")).text.split("\n"))


async def test_a_stop_closes_what_is_kept_open(
    pki: Authorities, patient_clock: trio.testing.MockClock
) -> None:
    async with faced(pki) as here, await here.connect(client(pki)) as stream:
        await ask(stream, "/json")
        here.server.stop()
        assert await stream.receive_some() == b""
        assert (await here.event("connection"))["ended"] == "drain"


async def test_a_stop_waits_for_the_rest_of_a_request_and_its_answer_is_the_last(
    pki: Authorities, patient_clock: trio.testing.MockClock
) -> None:
    sent = request("/echo", method="POST", body=b"x" * 100)
    async with faced(pki) as here, await here.connect(client(pki)) as stream:
        await ask(stream, "/json")
        await stream.send_all(sent[:-50])
        await trio.sleep(0.5)
        here.server.stop()
        await trio.sleep(5)
        await stream.send_all(sent[-50:] + request("/json"))
        echo = await answer(stream)
        assert echo.body == b"x" * 100
        assert echo.headers["connection"] == "close"
        assert await stream.receive_some() == b""
        report = await here.event("connection")
    assert report["outcome"] == "completed"
    assert report["ended"] == "drain"
    assert report["http_requests"] == 2


async def test_a_request_that_drips_is_cut_off(
    pki: Authorities, patient_clock: trio.testing.MockClock
) -> None:
    async with faced(pki) as here, await here.connect(client(pki)) as stream:
        async with trio.open_nursery() as nursery:

            async def drip() -> None:
                for byte in request("/json", "A: " + "a" * 1000):
                    await stream.send_all(bytes([byte]))
                    await trio.sleep(2)

            nursery.start_soon(drip)
            assert (await answer(stream)).status == 408
            assert trio.current_time() < 15
            nursery.cancel_scope.cancel()
        report = await here.event("connection")
        assert report["outcome"] == "completed"
        assert report["http_requests"] == 1


async def test_a_client_that_does_not_read_its_answers_is_cut_off(
    pki: Authorities, patient_clock: trio.testing.MockClock
) -> None:
    async with faced(pki) as here, await here.connect(client(pki)) as stream:
        with contextlib.suppress(trio.BrokenResourceError):
            while True:
                await stream.send_all(request("/echo", method="POST", body=bytes(MOST_ECHOED)))
        report = await here.event("connection")
        assert report["outcome"] == "failed"
        assert report["causes"] == ["timeout"]


async def test_what_follows_a_broken_request_is_not_answered(pki: Authorities) -> None:
    async with faced(pki) as here, await here.connect(client(pki)) as stream:
        await stream.send_all(b"\0\0\0\r\n\r\n" + request("/json"))
        assert (await answer(stream)).status == 400
        assert await everything(stream) == b""
