"""An altered certificate is distinguished from an impostor's where anything shows it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import KeyType, Request
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_tls.path.tampering import evidence_of_tampering
from mtls_echo_tls.path.validate import examine

KEYS = [pytest.param(kind, id=kind.value) for kind in KeyType]
AUTHORITIES = {kind: Authority.root(f"root {kind.value}", key_type=kind) for kind in KeyType}


def reread(der: bytes | bytearray) -> x509.Certificate:
    return x509.load_der_x509_certificate(bytes(der))


def der_of(certificate: x509.Certificate) -> bytearray:
    return bytearray(certificate.public_bytes(Encoding.DER))


def flipped(certificate: x509.Certificate, at: int, mask: int = 1) -> x509.Certificate:
    """The same bytes but for some bits of one of them."""
    der = der_of(certificate)
    der[at] ^= mask
    return reread(der)


def renamed(certificate: x509.Certificate, old: bytes, new: bytes) -> x509.Certificate:
    """Another content under the same signature."""
    return reread(der_of(certificate).replace(old, new))


def impostor(authority: Authority, certificate: x509.Certificate) -> x509.Certificate:
    """The same content, signed with another key of the same kind: its identifier is copied."""
    kind = next(k for k, a in AUTHORITIES.items() if a is authority)
    other = Authority.root(key_type=kind)
    return other.certify(TBSCertificate.of(certificate))


@pytest.mark.parametrize("kind", KEYS)
def test_one_damaged_bit_of_a_signature_is_put_back(kind: KeyType) -> None:
    authority = AUTHORITIES[kind]
    sound = authority.issue(Request.client("alice.test")).certificate

    damaged = flipped(sound, -5)

    assert evidence_of_tampering(damaged, authority.certificate, thorough=False) is None
    proof = evidence_of_tampering(damaged, authority.certificate, thorough=True)
    assert proof is not None
    assert "with one bit different" in proof


@pytest.mark.parametrize("kind", [KeyType.P256, KeyType.ED25519])
def test_one_damaged_bit_of_the_content_is_put_back(kind: KeyType) -> None:
    authority = AUTHORITIES[kind]
    sound = authority.issue(Request.client("alice.test")).certificate

    # "l" and "m" differ in one bit; the other name, in many.
    damaged = renamed(sound, b"alice.test", b"amice.test")
    forged = renamed(sound, b"alice.test", b"mallo.test")

    assert evidence_of_tampering(damaged, authority.certificate, thorough=True) is not None
    assert evidence_of_tampering(forged, authority.certificate, thorough=True) is None


def test_an_rsa_signature_over_another_content_is_known_without_a_search() -> None:
    authority = AUTHORITIES[KeyType.RSA2048]
    sound = authority.issue(Request.client("alice.test")).certificate

    forged = renamed(sound, b"alice.test", b"mallo.test")

    proof = evidence_of_tampering(forged, authority.certificate, thorough=False)
    assert proof is not None
    assert "for another content" in proof


def test_what_is_not_a_signature_at_all_was_damaged() -> None:
    authority = AUTHORITIES[KeyType.P256]
    sound = authority.issue(Request.client("alice.test")).certificate
    der = der_of(sound)
    at = der.rindex(sound.signature)
    der[at] ^= 0x10  # no SEQUENCE any more

    assert evidence_of_tampering(reread(der), authority.certificate, thorough=False) is not None


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize("kind", KEYS)
def test_an_impostor_is_never_taken_for_a_damaged_original(kind: KeyType, thorough: bool) -> None:
    authority = AUTHORITIES[kind]
    fake = impostor(authority, authority.issue(Request.client("alice.test")).certificate)

    assert evidence_of_tampering(fake, authority.certificate, thorough=thorough) is None


@pytest.mark.parametrize("kind", KEYS)
def test_two_damaged_bits_prove_nothing(kind: KeyType) -> None:
    authority = AUTHORITIES[kind]
    sound = authority.issue(Request.client("alice.test")).certificate

    assert (
        evidence_of_tampering(flipped(sound, -5, 3), authority.certificate, thorough=True) is None
    )


def test_a_signature_by_a_key_of_another_kind_proves_nothing() -> None:
    fake = AUTHORITIES[KeyType.RSA2048].certify(
        TBSCertificate.of(AUTHORITIES[KeyType.P256].issue(Request.client("a.test")).certificate)
    )

    assert (
        evidence_of_tampering(fake, AUTHORITIES[KeyType.P256].certificate, thorough=True) is None
    )


def test_a_server_does_not_search_for_an_unauthenticated_client() -> None:
    authority = AUTHORITIES[KeyType.P256]
    damaged = [
        bytes(der_of(flipped(authority.issue(Request.client("alice.test")).certificate, -5)))
    ]
    anchors = [authority.certificate]

    by_a_server = examine(damaged, presenter="client", anchors=anchors)
    by_the_client_itself = examine(damaged, presenter="client", others=anchors)

    assert {*by_a_server.slugs} == {"bad-signature", "impostor-authority"}
    assert by_the_client_itself.slugs == ("bad-signature",)


def test_an_impostor_whose_own_certificate_is_at_hand_is_one() -> None:
    authority, other = AUTHORITIES[KeyType.P256], Authority.root("root P-256")
    sound = authority.issue(Request.client("alice.test")).certificate
    fake = other.certify(replace(TBSCertificate.of(sound), issuer=authority.certificate.subject))
    theirs = other.certify(
        replace(
            TBSCertificate.of(other.certificate),
            subject=authority.certificate.subject,
            issuer=authority.certificate.subject,
        )
    )
    chain = [bytes(der_of(certificate)) for certificate in (fake, theirs)]

    alone = examine(chain[:1], presenter="client", anchors=[authority.certificate])
    sent = examine(chain, presenter="client", anchors=[authority.certificate])
    nearby = examine(
        chain[:1], presenter="client", anchors=[authority.certificate], others=[theirs]
    )

    assert {*alone.slugs} == {"bad-signature", "impostor-authority"}
    assert sent.slugs == nearby.slugs == ("impostor-authority",)
