"""pytest fixtures for certificates, and a word about the TLS error that failed a test.

A fresh PKI for every test costs less than a file read. A test that fails with an `ssl.SSLError`,
however a library has wrapped it, gets a section "TLS, explained" below its traceback. Switch that
off with ``--no-tls-explained`` or ``tls_explained = false`` in pytest's configuration, and all of
this with ``-p no:mtls_echo``.

Installed with the package (entry point ``pytest11``); the fixtures need no import::

    def test_the_client_trusts_the_server(authority, server_credential):
        server_credential.load_into(server_context)
        authority.trust.load_into(client_context)

    def test_the_client_refuses_an_expired_server(flaw):
        inputs = flaw("expired")
        inputs.credential.load_into(server_context)
        inputs.trust.load_into(client_context)

    def test_a_client_refuses_bad_servers(gallery, bad_exhibit):
        with pytest.raises(OSError):
            my_client(gallery.url(bad_exhibit), gallery.trust)
        assert gallery.received(bad_exhibit) == 0
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mtls_echo.gallery.threaded import ThreadedGallery
    from mtls_echo_pki.certificates.authority import Authority
    from mtls_echo_pki.certificates.credential import Credential
    from mtls_echo_pki.flaws.baseline import ValidationInput


_SECTION = "TLS, explained"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the section be switched off."""
    help = "whether a test that fails with a TLS error gets an explanation"
    parser.addini("tls_explained", help, type="bool", default=True)
    parser.getgroup("mtls-echo").addoption(
        "--no-tls-explained", action="store_true", help="do not explain TLS errors in failed tests"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the section to the report of a test that failed with a TLS error."""
    report = yield
    # Without ssl there is no such error; what explains it is imported only then.
    if report.failed and call.excinfo is not None and "ssl" in sys.modules and _wanted(item):
        from mtls_echo.exceptions import explain_exception

        explanation = explain_exception(call.excinfo.value)
        if explanation is not None:
            report.sections.append((_SECTION, str(explanation)))
    return report


def _wanted(item: pytest.Item) -> bool:
    wanted: bool = item.config.getini("tls_explained")
    return wanted and not item.config.getoption("--no-tls-explained")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes ``bad_exhibit`` once for each server that a client must refuse."""
    if "bad_exhibit" in metafunc.fixturenames and not any(
        "bad_exhibit" in str(mark.args[:1])
        for mark in metafunc.definition.iter_markers("parametrize")
    ):
        from mtls_echo.gallery.collection import EXHIBITS

        refused = [
            each.slug
            for each in EXHIBITS.values()
            if each.must == "refuse" and each.group == "certificate"
        ]
        metafunc.parametrize("bad_exhibit", refused)


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Generator[ThreadedGallery]:
    """Servers with every TLS fault there is, each on a port of localhost.

    ``gallery.url("expired")``, or its ``host`` and ``port``; ``gallery.trust`` is the file of the
    trust anchors. ``gallery.received("expired")`` says how many bytes of application data came.
    """
    from mtls_echo.gallery.threaded import ThreadedGallery

    with ThreadedGallery(tmp_path_factory.mktemp("gallery")) as served:
        yield served


@pytest.fixture
def authority() -> Authority:
    """A root CA of this test's own."""
    from mtls_echo_pki.certificates.authority import Authority

    return Authority.root()


@pytest.fixture
def server_credential(authority: Authority) -> Credential:
    """A server's credential from ``authority``: localhost, 127.0.0.1 and ::1."""
    return authority.issue("localhost", "127.0.0.1", "::1")


@pytest.fixture
def client_credential(authority: Authority) -> Credential:
    """A client's credential from ``authority``: client.test."""
    from mtls_echo_pki.certificates.request import Request

    return authority.issue(Request.client("client.test"))


@pytest.fixture
def flaw(authority: Authority) -> Callable[..., ValidationInput]:
    """Makes a deliberately bad credential by name, from ``authority``.

    ``flaw("expired")`` is a server's, for localhost, 127.0.0.1 and ::1; for another, give the
    request: ``flaw("expired", client("client.test"))``. It returns a ``ValidationInput``: its
    ``credential``, the ``trust`` to verify it with, the ``reference`` name to ask for.
    """
    from mtls_echo_pki.certificates.request import Request
    from mtls_echo_pki.flaws.registry import find_flaw

    def make(slug: str, request: Request | None = None) -> ValidationInput:
        return find_flaw(slug).build(
            authority, request or Request.server("localhost", "127.0.0.1", "::1")
        )

    return make
