"""A key is revoked: what is trusted afterwards, and what is not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509

from mtls_echo_pki.certificates.credential import Credential, key_id
from mtls_echo_pki.certificates.crl import REASONS, CRLState, parse_reason
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.checks.check import check
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.directory.ledger import LedgerEntry
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.staging import DirectoryError
from tests.pki.directory.rotation.trusted import COMPROMISED, DAY, HOUR, accepted, moved
from tests.pki.directory.rotation.trusted import directory as directory
from tests.support.pki import tree


def test_revoking_the_old_serial_alone_would_leave_the_thief_in(directory: Directory) -> None:
    """Why it is the key that is revoked: a renewal with the same key is trusted."""
    stolen = directory.credential("client")
    again = directory.renew("client", rekey=False)
    directory.revoke("client", serials=[stolen.certificate.serial_number])

    assert not accepted(directory, stolen)
    assert accepted(directory, Credential(stolen.key, again.certificate))


def test_every_certificate_of_the_keys_before_is_revoked_and_the_present_one_stays(
    directory: Directory,
) -> None:
    first = directory.credential("client")
    second = directory.renew("client", rekey=False)
    third = directory.renew("client", rekey=True)
    present = directory.renew("client", rekey=True)

    done = directory.revoke("client", reason=COMPROMISED)

    assert serials(done.now) == [c.certificate.serial_number for c in (first, second, third)]
    assert serials(done.valid) == [present.certificate.serial_number]
    assert (done.before, done.roles) == ((), ("clients",))
    assert done.present == key_id(present.certificate)
    assert [accepted(directory, c) for c in (first, second, third, present)] == [False] * 3 + [
        True
    ]
    (crl,) = directory.trust("clients").crls
    reasons = {
        each.extensions.get_extension_for_class(x509.CRLReason).value.reason for each in crl
    }
    assert reasons == {COMPROMISED}
    assert directory.trust("servers").crls == ()
    assert check(directory) == []


def test_a_key_that_was_revoked_does_not_lie_about(directory: Directory) -> None:
    stolen = directory.credential("client").key_pem
    present = directory.renew("client", rekey=True).key_pem

    def on_disk(key: bytes) -> bool:
        keys = [path for path in directory.path.rglob("tls.key") if not path.is_symlink()]
        return key in [path.read_bytes() for path in keys]

    assert on_disk(stolen)
    directory.revoke("client")
    assert not on_disk(stolen)
    assert on_disk(present)


def serials(entries: tuple[LedgerEntry, ...]) -> list[int]:
    return [int(entry.serial, 16) for entry in entries]


def test_a_name_with_one_key_loses_that_with_all_its_certificates(directory: Directory) -> None:
    first = directory.credential("client")
    second = directory.renew("client", rekey=False)

    done = directory.revoke("client")

    assert len(done.now) == 2
    assert done.valid == ()
    assert not accepted(directory, first)
    assert not accepted(directory, second)
    (finding,) = check(directory)
    assert "verify code 23" in finding.what


def test_to_revoke_again_is_to_do_nothing(directory: Directory) -> None:
    directory.renew("client", rekey=True)
    directory.revoke("client", reason=COMPROMISED)
    before = tree(directory.path)

    done = directory.revoke("client", reason=x509.ReasonFlags.superseded)

    assert (done.now, done.roles) == ((), ())
    assert len(done.before) == len(done.valid) == 1
    assert tree(directory.path) == before


def test_it_is_nothing_also_when_what_was_revoked_has_expired(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that runs again after a month must not lock out whom it let in."""
    directory.issue("alice", Request.client("alice.test", lifetime=HOUR))
    directory.renew("alice", rekey=True, lifetime=30 * DAY)
    directory.revoke("alice")
    moved(monkeypatch, 2 * HOUR)

    done = directory.revoke("alice")

    assert (done.now, done.before) == ((), ())
    assert len(done.valid) == 1


def test_it_is_nothing_also_when_the_ca_of_what_was_revoked_is_retired(
    directory: Directory,
) -> None:
    directory.renew("client", rekey=True)
    directory.revoke("client")
    directory.introduce()
    directory.switch()
    for name in directory.names():
        directory.renew(name, rekey=False)
    directory.retire()

    assert directory.revoke("client").now == ()
    assert accepted(directory, directory.credential("client"))


def test_a_key_that_was_only_ever_replaced_protects_no_peer_once_it_has_expired(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regular renewals with new keys: the key that leaks then is the present one."""
    directory.issue("alice", Request.client("alice.test", lifetime=HOUR))
    present = directory.renew("alice", rekey=True, lifetime=30 * DAY)
    moved(monkeypatch, 2 * HOUR)

    done = directory.revoke("alice")

    assert serials(done.now) == [present.certificate.serial_number]


def test_the_present_key_is_revoked_on_request(directory: Directory) -> None:
    directory.renew("client", rekey=True)
    directory.revoke("client")

    done = directory.revoke("client", present=True)

    assert len(done.now) == len(done.before) == 1
    assert done.valid == ()
    assert not accepted(directory, directory.credential("client"))


def test_what_is_no_longer_there_can_be_revoked(directory: Directory) -> None:
    alice = directory.issue("alice", Request.client("alice.test"))
    (directory.path / "alice").rename(directory.path.parent / "gone")

    assert len(directory.revoke("alice").now) == 1
    assert not accepted(directory, alice)


@pytest.mark.parametrize("present", [False, True])
def test_with_files_that_cannot_be_read_only_what_does_not_need_them_is_done(
    directory: Directory, present: bool
) -> None:
    (directory.path / "client" / "tls.crt").resolve().write_bytes(b"")

    if present:
        assert len(directory.revoke("client", present=True).now) == 1
    else:
        with pytest.raises(MaterialError, match="is empty"):
            directory.revoke("client")


def test_what_was_never_issued_cannot_be_revoked(directory: Directory) -> None:
    before = tree(directory.path)

    with pytest.raises(DirectoryError, match='has never issued anything to "absent"') as refusal:
        directory.revoke("absent")
    assert refusal.value.hint == "it has: client, server"
    with pytest.raises(DirectoryError, match=r"has the serial number abc$") as refusal:
        directory.revoke("client", serials=[0xABC])
    assert directory.ledger("clients")[0].serial in str(refusal.value.hint)
    assert tree(directory.path) == before


def test_what_a_retired_ca_issued_needs_no_revocation(directory: Directory) -> None:
    old = directory.credential("client")
    directory.introduce("clients")
    directory.switch("clients")
    directory.renew("client", rekey=True)
    directory.retire("clients")

    for serial in ((), (old.certificate.serial_number,)):
        done = directory.revoke("client", serials=serial)

        assert (done.now, done.before) == ((), ())
        assert serials(done.valid) == [directory.credential("client").certificate.serial_number]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("keyCompromise", COMPROMISED),
        ("key-compromise", COMPROMISED),
        ("KEY_COMPROMISE", COMPROMISED),
        ("cacompromise", x509.ReasonFlags.ca_compromise),
    ],
)
def test_reasons_are_those_of_rfc_5280_however_they_are_written(
    text: str, reason: x509.ReasonFlags
) -> None:
    assert parse_reason(text) is reason


def test_a_reason_that_can_be_taken_back_is_none(directory: Directory) -> None:
    for reason in (x509.ReasonFlags.certificate_hold, x509.ReasonFlags.remove_from_crl):
        assert reason.value not in REASONS
        with pytest.raises(ValueError, match="does not revoke for good"):
            directory.revoke("client", reason=reason)
        with pytest.raises(ValueError, match=r"delta CRLs|lifted again"):
            CRLState().revoke(1, datetime.now(UTC), reason)
    with pytest.raises(ValueError, match='"stolen" is not a reason; give one of unspecified'):
        parse_reason("stolen")
