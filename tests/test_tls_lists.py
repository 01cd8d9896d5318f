"""Which revocation list is believed, and which certificate has none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mtls_echo_pki import Authority, client
from mtls_echo_tls.lists import age, believed, speaker, speaks_for, uncovered

NOW = datetime.now(UTC)
ROOT = Authority.root("clients")
ISSUING = ROOT.intermediate("issuing")
ALICE = ISSUING.issue(client("alice.test"))
PATH = (ALICE.certificate, ISSUING.certificate, ROOT.certificate)
OLD = Authority(ROOT.certificate, ROOT.key, clock=lambda: NOW - timedelta(days=9)).crl()
FIRST, SECOND = ROOT.crl(), ROOT.crl()
OF_ISSUING = ISSUING.crl()


def test_of_several_lists_the_newest_valid_one_is_believed() -> None:
    coming = Authority(ROOT.certificate, ROOT.key, clock=lambda: NOW + timedelta(days=9)).crl()

    assert age(OLD) < age(FIRST) < age(SECOND) < age(coming)
    found = believed((SECOND, coming, OLD, OF_ISSUING, FIRST), NOW)
    assert {speaker(crl): crl for crl in found} == {
        speaker(crl): crl for crl in (SECOND, OF_ISSUING)
    }
    assert believed((OLD, coming), NOW) == ()


def test_a_list_speaks_for_its_authority_and_not_for_one_called_the_same() -> None:
    namesake = Authority.root("clients")

    assert speaks_for(speaker(FIRST), ROOT.certificate)
    assert not speaks_for(speaker(FIRST), ISSUING.certificate)
    assert not speaks_for(speaker(FIRST), namesake.certificate)
    assert len(believed((FIRST, namesake.crl()), NOW)) == 2


def test_every_certificate_of_a_path_needs_a_valid_list_of_its_issuer() -> None:
    def found(*crls: object) -> list[tuple[str, int]]:
        return [(fault.slug, fault.depth) for fault in uncovered(PATH, crls, NOW)]  # type: ignore[arg-type]

    assert found() == []  # without lists nothing is checked
    assert found(SECOND, OF_ISSUING) == []
    assert found(SECOND) == [("crl-missing", 0)]
    assert found(OF_ISSUING) == [("crl-missing", 1), ("crl-missing", 2)]
    assert found(OLD, OF_ISSUING) == [("crl-expired", 1), ("crl-expired", 2)]
    assert found(OLD, FIRST, OF_ISSUING) == []
