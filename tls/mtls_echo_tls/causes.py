"""The catalogue of causes: one slug, one meaning, one remedy for each end.

A slug is used in code, on the command line, in JSON, in tests and in the documentation. A cause
lies with one side (the *owner*: whose certificate, key or configuration it is) and is found by
the other (the *judge*), so each has two remedies. The texts below are completed with

* ``{it}`` / ``{its}``: the owner, as the reader would say it: "we", "our", or "it", "its";
* ``{owner}`` / ``{judge}``: which side that is, "client" or "server";
* ``{judges}``: the judge's possessive, "our", "the client's" or "the server's";
* ``{ca}``: the judge's setting for its trust anchors;
* every other place: a setting or a program, as a `Vocabulary` calls it for its readers.

Each remedy must help a reader who knows nothing of TLS: what to do, where, by which setting or
program. The two ends may have different operators, so the remedy of a side may be to ask the
operator of the other.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from mtls_echo_tls.sides import Side

Slug = Literal[
    "expired",
    "expired-authority",
    "not-yet-valid",
    "not-yet-valid-authority",
    "clock-skew",
    "wrong-name",
    "no-san",
    "wrong-usage",
    "self-signed",
    "unknown-authority",
    "impostor-authority",
    "missing-intermediate",
    "empty-trust",
    "not-an-authority",
    "path-too-long",
    "name-not-permitted",
    "unknown-critical-extension",
    "missing-key-identifier",
    "not-conforming",
    "bad-signature",
    "weak-key",
    "weak-signature",
    "revoked",
    "revoked-authority",
    "crl-missing",
    "crl-expired",
    "crl-not-yet-valid",
    "no-client-certificate",
    "no-server-certificate",
    "key-not-owned",
    "no-common-version",
    "no-common-cipher",
    "no-common-group",
    "no-common-signature-algorithm",
    "no-common-alpn",
    "unrecognised-name",
    "plaintext-peer",
    "plaintext-client",
    "tampered",
    "oversize",
    "downgrade",
    "renegotiation",
    "truncated",
    "reset",
    "closed-without-alert",
    "timeout",
    "not-authorised",
    "no-connection",
    "altered-echo",
    "internal-error",
]

# Causes in the order of how likely they are, unless it says otherwise.
Slugs: TypeAlias = tuple[Slug, ...]


def keep(causes: Iterable[Slug], these: Container[Slug]) -> Slugs:
    """The causes that are among these, in their order."""
    return tuple([slug for slug in causes if slug in these])


def drop(causes: Iterable[Slug], these: Container[Slug]) -> Slugs:
    """The causes that are not among these, in their order."""
    return tuple([slug for slug in causes if slug not in these])


@dataclass(frozen=True, slots=True)
class Cause:
    """One way for a connection to fail.

    Attributes:
        clause: A clause about the owner: "{its} certificate has expired".
        owner: What the owner can do.
        judge: What the judge can do.
        rfc: Where the rule is written.
    """

    clause: str
    owner: str
    judge: str
    rfc: str


def _either(clause: str, remedy: str, rfc: str) -> Cause:
    """A cause that both sides can do the same about."""
    return Cause(clause, remedy, remedy, rfc)


_VALIDITY = "RFC 5280 §4.1.2.5"
_PATH = "RFC 5280 §6.1"

CAUSES: dict[Slug, Cause] = {
    "expired": Cause(
        "{its} certificate has expired",
        "renew it: {renew}, or ask its issuer; {show} prints its dates",
        "ask the operator of the {owner} to renew its certificate; if its dates look right, set"
        " this machine's clock",
        _VALIDITY,
    ),
    "expired-authority": Cause(
        "a CA above {its} certificate has expired",
        "get a certificate from a CA that is still valid, and send that CA's"
        " own along with it; with {pki_program}: {rollover}",
        "replace the expired CA where it is: among our trust anchors ({ca}{file}), or"
        " in what the {owner} sends",
        _VALIDITY,
    ),
    "not-yet-valid": Cause(
        "{its} certificate is not valid yet",
        "check both machines' clocks; if they are right, wait until the certificate's first"
        " day, which {show} prints, or use one that is valid now",
        "compare this machine's clock with the certificate's first day (notBefore); if the"
        " clock is right, have the {owner} use one that is valid now",
        _VALIDITY,
    ),
    "not-yet-valid-authority": Cause(
        "a CA above {its} certificate is not valid yet",
        "check both machines' clocks; if they are right, get a certificate from a CA"
        " that is valid now",
        "compare this machine's clock with the CA's first day (notBefore); {show} prints it",
        _VALIDITY,
    ),
    "clock-skew": Cause(
        "the two machines' clocks disagree",
        "compare the two machines' clocks: by ours the certificate is valid, so the other"
        " one may be wrong",
        "compare the two machines' clocks, and set the one that is wrong",
        _VALIDITY,
    ),
    "wrong-name": Cause(
        "{its} certificate does not name the host that was asked for",
        "have a certificate issued that names the host which clients ask for: {issue_server}",
        "connect by a name that the certificate has ({server_name}{name}, if that is not the"
        " address), or have one issued that names this host too",
        "RFC 9525 §6",
    ),
    "no-san": Cause(
        "{its} certificate has no subjectAltName, so it names no host at all",
        "have a certificate issued that names the host in its subjectAltName:"
        " {issue_server}; the common name no longer counts",
        "have a certificate issued to the {owner} that names the host in its subjectAltName;"
        " the common name no longer counts",
        "RFC 9525 §2",
    ),
    "wrong-usage": Cause(
        "{its} certificate is not meant for a TLS {owner}",
        "have one issued for this use, with extendedKeyUsage {owner}Auth and keyUsage"
        " digitalSignature: {issue}",
        "have a certificate issued to the {owner} with extendedKeyUsage {owner}Auth and"
        " keyUsage digitalSignature",
        "RFC 5280 §4.2.1.12",
    ),
    "self-signed": Cause(
        "{its} certificate is self-signed and is not itself a trust anchor",
        "use a certificate issued by a CA that the {judge} trusts, or have exactly"
        " this one added to the {judge}'s trust anchors ({ca}{file})",
        "have a certificate issued to the {owner} by one of {judges} trust anchors, or add"
        " exactly this one to them ({ca}{file})",
        _PATH,
    ),
    "unknown-authority": Cause(
        "{its} certificate was issued by a CA that is not among {judges} trust anchors",
        "use a certificate from a CA that the {judge} trusts, or have our"
        " CA's certificate added to the {judge}'s trust anchors ({ca}{file})",
        "if that issuer is right, add its certificate to the trust anchors ({ca}{file});"
        " otherwise do not trust the {owner}",
        _PATH,
    ),
    "impostor-authority": Cause(
        "{its} certificate names a known CA as its issuer, but another key signed it",
        "have the certificate issued again by the CA that the {judge} trusts: the one"
        " that signed ours is called the same, and has another key",
        "do not trust it, unless our CA was made anew under its old name: then its new"
        " certificate has to be among the trust anchors ({ca}{file}); otherwise a CA has taken the"
        " name of one of ours",
        "RFC 5280 §4.2.1.1",
    ),
    "missing-intermediate": Cause(
        "{it} did not send the intermediate certificate that links {its} certificate to a"
        " trust anchor",
        "append the certificate of the CA that issued ours to the certificate file"
        " ({cert}), after our own",
        "ask the operator of the {owner} to append the certificate of the CA that issued"
        " its own to its certificate file, after its own",
        "RFC 8446 §4.4.2",
    ),
    "empty-trust": Cause(
        "no trust anchors are loaded to verify {its} certificate with",
        "have the {judge} load the CA that issued our certificate ({ca}{file})",
        "load the certificates of the CAs that issue for the {owner} ({ca}{file})",
        _PATH,
    ),
    "not-an-authority": Cause(
        "{its} certificate was issued by a certificate that may not issue any",
        "get the certificate from a CA: what issued ours lacks CA:TRUE or keyCertSign; if"
        " that is your own CA, make its certificate anew with both (openssl req -x509 …"
        " -addext keyUsage=critical,keyCertSign,cRLSign)",
        "do not trust it: the certificate above it may not issue any; if"
        " it is your own CA, make its certificate anew, with CA:TRUE and keyUsage"
        " keyCertSign, cRLSign",
        "RFC 5280 §4.2.1.9",
    ),
    "path-too-long": Cause(
        "more CAs stand above {its} certificate than one of them or the {judge} permits",
        "get a certificate from a CA nearer to the trust anchor, or have the {judge}"
        " permit more of them (nginx: ssl_verify_depth)",
        "have the {owner}'s certificate issued by a CA nearer to the trust anchor",
        "RFC 5280 §4.2.1.9",
    ),
    "name-not-permitted": Cause(
        "{its} certificate carries a name that its CA may not give",
        "have it issued for names that its CA may give (nameConstraints), or by another CA",
        "have the {owner}'s certificate issued by a CA that may give this name",
        "RFC 5280 §4.2.1.10",
    ),
    "unknown-critical-extension": Cause(
        "{its} certificate has a critical extension that is not understood",
        "have it issued without that extension, or with it not marked critical",
        "have the {owner}'s certificate issued without that critical extension",
        "RFC 5280 §4.2",
    ),
    "missing-key-identifier": Cause(
        "{its} certificate lacks a key identifier that RFC 5280 demands",
        "have it issued with authorityKeyIdentifier and subjectKeyIdentifier, as"
        " {pki_program} does",
        "have the {owner}'s certificate issued with authorityKeyIdentifier and"
        " subjectKeyIdentifier",
        "RFC 5280 §4.2.1.1",
    ),
    "not-conforming": _either(
        "a certificate in {its} path breaks a rule of RFC 5280 that strict verification enforces",
        "have the certificate named above issued anew, by the rules",
        "RFC 5280 §4",
    ),
    "bad-signature": Cause(
        "the signature on {its} certificate is wrong",
        "get the certificate again from its CA: this copy was altered",
        "do not trust it: the certificate was altered after it was signed",
        _PATH,
    ),
    "weak-key": Cause(
        "a key in {its} certification path is too weak",
        "have it issued for a P-256 key, or for RSA of at least 2048 bits",
        "have the {owner}'s certificate issued for a stronger key",
        "RFC 9325 §4.5",
    ),
    "weak-signature": Cause(
        "{its} certificate is signed with an algorithm that is broken",
        "have it issued again, signed with SHA-256 or better",
        "have the {owner}'s certificate issued again, signed with SHA-256 or better",
        "RFC 9155",
    ),
    "revoked": Cause(
        "{its} certificate was revoked by its CA",
        "use a new certificate with a new key: {rekey}; the old one will not be accepted again",
        "nothing, if access was to end; otherwise give the {owner} a new key and certificate"
        " ({rekey})",
        "RFC 5280 §5",
    ),
    "revoked-authority": Cause(
        "a CA above {its} certificate was revoked",
        "get a certificate from a CA that is still in force",
        "nothing: certificates of that CA are not to be accepted any more",
        "RFC 5280 §5",
    ),
    "crl-missing": Cause(
        "{its} certificate could not be checked for revocation: a CRL is missing",
        "nothing is wrong with ours: have the {judge} load the CRLs of our"
        " CA and of all above it ({crl}{file})",
        "load the CRL of every CA above it, the root's included "
        "({crl}{file}); {publish_crls} publishes them",
        "RFC 5280 §6.3",
    ),
    "crl-expired": Cause(
        "the CRL to check {its} certificate against has expired",
        "nothing is wrong with ours: have the {judge} load the CA's present CRL ({crl}{file})",
        "load the CA's present CRL ({crl}{file}); {publish_crls}"
        " publishes one, for a timer to run before the old one ends",
        "RFC 5280 §5.1.2.5",
    ),
    "crl-not-yet-valid": Cause(
        "the CRL to check {its} certificate against is not valid yet",
        "nothing is wrong with ours: have the {judge}'s clock and its CRL checked",
        "compare this machine's clock with the CRL's first day (thisUpdate), which {show} prints",
        "RFC 5280 §5.1.2.4",
    ),
    "no-client-certificate": Cause(
        "{it} presented no certificate, and one is required",
        "connect with a certificate: {certificate}",
        "nothing to do here, unless anonymous clients are welcome ({no_client_certificate});"
        " the client connects with {cert} and {key}",
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
    "oversize": Cause(
        "{it} sent more than the protocol allows",
        "send a shorter certificate chain",
        "have the {owner} send a shorter certificate chain",
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
        "this is no echo server, or a broken one: check host and port",
        "",
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

# A signature that is wrong may be that of a CRL: another fault, and the judge's.
FORGED_LIST = Cause(
    "the CRL to check {its} certificate against is not signed by its CA",
    "nothing is wrong with ours: have the {judge} load the CRL of our CA ({crl}{file})",
    "get the CRL again from the CA itself ({crl}{file}): this one was altered, or signed by"
    " another key",
    "RFC 5280 §6.3.3",
)

# X509_V_ERR_CRL_SIGNATURE_FAILURE.
_BAD_LIST = 8


def cause_of(slug: Slug, verify_code: int | None = None) -> Cause:
    """The texts for a cause.

    Args:
        slug: The cause.
        verify_code: OpenSSL's verdict, if it is known: it tells two kinds of signature apart.
    """
    is_list = slug == "bad-signature" and verify_code == _BAD_LIST
    return FORGED_LIST if is_list else CAUSES[slug]
