"""Is what a person types for a server understood, and nonsense answered with what to write?"""

from __future__ import annotations

import pytest

from mtls_echo_tls.address import Address, parse_address, reference_identifier


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:8443", Address("localhost", 8443)),
        ("a.test", Address("a.test", 8443)),
        ("", Address("localhost", 8443)),
        (":9000", Address("localhost", 9000)),
        ("127.0.0.1:1", Address("127.0.0.1", 1)),
        ("[::1]:65535", Address("::1", 65535)),
        ("[fe80::1%eth0]", Address("fe80::1%eth0", 8443)),
        ("under_score.test:1", Address("under_score.test", 1)),
    ],
)
def test_an_address_is_read_with_what_it_leaves_out_filled_in(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("https://a.test:8443/path", "write only host and port: a.test:8443"),
        ("8443", ":8443"),
        ("::1", r"\[::1\]:PORT"),
        ("a:b:c", "more than one colon"),
        ("localhost:", "must be a number"),
        ("localhost:https", "must be a number"),
        ("localhost:+1", "must be a number"),
        ("localhost:٣", "must be a number"),
        ("localhost:0", "from 1 to 65535"),
        ("localhost:65536", "from 1 to 65535"),
        ("localhost:" + "9" * 5000, "from 1 to 65535"),
        ("[::1", "in brackets"),
        ("[::1]8443", "in brackets"),
        ("[localhost]:1", "not an IPv6 address"),
        ("user@a.test:1", "contains '@'"),
        ("hello world", "contains ' '"),
        ("a..b:1", "1 to 63 characters"),
        (".a.test", "not a host name"),
        ("x" * 64, "1 to 63 characters"),
        ("a." * 127 + "a", "more than 253 characters"),
        ("nul\0:1", "not a host name"),
    ],
)
def test_nonsense_is_refused_with_what_to_write_instead(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        parse_address(text)


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("a.test", "a.test"),
        ("a.test.", "a.test"),
        ("fe80::1%eth0", "fe80::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("bücher.test", "xn--bcher-kva.test"),
    ],
)
def test_the_name_to_verify_has_the_form_that_certificates_use(name: str, identifier: str) -> None:
    assert reference_identifier(name) == identifier


def test_a_protocol_may_have_a_usual_port_of_its_own() -> None:
    assert parse_address("db.test", default_port=5432) == Address("db.test", 5432)
    assert parse_address("", default_port=25) == Address("localhost", 25)
    assert parse_address("db.test:1", default_port=5432) == Address("db.test", 1)


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("localhost", True), ("a.localhost", True), ("127.0.0.1", True), ("127.9.9.9", True),
        ("::1", True), ("api.test", False), ("10.0.0.1", False), ("localhost.test", False),
        ("notlocalhost", False), ("::ffff:10.0.0.1", False),
    ],
)  # fmt: skip
def test_this_machine_is_known_as_it_is_written(host: str, is_loopback: bool) -> None:
    assert Address(host).is_loopback is is_loopback
