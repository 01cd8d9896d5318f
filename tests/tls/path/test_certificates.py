"""The identity that a peer has proved."""

from __future__ import annotations

import datetime
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

from mtls_echo_pki.certificates.identifiers import names_host, subject_alternative_names
from mtls_echo_pki.certificates.reading import valid_at
from mtls_echo_pki.certificates.request import Request
from mtls_echo_tls.path.certificates import PeerIdentity, end_entity
from tests.support.authorities import CLIENTS, SERVERS
from tests.support.tls import ALICE, LOCALHOST


def test_the_identifiers_of_a_certificate_are_listed_by_type() -> None:
    credential = CLIENTS.issue(
        Request.client(
            "a.test", "spiffe://td.test/x", "me@a.test", "10.0.0.7", "::1", subject="me"
        )
    )
    identity = PeerIdentity.from_der(credential.chain_der[0])
    assert identity.common_name == "me"
    assert identity.dns == ("a.test",)
    assert identity.uris == ("spiffe://td.test/x",)
    assert identity.emails == ("me@a.test",)
    assert identity.ips == ("10.0.0.7", "::1")
    assert identity.fingerprint == credential.fingerprint
    assert set(identity.names) == {"a.test", "spiffe://td.test/x", "me@a.test", "10.0.0.7", "::1"}


def test_an_identity_is_called_by_its_name_else_its_common_name_else_its_fingerprint() -> None:
    identity = PeerIdentity("cn", ("a.test",), (), (), (), "ab" * 32)
    assert str(identity) == "a.test"
    assert str(PeerIdentity("cn", (), (), (), (), "ab" * 32)) == "cn"
    assert str(PeerIdentity(None, (), (), (), (), "ab" * 32)) == "sha256:abababababababab…"


@pytest.mark.parametrize("junk", [b"", b"junk", LOCALHOST.chain_der[0][:-1]])
def test_what_is_not_a_certificate_is_an_error_or_none(junk: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        PeerIdentity.from_der(junk)
    assert end_entity((junk,)) is None
    assert end_entity(()) is None


def test_a_name_of_a_rare_type_identifies_no_peer_and_stops_nothing() -> None:
    # x400Address [3]: OpenSSL reads it, `cryptography` raises when asked for any extension.
    certificate, key = ALICE.certificate, ALICE.key
    builder = x509.CertificateBuilder(
        issuer_name=certificate.issuer,
        subject_name=certificate.issuer,
        public_key=certificate.public_key(),
        serial_number=1,
        not_valid_before=certificate.not_valid_before_utc,
        not_valid_after=certificate.not_valid_after_utc,
        extensions=[
            x509.Extension(
                ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
                False,
                x509.UnrecognizedExtension(
                    ExtensionOID.SUBJECT_ALTERNATIVE_NAME, bytes.fromhex("3004a3020500")
                ),
            )
        ],
    )
    odd = builder.sign(key, SHA256())
    with pytest.raises(x509.UnsupportedGeneralNameType):
        _ = odd.extensions
    assert list(subject_alternative_names(odd)) == []
    identity = PeerIdentity.from_der(odd.public_bytes(Encoding.DER))
    assert identity.names == ()
    assert end_entity((odd.public_bytes(Encoding.DER),)) == odd


def test_validity_is_compared_with_a_moment() -> None:
    certificate = ALICE.certificate
    now = datetime.datetime.now(datetime.UTC)
    assert valid_at(certificate, now) == 0
    assert valid_at(certificate, now - timedelta(days=1)) == -1
    assert valid_at(certificate, now + timedelta(days=1000)) == 1


@pytest.mark.parametrize(
    ("reference", "named"),
    [
        ("a.test", True),
        ("A.Test", True),
        ("x.w.test", True),
        ("w.test", False),
        ("y.x.w.test", False),
        ("10.0.0.7", True),
        ("10.0.0.8", False),
        ("0:0:0:0:0:0:0:1", True),
        ("", False),
    ],
)
def test_a_second_look_at_a_name_agrees_with_rfc_9525(reference: str, named: bool) -> None:
    credential = SERVERS.issue(Request.server("a.test", "*.w.test", "10.0.0.7", "::1"))
    assert names_host(credential.certificate, reference) is named
