"""pytest fixtures for certificates; a fresh PKI for every test costs less than a file read.

Installed with the package (entry point ``pytest11``); the fixtures need no import::

    def test_the_client_trusts_the_server(authority, server_credential):
        server_credential.load_into(server_context)
        authority.trust.load_into(client_context)

    def test_the_client_refuses_an_expired_server(flaw):
        inputs = flaw("expired")
        inputs.credential.load_into(server_context)
        inputs.trust.load_into(client_context)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mtls_echo_pki.certificates.authority import Authority
    from mtls_echo_pki.certificates.credential import Credential
    from mtls_echo_pki.flaws.baseline import ValidationInput


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
