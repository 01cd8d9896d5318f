"""The alert protocol as a table: what one TLS endpoint can tell the other about a failure.

An alert is two bytes, a level and a description (RFC 8446 §6). It is all that the refused side
learns: OpenSSL's `verify_code`, the names it compared and the time it read off its clock stay with
the verifier. An alert therefore names a *family* of causes, never one cause.

The descriptions below are RFC 8446 §6.2 with those that older versions and extensions define
(RFC 5246 §7.2, RFC 6066 §9, RFC 7301 §3.2, RFC 7507 §3, RFC 9849 §6). Their names are spelled as
there, so that a name printed by this program can be looked up.
"""

from __future__ import annotations

import enum


class AlertDescription(enum.IntEnum):
    """The registered alert descriptions, by the names of RFC 8446 §6.2.

    The value is the number that goes over the wire, such as 48 for ``unknown_ca``.
    """

    close_notify = 0
    unexpected_message = 10
    bad_record_mac = 20
    decryption_failed = 21
    record_overflow = 22
    decompression_failure = 30
    handshake_failure = 40
    no_certificate = 41
    bad_certificate = 42
    unsupported_certificate = 43
    certificate_revoked = 44
    certificate_expired = 45
    certificate_unknown = 46
    illegal_parameter = 47
    unknown_ca = 48
    access_denied = 49
    decode_error = 50
    decrypt_error = 51
    export_restriction = 60
    protocol_version = 70
    insufficient_security = 71
    internal_error = 80
    inappropriate_fallback = 86
    user_canceled = 90
    no_renegotiation = 100
    missing_extension = 109
    unsupported_extension = 110
    certificate_unobtainable = 111
    unrecognized_name = 112
    bad_certificate_status_response = 113
    bad_certificate_hash_value = 114
    unknown_psk_identity = 115
    certificate_required = 116
    general_error = 117
    no_application_protocol = 120
    ech_required = 121


# A way of closing rather than of refusing (RFC 8446 §6.1).
CLOSURE_ALERTS = frozenset({AlertDescription.close_notify, AlertDescription.user_canceled})

# The alerts about a certificate, or its absence.
CERTIFICATE_ALERTS = frozenset(
    {*range(41, 47), AlertDescription.unknown_ca, AlertDescription.certificate_required}
)

_MEANINGS: dict[AlertDescription, str] = {
    AlertDescription.close_notify: "I will send nothing more",
    AlertDescription.unexpected_message: "that message does not belong here",
    AlertDescription.bad_record_mac: "a record was altered, or was protected with another key",
    AlertDescription.decryption_failed: "a record could not be decrypted",
    AlertDescription.record_overflow: "a record was longer than a record may be",
    AlertDescription.decompression_failure: "a record could not be decompressed",
    AlertDescription.handshake_failure: "we have no acceptable set of parameters in common",
    AlertDescription.no_certificate: "I have no certificate to send",
    AlertDescription.bad_certificate: "your certificate is not acceptable",
    AlertDescription.unsupported_certificate: "your certificate is of the wrong kind or usage",
    AlertDescription.certificate_revoked: "your certificate was revoked by its issuer",
    AlertDescription.certificate_expired: "your certificate is not valid at this time",
    AlertDescription.certificate_unknown: "your certificate is unacceptable for another reason",
    AlertDescription.illegal_parameter: "a field of a message is out of range or inconsistent",
    AlertDescription.unknown_ca: "your certificate leads to none of my trust anchors",
    AlertDescription.access_denied: "your certificate is valid, but you are not authorised",
    AlertDescription.decode_error: "a message could not be decoded",
    AlertDescription.decrypt_error: "a signature or a Finished message did not verify",
    AlertDescription.export_restriction: "export restrictions forbid this negotiation",
    AlertDescription.protocol_version: "I support no TLS version that you offer",
    AlertDescription.insufficient_security: "your parameters are weaker than I accept",
    AlertDescription.internal_error: "something failed on my side",
    AlertDescription.inappropriate_fallback: "you retried with a lower version than we both have",
    AlertDescription.user_canceled: "the user gave up",
    AlertDescription.no_renegotiation: "I will not renegotiate",
    AlertDescription.missing_extension: "a mandatory extension is missing",
    AlertDescription.unsupported_extension: "you sent an extension that I did not ask for",
    AlertDescription.certificate_unobtainable: "a certificate could not be fetched from its URL",
    AlertDescription.unrecognized_name: "I serve no such server name",
    AlertDescription.bad_certificate_status_response: "the stapled OCSP response is unacceptable",
    AlertDescription.bad_certificate_hash_value: "a fetched certificate has the wrong hash",
    AlertDescription.unknown_psk_identity: "I know no such pre-shared key",
    AlertDescription.certificate_required: "you must present a certificate, and sent none",
    AlertDescription.general_error: "something failed that no other alert describes",
    AlertDescription.no_application_protocol: "we have no application protocol in common",
    AlertDescription.ech_required: "you must encrypt your ClientHello",
}

# OpenSSL's prefixes of a description's name in its reason symbol: which one it uses depends on the
# protocol version that introduced the alert, not on the version in use. (That "sslv3 alert
# certificate expired" has nothing to do with SSLv3 misleads people every day.)
_REASON_PREFIXES = ("SSLV3_ALERT_", "TLSV13_ALERT_", "TLSV1_ALERT_", "TLSV1_")

# Where OpenSSL's symbol is not the RFC's name in capitals.
_REASON_ALIASES = {
    "EXPORT_RESTRICTION_ALERT": AlertDescription.export_restriction,
    "USER_CANCELLED": AlertDescription.user_canceled,
}


def alert_name(code: int) -> str:
    """The RFC's name for an alert description, or ``alert_N`` for an unregistered code.

    A receiver treats codes it does not know as fatal (RFC 8446 §6.2), so there is always
    something to report.
    """
    try:
        return AlertDescription(code).name
    except ValueError:
        return f"alert_{code}"


def alert_meaning(code: int) -> str:
    """The meaning of an alert, as one clause in the first person of its sender."""
    try:
        return _MEANINGS[AlertDescription(code)]
    except ValueError:
        return "a failure that no RFC names"


def alert_of_reason(reason: str | None) -> AlertDescription | None:
    """The alert that *the peer* sent, from the reason symbol of an `ssl.SSLError`.

    The symbol, such as ``TLSV1_ALERT_UNKNOWN_CA``, is stable; the text beside it changes between
    releases and is never used. None when it names no alert: then the failure was found on our
    side. OpenSSL 3.0 also has no symbol for the codes 115 and 120; only a recorded message shows
    those.
    """
    if reason is None:
        return None
    for prefix in _REASON_PREFIXES:
        if reason.startswith(prefix):
            name = reason.removeprefix(prefix)
            if name in _REASON_ALIASES:
                return _REASON_ALIASES[name]
            return AlertDescription.__members__.get(name.lower())
    return None
