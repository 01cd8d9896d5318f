"""Who says what: how TLS programs word a failure, and what their words prove.

"tlsv1 alert unknown ca" in *my* log means that the *peer* does not know my authority: the words
describe an alert that was received, so the side that prints them is the side that was refused.
"certificate verify failed" beside it means the opposite. Every program has its own dialect for
the same few facts, and this table translates: an alert received or sent (RFC 8446 §6), an own
verdict on a certificate (OpenSSL's verify codes), an own reason, or how the transport ended. What
those facts *mean* is not said here: `diagnosis` and `causes` say it, for texts as for connections.

A text is weaker evidence than a recording, and nothing here feeds `diagnose`. Most certain comes
first: a received alert ends a connection whatever was noted before it (s_client prints "verify
error" and goes on), then verdicts with a number, then words, then how the transport ended, and
last an exit status. Two things are measured and not in any RFC: Go's servers answer every bad
client certificate, and a missing one, with bad_certificate, Java's with certificate_unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from mtls_echo_tls.alerts import AlertDescription as A
from mtls_echo_tls.causes import CAUSES
from mtls_echo_tls.evidence import Side
from mtls_echo_tls.tables import ALERT, REASON, VERIFY

Refused = Literal["printer", "peer", "client", "server", "nobody", "unsaid"]
Kind = Literal["alert received", "alert sent", "alert", "verdict", "reason", "statement"]


# What each stack calls an alert, where that is not the RFC's name: Go's crypto/tls, GnuTLS.
ALERT_WORDS: dict[str, int] = {
    "revokedcertificate": 44, "expiredcertificate": 45, "unknowncertificate": 46,
    "unknowncertificateauthority": 48, "errordecodingmessage": 50, "errordecryptingmessage": 51,
    "protocolversionnotsupported": 70, "insufficientsecuritylevel": 71,
    "handshakefailed": 40, "certificateisbad": 42, "certificateisnotsupported": 43,
    "certificatewasrevoked": 44, "certificateisexpired": 45, "caisunknown": 48,
    "accesswasdenied": 49, "errorinprotocolversion": 70, "certificateisrequired": 116,
    "theservernamesentwasnotrecognized": 112,
    "nosupportedapplicationprotocolcouldbenegotiated": 120,
}  # fmt: skip

# Firefox: SSL_ERROR_..._ALERT.
NSS_ALERTS: dict[str, int] = {
    "handshake_unexpected": 10, "bad_mac": 20, "handshake_failure": 40, "bad_cert": 42,
    "unsupported_cert": 43, "revoked_cert": 44, "expired_cert": 45, "certificate_unknown": 46,
    "illegal_parameter": 47, "unknown_ca": 48, "access_denied": 49, "decode_error": 50,
    "decrypt_error": 51, "protocol_version": 70, "insufficient_security": 71,
    "internal_error": 80, "inappropriate_fallback": 86, "unrecognized_name": 112,
    "certificate_required": 116,
}  # fmt: skip

# Apple's SecureTransport.h: errSSLPeer... is an alert received, the others are own verdicts.
SECURE_TRANSPORT: dict[int, int | tuple[str, ...]] = {
    -9807: ("unknown-authority", "missing-intermediate", "self-signed", "wrong-usage"),
    -9808: ("wrong-name", "expired", "wrong-usage"),
    -9812: ("unknown-authority", "self-signed"),
    -9813: ("unknown-authority", "missing-intermediate"),
    -9814: ("expired", "expired-authority"), -9815: ("not-yet-valid", "not-yet-valid-authority"),
    -9824: 40, -9825: 42, -9826: 43, -9827: 44, -9828: 45, -9829: 46, -9830: 47, -9831: 48,
    -9832: 49, -9833: 50, -9834: 51, -9836: 70, -9837: 71, -9838: 80,
    -9843: ("wrong-name", "no-san"),
}  # fmt: skip

# Own verdicts in words, as OpenSSL's verify code: its own texts, node's codes, and others'.
VERDICTS: tuple[tuple[str, str, int], ...] = (
    ("Java", r"certificateexpiredexception", 10),
    ("Java", r"certificatenotyetvalidexception", 9),
    ("Go", r"x509: certificate has expired or is not yet valid: .{0,80} is after ", 10),
    ("Go", r"x509: certificate has expired or is not yet valid: .{0,80} is before ", 9),
    ("rustls", r"invalid ?(?:peer )?certificate(?:: |\()certificate expired|certexpired|ate: "
         r"?expired|ate\(expired", 10),
    ("rustls", r"invalid ?(?:peer )?certificate(?:: |\()(?:notvalidyet|certificate not valid yet)",
         9),
    ("rustls", r"certnotvalidforname|notvalidforname|certificate not valid for name", 62),
    ("rustls", r"invalid ?(?:peer )?certificate(?:: |\()revoked", 23),
    ("rustls", r"nameconstraintviolation", 47),
    ("OpenSSL", r"unable_to_get_issuer_cert_locally|unable to get local issuer certificate", 20),
    ("OpenSSL", r"unable_to_verify_leaf_signature|unable to verify the (?:first|leaf) certificate",
         21),
    ("OpenSSL", r"self_signed_cert_in_chain|self[- ]signed certificate in certificate chain", 19),
    ("OpenSSL",
         r"depth_zero_self_signed_cert|(?:: |\(|^|err=18\W{1,3})self[- ]signed certificate\b", 18),
    ("OpenSSL", r"\bcert_has_expired|(?<!x509: )certificate has expired(?! or)", 10),
    ("OpenSSL", r"cert_not_yet_valid|certificate is not yet valid", 9),
    ("OpenSSL", r"(?:host ?name|ip address) mismatch|hostname_mismatch", 62),
    ("OpenSSL", r"(?:: |\(|^)certificate revoked|\bcert_revoked\b", 23),
    ("OpenSSL",
         r"unsuitable certificate purpose|unsupported certificate purpose|\binvalid_purpose\b",
         26),
    ("OpenSSL", r"unable to get certificate crl|unable_to_get_crl", 3),
    ("OpenSSL", r"crl has expired|crl_has_expired", 12),
    ("OpenSSL", r"crl is not yet valid|crl_not_yet_valid", 11),
    ("OpenSSL", r"crl signature failure|crl_signature_failure", 8),
    ("OpenSSL", r"certificate signature failure|cert_signature_failure|certificate: badsignature",
         7),
    ("OpenSSL", r"path length constraint exceeded|path_length_exceeded", 25),
    ("OpenSSL", r"invalid ca certificate|\binvalid_ca\b", 79),
    ("OpenSSL", r"unhandled critical extension", 34),
    ("OpenSSL", r"permitted subtree violation", 47),
    ("OpenSSL", r"excluded subtree violation", 48),
    ("OpenSSL", r"(?:ee certificate|ee|ca certificate) key too (?:weak|small)", 66),
    ("OpenSSL", r"ca (?:signature digest algorithm|md) too weak", 68),
    ("OpenSSL", r"missing authority key identifier", 85),
    ("OpenSSL", r"missing subject key identifier", 86),
)  # fmt: skip


class Fact(NamedTuple):
    """A stock phrase.

    Attributes:
        program: Whose.
        pattern: A regular expression for `plain` text.
        causes: What it states, most likely first.
        refused: Who refused, seen from the program that prints it.
        side: Which side prints it.
        vague: Says little: heard only when nothing beside it says more.
        decides: What would tell the causes apart, or who refused.
    """

    program: str
    pattern: str
    causes: tuple[str, ...]
    refused: Refused = "printer"
    side: Side | None = None
    vague: bool = False
    decides: str = ""


_UNTRUSTED = ("unknown-authority", "missing-intermediate", "self-signed")
_UNVERIFIED = (*_UNTRUSTED, "expired", "wrong-name", "wrong-usage")
_CLOSED, _RESET = ("closed-without-alert",), ("reset",)
_NAME = ("wrong-name", "no-san")
_NOT_TLS = ("plaintext-peer",)
_NO_CERTIFICATE = ("no-client-certificate",)
_DATES = ("expired", "not-yet-valid", "clock-skew")
_TO_CLIENT = ("no-client-certificate", "unknown-authority", "expired", "wrong-usage")
_WHICH = "the verify code or reason, in the same program's log or from `openssl s_client`"
_WHY = "the other side's log: an end without an alert says nothing about why"

FACTS: tuple[Fact, ...] = (
    # Verdicts on a certificate, in each stack's words.
    Fact("Go", r"x509: certificate signed by unknown authority", _UNTRUSTED),
    Fact("Go", r"x509: .{0,80}(?:is not authorized to sign|not a ca\b)", ("not-an-authority",)),
    Fact("Go", r"x509: certificate has expired or is not yet valid", _DATES, vague=True),
    Fact("Go", r"x509: certificate is (?:not )?valid for", ("wrong-name",), side="client"),
    Fact("Go", r"doesn't contain any ip sans", ("wrong-name", "no-san"), side="client"),
    Fact("Go", r"relies on legacy common name|not valid for any names", ("no-san",),
         side="client"),
    Fact("Go", r"x509: certificate specifies an incompatible key usage", ("wrong-usage",)),
    Fact("Go", r"tls: client didn't provide a certificate", _NO_CERTIFICATE, side="server"),
    Fact("Go", r"tls: private key does not match public key", ("key-not-owned",), "nobody"),
    Fact("Go", r"tls: client offered only unsupported versions", ("no-common-version",),
         side="server"),
    Fact("Go", r"tls: no cipher suite supported by both", ("no-common-cipher",), side="server"),
    Fact("Java", r"pkix path building failed|unable to find valid certification path", _UNTRUSTED),
    Fact("Java", r"pkix path validation failed", ("expired", "not-an-authority", "revoked"),
         vague=True, decides="the exception that this one is `Caused by`"),
    Fact("Java", r"trustanchors parameter must be non-empty", ("empty-trust",)),
    Fact("Java", r"no subject alternative (?:dns )?names? matching|no name matching .{0,80} found",
         _NAME, side="client"),
    Fact("Java", r"no subject alternative names present", ("no-san",), side="client"),
    Fact("Java", r"extended key usage does not permit use", ("wrong-usage",)),
    Fact("Java", r"empty (?:client|server) certificate chain|null cert chain", _NO_CERTIFICATE,
         side="server"),
    Fact("Java", r"client requested protocol \S{1,20} is not enabled", ("no-common-version",),
         side="server"),
    Fact("Java", r"no appropriate protocol", ("no-common-version",)),
    Fact("Java", r"no cipher suites in common", ("no-common-cipher",), side="server"),
    Fact("node", r"err_tls_cert_altname_invalid|does not match certificate's altnames", _NAME,
         side="client"),
    Fact("rustls", r"unknownissuer", _UNTRUSTED),
    Fact("rustls", r"nocertificatespresented|peer sent no certificates", _NO_CERTIFICATE,
         side="server"),
    Fact("rustls", r"invalidpurpose|certnotvalidforusage", ("wrong-usage",)),
    Fact("GnuTLS", r"certificate issuer is unknown|doesn't have a known issuer", _UNTRUSTED),
    Fact("GnuTLS",
         r"chain uses expired certificate|the certificate (?:of '[^']{1,80}' )?has expired",
         ("expired", "expired-authority")),
    Fact("GnuTLS",
         r"chain uses not yet valid certificate|certificate has not yet been activated|not "
         r"yet activated", ("not-yet-valid", "not-yet-valid-authority")),
    Fact("GnuTLS", r"name in the certificate does not match|certificate's owner does not match",
         _NAME, side="client"),
    Fact("GnuTLS", r"certificate chain is revoked", ("revoked", "revoked-authority")),
    Fact("GnuTLS", r"error in handshake: certificate is required", _NO_CERTIFICATE, side="server"),
    Fact("git", r"server certificate verification failed", _UNVERIFIED, side="client",
         decides=_WHICH),
    Fact("curl", r"no alternative certificate subject name matches", _NAME, side="client"),
    Fact("socat", r"commonname does not match hostname", _NAME, side="client"),
    Fact("stunnel", r"cert: subject checks failed", _NAME, side="client"),
    Fact("Perl", r"hostname verification failed", _NAME, side="client"),
    Fact("PHP", r"peer certificate subjectaltname did not match", _NAME, side="client"),
    Fact("Python", r"hostname '[^']{1,255}' doesn't match", _NAME, side="client"),
    Fact("PostgreSQL", r"server certificate for .{1,255} does not match host name", _NAME,
         side="client"),
    Fact("PostgreSQL", r"root certificate file .{1,255} does not exist", ("empty-trust",),
         side="client"),
    Fact("PostgreSQL", r"connection requires a valid client certificate", _NO_CERTIFICATE,
         "server"),
    Fact("PostgreSQL", r"certificate authentication failed for user", ("not-authorised",),
         "server"),
    Fact("PostgreSQL", r"no pg_hba\.conf entry for .{1,255}no encryption", ("plaintext-client",),
         "server"),
    Fact("PostgreSQL", r"server does not support ssl", _NOT_TLS, side="client"),
    Fact("MySQL", r"validation of ssl server certificate failed", ("wrong-name", *_UNTRUSTED),
         side="client"),
    Fact("mtls-echo", r"mtls-echo: not authorised:", ("not-authorised",), "server", "client"),
    # nginx finishes the handshake, judges afterwards, and answers in HTTP: no alert is sent.
    Fact("nginx", r"no required ssl certificate was sent|client sent no required ssl certificate",
         _NO_CERTIFICATE, "server"),
    Fact("nginx", r"400 the ssl certificate error|the ssl certificate error",
         ("unknown-authority", "expired", "wrong-usage", "revoked"), "server",
         decides="nginx's error log, level info: `client SSL certificate verify error: (N:…)`"),
    Fact("nginx", r"plain http request (?:was sent )?to https port", ("plaintext-client",),
         "nobody"),
    Fact("HAProxy", r"ssl client certificate not trusted",
         ("unknown-authority", "expired", "wrong-usage", "missing-intermediate"), side="server",
         decides="ssl_c_err and ssl_fc_err_str in HAProxy's error-log-format"),
    Fact("HAProxy", r"ssl handshake failure",
         ("no-client-certificate", "unknown-authority", "no-common-version", "plaintext-client"),
         "unsaid", vague=True,
         decides="ssl_fc_err_str in HAProxy's error-log-format: without it, even who refused is "
         "not said"),
    # Browsers. What they say about their own certificate came from the server as an alert.
    Fact("Chrome", r"err_bad_ssl_client_auth_cert", _TO_CLIENT, "server", "client",
         decides="the server's log, or chrome://net-export: one code stands for eight alerts"),
    Fact("Chrome", r"err_ssl_client_auth_cert_needed", _NO_CERTIFICATE, "server", "client"),
    Fact("Chrome", r"err_cert_authority_invalid", _UNTRUSTED, side="client"),
    Fact("Chrome", r"err_cert_common_name_invalid", _NAME, side="client"),
    Fact("Chrome", r"err_cert_date_invalid", _DATES, side="client"),
    Fact("Chrome", r"err_cert_revoked", ("revoked", "revoked-authority"), side="client"),
    Fact("Chrome", r"err_ssl_version_or_cipher_mismatch",
         ("no-common-version", "no-common-cipher"), "unsaid", "client",
         decides="an alert (40, 70 or 71) from the server, or Chrome's own limits: "
         "chrome://net-export"),
    Fact("Chrome", r"err_ssl_protocol_error",
         ("plaintext-peer", "no-common-version", "no-client-certificate"), "unsaid", "client",
         decides="`openssl s_client` to the same port: Chrome shows this for many failures"),
    Fact("Firefox", r"mozilla_pkix_error_self_signed_cert", ("self-signed",), side="client"),
    Fact("Firefox", r"sec_error_unknown_issuer|sec_error_untrusted_issuer", _UNTRUSTED,
         side="client"),
    Fact("Firefox", r"ssl_error_bad_cert_domain", _NAME, side="client"),
    Fact("Firefox", r"sec_error_expired_certificate", ("expired",), side="client"),
    Fact("Firefox", r"sec_error_expired_issuer_certificate", ("expired-authority",),
         side="client"),
    Fact("Firefox", r"sec_error_revoked_certificate", ("revoked",), side="client"),
    Fact("Firefox", r"ssl_error_no_cypher_overlap", ("no-common-cipher", "no-common-version"),
         "unsaid", "client",
         decides="`openssl s_client -msg`: an alert handshake_failure right after ClientHello "
         "is the server's"),
    Fact("Firefox", r"ssl_error_unsupported_version", ("no-common-version",), side="client"),
    Fact("Firefox", r"ssl_error_rx_record_too_long", _NOT_TLS, "nobody", "client"),
    # Windows and .NET.
    Fact("Windows", r"sec_e_untrusted_root|0x80090325|untrusted_?root|0x800b0109",
         ("unknown-authority", "self-signed")),
    Fact("Windows", r"sec_e_illegal_message|0x80090326",
         ("no-client-certificate", "unknown-authority", "no-common-version", "no-common-cipher"),
         "unsaid",
         decides="the System event log, source Schannel, event 36887: it has the alert's number"),
    Fact("Windows", r"sec_e_cert_expired|0x80090328|0x800b0101|\bnottimevalid\b", _DATES),
    Fact("Windows", r"sec_e_wrong_principal|0x80090322|0x800b010f|remotecertificatenamemismatch",
         _NAME, side="client"),
    Fact("Windows", r"sec_e_algorithm_mismatch|0x80090331",
         ("no-common-cipher", "no-common-version"), "unsaid"),
    Fact("Windows", r"0x80092012|0x80092013|revocation_status_unknown|revocation_?offline",
         ("crl-missing",)),
    Fact("Windows", r"crypt_e_revoked|0x80092010", ("revoked",)),
    Fact(".NET", r"\bpartialchain\b", ("missing-intermediate", "unknown-authority")),
    Fact(".NET", r"remotecertificatechainerrors|could not establish trust relationship",
         _UNVERIFIED, vague=True,
         decides="the chain status in the inner exception, such as UntrustedRoot"),
    Fact(".NET", r"remotecertificatenotavailable",
         ("no-client-certificate", "no-server-certificate")),
    Fact("macOS", r"errsslxcertchaininvalid", _UNTRUSTED, side="client"),
    # A verdict without its reason.
    Fact("curl", r"ssl certificate verification failed",
         ("unknown-authority", "expired", "wrong-name"), "unsaid", "client",
         decides="`curl -v`: TLS alert after (OUT) is curl's own verdict, after (IN) the "
         "server's on us"),
    Fact("OpenSSL", r"certificate[ _]verify[ _]failed|certificate verification failed",
         _UNVERIFIED, vague=True, decides=_WHICH),
    Fact("GnuTLS", r"error in the certificate\.|pki verification of server certificate failed",
         _UNVERIFIED, vague=True, decides="the line `Status:` in the same output"),
    Fact("GnuTLS", r"a tls fatal alert has been received", _TO_CLIENT, "peer", vague=True,
         decides="the line `Received alert [N]` beside it"),
    Fact("OpenSSL", r"key values mismatch|private key does not match", ("key-not-owned",),
         "nobody", vague=True),
    Fact("OpenSSL", r"legacy sigalg disallowed or unsupported",
         ("no-common-signature-algorithm", "no-common-version")),
    # Not TLS at all.
    Fact("Go", r"server gave http response to https client", _NOT_TLS, "nobody", "client"),
    Fact("Go", r"client sent an http request to an https server", ("plaintext-client",), "nobody"),
    Fact("Go", r"first record does not look like a tls handshake", _NOT_TLS, "nobody"),
    Fact("Java", r"unsupported or unrecognized ssl message|plaintext connection\?", _NOT_TLS,
         "nobody"),
    Fact("GnuTLS", r"an unexpected tls packet was received", _NOT_TLS, "nobody"),
    Fact("rustls", r"received corrupt message of type invalidcontenttype", _NOT_TLS, "nobody"),
    Fact("mtls-echo", r"this port speaks tls, and you do not", ("plaintext-client",), "nobody",
         "client"),
    # Ends of the transport: they come last, for they follow from something else.
    Fact("MySQL", r"lost connection to server at|server has gone away",
         ("closed-without-alert", "unknown-authority", "expired"), "unsaid", "client", True, _WHY),
    Fact("node", r"client network socket disconnected before secure tls|socket hang up", _CLOSED,
         "unsaid", vague=True, decides=_WHY),
    Fact("Java", r"remote host terminated the handshake|peer shut down incorrectly", _CLOSED,
         "unsaid", vague=True, decides=_WHY),
    Fact("GnuTLS", r"tls connection was non-properly terminated", _CLOSED, "unsaid", vague=True,
         decides=_WHY),
    Fact("rustls", r"peer closed connection without sending tls close_notify|tls handshake eof",
         ("truncated", "closed-without-alert"), "unsaid", vague=True, decides=_WHY),
    Fact("Go", r"(?:handshake error from \S{1,64}|https://\S{1,255}\"?|handshake failed): "
         r"(?:unexpected )?eof\b", _CLOSED, "unsaid", vague=True, decides=_WHY),
    Fact("OpenSSL", r"unexpected[ _]eof[ _]while[ _]reading|eof occurred in violation of protocol"
         r"|ssl_error_syscall|closed connection while ssl handshaking|ssl connection: eof "
         r"detected|handshake read failed \(socket closed|pr_end_of_file_error"
         r"|err_connection_closed|empty reply from server|remote party (?:has )?closed the "
         r"transport stream", _CLOSED, "unsaid", vague=True, decides=_WHY),
    Fact("the system",
         r"connection (?:was )?reset\b|econnreset|connectionreseterror|errno[= ]104\b|broken "
         r"pipe|\bepipe\b|pr_connect_reset_error|err_connection_reset|forcibly closed|error "
         r"in the pull function", _RESET, "unsaid", vague=True, decides=_WHY),
    Fact("the system",
         r"connection refused|econnrefused|err_connection_refused|errno[= ]111\b|couldn't "
         r"connect to server", ("no-connection",), "nobody", "client", True),
    Fact("the system",
         r"handshake time(?:d )?-?out|etimedout|(?:connection|operation) timed out|err_timed_out",
         ("timeout",), "nobody", vague=True),
    # Exit statuses, the least that can be said.
    Fact("curl", r"(?:curl\b.{0,20}|exit(?:ed)?(?: with)? (?:status|code)? ?|^)\(?60\)?\b",
         _UNVERIFIED, "unsaid", "client", True,
         decides="the words after `curl: (60)`, and `curl -v`"),
    Fact("curl", r"(?:curl\b.{0,20}|exit(?:ed)?(?: with)? (?:status|code)? ?)\(?56\)?\b",
         (*_TO_CLIENT, "reset"), "unsaid", "client", True,
         "the words after `curl: (56)`: a TLS 1.3 server's refusal arrives with the first read"),
    Fact("curl", r"(?:curl\b.{0,20}|exit(?:ed)?(?: with)? (?:status|code)? ?)\(?35\)?\b",
         ("plaintext-peer", "no-common-version", "no-common-cipher", "no-client-certificate"),
         "unsaid", "client", True,
         "the words after `curl: (35)`: some alert or error ended the handshake"),
    Fact("curl", r"curl\b.{0,20}\(?51\)?\b", _NAME, side="client", vague=True),
    Fact("curl", r"curl\b.{0,20}\(?52\)?\b", _CLOSED, "unsaid", "client", True, _WHY),
    Fact("curl", r"curl\b.{0,20}\(?58\)?\b", ("key-not-owned",), "nobody", "client", True),
    Fact("curl", r"curl\b.{0,20}\(?77\)?\b", ("empty-trust",), side="client", vague=True),
    Fact("wget", r"wget\b.{0,20}exit.{0,12} 5\b", _UNVERIFIED, side="client", vague=True),
    Fact("mtls-echo", r"^(?:mtls-echo.{0,20})?exit(?:ed)?(?: with)? (?:status|code)? ?4\W?$",
         _UNVERIFIED, side="client", vague=True),
    Fact("mtls-echo", r"^(?:mtls-echo.{0,20})?exit(?:ed)?(?: with)? (?:status|code)? ?5\W?$",
         _TO_CLIENT, "server", "client", True),
    Fact("mtls-echo", r"^(?:mtls-echo.{0,20})?exit(?:ed)?(?: with)? (?:status|code)? ?6\W?$",
         _CLOSED, "unsaid", "client", True, _WHY),
    Fact("mtls-echo", r"^(?:mtls-echo.{0,20})?exit(?:ed)?(?: with)? (?:status|code)? ?8\W?$",
         ("no-common-version", "plaintext-peer"), "unsaid", "client", True),
    Fact("mtls-echo", r"^(?:mtls-echo.{0,20})?exit(?:ed)?(?: with)? (?:status|code)? ?9\W?$",
         ("not-authorised",), "server", "client", True),
)  # fmt: skip

# Whose log or message this is, and which side such a program is when it prints one.
PROGRAMS: tuple[tuple[str, str, Side | None], ...] = (
    (r"\bcurl: ?\(|\bcurl error", "curl", "client"),
    (
        r"httpsconnectionpool|urlopen error|httpx\.|aiohttp|requests\.exceptions",
        "Python",
        "client",
    ),
    (r"_ssl\.c:\d|\[ssl: [a-z_0-9]+\]|\bssl\.ssl|sslcertverificationerror", "Python", None),
    (r"client disconnected, failure reason|upstream connect error|ssl_socket\.cc", "Envoy", None),
    (r"ssl_transport_security|tsi_protocol_failure|rpc error|_inactiverpcerror", "gRPC", None),
    (r"openssl_internal", "BoringSSL", None),
    (r"deps/openssl|\berr_ssl_(?:ssl|tls)v|\beproto\b", "node", None),
    (
        r"ssl_do_handshake\(\) failed|client ssl certificate verify|ssl handshaking",
        "nginx",
        "server",
    ),
    (r"ssl_fc_err|\bssl_c_err\b", "HAProxy", "server"),
    (r"\blog[3-7]\[\w{1,8}\]:|cert: pre-verification", "stunnel", None),
    (r"socat\[\d", "socat", None),
    (r"psql: error|connection to server at|libpq", "PostgreSQL", "client"),
    (r"could not accept ssl connection", "PostgreSQL", "server"),
    (r"error 2026 \(hy000\)", "MySQL", "client"),
    (r"openssl::ssl::sslerror", "Ruby", None),
    (r"file_get_contents|failed to enable crypto", "PHP", "client"),
    (r"500 can't connect to", "Perl", "client"),
)

# Words beside the error that tell the side, wherever they come from.
SIDES: tuple[tuple[str, Side], ...] = (
    (r"to upstream|upstream ssl certificate|upstream connect error|layer6 invalid", "client"),
    (r"the server refused us|we refused the server|the server turned us away", "client"),
    (r"the client refused us|we refused the client|turned the client away", "server"),
    (r"tls handshake error from|failed to verify client certificate", "server"),
    (r"tls client authentication", "server"),
    (r"tls server authentication", "client"),
    (r"ssl_accept|tls_process_client_certificate|statem_srvr\.c"
         r"|tls_early_post_process_client", "server"),
    (r"ssl_connect|tls_(?:post_)?process_server_certificate|statem_clnt\.c", "client"),
    (r"(?:\bget|\bpost|\bhead) \"https://", "client"),
    (r"transport: authentication handshake failed|failed to connect to all addresses", "client"),
    (r"^gnutls: |gnutls_handshake\(\) failed|pki verification of server", "client"),
    (r"unable to access 'https|err_cert_|fetch failed|net::err_|\bmozilla_|\bsec_error_",
         "client"),
    (r"ssl_error_\w{1,40}_alert|initializesecuritycontext|schannel: ", "client"),
    (r"server certificate", "client"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text proves.

    Attributes:
        kind: What sort of fact it is.
        refused: Who refused whom, seen from the program that printed the text.
        program: Whose words these are.
        words: The part of the text that was recognised.
        side: Which side prints this; None when either may.
        alert: The alert that the text names.
        verify_code: OpenSSL's verdict that the text names.
        reason: OpenSSL's reason symbol that the text names.
        stated: The causes that the words themselves state; else the tables give the family.
        decides: What would decide, where the words leave something open.
    """

    kind: Kind
    refused: Refused
    program: str = "OpenSSL"
    words: str = ""
    side: Side | None = None
    alert: int | None = None
    verify_code: int | None = None
    reason: str | None = None
    stated: tuple[str, ...] = ()
    decides: str = ""

    def rejected_by(self, side: Side | None) -> Side | None:
        """The side that refused, if the text was printed by ``side``; None when it says not."""
        if self.refused in ("client", "server"):
            return self.refused
        if side is None or self.refused not in ("printer", "peer"):
            return None
        return side if self.refused == "printer" else _other(side)

    def causes(self, side: Side | None) -> tuple[str, ...]:
        """Slugs, most likely first, for a text printed by ``side``."""
        if self.stated:
            slugs = self.stated
        elif self.verify_code is not None:
            code = _SAME_VERDICT.get(self.verify_code, self.verify_code)
            slugs = VERIFY.get(code, ())
        elif self.reason is not None:
            slugs = _WORDS_ALONE.get(self.reason) or REASON.get(self.reason, ())
        elif self.alert is not None:
            slugs = (*_OTHER_STACKS.get(self.alert, ()), *ALERT.get(self.alert, ()))
        else:
            slugs = ()
        rejected_by = self.rejected_by(side)
        wrong = _NEVER_OF[_other(rejected_by)] if rejected_by is not None else frozenset[str]()
        slugs = tuple(dict.fromkeys(slug for slug in slugs if slug not in wrong)) or slugs
        if side is not None and "plaintext-peer" in slugs:
            # The same words at a server are about a client that did not speak TLS.
            slugs = tuple(_PLAINTEXT[side] if s == "plaintext-peer" else s for s in slugs)
        return slugs or ("internal-error",)


def _other(side: Side) -> Side:
    return "server" if side == "client" else "client"


_PLAINTEXT: dict[Side, str] = {"client": "plaintext-peer", "server": "plaintext-client"}

# Faults that cannot be this side's: nobody looks for a host's name in a client's certificate.
_NEVER_OF: dict[Side, frozenset[str]] = {
    "client": frozenset({"wrong-name", "no-san", "no-server-certificate"}),
    "server": frozenset({"no-client-certificate"}),
}

# 21 (unable to verify the first certificate) follows 20 where verification went on, and is what
# node keeps; 24 was 79 before OpenSSL 3.
_SAME_VERDICT = {21: 20, 24: 79, 63: 62}

# What `diagnosis` can tell from the first bytes received, words alone cannot: mostly this is HTTP.
_WORDS_ALONE = {
    "WRONG_VERSION_NUMBER": ("plaintext-peer",),
    "NO_SUITABLE_SIGNATURE_ALGORITHM": ("no-common-signature-algorithm",),
}

# What stacks other than OpenSSL mean by an alert (measured: Go 1.19, Java 17, GnuTLS 3.7), and
# what a handshake failure can be when nobody saw how far the handshake had come.
_OTHER_STACKS: dict[int, tuple[str, ...]] = {
    A.bad_certificate: ("wrong-name", "no-client-certificate", "unknown-authority", "expired"),
    A.certificate_unknown: ("unknown-authority", "expired", "wrong-name", "wrong-usage"),
    A.access_denied: ("not-authorised", "unknown-authority", "expired"),
    A.handshake_failure: (
        "no-client-certificate",
        "no-common-cipher",
        "no-common-group",
        "no-common-signature-algorithm",
        "no-server-certificate",
    ),
}
_DECIDES = {
    A.bad_certificate: "which stack sent it: Go sends it for every fault of a client certificate,"
    " a missing one included; OpenSSL for names, dates to come and weak keys",
    A.certificate_unknown: "which stack sent it: Java sends it for every fault of a certificate",
    A.access_denied: "which stack sent it: GnuTLS's server sends it for every bad certificate",
    A.handshake_failure: "when it came: right after ClientHello there is nothing in common; after"
    " the client's Certificate (TLS 1.2) it is about that certificate, or that there was none",
    A.certificate_required: "whether the client has a certificate at all: some (Go, Java, GnuTLS)"
    " send none when theirs is from no authority that the server named",
}

# Alerts that only a server sends, so that whoever received one is a client.
_SERVERS_ONLY = {
    A.certificate_required, A.unrecognized_name, A.no_application_protocol,
    A.inappropriate_fallback, A.unknown_psk_identity,
}  # fmt: skip
_CLIENTS_REASONS = {"INAPPROPRIATE_FALLBACK"}
_SERVERS_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE", "NO_SHARED_CIPHER", "NO_SUITABLE_KEY_SHARE",
    "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "NO_APPLICATION_PROTOCOL",
}  # fmt: skip

_BY_NAME = {a.name.replace("_", ""): a.value for a in A if a is not A.close_notify} | ALERT_WORDS


def _alert_named(name: str) -> int | None:
    return _BY_NAME.get(re.sub(r"[ _-]", "", name))


def _received(code: int | None, refused: Refused = "peer") -> Reading | None:
    """An alert from the peer; close_notify and its like refuse nothing."""
    if code is None or code not in set(A) - {A.close_notify, A.user_canceled}:
        return None
    side: Side | None = "client" if code in _SERVERS_ONLY else None
    decides = _DECIDES.get(A(code), "")
    return Reading("alert received", refused, side=side, alert=code, decides=decides)


def _sent(code: int | None) -> Reading | None:
    reading = _received(code)
    if reading is None:
        return None
    side: Side | None = "server" if code in _SERVERS_ONLY else None
    return replace(reading, kind="alert sent", refused="printer", side=side)


def _verdict(code: int) -> Reading | None:
    if code == 0:  # "Verify return code: 0 (ok)"
        return None
    side: Side | None = "client" if code in (62, 64) else None
    return Reading("verdict", "printer", verify_code=code, side=side)


def _packed(text: str) -> Reading | None:
    """OpenSSL's number: library and reason in one word, alerts from 1000 (``SSL_AD_...``)."""
    packed = int(text, 16)
    library, reason = packed >> 24, packed & 0xFFF  # 0x0A and 0x14 are OpenSSL's, 0x10 BoringSSL's
    return _received(reason - 1000) if library in (0x0A, 0x14, 0x10) and reason > 1000 else None


def _reason(words: str) -> Reading:
    symbol = words.upper().replace(" ", "_")
    side: Side | None = None
    if symbol in _SERVERS_REASONS:
        side = "server"
    elif symbol in _CLIENTS_REASONS:
        side = "client"
    refused: Refused = "nobody" if symbol.startswith(("HTTP", "WRONG_VERSION")) else "printer"
    return Reading("reason", refused, side=side, reason=symbol)


def _number(digits: str) -> Reading | None:
    return _received(int(digits))


def _sent_number(digits: str) -> Reading | None:
    return _sent(int(digits))


def _name(name: str) -> Reading | None:
    return _received(_alert_named(name))


def _sent_name(name: str) -> Reading | None:
    return _sent(_alert_named(name))


def _low_byte(digits: str) -> Reading | None:
    return _received(int(digits) & 0xFF)  # level and description in one number


def _sent_low_byte(digits: str) -> Reading | None:
    return _sent(int(digits) & 0xFF)


def _decimal(digits: str) -> Reading | None:
    return _packed(f"{int(digits):08x}")


def _verdict_number(digits: str) -> Reading | None:
    return _verdict(int(digits))


def _nss(name: str) -> Reading | None:
    return _received(NSS_ALERTS.get(name))


def _secure_transport(status: str) -> Reading | None:
    meaning = SECURE_TRANSPORT.get(int(status))
    if meaning is None:
        return None
    if isinstance(meaning, int):
        return _received(meaning)
    return Reading("statement", "printer", side="client", stated=meaning)


class _Grammar(NamedTuple):
    program: str
    pattern: str
    read: Callable[[str], Reading | None]


_RFC_NAMES = "|".join(
    sorted((a.name.replace("_", "[ _]") for a in A if a is not A.close_notify), key=len)[::-1]
)
_REASONS = "|".join(key.lower().replace("_", "[ _]") for key in sorted(REASON, key=len)[::-1])
_OPENSSL = (
    r"(?:^|\[ssl: |\[ssl\] |ssl routines:\w{0,60}:|openssl_internal:|err_ssl_|state=error: "
    r"|(?:tls|ssl)(?:/ssl)? error: |ssl_(?:read|write|connect|accept): )"
)

# Numbers and names that stand in the text itself.
_GRAMMARS = (
    _Grammar("mtls-echo", rf"(?:server|client) refused us: alert ({_RFC_NAMES})", _name),
    _Grammar("mtls-echo", r"received:? alert \w{1,40} \((\d{1,3})\)", _number),
    _Grammar("mtls-echo", r'"code": ?(\d{1,3}), ?"direction": ?"received"', _number),
    _Grammar("OpenSSL", r"\balert number:? (\d{1,3})\b", _number),
    _Grammar("OpenSSL", rf"(?:sslv3|tlsv13?)[ _](?:alert[ _])?({_RFC_NAMES})(?![a-z])", _name),
    _Grammar("OpenSSL", r"\berror:([0-9a-f]{8}):", _packed),
    _Grammar("Envoy", r"\b(?:tls|ssl)[ _]error:?[ _|]{0,3}(2684\d{5}):", _decimal),
    _Grammar("OpenSSL", r"ssl3 alert read:fatal:([a-z ]{1,40})", _name),
    _Grammar("OpenSSL", r"<<< tls 1\.\d, alert \[length 0002\], fatal (\w{1,40})", _name),
    _Grammar("OpenSSL", r">>> tls 1\.\d, alert \[length 0002\], fatal (\w{1,40})", _sent_name),
    _Grammar("Java or rustls", r"received fatal alert: ?(\w{1,40})", _name),
    _Grammar("rustls", r"alertreceived\((\w{1,40})\)", _name),
    _Grammar("rustls", r"sending fatal alert (?:alertdescription::)?(\w{1,40})", _sent_name),
    _Grammar("Go", r"remote error: tls: ([a-z ]{1,40})", _name),
    _Grammar("Go", r"local error: tls: ([a-z ]{1,40})", _sent_name),
    _Grammar("GnuTLS", r"received alert \[(\d{1,3})\]", _number),
    _Grammar("GnuTLS", r"gnutls_handshake\(\) failed: ([a-z ]{1,60})", _name),
    _Grammar(".NET", r"remote party sent a tls alert: '(\w{1,40})'", _name),
    _Grammar("Windows", r"fatal alert was received.{0,90}?(?:code is|:) (\d{1,3})\b", _number),
    _Grammar("Windows", r"fatal alert was generated.{0,120}?code is:? (\d{1,3})\b", _sent_number),
    _Grammar("curl", r"\(in\), tls alert, [^(]{1,40}\((\d{1,4})\)", _low_byte),
    _Grammar("Firefox", r"\bssl_error_(?:rx_)?(\w{1,40})_alert\b", _nss),
    _Grammar("macOS", r"(?<![\d.])(-98\d\d)\b", _secure_transport),
    _Grammar("OpenSSL",
         r"verif(?:y|ication) (?:return )?(?:error|code):? ?(?:num=|\()?(\d{1,3})\b",
         _verdict_number),
    _Grammar("HAProxy", r"(?:\bverify|ssl_c_err)=(\d{1,3})\b", _verdict_number),
    _Grammar("curl", r"\(out\), tls alert, [^(]{1,40}\((\d{1,4})\)", _sent_low_byte),
)  # fmt: skip

_AFTER_FACTS = (
    _Grammar("OpenSSL", rf"{_OPENSSL}({_REASONS})\b", _reason),
    _Grammar("mtls-echo", r"\bsent:? alert \w{1,40} \((\d{1,3})\)", _sent_number),
)  # fmt: skip

# The whole text is a number or a name: whether it was sent or received, it does not say.
_BARE = re.compile(
    rf"(?:(?:tls|ssl|fatal) )*(?:alert[ :]*)?(\d{{1,3}}|{_RFC_NAMES})(?: alert)?\W?"
)


def _own_words() -> re.Pattern[str]:
    """Our own sentences, from the catalogue that they are made of."""
    clauses: list[str] = []
    for slug, cause in CAUSES.items():
        clause = re.escape(cause.says.lower())
        for name, words in (("its", "(?:its|our)"), ("it", "(?:it|we)"), ("owner", r"\w+"),
                            ("judges", r"(?:our|the \w+'s)"), ("judge", r"\w+")):  # fmt: skip
            clause = clause.replace(rf"\{{{name}\}}", words)
        clauses.append(f"(?P<{slug.replace('-', '_')}>{clause})")
    who = r"(?P<who>we refused the \w{6}|the \w{6} refused us|the server turned us away"
    who += r"|turned the client away|failed \S{1,64}|mtls-echo: error"
    return re.compile(rf"{who}): (?:{'|'.join(clauses)})")


# Groups of `_own_words` that say how it ended, and not why.
_ENDS = {"closed_without_alert", "reset", "truncated"}

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)")
_QUOTES = str.maketrans(
    "\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"
    "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}`",
    "''\"\"'",
)


def plain(text: str, *, joint: str = " ") -> str:
    """The text as the patterns expect it: one line, lower case, straight quotes, no colours.

    Args:
        text: What somebody pasted.
        joint: What a line break becomes; the empty string mends words that a terminal cut.
    """
    text = _ANSI.sub("", text).translate(_QUOTES).replace("\\n", " ")
    text = joint.join(line.strip(" \t\r") for line in text.splitlines())
    return " ".join(text.lower().split()).strip("'\" ")


def readings(text: str) -> list[Reading]:
    """Everything that the text proves, most certain first; empty when nothing is recognised."""
    for joint in (" ", ""):
        line = plain(text, joint=joint)
        found = list(_read(line))
        if found:
            program, side = _printed_by(line)
            return [_attributed(reading, program, side) for reading in found]
    return []


def _attributed(reading: Reading, program: str | None, side: Side | None) -> Reading:
    generic = reading.program == "OpenSSL"
    return replace(
        reading,
        program=program if program is not None and generic else reading.program,
        side=reading.side or side,
    )


def _printed_by(line: str) -> tuple[str | None, Side | None]:
    program, side = None, None
    for pattern, name, usual_side in PROGRAMS:
        if re.search(pattern, line):
            program, side = name, usual_side
            break
    for pattern, printed_by in SIDES:
        if re.search(pattern, line):
            return program, printed_by
    return program, side


def _read(line: str) -> Iterator[Reading]:
    bare = _BARE.fullmatch(line)
    if bare is not None:
        code = int(bare[1]) if bare[1].isdigit() else _alert_named(bare[1])
        reading = _received(code)
        if reading is not None:
            yield replace(
                reading, kind="alert", program="RFC 8446", words=bare[0],
                decides="whether your program sent or received it; and a number could also be"
                " something else: then write `verify code 20` or `curl: (60)`"
                if bare[1].isdigit() else "whether your program sent or received it",
            )  # fmt: skip
        return
    if ours := _OWN_WORDS.search(line):
        slug = next(name for name, words in ours.groupdict().items() if words and name != "who")
        refused: Refused = "peer"
        if ours["who"].startswith(("we ", "turned")):
            refused = "printer"
        elif ours["who"].startswith(("failed", "mtls-echo")):
            refused = "unsaid" if slug in _ENDS else "nobody"
        alert = re.search(r"alert \w{1,40} \((\d{1,3})\)", line)
        yield Reading(
            "statement", refused, "mtls-echo", ours[0], stated=(slug.replace("_", "-"),),
            alert=int(alert[1]) if alert else None,
        )  # fmt: skip
    certain = list(_by_grammar(_GRAMMARS, line))
    for program, pattern, code in VERDICTS:
        if match := re.search(pattern, line):
            verdict = _verdict(code)
            if verdict is not None:
                certain.append(replace(verdict, program=program, words=match[0]))
            break
    for fact in FACTS:
        if not fact.vague and (match := re.search(fact.pattern, line)):
            certain.append(_stated(fact, match[0]))
    certain += _by_grammar(_AFTER_FACTS, line)
    yield from certain
    if not certain and ours is None:
        for fact in FACTS:
            if fact.vague and (match := re.search(fact.pattern, line)):
                yield _stated(fact, match[0])


def _stated(fact: Fact, words: str) -> Reading:
    return Reading(
        "statement", fact.refused, fact.program, words, fact.side,
        stated=fact.causes, decides=fact.decides,
    )  # fmt: skip


def _by_grammar(grammars: tuple[_Grammar, ...], line: str) -> Iterator[Reading]:
    for program, pattern, read in grammars:
        for match in re.finditer(pattern, line):
            reading = read(match[1])
            if reading is not None:
                yield replace(reading, program=program, words=match[0])
                break


_OWN_WORDS = _own_words()


def phrases() -> list[str]:
    """Phrases that are recognised, to suggest: alerts, verdicts, reasons, fixed words."""
    alerts = [f"alert {a.name.replace('_', ' ')}" for a in A if a not in (0, 90)]
    reasons = [symbol.lower().replace("_", " ") for symbol in REASON]
    patterns = [pattern for _, pattern, _ in VERDICTS] + [fact.pattern for fact in FACTS]
    fixed = [
        part.replace("_", " ").strip()
        for pattern in patterns
        for part in pattern.split("|")
        if re.fullmatch(r"[a-z_' ]{6,60}", part)
    ]
    return list(dict.fromkeys(alerts + reasons + fixed))
