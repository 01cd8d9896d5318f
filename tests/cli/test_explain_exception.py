"""What is said about the TLS error in an exception, as Python's libraries raise and wrap it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import requests.adapters
import urllib3

from mtls_echo import Directory, explain_exception
from tests.support.command_line import run, serving
from tests.support.timing import TIMEOUT

pytest_plugins = ["pytester"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Directory]]:
    """The port of a server that requires a client's certificate, and its PKI."""
    folder = tmp_path_factory.mktemp("world") / "pki"
    with serving(pki=folder) as running:
        yield running.port, Directory(folder)


def trusting(pki: Directory) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    pki.trust("servers").load_into(context)
    return context


def with_urllib(port: int, context: ssl.SSLContext) -> None:
    urllib.request.urlopen(f"https://localhost:{port}/", context=context, timeout=TIMEOUT)


def with_http_client(port: int, context: ssl.SSLContext) -> None:
    connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=TIMEOUT)
    with contextlib.closing(connection):
        connection.request("GET", "/")
        connection.getresponse()


def with_asyncio(port: int, context: ssl.SSLContext) -> None:
    async def talk() -> None:
        reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
        writer.write(b"hello\n")
        await reader.readline()
        # In TLS 1.3 the refusal comes with the first read.
        await reader.readline()

    asyncio.run(talk())


class WithContext(requests.adapters.HTTPAdapter):
    """requests' own way to another context."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, ssl_context=self._context)


def with_requests(port: int, context: ssl.SSLContext) -> None:
    # A proxy or a bundle of CAs that the environment names has nothing to do with it.
    with requests.Session() as session:
        session.trust_env = False
        session.mount("https://", WithContext(context))
        session.get(f"https://localhost:{port}/", timeout=TIMEOUT)


def with_urllib3(port: int, context: ssl.SSLContext) -> None:
    with urllib3.PoolManager(ssl_context=context) as pool:
        pool.request("GET", f"https://localhost:{port}/", timeout=TIMEOUT, retries=1)


def with_httpx(port: int, context: ssl.SSLContext) -> None:
    httpx.get(f"https://localhost:{port}/", verify=context, timeout=TIMEOUT, trust_env=False)


def with_aiohttp(port: int, context: ssl.SSLContext) -> None:
    async def get() -> None:
        async with aiohttp.ClientSession() as session:
            await session.get(f"https://localhost:{port}/", ssl=context)

    asyncio.run(get())


CLIENTS = [
    with_urllib,
    with_http_client,
    with_asyncio,
    with_requests,
    with_urllib3,
    with_httpx,
    with_aiohttp,
]


def raised(
    client: Callable[[int, ssl.SSLContext], None], port: int, context: ssl.SSLContext
) -> Exception:
    try:
        client(port, context)
    except Exception as error:
        return error
    raise AssertionError("nothing failed")


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_that_trusts_another_ca_refused_the_server(
    world: tuple[int, Directory], client: Callable[[int, ssl.SSLContext], None], tmp_path: Path
) -> None:
    port, _ = world
    error = raised(client, port, trusting(Directory.create(tmp_path / "other")))

    explained = explain_exception(error)

    assert explained is not None
    assert explained.verify_code in (19, 20)
    assert explained.answers[0].causes[0] == "unknown-authority"
    assert "verify code" in str(explained)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_server_refused_a_client_without_a_certificate(
    world: tuple[int, Directory], client: Callable[[int, ssl.SSLContext], None]
) -> None:
    port, pki = world
    error = raised(client, port, trusting(pki))

    explained = explain_exception(error)

    assert explained is not None
    assert explained.alert is not None
    assert explained.alert.name == "certificate_required"
    (answer,) = explained.answers
    assert (answer.side, answer.rejected_by) == ("client", "server")
    assert answer.causes[0] == "no-client-certificate"


def sslerror(reason: str, text: str = "", **more: object) -> ssl.SSLError:
    error = ssl.SSLError(1, text or f"[SSL: {reason}] something else (_ssl.c:1)")
    error.reason, error.library = reason, "SSL"
    for name, value in more.items():
        setattr(error, name, value)
    return error


class WrappedInArguments(Exception):
    """As urllib3, requests and aiohttp raise it."""


def test_it_is_found_wherever_a_library_has_put_it() -> None:
    inner = sslerror("TLSV1_ALERT_UNKNOWN_CA")
    by_context, by_cause, by_reason = ValueError("a"), ValueError("b"), ValueError("c")
    by_context.__context__, by_cause.__cause__ = inner, inner
    by_reason.__dict__["reason"] = WrappedInArguments("x", inner)
    group = ExceptionGroup("several", [ValueError("d"), ExceptionGroup("more", [by_context])])

    for outer in (inner, by_context, by_cause, by_reason, WrappedInArguments(inner), group):
        explained = explain_exception(outer)
        assert explained is not None
        assert explained.alert is not None
        assert explained.alert.name == "unknown_ca"


def test_the_exceptions_own_numbers_come_before_its_text() -> None:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] it has expired")
    error.reason, error.library = "CERTIFICATE_VERIFY_FAILED", "SSL"
    error.verify_code, error.verify_message = 62, "Hostname mismatch"

    explained = explain_exception(error)

    assert explained is not None
    assert explained.answers[0].causes[0] == "wrong-name"


@pytest.mark.parametrize("reason", ["WRONG_VERSION_NUMBER", "TLSV13_ALERT_CERTIFICATE_REQUIRED"])
def test_the_account_is_that_of_the_command_for_the_text(reason: str) -> None:
    error = sslerror(reason)
    text = f"ssl.SSLError: {error}"
    said = json.loads(run("explain", "--json", text).stdout)

    explained = explain_exception(error)

    assert explained is not None
    for ours, theirs in zip(explained.answers, said["answers"], strict=True):
        assert ours.causes == theirs["causes"]
        assert ours.remedies == theirs["remedies"]
        assert ours.rejected_by == theirs["rejected_by"]


def test_without_one_there_is_nothing_to_explain() -> None:
    circle = ValueError("round")
    circle.__cause__ = WrappedInArguments(circle)

    for error in (circle, OSError(1, "no"), ssl.SSLWantReadError(), KeyboardInterrupt()):
        assert explain_exception(error) is None


FAILING = """
    import ssl, urllib.error

    def error():
        error = ssl.SSLError(1, "[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca (_ssl.c:1)")
        error.reason, error.library = "TLSV1_ALERT_UNKNOWN_CA", "SSL"
        return error

    def test_refused():
        raise urllib.error.URLError(error())
"""
OTHERS = """
    import pytest, ssl

    def test_wrong():
        assert 1 == 2

    @pytest.mark.xfail
    def test_expected():
        raise ssl.SSLError(1, "[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca (_ssl.c:1)")

    def test_caught():
        with pytest.raises(ssl.SSLError):
            raise ssl.SSLError(1, "[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca")
"""


def output(pytester: pytest.Pytester, program: str, *options: str) -> str:
    pytester.makepyfile(program)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)
    return result.stdout.str() + result.stderr.str()


def test_a_test_that_fails_with_one_gets_a_section(pytester: pytest.Pytester) -> None:
    told = output(pytester, FAILING)

    assert "TLS, explained" in told
    assert "the server refused the client, which printed this" in told
    assert "[unknown-authority]" in told


def test_a_worker_sends_the_section_along(pytester: pytest.Pytester) -> None:
    assert "TLS, explained" in output(pytester, FAILING, "-n", "1")


def test_every_other_test_gets_none(pytester: pytest.Pytester) -> None:
    told = output(pytester, OTHERS)

    assert "1 failed, 1 passed, 1 xfailed" in told
    assert "TLS, explained" not in told


@pytest.mark.parametrize(
    "options", [["--no-tls-explained"], ["-o", "tls_explained=false"], ["-p", "no:mtls_echo"]]
)
def test_it_can_be_switched_off(pytester: pytest.Pytester, options: list[str]) -> None:
    told = output(pytester, FAILING, *options)

    assert "1 failed" in told
    assert "TLS, explained" not in told


def test_the_plugin_by_itself_loads_none_of_what_explains(pytester: pytest.Pytester) -> None:
    program = """
        import sys

        def test_light():
            assert not {"mtls_echo.exceptions", "mtls_echo_tls"} & {*sys.modules}
    """
    assert "1 passed" in output(pytester, program, "-p", "no:trio", "-p", "no:xdist")
