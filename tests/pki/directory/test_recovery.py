"""A directory that others change as well, that was made by others, or that cannot be written."""

from __future__ import annotations

import contextlib
import errno
import itertools
import multiprocessing
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential, key_id
from mtls_echo_pki.certificates.crl import crl_number
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.checks.check import check
from mtls_echo_pki.directory.ca_folder import CAFolder, ca_folders
from mtls_echo_pki.directory.ca_state import CAState, RolloverStage
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.directory.ledger import read_ledger
from mtls_echo_pki.files import durable
from mtls_echo_pki.files.atomic_writer import publish
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.staging import DirectoryError
from tests.pki.directory.test_kill import quick as quick
from tests.pki.directory.test_rollover import renew_all, verdict
from tests.support.kill_points import whole
from tests.support.pki import UNPRIVILEGED_UID, make_plain, on_a_small_disk, tree, unprivileged
from tests.support.timing import TIMEOUT

Change = Callable[[Directory], object]

CHANGES: dict[str, Change] = {
    "issue": lambda directory: directory.issue("alice", Request.client("alice.test")),
    "renew": lambda directory: directory.renew("client", rekey=True),
    "revoke": lambda directory: directory.revoke("client"),
    "crl": lambda directory: directory.publish_crls(),
    "introduce": lambda directory: directory.introduce(),
}


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    directory = Directory.create(tmp_path / "pki")
    directory.renew("client", rekey=True)
    return directory


# --- of an earlier version -----------------------------------------------------------------------


@pytest.fixture(params=["root", "intermediate"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Directory:
    intermediate = request.param == "intermediate"
    directory = Directory.create(tmp_path / "pki", intermediate=intermediate)
    make_plain(directory.path)
    return directory


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


# --- where it cannot be written ------------------------------------------------------------------


@pytest.mark.parametrize("change", CHANGES)
def test_where_nothing_can_be_written_nothing_changes(directory: Directory, change: str) -> None:
    before = tree(directory.path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(DirectoryError, match="file too large"):
            CHANGES[change](directory)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert check(directory) == []
    assert tree(directory.path) == before


@pytest.mark.parametrize(
    ("change", "made"),
    [
        ("revoke", lambda directory: directory.ledger("clients")[0].revoked_at is not None),
        ("introduce", lambda directory: directory.stage("servers") is RolloverStage.INTRODUCED),
    ],
    ids=["revoke", "introduce"],
)
def test_what_happened_but_could_not_be_published_is_reported_and_made_up_for(
    directory: Directory,
    change: str,
    made: Callable[[Directory], bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(ca: CAFolder, *, repair: bool = True) -> None:
        if repair:  # not before the change
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(CAFolder, "publish", full)
        with pytest.raises(DirectoryError, match="no space left on device") as refusal:
            CHANGES[change](directory)
    assert "the change is made, but not yet published" in str(refusal.value.hint)
    assert f"mtls-echo pki check {directory.path}" in str(refusal.value.hint)

    assert made(directory)
    assert check(directory) == []
    whole(directory, in_order=True)


def test_what_happened_for_one_ca_only_is_reported(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = CAFolder.write_state

    def full(ca: CAFolder, state: CAState) -> None:
        if ca.roles == ("clients",):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(ca, state)

    with monkeypatch.context() as patch:
        patch.setattr(CAFolder, "write_state", full)
        with pytest.raises(DirectoryError, match="no space left on device") as refusal:
            directory.introduce()

    assert "a part of the change is made, and stays" in str(refusal.value.hint)
    assert str(refusal.value.hint).endswith(f"rollover {directory.path} introduce")
    assert check(directory) == []
    assert directory.introduce() == ("clients",)


FULL_DISK = """
mount -t tmpfs -o size=400k tmpfs "$1" || exit 77
cd / && exec "$2" - "$1" <<'PYTHON'
import os, sys
from pathlib import Path
from mtls_echo import Directory, DirectoryError
from mtls_echo_pki.checks.check import check

disk = Path(sys.argv[1])
pki = Directory.create(disk / "pki", intermediate=True)
pki.renew("client", rekey=True)
room = 0
changes = {
    "renew": lambda: pki.renew("client", rekey=True),
    "crl": pki.publish_crls,
    "revoke": lambda: pki.revoke("client"),
    "introduce": pki.introduce,
}
for name, change in changes.items():
    failed = 0
    for blocks in range(60):
        status = os.statvfs(disk)
        (disk / "ballast").write_bytes(bytes(max(0, status.f_bavail - blocks) * status.f_frsize))
        try:
            change()
        except DirectoryError as error:
            assert "no space left on device" in str(error), error
            assert "make room" in error.hint or "put this right" in error.hint, error.hint
            failed += 1
        else:
            break
        finally:
            (disk / "ballast").unlink()
        assert check(pki) == []
    else:
        raise SystemExit(f"{name} never had room enough")
    assert failed, name
    assert check(pki) == []
PYTHON
"""


def test_on_a_full_disk_a_change_is_made_or_not(tmp_path: Path) -> None:
    """With ever more room, block by block: each way to run out of it, and then it works."""
    on_a_small_disk(tmp_path / "disk", FULL_DISK)


@contextlib.contextmanager
def closed(directory: Directory, before: Callable[[], None] | None = None) -> Iterator[None]:
    """Without the right to write into any folder of a directory that belongs to us."""
    check(directory)  # what is imported by it may lie where we may not read afterwards
    if before is not None:
        before()
    folders = [directory.path, *(path for path in directory.path.rglob("*") if path.is_dir())]
    if os.geteuid() == 0:
        for path in (directory.path, *directory.path.rglob("*")):
            os.chown(path, UNPRIVILEGED_UID, UNPRIVILEGED_UID, follow_symlinks=False)
        for parent in directory.path.parents:
            if parent.stat().st_mode & 0o077 == 0:
                parent.chmod(0o711)  # a folder of pytest's, which no other user may pass
    for folder in folders:
        folder.chmod(0o500)
    try:
        with unprivileged():
            yield
    finally:
        for folder in folders:
            folder.chmod(0o700)


@pytest.mark.parametrize("change", CHANGES)
def test_without_permission_nothing_changes_and_the_folder_is_named(
    directory: Directory, change: str
) -> None:
    before = contents(directory)

    with closed(directory):
        with pytest.raises(DirectoryError, match="permission denied") as refusal:
            CHANGES[change](directory)
        assert check(directory) == []

    assert "may write to" in str(refusal.value.hint)
    assert contents(directory) == before


def contents(directory: Directory) -> dict[str, bytes | str]:
    return {name: what for name, (_, what) in tree(directory.path).items()}


def test_a_change_that_was_interrupted_and_cannot_be_finished_is_found(
    directory: Directory,
) -> None:
    directory.publish_crls()
    old = directory.trust("clients")
    directory.revoke("client")
    files = {"ca.crt": old.pem, "crl.pem": old.crl_pem}

    def interrupt() -> None:
        publish(directory.path / "trust" / "clients", files, dict.fromkeys(files, 0o644))

    with closed(directory, interrupt):
        (finding,) = check(directory)

    assert "a change was interrupted, and cannot be finished: permission denied" in finding.what


def test_a_copy_without_cas_changes_nothing(directory: Directory, tmp_path: Path) -> None:
    (directory.path / "authorities").rename(tmp_path / "authorities")
    before = tree(directory.path)

    for change in CHANGES.values():
        with pytest.raises((DirectoryError, MaterialError), match=r"does not exist|no CAs"):
            change(directory)
    assert check(directory) == []
    assert tree(directory.path) == before


# --- in any order --------------------------------------------------------------------------------

NAMES = ("client", "server")
MOVES = st.sampled_from(
    [
        *(f"{move} {name}" for move in ("renew", "rekey", "revoke") for name in NAMES),
        *("crl", "introduce", "introduce", "switch", "switch", "retire", "renew all"),
    ]
)


class Model:
    """What has to hold of a directory, whatever was done to it."""

    def __init__(self, path: Path) -> None:
        self.directory = Directory.create(path, intermediate=True)
        self.seen: dict[str, list[Credential]] = {name: [] for name in NAMES}
        self.lists: dict[str, list[x509.CertificateRevocationList]] = {}
        self.remember()

    def remember(self) -> None:
        for name in NAMES:
            credential = self.directory.credential(name)
            if credential not in self.seen[name]:
                self.seen[name].append(credential)

    def move(self, move: str) -> None:
        directory, (verb, _, name) = self.directory, move.partition(" ")
        try:
            if move == "renew all":
                renew_all(directory)
            elif verb in ("renew", "rekey"):
                directory.renew(name, rekey=verb == "rekey")
            elif verb == "revoke":
                # The present key stays, so that one client is still admitted.
                directory.renew(name, rekey=True)
                directory.revoke(name)
            elif verb == "crl":
                directory.publish_crls()
            else:
                {
                    "introduce": directory.introduce,
                    "switch": directory.switch,
                    "retire": directory.retire,
                }[verb]()
        except DirectoryError as error:
            assert "cannot" in str(error), error  # noqa: PT017  only a step out of order is refused
        self.remember()

    def hold(self) -> None:
        assert check(self.directory) == []
        whole(self.directory, in_order=True)
        for ca in ca_folders(self.directory.path):
            (role,) = ca.roles
            trust = self.directory.trust(role)
            name = {"servers": "server", "clients": "client"}[role]
            in_force = {key_id(certificate) for certificate in ca.certificates}
            entries = {int(entry.serial, 16): entry for entry in ca.ledger.issued}
            for credential in self.seen[name]:
                entry = entries[credential.certificate.serial_number]
                good = entry.issuer in in_force and entry.revoked_at is None
                assert (verdict(credential, role, trust) is None) == good
            for crl in trust.crls:
                self.follow(crl)

    def follow(self, crl: x509.CertificateRevocationList) -> None:
        known = self.lists.setdefault(crl.issuer.rfc4514_string(), [])
        if crl not in known:
            known.append(crl)
        for one, other in itertools.pairwise(known):
            assert crl_number(one) < crl_number(other)
            assert one.last_update_utc < other.last_update_utc


@given(moves=st.lists(MOVES, min_size=4, max_size=12))
@settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_in_whatever_order_things_are_done_the_good_get_in_and_the_others_do_not(
    moves: list[str], quick: Path
) -> None:
    model = Model(quick / str(len(os.listdir(quick))) / "pki")
    for move in moves:
        model.move(move)
        model.hold()


def test_the_whole_way_is_one_of_those_orders(quick: Path) -> None:
    model = Model(quick / "pki")
    for move in (
        *("revoke client", "introduce", "revoke server", "switch", "retire", "rekey client"),
        *("revoke client", "renew all", "retire", "revoke server", "introduce", "switch"),
        *("renew all", "retire"),
    ):
        model.move(move)
        model.hold()

    assert model.directory.stage("clients") is RolloverStage.SETTLED
    assert len({entry.issuer for entry in model.directory.ledger("clients")}) == 3


def test_a_server_of_one_directory_is_nothing_in_another(tmp_path: Path) -> None:
    one, other = (Directory.create(tmp_path / name) for name in "ab")
    one.issue("a", Request.server("localhost"))

    assert verdict(one.credential("a"), "servers", other.trust("servers")) == 20
