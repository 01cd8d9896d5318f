"""Remedies for a reader who has the configuration of endpoints open.

Settings are called by their keys there (`CONFIGURATION`). What it has no key for, or what depends
on the endpoint's own settings, has a remedy of its own here.
"""

from __future__ import annotations

import ssl

import msgspec

from mtls_echo_client.endpoints.plan import Endpoint
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.slugs import Slug
from mtls_echo_tls.vocabulary import Vocabulary

CONFIGURATION = Vocabulary(
    cert="cert_file",
    key="key_file",
    crl="its CRL file",
    unlock="",
    server_trust="ca_file",
    client_trust="its client CA file",
    certificate="cert_file and key_file in its tls_config",
    other_certificate="other cert_file and key_file",
    access="list of clients",
    lenient="Monitor(strict=False)",
)

# How a TLS server may answer plaintext: with an alert, or by hanging up.
_MAY_BE_TLS: frozenset[Slug] = frozenset({"altered-echo", "closed-without-alert", "reset"})


def advised(report: Report, endpoint: Endpoint) -> Report:
    """The report, its remedy such as can be acted on where the endpoint was written."""
    cause: Slug = report.causes[0] if report.causes else "internal-error"
    remedy = report.remedy
    if endpoint.tls is None and cause in _MAY_BE_TLS:
        remedy = f"if it expects TLS, write a tls_config with ca_file; otherwise {remedy}"
    elif endpoint.tls is not None and cause == "no-common-version":
        remedy = _version(endpoint.tls.minimum_version)
    elif cause == "no-common-alpn":
        remedy = "have the server admit clients that offer no protocol (ALPN), as this one"
    return msgspec.structs.replace(report, remedy=remedy)


def _version(minimum: ssl.TLSVersion) -> str:
    if minimum == ssl.TLSVersion.TLSv1_3:
        return 'enable TLS 1.3 on the server; or write min_version: "1.2" where 1.3 cannot be had'
    return "enable TLS 1.2 or 1.3 on the server"
