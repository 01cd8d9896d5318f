"""A certificate is renewed, and a key is revoked: what is trusted afterwards, and what is not."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential, key_id
from mtls_echo_pki.certificates.crl import REASONS, CRLState, crl_number, parse_reason
from mtls_echo_pki.certificates.request import KeyType, Request
from mtls_echo_pki.checks.check import check
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.directory.ledger import LedgerEntry
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.staging import DirectoryError
from mtls_echo_pki.flaws.registry import find_flaw
from tests.pki.directory.test_rollover import verdict
from tests.support.pki import END_ENTITIES, publish_credential, tree

COMPROMISED = x509.ReasonFlags.key_compromise
SECOND, MINUTE, HOUR, DAY = (
    timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days")
)


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory.create(tmp_path / "pki")


def accepted(directory: Directory, credential: Credential) -> bool:
    """Whether a server that has the directory's trust admits a client, in both versions."""
    codes = {
        verdict(credential, "clients", directory.trust("clients"), tls) for tls in ("1.2", "1.3")
    }
    assert codes in ({None}, {23})
    return codes == {None}


def numbers(directory: Directory) -> list[int]:
    return [crl_number(crl) for crl in directory.trust("clients").crls]


# --- renewal -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rekey", [False, True], ids=["same key", "new key"])
@pytest.mark.parametrize("request_", END_ENTITIES)
def test_a_renewed_certificate_says_the_same_of_a_later_time(request_, rekey: bool) -> None:  # type: ignore[no-untyped-def]
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


# --- revocation ----------------------------------------------------------------------------------


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


def moved(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    """Show all that changes a directory a later time."""
    for module in ("revoking", "crls", "issuing", "rollover", "ca_state"):
        monkeypatch.setattr(
            f"mtls_echo_pki.directory.{module}.utcnow", lambda: datetime.now(UTC) + by
        )


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


# --- lists ---------------------------------------------------------------------------------------


def test_crls_are_there_from_the_first_revocation_or_command_on(directory: Directory) -> None:
    assert not list(directory.path.rglob("crl.pem"))
    directory.renew("client", rekey=True)
    assert not list(directory.path.rglob("crl.pem"))

    directory.publish_crls()

    assert [len(directory.trust(role).crls) for role in ("servers", "clients")] == [1, 1]
    assert check(directory) == []


def test_crls_follow_each_other_in_number_and_date_across_processes(directory: Directory) -> None:
    times: list[datetime] = []
    for number in range(1, 6):
        directory.renew("client", rekey=True)
        Directory(directory.path).revoke("client")
        (crl,) = directory.trust("clients").crls
        assert crl_number(crl) == number
        assert len(crl) == number
        times.append(crl.last_update_utc)

    assert all(one < other for one, other in itertools.pairwise(times))


def test_a_crl_that_has_nothing_new_to_say_is_not_signed_again(directory: Directory) -> None:
    for _ in range(3):
        directory.publish_crls(HOUR)
    directory.renew("client", rekey=True)

    # Only a request for fresh ones in another second is something new.
    assert numbers(directory)[0] <= 3
    before = numbers(directory)
    directory.renew("server", rekey=True)
    directory.issue("alice", Request.client("a.test"))
    assert numbers(directory) == before


def test_when_the_room_for_dates_is_used_up_the_next_crl_waits_for_its_second(
    directory: Directory,
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    dated(directory, now)

    directory.revoke("client")

    (crl,) = directory.trust("clients").crls
    assert now < crl.last_update_utc <= datetime.now(UTC)
    assert crl_number(crl) == 8


def dated(directory: Directory, this_update: datetime) -> None:
    """Let the last list of the clients' CA be number 7, of this date."""
    authority = directory.authority("clients")
    crl_state = CRLState(number=6, this_update=this_update - SECOND)
    crl = replace(authority, crl_state=crl_state, clock=lambda: this_update).crl(7 * DAY)
    path = directory.path / "authorities" / "clients" / "ledger.json"
    ledger = json.loads(path.read_bytes())
    pem = crl.public_bytes(Encoding.PEM).decode()
    path.write_text(json.dumps({**ledger, "lists": {key_id(authority.certificate): pem}}))


def test_a_clock_that_was_set_back_is_refused_and_explained(directory: Directory) -> None:
    dated(directory, datetime.now(UTC).replace(microsecond=0) + 2 * HOUR)
    ledger = (directory.path / "authorities" / "clients" / "ledger.json").read_bytes()

    with pytest.raises(DirectoryError, match="the last CRL is dated") as refusal:
        directory.revoke("client")

    assert "clock" in str(refusal.value.hint)
    assert (directory.path / "authorities" / "clients" / "ledger.json").read_bytes() == ledger
    # What needs no new list is not held up by it.
    directory.renew("client", rekey=True)


def test_any_change_renews_crls_past_half_of_their_life(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.publish_crls(2 * HOUR)
    moved(monkeypatch, 59 * MINUTE)
    directory.renew("server", rekey=False)
    assert numbers(directory) == [1]

    moved(monkeypatch, 61 * MINUTE)
    directory.renew("server", rekey=False)

    assert numbers(directory) == [2]
    (crl,) = directory.trust("clients").crls
    assert crl.next_update_utc is not None
    assert timedelta(0) <= datetime.now(UTC) + 181 * MINUTE - crl.next_update_utc < MINUTE


def test_what_has_expired_leaves_the_crls_after_it_was_listed_once_more(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 5280 §3.3: not before one list that was made after it had expired."""
    directory.issue("alice", Request.client("alice.test", lifetime=HOUR))
    directory.revoke("alice")
    sizes: list[int] = []
    for hours in (0, 3, 6):
        moved(monkeypatch, hours * HOUR + MINUTE)
        directory.publish_crls()
        sizes.append(len(directory.trust("clients").crls[0]))

    assert sizes == [1, 1, 0]
    assert directory.ledger("clients")[-1].revoked_at is not None


def test_a_lifetime_of_nothing_is_refused(directory: Directory) -> None:
    before = tree(directory.path)

    with pytest.raises(ValueError, match="lifetime of at least a second"):
        directory.publish_crls(timedelta(0))

    assert tree(directory.path) == before


def test_a_ledger_that_was_put_back_is_found_and_its_revocations_are_not_forgotten(
    directory: Directory,
) -> None:
    directory.publish_crls()
    ledger = directory.path / "authorities" / "clients" / "ledger.json"
    backup = ledger.read_bytes()
    stolen = directory.credential("client")
    present = directory.renew("client", rekey=True)
    directory.revoke("client")
    ledger.write_bytes(backup)

    (finding,) = check(directory)
    assert finding.path == ledger
    assert "CRL 2 was published: it was put back to an earlier state" in finding.what
    directory.renew("server", rekey=False)
    assert not accepted(directory, stolen)

    directory.publish_crls(HOUR)
    assert numbers(directory) == [3]
    assert not accepted(directory, stolen)
    assert accepted(directory, present)
    assert directory.ledger("clients")[0].revoked_at is not None
    assert check(directory) == []


def test_it_is_published_as_it_was_signed(directory: Directory) -> None:
    directory.publish_crls()
    folder = directory.path / "trust" / "clients"
    publish_credential(directory.path / "copy", directory.credential("client"))

    (folder / "crl.pem").resolve().write_bytes(b"-----BEGIN X509 CRL-----\n")
    (finding,) = check(directory)
    assert "cut off" in finding.what
    directory.publish_crls(HOUR)
    assert check(directory) == []
