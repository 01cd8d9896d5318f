"""OpenSSL's reason symbols: what each error of our own side can mean, and the alert sent for it.

A reason is a stable symbol (`ssl.SSLError.reason`), unlike the text beside it. The tables cover
all that libssl 1.1.1 to 3.6 raises about what a peer has sent (``SSLfatal`` and ``RLAYERfatal`` in
openssl/openssl ``ssl/``), except for features that `ssl` does not offer. Three kinds of error are
kept apart, since what is altered on the way cannot pass for authentic:

* the record around the data, which anything on the path can alter at any time;
* what is in a message: after the first keys it is the peer's own, or its MAC would be wrong;
* a disagreement about versions, suites or names, for which neither side is at fault.

A reason that is not here, such as that of an OpenSSL to come, is known by the alert that went out.
"""

from __future__ import annotations

from mtls_echo_tls.alerts import AlertDescription as A
from mtls_echo_tls.slugs import Slugs

# Nothing is known.
UNKNOWN: Slugs = ("internal-error",)

_NOT_ALLOWED: Slugs = ("tampered", "protocol-violation")

# What is in a message, and not as the protocol has it.
_ABOUT_MESSAGES = (
    "UNEXPECTED_MESSAGE LENGTH_MISMATCH BAD_LENGTH BAD_PACKET BAD_PACKET_LENGTH"
    " EXTRA_DATA_IN_MESSAGE BAD_HANDSHAKE_LENGTH BAD_HELLO_REQUEST BAD_EXTENSION BAD_VALUE"
    " BAD_DATA BAD_LEGACY_VERSION BAD_HRR_VERSION BAD_PROTOCOL_VERSION_NUMBER"
    " NO_CHANGE_FOLLOWING_HRR UNSOLICITED_EXTENSION MISSING_SIGALGS_EXTENSION"
    " MISSING_PSK_KEX_MODES_EXTENSION EXTENSION_NOT_RECEIVED EXT_LENGTH_MISMATCH BAD_KEY_SHARE"
    " BAD_ECPOINT BAD_DH_VALUE DH_PUBLIC_VALUE_LENGTH_IS_WRONG ILLEGAL_POINT_COMPRESSION"
    " BAD_CIPHER WRONG_CIPHER_RETURNED UNKNOWN_CIPHER_RETURNED REQUIRED_CIPHER_MISSING"
    " OLD_SESSION_CIPHER_NOT_RETURNED NO_CIPHERS_SPECIFIED CIPHERSUITE_DIGEST_HAS_CHANGED"
    " CIPHER_CODE_WRONG_LENGTH ERROR_IN_RECEIVED_CIPHER_LIST NO_COMPRESSION_SPECIFIED"
    " UNSUPPORTED_COMPRESSION_ALGORITHM INVALID_COMPRESSION_ALGORITHM BAD_COMPRESSION_ALGORITHM"
    " COMPRESSION_DISABLED REQUIRED_COMPRESSION_ALGORITHM_MISSING"
    " OLD_SESSION_COMPRESSION_ALGORITHM_NOT_RETURNED INCONSISTENT_COMPRESSION INCONSISTENT_EXTMS"
    " CA_DN_LENGTH_MISMATCH BAD_DIGEST_LENGTH WRONG_SIGNATURE_LENGTH WRONG_SIGNATURE_SIZE"
    " INVALID_CONTEXT INVALID_SESSION_ID SSL3_SESSION_ID_TOO_LONG TLS_SESSION_ID_TOO_LONG"
    " SSL_SESSION_ID_TOO_LONG SSL_SESSION_VERSION_MISMATCH SSL3_EXT_INVALID_SERVERNAME"
    " TLS_EXT_INVALID_SERVERNAME SSL3_EXT_INVALID_SERVERNAME_TYPE"
    " TLS_EXT_INVALID_SERVERNAME_TYPE SSL3_EXT_INVALID_MAX_FRAGMENT_LENGTH"
    " TLS_EXT_INVALID_MAX_FRAGMENT_LENGTH BAD_PSK BAD_PSK_IDENTITY BINDER_DOES_NOT_VERIFY"
    " BAD_EARLY_DATA TOO_MUCH_EARLY_DATA INVALID_MAX_EARLY_DATA UNEXPECTED_END_OF_EARLY_DATA"
    " COOKIE_MISMATCH FRAGMENTED_CLIENT_HELLO NOT_ON_RECORD_BOUNDARY"
    " MIXED_HANDSHAKE_AND_NON_HANDSHAKE_DATA UNSUPPORTED_STATUS_TYPE INVALID_STATUS_RESPONSE"
    " POST_HANDSHAKE_AUTH_ENCODING_ERR MISSING_TMP_DH_KEY MISSING_TMP_ECDH_KEY"
    " UNKNOWN_KEY_EXCHANGE_TYPE"
)

# The causes of reasons, likeliest first; and the reasons, as OpenSSL names them.
_FAMILIES: tuple[tuple[Slugs, str], ...] = (
    # What client and server have in common
    (
        ("no-common-version",),
        "UNSUPPORTED_PROTOCOL NO_PROTOCOLS_AVAILABLE VERSION_TOO_LOW VERSION_TOO_HIGH"
        " UNKNOWN_PROTOCOL UNKNOWN_SSL_VERSION UNSUPPORTED_SSL_VERSION WRONG_SSL_VERSION"
        " MISSING_SUPPORTED_VERSIONS_EXTENSION",
    ),
    (
        ("no-common-cipher", "no-common-signature-algorithm", "no-common-group"),
        "NO_SHARED_CIPHER",
    ),
    (("no-common-cipher",), "NO_CIPHERS_AVAILABLE LIBRARY_HAS_NO_CIPHERS INSUFFICIENT_SECURITY"),
    (
        ("no-common-group",),
        "NO_SUITABLE_KEY_SHARE NO_SUITABLE_GROUPS NO_SHARED_GROUPS"
        " UNSUPPORTED_ELLIPTIC_CURVE UNABLE_TO_FIND_ECDH_PARAMETERS"
        " MISSING_SUPPORTED_GROUPS_EXTENSION TLS_INVALID_ECPOINTFORMAT_LIST",
    ),
    # The server has taken one that was not offered.
    (("tampered", "no-common-group"), "WRONG_CURVE"),
    (
        ("no-common-signature-algorithm",),
        "NO_SUITABLE_SIGNATURE_ALGORITHM NO_SHARED_SIGNATURE_ALGORITHMS"
        " NO_SUITABLE_DIGEST_ALGORITHM SIGNATURE_ALGORITHMS_ERROR",
    ),
    # TLS 1.0 and 1.1 sign with SHA-1 only.
    (
        ("no-common-signature-algorithm", "no-common-version"),
        "LEGACY_SIGALG_DISALLOWED_OR_UNSUPPORTED",
    ),
    # The peer has signed with one that was not offered; or the offer was altered.
    (("no-common-signature-algorithm", "tampered"), "WRONG_SIGNATURE_TYPE UNKNOWN_DIGEST"),
    (("no-common-alpn",), "NO_APPLICATION_PROTOCOL"),
    (("downgrade",), "INAPPROPRIATE_FALLBACK"),
    (
        ("renegotiation",),
        "UNSAFE_LEGACY_RENEGOTIATION_DISABLED NO_RENEGOTIATION SCSV_RECEIVED_WHEN_RENEGOTIATING"
        " ATTEMPT_TO_REUSE_SESSION_IN_DIFFERENT_CONTEXT",
    ),
    (
        ("renegotiation", "tampered"),
        "RENEGOTIATION_MISMATCH RENEGOTIATION_ENCODING_ERR RENEGOTIATE_EXT_TOO_LONG",
    ),
    # Certificates and keys
    (
        ("no-client-certificate",),
        "PEER_DID_NOT_RETURN_A_CERTIFICATE NO_CERTIFICATES_RETURNED",
    ),
    (("weak-key",), "DH_KEY_TOO_SMALL"),
    (("key-not-owned", "tampered"), "BAD_SIGNATURE"),
    (
        ("not-conforming", "tampered"),
        "ASN1_LIB X509_LIB CERT_LENGTH_MISMATCH UNABLE_TO_FIND_PUBLIC_KEY_PARAMETERS",
    ),
    (
        ("wrong-usage", "weak-key"),
        "WRONG_CERTIFICATE_TYPE UNKNOWN_CERTIFICATE_TYPE BAD_ECC_CERT ECC_CERT_NOT_FOR_SIGNING"
        " SIGNATURE_FOR_NON_SIGNING_CERTIFICATE INVALID_CERTIFICATE_OR_ALG UNKNOWN_PKEY_TYPE"
        " MISSING_RSA_ENCRYPTING_CERT",
    ),
    (
        ("no-server-certificate",),
        "NO_CERTIFICATE_SET NO_CERTIFICATE_ASSIGNED NO_PRIVATE_KEY_ASSIGNED"
        " MISSING_RSA_CERTIFICATE",
    ),
    # A peer that never spoke TLS is known by its first bytes: these came in the middle.
    (("plaintext-client",), "HTTP_REQUEST HTTPS_PROXY_REQUEST"),
    (("tampered",), "WRONG_VERSION_NUMBER DECRYPTION_FAILED_OR_BAD_RECORD_MAC DECRYPTION_FAILED"),
    # Finished is the MAC of all messages before.
    (("tampered", "protocol-violation"), "DIGEST_CHECK_FAILED"),
    # An honest sender knows how long a record may be.
    (
        ("tampered", "oversize"),
        "PACKET_LENGTH_TOO_LONG ENCRYPTED_LENGTH_TOO_LONG COMPRESSED_LENGTH_TOO_LONG"
        " DATA_LENGTH_TOO_LONG MAXIMUM_ENCRYPTED_PKTS_REACHED",
    ),
    (("oversize", "tampered"), "EXCESSIVE_MESSAGE_SIZE LENGTH_TOO_LONG"),
    # The record around the data
    (
        _NOT_ALLOWED,
        "BAD_RECORD_TYPE UNEXPECTED_RECORD RECORD_TOO_SMALL INVALID_RECORD"
        " RECORD_LENGTH_MISMATCH INVALID_CCS_MESSAGE UNEXPECTED_CCS_MESSAGE CCS_RECEIVED_EARLY"
        " BAD_CHANGE_CIPHER_SPEC GOT_A_FIN_BEFORE_A_CCS DATA_BETWEEN_CCS_AND_FINISHED"
        " APP_DATA_IN_HANDSHAKE LENGTH_TOO_SHORT BLOCK_CIPHER_PAD_IS_WRONG BAD_DECOMPRESSION",
    ),
    (_NOT_ALLOWED, _ABOUT_MESSAGES),
    # Only ever under the connection's keys, or an alert
    (
        ("protocol-violation",),
        "BAD_KEY_UPDATE INVALID_KEY_UPDATE_TYPE TOO_MANY_KEY_UPDATES",
    ),
    (
        ("protocol-violation", "tampered"),
        "INVALID_ALERT UNKNOWN_ALERT_TYPE TOO_MANY_WARN_ALERTS",
    ),
    # A fault of our own
    (
        UNKNOWN,
        "LIBRARY_BUG MALLOC_FAILURE CERT_CB_ERROR EVP_LIB"
        " SEQUENCE_CTR_WRAPPED PROTOCOL_IS_SHUTDOWN BAD_WRITE_RETRY UNINITIALIZED",
    ),
)

# 3.5 and 3.6 say the same of every damaged record: there the alert tells more.
BLURRED = "RECORD_LAYER_FAILURE"

CAUSES_BY_REASON: dict[str, Slugs] = {
    BLURRED: _NOT_ALLOWED,
    **{reason: causes for causes, reasons in _FAMILIES for reason in reasons.split()},
}

# Reasons about what is in a message: in TLS 1.3 from EncryptedExtensions on, and in TLS 1.2 after
# the handshake, only the peer can have written that.
ABOUT_CONTENTS = frozenset(
    [
        *_ABOUT_MESSAGES.split(),
        *(reason for reason, causes in CAUSES_BY_REASON.items() if "not-conforming" in causes),
        *("EXCESSIVE_MESSAGE_SIZE", "WRONG_SIGNATURE_TYPE", "BAD_SIGNATURE"),
    ]
)

# Where a reason says less than the alert that OpenSSL answered it with.
CAUSES_BY_OWN_ALERT: dict[int, Slugs] = {
    A.bad_record_mac: ("tampered",),
    A.record_overflow: ("tampered", "oversize"),
    A.protocol_version: ("no-common-version",),
    A.unrecognized_name: ("unrecognised-name",),
    A.decode_error: _NOT_ALLOWED,
    A.illegal_parameter: _NOT_ALLOWED,
    A.unexpected_message: _NOT_ALLOWED,
    A.missing_extension: _NOT_ALLOWED,
    A.unsupported_extension: _NOT_ALLOWED,
    A.decrypt_error: ("tampered", "key-not-owned"),
}

# Behind the handshake no callback tells which alert has left. These reasons have one and the same
# in every place in which OpenSSL raises them there, 3.0 to 3.6; any other may have had another.
ALERT_OF_REASON: dict[str, int] = {
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": A.bad_record_mac,
    **dict.fromkeys(
        (
            "PACKET_LENGTH_TOO_LONG",
            "ENCRYPTED_LENGTH_TOO_LONG",
            "COMPRESSED_LENGTH_TOO_LONG",
            "DATA_LENGTH_TOO_LONG",
        ),
        A.record_overflow,
    ),
    **dict.fromkeys(
        (
            "UNEXPECTED_MESSAGE",
            "UNEXPECTED_RECORD",
            "BAD_RECORD_TYPE",
            "TOO_MANY_WARN_ALERTS",
            "NOT_ON_RECORD_BOUNDARY",
            "MIXED_HANDSHAKE_AND_NON_HANDSHAKE_DATA",
        ),
        A.unexpected_message,
    ),
    **dict.fromkeys(("UNKNOWN_ALERT_TYPE", "EXCESSIVE_MESSAGE_SIZE"), A.illegal_parameter),
    "NO_RENEGOTIATION": A.handshake_failure,
}
_ALERT_OF_REASON_IN_TLS12 = ALERT_OF_REASON | {"WRONG_VERSION_NUMBER": A.protocol_version}


def alert_answering(reason: str | None, version: str | None) -> int | None:
    """The alert that OpenSSL writes in answer to an error of its own; None if it has several."""
    known = ALERT_OF_REASON if version == "TLSv1.3" else _ALERT_OF_REASON_IN_TLS12
    return known.get(reason or "")
