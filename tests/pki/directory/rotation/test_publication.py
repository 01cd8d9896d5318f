"""CRLs are published: their numbers, their dates, and what is in them."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.credential import key_id
from mtls_echo_pki.certificates.crl import CRLState, crl_number
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.checks.check import check
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.files.staging import DirectoryError
from tests.pki.directory.rotation.trusted import DAY, HOUR, MINUTE, SECOND, accepted, moved
from tests.pki.directory.rotation.trusted import directory as directory
from tests.support.pki import publish_credential, tree


def numbers(directory: Directory) -> list[int]:
    return [crl_number(crl) for crl in directory.trust("clients").crls]


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
