"""The catalogue of causes: one slug, one meaning, one remedy for each end.

A slug is used in code, on the command line, in JSON, in tests and in the documentation. A cause
lies with one side (the *owner*: whose certificate, key or configuration it is) and is found by
the other (the *judge*), so each has two remedies. The texts below are completed with

* ``{it}`` / ``{its}``: the owner, as the reader would say it: "we", "our", or "it", "its";
* ``{owner}`` / ``{judge}``: which side that is, "client" or "server";
* ``{judges}``: the judge's possessive, "our", "the client's" or "the server's".
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """One way for a connection to fail.

    Attributes:
        says: A clause about the owner: "{its} certificate has expired".
        owner: What the owner can do.
        judge: What the judge can do.
        rfc: Where the rule is written.
    """

    says: str
    owner: str
    judge: str
    rfc: str


_VALIDITY = "RFC 5280 §4.1.2.5"
_PATH = "RFC 5280 §6.1"

CAUSES: dict[str, Cause] = {
    "expired": Cause(
        "{its} certificate has expired",
        "present a renewed certificate; `mtls-echo pki show FILE` prints its dates",
        "have the {owner}'s certificate renewed; if its dates look right, set this machine's"
        " clock",
        _VALIDITY,
    ),
    "expired-authority": Cause(
        "an authority above {its} certificate has expired",
        "get a certificate from an authority that is still valid, and send its new intermediates",
        "replace the expired authority among the trust anchors or in the {owner}'s chain",
        _VALIDITY,
    ),
    "not-yet-valid": Cause(
        "{its} certificate is not valid yet",
        "wait until its notBefore, or issue one that is valid now; check both machines' clocks",
        "compare this machine's clock with the certificate's notBefore, then have it issued anew",
        _VALIDITY,
    ),
    "not-yet-valid-authority": Cause(
        "an authority above {its} certificate is not valid yet",
        "get a certificate from an authority that is valid now",
        "compare this machine's clock with the authority's notBefore",
        _VALIDITY,
    ),
    "clock-skew": Cause(
        "the two machines' clocks disagree",
        "compare the clocks: the certificate is valid by ours",
        "set this machine's clock",
        _VALIDITY,
    ),
    "wrong-name": Cause(
        "{its} certificate does not name the host that was asked for",
        "issue a certificate whose subjectAltName has that name",
        "connect with --server-name and a name the certificate has, or have one issued that also"
        " names the host",
        "RFC 9525 §6",
    ),
    "no-san": Cause(
        "{its} certificate has no subjectAltName, so it names no host at all",
        "issue a certificate with a subjectAltName; the common name no longer counts",
        "have the {owner}'s certificate issued with a subjectAltName; the common name no longer"
        " counts",
        "RFC 9525 §2",
    ),
    "wrong-usage": Cause(
        "{its} certificate is not meant for a TLS {owner}",
        "issue one for this use: `mtls-echo pki issue DIR NAME IDENTITY --{owner}`",
        "have the {owner}'s certificate issued with extendedKeyUsage {owner}Auth",
        "RFC 5280 §4.2.1.12",
    ),
    "self-signed": Cause(
        "{its} certificate is self-signed and is not itself a trust anchor",
        "use a certificate issued by an authority that the {judge} trusts",
        "have a certificate issued by one of {judges} trust anchors, or add exactly this one to"
        " them",
        _PATH,
    ),
    "unknown-authority": Cause(
        "{its} certificate was issued by an authority that is not among {judges} trust anchors",
        "use a certificate from an authority that the {judge} trusts, or have our authority's"
        " added to the {judge}'s trust anchors",
        "if that issuer is right, add its certificate to the trust anchors"
        " (--ca on the client, --client-ca on the server); otherwise the {owner} is a stranger",
        _PATH,
    ),
    "impostor-authority": Cause(
        "{its} certificate names a known authority as its issuer, but another key signed it",
        "get the certificate from the authority itself, not from one of the same name",
        "do not trust it: somebody made an authority with the name of one of yours, or yours was"
        " made anew with the same name and the trust anchors were not replaced",
        "RFC 5280 §4.2.1.1",
    ),
    "missing-intermediate": Cause(
        "{it} did not send the intermediate certificate that links {its} certificate to a trust"
        " anchor",
        "append the issuing authority's certificate to the certificate file, after the end-entity",
        "have the {owner} append the issuing authority's certificate to its certificate file",
        "RFC 8446 §4.4.2",
    ),
    "empty-trust": Cause(
        "no trust anchors are loaded to judge {its} certificate by",
        "have the {judge} load the authority that issued our certificate",
        "load the authorities that the {owner}'s certificates come from",
        _PATH,
    ),
    "not-an-authority": Cause(
        "{its} certificate was issued by one that is no authority",
        "get the certificate from an authority: the issuer lacks CA:TRUE or keyCertSign; if it is"
        " your own, make its certificate anew with both (openssl req -x509 … -addext"
        " keyUsage=critical,keyCertSign,cRLSign)",
        "do not trust it: whoever holds that issuing certificate was not entitled to issue; if it"
        " is your own authority, make its certificate anew, with CA:TRUE and keyUsage keyCertSign,"
        " cRLSign",
        "RFC 5280 §4.2.1.9",
    ),
    "path-too-long": Cause(
        "more authorities stand above {its} certificate than one of them permits",
        "get a certificate from an authority nearer to the trust anchor",
        "have the {owner}'s certificate issued by an authority nearer to the trust anchor",
        "RFC 5280 §4.2.1.9",
    ),
    "name-not-permitted": Cause(
        "{its} certificate carries a name that its authority may not give",
        "issue it for names that the authority's nameConstraints permit",
        "have the {owner}'s certificate issued by an authority that may give this name",
        "RFC 5280 §4.2.1.10",
    ),
    "unknown-critical-extension": Cause(
        "{its} certificate has a critical extension that is not understood",
        "issue it without that extension, or not marked critical",
        "have the {owner}'s certificate issued without that critical extension",
        "RFC 5280 §4.2",
    ),
    "missing-key-identifier": Cause(
        "{its} certificate lacks a key identifier that RFC 5280 demands",
        "issue it with authorityKeyIdentifier and subjectKeyIdentifier, as `mtls-echo pki` does",
        "have the {owner}'s certificate issued with authorityKeyIdentifier",
        "RFC 5280 §4.2.1.1",
    ),
    "not-conforming": Cause(
        "a certificate in {its} path breaks a rule of RFC 5280 that strict verification enforces",
        "have the certificate named above issued anew, by the rules",
        "have the certificate named above issued anew, by the rules",
        "RFC 5280 §4",
    ),
    "bad-signature": Cause(
        "the signature on {its} certificate is wrong",
        "get the certificate again from its authority: this copy was altered",
        "do not trust it: the certificate was altered after it was signed",
        _PATH,
    ),
    "weak-key": Cause(
        "a key in {its} certification path is too weak",
        "issue the certificate for a P-256 key, or RSA of at least 2048 bits",
        "have the {owner}'s certificate issued for a stronger key",
        "RFC 9325 §4.5",
    ),
    "weak-signature": Cause(
        "{its} certificate is signed with an algorithm that is broken",
        "issue the certificate anew, signed with SHA-256 or better",
        "have the {owner}'s certificate issued anew, signed with SHA-256 or better",
        "RFC 9155",
    ),
    "revoked": Cause(
        "{its} certificate was revoked by its authority",
        "use a new certificate with a new key; the old one will not be accepted again",
        "nothing: somebody who was locked out tried to enter, or has not renewed yet",
        "RFC 5280 §5",
    ),
    "revoked-authority": Cause(
        "an authority above {its} certificate was revoked",
        "get a certificate from an authority that is still in force",
        "nothing: certificates of that authority are not to be accepted any more",
        "RFC 5280 §5",
    ),
    "crl-missing": Cause(
        "{its} certificate could not be checked for revocation: a revocation list is missing",
        "have the {judge} load the revocation list of our authority",
        "load the revocation list of every authority in the path (--crl)",
        "RFC 5280 §6.3",
    ),
    "crl-expired": Cause(
        "the revocation list to check {its} certificate against has expired",
        "have the {judge} load a current revocation list",
        "publish and load a current revocation list",
        "RFC 5280 §5.1.2.5",
    ),
    "crl-not-yet-valid": Cause(
        "the revocation list to check {its} certificate against is not valid yet",
        "have the {judge} check its clock and its revocation list",
        "compare this machine's clock with the list's thisUpdate",
        "RFC 5280 §5.1.2.4",
    ),
    "no-client-certificate": Cause(
        "{it} presented no certificate, and one is required",
        "connect with a certificate: --as NAME from a --pki directory, or --cert and --key",
        "nothing to do here, unless anonymous clients are welcome (--client-auth optional);"
        " the client connects with --cert and --key",
        "RFC 8446 §4.4.2.4",
    ),
    "no-server-certificate": Cause(
        "the server has no certificate to present",
        "have the server configured with a certificate",
        "start the server with --cert and --key",
        "RFC 8446 §4.4.2",
    ),
    "key-not-owned": Cause(
        "{it} could not prove possession of the private key of {its} certificate",
        "use the private key that belongs to the certificate",
        "do not trust it: the {owner} showed somebody else's certificate, or was set up with the"
        " wrong key",
        "RFC 8446 §4.4.3",
    ),
    "no-common-version": Cause(
        "the two sides have no TLS version in common",
        "enable a version that the other side offers: --min-version and --max-version on the"
        " server, --tls on the client",
        "enable a version that the other side offers: --min-version and --max-version on the"
        " server, --tls on the client",
        "RFC 8446 §4.2.1",
    ),
    "no-common-cipher": Cause(
        "the two sides have no cipher suite in common",
        "enable a cipher suite that the other side offers",
        "enable a cipher suite that the other side offers",
        "RFC 8446 §4.1.1",
    ),
    "no-common-group": Cause(
        "the two sides have no key exchange group in common",
        "enable a group that the other side offers, such as X25519 or P-256",
        "enable a group that the other side offers, such as X25519 or P-256",
        "RFC 8446 §4.2.7",
    ),
    "no-common-signature-algorithm": Cause(
        "the server has no certificate with a signature algorithm that the client accepts",
        "enable the signature algorithm of the {judge}'s certificate",
        "use a certificate with a P-256 or RSA key, which almost every {owner} accepts",
        "RFC 8446 §4.2.3",
    ),
    "no-common-alpn": Cause(
        "the two sides have no application protocol in common",
        "offer a protocol (--alpn) that the other side speaks",
        "enable a protocol (--alpn) that the other side offers",
        "RFC 7301 §3.2",
    ),
    "unrecognised-name": Cause(
        "the server does not serve the name that was asked for",
        "connect with --server-name and a name that the server serves",
        "configure the server for that name, if it should serve it",
        "RFC 6066 §3",
    ),
    "plaintext-peer": Cause(
        "the other side does not speak TLS on this port",
        "connect to the TLS port, or start the server with TLS",
        "connect to the TLS port, or start the server with TLS",
        "RFC 8446 §5.1",
    ),
    "plaintext-client": Cause(
        "the client did not speak TLS",
        "the client must speak TLS on this port: https://, `mtls-echo connect` or"
        " `openssl s_client -connect`",
        "the client must speak TLS on this port: https://, `mtls-echo connect` or"
        " `openssl s_client -connect`",
        "RFC 8446 §5.1",
    ),
    "tampered": Cause(
        "data was altered on its way, or protected with another key",
        "look for a middlebox on the path; on a sound network this does not happen",
        "look for a middlebox on the path; on a sound network this does not happen",
        "RFC 8446 §5.2",
    ),
    "oversize": Cause(
        "{it} sent more than the protocol allows",
        "send a shorter certificate chain",
        "have the {owner} send a shorter certificate chain",
        "RFC 8446 §5.1",
    ),
    "downgrade": Cause(
        "a lower TLS version was negotiated than both sides support",
        "look for a middlebox on the path that alters the hello messages",
        "look for a middlebox on the path that alters the hello messages",
        "RFC 8446 §4.1.3",
    ),
    "renegotiation": Cause(
        "one side wanted to negotiate anew in the middle of the connection, and the other did not",
        "switch renegotiation off in the program that asks for it, or use TLS 1.3, which has none;"
        " a server that asks for a certificate late must ask in the handshake",
        "switch renegotiation off in the program that asks for it, or use TLS 1.3, which has none;"
        " a server that asks for a certificate late must ask in the handshake",
        "RFC 5246 §7.2.2",
    ),
    "truncated": Cause(
        "the connection ended without close_notify, so data may be missing",
        "find out what ended the connection: the other side's log, or a middlebox on the path",
        "find out what ended the connection: the other side's log, or a middlebox on the path",
        "RFC 8446 §6.1",
    ),
    "reset": Cause(
        "the connection was reset",
        "read the other side's log: it, or something on the path, gave up without saying why",
        "read the other side's log: it, or something on the path, gave up without saying why",
        "RFC 9293 §3.5.2",
    ),
    "closed-without-alert": Cause(
        "the connection was closed without an alert, so the reason is not known on this side",
        "read the other side's log: many TLS programs refuse a peer without telling it",
        "read the other side's log: many TLS programs refuse a peer without telling it",
        "RFC 8446 §6.2",
    ),
    "timeout": Cause(
        "nothing came in time",
        "check that the other side is the right program and not overloaded; raise the timeout if"
        " it is only slow",
        "check that the other side is the right program and not overloaded; raise the timeout if"
        " it is only slow",
        "",
    ),
    "not-authorised": Cause(
        "the handshake succeeded, but {it} may not enter",
        "connect with a certificate that the server admits (--as NAME, or --cert and --key), or"
        " have its --allow-* extended",
        "extend --allow-*, if this client should enter",
        "",
    ),
    "no-connection": Cause(
        "there is no TCP connection",
        "check host and port, and that the server runs: `mtls-echo serve`",
        "check host and port, and that the server runs: `mtls-echo serve`",
        "",
    ),
    "altered-echo": Cause(
        "the echo differs from what was sent",
        "this is no echo server, or a broken one: check host and port",
        "this is no echo server, or a broken one: check host and port",
        "",
    ),
    "internal-error": Cause(
        "a failure that none of the known causes explains",
        "read the other side's log, and report what this says together with it",
        "read the other side's log, and report what this says together with it",
        "",
    ),
}
