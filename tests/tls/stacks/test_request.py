"""What a CertificateRequest says of the CAs whose certificates are accepted."""

from __future__ import annotations

import pytest

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_tls.slugs import Slugs
from mtls_echo_tls.stacks.request import (
    accepted_authorities,
    by_listed_authorities,
    enumerated,
    issuers,
)
from mtls_echo_tls.trace.recorder import Recorder

from .test_fingerprint import answer, extension, message, recorded, request13, vector

OURS, THEIRS = Authority.root("ours"), Authority.root("theirs")
ALICE = OURS.issue(Request.client("alice.test"))
PATH = [ALICE.certificate, OURS.certificate]

CAUSES: Slugs = ("missing-intermediate", "unknown-authority", "impostor-authority", "revoked")


def naming(*authorities: Authority, tls13: bool = True) -> Recorder:
    names = b"".join(vector(2, a.certificate.subject.public_bytes()) for a in authorities)
    if tls13:
        return recorded(*request13(extension(47, vector(2, names))))
    body = vector(1, b"\1") + vector(2, b"\4\3") + vector(2, names)
    return recorded(answer(), message(13, body))


@pytest.mark.parametrize("tls13", [True, False])
def test_the_names_are_read_in_both_versions(tls13: bool) -> None:
    listed = accepted_authorities(naming(THEIRS, OURS, tls13=tls13))

    assert listed == tuple(a.certificate.subject.public_bytes() for a in (THEIRS, OURS))
    assert enumerated(listed) == "CN=theirs; CN=ours"


@pytest.mark.parametrize("tls13", [True, False])
def test_a_server_may_name_none(tls13: bool) -> None:
    assert accepted_authorities(naming(tls13=tls13)) == ()
    assert accepted_authorities(recorded()) == ()
    assert accepted_authorities(recorded(answer(), message(13, b"\5"))) == ()


def test_more_than_four_names_are_counted() -> None:
    assert enumerated([OURS.certificate.subject.public_bytes()] * 6).endswith("; and 2 more")


def test_an_issuer_that_is_not_named_makes_an_unknown_ca_likelier() -> None:
    causes = by_listed_authorities(CAUSES, PATH, naming(THEIRS))

    assert causes == (
        "unknown-authority", "missing-intermediate", "impostor-authority", "revoked",
    )  # fmt: skip


def test_an_issuer_that_is_named_makes_it_less_likely() -> None:
    causes = by_listed_authorities(CAUSES, PATH, naming(THEIRS, OURS))

    assert causes == (
        "impostor-authority", "missing-intermediate", "unknown-authority", "revoked",
    )  # fmt: skip


def test_what_the_named_ca_itself_has_signed_was_rather_revoked() -> None:
    causes = by_listed_authorities(CAUSES, PATH, naming(THEIRS, OURS), complete=True)

    assert causes[0] == "revoked"


def test_without_a_list_nothing_changes() -> None:
    assert by_listed_authorities(CAUSES, PATH, naming()) == CAUSES
    assert by_listed_authorities(("revoked",), PATH, naming(THEIRS)) == ("revoked",)


def test_the_issuers_of_a_path_are_all_that_issued_in_it() -> None:
    assert issuers(PATH) == {OURS.certificate.subject.public_bytes()}
