"""Admission: a client is served only if its handshake would still succeed, over reloads too."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_server.access import Access
from mtls_echo_server.admission import Admission
from mtls_echo_server.connection import Connection
from mtls_echo_server.context import ClientAuth, server_context
from mtls_echo_server.handlers import echo
from mtls_echo_tls.denial import denial_in
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from tests.support.servers import VERSIONS, Running, echoed, limits, running
from tests.support.timing import TIMEOUT

versions = pytest.mark.parametrize(
    "version", [version for _, version in VERSIONS], ids=[name for name, _ in VERSIONS]
)

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC)

SERVERS = Authority.root("servers")
LOCALHOST = SERVERS.issue(Request.server("localhost"))
CLIENTS, OTHERS = Authority.root("clients"), Authority.root("others")
ISSUING = CLIENTS.intermediate("issuing")
BOB = CLIENTS.issue(Request.client("bob.test"))
ALICE, BELOW = (
    CLIENTS.issue(Request.client("alice.test")),
    ISSUING.issue(Request.client("alice.test")),
)


def trusting(trust: Trust | None, *, session_tickets: bool = False) -> ssl.SSLContext:
    auth = ClientAuth.REQUIRED if trust else ClientAuth.NONE
    return server_context(LOCALHOST, trust, client_auth=auth, session_tickets=session_tickets)


def listed(trust: Trust, *crls: x509.CertificateRevocationList) -> Trust:
    return Trust(trust.anchors, crls)


def certified(
    certificate: x509.Certificate, issuer: Authority, since: float, until: float
) -> x509.Certificate:
    """The same name and key, valid from and until so many days from now, whatever the issuer's."""
    builder = x509.CertificateBuilder(
        issuer.certificate.subject,
        certificate.subject,
        certificate.public_key(),
        x509.random_serial_number(),
        NOW + since * DAY,
        NOW + until * DAY,
    )
    for extension in certificate.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(issuer.key, hashes.SHA256())


def dated(root: Authority, since: float, until: float) -> x509.Certificate:
    return certified(root.certificate, root, since, until)


def _client(
    credential: Credential | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = version
    SERVERS.trust.load_into(context)
    if credential is not None:
        credential.load_into(context)
    return context


class Halfway:
    """A client of the standard library that has sent its ClientHello, and read the answer."""

    def __init__(
        self, tcp: TCPStream, context: ssl.SSLContext, session: ssl.SSLSession | None
    ) -> None:
        self._tcp = tcp
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname="localhost", session=session
        )

    @classmethod
    async def into(
        cls, here: Running, context: ssl.SSLContext, session: ssl.SSLSession | None = None
    ) -> Halfway:
        halfway = cls(await here.tcp(), context, session)
        with pytest.raises(ssl.SSLWantReadError):
            halfway._tls.do_handshake()
        await halfway._tcp.send_all(halfway._outgoing.read())
        await trio.lowlevel.wait_readable(halfway._tcp.socket)
        return halfway

    async def go_on(self) -> bytes:
        """Complete the handshake, say hello, and return the first that comes back."""
        await self._until(self._tls.do_handshake)
        self._tls.write(b"hello")
        answer = await self._until(lambda: self._tls.read(1000))
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        await self._tcp.send_all(self._outgoing.read())
        await self._tcp.aclose()
        assert isinstance(answer, bytes)
        return answer

    async def _until(self, operation: object) -> object:
        assert callable(operation)
        while True:
            try:
                result = operation()
            except ssl.SSLWantReadError:
                await self._tcp.send_all(self._outgoing.read())
                data = await self._tcp.receive_some()
                assert data, "the server has closed"
                self._incoming.write(data)
            else:
                await self._tcp.send_all(self._outgoing.read())
                return result


async def is_served(here: Running, credential: Credential) -> bool:
    """Whether a client that begins now is served."""
    try:
        async with await here.connect(_client(credential)) as stream:
            return await echoed(stream) == b"hello"
    except TLSFailure:
        return False


# --- a handshake over a reload -------------------------------------------------------------------


def _revoking(authority: Authority, revoked: Credential | x509.Certificate) -> Trust:
    fresh = Authority(authority.certificate, authority.key)
    fresh.revoke(revoked)
    return listed(authority.trust, fresh.crl())


def _two_lists(*revoked: x509.Certificate, issued_by_root: bool) -> Trust:
    root = Authority(CLIENTS.certificate, CLIENTS.key)
    issuing = Authority(ISSUING.certificate, ISSUING.key, ISSUING.issuers)
    for certificate in revoked:
        (root if issued_by_root else issuing).revoke(certificate)
    return listed(CLIENTS.trust, root.crl(), issuing.crl())


DENIED = [
    pytest.param(ALICE, OTHERS.trust, "issuer is not trusted", id="authority dropped"),
    pytest.param(BELOW, OTHERS.trust, "issuer is not trusted", id="authority above dropped"),
    pytest.param(
        ALICE, Authority.root("clients").trust, "issuer is not trusted", id="namesake trusted"
    ),
    pytest.param(
        ALICE, Trust((dated(CLIENTS, -20, -10),)), "not valid any more", id="authority expired"
    ),
    pytest.param(ALICE, _revoking(CLIENTS, ALICE), "was revoked", id="revoked"),
    pytest.param(
        BELOW,
        _two_lists(ISSUING.certificate, issued_by_root=True),
        "a CA of the client certificate was revoked",
        id="authority revoked",
    ),
    pytest.param(
        BELOW,
        listed(CLIENTS.trust, Authority(CLIENTS.certificate, CLIENTS.key).crl()),
        "cannot be checked",
        id="no list of the intermediate",
    ),
    pytest.param(
        ALICE,
        listed(
            CLIENTS.trust,
            Authority(CLIENTS.certificate, CLIENTS.key, clock=lambda: NOW - 9 * DAY).crl(),
        ),
        "cannot be checked for revocation any more",
        id="list expired",
    ),
]

SERVED = [
    pytest.param(ALICE, CLIENTS.trust, id="nothing but the server's certificate is new"),
    pytest.param(ALICE, CLIENTS.trust | OTHERS.trust, id="authority added"),
    pytest.param(BELOW, OTHERS.trust | CLIENTS.trust, id="authority added, path of three"),
    pytest.param(BELOW, Trust((ISSUING.certificate,)), id="intermediate pinned"),
    pytest.param(ALICE, Trust((ALICE.certificate,)), id="client pinned"),
    pytest.param(ALICE, _revoking(CLIENTS, BOB), id="another revoked"),
    pytest.param(BELOW, _two_lists(ALICE.certificate, issued_by_root=True), id="two lists"),
    pytest.param(
        ALICE,
        listed(
            CLIENTS.trust,
            Authority(CLIENTS.certificate, CLIENTS.key, clock=lambda: NOW - 9 * DAY).crl(),
            Authority(CLIENTS.certificate, CLIENTS.key).crl(),
        ),
        id="an expired list beside a valid one",
    ),
    # One name and key: OpenSSL takes the valid one, whichever stands first.
    pytest.param(
        ALICE,
        Trust((dated(CLIENTS, -20, -10), dated(CLIENTS, -1, 1))),
        id="an expired authority beside its renewal",
    ),
    pytest.param(
        BELOW,
        Trust((dated(CLIENTS, -1, 1), dated(CLIENTS, -20, -10))),
        id="an authority's renewal beside the expired one",
    ),
    pytest.param(ALICE, None, id="no client is asked any more"),
]


@versions
@pytest.mark.parametrize(("who", "trust", "reason"), DENIED)
async def test_a_client_that_began_before_a_reload_is_denied_by_what_is_in_use_after(
    who: Credential, trust: Trust, reason: str, version: ssl.TLSVersion
) -> None:
    contexts = [trusting(CLIENTS.trust)]
    async with running(lambda: contexts[-1], limits=limits()) as here:
        halfway = await Halfway.into(here, _client(who, version))
        contexts.append(trusting(trust))
        said = denial_in(await halfway.go_on())
        report = await here.event("connection")
        assert not await is_served(here, who)  # OpenSSL is of the same opinion
    assert said is not None
    assert reason in said
    assert (report["outcome"], report["ended"]) == ("denied", "denied")
    assert report["causes"] == ["not-authorised"]
    assert not [event for event in here.events if event.name == "accepted"]


@versions
@pytest.mark.parametrize(("who", "trust"), SERVED)
async def test_a_client_that_began_before_a_reload_is_served_if_it_would_be_now(
    who: Credential, trust: Trust | None, version: ssl.TLSVersion
) -> None:
    contexts = [trusting(CLIENTS.trust)]
    async with running(lambda: contexts[-1], limits=limits()) as here:
        halfway = await Halfway.into(here, _client(who, version))
        contexts.append(trusting(trust))
        assert await halfway.go_on() == b"hello"
        report = await here.event("connection")
        assert await is_served(here, who)  # OpenSSL is of the same opinion
    assert report["outcome"] == "echoed"


async def test_asking_whether_a_client_is_denied_changes_nothing() -> None:
    served, replaced = trusting(CLIENTS.trust), trusting(OTHERS.trust)
    reasons: list[str | None] = []

    async def ask(stream: TLSStream) -> None:
        assert isinstance(stream, Connection)
        admission = Admission(Access())
        for context in (served, replaced, replaced, served):
            reasons.append(admission.denial(stream, context))
            assert stream.verified_with is served
            assert not admission._issuers
        await echo(stream)

    async with running(served, ask, limits=limits()) as here:
        assert await is_served(here, BELOW)
    assert reasons[0] is reasons[3] is None
    assert reasons[1] == reasons[2] == "the client certificate's issuer is not trusted any more"


async def test_an_anonymous_client_is_denied_when_a_certificate_is_needed_by_now() -> None:
    contexts = [server_context(LOCALHOST, CLIENTS.trust, client_auth=ClientAuth.OPTIONAL)]
    async with running(lambda: contexts[-1], limits=limits()) as here:
        for needed in (False, True):
            halfway = await Halfway.into(here, _client(None))
            auth = ClientAuth.REQUIRED if needed else ClientAuth.OPTIONAL
            contexts.append(server_context(LOCALHOST, CLIENTS.trust, client_auth=auth))
            answer = await halfway.go_on()
            assert (denial_in(answer) is not None) is needed


async def test_undescribed_contexts_are_examined_as_far_as_can_be_seen() -> None:
    def plain(*trust: Trust) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        LOCALHOST.load_into(context)
        for each in trust:
            each.load_into(context)
        return context

    # A list among them, or an anchor that is not a CA, cannot be seen.
    for trust, admitted in (
        (CLIENTS.trust, True),
        (OTHERS.trust, False),
        (_revoking(CLIENTS, BOB), False),
        (CLIENTS.trust | Trust((BELOW.certificate,)), False),
    ):
        contexts = [plain(CLIENTS.trust)]
        async with running(lambda: contexts[-1], limits=limits()) as here:  # noqa: B023
            halfway = await Halfway.into(here, _client(ALICE))
            contexts.append(plain(trust))
            assert (denial_in(await halfway.go_on()) is None) is admitted


@versions
async def test_a_silent_client_meets_the_context_in_use_at_its_first_byte(
    version: ssl.TLSVersion,
) -> None:
    contexts = [trusting(CLIENTS.trust)]
    async with running(lambda: contexts[-1], limits=limits()) as here:
        silent = await here.tcp()
        async with await here.connect(_client(ALICE)) as other:
            assert await echoed(other) == b"hello"  # so the silent one was accepted before it
        contexts.append(trusting(OTHERS.trust))
        late = TLSStream(silent, _client(ALICE, version), server_name="localhost")

        async def speak() -> None:
            async with late:
                await late.do_handshake()
                await late.receive_some()

        with pytest.raises(TLSFailure) as refusal:
            await speak()
        alert = refusal.value.evidence.alert
        assert alert is not None
        assert alert.code == 48  # unknown_ca: OpenSSL's verdict, in the handshake


async def test_a_client_that_waits_for_a_place_over_a_reload_is_verified_again() -> None:
    contexts = [trusting(CLIENTS.trust)]
    async with running(lambda: contexts[-1], limits=limits(max_connections=1)) as here:
        # Both are accepted while there is a place; when one has it, the other waits for it.
        waiting = await Halfway.into(here, _client(ALICE))
        first = await here.connect(_client(ALICE))
        assert await echoed(first) == b"hello"
        answers: list[bytes] = []

        async def go_on() -> None:
            answers.append(await waiting.go_on())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(go_on)
            # Its handshake is complete, and nothing tells us when it begins to wait.
            while not here.server._capacity.statistics().tasks_waiting:
                await trio.testing.wait_all_tasks_blocked(0.001)
            contexts.append(trusting(OTHERS.trust))
            await first.aclose()
    assert [denial_in(answer) is not None for answer in answers] == [True]


# --- resumption ----------------------------------------------------------------------------------


def visit(
    context: ssl.SSLContext, port: int, session: ssl.SSLSession | None
) -> tuple[bytes, bool | None, ssl.SSLSession | None]:
    """Say hello over a connection that resumes a session, as only the standard library does."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as tcp,
        context.wrap_socket(tcp, server_hostname="localhost", session=session) as tls,
    ):
        tls.sendall(b"hello")
        received, session, reused = tls.recv(1000), tls.session, tls.session_reused
        with contextlib.suppress(OSError):
            tls.unwrap()
        return received, reused, session


@versions
@pytest.mark.parametrize(
    ("lapse", "reason"),
    [
        pytest.param("certificate", "the client certificate is not valid any more", id="its own"),
        pytest.param("issuing", "a CA of the client certificate is not valid", id="issuer's"),
        pytest.param("root", "a CA of the client certificate is not valid", id="the anchor's"),
        pytest.param("list", "cannot be checked for revocation any more", id="a list's"),
    ],
)
async def test_a_resumed_session_is_over_with_the_first_date_on_its_path(
    lapse: str, reason: str, version: ssl.TLSVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = dict.fromkeys(("certificate", "issuing", "root", "list"), 9.0) | {lapse: 2.0}
    root = Authority(dated(CLIENTS, -1, ends["root"]), CLIENTS.key)
    issuing = Authority(
        certified(ISSUING.certificate, root, -1, ends["issuing"]), ISSUING.key, (root.certificate,)
    )
    leaf = certified(BELOW.certificate, issuing, -1, ends["certificate"])
    lists = (authority.crl(ends["list"] * DAY) for authority in (root, issuing))
    served = trusting(listed(root.trust, *lists), session_tickets=True)
    context = _client(Credential(BELOW.key, leaf, issuing.chain), version)
    session: ssl.SSLSession | None = None
    said: list[str | None] = []

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Later:
            return cls.fromtimestamp((super().now(tz) + ahead * DAY).timestamp(), tz)

    ahead = 0.0
    monkeypatch.setattr("mtls_echo_server.admission.datetime.datetime", Later)
    async with running(served, limits=limits()) as here:
        for ahead in (0.0, 0.5, 2.5, 0.5):
            received, reused, session = await trio.to_thread.run_sync(
                visit, context, here.port, session
            )
            assert reused is bool(ahead)
            said.append(denial_in(received))
    assert said[0] is said[1] is None
    assert reason in (said[2] or "")
    assert said[3] is None  # nothing was held against it but the date


@versions
@pytest.mark.parametrize(
    ("trust", "reason"),
    [
        pytest.param(CLIENTS.trust, None, id="same trust"),
        pytest.param(OTHERS.trust, "not trusted any more", id="authority dropped"),
        pytest.param(
            _two_lists(ISSUING.certificate, issued_by_root=True), "revoked", id="authority revoked"
        ),
        pytest.param(_two_lists(BELOW.certificate, issued_by_root=False), "revoked", id="revoked"),
    ],
)
async def test_a_resumption_that_began_before_a_reload_is_verified_as_any_other(
    trust: Trust, reason: str | None, version: ssl.TLSVersion
) -> None:
    context = _client(BELOW, version)
    contexts = [trusting(CLIENTS.trust, session_tickets=True)]
    async with running(lambda: contexts[-1], limits=limits()) as here:
        _, _, session = await trio.to_thread.run_sync(visit, context, here.port, None)
        halfway = await Halfway.into(here, context, session)
        contexts.append(trusting(trust))
        said = denial_in(await halfway.go_on())
        assert (await here.event("connection", 2))["tls"]["resumed"]
    assert (said is None) is (reason is None)
    assert (reason or "") in (said or "")


async def test_what_clients_send_along_is_not_kept_in_mind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mtls_echo_server.admission._MOST_ISSUERS", 2)
    junk = tuple(OTHERS.intermediate(f"junk {number}").certificate for number in range(3))
    departments = [CLIENTS.intermediate(f"department {number}") for number in range(3)]
    async with running(trusting(CLIENTS.trust), limits=limits()) as here:
        for department in departments:
            issued = department.issue(Request.client("alice.test"))
            sent = Credential(issued.key, issued.certificate, (*issued.chain, *junk))
            assert await is_served(here, sent)
    kept = [x509.load_der_x509_certificate(der) for der in here.server._admission._issuers]
    assert kept == [department.certificate for department in departments[1:]]
