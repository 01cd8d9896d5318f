"""A CA is replaced while all peers go on talking; then the old one is worth nothing."""

from __future__ import annotations

import itertools
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import KeyType, Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.checks.check import check
from mtls_echo_pki.directory.ca_folder import CAFolder
from mtls_echo_pki.directory.ca_state import CAGeneration, CAState, RolloverStage
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.directory.layout import Role
from mtls_echo_pki.files.staging import DirectoryError
from mtls_echo_pki.flaws.registry import find_flaw
from mtls_echo_server.context import server_context
from tests.support.pki import tree

COMPROMISED = x509.ReasonFlags.key_compromise
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
ROLES: tuple[Role, Role] = ("servers", "clients")


def verdict(credential: Credential, role: Role, trust: Trust, tls: str = "1.3") -> int | None:
    """The verify code of a peer that goes by ``trust``, in a real handshake; None: accepted."""
    stage = Authority.root("stage")
    version = VERSIONS[tls]
    # The server's credential and trust, and the client's trust and credential.
    if role == "servers":
        presenting, verifying = (
            (credential, stage.trust),
            (trust, stage.issue(Request.client("a.test"))),
        )
    else:
        presenting, verifying = (stage.issue("localhost"), trust), (stage.trust, credential)
    one = server_context(*presenting, minimum_version=version, maximum_version=version)
    other = client_context(*verifying, minimum_version=version, maximum_version=version)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    calling = other.wrap_bio(to_client, to_server, server_hostname="localhost")
    called = one.wrap_bio(to_server, to_client, server_side=True)
    done = set[ssl.SSLObject]()
    for side in (calling, called) * 3:
        try:
            side.do_handshake()
            done.add(side)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLCertVerificationError as error:
            return error.verify_code
    assert done == {calling, called}
    return None


@dataclass(frozen=True)
class Rolled:
    """What one CA, its replacement and its successor have issued and told.

    Attributes:
        credentials: "A", "A leaked", "B crossed", "B leaked", "B bare".
        anchors: "A", "A and B", "B".
        lists: At each stage: "before", "introduced", "switched", "retired".
    """

    credentials: dict[tuple[str, Role], Credential]
    anchors: dict[str, dict[Role, tuple[x509.Certificate, ...]]]
    lists: dict[str, dict[Role, tuple[x509.CertificateRevocationList, ...]]]

    def trust(self, role: Role, anchors: str, lists: str | None) -> Trust:
        return Trust(self.anchors[anchors][role], self.lists[lists][role] if lists else ())


NAMES: dict[Role, str] = {"servers": "server", "clients": "client"}


def roll(path: Path, *, single: bool, intermediate: bool) -> Rolled:
    """Replace the CAs of a directory, and keep all that there was on the way."""
    directory = Directory.create(path, single_authority=single, intermediate=intermediate)
    credentials: dict[tuple[str, Role], Credential] = {}
    anchors: dict[str, dict[Role, tuple[x509.Certificate, ...]]] = {}
    lists: dict[str, dict[Role, tuple[x509.CertificateRevocationList, ...]]] = {}

    def keep(credential: str) -> None:
        for role, name in NAMES.items():
            credentials[credential, role] = directory.credential(name)

    def leak(credential: str) -> None:
        for role, name in NAMES.items():
            request = Request.of(directory.credential(name).certificate)
            leaked = credential.replace(" ", "-") + name
            credentials[credential, role] = directory.issue(leaked, request)
            directory.renew(leaked, rekey=True)
            directory.revoke(leaked, reason=COMPROMISED)

    def tell(stage: str, trusted: str) -> None:
        anchors[trusted] = {role: directory.trust(role).anchors for role in ROLES}
        lists[stage] = {role: directory.trust(role).crls for role in ROLES}
        assert check(directory) == []

    directory.publish_crls()
    leak("A leaked")
    keep("A")
    tell("before", "A")
    assert directory.introduce() == ROLES
    keep("A")
    tell("introduced", "A and B")
    assert directory.switch() == ROLES
    leak("B leaked")
    renew_all(directory)
    keep("B crossed")
    tell("switched", "A and B")
    assert directory.retire() == ROLES
    tell("retired", "B")
    renew_all(directory)
    keep("B bare")
    tell("retired", "B")
    return Rolled(credentials, anchors, lists)


@pytest.fixture(scope="module", params=["separate", "single"])
def single(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "single")


@pytest.fixture(scope="module", params=["root", "intermediate"])
def rolled(
    request: pytest.FixtureRequest, single: bool, tmp_path_factory: pytest.TempPathFactory
) -> Rolled:
    path = tmp_path_factory.mktemp("rolled") / "pki"
    return roll(path, single=single, intermediate=request.param == "intermediate")


# Who knows which CAs, and accepts what. "lists" are those of the stage at which such a
# peer lives: one that knows only A must still get the lists of its day.
ACCEPTED = {
    "A": {"A", "B crossed"},
    "A and B": {"A", "B crossed", "B bare"},
    "B": {"B crossed", "B bare"},
}
STAGE_OF = {"A": "switched", "A and B": "switched", "B": "retired"}
COMBINATIONS = [
    pytest.param(*each, id=", ".join((f"knows {each[0]}", each[1], each[2], f"TLS {each[3]}")))
    for each in itertools.product(
        ACCEPTED, ("A", "B crossed", "B bare"), ("no lists", "lists"), VERSIONS
    )
]


@pytest.mark.parametrize(("knows", "presented", "lists", "tls"), COMBINATIONS)
def test_old_and_new_peers_accept_old_and_new_credentials(
    rolled: Rolled, knows: str, presented: str, lists: str, tls: str
) -> None:
    for role in ROLES:
        trust = rolled.trust(role, knows, STAGE_OF[knows] if lists == "lists" else None)
        refused = verdict(rolled.credentials[presented, role], role, trust, tls)

        if presented in ACCEPTED[knows]:
            assert refused is None
        else:
            assert refused == 20  # unable to get local issuer certificate


@pytest.mark.parametrize("tls", VERSIONS)
@pytest.mark.parametrize(
    ("knows", "stage", "presented"),
    [
        ("A", "before", "A leaked"),
        ("A", "introduced", "A leaked"),
        ("A and B", "introduced", "A leaked"),
        ("A and B", "switched", "A leaked"),
        ("A", "switched", "A leaked"),
        ("A", "switched", "B leaked"),
        ("A and B", "switched", "B leaked"),
        ("B", "retired", "B leaked"),
    ],
)
def test_what_was_revoked_stays_revoked_on_every_path_and_at_every_stage(
    rolled: Rolled, knows: str, stage: str, presented: str, tls: str
) -> None:
    for role in ROLES:
        trust = rolled.trust(role, knows, stage)

        assert verdict(rolled.credentials[presented, role], role, trust, tls) == 23
        assert (
            verdict(rolled.credentials[presented, role], role, Trust(trust.anchors), tls) is None
        )


def test_a_peer_that_checks_revocation_needs_the_crls_of_the_day_for_the_new_ca(
    rolled: Rolled,
) -> None:
    """Also one that knows only the old one: no list of B's, no path through B's key (code 3)."""
    for role in ROLES:
        stale = rolled.trust(role, "A", "before")

        assert verdict(rolled.credentials["A", role], role, stale) is None
        assert verdict(rolled.credentials["B crossed", role], role, stale) == 3


@pytest.mark.parametrize("knows", ACCEPTED)
def test_openssl_verify_agrees_strictly_with_every_crl(
    rolled: Rolled, knows: str, tmp_path: Path
) -> None:
    for role, presented in itertools.product(ROLES, ("A", "B crossed")):
        trust = rolled.trust(role, knows, STAGE_OF[knows])
        credential = rolled.credentials[presented, role]
        (tmp_path / "trust.pem").write_bytes(trust.pem + trust.crl_pem)
        (tmp_path / "tls.crt").write_bytes(credential.certificate_pem)
        purpose = "sslserver" if role == "servers" else "sslclient"

        ran = subprocess.run(
            [
                *("openssl", "verify", "-x509_strict", "-crl_check_all", "-purpose", purpose),
                *("-no-CApath", "-no-CAstore", "-CAfile", tmp_path / "trust.pem"),
                *("-untrusted", tmp_path / "tls.crt", tmp_path / "tls.crt"),
            ],
            capture_output=True,
            text=True,
        )

        assert (ran.returncode == 0) == (presented in ACCEPTED[knows]), ran.stderr


def test_what_is_sent_along_is_as_short_as_it_can_be(rolled: Rolled) -> None:
    for role in ROLES:
        a, crossed, bare = (
            rolled.credentials[name, role].chain for name in ("A", "B crossed", "B bare")
        )

        assert len(crossed) == len(a) + 1
        assert len(bare) == len(a)
        assert crossed[-1].subject == rolled.anchors["B"][role][0].subject
        assert crossed[-1].issuer == rolled.anchors["A"][role][0].subject


# --- the steps -----------------------------------------------------------------------------------


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory.create(tmp_path / "pki")


def renew_all(directory: Directory) -> None:
    for name in directory.names():
        directory.renew(name, rekey=False)


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
