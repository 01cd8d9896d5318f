"""Verdicts on servers that are right, wrong, silent and odd: no false alarm, no false pass."""

from __future__ import annotations

import ssl
import string

import pytest

from mtls_echo.probing.attempt import make_client
from mtls_echo.probing.result import (
    ALL_REFUSED,
    GOOD_REFUSED,
    NO_TCP,
    SERVER_REFUSED,
    SOME_ADMITTED,
    SOME_UNCLEAR,
)
from mtls_echo.probing.target import ProbeTarget
from mtls_echo.probing.verdict import BEHIND_HTTP
from mtls_echo_client.http import HTTPRequest
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_tls.stream.tls import TLSStream
from tests.cli.probing.servers import (
    FEW,
    context,
    hello,
    http,
    only_row,
    page,
    probed,
    serving,
    verdicts,
)
from tests.support.authorities import SERVERS
from tests.support.ports import refusing_port

pytestmark = pytest.mark.real_time

OPTIONAL = ssl.CERT_OPTIONAL


async def test_a_server_that_verifies_refuses_every_identity() -> None:
    async with serving(context(), http(hello)) as port:
        result = await probed(port, only=())

    assert {row.verdict for row in result.rows} == {"refused", "not tested"}
    assert result.exit_status() == ALL_REFUSED
    assert only_row(result, "expired").how == "alert certificate_expired"
    assert all(row.tries == 2 for row in result.rows if row.group == "identity" and row.tries)
    assert not [row.note for row in result.rows if row.note]


async def test_a_server_that_asks_and_does_not_demand_lets_a_client_without_in() -> None:
    async with serving(context(OPTIONAL), http(hello)) as port:
        required = await probed(port)
        declared = await probed(port, client_auth="optional")

    assert [row.slug for row in required.findings()] == ["none", "none"]
    assert required.exit_status() == SOME_ADMITTED
    assert only_row(required, "none").how == "HTTP/1.1 200 OK"
    assert declared.findings() == []
    assert verdicts(declared)["expired"] == {"refused"}


async def test_where_no_certificate_is_asked_for_there_is_one_finding() -> None:
    async with serving(context(ssl.CERT_NONE), http(hello)) as port:
        result = await probed(port)
        meant = await probed(port, client_auth="none")

    assert verdicts(result) == {
        "none": {"admitted"},
        "unknown-authority": {"not tested"},
        "expired": {"not tested"},
    }
    assert only_row(result, "expired").how == "the server asks for no certificate"
    assert meant.findings() == []


async def test_times_and_tokens_in_an_answer_are_not_a_difference() -> None:
    def answer(_: str, name: str | None, number: int) -> str:
        return page(f"hello at 15:{number:02} on request {number:08x}", "200 OK", "Date: now")

    async with serving(context(OPTIONAL), http(answer)) as port:
        result = await probed(port)

    assert verdicts(result)["none"] == {"admitted"}


async def test_an_answer_that_greets_each_client_by_its_own_name_is_the_same_answer() -> None:
    def answer(_: str, name: str | None, number: int) -> str:
        return page(f"hello {name}")

    async with serving(context(OPTIONAL), http(answer)) as port:
        result = await probed(port, only=(*FEW, "servers-ca"))

    # What the CA issues anew for the good identity is known by its own name, too.
    assert verdicts(result)["servers-ca"] == {"refused"}
    assert not any("not tested" in note for note in result.notes)
    # Without a certificate the page is another one: who can say whether it gives anything away?
    assert verdicts(result)["none"] == {"unclear"}
    assert any("name one whose status tells" in note for note in result.notes)
    assert result.exit_status() == SOME_UNCLEAR


async def test_a_greeting_without_a_name_is_the_greeting() -> None:
    def answer(_: str, name: str | None, number: int) -> str:
        return page(f"hello {name or ''}")

    async with serving(context(OPTIONAL), http(answer)) as port:
        result = await probed(port)

    assert verdicts(result)["none"] == {"admitted"}


@pytest.mark.parametrize(
    ("elsewhere", "verdict"),
    [
        ("/login", "refused late"),
        ("https://id.test/oauth2/authorize?client=a93f1", "refused late"),
        ("/error/access_denied", "refused late"),
        ("/catalogin", "unclear"),
        ("/welcome?via=/login", "unclear"),
        ("https://auth.acme.test/welcome", "unclear"),
        ("/", "unclear"),
        ("/home?session=a93f1", "admitted"),
    ],
)
async def test_a_redirect_admits_if_it_leads_where_the_good_identity_is_led(
    elsewhere: str, verdict: str
) -> None:
    def answer(_: str, name: str | None, number: int) -> str:
        where = elsewhere if name is None else f"/home?session={number:05x}0"
        return page("", "302 Found", f"Location: {where}")

    async with serving(context(OPTIONAL), http(answer)) as port:
        result = await probed(port, only=("none",))

    assert verdicts(result)["none"] == {verdict}


async def test_where_each_is_sent_to_log_in_nobody_is_turned_away() -> None:
    states = iter(string.ascii_letters * 10)

    def answer(_: str, name: str | None, number: int) -> str:
        return page("", "302 Found", f"Location: https://id.test/login?state={next(states)}")

    async with serving(context(OPTIONAL), http(answer)) as port:
        result = await probed(port, only=("none",))

    assert verdicts(result)["none"] == {"unclear"}


async def test_nothing_but_a_head_is_compared_where_that_is_asked_for() -> None:
    def answer(head: str, name: str | None, number: int) -> str:
        assert head.startswith("HEAD /health ")
        return page("hello").removesuffix("hello")

    async with serving(context(OPTIONAL), http(answer)) as port:
        result = await probed(
            port, only=("none",), mode="http", request=HTTPRequest("/health", "HEAD")
        )

    assert verdicts(result)["none"] == {"admitted"}


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ("403 Forbidden", "refused late"),
        ("400 Bad Request", "refused late"),
        ("404 Not Found", "refused late"),
        ("429 Too Many Requests", "unclear"),
        ("503 Service Unavailable", "unclear"),
        ("500 Internal Server Error", "unclear"),
    ],
)
async def test_an_error_of_the_server_is_not_a_refusal(status: str, verdict: str) -> None:
    def answer(_: str, name: str | None, number: int) -> str:
        return page("hello") if name else page("no", status)

    async with serving(context(OPTIONAL), http(answer)) as port:
        result = await probed(port, only=("none",))

    assert verdicts(result)["none"] == {verdict}
    assert result.exit_status() == (SOME_UNCLEAR if verdict == "unclear" else ALL_REFUSED)


async def test_nothing_is_judged_where_the_good_identity_is_not_served() -> None:
    def answer(_: str, name: str | None, number: int) -> str:
        return page("nothing here", "404 Not Found")

    async with serving(context(), http(answer)) as port:
        result = await probed(port, mode="http")

    assert result.rows == []
    assert result.exit_status() == GOOD_REFUSED
    assert "404" in result.baseline[0].how


async def test_what_closes_after_the_handshake_without_an_alert_has_refused() -> None:
    async def serve(stream: TLSStream, name: str | None, number: int) -> None:
        if name is not None:
            await http(hello)(stream, name, number)

    async with serving(context(OPTIONAL), serve) as port:
        result = await probed(port)

    assert verdicts(result)["none"] <= {"refused", "refused late"}
    assert only_row(result, "none").how == "the server closed, without an alert"
    assert result.exit_status() == ALL_REFUSED


async def test_an_echo_is_proof_although_the_server_answers_in_http_too() -> None:
    async def ours(stream: TLSStream, name: str | None, number: int) -> None:
        while data := await stream.receive_some():
            answer = page("you", "200 OK", "Server: mtls-echo").encode()
            await stream.send_all(answer if data.startswith(b"GET ") else data)

    async with serving(context(OPTIONAL), ours) as port:
        result = await probed(port, versions=("1.3",))

    assert result.mode == "echo"
    assert verdicts(result)["none"] == {"admitted"}


async def silent(stream: TLSStream, name: str | None, number: int) -> None:
    """Never say anything."""
    while await stream.receive_some():
        pass


async def test_silence_is_acceptance_only_where_others_are_refused() -> None:
    async with serving(context(OPTIONAL), silent) as port:
        result = await probed(port, mode="handshake")
        alone = await probed(port, mode="handshake", only=("none",), versions=("1.3",))

    assert verdicts(result) == {
        "none": {"admitted"},
        "unknown-authority": {"refused"},
        "expired": {"refused"},
    }
    assert "is not refused within" in result.findings()[1].how
    # By itself nothing shows that the server has judged at all.
    assert verdicts(alone) == {"none": {"unclear"}}
    assert alone.exit_status() == SOME_UNCLEAR


async def test_a_name_that_is_refused_shows_nothing_of_certificates() -> None:
    def known(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> int | None:
        return None if name == "localhost" else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    named = context(OPTIONAL)
    named.sni_callback = known
    async with serving(named, silent) as port:
        result = await probed(
            port, mode="handshake", only=("none", "sni-unknown"), versions=("1.3",)
        )

    assert verdicts(result) == {"none": {"unclear"}, "sni-unknown": {"refused"}}


async def test_a_banner_admits_whom_it_greets() -> None:
    async def greet(stream: TLSStream, name: str | None, number: int) -> None:
        await stream.send_all(b"220 mail.test ESMTP\r\n" if name else b"554 who are you\r\n")
        await silent(stream, name, number)

    async with serving(context(OPTIONAL), greet) as port:
        result = await probed(port, mode="handshake")
    async with serving(context(OPTIONAL), banner) as port:
        to_all = await probed(port, mode="handshake")

    assert verdicts(result)["none"] == {"unclear"}
    assert verdicts(to_all)["none"] == {"admitted"}


async def banner(stream: TLSStream, name: str | None, number: int) -> None:
    """The same to every client."""
    await stream.send_all(b"220 mail.test ESMTP\r\n")
    await silent(stream, name, number)


async def test_a_version_in_which_the_good_identity_is_not_served_is_not_tested() -> None:
    tls = context()
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    async with serving(tls, http(hello)) as port:
        result = await probed(port)

    assert result.mode == "http"
    assert {row.tls for row in result.rows} == {"1.3"}
    assert any("TLS 1.2 is not tested" in note for note in result.notes)
    assert result.exit_status() == ALL_REFUSED


async def test_a_server_that_we_refuse_and_one_without_tls_are_not_judged() -> None:
    stranger = context(credential=SERVERS.issue(Request.server("other.test")))
    async with serving(stranger, http(hello)) as port:
        refused = await probed(port)
    async with serving(context(), silent, plaintext=b"220 ready\r\n") as port:
        clear = await probed(port)
    nowhere = await probed(refusing_port())

    assert refused.exit_status() == SERVER_REFUSED
    assert clear.exit_status() == SERVER_REFUSED
    assert nowhere.exit_status() == NO_TCP
    assert refused.rows == clear.rows == nowhere.rows == []


async def test_an_answer_in_http_that_cannot_be_read_may_be_a_refusal() -> None:
    def answer(_: str, name: str | None, number: int) -> str:
        return f"HTTP/1.1 {200 if name else 403} \r\n broken\r\n\r\n"

    async with serving(context(OPTIONAL), http(answer)) as port:
        result = await probed(port, only=("none",))

    assert result.mode == "handshake"
    assert {row.how for row in result.rows} == {BEHIND_HTTP}
    assert result.exit_status() == SOME_UNCLEAR


def test_nothing_is_presented_to_a_server_that_is_not_verified() -> None:
    credential = Authority.root().issue(Request.client("client.test"))
    target = ProbeTarget(host="localhost", port=1, trust=None, server_names=("localhost",))

    with pytest.raises(ValueError, match="not verified"):
        make_client(target, credential, "1.3", "http", verify=False)
