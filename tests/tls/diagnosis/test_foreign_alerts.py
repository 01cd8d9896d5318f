"""What an alert means depends on who sent it: ranked, and certain only where it is proved."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_client.exit_status import exit_status
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.flaws.registry import FLAWS
from mtls_echo_tls.diagnosis.context_info import ContextInfo
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.sides import Side
from mtls_echo_tls.trace.shown import AlertSeen
from tests.support.authorities import CLIENTS, SERVERS

GO_OLD, GO_NEW = frozenset({"Go up to 1.20"}), frozenset({"Go since 1.21"})
JAVA, GNUTLS, OPENSSL = frozenset({"Java"}), frozenset({"GnuTLS"}), frozenset({"OpenSSL"})
UNKNOWN_STACK: frozenset[str] = frozenset()

ALICE = CLIENTS.issue(Request.client("alice.test"))
DAY = timedelta(days=1)
OLD = CLIENTS.issue(
    dataclasses.replace(Request.client("alice.test"), lifetime=-DAY, backdate=2 * DAY)
)
MISUSED = CLIENTS.issue(Request.server("alice.test"))


def refused(
    alert: int,
    credential: Credential | None = ALICE,
    stacks: frozenset[str] = UNKNOWN_STACK,
    *,
    side: Side = "client",
    protected: bool = True,
    root: bytes | None = None,
    **more: Any,
) -> Report:
    """Our report of a certificate that the peer has refused; the root is in its own file."""
    chain = credential.chain_der if credential is not None else ()
    ca = CLIENTS if side == "client" else SERVERS
    root = root or ca.certificate.public_bytes(Encoding.DER)
    evidence = Evidence(
        side,
        stage="first-read",
        failed=True,
        hello_answered=True,
        is_tls13=True,
        alert=AlertSeen(alert, sent=False, protected=protected),
        own_chain=(*chain, root) if chain else (),
        client_random="00" * 32,
        peer_stacks=stacks,
        peer_is_openssl=stacks == OPENSSL,
        certificate_requested=True,
        **more,
    )
    return diagnose(evidence)


@pytest.mark.parametrize("stacks", [UNKNOWN_STACK, GO_OLD, JAVA, GNUTLS])
@pytest.mark.parametrize(
    ("credential", "cause"), [(OLD, "expired"), (MISUSED, "wrong-usage")], ids=["old", "misused"]
)
def test_what_is_provably_wrong_comes_first(
    stacks: frozenset[str], credential: Credential, cause: str
) -> None:
    alert = {JAVA: 46, GNUTLS: 49}.get(stacks, 42)
    report = refused(alert, credential, stacks)

    assert report.causes[:2] == [cause, "unknown-authority"]
    assert report.outcome == "refused"


@pytest.mark.parametrize("stacks", [UNKNOWN_STACK, GO_OLD, JAVA])
def test_a_rule_that_few_enforce_comes_after_it_and_after_the_usual(
    stacks: frozenset[str],
) -> None:
    critical = bytes.fromhex("0603551d130101ff")
    whole = CLIENTS.certificate.public_bytes(Encoding.DER)
    root = whole.replace(critical, critical[:-1] + b"\0")
    report = refused(46 if stacks == JAVA else 42, OLD, stacks, root=root)

    assert root != whole
    assert report.causes[0] == "expired"
    assert "not-conforming" in report.causes[2:]
    assert next(each.value for each in report.evidence if each.fact == "found")[:8] == "notAfter"


@pytest.mark.parametrize("alert", [42, 46, 48])
def test_without_it_an_unknown_ca_comes_first_and_no_clock(alert: int) -> None:
    report = refused(alert)

    assert report.causes[0] == "unknown-authority"
    assert "clock" not in report.remedy
    assert "most likely our certificate was issued by “clients”, a CA that" in report.summary


def test_the_finer_go_says_unknown_ca_of_one() -> None:
    assert refused(48, stacks=GO_NEW).causes[0] == "unknown-authority"
    assert "unknown-authority" not in refused(42, stacks=GO_NEW).causes


def test_the_stack_is_among_the_facts() -> None:
    facts = {fact.fact: fact.value for fact in refused(42, stacks=GO_OLD | GO_NEW).evidence}

    assert facts["server runs"] == "Go, by its handshake messages"


@pytest.mark.parametrize("alert", [49, 80])
def test_an_alert_that_says_little_is_about_a_fault_that_can_be_seen(alert: int) -> None:
    seen, unseen = refused(alert, MISUSED), refused(alert)

    assert seen.causes[0] == "wrong-usage"
    assert len(seen.causes) > 1
    assert unseen.causes == (["not-authorised"] if alert == 49 else ["internal-error"])


@pytest.mark.parametrize(
    ("alert", "stacks"),
    [(43, UNKNOWN_STACK), (43, OPENSSL), (46, OPENSSL)],
    ids=["43", "43 of OpenSSL", "46 of OpenSSL"],
)
def test_what_was_merely_left_is_never_named_alone(alert: int, stacks: frozenset[str]) -> None:
    report = refused(alert, stacks=stacks)

    assert "wrong-usage" not in report.causes
    assert report.causes == ["internal-error"] or len(report.causes) > 1
    assert f"({alert})" in " ".join(fact.value for fact in report.evidence)


def test_an_alert_in_the_clear_may_then_be_forged() -> None:
    report = refused(46, stacks=OPENSSL, protected=False)

    assert report.causes == ["crl-missing", "internal-error", "tampered"]


def test_a_revocation_is_what_the_alert_says_in_every_stack() -> None:
    assert refused(44, stacks=OPENSSL).causes == ["revoked"]
    assert refused(44).causes[0] == "revoked"


STOLEN = FLAWS["key-not-owned"].build(CLIENTS, Request.client("alice.test")).credential


@pytest.mark.parametrize("stacks", [OPENSSL, GO_OLD, GNUTLS, UNKNOWN_STACK])
def test_a_key_that_is_not_the_certificates_is_seen_where_it_was_loaded(
    stacks: frozenset[str],
) -> None:
    def report(credential: Credential, loaded: Credential, alert: int = 51) -> Report:
        return refused(alert, credential, stacks, context_info=ContextInfo(loaded))

    found = report(STOLEN, STOLEN)
    assert found.causes == ["key-not-owned"]
    assert [(fault.slug, fault.depth) for fault in found.faults] == [("key-not-owned", 0)]
    assert "key-not-owned" not in report(ALICE, ALICE).causes
    # Another was loaded than was presented: files may change.
    assert report(ALICE, STOLEN).faults == []
    # Other alerts are about the certificate, whatever the key is.
    assert "key-not-owned" not in report(STOLEN, STOLEN, 44).causes


def test_of_an_altered_handshake_of_tls_13_no_alert_could_be_read() -> None:
    """Both directions would have other keys than the peer's; an alert in the clear has none."""
    assert "tampered" not in refused(51, ALICE, OPENSSL).causes
    assert "tampered" in refused(51, ALICE, OPENSSL, side="server", protected=False).causes
    assert "tampered" in refused(20, ALICE, OPENSSL).causes


@pytest.mark.parametrize("alert", [40, 41, 42, 46, 116])
def test_a_certificate_that_was_not_sent_is_the_cause(alert: int) -> None:
    assert refused(alert, None).causes == ["no-client-certificate"]


def test_a_version_that_was_agreed_on_is_not_what_is_missing() -> None:
    report = refused(70, protected=False)

    assert report.causes == ["tampered", "protocol-violation"]


def test_a_self_signed_certificate_has_no_ca_to_be_unknown() -> None:
    own = Authority.root("alice.test")
    report = diagnose(
        Evidence(
            "client",
            stage="handshake",
            failed=True,
            hello_answered=True,
            alert=AlertSeen(42, sent=False, protected=True),
            own_chain=(own.certificate.public_bytes(Encoding.DER),),
        )
    )

    assert report.causes[0] in ("self-signed", "wrong-usage")
    assert "unknown-authority" not in report.causes


@pytest.mark.parametrize(
    ("stacks", "names", "cause"),
    [
        (GO_OLD, ["other.test"], "wrong-name"),
        (JAVA, ["other.test"], "wrong-name"),
        (JAVA, ["localhost"], "unknown-authority"),  # of which Java sends no name
        (GO_OLD, ["other.test", "127.0.0.1"], "unknown-authority"),
        (UNKNOWN_STACK, ["other.test"], "unknown-authority"),
    ],
)
def test_an_address_was_asked_for_where_a_stack_would_have_sent_a_name(
    stacks: frozenset[str], names: list[str], cause: str
) -> None:
    alert = 46 if stacks == JAVA else 42
    report = refused(alert, SERVERS.issue(Request.server(*names)), stacks, side="server")

    assert report.causes[0] == cause


def left_in_silence(
    credential: Credential = ALICE, *, side: Side = "client", root: bool = True, **more: Any
) -> Report:
    """Our report of a peer that closed without an alert when it had our certificate."""
    issuer = (CLIENTS if side == "client" else SERVERS).certificate
    return diagnose(
        Evidence(
            side,
            stage="first-read" if side == "client" else "handshake",
            failed=True,
            hello_answered=True,
            is_tls13=True,
            transport_end="eof",
            own_chain=credential.chain_der,
            context_info=ContextInfo(trust=Trust((issuer,) if root else ())),
            client_random="00" * 32,
            certificate_requested=True,
            **more,
        )
    )


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("stacks", [UNKNOWN_STACK, OPENSSL], ids=["unknown", "node or curl"])
def test_a_silent_close_is_most_often_about_the_ca(side: Side, stacks: frozenset[str]) -> None:
    credential = ALICE if side == "client" else SERVERS.issue(Request.server("localhost"))
    openssl = stacks == OPENSSL
    report = left_in_silence(credential, side=side, peer_stacks=stacks, peer_is_openssl=openssl)

    assert (report.outcome, report.rejected_by) == ("failed", None)
    assert report.causes[0] == "unknown-authority"
    assert report.causes[-1] == "closed-without-alert"
    if side == "client":
        assert "closed the connection without an alert, perhaps because" in report.summary
    else:  # nothing was said, and a load balancer says no more
        assert "the handshake, as health checks do, or perhaps because" in report.summary
        assert report.remedy.startswith("nothing to do, if it was a load balancer's health check")
    assert report.remedy.endswith("log: it may have refused without telling")
    assert exit_status(report) == 6


@pytest.mark.parametrize(
    ("credential", "cause"), [(OLD, "expired"), (MISUSED, "wrong-usage")], ids=["old", "misused"]
)
@pytest.mark.parametrize("openssl", [True, False])
def test_what_can_be_seen_is_likelier_and_never_certain(
    credential: Credential, cause: str, openssl: bool
) -> None:
    report = left_in_silence(credential, peer_is_openssl=openssl)

    assert report.causes[:2] == [cause, "unknown-authority"]
    assert report.causes[-1] == "closed-without-alert"
    assert "closed the connection without an alert, most likely because" in report.summary
    assert "found" in {fact.fact for fact in report.evidence}


@pytest.mark.parametrize("side", ["client", "server"])
def test_of_a_clean_close_without_a_fault_nothing_is_assumed(side: Side) -> None:
    credential = ALICE if side == "client" else SERVERS.issue(Request.server("localhost"))
    report = left_in_silence(credential, side=side, close_notify=True)

    assert report.causes == ["closed-without-alert"]
