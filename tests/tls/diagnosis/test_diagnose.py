"""Every cause, made by a real connection and told by both ends."""

from __future__ import annotations

import socket
import ssl
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID

from mtls_echo_client.context import client_context
from mtls_echo_client.exit_status import exit_status
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.flaws.baseline import with_extension
from mtls_echo_server.context import server_context
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from tests.support.authorities import CLIENTS, SERVERS, UNTRUSTED_CA
from tests.support.tls import (
    ALICE,
    LOCALHOST,
    V12,
    V13,
    accepting,
    against_raw,
    both_versions,
    client_side,
    connected,
    converse,
    openssl,
    printed,
    reports,
    reset,
    server_side,
    tcp_pair,
    tls_pair,
)


def _dated(request: Request, days_from: int, days_to: int) -> Request:
    return replace(request, backdate=timedelta(days=-days_from), lifetime=timedelta(days=days_to))


def _self_signed(template: Credential) -> Credential:
    from cryptography.hazmat.primitives.hashes import SHA256

    certificate, key = template.certificate, template.key
    builder = x509.CertificateBuilder(
        issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "myself")]),
        subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "myself")]),
        public_key=certificate.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=certificate.not_valid_before_utc,
        not_valid_after=certificate.not_valid_after_utc,
        extensions=[
            extension
            for extension in certificate.extensions
            if extension.oid != ExtensionOID.AUTHORITY_KEY_IDENTIFIER
        ],
    )
    return Credential(key, builder.sign(key, SHA256()))


ALICE_REQUEST, LOCAL_REQUEST = Request.client("alice.test"), Request.server("localhost")

# What the client brings, what the verifier then says, and what the refused may still suppose.
CLIENT_FAULTS = [
    pytest.param(CLIENTS.issue(_dated(ALICE_REQUEST, -3, -1)), ["expired"], ["expired"],
                 id="expired"),
    pytest.param(CLIENTS.issue(_dated(ALICE_REQUEST, 1, 3)), ["not-yet-valid"], ["not-yet-valid"],
                 id="not yet valid"),
    pytest.param(CLIENTS.issue(Request.server("alice.test")), ["wrong-usage"], ["wrong-usage"],
                 id="wrong usage"),
    pytest.param(_self_signed(ALICE), ["self-signed"], ["self-signed"], id="self-signed"),
    pytest.param(UNTRUSTED_CA.issue(ALICE_REQUEST), ["unknown-authority", "missing-intermediate"],
                 None, id="unknown authority"),
    pytest.param(None, ["no-client-certificate"], ["no-client-certificate"], id="none"),
]  # fmt: skip

SERVER_FAULTS = [
    pytest.param(SERVERS.issue(_dated(LOCAL_REQUEST, -3, -1)), ["expired"], ["expired"],
                 id="expired"),
    pytest.param(SERVERS.issue(_dated(LOCAL_REQUEST, 1, 3)), ["not-yet-valid"], ["not-yet-valid"],
                 id="not yet valid"),
    pytest.param(SERVERS.issue(Request.client("localhost")), ["wrong-usage"], ["wrong-usage"],
                 id="wrong usage"),
    pytest.param(_self_signed(LOCALHOST), ["self-signed"], ["self-signed"], id="self-signed"),
    pytest.param(UNTRUSTED_CA.issue(LOCAL_REQUEST), ["unknown-authority", "missing-intermediate"],
                 None, id="unknown authority"),
    pytest.param(SERVERS.issue(Request.server("other.test")), ["wrong-name"], ["wrong-name"],
                 id="wrong name"),
    pytest.param(SERVERS.issue(Request.server("spiffe://a/b")), ["no-san"], ["no-san"],
                 id="no host"),
]  # fmt: skip


def _check(
    verifier: Report, refused: Report, causes: list[str], supposed: list[str] | None
) -> None:
    assert verifier.rejected_by == refused.rejected_by == verifier.side
    assert verifier.outcome == refused.outcome == "refused"
    assert verifier.causes == causes
    if supposed is None:
        assert verifier.causes[0] == refused.causes[0]
        assert len(refused.causes) > 1
    else:
        assert refused.causes == supposed
    assert verifier.alert is not None
    assert refused.alert is not None
    assert (verifier.alert.direction, refused.alert.direction) == ("sent", "received")
    assert verifier.alert.code == refused.alert.code
    assert verifier.alert.protected == refused.alert.protected
    assert verifier.client_random == refused.client_random is not None
    for report in (verifier, refused):
        assert report.remedy
        assert report.rfc.startswith("RFC ")
        assert report.evidence
        assert report.duration_ms > 0


@both_versions
@pytest.mark.parametrize(("credential", "causes", "supposed"), CLIENT_FAULTS)
async def test_a_refused_client_is_explained_from_both_ends(
    version: ssl.TLSVersion,
    credential: Credential | None,
    causes: list[str],
    supposed: list[str] | None,
) -> None:
    told_client, told_server = await reports(
        *tls_pair(client_side(version, credential), server_side(version))
    )
    _check(told_server, told_client, causes, supposed)
    assert exit_status(told_client) == 5
    assert told_client.stage == ("first-read" if version == V13 else "handshake")
    assert told_server.stage == "handshake"
    if credential is None:
        assert told_server.peer is None
        assert told_client.own is None
    else:
        fingerprint = credential.fingerprint
        assert told_server.peer is not None
        assert told_client.own is not None
        assert told_server.peer.fingerprint == told_client.own.fingerprint == fingerprint


@both_versions
@pytest.mark.parametrize(("credential", "causes", "supposed"), SERVER_FAULTS)
async def test_a_refused_server_is_explained_from_both_ends(
    version: ssl.TLSVersion,
    credential: Credential,
    causes: list[str],
    supposed: list[str] | None,
) -> None:
    told_client, told_server = await reports(
        *tls_pair(client_side(version), server_side(version, credential))
    )
    _check(told_client, told_server, causes, supposed)
    assert exit_status(told_client) == 4
    assert told_client.stage == told_server.stage == "handshake"
    assert told_client.peer is not None
    assert told_server.own is not None
    assert told_client.peer.fingerprint == told_server.own.fingerprint == credential.fingerprint


@pytest.mark.parametrize(
    ("name", "credential", "cause"),
    [
        pytest.param("localhost.", LOCALHOST, "wrong-name", id="trailing dot"),
        pytest.param("127.0.0.1", LOCALHOST, "wrong-name", id="an address the names lack"),
        pytest.param(
            "a.b.test", SERVERS.issue(Request.server("*.test.test")), "wrong-name", id="wildcard"
        ),
    ],
)
async def test_a_name_that_differs_is_a_wrong_name_and_nothing_else(
    name: str, credential: Credential, cause: str
) -> None:
    one, _other = await reports(
        *tls_pair(client_side(V13), server_side(V13, credential), name=name)
    )
    assert one.causes == [cause]
    assert any(name in fact.value for fact in one.evidence)


@pytest.mark.parametrize(
    ("ours", "causes"),
    [
        pytest.param((-3, -1), ["expired", "clock-skew"], id="expired too"),
        pytest.param((1, 3), ["expired"], id="not valid yet"),
        pytest.param((-1, 3), ["expired"], id="valid"),
    ],
)
async def test_whose_own_certificate_has_expired_too_may_have_a_fast_clock(
    ours: tuple[int, int], causes: list[str]
) -> None:
    bearer = CLIENTS.issue(_dated(ALICE_REQUEST, *ours))
    theirs = SERVERS.issue(_dated(LOCAL_REQUEST, -3, -1))

    verifier, _ = await reports(
        *tls_pair(client_context(SERVERS.trust, bearer), server_context(theirs, CLIENTS.trust))
    )

    assert verifier.causes == causes
    assert ("our own" in {fact.fact for fact in verifier.evidence}) == (len(causes) > 1)


async def test_without_a_common_version_both_sides_say_so() -> None:
    one, other = await reports(*tls_pair(client_side(V12), server_side(V13)))
    assert other.causes == ["no-common-version"]
    assert other.rejected_by == one.rejected_by == "server"
    assert one.causes == ["no-common-version"]
    assert exit_status(one) == 8
    assert one.client_random == other.client_random is not None
    assert one.remedy
    assert other.remedy


async def test_a_client_of_tls_13_cannot_tell_a_version_from_a_missing_certificate() -> None:
    one, other = await reports(*tls_pair(client_side(V13), server_side(V12)))
    assert other.causes == ["no-common-version"]
    assert one.causes[:2] == ["no-common-version", "no-server-certificate"]
    # Nor from one that TLS 1.3 cannot use, nor from an alert that was written on the way.
    assert one.causes[2:] == ["no-common-signature-algorithm", "tampered"]


@pytest.mark.parametrize(
    ("minimum", "maximum", "named"), [(V12, V12, True), (V13, V13, True), (V12, V13, False)]
)
async def test_a_handshake_failure_may_be_about_the_one_version_that_was_offered(
    minimum: ssl.TLSVersion, maximum: ssl.TLSVersion, named: bool
) -> None:
    """GnuTLS says so, and a server without TLS 1.3, which knows none of its cipher suites."""
    near, raw = tcp_pair()
    context = client_side()
    context.minimum_version, context.maximum_version = minimum, maximum

    async def peer(connection: trio.SocketStream) -> None:
        await connection.receive_some(65536)
        await connection.send_all(b"\x15\x03\x03\x00\x02\x02\x28")
        await connection.aclose()

    stream = TLSStream(TCPStream(near), context, server_name="localhost")
    report = await against_raw(stream, raw, peer)

    assert report.causes[0] == "no-common-cipher"
    assert (report.causes[1] == "no-common-version") is named


async def test_without_a_common_cipher_both_sides_say_so() -> None:
    theirs, ours = client_side(V12), server_side(V12)
    theirs.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    ours.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    one, other = await reports(*tls_pair(theirs, ours))
    assert one.causes[0] == other.causes[0] == "no-common-cipher"
    assert exit_status(one) == 8


@both_versions
async def test_an_accepted_connection_is_reported_by_both_sides(version: ssl.TLSVersion) -> None:
    one, other = await reports(*tls_pair(client_side(version), server_side(version)))
    for report in (one, other):
        assert (report.outcome, report.causes, report.rejected_by) == ("echoed", [], None)
        assert report.alert is None
        assert report.tls is not None
        assert report.tls.server_name == "localhost"
        assert report.tls.resumed is False
        assert report.peer is not None
        assert report.own is not None
    assert one.client_random == other.client_random
    assert exit_status(one) == 0


@both_versions
async def test_a_peer_that_says_nothing_is_a_timeout(
    version: ssl.TLSVersion, patient_clock: trio.testing.MockClock
) -> None:
    for server_is_ours in (True, False):
        ours, silent = tcp_pair()
        stream = (
            TLSStream(TCPStream(ours), server_side(version), server_side=True)
            if server_is_ours
            else TLSStream(TCPStream(ours), client_side(version), server_name="localhost")
        )
        with trio.move_on_after(0.02):
            await stream.do_handshake()
        report = stream.expire().report
        assert (report.outcome, report.causes) == ("failed", ["timeout"])
        assert exit_status(report) == 7
        assert report.remedy
        await stream.aclose()
        silent.close()


# Why a client may have left that has seen a sound certificate.
GUESSED = [
    *("unknown-authority", "missing-intermediate", "impostor-authority"),
    *("wrong-usage", "revoked", "crl-missing"),
]


@pytest.mark.parametrize(
    ("ours", "how", "causes"),
    [
        ("client", "eof", ["closed-without-alert"]),
        ("client", "reset", ["reset"]),
        # That client has seen a certificate, of a CA that it may not have.
        ("server", "eof", [*GUESSED, "closed-without-alert"]),
        ("server", "reset", [*GUESSED, "reset"]),
    ],
)
async def test_a_peer_that_leaves_in_the_handshake_gives_no_reason(
    ours: str, how: str, causes: list[str]
) -> None:
    near, raw = tcp_pair()
    stream = (
        TLSStream(TCPStream(near), server_side(), server_side=True)
        if ours == "server"
        else TLSStream(TCPStream(near), client_side(), server_name="localhost")
    )

    async def peer(connection: trio.SocketStream) -> None:
        if ours == "server":
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            hello = client_side().wrap_bio(incoming, outgoing, server_hostname="localhost")
            with pytest.raises(ssl.SSLWantReadError):
                hello.do_handshake()
            await connection.send_all(outgoing.read())
        await connection.receive_some(65536)
        if how == "reset":
            reset(connection.socket)
        else:
            await connection.send_eof()
            while await connection.receive_some():
                pass
        await connection.aclose()

    report = await against_raw(stream, raw, peer)
    assert (report.outcome, report.rejected_by) == ("failed", None)
    assert report.causes == causes
    assert exit_status(report) == 6
    assert report.remedy
    assert report.client_random is not None


async def test_an_identity_that_is_not_authorised_is_denied_on_both_sides() -> None:
    async with connected(V13) as (one, other):
        for evidence in (one.evidence, other.evidence):
            evidence.deny('"alice.test" is not among the clients that are authorised')
        for report in (diagnose(one.evidence), diagnose(other.evidence)):
            assert (report.outcome, report.rejected_by) == ("denied", "server")
            assert report.causes == ["not-authorised"]
            assert report.remedy
        assert exit_status(diagnose(one.evidence)) == 9


@both_versions
async def test_a_verifier_may_permit_fewer_cas_than_they_do(
    version: ssl.TLSVersion, tmp_path: Path
) -> None:
    """As nginx does with ssl_verify_depth, which is 1 unless said otherwise."""
    (tmp_path / "clients.pem").write_bytes(CLIENTS.trust.pem)
    anchors = str(tmp_path / "clients.pem")
    options = ["-accept", "127.0.0.1:0", "-cert", "server.pem", "-CAfile", anchors, "-Verify", "0"]
    options += ["-verify_depth", "0", "-verify_return_error"]
    bearer = CLIENTS.intermediate().issue(ALICE_REQUEST)
    async with openssl("s_server", *options) as (process, _):
        port = await accepting(process)
        sock = socket.create_connection(("127.0.0.1", port))
        stream = TLSStream(TCPStream(sock), client_side(version, bearer), server_name="localhost")
        report = await converse(stream)
        await printed(process, b"num=22:certificate chain too long")

    assert report.rejected_by == "server"
    assert "path-too-long" in report.causes


@both_versions
async def test_a_list_by_an_authority_that_may_not_sign_lists_does_not_count(
    version: ssl.TLSVersion,
) -> None:
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    made = with_extension(TBSCertificate.of(CLIENTS.certificate), usage)
    root = replace(CLIENTS, certificate=CLIENTS.certify(made))
    trust = Trust((root.certificate,), (root.crl(),))

    one = client_context(SERVERS.trust, root.issue(ALICE_REQUEST))
    one.minimum_version = one.maximum_version = version
    presenter, verifier = await reports(*tls_pair(one, server_context(LOCALHOST, trust)))

    assert (verifier.causes, verifier.verify_code) == (["not-conforming"], 35)
    assert any("may not sign CRLs" in fact.value for fact in verifier.evidence)
    assert "not-conforming" in presenter.causes
