"""The catalogue of causes: one slug, one meaning, one remedy for each end.

A cause lies with one side (the *owner*: whose certificate, key or configuration it is) and is
found by the other (the *verifier*), so each has two remedies. The texts are completed with

* ``{it}`` / ``{its}``: the owner, as the reader would say it: "we", "our", or "it", "its";
* ``{owner}`` / ``{verifier}``: which side that is, "client" or "server";
* ``{verifiers}``: the verifier's possessive, "our", "the client's" or "the server's";
* ``{ca}``: the verifier's setting for its trust anchors;
* every other place: a setting or a program, as a `Vocabulary` calls it for its readers.

Each remedy must help a reader who knows nothing of TLS: what to do, where, by which setting or
program. The two ends may have different operators, so the remedy of a side may be to ask the
operator of the other.
"""

from __future__ import annotations

from typing import Literal

from mtls_echo_tls.certificate_causes import CERTIFICATE_CAUSES, FORGED_LIST
from mtls_echo_tls.denial import UNREADABLE
from mtls_echo_tls.sides import Side
from mtls_echo_tls.slugs import Cause, Slug


def _either(clause: str, remedy: str, rfc: str) -> Cause:
    """A cause that both sides can do the same about."""
    return Cause(clause, remedy, remedy, rfc)


CAUSES: dict[Slug, Cause] = {
    **CERTIFICATE_CAUSES,
    "no-client-certificate": Cause(
        "{it} presented no certificate, and one is required",
        "connect with a certificate: {certificate}",
        "nothing to do here, unless anonymous clients are welcome ({no_client_certificate});"
        " the client connects with {cert} and {key}, or, if it does already, with a P-256 or RSA"
        " key in place of one that it could not use here",
        "RFC 8446 §4.4.2.4",
    ),
    "no-server-certificate": Cause(
        "the server has no certificate to present",
        "start the server with a certificate and its key: {server_certificate}",
        "have the server started with a certificate and its key",
        "RFC 8446 §4.4.2",
    ),
    "key-not-owned": Cause(
        "{it} could not prove possession of the private key of {its} certificate",
        "use the private key that the certificate was issued for ({key}{file})",
        "do not trust it: the {owner} showed a certificate of another, or was set up with"
        " the wrong key",
        "RFC 8446 §4.4.3",
    ),
    "no-common-version": _either(
        "client and server have no TLS version in common",
        "let both sides allow one TLS version: {versions}; a program that knows neither"
        " 1.2 nor 1.3 must be updated",
        "RFC 8446 §4.2.1",
    ),
    "no-common-cipher": _either(
        "client and server have no cipher suite in common",
        "let both sides allow one cipher suite: one program's TLS settings may have"
        " narrowed the list, or the program is old",
        "RFC 8446 §4.1.1",
    ),
    "no-common-group": _either(
        "client and server have no key exchange group in common",
        "let both sides allow one group, such as X25519 or P-256: one program's TLS settings may"
        " have narrowed the list",
        "RFC 8446 §4.2.7",
    ),
    "no-common-signature-algorithm": Cause(
        "the server has no certificate with a signature algorithm that the client accepts",
        "let the client accept signatures by the kind of key that the server's certificate"
        " has, or have the server use another kind",
        "use a certificate with a P-256 or RSA key, which almost every client accepts:"
        " {issue_server}",
        "RFC 8446 §4.2.3",
    ),
    "no-common-alpn": _either(
        "client and server have no application protocol in common",
        "name one protocol on both sides: {alpn}{name}",
        "RFC 7301 §3.2",
    ),
    "unrecognised-name": Cause(
        "the server does not serve the name that was asked for",
        "connect with {server_name} and a name that the server serves",
        "configure the server for that name, if it should serve it",
        "RFC 6066 §3",
    ),
    "plaintext-peer": _either(
        "the other side does not speak TLS on this port",
        "connect to the TLS port, or start the server with TLS",
        "RFC 8446 §5.1",
    ),
    "plaintext-client": _either(
        "the client did not speak TLS",
        "the client must speak TLS on this port: https://, {client_program} or"
        " `openssl s_client -connect`",
        "RFC 8446 §5.1",
    ),
    "tampered": _either(
        "data was altered on its way, or protected with another key",
        "look for what stands between the two machines and alters data: a proxy, a firewall"
        " that looks into TLS, an attacker; on a sound network this does not happen",
        "RFC 8446 §5.2",
    ),
    "protocol-violation": Cause(
        "{it} sent a TLS message that the protocol does not allow",
        "update the program or library that speaks TLS here; if it is up to date, report this to"
        " its authors, with the logs of both sides",
        "have the {owner}'s TLS program or library updated; if it is up to date, report this to"
        " its authors, with the logs of both sides",
        "RFC 8446 §6.2",
    ),
    "oversize": Cause(
        "{it} sent more than the protocol allows",
        "send a shorter certificate chain; if it is short, look for what alters data between"
        " the two machines: a proxy, a firewall that looks into TLS",
        "have the {owner} send a shorter certificate chain; if it is short, look for what alters"
        " data between the two machines: a proxy, a firewall that looks into TLS",
        "RFC 8446 §5.1",
    ),
    "downgrade": _either(
        "a lower TLS version was negotiated than both sides support",
        "look for what stands between the two machines and alters their first messages: a"
        " proxy, an old firewall, an attacker",
        "RFC 8446 §4.1.3",
    ),
    "renegotiation": _either(
        "one side wanted to negotiate anew in the middle of the connection, and the other did not",
        "switch renegotiation off in the program that asks for it, or use TLS 1.3, which has none;"
        " a server that asks for a certificate late must ask in the handshake",
        "RFC 5246 §7.2.2",
    ),
    "truncated": _either(
        "the connection ended without close_notify, so data may be missing",
        "find out what ended the connection: the other side's log, or a proxy or firewall on"
        " the path",
        "RFC 8446 §6.1",
    ),
    "reset": _either(
        "the connection was reset",
        "read the other side's log: it, or something on the path, gave up without saying why",
        "RFC 9293 §3.5.2",
    ),
    "closed-without-alert": _either(
        "the connection was closed without an alert, so the reason is not known on this side",
        "read the other side's log: many TLS programs refuse a peer without telling it",
        "RFC 8446 §6.2",
    ),
    "timeout": _either(
        "nothing came in time",
        "check that the other side is the right program and not overloaded; raise the timeout if"
        " it is only slow",
        "",
    ),
    "not-authorised": Cause(
        "the handshake succeeded, but {it} may not enter",
        "connect with a certificate that the server admits ({other_certificate}), or"
        " have its {access} extended",
        "extend {access}, if this client should enter",
        "",
    ),
    "no-connection": _either(
        "there is no TCP connection",
        "check host and port, and that the server runs: {server_program}",
        "",
    ),
    "altered-echo": _either(
        "the echo differs from what was sent",
        "this is not an echo server, or a broken one: check host and port",
        "",
    ),
    "other-protocol": _either(
        "the server speaks another protocol than it was spoken to in",
        "ask a server of HTTP by {http}; of any other {handshake} judges TLS without a word of its"
        " protocol",
        "",
    ),
    "error-answer": _either(
        "the server answered the request with an error that is not about us",
        "TLS works: ask for what the server has ({http}), or read its log",
        "RFC 9110 §15",
    ),
    "internal-error": _either(
        "a failure that none of the known causes explains",
        "read the other side's log, and report what this says together with it",
        "",
    ),
}

# Faults that only this side can have, whichever side refused.
OWNERS: dict[Slug, Side] = {
    "no-client-certificate": "client",
    "wrong-name": "server",
    "no-san": "server",
    "no-server-certificate": "server",
}


# One slug, but another way for it to come about, by OpenSSL's reason for it.
BY_REASON: dict[tuple[Slug, str], Cause] = {
    ("weak-key", "DH_KEY_TOO_SMALL"): Cause(
        "the Diffie-Hellman group of the server's key exchange is too small",
        "let clients use X25519 or P-256 in its place, or give the server Diffie-Hellman"
        " parameters of at least 2048 bits",
        "have the server use X25519 or P-256 in its place, or Diffie-Hellman parameters of at"
        " least 2048 bits",
        "RFC 9325 §4.1",
    ),
    ("renegotiation", "UNSAFE_LEGACY_RENEGOTIATION_DISABLED"): Cause(
        "{its} TLS cannot renegotiate securely, which a present-day client demands",
        "update the program or library that speaks TLS here: one that knows RFC 5746 exists for"
        " every system since 2010",
        "have the {owner} updated to TLS that knows RFC 5746 (2010), and what stands before it,"
        " a proxy or load balancer; a client with ssl.OP_LEGACY_SERVER_CONNECT (in openssl.cnf,"
        " Options = UnsafeLegacyServerConnect) connects all the same, without that protection",
        "RFC 5746 §4.1",
    ),
    **{
        ("not-conforming", reason): Cause(
            "{its} certificate cannot be read: its encoding is damaged",
            "get the certificate again from its CA, or have it issued anew by another program",
            "have the {owner} get its certificate again from its CA, or have it issued anew",
            "RFC 5280 §4.1",
        )
        for reason in ("ASN1_LIB", "X509_LIB", "CERT_LENGTH_MISMATCH")
    },
}


# How TLS can fail to begin where it follows a plaintext protocol (STARTTLS).
InTheClear = Literal[
    "not-offered", "refused", "not-understood", "tls-at-once", "injected", "ended", "silent"
]

IN_THE_CLEAR: dict[InTheClear, Cause] = {
    "not-offered": _either(
        "the server does not offer to start TLS here",
        "switch TLS on in the server's configuration, or connect to the port on which it speaks"
        " TLS at once; if it does offer TLS, something on the path has removed the offer",
        "RFC 3207 §6",
    ),
    "refused": _either(
        "the server refused to start TLS",
        "read the server's log for it: its TLS may lack a certificate, or it turns clients away"
        " before TLS, for their address or because it is busy",
        "",
    ),
    "not-understood": _either(
        "the server does not speak the protocol in which TLS was to be started",
        "check host, port and the name of the protocol",
        "",
    ),
    "tls-at-once": _either(
        "the server expects TLS at once on this port, with no other protocol before it",
        "connect without STARTTLS",
        "RFC 8314 §3",
    ),
    "injected": _either(
        "more came in the clear than was asked for, and TLS must not begin behind that",
        "do not use this path until it is known where that came from: an on-path attacker adds"
        " answers so, to be taken for the server's once TLS is up; or the server sends what it was"
        " not asked for, which is a fault of its program",
        "RFC 3207 §4.2",
    ),
    "ended": _either(
        "the server ended the connection before TLS could begin",
        "check host, port and the name of the protocol, and read the server's log",
        "",
    ),
    "silent": _either(
        "the server did not answer before TLS could begin",
        "check host, port and the name of the protocol; a server that expects TLS at once stays"
        " silent until then: connect without STARTTLS",
        "",
    ),
}


def _malformed(part: str, which: str) -> Cause:
    return Cause(
        f"{part} in {{its}} certificate, or in that of a CA above it, {which}",
        "have the certificate with that part issued anew, by another program",
        "have the {owner}'s certificate issued anew: `openssl x509 -noout -text` shows that part",
        "RFC 5280 §4.1",
    )


# X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD and the next, and those by which OpenSSL has found no
# issuer where there is one.
_UNREADABLE_PARTS: dict[int | None, Cause] = {
    13: _malformed("notBefore", "is not written as RFC 5280 has it"),
    14: _malformed("notAfter", "is not written as RFC 5280 has it"),
    **dict.fromkeys((2, 20, 21), _malformed("an extension", "is one that OpenSSL does not take")),
}


# A client that goes in the middle of the handshake may never have meant to finish it.
IF_PROBE = "nothing to do, if it was a load balancer's health check or a port scanner"

# The same where a certificate was asked for of a client that offers protocols, as browsers do.
IF_BROWSER = (
    "nothing to do, if it was a health check, a port scanner, or a browser that asks its user for"
    " a certificate and comes again"
)


def denied_for(reason: str) -> Cause:
    """The texts for a client that was turned away, and not because no rule names it."""
    clause, rfc = CAUSES["not-authorised"].clause, CAUSES["not-authorised"].rfc
    if reason == UNREADABLE:
        return Cause(
            clause,
            "have our certificate issued again: a part of it is not as RFC 5280 has it",
            "have the client's certificate issued again: a part of it is not as RFC 5280 has it",
            rfc,
        )
    return Cause(
        clause,
        "use a certificate that the server's trust anchors and CRLs accept by now"
        " ({other_certificate})",
        "nothing, if access was to end; {access} is not what keeps the client out: it needs a"
        " certificate that our trust anchors and CRLs accept by now",
        rfc,
    )


def cause_of(slug: Slug, verify_code: int | None = None, reason: str | None = None) -> Cause:
    """The texts for a cause; OpenSSL's verdict and reason tell ways for it to come about apart."""
    if slug == "bad-signature" and verify_code == 8:  # X509_V_ERR_CRL_SIGNATURE_FAILURE
        return FORGED_LIST
    if slug == "not-conforming" and verify_code in _UNREADABLE_PARTS:
        return _UNREADABLE_PARTS[verify_code]
    return BY_REASON.get((slug, reason or "")) or CAUSES[slug]
