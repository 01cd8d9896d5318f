"""The causes that a verify code and an alert can have, as tables.

They hold what OpenSSL and the RFCs fix: numbers, no texts. Each entry is a family of
causes, the likeliest first; which member it was is decided elsewhere, from the certificates
(`mtls_echo_tls.diagnosis.diagnose`). `mtls_echo_tls.explain.parse` maps the words of other
programs on the same numbers, so that nothing is explained twice.
"""

from __future__ import annotations

from mtls_echo_tls.alerts import AlertDescription as A
from mtls_echo_tls.causes import InTheClear
from mtls_echo_tls.diagnosis.report import Outcome
from mtls_echo_tls.fault_causes import Variant
from mtls_echo_tls.slugs import Slug, Slugs, drop, keep

# Nothing was said; the reason may follow, as far as it can be guessed.
SILENT: frozenset[Slug] = frozenset({"closed-without-alert", "truncated", "reset"})


def silence_in(causes: Slugs) -> Slug | None:
    """How a connection ended about which nothing was said, if that is among the causes."""
    return next((slug for slug in causes if slug in SILENT), None)


# X509_V_ERR_* (openssl/x509_vfy.h), stable numbers, unlike the texts beside them.
CAUSES_BY_VERIFY_CODE: dict[int, Slugs] = {
    2: ("unknown-authority",),
    3: ("crl-missing",),
    7: ("bad-signature", "impostor-authority"),
    8: ("bad-signature",),
    9: ("not-yet-valid", "not-yet-valid-authority"),
    10: ("expired", "expired-authority"),
    11: ("crl-not-yet-valid",),
    12: ("crl-expired",),
    **dict.fromkeys((13, 14), ("not-conforming",)),  # a date that is malformed
    18: ("self-signed",),
    19: ("unknown-authority", "impostor-authority", "empty-trust"),
    20: ("unknown-authority", "missing-intermediate", "impostor-authority", "empty-trust"),
    21: ("unknown-authority", "missing-intermediate"),
    23: ("revoked", "revoked-authority"),
    25: ("path-too-long",),
    26: ("wrong-usage",),
    34: ("unknown-critical-extension",),
    47: ("name-not-permitted",),
    48: ("name-not-permitted",),
    62: ("wrong-name", "no-san"),
    64: ("wrong-name", "no-san"),
    66: ("weak-key",),
    67: ("weak-key",),
    68: ("weak-signature",),
    79: ("not-an-authority",),
    24: ("not-an-authority",),
    22: ("path-too-long",),  # the verifier's own bound
    **dict.fromkeys((33, 44), ("crl-missing",)),  # there is one, of another CA or scope
    35: ("not-conforming",),  # a CA that may not sign the CRL it has signed
    **dict.fromkeys((49, 51, 52, 53), ("name-not-permitted",)),
    **dict.fromkeys((80, 82, 83, 84), ("not-conforming",)),
    81: ("not-an-authority",),
    85: ("missing-key-identifier",),
    86: ("missing-key-identifier",),
    **dict.fromkeys((87, 88, 89, 90, 91, 93, 94), ("not-conforming",)),
    92: ("not-conforming",),  # a CA without keyUsage
}

# How TLS failed to begin in the middle of a plaintext protocol: the outcome, and what that means.
CAUSES_IN_THE_CLEAR: dict[InTheClear, tuple[Outcome, Slugs]] = {
    **dict.fromkeys(("not-offered", "refused", "not-understood"), ("failed", ("plaintext-peer",))),
    "tls-at-once": ("failed", ("plaintext-client",)),
    "injected": ("refused", ("protocol-violation", "tampered")),
    "ended": ("failed", ("closed-without-alert",)),
    "silent": ("failed", ("timeout",)),
}

# fmt: off
# What a verify code is not suspected to mean, and does mean where the path shows a fault of this
# kind: OpenSSL did not find the CA that has signed, could not read what it compares, took another
# CA of its name, or found no CRL that it can use.
SHOWN_BESIDE: dict[int, frozenset[Variant]] = {
    **dict.fromkeys(
        (2, 7, 19, 20, 21), frozenset[Variant]({"identifiers-differ", "malformed", "namesakes"})
    ),
    34: frozenset[Variant]({"critical-identifier"}),
    **dict.fromkeys((3, 8, 33, 44), frozenset[Variant]({"anchor-not-root"})),
}

# A word of the rule that a verify code stands for, as the fault that breaks it has it: a path may
# break several (`mtls_echo_tls.path.rules`).
RULE_OF_VERIFY_CODE: dict[int, str] = {
    80: "pathLenConstraint",
    82: "keyCertSign",
    83: "issuer's name",
    84: "subject is empty",
    85: "authorityKeyIdentifier",
    86: "subjectKeyIdentifier",
    87: "subjectAltName is empty",
    88: "subjectAltName is not critical",
    89: "basicConstraints",
    90: "authorityKeyIdentifier is critical",
    91: "subjectKeyIdentifier is critical",
    93: "version",
    94: "curve",
}

# The peer's alert, for a certificate of ours: what it can mean, likely first.
CAUSES_BY_ALERT: dict[int, Slugs] = {
    A.bad_certificate: (
        "wrong-name", "no-san", "not-yet-valid", "not-yet-valid-authority", "weak-key",
        "weak-signature", "clock-skew", "crl-not-yet-valid",
        # Go and GnuTLS have no better alert for an unknown CA.
        "unknown-authority", "missing-intermediate", "wrong-usage", "expired-authority",
    ),
    A.unsupported_certificate: ("wrong-usage",),
    A.certificate_revoked: ("revoked", "revoked-authority"),
    A.certificate_expired: ("expired", "expired-authority", "clock-skew", "crl-expired"),
    A.certificate_unknown: (
        "name-not-permitted", "unknown-critical-extension", "missing-key-identifier",
        "not-conforming", "not-an-authority",
        # Java's alert for any path that it cannot verify.
        "unknown-authority", "missing-intermediate", "wrong-name", "no-san", "wrong-usage",
        "expired-authority", "revoked", "crl-missing",
    ),
    A.unknown_ca: (
        "unknown-authority", "missing-intermediate", "self-signed", "not-an-authority",
        "path-too-long", "impostor-authority", "empty-trust", "crl-missing",
    ),
    A.decrypt_error: ("key-not-owned", "bad-signature", "impostor-authority", "tampered"),
    A.certificate_required: ("no-client-certificate",),
    A.access_denied: ("not-authorised",),
    # OpenSSL's TLS 1.3 servers send the same when they have no certificate,
    # or none that TLS 1.3 can use.
    A.protocol_version: (
        "no-common-version", "no-server-certificate", "no-common-signature-algorithm"
    ),
    A.insufficient_security: ("no-common-cipher",),
    A.inappropriate_fallback: ("downgrade",),
    A.unrecognized_name: ("unrecognised-name",),
    A.no_application_protocol: ("no-common-alpn",),
    A.bad_record_mac: ("tampered",),
    A.decryption_failed: ("tampered",),
    A.record_overflow: ("tampered", "oversize"),
    A.illegal_parameter: ("downgrade", "oversize"),
    **dict.fromkeys(
        (A.unexpected_message, A.decode_error, A.missing_extension, A.unsupported_extension),
        ("protocol-violation", "tampered"),
    ),
}
# fmt: on

# The alert that OpenSSL sends for its own verdict (``ssl_x509err2alert``, the same since 1.1.1);
# every other verdict is certificate_unknown.
_ALERT_OF_VERIFY: dict[int, int] = {
    **dict.fromkeys((2, 3, 18, 19, 20, 21, 22, 24, 25, 79), A.unknown_ca),
    **dict.fromkeys((7, 8), A.decrypt_error),
    **dict.fromkeys((9, 11, 13, 14, 62, 64, 66, 67, 68, 94), A.bad_certificate),
    **dict.fromkeys((10, 12), A.certificate_expired),
    23: A.certificate_revoked,
    26: A.unsupported_certificate,
}

# What those alerts can mean besides a verdict of OpenSSL's: its clock, or no certificate at fault.
_BESIDES: dict[int, Slugs] = {
    A.bad_certificate: ("clock-skew",),
    A.certificate_expired: ("clock-skew",),
    A.decrypt_error: ("key-not-owned", "tampered"),
}


def _meant_by_openssl(alert: int) -> Slugs:
    verdicts = [
        code
        for code in CAUSES_BY_VERIFY_CODE
        if _ALERT_OF_VERIFY.get(code, A.certificate_unknown) == alert
    ]
    meant: set[Slug] = {*_BESIDES.get(alert, ())}
    for code in verdicts:
        meant.update(CAUSES_BY_VERIFY_CODE[code])
    likely_first = keep(CAUSES_BY_ALERT[alert], meant)
    others: list[Slug] = sorted(drop(meant, likely_first))
    return (*likely_first, *others)


# The same for an OpenSSL peer (`mtls_echo_tls.trace.openssl_peer`), which has a word of its own
# for most.
CAUSES_BY_OPENSSL_ALERT: dict[int, Slugs] = {
    int(alert): _meant_by_openssl(alert)
    for alert in sorted({*_ALERT_OF_VERIFY.values(), A.certificate_unknown})
}
