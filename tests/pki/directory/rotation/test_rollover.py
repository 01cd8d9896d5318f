"""A CA is replaced: every combination of old and new peers, at every stage."""

from __future__ import annotations

import itertools
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.checks.check import check
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.directory.layout import Role
from tests.pki.directory.rotation.rolling import ROLES, VERSIONS, renew_all, verdict
from tests.pki.directory.rotation.rolling import directory as directory

COMPROMISED = x509.ReasonFlags.key_compromise


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
