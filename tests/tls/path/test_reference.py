"""How a certificate's names differ from the one that was asked for, after a near miss."""

from __future__ import annotations

import ssl
from dataclasses import replace

import pytest
from cryptography import x509

from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_pki.flaws.baseline import with_extension
from mtls_echo_server.context import ClientAuth, server_context
from mtls_echo_tls.path.reference import mismatch
from tests.support.authorities import SERVERS
from tests.support.tls import both_versions, reports, tls_pair


def naming(*names: str) -> Credential:
    """A server's certificate with these as dNSName entries, whatever they are."""
    made = SERVERS.issue(Request.server("localhost"))
    tbs = TBSCertificate.of(made.certificate)
    presented = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    return replace(made, certificate=SERVERS.certify(with_extension(tbs, presented)))


CASES = [
    ("127.0.0.1", "127.0.0.1", "only an iPAddress entry names an address", "IP:127.0.0.1"),
    ("::1", "0:0:0:0:0:0:0:1", "only an iPAddress entry names an address", "IP:::1"),
    ("a.b.example.test", "*.example.test", "stands for one label only", "DNS:a.b.example.test"),
    ("example.test", "*.example.test", "not for itself", "DNS:example.test"),
    ("www.test", "w*.test", "has to be a whole label", "DNS:www.test"),
    ("a.test", "*.test", "needs two labels after it", "DNS:a.test"),
    ("other.test", "*.example.test", "other.test was asked for", ""),
    ("10.0.0.1", "127.0.0.1", "10.0.0.1 was asked for", ""),
]


@pytest.mark.parametrize(("asked", "presented", "said", "lacks"), CASES)
def test_what_is_said(asked: str, presented: str, said: str, lacks: str) -> None:
    found = mismatch(naming(presented).certificate, asked)

    assert found.detail.startswith(f"it names {presented}; {asked} was asked for")
    assert found.detail.endswith(said)
    assert found.lacks == lacks


@both_versions
@pytest.mark.parametrize(("asked", "presented", "said", "lacks"), CASES)
async def test_openssl_refuses_it_and_both_ends_say_why(
    version: ssl.TLSVersion, asked: str, presented: str, said: str, lacks: str
) -> None:
    one = client_context(SERVERS.trust)
    one.minimum_version = one.maximum_version = version
    other = server_context(naming(presented), client_auth=ClientAuth.NONE)

    client, server = await reports(*tls_pair(one, other, name=asked))

    assert client.causes == server.causes == ["wrong-name"]
    assert any(fact.value.endswith(said) for fact in client.evidence if fact.fact == "found")
    if lacks:
        assert lacks in client.remedy
    # Of an address the server has not heard: no client sends one as SNI.
    if lacks.startswith("DNS"):
        assert lacks in server.remedy


def test_names_that_are_not_listed_are_counted() -> None:
    many = [f"host-{number:03}.example.test" for number in range(800)]
    long = [f"{'a' * 60}.{'b' * 60}.{number}.test" for number in range(9)]

    detail = mismatch(naming(*many).certificate, "x.test").detail
    assert detail.startswith("it names host-000.example.test, host-001.example.test, ")
    assert detail.endswith(" and 793 more; x.test was asked for")
    assert mismatch(naming(*long).certificate, "x.test").detail == (
        f"it names {long[0]} and 8 more; x.test was asked for"
    )
