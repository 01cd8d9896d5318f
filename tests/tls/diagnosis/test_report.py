"""The report: one JSON object, a message for a person, and an exit status."""

from __future__ import annotations

import json
import ssl
from typing import Any

import pytest

from mtls_echo_client.exit_status import exit_status
from mtls_echo_tls.diagnosis.diagnose import _diagnose, diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.diagnosis.report import Report, describe
from mtls_echo_tls.trace.shown import AlertSeen
from tests.support.tls import (
    V13,
    both_versions,
    client_side,
    connected,
    reports,
    server_side,
    tls_pair,
)

FIELDS = {
    "side", "outcome", "rejected_by", "stage", "causes", "alert", "verify_code", "evidence",
    "remedy", "rfc", "summary", "tls", "requested", "peer", "own", "client_random", "duration_ms",
}  # fmt: skip


async def test_a_report_is_one_line_of_json_with_the_agreed_fields() -> None:
    one, other = await reports(*tls_pair(client_side(V13, None), server_side(V13)))
    for report in (one, other):
        encoded = report.encode()
        assert b"\n" not in encoded
        value = json.loads(encoded)
        assert set(value) >= FIELDS
        assert set(value["alert"]) == {"name", "code", "direction", "protected"}
        for fact in value["evidence"]:
            assert set(fact) == {"fact", "value"}
    client, server = json.loads(one.encode()), json.loads(other.encode())
    assert set(client["peer"]) == {
        "subject", "issuer", "names", "serial", "fingerprint", "not_before", "not_after",
    }  # fmt: skip
    assert client["peer"] == server["own"]
    assert client["peer"]["not_after"].endswith("Z")
    assert set(client["tls"]) == {
        "version", "cipher", "group", "signature", "alpn", "server_name", "resumed",
    }  # fmt: skip


async def test_a_description_says_first_who_refused_whom_and_why() -> None:
    one, other = await reports(*tls_pair(client_side(V13, None), server_side(V13)))
    message, hint = describe(one)
    first, *rest = message.split("\n")
    assert first == "the server refused us: we presented no certificate, and one is required"
    assert any(line.startswith("received:") and "(116)" in line for line in rest)
    assert hint == one.remedy
    assert describe(other)[0].startswith("we refused the client: it presented no certificate")


def _report(**known: Any) -> Report:
    return diagnose(
        Evidence("client", "localhost", **{"stage": "handshake", "failed": True, **known})
    )


@pytest.mark.parametrize(
    ("known", "status"),
    [
        pytest.param({"stage": "established", "failed": False}, 0, id="echoed"),
        pytest.param({"stage": "connect", "connect_error": "refused"}, 3, id="no connection"),
        pytest.param({"stage": "connect", "timed_out": True}, 7, id="no connection in time"),
        pytest.param({"verify_code": 20}, 4, id="we refused"),
        pytest.param({"alert": AlertSeen(48, False, True)}, 5, id="they refused"),
        pytest.param({"transport_end": "eof"}, 6, id="closed"),
        pytest.param({"transport_end": "reset"}, 6, id="reset"),
        pytest.param({"stage": "established", "transport_end": "eof"}, 6, id="truncated"),
        pytest.param({"stage": "established", "mismatched_echo": "x"}, 6, id="altered echo"),
        pytest.param({"timed_out": True}, 7, id="timeout"),
        pytest.param({"first_bytes": b"HTTP/1.1 400"}, 8, id="not TLS"),
        pytest.param({"alert": AlertSeen(70, False, False)}, 8, id="no common version"),
        pytest.param({"denied": "not listed"}, 9, id="denied"),
    ],
)
def test_each_end_has_its_exit_status(known: dict[str, Any], status: int) -> None:
    assert exit_status(_report(**known)) == status


def test_a_failure_describes_itself_in_one_line() -> None:
    texts = {
        str(TLSFailure(Evidence("client", stage="handshake", **known)))
        for known in (
            {"alert": AlertSeen(48, sent=False, protected=True)},
            {"timed_out": True},
            {"transport_end": "eof"},
            {"reason": "BAD_SIGNATURE"},
        )
    }
    assert len(texts) == 4
    assert "received alert unknown_ca (48) during handshake" in texts


@both_versions
async def test_a_success_is_reported_at_once_as_if_it_were_diagnosed(
    version: ssl.TLSVersion,
) -> None:
    async with connected(version) as (client, server):
        for sender, receiver in ((client, server), (server, client)):
            await sender.send_all(b"hello")
            assert await receiver.receive_some() == b"hello"
    for stream in (client, server):
        assert stream.evidence.is_success
        assert diagnose(stream.evidence) == _diagnose(stream.evidence)


ALERT = AlertSeen(40, sent=True, protected=True)


@pytest.mark.parametrize(
    "difference",
    [
        {"stage": "first-read"}, {"version": None}, {"failed": True}, {"abandoned": True},
        {"timed_out": True}, {"unused": True}, {"alert": ALERT}, {"reason": "BAD_LENGTH"},
        {"verify_code": 0}, {"denied": "no"}, {"late_data": b"x"}, {"no_common_alpn": True},
        {"mismatched_echo": "all"}, {"closed_early": "soon"}, {"transport_end": "eof"},
        {"transport_end": "reset"},
    ],
    ids=str,
)  # fmt: skip
def test_everything_but_a_plain_success_is_diagnosed(difference: dict[str, Any]) -> None:
    known: dict[str, Any] = {"stage": "established", "version": "TLSv1.3"}
    assert Evidence("server", **known).is_success
    assert not Evidence("server", **{**known, **difference}).is_success


def test_a_recording_that_was_asked_for_is_in_the_report_of_a_success() -> None:
    evidence = Evidence("server", stage="established", version="TLSv1.3")
    evidence.recorder.requested = True
    assert diagnose(evidence).trace == []
