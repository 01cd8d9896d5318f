"""What OpenSSL does not load: which certificate it is, in which file, and what is odd about it."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.loading import load_certificate
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_tls.material.load import Files, Material
from mtls_echo_tls.material.refusal import not_taken

ROOT, OTHER = Authority.root("Old CA"), Authority.root("Other CA")
LEAF = OTHER.issue(Request.server("localhost", subject="leaf"))
FILES = Files(Path("s.pem"), Path("s.key"), Path("cas.pem"), Path("cas.crl"))
ODD = b"Other CA".replace(b"e", b"\xe9")


def odd(certificate: x509.Certificate, old: bytes, new: bytes) -> x509.Certificate:
    der = certificate.public_bytes(Encoding.DER)
    assert old in der
    return load_certificate(der.replace(old, new))


def odd_list(authority: Authority, old: bytes, new: bytes) -> x509.CertificateRevocationList:
    der = authority.crl().public_bytes(Encoding.DER)
    assert old in der
    return x509.load_der_x509_crl(der.replace(old, new))


def refused(credential: Credential, trust: Trust, files: Files = FILES) -> tuple[str, str | None]:
    material = Material(credential, trust, "s.pem", side="server", files=files)
    with pytest.raises(ssl.SSLError) as refusal:
        material.context(_server_context)
    error = not_taken(material, refusal.value)
    return str(error), error.hint


def _server_context(material: Material) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert material.credential is not None
    assert material.trust is not None
    material.credential.load_into(context)
    material.trust.load_into(context)
    return context


def test_the_trust_anchor_at_fault_is_named_and_not_our_certificate() -> None:
    anchor = odd(OTHER.certificate, b"Other CA", ODD)

    assert refused(LEAF, Trust((ROOT.certificate, anchor))) == (
        "cas.pem: OpenSSL does not take the certificate 'Othér CA' in it",
        "its subject has CN=Othér CA, a UTF8String of bytes that are not UTF-8:"
        " have it issued again, or take it out of that file",
    )
    assert refused(LEAF, Trust((anchor,)))[0] == "cas.pem: OpenSSL does not take this certificate"


def test_of_an_issuers_name_its_own_certificate_has_to_change_first() -> None:
    credential = Credential(LEAF.key, odd(LEAF.certificate, b"Other CA", ODD))

    assert refused(credential, ROOT.trust) == (
        "s.pem: OpenSSL does not take this certificate",
        "its issuer's name has CN=Othér CA, a UTF8String of bytes that are not UTF-8:"
        " have the certificate of that CA, and then it issued again",
    )


@pytest.mark.skipif(
    ssl.OPENSSL_VERSION_INFO >= (3, 5), reason="3.5 and 3.6 load it, and leave it to the verifier"
)
@pytest.mark.parametrize("trust", [ROOT.trust, Trust((ROOT.certificate, OTHER.certificate))])
def test_a_malformed_extension_of_ours_is_named(trust: Trust) -> None:
    usage, text = bytes.fromhex("040403020780"), bytes.fromhex("04040c020780")
    credential = Credential(LEAF.key, odd(LEAF.certificate, usage, text))

    message, hint = refused(credential, trust)

    assert message == "s.pem: OpenSSL does not take this certificate (INVALID_CERTIFICATE)"
    assert hint == "its keyUsage is malformed: have it issued again"


def test_of_a_folder_the_file_of_the_certificate_is_named(tmp_path: Path) -> None:
    anchor = odd(OTHER.certificate, b"Other CA", ODD)
    (tmp_path / "a.pem").write_bytes(ROOT.trust.pem)
    (tmp_path / "b.pem").write_bytes(Trust((anchor,)).pem)
    files = FILES._replace(anchors=tmp_path)
    trust = Trust((ROOT.certificate, anchor))

    message, hint = refused(LEAF, trust, files)

    assert message == f"{tmp_path / 'b.pem'}: OpenSSL does not take this certificate"
    assert hint is not None
    assert hint.endswith("have it issued again")

    (tmp_path / "b.pem").write_bytes(trust.pem)
    message, hint = refused(LEAF, trust, files)
    assert message.startswith(f"{tmp_path / 'b.pem'}: OpenSSL does not take the certificate 'Oth")
    assert hint is not None
    assert hint.endswith("or take it out of that file")


@pytest.mark.parametrize("among_anchors", [False, True])
def test_the_crl_at_fault_is_found_by_loading_each(tmp_path: Path, *, among_anchors: bool) -> None:
    crl = odd_list(OTHER, b"Other CA", ODD)
    trust = Trust((ROOT.certificate, OTHER.certificate), (ROOT.crl(), crl))
    ca, lists = tmp_path / "ca.pem", tmp_path / "crl.pem"
    ca.write_bytes(trust.pem + (trust.crl_pem if among_anchors else b""))
    lists.write_bytes(ROOT.crl().public_bytes(Encoding.PEM) if among_anchors else trust.crl_pem)

    assert refused(LEAF, trust, FILES._replace(anchors=ca, crl=lists)) == (
        f"{ca if among_anchors else lists}: OpenSSL does not take the CRL of 'Othér CA'",
        "its issuer's name has CN=Othér CA, a UTF8String of bytes that are not UTF-8: have the"
        " certificate of that CA, and then it issued again, or take it out of that file",
    )
