"""The differences of two `ValidationInput` values, as precisely as RFC 5280 has words for them.

Certificates are compared field by field and extension by extension. Two things are compared by
what they mean, since they follow from a key: a key identifier, by whose key it identifies; and
the signature, by who in the same path made it. A certificate that no one in its path has signed
has *another issuer*: that is one difference, whatever name and identifier go with it. Which of the
sound algorithms it was signed with follows from the signer's kind of key, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import zip_longest

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtensionOID

from mtls_echo_pki.flaws.baseline import ValidationInput
from mtls_echo_pki.flaws.flaw import Flaw

PLACES = ("end-entity", "intermediate", "upper intermediate")

EXTENSIONS = {
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER: "authorityKeyIdentifier",
    ExtensionOID.BASIC_CONSTRAINTS: "basicConstraints",
    ExtensionOID.EXTENDED_KEY_USAGE: "extendedKeyUsage",
    ExtensionOID.KEY_USAGE: "keyUsage",
    ExtensionOID.NAME_CONSTRAINTS: "nameConstraints",
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME: "subjectAltName",
    ExtensionOID.SUBJECT_KEY_IDENTIFIER: "subjectKeyIdentifier",
}

IDENTIFIER = EXTENSIONS[ExtensionOID.AUTHORITY_KEY_IDENTIFIER]


def differences(good: ValidationInput, bad: ValidationInput) -> set[str]:
    """Every difference, as ``place: respect``, or ``place`` where something is missing."""
    found = {"reference identifier"} if good.reference != bad.reference else set[str]()
    if owns_key(good) != owns_key(bad):
        found.add("end-entity: private key")
    sent = zip_longest(path(good), path(bad))
    for place, (one, other) in zip_longest(PLACES, sent, fillvalue=(None, None)):
        found |= _certificates(str(place), one, other, good, bad)
    for one, other in zip_longest(good.trust.anchors, bad.trust.anchors):
        found |= _certificates("trust anchor", one, other, good, bad)
    return found | _lists(good, bad)


def offence(flaw: Flaw, good: ValidationInput, bad: ValidationInput) -> str | None:
    """Why the two do not differ in what the flaw promises and in nothing else; None if they do."""
    found = differences(good, bad)
    whole = ":" not in flaw.differs
    if whole and found and all(each.partition(":")[0] == flaw.differs for each in found):
        return None
    if found == {flaw.differs}:
        return None
    return f"{flaw.slug} promises to differ in {flaw.differs!r}, and does in {sorted(found)}"


def path(inputs: ValidationInput) -> tuple[x509.Certificate, ...]:
    return inputs.credential.path


def owns_key(inputs: ValidationInput) -> bool:
    """Whether the key that is written and loaded is the certificate's."""
    try:
        key = load_pem_private_key(inputs.credential.key_pem, None)
    except ValueError:
        return False
    own, certified = key.public_key(), inputs.credential.certificate.public_key()
    return spki(own) == spki(certified)


def spki(key: object) -> bytes:
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]  # every public key has it
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def _certificates(
    place: str,
    one: x509.Certificate | None,
    other: x509.Certificate | None,
    good: ValidationInput,
    bad: ValidationInput,
) -> set[str]:
    if one == other:
        return set()
    if one is None or other is None:
        return {place}
    ours, theirs = dict(_respects(one, good)), dict(_respects(other, bad))
    if None in (ours["issuer"], theirs["issuer"]) and IDENTIFIER in ours.keys() & theirs.keys():
        # An untrusted CA signed: that its key identifier is another follows from it.
        del ours[IDENTIFIER], theirs[IDENTIFIER]
    return {
        f"{place}: {respect}"
        for respect in ours.keys() | theirs.keys()
        if ours.get(respect) != theirs.get(respect)
    }


def _respects(
    certificate: x509.Certificate, inputs: ValidationInput
) -> Iterator[tuple[str, object]]:
    signer = _signer(certificate, inputs)
    yield "version", certificate.version
    yield "serial number", certificate.serial_number
    yield "issuer", signer and (signer[0], certificate.issuer)
    yield "validity", (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    yield "subject", certificate.subject
    yield "key", spki(certificate.public_key())
    hashed = certificate.signature_hash_algorithm
    yield "signature algorithm", hashed is None or hashed.name in ("sha256", "sha384")
    for extension in certificate.extensions:
        name = EXTENSIONS.get(extension.oid, f"extension {extension.oid.dotted_string}")
        yield name, (extension.critical, _meaning(extension.value, certificate, signer))


def _meaning(
    value: x509.ExtensionType,
    certificate: x509.Certificate,
    signer: tuple[str, x509.Certificate] | None,
) -> object:
    """A key identifier as whose it is; anything else as it stands."""
    if isinstance(value, x509.SubjectKeyIdentifier):
        return (
            value == x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()) or value
        )
    if isinstance(value, x509.AuthorityKeyIdentifier) and signer is not None:
        return (
            value
            == x509.AuthorityKeyIdentifier.from_issuer_public_key(
                signer[1].public_key()  # type: ignore[arg-type]  # as above
            )
            or value
        )
    return value


def _signer(
    certificate: x509.Certificate, inputs: ValidationInput
) -> tuple[str, x509.Certificate] | None:
    """Whose key in the same input made a certificate's signature."""
    candidates = [("itself", certificate)]
    candidates += zip(PLACES, path(inputs), strict=False)
    candidates += [("trust anchor", anchor) for anchor in inputs.trust.anchors]
    return next((each for each in candidates if _signed(certificate, each[1])), None)


def _signed(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    """Whether a key made a signature; the issuer's name is looked at elsewhere."""
    key, hashed = by.public_key(), certificate.signature_hash_algorithm
    signature, tbs = certificate.signature, certificate.tbs_certificate_bytes
    with contextlib.suppress(InvalidSignature):
        if isinstance(key, ec.EllipticCurvePublicKey) and hashed is not None:
            key.verify(signature, tbs, ec.ECDSA(hashed))
            return True
        if isinstance(key, rsa.RSAPublicKey) and hashed is not None:
            key.verify(signature, tbs, padding.PKCS1v15(), hashed)
            return True
        if isinstance(key, ed25519.Ed25519PublicKey) and hashed is None:
            key.verify(signature, tbs)
            return True
    return False


def _lists(good: ValidationInput, bad: ValidationInput) -> set[str]:
    roots = {anchor.subject for anchor in good.trust.anchors}
    ours, theirs = ({crl.issuer: crl for crl in each.trust.crls} for each in (good, bad))
    found = set[str]()
    if len(bad.trust.crls) > len(theirs):
        found.add("CRL")  # two of one CA
    for issuer in ours.keys() | theirs.keys():
        place = f"{'root' if issuer in roots else 'intermediate'}'s CRL"
        if issuer not in ours or issuer not in theirs:
            found.add(place)
            continue
        one = _list_respects(ours[issuer], good)
        other = _list_respects(theirs[issuer], bad)
        found |= {f"{place}: {respect}" for respect in one if one[respect] != other[respect]}
    return found


def _list_respects(
    crl: x509.CertificateRevocationList, inputs: ValidationInput
) -> dict[str, object]:
    authorities = (*path(inputs)[1:], *inputs.trust.anchors)
    return {
        "thisUpdate": crl.last_update_utc,
        "nextUpdate": crl.next_update_utc,
        "revocations": [(each.serial_number, list(each.extensions)) for each in crl],
        "extensions": list(crl.extensions),
        "signature": any(
            crl.is_signature_valid(each.public_key())  # type: ignore[arg-type]  # as above
            for each in authorities
            if each.subject == crl.issuer
        ),
    }
