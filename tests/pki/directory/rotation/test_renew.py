"""A certificate is renewed: what it says, and what is left as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential, key_id
from mtls_echo_pki.certificates.request import KeyType, Request
from mtls_echo_pki.checks.check import check
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.staging import DirectoryError
from mtls_echo_pki.flaws.registry import find_flaw
from tests.pki.directory.rotation.trusted import COMPROMISED, DAY, HOUR, MINUTE, accepted
from tests.pki.directory.rotation.trusted import directory as directory
from tests.support.pki import END_ENTITIES, tree


@pytest.mark.parametrize("rekey", [False, True], ids=["same key", "new key"])
@pytest.mark.parametrize("request_", END_ENTITIES)
def test_a_renewed_certificate_says_the_same_of_a_later_time(
    request_: Request, rekey: bool
) -> None:
    then = datetime.now(UTC) - 3 * DAY
    authority = Authority.root()
    before = replace(authority, clock=lambda: then).issue(request_)

    after = authority.renew(before, rekey=rekey)

    old, new = before.certificate, after.certificate
    assert new.serial_number != old.serial_number
    assert new.subject == old.subject
    assert new.not_valid_after_utc - new.not_valid_before_utc == (
        old.not_valid_after_utc - old.not_valid_before_utc
    )
    assert new.not_valid_after_utc > old.not_valid_after_utc
    assert KeyType.of(after.key) is KeyType.of(before.key)
    assert (key_id(new) == key_id(old)) is not rekey
    keys = (x509.SubjectKeyIdentifier,) if rekey else ()
    assert [e for e in new.extensions if not isinstance(e.value, keys)] == [
        e for e in old.extensions if not isinstance(e.value, keys)
    ]


def test_a_lifetime_that_is_given_counts_from_now() -> None:
    authority = Authority.root()

    renewed = authority.renew(authority.issue("a.test"), rekey=False, lifetime=HOUR).certificate

    assert renewed.not_valid_after_utc - renewed.not_valid_before_utc == HOUR + 5 * MINUTE


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda a: a.issue(Request.client("a.test", lifetime=DAY, backdate=5000 * DAY)),
            "would outlive",
        ),
        (lambda a: a.intermediate(), "neither a server nor a client"),
        (
            lambda a: find_flaw("weak-key").build(a, Request.client("a.test")).credential,
            "type that is not made here",
        ),
        (
            lambda a: find_flaw("no-san").build(a, Request.server("a.test")).credential,
            "without a name",
        ),
    ],
    ids=["too long", "an authority", "a foreign key", "nameless"],
)
def test_what_cannot_be_asked_for_again_is_not_renewed(
    change: Callable[[Authority], Credential], why: str
) -> None:
    authority = Authority.root()

    with pytest.raises(ValueError, match=why):
        authority.renew(change(authority), rekey=True)


def test_a_renewal_takes_the_place_of_the_present_one_and_is_in_the_ledger(
    directory: Directory,
) -> None:
    before = directory.credential("client")

    same = directory.renew("client", rekey=False)
    new = directory.renew("client", rekey=True, lifetime=HOUR)

    assert directory.credential("client") == new
    entries = [entry for entry in directory.ledger("clients") if entry.name == "client"]
    assert [entry.fingerprint for entry in entries] == [
        credential.fingerprint for credential in (before, same, new)
    ]
    assert [entry.key for entry in entries] == [
        key_id(before.certificate),
        key_id(before.certificate),
        key_id(new.certificate),
    ]
    assert {entry.issuer for entry in entries} == {
        key_id(directory.authority("clients").certificate)
    }
    assert check(directory) == []


def test_an_expired_credential_is_renewed(directory: Directory) -> None:
    directory.issue("late", Request.client("late.test", backdate=9 * DAY, lifetime=-2 * DAY))
    assert len(check(directory)) == 1

    directory.renew("late", rekey=False)

    assert check(directory) == []
    assert accepted(directory, directory.credential("late"))


@pytest.mark.parametrize("slug", ["expired", "self-signed", "unknown-authority", "revoked"])
def test_what_was_bad_on_purpose_is_good_after_a_renewal(directory: Directory, slug: str) -> None:
    directory.issue_flawed("bad", Request.client("bad.test"), find_flaw(slug))
    assert directory.ledger("clients")[-1].flaw == slug

    directory.renew("bad", rekey=False)

    assert accepted(directory, directory.credential("bad"))
    assert sorted(path.name for path in (directory.path / "bad").glob("[!.]*")) == [
        "tls.crt",
        "tls.key",
    ]
    assert check(directory) == []


def test_what_cannot_be_renewed_is_left_as_it_is(directory: Directory) -> None:
    directory.issue_flawed("nameless", Request.server("a.test"), find_flaw("no-san"))
    directory.issue_flawed("mismatch", Request.server("a.test"), find_flaw("key-not-owned"))
    before = tree(directory.path)

    with pytest.raises(DirectoryError, match=r"nameless: cannot be renewed: .* without a name"):
        directory.renew("nameless", rekey=True)
    with pytest.raises(MaterialError, match="the private key"):
        directory.renew("mismatch", rekey=True)
    with pytest.raises(DirectoryError, match='has no credential named "absent"'):
        directory.renew("absent", rekey=True)
    with pytest.raises(ValueError, match="would outlive its CA"):
        directory.renew("client", rekey=True, lifetime=4000 * DAY)
    assert tree(directory.path) == before


@pytest.mark.parametrize("authority", ["the same", "another"])
def test_a_key_that_was_revoked_gets_no_certificate_again(
    directory: Directory, authority: str
) -> None:
    stolen = directory.credential("client")
    directory.revoke("client", reason=COMPROMISED)
    if authority == "another":
        for step in (directory.introduce, directory.switch):
            step("clients")
    before = tree(directory.path)

    with pytest.raises(DirectoryError, match=r"same key, which was revoked on .* \(keyCompromise"):
        directory.renew("client", rekey=False)

    assert tree(directory.path) == before
    assert not accepted(directory, stolen)
    assert accepted(directory, directory.renew("client", rekey=True))
    assert accepted(directory, directory.renew("client", rekey=False))  # of the new key


def test_files_of_others_are_not_replaced(directory: Directory) -> None:
    untrusted = Authority.root("theirs").issue(Request.client("a.test"))
    folder = directory.path / "theirs"
    folder.mkdir()
    (folder / "tls.crt").write_bytes(untrusted.certificate_pem)
    (folder / "tls.key").write_bytes(untrusted.key_pem)

    with pytest.raises(DirectoryError, match=r"tls.crt: was not put there by mtls-echo pki"):
        directory.renew("theirs", rekey=False)

    assert directory.credential("theirs") == untrusted
