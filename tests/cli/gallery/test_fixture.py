"""The fixtures `gallery` and `bad_exhibit`, in tests of any kind."""

from __future__ import annotations

import re
import socket
import ssl
from pathlib import Path
from urllib.request import urlopen

import pytest

from mtls_echo.gallery.collection import EXHIBITS
from mtls_echo.gallery.threaded import ThreadedGallery
from tests.cli.gallery.small_clients import correct, trusts_all

pytest_plugins = ["pytester"]


def test_a_correct_client_is_answered_by_good_and_refuses_the_bad(
    gallery: ThreadedGallery, bad_exhibit: str
) -> None:
    trust = str(gallery.trust)
    assert correct(gallery.url("good"), trust) == 0
    assert correct(gallery.url(bad_exhibit), trust) == 1
    assert gallery.received(bad_exhibit) == 0


def test_what_a_client_sent_is_counted(gallery: ThreadedGallery) -> None:
    url = gallery.url("wrong-name")
    assert gallery.url("wrong-name") == url
    assert trusts_all(url, str(gallery.trust)) == 0
    assert gallery.received("wrong-name") == len(b"GET / HTTP/1.0\r\n\r\n")
    # From then on another port is its own.
    assert gallery.url("wrong-name") != url
    assert gallery.received("wrong-name") == 0


def test_a_client_has_a_certificate_and_the_crls(gallery: ThreadedGallery) -> None:
    context = ssl.create_default_context(cafile=str(gallery.trust))
    context.load_cert_chain(gallery.certificate, gallery.key)
    with urlopen(gallery.url("client-required"), context=context) as answer:  # noqa: S310
        assert b'"client": "client, client.test"' in answer.read()
    for slug, verify_code in (("good", None), ("revoked", 23), ("revoked-authority", 23)):
        context = ssl.create_default_context(cafile=str(gallery.trust))
        context.load_verify_locations(gallery.crl)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
        found = None
        with socket.create_connection((gallery.host(slug), gallery.port(slug))) as tcp:
            try:
                context.wrap_socket(tcp, server_hostname=gallery.host(slug)).close()
            except ssl.SSLCertVerificationError as error:
                found = error.verify_code
        assert found == verify_code


def test_one_is_asked_for_by_address_and_one_that_is_not_there_is_said(
    gallery: ThreadedGallery,
) -> None:
    assert gallery.exhibits is EXHIBITS
    assert gallery.url("wrong-name-address-as-host").startswith("https://127.0.0.1:")
    with pytest.raises(ValueError, match="did you mean expired"):
        gallery.url("expird")


async def test_it_can_be_asked_in_an_event_loop(gallery: ThreadedGallery) -> None:
    assert gallery.port("expired") > 0


def test_the_example_of_the_documentation_passes(pytester: pytest.Pytester) -> None:
    page = Path(__file__).parents[3] / "docs" / "gallery.md"
    (program,) = re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)
    pytester.makepyfile(program)
    outcomes = pytester.runpytest_inprocess("-p", "no:xdist").parseoutcomes()
    assert [*outcomes] == ["passed"]
    assert outcomes["passed"] > 25


def test_a_test_of_one_s_own_parameters_is_left_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.parametrize("bad_exhibit", ["expired"])
        def test_one(bad_exhibit): pass
        def test_all(bad_exhibit): pass
        """
    )
    passed = pytester.runpytest_inprocess("-p", "no:xdist").parseoutcomes()["passed"]
    assert passed == 1 + len(
        [e for e in EXHIBITS.values() if e.must == "refuse" and e.group == "certificate"]
    )
