"""Two reports of one connection make one account, which knows more than either."""

from __future__ import annotations

import ssl
from datetime import timedelta

import msgspec
import pytest
import trio
from cryptography import x509

from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.flaws.registry import FLAWS
from mtls_echo_server.context import server_context
from mtls_echo_tls.diagnosis.joint import join_reports
from mtls_echo_tls.diagnosis.report import Issuer, Report
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from tests.support.authorities import CLIENTS, SERVERS, UNTRUSTED_CA
from tests.support.flaws import REQUESTS
from tests.support.tls import (
    ALICE,
    EXPIRED,
    FUTURE,
    LOCALHOST,
    both_versions,
    converse,
    reports,
    tcp_pair,
    tls_pair,
)

BOTH = {"unknown-authority", "missing-intermediate"}


async def meet(
    version: ssl.TLSVersion,
    *,
    bearer: Credential | None = ALICE,
    name: str = "localhost",
    client_alpn: tuple[str, ...] = (),
    server_alpn: tuple[str, ...] = (),
) -> tuple[Report, Report]:
    """The reports of our client and our server."""
    one, other = contexts(version, bearer, client_alpn, server_alpn)
    return await reports(*tls_pair(one, other, name=name))


def contexts(
    version: ssl.TLSVersion,
    bearer: Credential | None = ALICE,
    client_alpn: tuple[str, ...] = (),
    server_alpn: tuple[str, ...] = (),
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Our client's and our server's, for one version."""
    one = client_context(SERVERS.trust, bearer, alpn=client_alpn)
    other = server_context(LOCALHOST, CLIENTS.trust, alpn=server_alpn)
    one.minimum_version = one.maximum_version = version
    return one, other


@both_versions
async def test_what_one_side_cannot_know_the_other_does(version: ssl.TLSVersion) -> None:
    impostor = Authority.root("clients").issue(Request.client("alice.test"))

    presenter, verifier = await meet(version, bearer=impostor)
    account = join_reports(presenter, verifier)

    assert len(presenter.causes) > 1
    assert account.causes == ("impostor-authority",)
    assert account.rejected_by == "server"
    assert account.summary.startswith("the server refused the client: its certificate names")
    assert "do not trust it" in account.remedies["server"]


@both_versions
async def test_a_success_is_reported_as_one(version: ssl.TLSVersion) -> None:
    account = join_reports(*await meet(version))

    assert (account.rejected_by, account.causes, account.forged) == (None, (), False)
    assert account.summary == "the client and the server accepted each other"


@both_versions
async def test_a_double_fault_is_in_both_reports(version: ssl.TLSVersion) -> None:
    doubly = UNTRUSTED_CA.issue(Request.client("alice.test", **EXPIRED))  # type: ignore[arg-type]

    presenter, verifier = await meet(version, bearer=doubly)

    assert {"unknown-authority", "expired"} <= {fault.slug for fault in verifier.faults}
    assert verifier.causes[0] == "unknown-authority"
    assert any(fact.fact == "also wrong" and "expired" in fact.value for fact in verifier.evidence)
    assert [fault.slug for fault in presenter.faults] == ["expired"]
    assert any("notAfter" in fact.value for fact in presenter.evidence)


@both_versions
async def test_no_common_application_protocol_is_a_refusal(version: ssl.TLSVersion) -> None:
    presenter, verifier = await meet(version, client_alpn=("a",), server_alpn=("b",))

    for report in (presenter, verifier):
        assert (report.outcome, report.rejected_by) == ("refused", "client")
        assert report.causes == ["no-common-alpn"]
    assert join_reports(presenter, verifier).causes == ("no-common-alpn",)


@both_versions
async def test_a_client_that_goes_on_without_a_protocol_is_refused_by_the_server(
    version: ssl.TLSVersion,
) -> None:
    careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    careless.minimum_version = careless.maximum_version = version
    SERVERS.trust.load_into(careless)
    ALICE.load_into(careless)
    careless.set_alpn_protocols(["a"])
    insisting = server_context(LOCALHOST, CLIENTS.trust, alpn=("b",))

    _, verifier = await reports(*tls_pair(careless, insisting))

    assert (verifier.outcome, verifier.rejected_by) == ("refused", "server")
    assert verifier.causes == ["no-common-alpn"]


@both_versions
@pytest.mark.parametrize(
    ("client_alpn", "server_alpn", "agreed"),
    [(("a", "b"), ("b",), "b"), ((), ("b",), None), ((), (), None)],
)
async def test_who_shares_a_protocol_or_offers_none_is_welcome(
    version: ssl.TLSVersion,
    client_alpn: tuple[str, ...],
    server_alpn: tuple[str, ...],
    agreed: str | None,
) -> None:
    presenter, verifier = await meet(version, client_alpn=client_alpn, server_alpn=server_alpn)

    for report in (presenter, verifier):
        assert report.outcome == "echoed"
        assert report.tls is not None
        assert report.tls.alpn == agreed


@both_versions
async def test_a_forged_alert_is_exposed(version: ssl.TLSVersion) -> None:
    """An on-path attacker answers the ClientHello with a fatal alert in the clear."""
    ours, theirs = tcp_pair()
    near, far = tcp_pair()
    client_side, server_side = contexts(version)
    one = TLSStream(TCPStream(ours), client_side, server_name="localhost")
    other = TLSStream(TCPStream(far), server_side, server_side=True)
    forger_left, forger_right = TCPStream(theirs), TCPStream(near)
    found: list[Report] = []

    async def run(stream: TLSStream) -> None:
        found.append(await converse(stream))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, one)
        nursery.start_soon(run, other)
        await forger_right.send_all(await forger_left.receive_some())
        await forger_right.receive_some()  # the server's answer, which the client never sees
        await forger_left.send_all(bytes.fromhex("15 0303 0002 02 30"))
        await forger_left.aclose()
        await forger_right.aclose()

    presenter = next(report for report in found if report.side == "client")
    alone = next(report for report in found if report.side == "server")
    account = join_reports(presenter, alone)

    assert presenter.rejected_by == "server"  # alone it cannot know better
    assert "tampered" in presenter.causes  # but that it cannot know, it does
    assert account.forged
    assert account.causes == ("tampered",)
    assert account.rejected_by is None
    assert account.summary == "the client received alert unknown_ca, which the server never sent"


@both_versions
async def test_an_alert_in_the_clear_may_be_an_attackers_unless_our_own_path_explains_it(
    version: ssl.TLSVersion,
) -> None:
    unexplained, _ = await meet(version, bearer=issued(UNTRUSTED_CA))
    explained, _ = await meet(version, bearer=CLIENTS.issue(Request.client("a.test", **EXPIRED)))  # type: ignore[arg-type]

    for report in (unexplained, explained):
        assert report.alert is not None
        assert report.alert.protected == (version == ssl.TLSVersion.TLSv1_3)
    assert len(unexplained.causes) > 1
    assert ("tampered" in unexplained.causes) == (version == ssl.TLSVersion.TLSv1_2)
    assert explained.causes == ["expired"]


async def test_reports_of_two_connections_are_not_joined() -> None:
    one, _ = await meet(ssl.TLSVersion.TLSv1_3)
    _, other = await meet(ssl.TLSVersion.TLSv1_3)

    with pytest.raises(ValueError, match="not of one connection"):
        join_reports(one, other)
    with pytest.raises(ValueError, match="do not make a pair"):
        join_reports(other, one)


async def test_reports_that_were_logged_and_read_again_are_joined_too() -> None:
    presenter, verifier = await meet(ssl.TLSVersion.TLSv1_3, bearer=None)

    read = [msgspec.json.decode(report.encode(), type=Report) for report in (presenter, verifier)]

    assert join_reports(*read).causes == ("no-client-certificate",)


async def test_a_certificate_that_was_altered_on_its_way_is_exposed() -> None:
    presenter, verifier = await meet(
        ssl.TLSVersion.TLSv1_2, bearer=UNTRUSTED_CA.issue(Request.client("a.test"))
    )
    assert verifier.peer is not None
    other = msgspec.structs.replace(verifier.peer, fingerprint="0" * 64)

    account = join_reports(presenter, msgspec.structs.replace(verifier, peer=other))

    assert account.causes == ("tampered",)
    assert account.rejected_by == "server"


# --- what only both together can see -------------------------------------------------------------


@both_versions
@pytest.mark.parametrize(
    ("cause", "dates"), [("expired", EXPIRED), ("not-yet-valid", FUTURE)], ids=["fast", "slow"]
)
async def test_dates_that_one_finds_wrong_and_the_other_right_show_a_wrong_clock(
    version: ssl.TLSVersion, cause: str, dates: dict[str, timedelta]
) -> None:
    """As by the client's clock the certificate is valid, its report has no such fault."""
    presenter, verifier = await meet(
        version,
        bearer=CLIENTS.issue(Request.client("a.test", **dates)),  # type: ignore[arg-type]
    )
    assert join_reports(presenter, verifier).causes == (cause,)

    by_another_clock = msgspec.structs.replace(
        presenter, faults=[], causes=["expired-authority", "clock-skew", "crl-expired"]
    )
    account = join_reports(by_another_clock, verifier)

    assert account.causes == ("clock-skew",)
    assert "clocks disagree" in account.summary


@both_versions
@pytest.mark.parametrize("cause", ["expired-authority", "not-yet-valid-authority"])
async def test_so_do_the_dates_of_an_authority_that_both_have_looked_at(
    version: ssl.TLSVersion, cause: str
) -> None:
    """A clock that is years off finds every certificate of a path wrong, the root's first."""
    _, bad = FLAWS[cause].pair(Authority.root(), REQUESTS["client"])
    one = client_context(SERVERS.trust, bad.credential)
    one.minimum_version = one.maximum_version = version
    presenter, verifier = await reports(*tls_pair(one, server_context(LOCALHOST, bad.trust)))
    assert presenter.issuers
    assert join_reports(presenter, verifier).causes == (cause,)

    elsewhere = Issuer(fingerprint="0" * 64, presented=False, root=True)
    for issuers, named in ((presenter.issuers, "clock-skew"), ([elsewhere], cause)):
        by_another_clock = msgspec.structs.replace(
            presenter, faults=[], causes=[cause, "clock-skew"], issuers=issuers
        )
        assert join_reports(by_another_clock, verifier).causes == (named,)


async def test_who_did_not_hear_the_verdict_has_not_looked_at_the_dates() -> None:
    presenter, verifier = await meet(
        ssl.TLSVersion.TLSv1_2,
        bearer=CLIENTS.issue(Request.client("a.test", **EXPIRED)),  # type: ignore[arg-type]
    )
    cut_off = msgspec.structs.replace(
        presenter, alert=None, rejected_by=None, causes=["reset"], faults=[], issuers=[]
    )

    assert join_reports(cut_off, verifier).causes == ("expired",)


def issued(root: Authority) -> Credential:
    return root.issue(Request.client("alice.test"))


@pytest.mark.parametrize(
    ("sent", "is_root", "anchored", "remaining"),
    [
        pytest.param(False, False, True, {"missing-intermediate"}, id="a link, and its root"),
        pytest.param(False, False, False, BOTH, id="a link, below an untrusted CA"),
        pytest.param(True, False, False, {"unknown-authority"}, id="an untrusted CA, all sent"),
        pytest.param(True, False, True, BOTH, id="what cannot be: nothing is concluded"),
    ],
)
async def test_where_the_path_leads_decides_with_what_the_verifier_trusts(
    sent: bool, is_root: bool, anchored: bool, remaining: set[str]
) -> None:
    presenter, verifier = await meet(ssl.TLSVersion.TLSv1_3, bearer=issued(UNTRUSTED_CA))
    assert set(join_reports(presenter, verifier).causes) == BOTH
    root = verifier.anchors[0] if anchored else "0" * 64
    path = [
        Issuer(fingerprint="1" * 64, presented=sent, root=is_root),
        Issuer(fingerprint=root, presented=False, root=True),
    ]

    account = join_reports(msgspec.structs.replace(presenter, issuers=path), verifier)

    assert set(account.causes) == remaining


@pytest.mark.parametrize(
    ("sent", "anchored", "remaining"),
    [(False, True, "missing-intermediate"), (True, False, "impostor-authority")],
    ids=["the real one, not sent", "another one, all sent"],
)
async def test_it_decides_which_of_two_that_are_called_the_same_has_signed(
    sent: bool, anchored: bool, remaining: str
) -> None:
    real = CLIENTS.intermediate("Issuing").certificate
    bearer = issued(CLIENTS.intermediate("Issuing"))
    mistaken = Credential(bearer.key, bearer.certificate, (real,))
    presenter, verifier = await meet(ssl.TLSVersion.TLSv1_3, bearer=mistaken)
    assert {*join_reports(presenter, verifier).causes} == {
        "missing-intermediate",
        "impostor-authority",
    }
    root = verifier.anchors[0] if anchored else "0" * 64
    path = [
        Issuer(fingerprint="1" * 64, presented=sent, root=False),
        Issuer(fingerprint=root, presented=False, root=True),
    ]

    account = join_reports(msgspec.structs.replace(presenter, issuers=path), verifier)

    assert account.causes == (remaining,)


async def test_a_path_that_ends_below_its_root_decides_nothing() -> None:
    presenter, verifier = await meet(ssl.TLSVersion.TLSv1_3, bearer=issued(UNTRUSTED_CA))
    path = [Issuer(fingerprint="1" * 64, presented=True, root=False)]

    for issuers, anchors in ((path, verifier.anchors), ([], verifier.anchors), (path, [])):
        account = join_reports(
            msgspec.structs.replace(presenter, issuers=issuers),
            msgspec.structs.replace(verifier, anchors=anchors),
        )
        assert set(account.causes) == BOTH


async def test_only_who_refused_names_its_anchors_and_only_who_was_refused_its_issuers() -> None:
    presenter, verifier = await meet(ssl.TLSVersion.TLSv1_3, bearer=issued(UNTRUSTED_CA))
    assert verifier.anchors == list(CLIENTS.trust.fingerprints)
    assert (presenter.anchors, verifier.issuers) == ([], [])

    for report in await meet(ssl.TLSVersion.TLSv1_3):
        assert (report.anchors, report.issuers) == ([], [])


async def test_an_altered_certificate_that_was_sent_so_was_not_altered_on_its_way() -> None:
    """In TLS 1.2 certificates travel in the clear, so the verifier alone cannot tell."""
    damaged = damage(issued(CLIENTS))
    presenter, verifier = await meet(ssl.TLSVersion.TLSv1_2, bearer=damaged)

    assert "tampered" in verifier.causes
    assert set(join_reports(presenter, verifier).causes) == {"bad-signature", "impostor-authority"}


async def test_a_side_that_knows_the_key_that_did_sign_makes_it_an_impostor() -> None:
    """One holds the impostor's certificate: to it the path is sound."""
    presenter, verifier = await meet(ssl.TLSVersion.TLSv1_3, bearer=damage(issued(CLIENTS)))
    path = [Issuer(fingerprint="1" * 64, presented=False, root=True)]

    account = join_reports(msgspec.structs.replace(presenter, issuers=path), verifier)

    assert account.causes == ("impostor-authority",)


def damage(credential: Credential) -> Credential:
    """The same certificate, two bits of its signature flipped: no search finds them."""
    der = bytearray(credential.chain_der[0])
    der[-5] ^= 3
    return Credential(credential.key, x509.load_der_x509_certificate(bytes(der)))


async def test_a_certificate_altered_on_its_way_is_distinguished_from_one_sent_so() -> None:
    """An on-path attacker flips bits of the server's Certificate, which TLS 1.2 does not hide."""
    ours, theirs = tcp_pair()
    near, far = tcp_pair()
    client_side, server_side = contexts(ssl.TLSVersion.TLSv1_2)
    one = TLSStream(TCPStream(ours), client_side, server_name="localhost")
    other = TLSStream(TCPStream(far), server_side, server_side=True)
    left, right = TCPStream(theirs), TCPStream(near)
    end = LOCALHOST.certificate.signature[-16:]
    bent = end[:8] + bytes([end[8] ^ 3]) + end[9:]
    found: dict[str, Report] = {}

    async def run(stream: TLSStream) -> None:
        found[stream.evidence.side] = await converse(stream)

    async def relay(source: TCPStream, target: TCPStream) -> None:
        while data := await source.receive_some():
            await target.send_all(bytes(data).replace(end, bent))
        await target.send_eof()

    async with left, right, trio.open_nursery() as nursery:
        nursery.start_soon(run, one)
        nursery.start_soon(run, other)
        nursery.start_soon(relay, left, right)
        nursery.start_soon(relay, right, left)

    presenter, verifier = found["client"], found["server"]
    assert presenter.causes[-1] == verifier.causes[-1] == "tampered"
    assert len(presenter.causes) > 1
    assert join_reports(presenter, verifier).causes == ("tampered",)
