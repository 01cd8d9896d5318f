"""The causes that lie in a certificate, in its certification path or in a CRL.

A part of the catalogue `mtls_echo_tls.causes`, which says how the texts are completed.
"""

from __future__ import annotations

from mtls_echo_tls.slugs import Cause, Slug

_VALIDITY = "RFC 5280 §4.1.2.5"
_PATH = "RFC 5280 §6.1"

CERTIFICATE_CAUSES: dict[Slug, Cause] = {
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
        " own along with it; {rollover}",
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
        "use a certificate issued by a CA that the {verifier} trusts, or have exactly"
        " this one added to the {verifier}'s trust anchors ({ca}{file})",
        "have a certificate issued to the {owner} by one of {verifiers} trust anchors, or add"
        " exactly this one to them ({ca}{file})",
        _PATH,
    ),
    "unknown-authority": Cause(
        "{its} certificate was issued by {signer}a CA that is not among {verifiers} trust anchors",
        "use a certificate from a CA that the {verifier} trusts, or have our"
        " CA's certificate added to the {verifier}'s trust anchors ({ca}{file})",
        "if that issuer is right, add its certificate to the trust anchors ({ca}{file});"
        " otherwise do not trust the {owner}",
        _PATH,
    ),
    "impostor-authority": Cause(
        "{its} certificate names a known CA{the_signer} as its issuer, but another key signed it",
        "have the certificate issued again by the CA that the {verifier} trusts: the one"
        " that signed ours is called the same, and has another key",
        "do not trust it, unless our CA was made anew under its old name: then its new"
        " certificate has to be among the trust anchors ({ca}{file}); otherwise a CA has taken the"
        " name of one of ours",
        "RFC 5280 §4.2.1.1",
    ),
    "missing-intermediate": Cause(
        "{it} did not send the intermediate certificate {of_signer}that links {its} certificate"
        " to a trust anchor",
        "append the certificate of the CA that issued ours to the certificate file"
        " ({cert}), after our own",
        "ask the operator of the {owner} to append the certificate of the CA that issued"
        " its own to its certificate file, after its own",
        "RFC 8446 §4.4.2",
    ),
    "empty-trust": Cause(
        "no trust anchors are loaded to verify {its} certificate with",
        "have the {verifier} load the CA that issued our certificate ({ca}{file})",
        "load the certificates of the CAs that issue for the {owner} ({ca}{file})",
        _PATH,
    ),
    "not-an-authority": Cause(
        "{its} certificate was issued by a certificate that may not issue any",
        "get the certificate from a CA: what issued ours lacks CA:TRUE or keyCertSign; if"
        " that is your own CA, make its certificate anew with both (openssl req -x509 …"
        " -addext keyUsage=critical,keyCertSign,cRLSign)",
        "do not trust it: the certificate above it may not issue any; if it is your own CA, make"
        " its certificate anew, with CA:TRUE and keyUsage keyCertSign, cRLSign",
        "RFC 5280 §4.2.1.9",
    ),
    "path-too-long": Cause(
        "more CAs stand above {its} certificate than one of them or the {verifier} permits",
        "get a certificate from a CA nearer to the trust anchor, or have the {verifier}"
        " permit more of them (nginx: ssl_verify_depth)",
        "have the {owner}'s certificate issued by a CA nearer to the trust anchor",
        "RFC 5280 §4.2.1.9",
    ),
    "name-not-permitted": Cause(
        "{its} certificate carries a name that its CA may not give{why}",
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
        "have it reissued with authorityKeyIdentifier and subjectKeyIdentifier",
        "have the {owner}'s certificate issued with authorityKeyIdentifier and"
        " subjectKeyIdentifier, or verify as most programs do: {lenient}",
        "RFC 5280 §4.2.1.1",
    ),
    "not-conforming": Cause(
        "a certificate in {its} path breaks a rule of RFC 5280 that strict verification enforces",
        "have the certificate named above issued anew, by the rules",
        "have the certificate named above issued anew, by the rules, or verify as most programs"
        " do: {lenient}",
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
        "nothing is wrong with ours: have the {verifier} load the CRLs of our"
        " CA and of all above it ({crl}{file})",
        "load the CRL of every CA above it, the root's included "
        "({crl}{file}); {publish_crls} publishes them",
        "RFC 5280 §6.3",
    ),
    "crl-expired": Cause(
        "the CRL to check {its} certificate against has expired",
        "nothing is wrong with ours: have the {verifier} load the CA's present CRL ({crl}{file})",
        "load the CA's present CRL ({crl}{file}), and let a timer do so before it"
        " ends; {publish_crls} publishes one",
        "RFC 5280 §5.1.2.5",
    ),
    "crl-not-yet-valid": Cause(
        "the CRL to check {its} certificate against is not valid yet",
        "nothing is wrong with ours: have the {verifier}'s clock and its CRL checked",
        "compare this machine's clock with the CRL's first day (thisUpdate), which {show} prints",
        "RFC 5280 §5.1.2.4",
    ),
}

# A signature that is wrong may be that of a CRL: another fault, and the verifier's.
FORGED_LIST = Cause(
    "the CRL to check {its} certificate against is not signed by its CA",
    "nothing is wrong with ours: have the {verifier} load the CRL of our CA ({crl}{file})",
    "get the CRL again from the CA itself ({crl}{file}): this one was altered, or signed by"
    " another key",
    "RFC 5280 §6.3.3",
)
