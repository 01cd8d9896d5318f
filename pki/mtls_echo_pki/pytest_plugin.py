"""A fresh PKI for every test costs less than a file read, so no test shares one.

Installed with the package (entry point ``pytest11``); the fixtures need no import::

    def test_the_client_trusts_the_server(authority, server_credential):
        server_credential.load_into(server_context)
        authority.trust.load_into(client_context)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mtls_echo_pki import Authority, Credential


@pytest.fixture
def authority() -> Authority:
    """A root authority of this test's own."""
    from mtls_echo_pki import Authority

    return Authority.root()


@pytest.fixture
def server_credential(authority: Authority) -> Credential:
    """A server's credential from ``authority``: localhost, 127.0.0.1 and ::1."""
    return authority.issue("localhost", "127.0.0.1", "::1")


@pytest.fixture
def client_credential(authority: Authority) -> Credential:
    """A client's credential from ``authority``: client.test."""
    from mtls_echo_pki import client

    return authority.issue(client("client.test"))
