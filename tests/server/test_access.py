"""Which authenticated clients are authorised."""

from __future__ import annotations

import pytest

from mtls_echo_server.access import Access
from mtls_echo_tls.path.certificates import PeerIdentity

FINGERPRINT = "0123456789abcdef" * 4


def peer(
    cn: str | None = None,
    dns: tuple[str, ...] = (),
    uris: tuple[str, ...] = (),
    emails: tuple[str, ...] = (),
) -> PeerIdentity:
    return PeerIdentity(cn, dns, uris, emails, (), FINGERPRINT)


def test_without_a_rule_everybody_may_enter_the_anonymous_included() -> None:
    assert Access().denial(peer("alice")) is None
    assert Access().denial(None) is None


def test_with_a_rule_the_anonymous_may_not() -> None:
    reason = Access(cn=("alice",)).denial(None)
    assert reason is not None
    assert "no client certificate" in reason


def test_one_rule_of_several_is_enough() -> None:
    rules = Access(cn=("bob",), dns=("b.test",), email=("alice@a.test",))
    assert rules.denial(peer("alice", emails=("alice@a.test",))) is None


def test_a_denial_names_the_client_and_none_of_the_rules() -> None:
    reason = Access(dns=("secret.test",)).denial(peer(dns=("mallory.test",)))
    assert reason is not None
    assert "mallory.test" in reason
    assert "secret" not in reason


def test_a_rule_is_compared_with_identifiers_of_its_own_type_only() -> None:
    assert Access(dns=("alice.test",)).denial(peer("alice.test"))
    assert Access(cn=("alice.test",)).denial(peer(dns=("alice.test",)))
    assert Access(email=("a@a.test",)).denial(peer("a@a.test", uris=("a@a.test",)))


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("alice.test", "ALICE.test"),
        ("Alice.test.", "alice.test"),
        ("*.a.test", "web.a.test"),
        ("web-*.a.test", "web-1.a.test"),
        ("*.*.test", "web.a.test"),
    ],
)
def test_a_dns_rule_admits(rule: str, name: str) -> None:
    assert Access(dns=(rule,)).denial(peer(dns=("other.test", name))) is None


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("*.a.test", "a.test"),
        ("*.a.test", "deep.web.a.test"),
        ("*.a.test", ".a.test"),
        ("*.a.test", "*.a.test"),
        ("web-*.a.test", "web-.a.test"),
        ("a.test", "a.test.evil.test"),
        ("a.test", "aXtest"),
    ],
)
def test_a_dns_rule_does_not_admit(rule: str, name: str) -> None:
    assert Access(dns=(rule,)).denial(peer(dns=(name,)))


@pytest.mark.parametrize(
    ("rule", "uri"),
    [
        ("spiffe://a.test/ns/prod/sa/web", "spiffe://a.test/ns/prod/sa/web"),
        ("SPIFFE://A.test/ns", "spiffe://a.TEST/ns"),
        ("spiffe://a.test/ns/*/sa/web", "spiffe://a.test/ns/prod/sa/web"),
        ("spiffe://a.test/*", "spiffe://a.test/web.v1"),
        ("spiffe://a.test/web-*", "spiffe://a.test/web-1"),
        ("urn://a.test?x=1", "urn://a.test?x=1"),
    ],
)
def test_a_uri_rule_admits(rule: str, uri: str) -> None:
    assert Access(uri=(rule,)).denial(peer(uris=(uri,))) is None


@pytest.mark.parametrize(
    ("rule", "uri"),
    [
        ("spiffe://a.test/ns", "spiffe://a.test/NS"),
        ("spiffe://a.test/*", "spiffe://a.test/ns/prod"),
        ("spiffe://a.test/*", "spiffe://a.test/"),
        ("spiffe://a.test/*", "spiffe://a.test"),
        ("spiffe://a.test/*/web", "spiffe://a.test/../web"),
        ("spiffe://a.test/*/web", "spiffe://a.test/%2e%2e/web"),
        ("spiffe://a.test/*", "spiffe://a.test/x?admin"),
        ("spiffe://a.test/*", "spiffe://b.test/x"),
        ("spiffe://a.test/*", "spiffe://a.test.evil/x"),
        ("spiffe://a.test/*", "spiffe://a.test/x\n"),
    ],
)
def test_a_uri_rule_does_not_admit(rule: str, uri: str) -> None:
    assert Access(uri=(rule,)).denial(peer(uris=(uri,)))


def test_an_email_rule_minds_the_case_of_the_local_part_only() -> None:
    rules = Access(email=("Alice@A.test",))
    assert rules.denial(peer(emails=("Alice@a.TEST",))) is None
    assert rules.denial(peer(emails=("alice@a.test",)))


@pytest.mark.parametrize(
    "value",
    [
        FINGERPRINT,
        FINGERPRINT.upper(),
        f"sha256:{FINGERPRINT}",
        "SHA256:" + ":".join(FINGERPRINT[i : i + 2] for i in range(0, 64, 2)),
    ],
)
def test_a_fingerprint_is_accepted_as_every_tool_prints_it(value: str) -> None:
    assert Access(fingerprint=(value,)).denial(peer()) is None
    other = PeerIdentity("alice", (), (), (), (), "f" * 64)
    assert Access(fingerprint=(value,)).denial(other)


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        ("cn", "", "empty"),
        ("cn", "web-*", "no parts"),
        ("dns", "*", "every DNS name"),
        ("dns", "a..test", "not a DNS name"),
        ("dns", "http://a.test", "not a DNS name"),
        ("dns", "bücher.test", "A-labels"),
        ("uri", "a.test/x", "not a URI"),
        ("uri", "spiffe://*/x", "one path segment"),
        ("uri", "spiffe://a.test/**", "does not cross"),
        ("uri", "spiffe://a.test/x?y=*", "one path segment"),
        ("email", "alice", "not an e-mail"),
        ("email", "*@a.test", "not an e-mail"),
        ("fingerprint", "ab" * 20, "SHA-1"),
        ("fingerprint", "xyz", "64 hexadecimal digits"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused_with_the_reason(
    kind: str, value: str, why: str
) -> None:
    with pytest.raises(ValueError, match="(?s)" + why):
        Access(**{kind: (value,)})
