"""What to do about a failure, in the words of the configuration.

A report speaks to whoever typed `mtls-echo connect`, and names its options. Here nobody typed any:
what they would set is written in a file, under a key, and the person who reads the remedy has that
file open.
"""

from __future__ import annotations

import ssl

import msgspec

from mtls_echo_client.endpoints.plan import Endpoint
from mtls_echo_tls.diagnosis.report import Report

# For the causes whose remedy is an option of `connect`.
_KEYS = {
    "unknown-authority": "if that issuer is right, add its certificate to ca_file; otherwise the"
    " server is a stranger",
    "wrong-name": "write as server_name a name the certificate has, or have one issued that also"
    " names the host",
    "unrecognised-name": "write as server_name a name that the server serves",
    "no-client-certificate": "write cert_file and key_file in its tls_config",
    "not-authorised": "write as cert_file and key_file a certificate that the server admits, or"
    " have its --allow-* extended",
    "no-common-alpn": "have the server admit clients that offer no protocol (ALPN), as this one",
}

# The same, where the fault is ours and the server has found it.
_KEYS_OF_THE_REFUSED = {
    "unknown-authority": "write as cert_file and key_file a certificate from an authority that the"
    " server trusts, or have ours added to what it trusts",
}

# How a TLS server may answer plaintext: with an alert, or by hanging up.
_MAY_BE_TLS = frozenset({"altered-echo", "closed-without-alert", "reset"})


def advised(report: Report, endpoint: Endpoint) -> Report:
    """The report, its remedy such as can be acted on where the endpoint was written."""
    cause = report.causes[0] if report.causes else ""
    remedy = report.remedy
    if endpoint.tls is None and cause in _MAY_BE_TLS:
        remedy = f"if it expects TLS, write a tls_config with ca_file; otherwise {remedy}"
    elif endpoint.tls is not None and cause == "no-common-version":
        remedy = _version(endpoint.tls.minimum_version)
    elif report.rejected_by == "server" and cause in _KEYS_OF_THE_REFUSED:
        remedy = _KEYS_OF_THE_REFUSED[cause]
    elif "--" in remedy:
        remedy = _KEYS.get(cause, remedy)
    return msgspec.structs.replace(report, remedy=remedy)


def _version(minimum: ssl.TLSVersion) -> str:
    if minimum == ssl.TLSVersion.TLSv1_3:
        return 'enable TLS 1.3 on the server; or write min_version: "1.2" where 1.3 cannot be had'
    return "enable TLS 1.2 or 1.3 on the server"
