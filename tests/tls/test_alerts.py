"""The table of alerts against the RFC's numbers and OpenSSL's own symbols."""

from __future__ import annotations

import _ssl

import pytest

from mtls_echo_tls.alerts import (
    AlertDescription,
    alert_meaning,
    alert_name,
    alert_of_reason,
)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (0, "close_notify"),
        (40, "handshake_failure"),
        (42, "bad_certificate"),
        (45, "certificate_expired"),
        (48, "unknown_ca"),
        (70, "protocol_version"),
        (86, "inappropriate_fallback"),
        (90, "user_canceled"),
        (109, "missing_extension"),
        (112, "unrecognized_name"),
        (116, "certificate_required"),
        (120, "no_application_protocol"),
        (121, "ech_required"),
        (199, "alert_199"),
    ],
)
def test_an_alert_has_the_name_that_its_rfc_gives_it(code: int, name: str) -> None:
    assert alert_name(code) == name


@pytest.mark.parametrize("alert", AlertDescription)
def test_every_alert_has_a_meaning_that_fits_into_a_sentence(alert: AlertDescription) -> None:
    meaning = alert_meaning(alert)
    assert meaning
    assert not meaning.endswith(".")
    assert meaning[0].islower() or meaning.startswith("I ")


def test_an_unregistered_alert_means_something_too() -> None:
    assert alert_meaning(199)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", 40),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", 45),
        ("TLSV1_ALERT_UNKNOWN_CA", 48),
        ("TLSV1_ALERT_USER_CANCELLED", 90),
        ("TLSV1_UNRECOGNIZED_NAME", 112),
        ("TLSV1_BAD_CERTIFICATE_STATUS_RESPONSE", 113),
        ("TLSV13_ALERT_MISSING_EXTENSION", 109),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", 116),
    ],
)
def test_openssls_symbol_for_a_received_alert_is_understood(reason: str, code: int) -> None:
    assert alert_of_reason(reason) == code


@pytest.mark.parametrize("reason", [None, "", "CERTIFICATE_VERIFY_FAILED", "TLSV1_ALERT_", "X"])
def test_what_is_not_an_alert_of_the_peer_is_none(reason: str | None) -> None:
    assert alert_of_reason(reason) is None


def test_every_alert_symbol_of_this_openssl_is_understood() -> None:
    symbols = [
        name
        for name in getattr(_ssl, "err_names_to_codes", {})
        if name.startswith(("SSLV3_ALERT_", "TLSV1_ALERT_", "TLSV13_ALERT_"))
    ]
    assert [symbol for symbol in symbols if alert_of_reason(symbol) is None] == []
