"""The chain that a server sent, judged certificate by certificate."""

from __future__ import annotations

from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_tls.diagnosis.context_info import ContextInfo
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagrams.chain import sent_chain
from tests.support.authorities import SERVERS, UNTRUSTED_CA

LOWER = SERVERS.intermediate("Lower")
LEAF, *_ = LOWER.issue(Request.server("api.test", "a.test", "b.test", "c.test")).path
CAS = {"lower": LOWER.certificate, "root": SERVERS.certificate, "leaf": LEAF}


def drawn(
    *chain: str | bytes | x509.Certificate,
    trust: Trust = SERVERS.trust,
    name: str = "api.test",
) -> list[str]:
    info = ContextInfo(None, trust)
    read = [CAS[it] if isinstance(it, str) else it for it in chain]
    sent = tuple(it if isinstance(it, bytes) else it.public_bytes(Encoding.DER) for it in read)
    evidence = Evidence("client", name, context_info=info, peer_chain=sent)
    return sent_chain(evidence)


def test_a_whole_chain_has_no_remarks() -> None:
    first, leaf, ca, end = drawn("leaf", "lower")

    assert first == "the server sent 2 certificates:"
    assert leaf.startswith(
        "  0  api.test, a.test, b.test and 1 more, issued by “Lower”; expires in"
    )
    assert ca.startswith("  1  “Lower”, issued by “servers”; expires in ")
    assert end == "  ends at our trust anchor “servers”"


def test_a_root_is_sent_needlessly() -> None:
    lines = drawn("leaf", "lower", "root")

    assert lines[4] == "     - a root, sent needlessly: a verifier has it, or does not trust it"
    assert lines[-1] == "  ends at our trust anchor “servers”"


def test_a_missing_link_is_named() -> None:
    assert drawn("leaf")[-1] == (
        "  missing: “Lower”, the issuer of the last of them: neither sent nor trusted here"
    )
    # It verifies here, where that CA is an anchor, and at no other client.
    assert drawn("leaf", trust=Trust((LOWER.certificate,)))[-2:] == [
        "  missing: “Lower”, which is known here; others refuse the server without it",
        "  ends at our trust anchor “Lower”",
    ]


def test_what_follows_in_another_order_is_said() -> None:
    lines = drawn("leaf", "root", "lower")

    assert lines[2] == (
        "     - its issuer does not follow: out of order (RFC 5246 §7.4.2, RFC 8446 §4.4.2)"
    )
    assert lines[-1] == "  ends at our trust anchor “servers”"


def test_what_leads_nowhere_and_what_is_repeated_is_said() -> None:
    stray = UNTRUSTED_CA.intermediate("Stray").certificate

    lines = drawn("leaf", "lower", "lower", stray)

    assert "     - sent a second time" in lines
    assert "     - leads nowhere: it has issued nothing that was sent" in lines


def test_a_chain_to_another_root_ends_there() -> None:
    lines = drawn("leaf", "lower", "root", trust=UNTRUSTED_CA.trust)

    assert lines[-1] == "  ends at “servers”, not a trust anchor of ours"


def test_faults_stand_below_the_certificate_that_has_them() -> None:
    expired = Request.server("api.test", lifetime=timedelta(days=-1), backdate=timedelta(days=9))
    leaf = SERVERS.issue(expired).certificate

    lines = drawn(leaf, name="other.test")

    assert "expired 1 day ago" in lines[1]
    assert [line.rpartition(" ")[2] for line in lines[2:4]] == ["(wrong-name)", "(expired)"]


def test_what_cannot_be_read_and_what_is_endless_is_bounded() -> None:
    assert drawn() == ["the server sent no certificate"]
    assert drawn(b"garbage")[1] == "  0  cannot be read"
    assert len(drawn("leaf", *["lower"] * 90)) < 20
    assert "  and 85 more" in drawn("leaf", *["lower"] * 90)


def test_what_a_name_says_is_printable() -> None:
    nasty = Authority.root("\x1b[2J\u202e").issue(Request.server("api.test"))

    assert all(line.isprintable() for line in drawn(nasty.certificate))
