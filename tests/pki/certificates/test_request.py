"""What can be asked for, and how an identity is typed by its form."""

from __future__ import annotations

import ipaddress
import string
from datetime import timedelta

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from mtls_echo_pki.certificates.identifiers import general_name, identity_text
from mtls_echo_pki.certificates.request import KeyType, Request, Usage
from mtls_echo_pki.lifetimes import describe_lifetime, parse_lifetime


@pytest.mark.parametrize(
    ("identity", "name"),
    [
        ("localhost", x509.DNSName("localhost")),
        ("*.a.test", x509.DNSName("*.a.test")),
        ("my_service", x509.DNSName("my_service")),
        ("xn--bcher-kva.test", x509.DNSName("xn--bcher-kva.test")),
        ("bücher.test", x509.DNSName("xn--bcher-kva.test")),
        ("*.Bücher.test", x509.DNSName("*.xn--bcher-kva.test")),
        ("127.0.0.1", x509.IPAddress(ipaddress.ip_address("127.0.0.1"))),
        ("::1", x509.IPAddress(ipaddress.ip_address("::1"))),
        ("alice@mail.test", x509.RFC822Name("alice@mail.test")),
        ("a.b+c@bücher.test", x509.RFC822Name("a.b+c@xn--bcher-kva.test")),
        ("spiffe://td.test/ns/a", x509.UniformResourceIdentifier("spiffe://td.test/ns/a")),
        ("https://a.test/x?y", x509.UniformResourceIdentifier("https://a.test/x?y")),
    ],
)
def test_an_identity_becomes_the_type_of_name_its_form_shows(
    identity: str, name: x509.GeneralName
) -> None:
    assert [*Request.server(identity).subject_alternative_names()] == [name]


@pytest.mark.parametrize(
    "identity",
    [
        "",
        " ",
        "a b",
        "a..test",
        ".a.test",
        "a.test.",
        "-a.test",
        "a/b",
        "a.test:8443",
        "300.1.1.1",
        "1.2.3",
        "10.0.0.0/8",
        "[::1]",
        "fe80::1%eth0",
        "*",
        "*.test",
        "a.*.test",
        "*a.b.test",
        "x" * 64,
        ".".join(["x" * 60] * 5),
        "a\x00.test",
        "a\n.test",
        "\udcff.test",
        "☃@☃☃",
        "@a.test",
        "a@",
        "a@b@c",
        ".a@b.test",
        "a b@c.test",
        "a@*.b.test",
        "a@127.0.0.1",
        "://a",
        "https://",
        "https://ü.test/",
        "https://a b/",
        "https://[::1/",
        "spiffe://td.test",
        "spiffe://td.test/",
        "spiffe://TD.test/a",
        "spiffe://td.test/a/",
        "spiffe://td.test//a",
        "spiffe://td.test/../a",
        "spiffe://td.test:443/a",
        "spiffe://u@td.test/a",
        "spiffe://td.test/a?b",
        "SPIFFE://td.test/a",
    ],
)
def test_nonsense_is_refused_with_the_forms_that_are_accepted(identity: str) -> None:
    with pytest.raises(
        ValueError, match=r"is not an identity: .*; give a host .*spiffe://"
    ) as refusal:
        Request.server("good.test", identity)

    assert str(refusal.value).startswith(f'"{identity}"')


_label = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=20).map("a".__add__)
_host = st.lists(_label, min_size=1, max_size=5).map(".".join)
_wildcard = st.lists(_label, min_size=2, max_size=5).map(lambda labels: "*." + ".".join(labels))
_identity = st.one_of(
    _host,
    _wildcard,
    st.ip_addresses().map(str),
    st.builds("{}@{}".format, _label, _host),
    st.builds("spiffe://{}/{}".format, _host, _label),
    st.builds("https://{}/{}".format, _host, _label),
)


@given(_identity)
def test_an_identity_read_back_from_its_encoding_is_the_one_asked_for(identity: str) -> None:
    names = x509.SubjectAlternativeName([general_name(identity)])
    extension = x509.Extension(x509.SubjectAlternativeName.oid, False, names)
    encoded = extension.value.public_bytes()

    assert identity_text(names[0]) == identity
    assert general_name(identity_text(names[0])) == names[0]
    # The last bytes of the DER are the name itself, whatever its type.
    value = names[0].value
    content = value.packed if not isinstance(value, str) else value.encode("ascii")
    assert encoded.endswith(content)


@given(st.text(max_size=40))
def test_any_text_is_either_an_identity_that_can_be_encoded_or_a_value_error(text: str) -> None:
    try:
        name = general_name(text)
    except ValueError:
        return
    assert x509.SubjectAlternativeName([name]).public_bytes()


def test_a_certificate_needs_a_name_to_authenticate_its_holder() -> None:
    with pytest.raises(ValueError, match="cannot authenticate a peer"):
        Request.client()


def test_a_ca_has_a_subject_and_no_names() -> None:
    with pytest.raises(ValueError, match="a CA has a subject"):
        Request(usage=Usage.AUTHORITY, names=("a.test",), subject="a")
    with pytest.raises(ValueError, match="a CA has a subject"):
        Request(usage=Usage.AUTHORITY)


def test_a_spiffe_identity_is_the_only_uri_but_not_the_only_name() -> None:
    Request.client("spiffe://td.test/a", "a.test")
    with pytest.raises(ValueError, match="only URI"):
        Request.client("spiffe://td.test/a", "https://a.test/")


def test_a_certificate_does_not_end_before_it_begins() -> None:
    with pytest.raises(ValueError, match="ends before it begins"):
        Request.server("a.test", lifetime=timedelta(minutes=-5))


@pytest.mark.parametrize(
    ("text", "lifetime", "words"),
    [
        ("1s", timedelta(seconds=1), "1 second"),
        ("60s", timedelta(minutes=1), "1 minute"),
        ("90s", timedelta(seconds=90), "90 seconds"),
        ("10m", timedelta(minutes=10), "10 minutes"),
        ("90m", timedelta(minutes=90), "90 minutes"),
        ("12h", timedelta(hours=12), "12 hours"),
        ("24h", timedelta(days=1), "1 day"),
        ("36h", timedelta(hours=36), "36 hours"),
        ("30d", timedelta(days=30), "30 days"),
        ("36500d", timedelta(days=36500), "100 years"),
    ],
)
def test_a_lifetime_is_a_number_and_a_unit(text: str, lifetime: timedelta, words: str) -> None:
    assert parse_lifetime(text) == lifetime
    assert describe_lifetime(lifetime) == words


@pytest.mark.parametrize(
    "text",
    ["", "30", "d", "0d", "-1d", "1.5h", "1w", "30 d", "30D", "36501d", "9" * 30 + "s", "٣d"],
)
def test_anything_else_is_not_a_lifetime(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a lifetime; write 60s|hundred years"):
        parse_lifetime(text)


@pytest.mark.parametrize(
    ("lifetime", "words"),
    [
        (timedelta(days=30) - timedelta(seconds=3), "30 days"),
        (timedelta(days=29, hours=13), "30 days"),
        (timedelta(days=29, hours=11), "29 days"),
        (timedelta(days=2) - timedelta(seconds=3), "2 days"),
        (timedelta(days=1) - timedelta(seconds=3), "1 day"),
        (timedelta(days=1) + timedelta(hours=1), "25 hours"),
        (timedelta(hours=12) - timedelta(seconds=3), "12 hours"),
        (timedelta(hours=1) - timedelta(seconds=3), "1 hour"),
        (timedelta(minutes=58), "58 minutes"),
        (timedelta(seconds=1.5), "2 seconds"),
        (timedelta(seconds=0.2), "less than a second"),
        (timedelta(seconds=-1), "less than a second"),
    ],
)
def test_a_duration_is_rounded_as_people_say_it(lifetime: timedelta, words: str) -> None:
    assert describe_lifetime(lifetime) == words


def test_requests_are_plain_values() -> None:
    assert Request.server("a.test") == Request(names=("a.test",), usage=Usage.SERVER)
    assert Request.client("a.test", key_type=KeyType.P384) != Request.client("a.test")
