"""The table of alerts: what it says, and in which order."""

from __future__ import annotations

import pytest

from mtls_echo_tls.alerts import AlertDescription as A
from mtls_echo_tls.causes import CAUSES
from mtls_echo_tls.diagnosis.tables import CAUSES_BY_OPENSSL_ALERT
from mtls_echo_tls.sides import Side
from mtls_echo_tls.stacks.alerts import likely_first, meant_by, table

ANY: frozenset[str] = frozenset()
GO_OLD, GO_NEW = frozenset({"Go up to 1.20"}), frozenset({"Go since 1.21"})


def test_every_row_names_known_causes_a_registered_alert_and_a_source() -> None:
    for row in table():
        assert {*row.faults} <= CAUSES.keys(), row
        assert row.alert in {*A}, row
        assert row.verifier in (None, "client", "server"), row
        assert row.source, row


def test_no_row_is_there_twice() -> None:
    keys = [(row.stack, row.verifier, row.alert) for row in table()]

    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("alert", [42, 43, 44, 45, 46, 48])
def test_the_rows_of_openssl_agree_with_its_own_table(alert: int) -> None:
    [row] = [row for row in table() if (row.stack, row.alert) == ("OpenSSL", alert)]

    # A clock is not a verdict of OpenSSL's.
    assert {*row.faults} >= {*CAUSES_BY_OPENSSL_ALERT[alert]} - {"clock-skew"}


@pytest.mark.parametrize("verifier", ["client", "server"])
@pytest.mark.parametrize("alert", [A.bad_certificate, A.certificate_unknown, A.unknown_ca])
def test_an_unknown_ca_comes_first_where_nothing_is_known(alert: int, verifier: Side) -> None:
    causes = meant_by(ANY, alert, verifier)

    assert causes[:3] == ("unknown-authority", "missing-intermediate", "impostor-authority")


@pytest.mark.parametrize("verifier", ["client", "server"])
@pytest.mark.parametrize("alert", sorted({row.alert for row in table()}))
def test_clocks_weak_keys_and_name_constraints_are_never_first(alert: int, verifier: Side) -> None:
    causes = meant_by(ANY, alert, verifier)

    never = {"clock-skew", "weak-key", "name-not-permitted", "unknown-critical-extension"}
    assert never.isdisjoint(causes[:1])


@pytest.mark.parametrize(
    ("alert", "first"),
    [(43, "wrong-usage"), (44, "revoked"), (45, "expired"), (49, "not-authorised")],
)
def test_what_an_alert_says_literally_comes_before_what_is_common(alert: int, first: str) -> None:
    assert meant_by(ANY, alert, "server")[0] == first


def test_certificate_expired_means_dates_in_every_stack() -> None:
    dates = {"expired", "expired-authority", "not-yet-valid", "not-yet-valid-authority"}
    lists = {"crl-expired", "crl-not-yet-valid"}

    assert {*meant_by(ANY, 45, "server")} == {*dates, *lists, "clock-skew"}


def test_what_go_says_of_a_client_has_become_finer() -> None:
    assert "unknown-authority" in meant_by(GO_OLD, 42, "server")
    assert "unknown-authority" not in meant_by(GO_NEW, 42, "server")
    assert meant_by(GO_NEW, 48, "server")[0] == "unknown-authority"
    assert meant_by(GO_OLD, 48, "server") == ()
    assert meant_by(GO_OLD, 42, "client") == meant_by(GO_NEW, 42, "client")


def test_only_a_server_has_a_name_that_can_be_wrong() -> None:
    assert "wrong-name" in meant_by(ANY, 42, "client")
    assert "wrong-name" not in meant_by(ANY, 42, "server")


def test_what_has_no_place_in_the_order_comes_last() -> None:
    assert likely_first({"oversize", "tampered", "revoked"}) == ("revoked", "tampered", "oversize")
