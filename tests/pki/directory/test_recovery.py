"""A PKI directory of an earlier version, of a backup, or with the files of others."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import key_id
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.checks.check import check
from mtls_echo_pki.directory.ca_state import RolloverStage
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.directory.ledger import read_ledger
from mtls_echo_pki.files import durable
from mtls_echo_pki.files.atomic_writer import publish
from mtls_echo_pki.files.staging import DirectoryError
from tests.pki.directory.changes import CHANGES
from tests.pki.directory.changes import directory as directory
from tests.pki.directory.changes import old as old
from tests.pki.directory.kill_points import whole
from tests.pki.directory.rotation.rolling import renew_all, verdict
from tests.pki.directory.test_kill import quick as quick
from tests.support.pki import make_plain, tree
from tests.support.timing import TIMEOUT


def test_a_directory_of_an_earlier_version_is_read_as_it_is(old: Directory) -> None:
    before = tree(old.path)

    assert check(old) == []
    assert old.stage("clients") is RolloverStage.SETTLED
    assert old.ledger("clients")[0].name == "client"
    assert verdict(old.credential("client"), "clients", old.trust("clients")) is None
    assert tree(old.path) == before


@pytest.mark.parametrize("change", CHANGES)
def test_the_first_change_makes_it_one_of_this_version(old: Directory, change: str) -> None:
    keys = {path.name: path.read_bytes() for path in old.path.glob("authorities/clients/*.key")}
    if change == "revoke":
        old.issue("other", Request.client("other.test"))

    CHANGES[change](old)

    folder = old.path / "authorities" / "clients"
    assert os.readlink(folder / "tls.key") == "..data/tls.key"
    assert {name: (folder / name).read_bytes() for name in keys} == keys
    ledger = read_ledger(folder / "ledger.json")
    assert ledger.version == 2
    assert (
        ledger.issued[0].issuer == key_id(old.root("clients").certificate)
        or old.authority("clients").issuers
    )
    assert ledger.issued[0].key is not None
    whole(old, in_order=True)


def test_a_key_that_an_earlier_version_did_not_write_down_is_not_the_present_one(
    tmp_path: Path,
) -> None:
    directory = Directory.create(tmp_path / "pki")
    stolen = directory.credential("client")
    (directory.path / "client").rename(tmp_path / "gone")
    present = directory.issue("client", Request.client("client.test"))
    make_plain(directory.path)

    directory.revoke("client")

    assert directory.ledger("clients")[0].key is None
    trust = directory.trust("clients")
    assert verdict(stolen, "clients", trust) == 23
    assert verdict(present, "clients", trust) is None


def test_a_ledger_of_a_later_version_is_left_alone(directory: Directory) -> None:
    path = directory.path / "authorities" / "clients" / "ledger.json"
    path.write_bytes(path.read_bytes().replace(b'"version": 2', b'"version": 3'))
    before = tree(directory.path)

    with pytest.raises(DirectoryError, match="was written by a later version"):
        directory.renew("client", rekey=True)

    assert tree(directory.path) == before


# --- with what others put there ------------------------------------------------------------------


def test_a_ca_that_others_put_into_trust_stays_there(directory: Directory) -> None:
    partner = Authority.root("partner")
    theirs = partner.issue(Request.client("partner.test"))
    folder = directory.path / "trust" / "clients"
    publish(folder, {"ca.crt": directory.trust("clients").pem + partner.trust.pem}, {})

    directory.introduce("clients")
    directory.switch("clients")
    directory.renew("client", rekey=False)
    directory.retire("clients")
    assert verdict(theirs, "clients", directory.trust("clients")) is None

    # With lists in force theirs is wanted, too, and is kept once it is there.
    directory.publish_crls()
    assert verdict(theirs, "clients", directory.trust("clients")) == 3
    trust = directory.trust("clients") | Trust((), (partner.crl(),))
    publish(folder, {"ca.crt": trust.pem, "crl.pem": trust.crl_pem}, {})
    directory.renew("client", rekey=True)
    directory.revoke("client")
    assert verdict(theirs, "clients", directory.trust("clients")) is None
    assert check(directory) == []


@pytest.mark.parametrize(
    "spoilt", ["an anchor is missing", "an old list is back", "lists are gone"]
)
def test_what_is_published_is_brought_back_to_what_the_cas_say(
    directory: Directory, spoilt: str
) -> None:
    directory.publish_crls()
    before = directory.trust("clients")
    directory.introduce("clients")
    directory.revoke("client")
    wanted = directory.trust("clients")
    found = {
        "an anchor is missing": Trust(before.anchors, wanted.crls),
        "an old list is back": Trust(wanted.anchors, before.crls),
        "lists are gone": Trust(wanted.anchors),
    }[spoilt]
    files = {"ca.crt": found.pem} | ({"crl.pem": found.crl_pem} if found.crls else {})
    publish(directory.path / "trust" / "clients", files, dict.fromkeys(files, 0o644))
    assert directory.trust("clients") != wanted

    assert check(directory) == []

    assert directory.trust("clients") == wanted


def test_a_ca_that_was_retired_long_ago_does_not_come_back_from_a_backup(
    directory: Directory,
) -> None:
    backup = directory.trust("clients")
    for _ in range(3):
        directory.introduce()
        directory.switch()
        renew_all(directory)
        directory.retire()
    wanted = directory.trust("clients")
    publish(directory.path / "trust" / "clients", {"ca.crt": (wanted | backup).pem}, {})
    assert directory.trust("clients") != wanted

    assert check(directory) == []

    assert directory.trust("clients") == wanted


def test_a_namesake_of_a_ca_cannot_stand_in_for_its_crl(directory: Directory) -> None:
    directory.publish_crls()
    own = directory.trust("clients")
    common_name = own.anchors[0].subject.rfc4514_string().removeprefix("CN=")
    forged = Trust(own.anchors, (Authority.root(common_name).crl(),))
    files = {"ca.crt": forged.pem, "crl.pem": forged.crl_pem}
    publish(directory.path / "trust" / "clients", files, dict.fromkeys(files, 0o644))

    assert check(directory) == []

    assert directory.trust("clients") == own


# --- at once -------------------------------------------------------------------------------------


def _work(path: Path, worker: int, results: multiprocessing.queues.Queue[int]) -> None:
    durable._LOCK_TIMEOUT = TIMEOUT
    taken = 0
    for number in range(4):
        directory = Directory(path)
        directory.issue(f"w{worker}-{number}", Request.client("a.test"))
        directory.renew(f"w{worker}-{number}", rekey=True)
        taken += len(directory.introduce("clients"))
        taken += len(directory.revoke(f"w{worker}-{number}").now)
        directory.publish_crls()
    results.put(taken)


def test_commands_at_once_lose_nothing_and_each_step_is_taken_once(directory: Directory) -> None:
    spawn = multiprocessing.get_context("spawn")
    results: multiprocessing.queues.Queue[int] = spawn.Queue()
    workers = [spawn.Process(target=_work, args=(directory.path, n, results)) for n in range(3)]
    for worker in workers:
        worker.start()
    taken = sum(results.get(timeout=TIMEOUT) for _ in workers)
    for worker in workers:
        worker.join(TIMEOUT)

    assert taken == 1 + 3 * 4
    assert len(directory.ledger("clients")) == 2 + 3 * 4 * 2
    assert check(directory) == []
    whole(directory, in_order=True)
