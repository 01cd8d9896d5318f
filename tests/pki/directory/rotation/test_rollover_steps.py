"""The steps of replacing a CA: their order, their refusals, and what each leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import KeyType, Request
from mtls_echo_pki.checks.check import check
from mtls_echo_pki.directory.ca_folder import CAFolder
from mtls_echo_pki.directory.ca_state import CAGeneration, CAState, RolloverStage
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.directory.layout import Role
from mtls_echo_pki.files.staging import DirectoryError
from mtls_echo_pki.flaws.registry import find_flaw
from tests.pki.directory.rotation.rolling import ROLES, renew_all, verdict
from tests.pki.directory.rotation.rolling import directory as directory
from tests.support.pki import tree


def test_the_key_of_a_retired_ca_is_nowhere_any_more(tmp_path: Path) -> None:
    directory = Directory.create(tmp_path / "pki", intermediate=True)
    ca = CAFolder.read(directory.path, "clients")
    secrets = [signer.key_pem for signer in ca.signers if isinstance(signer, Authority)]
    assert len(secrets) == 2

    def held() -> list[bytes]:
        files = [path for path in directory.path.rglob("*") if path.is_file()]
        return [secret for secret in secrets if any(f.read_bytes() == secret for f in files)]

    assert held() == secrets
    directory.introduce()
    directory.switch()
    renew_all(directory)
    assert held() == secrets
    directory.retire()
    assert held() == []


def test_the_new_ca_has_a_new_name_and_a_key_of_the_same_type(tmp_path: Path) -> None:
    directory = Directory.create(tmp_path / "pki", key_type=KeyType.P384, intermediate=True)
    old = directory.authority("servers")
    directory.introduce("servers")
    directory.switch("servers")
    new = directory.authority("servers")

    assert new.certificate.subject != old.certificate.subject
    assert new.issuers[-1].subject != old.issuers[-1].subject
    assert KeyType.of(new.key) is KeyType.P384
    assert directory.stage("clients") is RolloverStage.SETTLED


Take = Callable[[Directory], tuple[Role, ...]]

STEPS: dict[str, Take] = {
    "introduce": lambda directory: directory.introduce(),
    "switch": lambda directory: directory.switch(),
    "retire": lambda directory: directory.retire(),
}


@pytest.mark.parametrize(
    ("taken", "step", "situation", "next_step"),
    [
        ([], "switch", "no other is trusted", "introduce"),
        ([], "retire", "no other is trusted", "introduce"),
        (["introduce"], "retire", "is trusted as well", "switch"),
        (["introduce", "switch"], "introduce", "is still trusted", "retire"),
        (["introduce", "switch", "renew", "retire"], "switch", "no other is trusted", "introduce"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value) or "new",
)
def test_a_step_out_of_order_is_refused_with_what_comes_next_and_changes_nothing(
    directory: Directory, taken: list[str], step: str, situation: str, next_step: str
) -> None:
    for each in taken:
        STEPS.get(each, renew_all)(directory)
    before = tree(directory.path)

    with pytest.raises(DirectoryError, match=f"cannot {step}: .* {situation}") as refusal:
        STEPS[step](directory)

    assert f"mtls-echo pki rollover {directory.path} {next_step}" in str(refusal.value.hint)
    assert "--authority" not in str(refusal.value.hint)
    assert tree(directory.path) == before


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_was_taken_is_taken_again_without_effect(
    directory: Directory, step: str
) -> None:
    for each in STEPS:
        if each == "retire":
            renew_all(directory)
        assert STEPS[each](directory) == ROLES
        if each == step:
            break
    before = tree(directory.path)

    assert STEPS[step](directory) == ()
    assert tree(directory.path) == before


def test_a_step_that_happened_for_one_ca_is_made_up_for_by_the_other(
    directory: Directory,
) -> None:
    assert directory.introduce("clients") == ("clients",)
    assert directory.introduce() == ("servers",)
    directory.switch()
    renew_all(directory)
    assert directory.retire("servers") == ("servers",)
    assert directory.retire() == ("clients",)


def test_a_step_that_one_ca_cannot_take_is_taken_by_none(directory: Directory) -> None:
    directory.introduce("clients")
    before = tree(directory.path)

    with pytest.raises(DirectoryError, match="authorities/servers: cannot switch") as refusal:
        directory.switch()

    assert str(refusal.value.hint).endswith("introduce --authority servers")
    assert tree(directory.path) == before


def test_no_peer_is_locked_out_by_retiring(directory: Directory) -> None:
    directory.introduce()
    directory.switch()
    directory.renew("client", rekey=True)
    before = tree(directory.path)

    with pytest.raises(DirectoryError, match=r"still in use from there: server$") as refusal:
        directory.retire()

    assert refusal.value.hint == (
        f"renew first: mtls-echo pki renew {directory.path} server --same-key"
    )
    assert tree(directory.path) == before
    directory.renew("server", rekey=False)
    assert directory.retire() == ROLES


def test_what_is_locked_out_anyway_keeps_no_ca_in_force(directory: Directory) -> None:
    hour = timedelta(hours=1)
    directory.issue("expired", Request.client("a.test", backdate=3 * hour, lifetime=-hour))
    directory.issue_flawed(
        "flawed", Request.client("a.test"), find_flaw("unknown-critical-extension")
    )
    directory.issue("revoked", Request.client("a.test"))
    directory.issue("broken", Request.client("a.test"))
    directory.revoke("revoked")
    (directory.path / "broken" / "tls.key").resolve().write_bytes(b"")
    directory.introduce("clients")
    directory.switch("clients")
    directory.renew("client", rekey=False)

    assert directory.retire("clients") == ("clients",)


def test_a_ca_that_has_expired_can_be_replaced(tmp_path: Path) -> None:
    directory = Directory.create(tmp_path / "pki")
    ca = CAFolder.read(directory.path, "servers")
    year = timedelta(days=365)
    old = replace(
        Authority.root("late", clock=lambda: datetime.now(UTC) - 11 * year), clock=lambda: NOW
    )
    ca.write_state(CAState(CAGeneration(old, old)))
    ca.publish()

    directory.introduce("servers")
    directory.switch("servers")
    directory.renew("server", rekey=False)
    directory.retire("servers")

    # Nothing from the old one is accepted any more: no certificate by it is sent along.
    assert directory.credential("server").chain == ()
    assert verdict(directory.credential("server"), "servers", directory.trust("servers")) is None
    assert check(directory) == []


NOW = datetime.now(UTC)


def test_with_the_roots_key_away_what_needs_it_says_so(tmp_path: Path) -> None:
    directory = Directory.create(tmp_path / "pki", intermediate=True)
    key = directory.path / "authorities" / "servers" / "root.key"
    away = key.rename(tmp_path / "root.key")
    directory.issue("other", Request.server("a.test"))
    directory.introduce("servers")
    before = tree(directory.path)

    with pytest.raises(DirectoryError, match="cannot switch: the key of the present root") as no:
        directory.switch("servers")
    assert "put it back as root.key" in str(no.value.hint)
    with pytest.raises(DirectoryError, match="has to sign a CRL"):
        directory.publish_crls()
    assert tree(directory.path) == before

    away.rename(key)
    directory.switch("servers")
    directory.publish_crls()
    assert check(directory) == []


def test_cross_signing_is_for_roots_of_different_names() -> None:
    one, other = Authority.root("one"), Authority.root("other")

    crossed = one.cross_sign(other)

    crossed.verify_directly_issued_by(one.certificate)
    assert crossed.public_key() == other.certificate.public_key()
    assert crossed.subject == other.certificate.subject
    with pytest.raises(ValueError, match="a root certifies a root"):
        one.cross_sign(other.intermediate())
    with pytest.raises(ValueError, match="a root certifies a root"):
        one.intermediate().cross_sign(other)
    with pytest.raises(ValueError, match="of its own name"):
        one.cross_sign(Authority.root("one"))
    with pytest.raises(ValueError, match="has expired"):
        Authority.root("late", lifetime=timedelta(seconds=-60)).cross_sign(other)


def test_a_cross_signed_certificate_lasts_as_long_as_both() -> None:
    short = Authority.root("short", lifetime=timedelta(days=1))
    long = Authority.root("long")

    assert short.cross_sign(long).not_valid_after_utc == short.certificate.not_valid_after_utc
    assert long.cross_sign(short).not_valid_after_utc == short.certificate.not_valid_after_utc
