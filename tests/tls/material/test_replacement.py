"""What may take the place of what is in use, and what may not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_tls.material.load import Files, Material
from mtls_echo_tls.material.replacement import changed_parts, reason_to_keep

NOW = datetime.now(UTC)
SERVERS, CLIENTS = Authority.root("servers"), Authority.root("clients")
OTHERS = Authority.root("others")
GOOD, RENEWED = (SERVERS.issue(Request.server("localhost")) for _ in range(2))
EXPIRED = SERVERS.issue(
    Request.server("localhost", lifetime=timedelta(days=-1), backdate=timedelta(days=2))
)
FUTURE = SERVERS.issue(
    Request.server("localhost", lifetime=timedelta(days=3), backdate=timedelta(days=-1))
)
OLD_LIST, NEWER_LIST = CLIENTS.crl(), CLIENTS.crl()
FILES = Files(Path("tls.crt"), Path("tls.key"), Path("ca.crt"), Path("crl.pem"))


def lapsed() -> Trust:
    then = NOW - timedelta(days=20)
    return Authority.root("gone", lifetime=timedelta(days=10), clock=lambda: then).trust


def listed(authority: Authority, *, days: int = 0, lifetime: int = 7) -> Trust:
    """An authority's trust with a list, issued so many days from now."""
    again = Authority(
        authority.certificate, authority.key, clock=lambda: NOW + timedelta(days=days)
    )
    return Trust(authority.trust.anchors, (again.crl(timedelta(days=lifetime)),))


def material(credential: Credential = GOOD, trust: Trust | None = None) -> Material:
    return Material(credential, trust or CLIENTS.trust, "here", side="server", files=FILES)


WITH_LIST = material(trust=Trust(CLIENTS.trust.anchors, (NEWER_LIST,)))


@pytest.mark.parametrize(
    ("present", "successor", "file", "reason"),
    [
        pytest.param(material(), material(EXPIRED), "tls.crt", "expired on", id="expired"),
        pytest.param(
            material(),
            material(FUTURE),
            "tls.crt",
            "not valid before",
            id="not yet valid",
        ),
        pytest.param(
            material(),
            material(SERVERS.issue(Request.client("a.test"))),
            "tls.crt",
            "does not include serverAuth",
            id="usage",
        ),
        pytest.param(
            material(), material(trust=lapsed()), "ca.crt", "no trust anchor", id="anchor"
        ),
        pytest.param(
            WITH_LIST,
            material(trust=CLIENTS.trust),
            "crl.pem",
            "no CRL any more",
            id="no list",
        ),
        pytest.param(
            WITH_LIST,
            material(trust=Trust(CLIENTS.trust.anchors, listed(OTHERS).crls)),
            "crl.pem",
            "CRL of “clients”, a trust anchor, is missing",
            id="another's list",
        ),
        pytest.param(
            WITH_LIST,
            material(trust=listed(CLIENTS, days=-1)),
            "crl.pem",
            "older than",
            id="older list",
        ),
        pytest.param(
            WITH_LIST,
            material(trust=Trust(CLIENTS.trust.anchors, (OLD_LIST,))),
            "crl.pem",
            "older than",
            id="older by a second",
        ),
        pytest.param(
            WITH_LIST,
            material(trust=listed(CLIENTS, days=2)),
            "crl.pem",
            "not valid before",
            id="future list",
        ),
    ],
)
def test_what_was_right_may_not_become_wrong(
    present: Material, successor: Material, file: str, reason: str
) -> None:
    found = reason_to_keep(present, successor, NOW)

    assert found is not None
    assert found.path == Path(file)
    assert reason in found.reason
    assert "restart" in str(found.hint)


def test_an_expired_list_is_not_a_successor_of_a_valid_one_though_it_is_newer() -> None:
    hour = timedelta(hours=1)
    short = listed(CLIENTS, lifetime=1)
    later = NOW + timedelta(days=1) + hour
    valid = Trust(CLIENTS.trust.anchors, listed(CLIENTS, days=-1, lifetime=7).crls)

    found = reason_to_keep(material(trust=valid), material(trust=short), later)

    assert found is not None
    assert "the CRL of “clients” expired" in found.reason
    # Beside a valid one it does no harm: OpenSSL takes that.
    both = Trust(CLIENTS.trust.anchors, (*short.crls, *valid.crls))
    assert reason_to_keep(material(trust=valid), material(trust=both), later) is None


@pytest.mark.parametrize(
    ("present", "successor"),
    [
        pytest.param(material(), material(RENEWED), id="renewed"),
        pytest.param(material(), material(trust=OTHERS.trust), id="another authority"),
        pytest.param(material(), material(trust=lapsed() | OTHERS.trust), id="one anchor lapsed"),
        pytest.param(material(EXPIRED), material(EXPIRED), id="still expired"),
        pytest.param(
            material(SERVERS.issue(Request.client("a.test"))),
            material(SERVERS.issue(Request.client("a.test"))),
            id="still unfit",
        ),
        pytest.param(material(), material(trust=listed(CLIENTS)), id="a first list"),
        pytest.param(
            material(trust=listed(CLIENTS, days=-1)), material(trust=listed(CLIENTS)), id="newer"
        ),
        pytest.param(
            material(trust=listed(CLIENTS, days=-9)),
            material(trust=listed(CLIENTS, days=-8, lifetime=1)),
            id="list still expired",
        ),
        pytest.param(
            material(trust=listed(CLIENTS, days=3)),
            material(trust=listed(CLIENTS)),
            id="a list from the future corrected",
        ),
        pytest.param(
            material(trust=listed(CLIENTS) | listed(OTHERS)),
            material(trust=listed(OTHERS)),
            id="an authority retired with its list",
        ),
        pytest.param(
            material(trust=listed(CLIENTS)),
            material(trust=listed(Authority.root("clients"), days=-1)),
            id="an authority replaced by one of the same name",
        ),
    ],
)
def test_whatever_is_no_worse_may_follow(present: Material, successor: Material) -> None:
    assert reason_to_keep(present, successor, NOW) is None


def test_an_authority_that_expired_in_our_chain_is_a_fault_of_its_own() -> None:
    below_expired = material(Credential(GOOD.key, GOOD.certificate, lapsed().anchors))
    found = reason_to_keep(material(), below_expired, NOW)

    assert found is not None
    assert "the certificate of “gone” expired on" in found.reason
    # Who has put up with that has not thereby put up with everything.
    assert reason_to_keep(below_expired, material(EXPIRED), NOW) is not None


def test_a_certificate_without_a_subject_is_called_by_what_it_names() -> None:
    found = reason_to_keep(material(), material(EXPIRED), NOW)

    assert found is not None
    assert "the certificate of “localhost” expired on" in found.reason


def test_what_is_new_is_described_in_words() -> None:
    renewed = SERVERS.issue(Request.server("localhost"))
    both = Trust(CLIENTS.trust.anchors, (OLD_LIST,))

    assert changed_parts(material(), material()) == ()
    assert changed_parts(material(), material(renewed)) == ("certificate", "key")
    assert changed_parts(material(), material(trust=OTHERS.trust)) == ("trust",)
    assert changed_parts(material(), material(trust=both)) == ("revocation lists",)
    assert changed_parts(material(trust=both), material(renewed, OTHERS.trust)) == (
        *("certificate", "key"),
        *("trust", "revocation lists"),
    )
