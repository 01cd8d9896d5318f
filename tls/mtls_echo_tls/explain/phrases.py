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
Kind = Literal[
    "alert received", "alert sent", "alert", "verdict", "reason", "statement", "file", "vague"
]  # fmt: skip


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


class Phrase(NamedTuple):
    """A stock phrase: it says little, and counts only when nothing else in the text says more.

    Attributes:
        program: Whose.
        pattern: A regular expression for `plain` text.
        causes: What it states, most likely first.
        refused: Who refused, seen from the program that prints it.
        side: Which side prints it.
        decides: What would tell the causes apart, or who refused.
    """

    program: str
    pattern: str
    causes: Slugs
    refused: Refused = "printer"
    side: Side | None = None
    decides: str = ""

    @property
    def kind(self) -> Kind:
        """A statement; about a file where it states no cause and refuses nobody."""
        if self.causes:
            return "statement"
        return "file" if self.refused == "nobody" else "vague"


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
    # Exit statuses, the least that can be said.
    Phrase("curl", r"(?:curl\b.{0,20}|exit(?:ed)?(?: with)? (?:status|code)? ?|^)\(?60\)?\b",
         _UNVERIFIED, "unsaid", "client",
         decides="the words after `curl: (60)`, and `curl -v`"),
    Phrase("curl", r"(?:curl\b.{0,20}|exit(?:ed)?(?: with)? (?:status|code)? ?)\(?56\)?\b",
         (*_TO_CLIENT, "reset"), "unsaid", "client",
         "the words after `curl: (56)`: a TLS 1.3 server's refusal arrives with the first read"),
    Phrase("curl", r"(?:curl\b.{0,20}|exit(?:ed)?(?: with)? (?:status|code)? ?)\(?35\)?\b",
         ("plaintext-peer", "no-common-version", "no-common-cipher", "no-client-certificate"),
         "unsaid", "client",
         "the words after `curl: (35)`: some alert or error ended the handshake"),
    Phrase("curl", r"curl\b.{0,20}\(?51\)?\b", _NAME, side="client"),
    Phrase("curl", r"curl\b.{0,20}\(?52\)?\b", _CLOSED, "unsaid", "client", _WHY),
    Phrase("curl", r"curl\b.{0,20}\(?58\)?\b", ("key-not-owned",), "nobody", "client"),
    Phrase("curl", r"curl\b.{0,20}\(?77\)?\b", ("empty-trust",), side="client"),
    Phrase("wget", r"wget\b.{0,20}exit.{0,12} 5\b", _UNVERIFIED, side="client"),
    Phrase("mtls-echo", r"^(?:mtls-echo.{0,20})?exit(?:ed)?(?: with)? (?:status|code)? ?4\W?$",
         _UNVERIFIED, side="client"),
    Phrase("mtls-echo", r"^(?:mtls-echo.{0,20})?exit(?:ed)?(?: with)? (?:status|code)? ?5\W?$",
         _TO_CLIENT, "server", "client"),
    Phrase("mtls-echo", r"^(?:mtls-echo.{0,20})?exit(?:ed)?(?: with)? (?:status|code)? ?6\W?$",
         _CLOSED, "unsaid", "client", _WHY),
    Phrase("mtls-echo", r"^(?:mtls-echo.{0,20})?exit(?:ed)?(?: with)? (?:status|code)? ?8\W?$",
         ("no-common-version", "plaintext-peer"), "unsaid", "client"),
    Phrase("mtls-echo", r"^(?:mtls-echo.{0,20})?exit(?:ed)?(?: with)? (?:status|code)? ?9\W?$",
         ("not-authorised",), "server", "client"),
)  # fmt: skip

_CERT = r"\b(?:certificates?|certs?)\b"
_DIFFERS = r"(?:(?:does|do|did) not|doesn't|don't|didn't) match"
_FAILS = r"\b(?:fail\w*|error|invalid|problem)"
_CANNOT = r"(?:cannot|can't|could ?n[o']t|unable to|failed to|failure|error)"
_IN_A_FILE = (
    rf"(?:{_CERT}|private key|\bkey ?file|\bca (?:file|bundle)|key ?store|trust ?store"
    r"|\.pem\b|\.crt\b|\.key\b|pkcs|\bpem\b)"
)

# How programs that no table has say the same few things. They name no side, except where only
# one can say so, and count only where no known text does.
STEMS: tuple[Phrase, ...] = (
    Phrase("the program", rf"\bkey\b.{{0,40}}{_DIFFERS}.{{0,40}}{_CERT}"
         rf"|{_CERT}.{{0,40}}{_DIFFERS}.{{0,30}}\bkey\b"
         rf"|{_CERT} and .{{0,20}}\bkey\b.{{0,20}}mismatch", ("key-not-owned",), "nobody"),
    Phrase("the program",
         rf"{_CERT}.{{0,60}}{_DIFFERS}.{{0,40}}\b(?:host|domain|name|address|expected)"
         rf"|\b(?:host|host ?name|name|domain|cn|san)\b.{{0,60}}{_DIFFERS}.{{0,60}}{_CERT}"
         rf"|{_CERT}.{{0,20}}(?:host ?name|common name|\bcn|domain|name) mismatch"
         rf"|{_CANNOT} verify (?:the )?(?:host ?name|server name|(?:server )?identity)",
         _NAME, side="client"),
    Phrase("the program",
         rf"{_CERT} (?:chain )?.{{0,60}}\bexpired\b|\bexpired (?:\w+ ){{0,2}}{_CERT}",
         ("expired", "expired-authority", "clock-skew")),
    Phrase("the program", rf"{_CERT}.{{0,40}}\bnot (?:yet|currently) valid", _DATES[1:]),
    Phrase("the program",
         rf"{_CERT}.{{0,20}}\bdates?\b.{{0,20}}invalid|{_CERT}.{{0,20}}not valid (?:before|after)",
         _DATES),
    Phrase("the program", r"\bcrl\b.{0,30}\bexpired", ("crl-expired",)),
    Phrase("the program",
         rf"\b(?:crl|ocsp|revocation)\b.{{0,60}}(?:{_FAILS}|unavailable|not found)"
         rf"|{_CANNOT} .{{0,40}}\b(?:crl|revocation)\b", ("crl-missing", "revoked")),
    Phrase("the program", rf"{_CERT}.{{0,40}}\brevoked\b|\brevoked {_CERT}", ("revoked",)),
    Phrase("the program", r"\bself[- ]signed\b", ("self-signed", "unknown-authority")),
    Phrase("the program",
         rf"(?:client|peer) (?:did not|didn't|has not|failed to)"
         rf" (?:present|provide|send|return|supply)\w* .{{0,20}}{_CERT}"
         rf"|\bno (?:client|peer) {_CERT} (?:was |were |has been |is )?(?!available)"
         rf"|client {_CERT} (?:is |was )?(?:required|missing|not (?:provided|sent|given))",
         _NO_CERTIFICATE, "server"),
    Phrase("the program",
         rf"{_CERT}.{{0,80}}\b(?:untrusted|not (?:be )?trusted|isn't trusted"
         r"|unknown (?:ca|issuer|authority))"
         rf"|\b(?:untrusted|unknown|unrecogni[sz]ed) (?:\w+ ){{0,2}}"
         rf"(?:{_CERT}|issuer|root|(?:certificate )?authority)", _UNTRUSTED),
    Phrase("the program",
         rf"\b(?:verif\w+|validat\w+).{{0,60}}{_CERT}.{{0,40}}{_FAILS}"
         rf"|{_CERT}.{{0,60}}\b(?:verif\w+|validat\w+|check)\b.{{0,30}}{_FAILS}"
         rf"|\binvalid (?:\w+ ){{0,2}}{_CERT}"
         rf"|{_CERT} (?:is |was |are )?(?:invalid|rejected|not (?:valid|accepted|verified))"
         rf"|{_CANNOT} (?:verify\w*|validat\w+|authenticat\w+) .{{0,60}}{_CERT}"
         rf"|(?:fail\w*|error) .{{0,20}}{_CERT} (?:verif\w+|validat\w+)"
         rf"|{_CERT} (?:could not|cannot|can't) be (?:verified|validated)"
         rf"|{_CERT} (?:error|problem)\b", _UNVERIFIED),
    Phrase("the program", rf"\bbad {_CERT}", ("wrong-name", *_UNTRUSTED, "expired"), "unsaid"),
    Phrase("the program", r"\bincomplete (?:\w+ )?chain|\bchain (?:is )?incomplete"
         rf"|\bintermediate (?:{_CERT} )?(?:is |was )?(?:missing|not found)",
         ("missing-intermediate", "unknown-authority")),
    Phrase("the program", r"\bissuer\b.{0,40}\b(?:not found|unknown|missing|not trusted)"
         rf"|{_CANNOT} find .{{0,20}}\bissuer", _UNTRUSTED),
    Phrase("the program", rf"{_CERT} pin\w*.{{0,30}}(?:{_FAILS}|mismatch)"
         rf"|{_CERT}.{{0,40}}\bfingerprint\b.{{0,40}}(?:mismatch|not match)"
         r"|\bfingerprint mismatch", ("unknown-authority", "impostor-authority")),
    Phrase("the program", r"\bno (?:shared|common|matching|mutual|acceptable) cipher"
         r"|\bno cipher\w* (?:suites? )?in common|\bcipher\w* (?:suites? )?mismatch"
         r"|\bcipher\w* (?:suites? )?(?:is |are )?not supported|\bunsupported cipher",
         ("no-common-cipher",)),
    Phrase("the program",
         r"\b(?:unsupported|incompatible|no common|disabled) (?:ssl/)?"
         r"(?:tls |ssl )?(?:protocol )?version"
         r"|\b(?:protocol|tls|ssl) version .{0,30}(?:not supported|mismatch|too (?:old|low))",
         ("no-common-version",)),
    Phrase("the program",
         r"\bnot (?:an? )?(?:ssl|tls)(?:/tls)? (?:traffic|record|message|handshake)"
         r"|\bplain ?(?:http|text)\b.{0,40}\b(?:tls|ssl|https)\b", _NOT_TLS, "nobody"),
    Phrase("the program", r"(?:does not|doesn't|not) support\w* (?:start)?(?:tls|ssl)\b(?! ?v?\d)"
         r"|\b(?:start)?tls (?:is |was )?not (?:supported|available|offered|enabled)",
         _NOT_TLS, "nobody", "client"),
    Phrase("the program",
         r"\b(?:not|isn't) (?:an? )?(?:valid )?pem\b|\bpem .{0,20}(?:invalid|malformed|not found)"
         rf"|(?:does not|doesn't) contain .{{0,40}}{_IN_A_FILE}"
         rf"|{_CANNOT}\W+(?:\w+\W+){{0,3}}?"
         rf"(?:load|read|open|pars|import|decod|set|find)\w*\W+.{{0,60}}?{_IN_A_FILE}"
         r"|\bno (?:valid )?(?:\w+ )?(?:certificate|(?:private )?key) ?(?:file )?(?:\w+ ){0,3}"
         r"(?:specified|configured|found)\b"
         r"|\bssl_(?:ctx_(?:load|use|check|set)|load_client_ca|use)_\w+|\bpem_read_bio"
         r"|\b(?:invalid|bad|missing|incomplete) (?:tls|ssl) (?:config\w*|settings?|options?)"
         rf"|{_CANNOT} (?:set ?up|create|initiali[sz]e) (?:the )?(?:tls|ssl) (?:context|listener)"
         r"|(?:wrong|incorrect|invalid|bad) (?:\w+ ){0,2}(?:pass ?phrase|password)\b.{0,40}"
         rf"{_IN_A_FILE}|{_IN_A_FILE} (?:pass ?phrase|password) (?:is |was )?(?:wrong|in\w+)",
         (), "nobody"),
    Phrase("the program",
         r"\b(?:connect\w*|handshake|negotiation)\b.{0,60}\btim(?:ed|e)[ -]?out\b",
         ("timeout",), "nobody"),
    Phrase("the program", r"\b(?:tls|ssl|https|handshake|rpc|connection)\b.{0,200}\beof\b"
         r"|\b(?:clos\w+|disconnect\w*|abort\w*|terminat\w*|interrupt\w*)\b.{0,60}\bhandshak"
         r"|\bhandshak\w*\b.{0,60}\b(?:closed|abort\w*|terminat\w*|interrupt\w*|disconnect)"
         r"|\bconnection (?:was )?closed by (?:the )?(?:server|client|peer|remote)",
         _CLOSED, "unsaid", decides=_WHY),
    Phrase("the program", r"\bbad handshake\b|\b(?:tls|ssl)\b.{0,20}"
         rf"(?:negotiation|handshake|connection|connect|accept)\b.{{0,30}}{_FAILS}"
         rf"|{_FAILS}.{{0,30}}\b(?:tls|ssl) (?:negotiation|handshake)", (), "unsaid",
         decides=_WHICH),
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
        r"ssl_do_handshake\(\) failed|client ssl certificate verify|ssl handshaking|\[emerg\]",
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
    (r"http: tls handshake error|\btls :?server: in state", "server"),
    (r"tls handshake error from|failed to verify client(?:'s)? certificate", "server"),
    (r"handshake error in client|client disconnected, failure reason", "client"),
    (r"handshake error in server|(?:tls|ssl) accept (?:failed|error)"
         r"|accept (?:tls|ssl) connection", "server"),
    (r"\bconnected\(0000", "client"),
    (r"tls client authentication", "server"),
    (r"tls server authentication", "client"),
    # Functions and files of OpenSSL and mbedTLS that only one side runs.
    (r"ssl_accept|\btls_accept:|(?:statem|s3|s23)_srvr\.c|ssl_(?:tls1[23]_)?(?:server|srv)\.c"
         r"|(?:ssl(?:3|23)_get|tls_(?:early_)?(?:post_)?process)_client_", "server"),
    (r"ssl_connect(?!ion)|(?:statem|s3|s23)_clnt\.c|ssl_(?:tls1[23]_)?(?:client|cli)\.c"
         r"|ssl_choose_client_version"
         r"|(?:ssl(?:3|23)_get|tls_(?:post_)?process)_(?:server_|certificate_request)", "client"),
    (r"\b(?:get|post|head|put|patch|delete|options) [\\\"']{0,2}https://"
         r"|error sending request for url", "client"),
    # Frames of Go: a server's handler may be the client of another server, so its own frames
    # (`(*conn).serve`) say nothing, and a client's come first.
    (r"\(\*transport\)\.roundtrip|handshake_client(?:_tls13)?\.go", "client"),
    (r"handshake_server(?:_tls13)?\.go", "server"),
    (r"onconnectsecure|authenticateasclient|httprequestexception|system\.net\.webexception"
         r"|gnutls\.c: .{0,8}\(emacs\)|\bwget: |unable to establish ssl", "client"),
    (r"kestrel|httpsconnectionmiddleware|authenticateasserver|parseclienthello"
         r"|\beap_(?:tls|peap|ttls)|\brlm_eap\b|unable to authenticate the request"
         r"|\w/\d{1,5}: ssl handshake failure", "server"),
    (r"transport: authentication handshake failed|failed to connect to all addresses", "client"),
    (r"^gnutls: |gnutls_handshake\(\) failed|pki verification of server", "client"),
    (r"unable to access 'https|err_cert_|fetch failed|net::err_|\bmozilla_|\bsec_error_",
         "client"),
    (r"ssl_error_\w{1,40}_alert|initializesecuritycontext|schannel: ", "client"),
    (r"\bcurl#\d\d|\bldap_(?:start_tls|sasl|bind|initialize)|\bpr_(?:end_of_file|connect_reset)_error",
         "client"),
    (r"error: the certificate (?:of|is) ", "client"),
    # Libraries and programs that are always one side: drivers of databases and brokers, HTTP
    # clients, package managers; then servers.
    (r"pymongo|serverselectiontimeouterror|pymysql|mysqldb|mysql2::|mysql\.connector|psycopg"
         r"|\((?:20(?:02|03|06|13|26)), ?[\"']|\bpsql: |pgjdbc|npgsql|hikari|\bjdbc\b|sqlserver"
         r"|odbc|ssl provider[:,]|sqlclient|lettuce|jedis|redisson|stackexchange\.redis"
         r"|redis\.exceptions|mongosocket|librdkafka|rdkafka#|networkclient\)|adminclient"
         r"|paho[/\\\\]mqtt|\bpika\b|amqplib|sslsocket error|mongonetwork|mongoserversel|\[thrd:"
         r"|error occurred during connection handshake|brokers to talk to", "client"),
    (r"error dialing backend|http: proxy error:|\[postgresql error\]|\btls :?client: in state",
         "client"),
    (r"netty\.http\.client|(?:postgresql|mysql|redis) connection failed"
         r"|cassandra::errors|nohostavailable|expecting server hello", "client"),
    (r"expecting client hello|\baccept_error\b", "server"),
    (r"error trying to reach service|error response from daemon|docker\.errors"
         r"|tls: error: connect - force", "client"),
    (r"tls: error: accept - force", "server"),
    (r"resourceaccessexception|i/o error on \w{3,7} request for|cjcommunicationsexception"
         r"|communications link failure", "client"),
    (r"okhttp|httpurlconnection|httpsurlconnection|org\.apache\.http|resttemplate|webclient"
         r"|could not (?:(?:get|head|put) ['\"]?http|transfer artifact)|smtptransport"
         r"|convert socket to tls"
         r"|nsurlerrordomain|nsurlsession|kcferrordomaincfnetwork", "client"),
    (r"faraday|excon|net/http\.rb|open-uri|rubygems|mint\.transporterror|httpoison|hackney"
         r"|guzzle|composer|file_get_contents|fsockopen|stream_socket_client", "client"),
    (r"hyper(?:::error)?\(\s?(?:error\()?connect|hyper::client|reqwest|ureq|sendrequesterror"
         r"|error trying to connect|grpc\._channel|_inactiverpcerror", "client"),
    (r"npm err!|\bnpm (?:error|warn)|fetcherror|axioserror|_http_client|clientrequest\b"
         r"|http/client\.py|urllib3|requests/adapters|smtplib|imaplib|botocore|mbedtls_connect"
         r"|esp_http_client|start_ssl_client|wificlientsecure|sending client hello"
         r"|websocket(?:_client|/_app\.py|/_core\.py)|winrm|mbedtls_net_connect", "client"),
    (r"chttp2_server\.cc|esp_https_server|esp_tls_(?:create_)?server", "server"),
    (r"ctrl-event-eap|wpa_supplicant|esp-tls|esp-x509-crt-bundle|ssl connect attempt failed"
         r"|failed to dial|while dialing|clickhouse[- ]client"
         r"|secured connection with the server|\bom(?:relp|fwd)\b", "client"),
    (r"ovpn-server|client-instance restarting|ssl accept attempt failed|servererrorhandler"
         r"|failed to authenticate https connection|\bim(?:tcp|relp)\b|tcpsrv listener", "server"),
    (r"link local: \(not bound\)|\[soft,tls-error\] received, process restarting", "client"),
    (r"uvicorn|gunicorn|hypercorn|http/server\.py|socketserver\.py|ranch listener|cowboy"
         r"|tonic::transport::server|accept loop error"
         r"|tlsclienterror|nioendpoint", "server"),
)  # fmt: skip

# Frames of Java's handshake: what threw the exception, whichever side usually prints its text.
FRAMES: tuple[tuple[str, Side], ...] = (
    (
        r"checkclient(?:trusted|certs)|\bserverhandshaker\b|\bclienthello\$\w{0,40}consumer",
        "server",
    ),
    (
        r"checkserver(?:trusted|certs)|\bclienthandshaker\b|\bserverhello\$\w{0,40}consumer"
        r"|\bcertificaterequest\$\w{0,40}consumer",
        "client",
    ),
)

# The same, where nothing better is known.
HINTS: tuple[tuple[str, Side], ...] = (
    (r"\bopenssl s_client\b"
         r"|server(?:'s)? certificate|\bdial tcp\b"
         r"|(?:failed|unable|not|cannot|can't|trying) to connect"
         r"|could not connect|can't connect to|connection to \S{1,80} failed"
         r"|(?:cannot|failed to|unable to) (?:re)?connect|\bdownload"
         r"|\bat (?:[\w$]+\.)+\w*client\w*\.\w+\("
         r"|(?<!listening )\b(?:for|from|to|url|fetch\w*|open\w*|access\w*|load\w*|request\w*)"
         r"\b[ :='\"(]{1,4}(?:https|wss|ldaps|mqtts|amqps|imaps|smtps)://"
         r"|\b(?:error|fail\w*|unable|while|when|problem) connecting to|did not connect to"
         r"|(?:tls|ssl) connection towards|db::netexception"
         r"|failed to tls handshake with|tonic(?: error: |::)transport", "client"),
    (r"\bopenssl s_server\b"
         r"|error accepting|failed to accept|invalid client certificate|from client\b"
         r"|client connection from|(?<!response to )\bconnection from \S{1,60}[\d\]>)]"
         r"|(?:invalid|bad) (?:http )?request from|accepted connection from", "server"),
)  # fmt: skip
