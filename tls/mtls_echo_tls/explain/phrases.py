"""The error texts of other programs, as tables: what each prints, and what it stands for.

Grouped by stack. `mtls_echo_tls.explain.parse` searches a text for them;
`mtls_echo_tls.explain.findings` says what such a fact proves. Patterns are matched in lower case,
with white space folded.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from mtls_echo_tls.sides import Side
from mtls_echo_tls.slugs import Slugs

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
SECURE_TRANSPORT: dict[int, int | Slugs] = {
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
    ("OpenSSL", r"unable to get certificate crl|unable_to_get_crl(?!_issuer)", 3),
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
    ("OpenSSL", r"unable to get issuer certificate|unable_to_get_issuer_cert\b", 2),
    ("OpenSSL", r"certificate chain too long|cert_chain_too_long", 22),
    ("OpenSSL", r"unable to get crl issuer certificate|unable_to_get_crl_issuer", 33),
    ("OpenSSL", r"key usage does not include crl signing|keyusage_no_crl_sign", 35),
    ("OpenSSL", r"different crl scope|different_crl_scope", 44),
    # Strict verification, the default of Python since 3.13.
    ("OpenSSL", r"path length invalid for non-ca cert", 80),
    ("OpenSSL", r"path length given without key usage keycertsign", 81),
    ("OpenSSL", r"key usage keycertsign invalid for non-ca cert", 82),
    ("OpenSSL", r"(?:: |\(|^)issuer name empty", 83),
    ("OpenSSL", r"(?:: |\(|^)subject name empty", 84),
    ("OpenSSL", r"empty subject alternative name extension", 87),
    ("OpenSSL", r"subject empty and subject alt name extension not critical", 88),
    ("OpenSSL", r"basic constraints of ca cert not marked critical", 89),
    ("OpenSSL", r"authority key identifier marked critical", 90),
    ("OpenSSL", r"subject key identifier marked critical", 91),
    ("OpenSSL", r"ca cert does not include key usage extension", 92),
    ("OpenSSL", r"using cert extension requires at least x509v3", 93),
    ("OpenSSL", r"certificate public key has explicit ecc parameters", 94),
    ("OpenSSL", r"missing authority key identifier", 85),
    ("OpenSSL", r"missing subject key identifier", 86),
)  # fmt: skip


class Phrase(NamedTuple):
    """A stock phrase.

    Attributes:
        program: Whose.
        pattern: A regular expression for `plain` text.
        causes: What it states, most likely first.
        refused: Who refused, seen from the program that prints it.
        side: Which side prints it.
        vague: It says little, and counts only when nothing else in the text says more.
        decides: What would tell the causes apart, or who refused.
    """

    program: str
    pattern: str
    causes: Slugs
    refused: Refused = "printer"
    side: Side | None = None
    vague: bool = False
    decides: str = ""


_UNTRUSTED: Slugs = ("unknown-authority", "missing-intermediate", "self-signed")
_UNVERIFIED: Slugs = (*_UNTRUSTED, "expired", "wrong-name", "wrong-usage")
_CLOSED: Slugs = ("closed-without-alert",)
_RESET: Slugs = ("reset",)
_NAME: Slugs = ("wrong-name", "no-san")
_NOT_TLS: Slugs = ("plaintext-peer",)
_NO_CERTIFICATE: Slugs = ("no-client-certificate",)
_DATES: Slugs = ("expired", "not-yet-valid", "clock-skew")
_TO_CLIENT: Slugs = ("no-client-certificate", "unknown-authority", "expired", "wrong-usage")
_WHICH = "the verify code or reason, in the same program's log or from `openssl s_client`"
_WHY = "the other side's log: an end without an alert says nothing about why"

PHRASES: tuple[Phrase, ...] = (
    # Verdicts on a certificate, in each stack's words.
    # It knows a CA of that name, and another key has signed.
    Phrase("Go", r"possibly because of .{0,24} verification (?:failure|error)\W{0,2} while trying "
         r"to verify candidate authority", ("impostor-authority", "bad-signature")),
    Phrase("Go", r"x509: certificate signed by unknown authority", _UNTRUSTED),
    Phrase("Go", r"x509: .{0,80}(?:is not authorized to sign|not a ca\b)", ("not-an-authority",)),
    Phrase("Go", r"x509: certificate has expired or is not yet valid", _DATES, vague=True),
    Phrase("Go", r"x509: certificate is (?:not )?valid for", ("wrong-name",), side="client"),
    Phrase("Go", r"doesn't contain any ip sans", ("wrong-name", "no-san"), side="client"),
    Phrase("Go", r"relies on legacy common name|not valid for any names", ("no-san",),
         side="client"),
    Phrase("Go", r"x509: certificate specifies an incompatible key usage", ("wrong-usage",)),
    Phrase("Go", r"tls: client didn't provide a certificate", _NO_CERTIFICATE, side="server"),
    Phrase("Go", r"tls: private key does not match public key", ("key-not-owned",), "nobody"),
    Phrase("Go", r"tls: client offered only unsupported versions", ("no-common-version",),
         side="server"),
    Phrase("Go", r"tls: no cipher suite supported by both", ("no-common-cipher",), side="server"),
    Phrase("Java", r"pkix path building failed|unable to find valid certification path",
         _UNTRUSTED),
    Phrase("Java", r"pkix path validation failed", ("expired", "not-an-authority", "revoked"),
         vague=True, decides="the exception that this one is `Caused by`"),
    Phrase("Java", r"trustanchors parameter must be non-empty", ("empty-trust",)),
    Phrase("Java",
         r"no subject alternative (?:dns )?names? matching|no name matching .{0,80} found",
         _NAME, side="client"),
    Phrase("Java", r"no subject alternative names present", ("no-san",), side="client"),
    Phrase("Java", r"extended key usage does not permit use", ("wrong-usage",)),
    Phrase("Java", r"empty (?:client|server) certificate chain|null cert chain", _NO_CERTIFICATE,
         side="server"),
    Phrase("Java", r"client requested protocol \S{1,20} is not enabled", ("no-common-version",),
         side="server"),
    Phrase("Java", r"no appropriate protocol", ("no-common-version",)),
    Phrase("Java", r"no cipher suites in common", ("no-common-cipher",), side="server"),
    Phrase("node", r"err_tls_cert_altname_invalid|does not match certificate's altnames", _NAME,
         side="client"),
    Phrase("rustls", r"unknownissuer", _UNTRUSTED),
    Phrase("rustls", r"nocertificatespresented|peer sent no certificates", _NO_CERTIFICATE,
         side="server"),
    Phrase("rustls", r"invalidpurpose|certnotvalidforusage", ("wrong-usage",)),
    Phrase("GnuTLS", r"certificate issuer is unknown|doesn't have a known issuer", _UNTRUSTED),
    Phrase("GnuTLS",
         r"chain uses expired certificate|the certificate (?:of '[^']{1,80}' )?has expired",
         ("expired", "expired-authority")),
    Phrase("GnuTLS",
         r"chain uses not yet valid certificate|certificate has not yet been activated|not "
         r"yet activated", ("not-yet-valid", "not-yet-valid-authority")),
    Phrase("GnuTLS", r"name in the certificate does not match|certificate's owner does not match",
         _NAME, side="client"),
    Phrase("GnuTLS", r"certificate chain is revoked", ("revoked", "revoked-authority")),
    Phrase("GnuTLS", r"error in handshake: certificate is required", _NO_CERTIFICATE,
         side="server"),
    Phrase("git", r"server certificate verification failed", _UNVERIFIED, side="client",
         decides=_WHICH),
    Phrase("curl", r"no alternative certificate subject name matches", _NAME, side="client"),
    Phrase("socat", r"commonname does not match hostname", _NAME, side="client"),
    Phrase("stunnel", r"cert: subject checks failed", _NAME, side="client"),
    Phrase("Perl", r"hostname verification failed", _NAME, side="client"),
    Phrase("PHP", r"peer certificate subjectaltname did not match", _NAME, side="client"),
    Phrase("Python", r"hostname '[^']{1,255}' doesn't match", _NAME, side="client"),
    Phrase("PostgreSQL", r"server certificate for .{1,255} does not match host name", _NAME,
         side="client"),
    Phrase("PostgreSQL", r"root certificate file .{1,255} does not exist", ("empty-trust",),
         side="client"),
    Phrase("PostgreSQL", r"connection requires a valid client certificate", _NO_CERTIFICATE,
         "server"),
    Phrase("PostgreSQL", r"certificate authentication failed for user", ("not-authorised",),
         "server"),
    Phrase("PostgreSQL", r"no pg_hba\.conf entry for .{1,255}no encryption", ("plaintext-client",),
         "server"),
    Phrase("PostgreSQL", r"server does not support ssl", _NOT_TLS, side="client"),
    Phrase("MySQL", r"validation of ssl server certificate failed", ("wrong-name", *_UNTRUSTED),
         side="client"),
    Phrase("mtls-echo", r"mtls-echo: not authorised:", ("not-authorised",), "server", "client"),
    # nginx finishes the handshake, verifies afterwards, and answers in HTTP: no alert is sent.
    Phrase("nginx",
         r"no required ssl certificate was sent|client sent no required ssl certificate",
         _NO_CERTIFICATE, "server"),
    Phrase("nginx", r"400 the ssl certificate error|the ssl certificate error",
         ("unknown-authority", "expired", "wrong-usage", "revoked"), "server",
         decides="nginx's error log, level info: `client SSL certificate verify error: (N:…)`"),
    Phrase("nginx", r"plain http request (?:was sent )?to https port", ("plaintext-client",),
         "nobody"),
    Phrase("HAProxy", r"ssl client certificate not trusted",
         ("unknown-authority", "expired", "wrong-usage", "missing-intermediate"), side="server",
         decides="ssl_c_err and ssl_fc_err_str in HAProxy's error-log-format"),
    Phrase("HAProxy", r"ssl handshake failure",
         ("no-client-certificate", "unknown-authority", "no-common-version", "plaintext-client"),
         "unsaid", vague=True,
         decides="ssl_fc_err_str in HAProxy's error-log-format: without it, even who refused is "
         "not said"),
    # Browsers. What they say about their own certificate came from the server as an alert.
    Phrase("Chrome", r"err_bad_ssl_client_auth_cert", _TO_CLIENT, "server", "client",
         decides="the server's log, or chrome://net-export: one code stands for eight alerts"),
    Phrase("Chrome", r"err_ssl_client_auth_cert_needed", _NO_CERTIFICATE, "server", "client"),
    Phrase("Chrome", r"err_cert_authority_invalid", _UNTRUSTED, side="client"),
    Phrase("Chrome", r"err_cert_common_name_invalid", _NAME, side="client"),
    Phrase("Chrome", r"err_cert_date_invalid", _DATES, side="client"),
    Phrase("Chrome", r"err_cert_revoked", ("revoked", "revoked-authority"), side="client"),
    Phrase("Chrome", r"err_ssl_version_or_cipher_mismatch",
         ("no-common-version", "no-common-cipher"), "unsaid", "client",
         decides="an alert (40, 70 or 71) from the server, or Chrome's own limits: "
         "chrome://net-export"),
    Phrase("Chrome", r"err_ssl_protocol_error",
         ("plaintext-peer", "no-common-version", "no-client-certificate"), "unsaid", "client",
         decides="`openssl s_client` to the same port: Chrome shows this for many failures"),
    Phrase("Firefox", r"mozilla_pkix_error_self_signed_cert", ("self-signed",), side="client"),
    Phrase("Firefox", r"sec_error_unknown_issuer|sec_error_untrusted_issuer", _UNTRUSTED,
         side="client"),
    Phrase("Firefox", r"ssl_error_bad_cert_domain", _NAME, side="client"),
    Phrase("Firefox", r"sec_error_expired_certificate", ("expired",), side="client"),
    Phrase("Firefox", r"sec_error_expired_issuer_certificate", ("expired-authority",),
         side="client"),
    Phrase("Firefox", r"sec_error_revoked_certificate", ("revoked",), side="client"),
    Phrase("Firefox", r"ssl_error_no_cypher_overlap", ("no-common-cipher", "no-common-version"),
         "unsaid", "client",
         decides="`openssl s_client -msg`: an alert handshake_failure right after ClientHello "
         "is the server's"),
    Phrase("Firefox", r"ssl_error_unsupported_version", ("no-common-version",), side="client"),
    Phrase("Firefox", r"ssl_error_rx_record_too_long", _NOT_TLS, "nobody", "client"),
    # Windows and .NET.
    Phrase("Windows", r"sec_e_untrusted_root|0x80090325|untrusted_?root|0x800b0109",
         ("unknown-authority", "self-signed")),
    Phrase("Windows", r"sec_e_illegal_message|0x80090326",
         ("no-client-certificate", "unknown-authority", "no-common-version", "no-common-cipher"),
         "unsaid",
         decides="the System event log, source Schannel, event 36887: it has the alert's number"),
    Phrase("Windows", r"sec_e_cert_expired|0x80090328|0x800b0101|\bnottimevalid\b", _DATES),
    Phrase("Windows", r"sec_e_wrong_principal|0x80090322|0x800b010f|remotecertificatenamemismatch",
         _NAME, side="client"),
    Phrase("Windows", r"sec_e_algorithm_mismatch|0x80090331",
         ("no-common-cipher", "no-common-version"), "unsaid"),
    Phrase("Windows", r"0x80092012|0x80092013|revocation_status_unknown|revocation_?offline",
         ("crl-missing",)),
    Phrase("Windows", r"crypt_e_revoked|0x80092010", ("revoked",)),
    Phrase(".NET", r"\bpartialchain\b", ("missing-intermediate", "unknown-authority")),
    Phrase(".NET", r"remotecertificatechainerrors|could not establish trust relationship",
         _UNVERIFIED, vague=True,
         decides="the chain status in the inner exception, such as UntrustedRoot"),
    Phrase(".NET", r"remotecertificatenotavailable",
         ("no-client-certificate", "no-server-certificate")),
    Phrase("macOS", r"errsslxcertchaininvalid", _UNTRUSTED, side="client"),
    # A verdict without its reason.
    Phrase("curl", r"ssl certificate verification failed",
         ("unknown-authority", "expired", "wrong-name"), "unsaid", "client",
         decides="`curl -v`: TLS alert after (OUT) is curl's own verdict, after (IN) the "
         "server's on us"),
    Phrase("OpenSSL", r"certificate[ _]verify[ _]failed|certificate verification failed",
         _UNVERIFIED, vague=True, decides=_WHICH),
    Phrase("GnuTLS", r"error in the certificate\.|pki verification of server certificate failed",
         _UNVERIFIED, vague=True, decides="the line `Status:` in the same output"),
    Phrase("GnuTLS", r"a tls fatal alert has been received", _TO_CLIENT, "peer", vague=True,
         decides="the line `Received alert [N]` beside it"),
    Phrase("OpenSSL", r"key values mismatch|private key does not match", ("key-not-owned",),
         "nobody", vague=True),
    Phrase("OpenSSL", r"legacy sigalg disallowed or unsupported",
         ("no-common-signature-algorithm", "no-common-version")),
    # Not TLS at all.
    Phrase("Go", r"server gave http response to https client", _NOT_TLS, "nobody", "client"),
    Phrase("Go", r"client sent an http request to an https server", ("plaintext-client",),
         "nobody"),
    Phrase("Go", r"first record does not look like a tls handshake", _NOT_TLS, "nobody"),
    Phrase("Java", r"unsupported or unrecognized ssl message|plaintext connection\?", _NOT_TLS,
         "nobody"),
    Phrase("GnuTLS", r"an unexpected tls packet was received", _NOT_TLS, "nobody"),
    Phrase("rustls", r"received corrupt message of type invalidcontenttype", _NOT_TLS, "nobody"),
    Phrase("mtls-echo", r"this port speaks tls, and you do not", ("plaintext-client",), "nobody",
         "client"),
    # Ends of the transport: they come last, for they follow from something else.
    Phrase("MySQL", r"lost connection to server at|server has gone away",
         ("closed-without-alert", "unknown-authority", "expired"), "unsaid", "client", True, _WHY),
    Phrase("node", r"client network socket disconnected before secure tls|socket hang up", _CLOSED,
         "unsaid", vague=True, decides=_WHY),
    Phrase("Java", r"remote host terminated the handshake|peer shut down incorrectly", _CLOSED,
         "unsaid", vague=True, decides=_WHY),
    Phrase("GnuTLS", r"tls connection was non-properly terminated", _CLOSED, "unsaid", vague=True,
         decides=_WHY),
    Phrase("rustls", r"peer closed connection without sending tls close_notify|tls handshake eof",
         ("truncated", "closed-without-alert"), "unsaid", vague=True, decides=_WHY),
    Phrase("Go", r"(?:handshake error from \S{1,64}|https://\S{1,255}\"?|handshake failed): "
         r"(?:unexpected )?eof\b", _CLOSED, "unsaid", vague=True, decides=_WHY),
    Phrase("OpenSSL", r"unexpected[ _]eof[ _]while[ _]reading|eof"
         r" occurred in violation of protocol"
         r"|ssl_error_syscall|closed connection while ssl handshaking|ssl connection: eof "
         r"detected|handshake read failed \(socket closed|pr_end_of_file_error"
         r"|err_connection_closed|empty reply from server|remote party (?:has )?closed the "
         r"transport stream", _CLOSED, "unsaid", vague=True, decides=_WHY),
    Phrase("the system",
         r"connection (?:was )?reset\b|econnreset|connectionreseterror|errno[= ]104\b|broken "
         r"pipe|\bepipe\b|pr_connect_reset_error|err_connection_reset|forcibly closed|error "
         r"in the pull function", _RESET, "unsaid", vague=True, decides=_WHY),
    Phrase("the system",
         r"connection refused|econnrefused|err_connection_refused|errno[= ]111\b|couldn't "
         r"connect to server", ("no-connection",), "nobody", "client", True),
    Phrase("the system",
         r"handshake time(?:d )?-?out|etimedout|(?:connection|operation) timed out|err_timed_out",
         ("timeout",), "nobody", vague=True),
    # Exit statuses, the least that can be said.
    Phrase("curl", r"(?:curl\b.{0,20}|exit(?:ed)?(?: with)? (?:status|code)? ?|^)\(?60\)?\b",
         _UNVERIFIED, "unsaid", "client", True,
         decides="the words after `curl: (60)`, and `curl -v`"),
    Phrase("curl", r"(?:curl\b.{0,20}|exit(?:ed)?(?: with)? (?:status|code)? ?)\(?56\)?\b",
         (*_TO_CLIENT, "reset"), "unsaid", "client", True,
         "the words after `curl: (56)`: a TLS 1.3 server's refusal arrives with the first read"),
    Phrase("curl", r"(?:curl\b.{0,20}|exit(?:ed)?(?: with)? (?:status|code)? ?)\(?35\)?\b",
         ("plaintext-peer", "no-common-version", "no-common-cipher", "no-client-certificate"),
         "unsaid", "client", True,
         "the words after `curl: (35)`: some alert or error ended the handshake"),
    Phrase("curl", r"curl\b.{0,20}\(?51\)?\b", _NAME, side="client", vague=True),
    Phrase("curl", r"curl\b.{0,20}\(?52\)?\b", _CLOSED, "unsaid", "client", True, _WHY),
    Phrase("curl", r"curl\b.{0,20}\(?58\)?\b", ("key-not-owned",), "nobody", "client", True),
    Phrase("curl", r"curl\b.{0,20}\(?77\)?\b", ("empty-trust",), side="client", vague=True),
    Phrase("wget", r"wget\b.{0,20}exit.{0,12} 5\b", _UNVERIFIED, side="client", vague=True),
    Phrase("mtls-echo", r"^(?:mtls-echo.{0,20})?exit(?:ed)?(?: with)? (?:status|code)? ?4\W?$",
         _UNVERIFIED, side="client", vague=True),
    Phrase("mtls-echo", r"^(?:mtls-echo.{0,20})?exit(?:ed)?(?: with)? (?:status|code)? ?5\W?$",
         _TO_CLIENT, "server", "client", True),
    Phrase("mtls-echo", r"^(?:mtls-echo.{0,20})?exit(?:ed)?(?: with)? (?:status|code)? ?6\W?$",
         _CLOSED, "unsaid", "client", True, _WHY),
    Phrase("mtls-echo", r"^(?:mtls-echo.{0,20})?exit(?:ed)?(?: with)? (?:status|code)? ?8\W?$",
         ("no-common-version", "plaintext-peer"), "unsaid", "client", True),
    Phrase("mtls-echo", r"^(?:mtls-echo.{0,20})?exit(?:ed)?(?: with)? (?:status|code)? ?9\W?$",
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

# Words near the error that show the side, wherever they come from.
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
