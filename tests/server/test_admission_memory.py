"""What was found about a certification path is kept in mind no longer than it holds."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_server import admission as _admission
from mtls_echo_server.access import Access
from mtls_echo_server.admission import Admission
from mtls_echo_server.connection import Connection
from mtls_echo_tls.diagnosis.context_info import context_info, describe_context
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.path.validate import examine as _examine
from tests.server.admission_world import (
    ALICE,
    BELOW,
    CLIENTS,
    DAY,
    ISSUING,
    LOCALHOST,
    NOW,
    certified,
    lapsing,
    listed,
    trusting,
)

_EXPIRED = "the client certificate is not valid any more"
_CA_EXPIRED = "a CA of the client certificate is not valid any more"


class World:
    """An `Admission`, the days that have passed, and how many paths it has examined."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.admission = Admission(Access())
        self.days = 0.0
        self.examined = 0

        def now(_: datetime.tzinfo) -> datetime.datetime:
            return NOW + self.days * DAY

        def examine(*arguments: Any, **named: Any) -> Any:
            self.examined += 1
            return _examine(*arguments, **named)

        monkeypatch.setattr(_admission, "examine", examine)
        clock = SimpleNamespace(datetime=SimpleNamespace(now=now), UTC=datetime.UTC)
        monkeypatch.setattr(_admission, "datetime", clock)

    def resumes(self, context: ssl.SSLContext, *chain: x509.Certificate) -> str | None:
        """Why a client that resumes its session with this context is not served."""
        return self.admission.reverify(_connection(context, chain, resumed=True), context)

    def completes(
        self, context: ssl.SSLContext, *chain: x509.Certificate, version: str = "TLSv1.3"
    ) -> None:
        """A client completes a handshake in which it was verified."""
        self.admission.remember_issuers(_connection(context, chain, version=version))

    def examines(self, what: Callable[[], object]) -> bool:
        """Whether a path is examined for that."""
        before = self.examined
        what()
        return self.examined > before


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def _connection(
    context: ssl.SSLContext,
    chain: tuple[x509.Certificate, ...],
    *,
    resumed: bool = False,
    version: str = "TLSv1.3",
) -> Connection:
    ders = tuple(certificate.public_bytes(Encoding.DER) for certificate in chain)
    evidence = Evidence("server", peer_chain=ders, resumed=resumed, version=version)
    return cast("Connection", SimpleNamespace(evidence=evidence, verified_with=context))


def _resumable(trust: Trust = CLIENTS.trust) -> ssl.SSLContext:
    return trusting(trust, session_tickets=True)


# --- resumptions ---------------------------------------------------------------------------------


def test_a_path_that_passed_is_not_examined_again(world: World) -> None:
    context = _resumable()
    for day in (0.0, 0.0, 0.5):
        world.days = day
        assert world.resumes(context, ALICE.certificate) is None
    assert world.examined == 1
    assert world.resumes(context, BELOW.certificate) is None
    assert world.examined == 2


@pytest.mark.parametrize(
    ("lapse", "reason"),
    [
        pytest.param("certificate", _EXPIRED, id="its own"),
        pytest.param("issuing", _CA_EXPIRED, id="issuer's"),
        pytest.param("root", _CA_EXPIRED, id="the anchor's"),
        pytest.param(
            "list",
            "the client certificate cannot be checked for revocation any more",
            id="a list's",
        ),
    ],
)
def test_it_is_examined_again_once_a_date_on_it_has_come(
    lapse: str, reason: str, world: World
) -> None:
    trust, issuing, leaf = lapsing(lapse)
    context = _resumable(trust)
    world.completes(context, leaf, issuing.certificate)
    said: list[tuple[float, str | None, bool]] = []
    for world.days in (0.5, 1.5, 2.5, 2.6):
        before = world.examined
        reason_now = world.resumes(context, leaf)
        said.append((world.days, reason_now, world.examined > before))
    assert said == [
        (0.5, None, True),
        (1.5, None, False),
        (2.5, reason, True),
        (2.6, reason, True),  # a denial is not kept in mind
    ]


def test_it_is_examined_again_once_a_list_has_begun_to_be_valid(world: World) -> None:
    later = Authority(CLIENTS.certificate, CLIENTS.key, clock=lambda: NOW + 2 * DAY)
    later.revoke(ALICE.certificate)
    first = Authority(CLIENTS.certificate, CLIENTS.key).crl(9 * DAY)
    context = _resumable(listed(CLIENTS.trust, first, later.crl(9 * DAY)))
    said: list[str | None] = []
    for world.days in (0.5, 1.0, 3.0):
        said.append(world.resumes(context, ALICE.certificate))
    assert said == [None, None, "the client certificate was revoked"]


def test_it_is_examined_again_when_the_clock_is_set_back(world: World) -> None:
    leaf = certified(ALICE.certificate, CLIENTS, 1, 9)
    context = _resumable()
    world.days = 2.0
    assert world.resumes(context, leaf) is None
    world.days = 0.5
    assert world.resumes(context, leaf) == "the client certificate is not valid yet"


def test_it_is_examined_again_after_a_reload(world: World) -> None:
    same = [_resumable(), _resumable()]
    for context in same:
        assert world.examines(lambda: world.resumes(context, ALICE.certificate))  # noqa: B023
        assert not world.examines(lambda: world.resumes(context, ALICE.certificate))  # noqa: B023
    # And where the same context is said to be made of something else.
    describe_context(same[1], context_info(same[1]))
    assert world.examines(lambda: world.resumes(same[1], ALICE.certificate))


def test_nothing_is_kept_of_a_context_that_was_not_described(world: World) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    LOCALHOST.load_into(context)
    CLIENTS.trust.load_into(context)
    for _ in range(2):
        assert world.examines(lambda: world.resumes(context, ALICE.certificate))


def test_it_is_examined_again_once_more_of_it_is_known(world: World) -> None:
    soon = certified(ISSUING.certificate, CLIENTS, -1, 2)
    leaf = certified(BELOW.certificate, ISSUING, -1, 9)
    context = _resumable()
    assert world.resumes(context, leaf) is None  # a path of one, good for nine days
    world.completes(context, leaf, soon)
    world.days = 3.0
    assert world.resumes(context, leaf) == _CA_EXPIRED


def test_the_chains_asked_for_last_are_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_admission, "_MOST_CHAINS", 2)
    clients = [certified(ALICE.certificate, CLIENTS, -1, 9) for _ in range(3)]
    context = _resumable()

    def examined(number: int) -> bool:
        return world.examines(lambda: world.resumes(context, clients[number]))

    asked = [(number, examined(number)) for number in (0, 1, 0, 2, 0, 1)]
    assert asked == [(0, True), (1, True), (0, False), (2, True), (0, False), (1, True)]


def test_a_large_chain_is_not_kept(world: World) -> None:
    names = [f"a-name-of-some-length-{number}.clients.test" for number in range(100)]
    large = CLIENTS.issue(Request.client(*names)).certificate
    assert len(large.public_bytes(Encoding.DER)) > 4096
    context = _resumable()
    for _ in range(2):
        assert world.examines(lambda: world.resumes(context, large))


# --- what full handshakes leave ------------------------------------------------------------------


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_a_root_that_is_sent_along_is_looked_at_once(version: str, world: World) -> None:
    context = _resumable()
    sent = (ALICE.certificate, CLIENTS.certificate)
    for day in (0.0, 0.5):
        world.days = day
        world.completes(context, *sent, version=version)
    assert world.examined == 1
    assert not world.admission._issuers
    world.days = -0.5
    assert world.examines(lambda: world.completes(context, *sent, version=version))  # set back
    world.days = 4000.0  # its dates are over
    assert world.examines(lambda: world.completes(context, *sent, version=version))
    assert world.examines(lambda: world.completes(_resumable(), *sent, version=version))


def test_what_was_looked_at_once_does_not_hide_what_another_client_needs(world: World) -> None:
    others = CLIENTS.intermediate("another department")
    leaf = others.issue(Request.client("bob.test")).certificate
    sent = (ISSUING.certificate, others.certificate)
    context = _resumable()
    world.completes(context, BELOW.certificate, *sent)
    world.completes(context, leaf, *sent)
    assert [*world.admission._issuers] == [each.public_bytes(Encoding.DER) for each in sent]


def test_a_chain_is_looked_at_again_when_its_intermediate_has_been_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_admission, "_MOST_ISSUERS", 1)
    others = CLIENTS.intermediate("another department")
    leaf = others.issue(Request.client("bob.test")).certificate
    context = _resumable()
    first = (BELOW.certificate, ISSUING.certificate, CLIENTS.certificate)
    for chain in (first, (leaf, others.certificate), first):
        world.completes(context, *chain)
    assert [*world.admission._issuers] == [ISSUING.certificate.public_bytes(Encoding.DER)]


@pytest.mark.parametrize(
    ("version", "kept"), [("TLSv1.2", True), ("TLSv1.3", False)], ids=["session IDs", "nothing"]
)
def test_nothing_is_kept_of_what_cannot_be_resumed(version: str, kept: bool, world: World) -> None:
    world.completes(
        trusting(CLIENTS.trust), BELOW.certificate, ISSUING.certificate, version=version
    )
    assert bool(world.admission._issuers) is bool(world.examined) is kept
