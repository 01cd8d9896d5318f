"""What a server's context demands and refuses."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import stat
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_server.context import ClientAuth, server_context
from mtls_echo_tls.denial import denial_in
from tests.support.servers import Authorities, echoed, limits, running
from tests.support.timing import TIMEOUT


@pytest.fixture
def pki() -> Authorities:
    return Authorities()


@pytest.mark.parametrize("client_auth", [ClientAuth.OPTIONAL, ClientAuth.REQUIRED])
def test_no_client_is_authenticated_without_trust_anchors(
    pki: Authorities, client_auth: ClientAuth
) -> None:
    with pytest.raises(ValueError, match="needs trust anchors"):
        server_context(pki.server, client_auth=client_auth)


def test_authorities_that_would_not_be_used_are_refused(pki: Authorities) -> None:
    with pytest.raises(ValueError, match="no client is asked"):
        server_context(pki.server, pki.clients.trust, client_auth=ClientAuth.NONE)


def test_versions_that_contradict_each_other_are_refused(pki: Authorities) -> None:
    with pytest.raises(ValueError, match="above the maximum"):
        server_context(
            pki.server,
            pki.clients.trust,
            minimum_version=ssl.TLSVersion.TLSv1_3,
            maximum_version=ssl.TLSVersion.TLSv1_2,
        )


def test_only_the_named_cas_are_trusted(pki: Authorities) -> None:
    trusted = pki.server_context().get_ca_certs(binary_form=True)
    assert trusted == [pki.clients.certificate.public_bytes(Encoding.DER)]


def test_every_python_verifies_alike(pki: Authorities) -> None:
    flags = pki.server_context().verify_flags
    assert flags & ssl.VERIFY_X509_STRICT
    assert flags & ssl.VERIFY_X509_PARTIAL_CHAIN


def test_the_client_cannot_renegotiate(pki: Authorities) -> None:
    assert pki.server_context().options & ssl.OP_NO_RENEGOTIATION


def test_the_key_log_is_for_its_owner_only(pki: Authorities, tmp_path: Path) -> None:
    keylog = tmp_path / "keys.log"
    context = server_context(pki.server, pki.clients.trust, keylog=keylog)
    assert stat.S_IMODE(keylog.stat().st_mode) == 0o600
    assert context.keylog_filename == str(keylog)
    server_context(pki.server, pki.clients.trust, keylog=keylog)  # appended to, not refused


async def test_the_preferred_common_application_protocol_is_chosen(pki: Authorities) -> None:
    context = server_context(pki.server, pki.clients.trust, alpn=["h2", "echo"])
    async with running(context, limits=limits()) as here:
        wanted = pki.client_context(pki.alice)
        wanted.set_alpn_protocols(["echo", "h2"])
        async with await here.connect(wanted) as stream:
            assert await echoed(stream) == b"hello"
            assert stream.evidence.alpn == "h2"


@pytest.mark.parametrize(("tickets", "sent"), [(False, 0), (True, 1)], ids=["off", "on"])
def test_tls13_tickets_are_sent_when_asked_for_only(
    pki: Authorities, tickets: bool, sent: int
) -> None:
    context = server_context(pki.server, pki.clients.trust, session_tickets=tickets)
    assert context.num_tickets == sent
    assert bool(context.options & ssl.OP_NO_TICKET) is not tickets


class _Resuming:
    """Pairs of connections in memory, the second of which tries to resume the first."""

    def __init__(self, server: ssl.SSLContext, client: ssl.SSLContext) -> None:
        self.server, self.client = server, client

    def resumed(self, server: ssl.SSLContext | None = None) -> bool:
        first = self._connect(self.server, None)
        return bool(self._connect(server or self.server, first.session).session_reused)

    def _connect(self, server: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLObject:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        ours = server.wrap_bio(to_server, to_client, server_side=True)
        theirs = self.client.wrap_bio(
            to_client, to_server, server_hostname="localhost", session=session
        )
        done: set[ssl.SSLObject] = set()
        while len(done) < 2:
            for end in (theirs, ours):
                try:
                    end.do_handshake()
                    done.add(end)
                except ssl.SSLWantReadError:
                    pass
        ours.write(b"x")
        theirs.read()  # in TLS 1.3, after which the ticket has arrived
        for end in (theirs, ours):  # an unclean end would make the session unfit for resumption
            with contextlib.suppress(ssl.SSLWantReadError):
                end.unwrap()
        return theirs


def test_tls13_resumes_nothing_unless_tickets_are_on(pki: Authorities) -> None:
    for tickets in (False, True):
        context = server_context(pki.server, pki.clients.trust, session_tickets=tickets)
        assert _Resuming(context, pki.client_context(pki.alice)).resumed() is tickets


def test_a_new_context_resumes_nothing_of_an_old_one(pki: Authorities) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        for tickets in (False, True):
            old, new = (
                server_context(pki.server, pki.clients.trust, session_tickets=tickets)
                for _ in range(2)
            )
            assert not _Resuming(old, pki.client_context(pki.alice, version)).resumed(new)


def test_tls12_session_ids_are_what_python_cannot_switch_off(pki: Authorities) -> None:
    # Not what we want, but what the module says. When this fails, OpenSSL or Python has learnt
    # something, and context.py can be shorter.
    client_context = pki.client_context(pki.alice, ssl.TLSVersion.TLSv1_2)
    client_context.options |= ssl.OP_NO_TICKET
    assert _Resuming(pki.server_context(), client_context).resumed()


async def test_a_certificate_that_expired_since_does_not_get_in_by_resuming(
    pki: Authorities, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = pki.clients.issue(Request.client("alice.test", lifetime=datetime.timedelta(hours=1)))
    context = pki.client_context(short, ssl.TLSVersion.TLSv1_2)

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Later:
            moment = super().now(tz) + datetime.timedelta(hours=ahead)
            return cls.fromtimestamp(moment.timestamp(), tz)

    def visit(port: int, session: ssl.SSLSession | None) -> tuple[bytes, ssl.SSLSession | None]:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as tcp,
            # The standard library's own way of resuming; our client has none, on purpose.
            context.wrap_socket(tcp, server_hostname="localhost", session=session) as tls,
        ):
            tls.sendall(b"hello")
            received, session = tls.recv(1000), tls.session
            with contextlib.suppress(OSError):
                tls.unwrap()
            return received, session

    ahead = 0
    monkeypatch.setattr("mtls_echo_server.admission.datetime.datetime", Later)
    session: ssl.SSLSession | None = None
    async with running(pki.server_context(), limits=limits()) as here:
        for ahead in (0, 0, 2):
            received, session = await trio.to_thread.run_sync(visit, here.port, session)
            if ahead:
                assert "not valid any more" in (denial_in(received) or "")
            else:
                assert received == b"hello"
        reports = [await here.event("connection", number) for number in (1, 2, 3)]
    assert [report["tls"]["resumed"] for report in reports] == [False, True, True]
    assert [report["outcome"] for report in reports] == ["echoed", "echoed", "denied"]


async def test_an_intermediate_named_as_an_anchor_is_one(pki: Authorities) -> None:
    issuing = pki.clients.intermediate("clients of one department")
    context = server_context(pki.server, Trust((issuing.certificate,)))
    insider = issuing.issue(Request.client("carol.test"))
    async with (
        running(context, limits=limits()) as here,
        await here.connect(pki.client_context(insider)) as stream,
    ):
        assert await echoed(stream) == b"hello"
