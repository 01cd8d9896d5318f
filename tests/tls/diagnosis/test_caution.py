"""A diagnosis says never more than is known, whatever it is given."""

from __future__ import annotations

import ast
import copy
import datetime
import socket
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from mtls_echo_client.context import client_context
from mtls_echo_client.exit_status import exit_status
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_tls.alerts import AlertDescription
from mtls_echo_tls.causes import CAUSES
from mtls_echo_tls.denial import denial_line
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.diagnosis.report import describe
from mtls_echo_tls.diagnosis.tables import CAUSES_BY_VERIFY_CODE
from mtls_echo_tls.path.certificates import PeerIdentity
from mtls_echo_tls.reasons import CAUSES_BY_REASON
from mtls_echo_tls.sides import Stage
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from mtls_echo_tls.trace.recorder import Recorder
from mtls_echo_tls.trace.shown import AlertSeen
from tests.support.authorities import SERVERS, UNTRUSTED_CA
from tests.support.tls import (
    ALICE,
    LOCALHOST,
    accepting,
    both_versions,
    client_side,
    openssl,
    printed,
    reports,
    server_side,
    tls_pair,
    write,
)


def _evidence(**known: Any) -> Evidence:
    usual = {"side": "client", "server_name": "localhost", "stage": "handshake", "failed": True}
    return Evidence(**{**usual, **known})


# --- never more than is known --------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", [42, 43, 44, 45, 46, 48, 40, 116], ids=lambda code: AlertDescription(code).name
)
def test_the_side_that_sent_no_certificate_when_asked_reports_just_that(code: int) -> None:
    evidence = _evidence(
        alert=AlertSeen(code, sent=False, protected=True),
        client_random="00" * 32,
        certificate_requested=True,
        hello_answered=True,
    )
    assert diagnose(evidence).causes == ["no-client-certificate"]


@pytest.mark.parametrize("code", [42, 43, 44, 45, 46, 48, 116])
def test_a_verdict_on_a_certificate_that_was_neither_asked_for_nor_sent_stays_unexplained(
    code: int,
) -> None:
    evidence = _evidence(
        alert=AlertSeen(code, sent=False, protected=True),
        client_random="00" * 32,
        hello_answered=True,
    )
    assert diagnose(evidence).causes == ["internal-error"]


def test_no_host_name_is_looked_for_in_a_clients_certificate() -> None:
    # Java answers a certificate that it does not like with bad_certificate.
    evidence = _evidence(
        alert=AlertSeen(42, sent=False, protected=True),
        client_random="00" * 32,
        certificate_requested=True,
        hello_answered=True,
        own_chain=ALICE.chain_der,
    )
    assert not {"wrong-name", "no-san"} & set(diagnose(evidence).causes)


@pytest.mark.parametrize("stage", ["handshake", "first-read", "established"])
def test_a_failure_without_any_trace_is_not_a_success(stage: Stage) -> None:
    report = diagnose(_evidence(stage=stage))
    assert (report.outcome, report.causes) == ("failed", ["internal-error"])


@pytest.mark.parametrize("stage", ["handshake", "first-read", "established"])
def test_what_we_ended_ourselves_is_neither_a_success_nor_a_refusal(stage: Stage) -> None:
    report = diagnose(_evidence(stage=stage, failed=False, abandoned=True))
    assert (report.outcome, report.rejected_by, report.causes) == ("failed", None, [])
    assert report.summary


def test_access_denied_is_a_denial() -> None:
    evidence = _evidence(alert=AlertSeen(49, sent=False, protected=True), stage="first-read")
    report = diagnose(evidence)
    assert report.outcome == "denied"
    assert exit_status(report) == 9


def test_a_damaged_record_is_known_by_our_alert_where_the_reason_is_blurred() -> None:
    evidence = _evidence(
        reason="RECORD_LAYER_FAILURE", alert=AlertSeen(20, sent=True, protected=True)
    )
    assert diagnose(evidence).causes == ["tampered"]


def test_a_diagnosis_only_reads() -> None:
    recorder = Recorder()
    recorder.record("write", 0x0304, 22, b"\x01\0\0\0")
    evidence = _evidence(failed=False, late_data=denial_line("not today"), recorder=recorder)
    before = copy.copy(evidence)

    assert diagnose(evidence).causes == ["not-authorised"]
    assert evidence == before
    assert evidence.duration is None
    evidence.fail()
    assert evidence.denied == "not today"


def test_only_the_evidence_sets_its_fields(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    fields = {each.name for each in msgspec.structs.fields(Evidence)}

    def written(path: Path) -> set[str]:
        return {
            f"{path.name}:{node.lineno}"
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store | ast.Del)
            and node.attr in fields
            and ast.unparse(node.value) not in {"self", "self._tally", "error"}
        }

    modules = {
        path
        for part in ("pki", "tls", "server", "client", "cli", "tests", "benchmarks")
        for path in (root / part).rglob("*.py")
        if "vidence" in path.read_text("utf-8")
    }
    assert len(modules) > 20
    assert {line for path in modules for line in written(path)} == set()
    (planted := tmp_path / "planted.py").write_text("stream.evidence.denied = 'no'\n")
    assert written(planted) == {"planted.py:1"}


def test_the_first_error_is_kept() -> None:
    evidence = Evidence("client")
    evidence.note_error(_ssl_error("BAD_SIGNATURE"))
    evidence.fail()
    evidence.note_error(_ssl_error("PROTOCOL_IS_SHUTDOWN"))
    assert evidence.reason == "BAD_SIGNATURE"


def _ssl_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason.lower())
    error.reason = reason
    return error


async def test_a_server_that_wants_to_negotiate_anew_is_understood() -> None:
    context = client_context(SERVERS.trust, ALICE)
    options = ["-accept", "127.0.0.1:0", "-cert", "server.pem", "-tls1_2"]
    async with openssl("s_server", *options) as (process, _):
        port = await accepting(process)
        transport = TCPStream(socket.create_connection(("127.0.0.1", port)))
        stream = TLSStream(transport, context, server_name="localhost")
        async with stream:
            await stream.do_handshake()
            await stream.send_all(b"hello\n")
            await printed(process, b"hello")
            await write(process, b"R\n")
            with pytest.raises(TLSFailure) as failure:
                await stream.receive_some()

    report = failure.value.report
    assert (report.rejected_by, report.causes) == ("server", ["renegotiation"])
    assert "negotiate anew" in report.summary


# --- hostile certificates ------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, len(LOCALHOST.chain_der[0]) - 1), st.binary(min_size=1, max_size=4))
def test_a_damaged_certificate_never_stops_a_diagnosis(at: int, noise: bytes) -> None:
    der = LOCALHOST.chain_der[0]
    damaged = der[:at] + noise + der[at + len(noise) :]
    for code in (*CAUSES_BY_VERIFY_CODE, -1):
        evidence = _evidence(verify_code=code, peer_chain=(damaged,), client_random="00" * 32)
        assert diagnose(evidence).encode()
        describe(diagnose(evidence))


@settings(deadline=None)
@given(st.integers(0, len(LOCALHOST.chain_der[0]) - 1), st.binary(min_size=1, max_size=4))
def test_a_damaged_certificate_has_an_identity_or_is_none(at: int, noise: bytes) -> None:
    der = ALICE.chain_der[0]
    damaged = der[:at] + noise + der[at + len(noise) :]
    try:
        identity = PeerIdentity.from_der(damaged)
    except ValueError:
        return
    assert str(identity)
    assert identity.names is not None


def _named(subject: str, *names: x509.GeneralName) -> Credential:
    from cryptography.hazmat.primitives.hashes import SHA256

    template = UNTRUSTED_CA.issue(Request.client("x.test"))
    builder = x509.CertificateBuilder(
        issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]),
        subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]),
        public_key=template.certificate.public_key(),
        serial_number=7,
        not_valid_before=datetime.datetime.now(datetime.UTC) - timedelta(hours=1),
        not_valid_after=datetime.datetime.now(datetime.UTC) + timedelta(hours=1),
        extensions=[
            x509.Extension(
                ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
                False,
                x509.SubjectAlternativeName(list(names)),
            )
        ],
    )
    return Credential(template.key, builder.sign(template.key, SHA256()))


@both_versions
async def test_names_that_an_attacker_chose_cannot_command_a_terminal_or_flood_a_log(
    version: ssl.TLSVersion,
) -> None:
    evil = _named(
        "\x1b[2J\u202eevil" + "x" * 20,
        *[x509.DNSName(f"\x1b]0;owned\x07{number}.test") for number in range(500)],
    )
    _one, other = await reports(*tls_pair(client_side(version, evil), server_side(version)))
    assert other.outcome == "refused"
    assert other.peer is not None
    text = "\n".join(part or "" for part in describe(other))
    for told in (text, *other.peer.names, other.peer.subject, other.peer.issuer):
        assert all(line.isprintable() for line in told.split("\n"))
    assert "\\x1b" in text
    assert len(other.peer.names) <= 16
    assert len(other.encode()) < 16_000


@given(
    st.sampled_from(["client", "server"]),
    st.sampled_from(["connect", "handshake", "first-read", "established"]),
    st.one_of(
        st.none(), st.sampled_from([*CAUSES_BY_REASON, "SSLV3_ALERT_BAD_CERTIFICATE", "NEW"])
    ),
    st.one_of(st.none(), st.integers(0, 200)),
    st.one_of(st.none(), st.tuples(st.integers(0, 255), st.booleans())),
    st.sampled_from(["open", "eof", "reset"]),
    st.binary(max_size=64),
    st.tuples(*[st.booleans()] * 6),
    st.sampled_from([(), LOCALHOST.chain_der, ALICE.chain_der, (b"",), (b"junk",)]),
    st.sampled_from([None, "localhost", "", "\x1b[2J", "::1"]),
)
def test_any_evidence_is_diagnosed(
    side: str,
    stage: str,
    reason: str | None,
    verify_code: int | None,
    alert: tuple[int, bool] | None,
    transport_end: str,
    first_bytes: bytes,
    flags: tuple[bool, ...],
    chain: tuple[bytes, ...],
    server_name: str | None,
) -> None:
    names = ("failed", "timed_out", "abandoned", "close_notify", "hello_answered",
             "certificate_requested")  # fmt: skip
    evidence = _evidence(
        **dict(zip(names, flags, strict=True)),
        side=side,
        stage=stage,
        reason=reason,
        verify_code=verify_code,
        alert=alert and AlertSeen(alert[0], sent=alert[1], protected=None),
        transport_end=transport_end,
        first_bytes=first_bytes,
        peer_chain=chain,
        own_chain=chain,
        server_name=server_name,
    )
    before = copy.copy(evidence)
    report = diagnose(evidence)
    assert evidence == before
    assert report.encode()
    assert report.summary
    assert set(report.causes) <= set(CAUSES)
    assert (report.outcome == "echoed") == (exit_status(report) == 0)
    if report.outcome == "echoed":
        assert stage == "established"
        assert not evidence.failed
        assert not report.causes
    message, _ = describe(report)
    assert all(line.isprintable() for line in message.split("\n"))
    assert str(TLSFailure(evidence))
