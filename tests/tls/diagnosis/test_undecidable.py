"""What no report can decide, shown to be so: two truths that leave the same things behind.

Each test builds two worlds that differ in the truth alone, lets the same two programs meet in
each, and compares everything that either process holds, up to what is random: names, keys,
serial numbers and dates are replaced by the order of their appearance. Where nothing is left that
differs, a program that named one cause would name it in the other world too.
"""

from __future__ import annotations

import datetime
import hashlib
import ssl
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.reading import valid_at
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_server.context import server_context
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.joint import JointReport, join_reports
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.path.chain import has_signed
from mtls_echo_tls.trace.cipher_mismatch import is_strong, owns_its_key
from tests.support.authorities import SERVERS
from tests.support.tls import LOCALHOST, both_versions, reports, tls_pair


@dataclass(frozen=True)
class Met:
    """What came of a meeting, and the shape of all that both ends know about it."""

    presenter: Report
    verifier: Report
    shape: tuple[object, ...]

    @property
    def account(self) -> JointReport:
        return join_reports(self.presenter, self.verifier)


class Shape:
    """Values that are random in themselves, by the order in which they first appear."""

    def __init__(self) -> None:
        self._seen: dict[object, int] = {}

    def of(self, value: object) -> int:
        return self._seen.setdefault(value, len(self._seen))

    def of_certificate(self, certificate: x509.Certificate) -> tuple[object, ...]:
        key = certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        return (
            self.of(certificate.subject.rfc4514_string()),
            self.of(certificate.issuer.rfc4514_string()),
            self.of(key),
            self.of(certificate.not_valid_after_utc - certificate.not_valid_before_utc),
            valid_at(certificate, datetime.datetime.now(datetime.UTC)),
            is_strong(certificate),
            certificate.signature_algorithm_oid,
            len(certificate.subject.rdns),
            certificate.version,
            tuple(self._of_extension(extension) for extension in certificate.extensions),
        )

    def _of_extension(self, extension: x509.Extension[x509.ExtensionType]) -> tuple[object, ...]:
        value: object = extension.value
        if isinstance(value, x509.SubjectKeyIdentifier):
            value = self.of(value.digest)
        elif isinstance(value, x509.AuthorityKeyIdentifier):
            value = self.of(value.key_identifier)
        return (extension.oid, extension.critical, value)

    def of_evidence(self, evidence: Evidence) -> tuple[object, ...]:
        """All that one process holds: what it saw, and what it was started with."""
        mine = evidence.context_info
        chains = (evidence.own_chain, evidence.peer_chain)
        read = [[x509.load_der_x509_certificate(der) for der in chain] for chain in chains]
        anchors = mine.trust.anchors if mine.trust else ()
        return (
            evidence.stage, evidence.reason, evidence.verify_code, evidence.alert,
            evidence.version, evidence.cipher, evidence.server_name, mine.local_cas,
            mine.credential is None or owns_its_key(mine.credential),
            [[self.of_certificate(one) for one in chain] for chain in read],
            [self.of_certificate(anchor) for anchor in anchors],
            self._verdicts([*read[0], *read[1], *anchors]),
            [(message.name, message.direction) for message in evidence.recorder.messages],
        )  # fmt: skip

    def _verdicts(self, certificates: list[x509.Certificate]) -> list[bool]:
        """Which key verifies which signature: all that a signature shows besides noise."""
        return [has_signed(a, b) for a in certificates for b in certificates]


async def meet(bearer: Credential, trust: Trust, version: ssl.TLSVersion) -> Met:
    """A client with this credential before a server with this trust."""
    one = client_context(SERVERS.trust, bearer)
    one.minimum_version = one.maximum_version = version
    client_end, server_end = tls_pair(one, server_context(LOCALHOST, trust))
    presenter, verifier = await reports(client_end, server_end)
    shape = Shape()
    return Met(
        presenter,
        verifier,
        (shape.of_evidence(client_end.evidence), shape.of_evidence(server_end.evidence)),
    )


def alone(credential: Credential) -> Credential:
    return Credential(credential.key, credential.certificate)


@both_versions
async def test_an_untrusted_ca_and_a_left_out_intermediate(version: ssl.TLSVersion) -> None:
    """The certificate of its issuer is in no file of either side, in both worlds."""
    root = Authority.root("Acme Root")
    left_out = root.intermediate("Issuing")
    untrusted = Authority.root("Issuing")

    one = await meet(alone(left_out.issue(Request.client("alice.test"))), root.trust, version)
    other = await meet(alone(untrusted.issue(Request.client("alice.test"))), root.trust, version)

    assert one.shape == other.shape
    for met in (one, other):
        assert {*met.verifier.causes} == {"unknown-authority", "missing-intermediate"}
        assert {*met.verifier.causes} <= {*met.presenter.causes}
        assert {*met.account.causes} == {"unknown-authority", "missing-intermediate"}


@both_versions
async def test_the_wrong_one_of_two_intermediates_and_an_impostor_of_one(
    version: ssl.TLSVersion,
) -> None:
    """What was sent along is real and has the right name, and is not the one that signed."""
    root = Authority.root("Acme Root")
    sent = root.intermediate("Issuing").certificate
    left_out = root.intermediate("Issuing").issue(Request.client("alice.test"))
    impostors = Authority.root("Issuing").issue(Request.client("alice.test"))

    one, other = [
        await meet(Credential(its.key, its.certificate, (sent,)), root.trust, version)
        for its in (left_out, impostors)
    ]

    assert one.shape == other.shape
    for met in (one, other):
        assert {*met.verifier.causes} == {"missing-intermediate", "impostor-authority"}
        assert {*met.verifier.causes} <= {*met.presenter.causes}
        assert {*met.account.causes} == {"missing-intermediate", "impostor-authority"}


@both_versions
async def test_an_altered_certificate_and_one_with_a_copied_identifier(
    version: ssl.TLSVersion,
) -> None:
    """They have every field in common, the identifier of the key that did not sign it included."""
    root = Authority.root("Acme Root")
    sound = root.issue(Request.client("alice.test"))
    altered = mallory(sound.certificate)
    fake = Authority.root("Acme Root").certify(TBSCertificate.of(altered))

    one = await meet(Credential(sound.key, altered), root.trust, version)
    other = await meet(Credential(sound.key, fake), root.trust, version)

    assert altered.tbs_certificate_bytes == fake.tbs_certificate_bytes
    assert one.shape == other.shape
    for met in (one, other):
        assert met.verifier.verify_code == 7
        assert {"bad-signature", "impostor-authority"} <= {*met.verifier.causes}
        assert {"bad-signature", "impostor-authority"} <= {*met.presenter.causes}
        assert {*met.account.causes} == {"bad-signature", "impostor-authority"}


async def test_what_can_be_decided_has_another_shape() -> None:
    """Otherwise the comparisons above would show nothing."""
    root = Authority.root("Acme Root")
    untrusted = [Authority.root("Issuing"), Authority.root("Acme Root")]

    one, other = [
        await meet(
            untrusted.issue(Request.client("alice.test")), root.trust, ssl.TLSVersion.TLSv1_3
        )
        for untrusted in untrusted
    ]

    assert one.shape != other.shape
    assert {*one.account.causes}.isdisjoint(other.account.causes)


def mallory(certificate: x509.Certificate) -> x509.Certificate:
    """The certificate with another name in it, and the signature as it was."""
    der = certificate.public_bytes(Encoding.DER).replace(b"alice.test", b"mallo.test")
    return x509.load_der_x509_certificate(der)


def test_any_two_numbers_are_a_signature_by_some_key() -> None:
    """Why an altered one looks like an impostor's: here is the impostor's key, computed."""
    altered = mallory(Authority.root().issue(Request.client("alice.test")).certificate)

    for key in signers(altered):
        key.verify(altered.signature, altered.tbs_certificate_bytes, ec.ECDSA(SHA256()))


# --- which key has made a signature (SEC 1 §4.1.6) -----------------------------------------------

# P-256: y² = x³ - 3x + b over P, with N points (FIPS 186-4 §D.1.2.3).
P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

Point = tuple[int, int]


def signers(certificate: x509.Certificate) -> list[ec.EllipticCurvePublicKey]:
    """The two public keys under which this certificate's signature is valid."""
    r, s = decode_dss_signature(certificate.signature)
    digest = int.from_bytes(hashlib.sha256(certificate.tbs_certificate_bytes).digest())
    generator = ec.derive_private_key(1, ec.SECP256R1()).public_key().public_numbers()
    found: list[ec.EllipticCurvePublicKey] = []
    for sign in (2, 3):
        encoded = bytes([sign]) + r.to_bytes(32)
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), encoded)
        numbers, inverse = point.public_numbers(), pow(r, -1, N)
        # The key for which s·R = e·G + r·Q.
        x, y = added(
            times(s * inverse % N, (numbers.x, numbers.y)),
            times(-digest * inverse % N, (generator.x, generator.y)),
        )
        found.append(ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key())
    return found


def added(one: Point, other: Point) -> Point:
    if one == other:
        slope = (3 * one[0] ** 2 - 3) * pow(2 * one[1], -1, P)
    else:
        slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, P)
    x = (slope**2 - one[0] - other[0]) % P
    return x, (slope * (one[0] - x) - one[1]) % P


def times(factor: int, point: Point) -> Point:
    """Double and add, from the highest bit down."""
    result = point
    for bit in bin(factor)[3:]:
        result = added(result, result)
        if bit == "1":
            result = added(result, point)
    return result
