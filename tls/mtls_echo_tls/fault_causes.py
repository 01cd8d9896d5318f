"""Texts for a fault that its slug alone does not describe: one in a CA's certificate, or rarer.

A slug says what is wrong; the reader has to know with which certificate, since that one must be
reissued. Beside the places of `mtls_echo_tls.causes` these texts have

* ``{bearer}``: the CA whose certificate has the fault, such as "the intermediate “Issuing”";
* ``{its_bearer}``: the certificate that has it: "{its} certificate", or the CA's;
* ``{subject}``: whose certificate that is;
* ``{above}``: the CA that issued that certificate;
* ``{signer}``, ``{the_signer}``, ``{of_signer}``: the same within a sentence, or nothing where it
  is not known; also in the texts of a slug, as is ``{why}``: what was compared, or nothing;
* ``{detail}``: what was compared; ``{fix}``: what a new certificate must have;
* ``{reissue}``: to have that certificate reissued, so that the rule is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec.structs import replace

from mtls_echo_tls.certificate_causes import CERTIFICATE_CAUSES
from mtls_echo_tls.slugs import Cause, Slug

# Kinds of a slug, with texts of their own.
Variant = Literal[
    "identifiers-differ", "malformed", "renamed-ca", "namesakes", "crl-signer", "rule",
    "anchor-not-root", "critical-identifier", "explicit-curve", "odd-date", "near-name",
    "not-sent", "withheld", "not-used", "odd-curve",
]  # fmt: skip

# What a certificate must have in place of the fault, where the fault does not say it itself.
_FIXES: dict[Slug, str] = {
    "missing-key-identifier": "with authorityKeyIdentifier and subjectKeyIdentifier",
    "unknown-critical-extension": "without that extension, or with it not marked critical",
    "weak-signature": "signed with SHA-256 or better",
    "not-an-authority": "with CA:TRUE and keyUsage keyCertSign, cRLSign",
    "not-conforming": "by that rule",
}

_ENDED_BY_REISSUING = frozenset[str](
    {
        *("not-conforming", "missing-key-identifier", "unknown-critical-extension"),
        *("wrong-usage", "weak-signature"),
    }
)

VARIANTS: dict[Variant, Cause] = {
    "identifiers-differ": Cause(
        "{its_bearer} is signed by the key of its CA, {above}, and names another key identifier"
        " than that CA's certificate",
        "{reissue}",
        "{reissue}",
        "RFC 5280 §4.2.1.2",
    ),
    "malformed": Cause(
        "{its_bearer} has an extension that is not well-formed: {detail}",
        "{reissue}",
        "{reissue}",
        "RFC 5280 §4.2",
    ),
    "renamed-ca": Cause(
        "{its_bearer} was issued under the name {above}, which none of {verifiers} trust anchors"
        " has, though one of them has the key that signed it",
        "have it reissued by the CA under its present name, or have the CA's certificate with the"
        " name {above} added to the {verifier}'s trust anchors ({ca}{file})",
        "add the CA's certificate with the name {above} to the trust anchors ({ca}{file}), or have"
        " the {owner}'s certificate reissued under the CA's present name",
        "RFC 5280 §6.1",
    ),
    "namesakes": Cause(
        "{its_bearer} lacks a key identifier, and several CAs have the name of its issuer: nothing"
        " tells them apart",
        "{reissue}; until then the {verifier} can verify it only with a single trust anchor of the"
        " name {above} ({ca}{file})",
        "{reissue}; until then leave only that CA of the name {above} which signed it among the"
        " trust anchors ({ca}{file})",
        "RFC 5280 §4.2.1.1",
    ),
    "crl-signer": Cause(
        "{above} may not sign the CRL that {its_bearer} is checked against",
        "nothing is wrong with ours: have the certificate of {above} reissued with cRLSign in its"
        " keyUsage",
        "have the certificate of {above} reissued for the same key, with cRLSign in its keyUsage,"
        " and use it in place of the present one",
        "RFC 5280 §4.2.1.3",
    ),
    "anchor-not-root": Cause(
        "{its} certificate could not be checked for revocation: {verifiers} trust anchor {subject}"
        " is not a root, and with CRLs OpenSSL has to check it too",
        "nothing is wrong with ours: have the {verifier} load the certificate of {above} as trust"
        " anchor in place of that of {subject}, and the CRLs of both; send {subject} along",
        "load the certificate of {above} as trust anchor in place of that of {subject}"
        " ({ca}{file}), and the CRLs of both ({crl}{file}); have the {owner} send {subject} along",
        "RFC 5280 §6.3",
    ),
    "near-name": replace(
        CERTIFICATE_CAUSES["wrong-name"],
        owner="have a certificate issued with {fix} in its subjectAltName: {issue_server}",
        verifier="connect by a name that the certificate has ({server_name}{name}, if that is not"
        " the address), or have one issued with {fix} in its subjectAltName",
    ),
    "critical-identifier": Cause(
        "{its_bearer} breaks a rule of RFC 5280: {detail}",
        "{reissue}",
        "{reissue}",
        "RFC 5280 §4.2.1.1",
    ),
    "explicit-curve": Cause(
        "{its_bearer} breaks a rule of RFC 5480: {detail}",
        "{reissue}",
        "{reissue}",
        "RFC 5480 §2.1.1",
    ),
    "odd-date": Cause(
        "{its_bearer} has a date that RFC 5280 does not permit: {detail}",
        "{reissue}",
        "{reissue}",
        "RFC 5280 §4.1.2.5",
    ),
    "not-sent": Cause(
        "{it} presented no certificate, and one is required: the one that is configured was not"
        " sent, because {detail}",
        "use a certificate with a P-256 or RSA key, which almost every server accepts",
        "have the client use a certificate with a P-256 or RSA key",
        "RFC 8446 §4.4.2.3",
    ),
    "withheld": Cause(
        "it has one whose kind of key the server does not accept, and did not send it: {detail}",
        "use a certificate with a P-256 or RSA key, which almost every server accepts",
        "accept signatures by every usual kind of key, or have the client use a certificate with"
        " a P-256 or RSA key",
        "RFC 8446 §4.4.2.3",
    ),
    "not-used": Cause(
        "the server has a certificate that it could not use with this client: {detail}",
        "let the client accept signatures by the kind of key that the server's certificate has,"
        " or have the server use another kind",
        "use a certificate with a P-256 or RSA key, which almost every client accepts",
        "RFC 8446 §4.2.3",
    ),
    "odd-curve": Cause(
        "the key of {its} certificate is not accepted: {detail}",
        "use a certificate with a P-256 or RSA key, which almost every {verifier} accepts",
        "have the {owner} use a certificate with a P-256 or RSA key",
        "RFC 8422 §5.1.1",
    ),
    "rule": Cause(
        "{its_bearer} breaks a rule of RFC 5280 that strict verification enforces: {detail}",
        "{reissue}",
        "{reissue}, or verify as most programs do: {lenient}",
        "RFC 5280 §4",
    ),
}

_CA_CLAUSES: dict[Slug, str] = {
    "expired-authority": "{bearer}, above {its} certificate, has expired",
    "not-yet-valid-authority": "{bearer}, above {its} certificate, is not valid yet",
    "revoked-authority": "{bearer}, above {its} certificate, was revoked",
    "missing-key-identifier": "{its_bearer} lacks a key identifier that RFC 5280 demands",
    "unknown-critical-extension": "{its_bearer} has a critical extension that is not understood",
    "wrong-usage": "{bearer}, above {its} certificate, may not issue for a TLS {owner}",
    "weak-key": "the key of {bearer}, above {its} certificate, is too weak",
    "weak-signature": "{its_bearer} is signed with an algorithm that is broken",
    "bad-signature": "the signature on {its_bearer} is wrong",
    "unknown-authority": "{its} certificate leads to {above}, a CA that is not among {verifiers}"
    " trust anchors",
    "impostor-authority": "{its_bearer} names a known CA{the_signer} as its issuer, but another"
    " key signed it",
    "name-not-permitted": "{its_bearer} carries a name that a CA above it may not give{why}",
    "not-an-authority": "{its} certificate was issued below {bearer}, which may not issue any",
}

_CA_REMEDIES: dict[Slug, tuple[str, str]] = {
    "expired-authority": (
        "get a certificate from a CA that is still valid, and send that CA's own along with it;"
        " or {reissue}",
        "{reissue}",
    ),
    "missing-key-identifier": (
        "{reissue}",
        "{reissue}, or verify as most programs do: {lenient}",
    ),
    "unknown-critical-extension": ("{reissue}", "{reissue}"),
    "wrong-usage": (
        "{reissue}; or use a certificate from a CA that may issue for a TLS {owner}",
        "{reissue}; or have the {owner}'s certificate issued by another CA",
    ),
    "weak-key": (
        "have our certificate issued by a CA with a P-256 key, or RSA of at least 2048 bits",
        "have the {owner}'s certificate issued by a CA with a stronger key",
    ),
    "weak-signature": ("{reissue}", "{reissue}"),
    "bad-signature": (
        "get the certificate of {bearer} again, from {above}: this copy was altered",
        "do not trust it: the certificate of {bearer} was altered after it was signed",
    ),
    "not-an-authority": (
        "get the certificate from a CA; if {bearer} is meant to be one, {reissue}",
        "do not trust it, unless {bearer} is meant to be a CA: then {reissue}",
    ),
}


def cause_of_fault(
    slug: Slug, *, in_ca: bool, in_root: bool, variant: Variant | None
) -> Cause | None:
    """The texts for a fault of this kind, where they are not those of its slug."""
    if variant is not None:
        return VARIANTS[variant]
    if not in_ca or slug not in _CA_CLAUSES or (in_root and slug == "impostor-authority"):
        return None
    cause = CERTIFICATE_CAUSES[slug]
    owner, verifier = _CA_REMEDIES.get(slug, (cause.owner, cause.verifier))
    return replace(cause, clause=_CA_CLAUSES[slug], owner=owner, verifier=verifier)


def joined_fixes(slug: Slug, fix: str, beside: Iterable[tuple[str, str]]) -> str:
    """What a reissued certificate must have, in place of this fault and the others in the old one.

    With one rule kept and another still broken it would be refused again.
    """
    if not fix or slug not in _ENDED_BY_REISSUING:
        return fix
    others = (other for found, other in beside if found in _ENDED_BY_REISSUING and other)
    return ", and ".join(dict.fromkeys((fix, *others)))


def fix_of(slug: Slug, presenter: str) -> str:
    """What a reissued certificate must have in place of this fault."""
    if slug == "wrong-usage":
        return f"without extendedKeyUsage, or with {presenter}Auth in it"
    return _FIXES.get(slug, "")
