"""Credentials and trust as values: loading them, storing them, leaving nothing behind."""

from __future__ import annotations

import os
import ssl
import subprocess
import tempfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import KeyType, Request
from mtls_echo_pki.certificates.trust import Trust
from tests.support.pki import VERSION, altered, handshake, strict_contexts


def test_a_fresh_pki_in_a_test_is_three_lines() -> None:
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    authority = Authority.root()
    authority.issue("localhost").load_into(server_context)
    authority.trust.load_into(client_context)

    handshake(server_context, client_context, "localhost")


@pytest.mark.parametrize("key_type", KeyType)
def test_a_credential_survives_being_stored(key_type: KeyType) -> None:
    credential = Authority.root().intermediate().issue(Request.server("a.test", key_type=key_type))

    restored = Credential.from_pem(credential.certificate_pem, credential.key_pem)

    assert restored == credential
    assert restored.key_pem == credential.key_pem
    assert restored.certificate_pem.count(b"BEGIN CERTIFICATE") == 2
    assert restored.key_pem.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert len(restored.chain_der) == 2


def test_a_key_and_a_certificate_that_do_not_match_cannot_be_put_together() -> None:
    authority = Authority.root()
    one, other = authority.issue("a.test"), authority.issue("a.test")

    with pytest.raises(ValueError, match="does not match"):
        Credential(one.key, other.certificate)
    with pytest.raises(ValueError, match="does not match"):
        Credential.from_pem(one.certificate_pem, other.key_pem)


def test_a_certificate_that_cannot_be_read_is_a_value_error() -> None:
    credential = Authority.root().issue("a.test")
    version_6 = altered(credential.certificate, VERSION, VERSION[:-1] + b"\x05")

    with pytest.raises(ValueError, match="not a valid X509 version"):
        Credential.from_pem(version_6, credential.key_pem)
    with pytest.raises(ValueError, match="not a valid X509 version"):
        Trust.from_pem(version_6)


def test_the_fingerprint_is_the_one_openssl_prints(tmp_path: Path) -> None:
    credential = Authority.root().issue("a.test")
    (tmp_path / "tls.crt").write_bytes(credential.certificate_pem)

    printed = subprocess.run(
        ["openssl", "x509", "-in", tmp_path / "tls.crt", "-noout", "-fingerprint", "-sha256"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert printed.strip().partition("=")[2].replace(":", "").lower() == credential.fingerprint


@pytest.mark.parametrize("memory_files", [True, False], ids=["memfd", "temporary file"])
def test_loading_leaves_no_key_file_and_no_descriptor_behind(
    memory_files: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not memory_files:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[tuple[str, int]] = []
    original = ssl.SSLContext.load_cert_chain

    def spy(self: ssl.SSLContext, path: str) -> None:
        seen.append((path, Path(path).stat().st_mode & 0o077))
        original(self, path)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", spy)
    authority = Authority.root()
    one, other = authority.issue("localhost"), authority.issue(Request.client("a.test"))
    before = sorted(os.listdir("/tmp")), len(os.listdir("/dev/fd"))  # noqa: S108 - what is watched

    contexts = strict_contexts(one, authority.trust, other, authority.trust)

    assert len(os.listdir("/dev/fd")) == before[1]
    assert not list(tmp_path.iterdir())
    new = {*os.listdir("/tmp")} - {*before[0]}  # noqa: S108 - what is watched
    assert not {name for name in new if name.startswith("mtls-echo")}
    assert len(seen) == 2
    if not memory_files:
        assert all(Path(path).parent == tmp_path and not others for path, others in seen)
    handshake(*contexts, "localhost")


def test_a_context_keeps_only_the_credential_it_was_given_last() -> None:
    authority = Authority.root()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for name in ("first.test", "second.test"):
        authority.issue(name).load_into(context)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.trust.load_into(trusting)

    handshake(context, trusting, "second.test")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(context, trusting, "first.test")


@pytest.mark.parametrize("key_type", KeyType)
def test_pkcs12_holds_the_key_and_the_whole_chain_under_its_password(key_type: KeyType) -> None:
    credential = Authority.root().intermediate().issue(Request.client("a.test", key_type=key_type))

    packed = credential.pkcs12(b"secret", name="alice")

    unpacked = pkcs12.load_pkcs12(packed, b"secret")
    assert unpacked.cert is not None
    assert unpacked.cert.certificate == credential.certificate
    assert unpacked.cert.friendly_name == b"alice"
    assert tuple(extra.certificate for extra in unpacked.additional_certs) == credential.chain
    with pytest.raises(ValueError, match=r"(?i)password"):
        pkcs12.load_pkcs12(packed, b"wrong")
    with pytest.raises(ValueError, match=r"1 or more bytes"):
        credential.pkcs12(b"")


def test_trust_is_united_without_duplicates_and_in_order() -> None:
    one, other = Authority.root("one").trust, Authority.root("other").trust

    assert (one | other | one).anchors == (*one.anchors, *other.anchors)
    assert Trust.from_pem((one | other).pem) == one | other
    assert (one | other).fingerprints == one.fingerprints + other.fingerprints


def test_a_peer_that_trusts_two_cas_accepts_both() -> None:
    authorities = Authority.root("one"), Authority.root("other")
    both = authorities[0].trust | authorities[1].trust
    for authority in authorities:
        credential = authority.issue("localhost")
        handshake(
            *strict_contexts(credential, both, authority.issue(Request.client("a.test")), both),
            "localhost",
        )


def test_a_peer_trusts_no_ca_outside_its_anchors_even_one_of_the_same_name() -> None:
    ours, theirs = Authority.root(), Authority.root()
    credential = theirs.issue("localhost")

    with pytest.raises(ssl.SSLCertVerificationError) as refusal:
        handshake(*strict_contexts(credential, ours.trust, credential, theirs.trust), "localhost")
    # 20: no local issuer; 19: the same, where OpenSSL sent its root along unasked,
    # which it does when the sender's own trust store happens to hold it.
    assert refusal.value.verify_code in (19, 20)


def test_trusting_no_ca_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no trust anchors"):
        Trust(()).load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


def test_the_fixtures_come_with_the_package(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from mtls_echo import Credential
        roots = set()

        def test_one(authority, server_credential, client_credential):
            roots.add(authority.trust)
            for credential in (server_credential, client_credential):
                assert isinstance(credential, Credential)
                credential.certificate.verify_directly_issued_by(authority.certificate)

        def test_another(authority):
            assert authority.trust not in roots
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)


pytest_plugins = ["pytester"]
