"""What is offered and accepted by default: suites with forward secrecy that authenticate."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from mtls_echo_client.context import client_context
from mtls_echo_tls import profile
from tests.support.servers import Authorities


@pytest.fixture(scope="module")
def pki() -> Authorities:
    return Authorities()


def of_a_client(pki: Authorities) -> ssl.SSLContext:
    return client_context(pki.servers.trust)


def of_a_server(pki: Authorities) -> ssl.SSLContext:
    return pki.server_context()


@pytest.mark.parametrize("made", [of_a_client, of_a_server])
def test_every_suite_is_aead_with_forward_secrecy(
    pki: Authorities, made: Callable[[Authorities], ssl.SSLContext]
) -> None:
    suites = made(pki).get_ciphers()
    assert {suite["protocol"] for suite in suites} == {"TLSv1.2", "TLSv1.3"}
    assert all(suite["aead"] for suite in suites), suites
    older = [suite["name"] for suite in suites if suite["protocol"] == "TLSv1.2"]
    assert sorted(older) == sorted(
        f"ECDHE-{key}-{cipher}"
        for key in ("ECDSA", "RSA")
        for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    )


@pytest.mark.parametrize("made", [of_a_client, of_a_server])
def test_the_security_level_is_not_lowered(
    pki: Authorities, made: Callable[[Authorities], ssl.SSLContext]
) -> None:
    assert made(pki).security_level >= ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).security_level


@pytest.mark.parametrize(
    ("openssl", "groups"),
    [
        ((3, 0, 13, 0, 0), "X25519:P-256:P-384"),
        ((3, 5, 0, 0, 0), "X25519MLKEM768:X25519:P-256:P-384"),
    ],
)
def test_where_groups_can_be_chosen_they_are(
    openssl: tuple[int, ...], groups: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[str] = []
    newer = SimpleNamespace(set_ciphers=lambda names: None, set_groups=chosen.append)
    monkeypatch.setattr(ssl, "OPENSSL_VERSION_INFO", openssl)
    profile.use_intermediate_profile(cast("ssl.SSLContext", newer))
    assert chosen == [groups]
