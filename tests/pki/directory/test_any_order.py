"""In whatever order a PKI directory is changed, the same credentials are trusted."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from mtls_echo_pki.certificates.credential import Credential, key_id
from mtls_echo_pki.certificates.crl import crl_number
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.checks.check import check
from mtls_echo_pki.directory.ca_folder import ca_folders
from mtls_echo_pki.directory.ca_state import RolloverStage
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.files.staging import DirectoryError
from tests.pki.directory.changes import directory as directory
from tests.pki.directory.kill_points import whole
from tests.pki.directory.rotation.rolling import renew_all, verdict
from tests.pki.directory.test_kill import quick as quick
from tests.support.fuzzing import examples

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
@examples(12)
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
