"""Every file that cannot be used says which, why, and what to do."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import ssl
import subprocess
from base64 import encodebytes
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.files.pem import parse_credential, read_credential
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.trust_anchors import parse_trust, read_trust
from tests.support.pki import P256, SM2, VERSION, altered, negative_serial, unprivileged

CREDENTIAL = Authority.root().intermediate().issue(Request.server("a.test"))
PUBLIC_KEY = CREDENTIAL.key.public_key().public_bytes(
    Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
)
VERSION_6 = altered(CREDENTIAL.certificate, VERSION, VERSION[:-1] + b"\x05")
BAD_BASE64 = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def key_as(
    format_: PrivateFormat, password: bytes | None = None, encoding: Encoding = Encoding.PEM
) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return CREDENTIAL.key.private_bytes(encoding, format_, encryption)


def private_pem(der: bytes) -> bytes:
    return b"-----BEGIN PRIVATE KEY-----\n%b-----END PRIVATE KEY-----\n" % encodebytes(der)


def block(label: str) -> bytes:
    return f"-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n".encode()


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    certificate, key = tmp_path / "my tls.crt", tmp_path / "my tls.key"
    certificate.write_bytes(CREDENTIAL.certificate_pem)
    key.write_bytes(CREDENTIAL.key_pem)
    return certificate, key


CERTIFICATE_CASES = [
    pytest.param(b"", "is empty", "interrupted", id="empty"),
    pytest.param(b" \n", "is empty", "interrupted", id="blank"),
    pytest.param(
        CREDENTIAL.chain_der[0], "is a DER certificate", "openssl x509 -inform", id="DER"
    ),
    pytest.param(CREDENTIAL.pkcs12(b"x"), "is a PKCS#12 file", "openssl pkcs12 -in", id="PKCS12"),
    pytest.param(b"hello\n" * 9, "is not PEM", "file ", id="text"),
    pytest.param(b"\x30" + os.urandom(99), "is not PEM", "file ", id="noise"),
    pytest.param(CREDENTIAL.certificate_pem[:300], "is cut off", "again, whole", id="truncated"),
    pytest.param(
        CREDENTIAL.certificate_pem[:300] + CREDENTIAL.certificate_pem,
        "is cut off",
        "again, whole",
        id="truncated before another",
    ),
    pytest.param(CREDENTIAL.key_pem, "a private key where a certificate", "swapped", id="key"),
    pytest.param(PUBLIC_KEY, "holds a public key where a certificate", "issued", id="public key"),
    pytest.param(
        block("CERTIFICATE REQUEST"), "a certificate signing request where", "CA", id="CSR"
    ),
    pytest.param(block("X509 CRL"), "a CRL where", None, id="CRL"),
    pytest.param(block("PKCS7"), "a PKCS#7 bundle where", "openssl pkcs7", id="PKCS7"),
    pytest.param(block("TRUSTED CERTIFICATE"), "OpenSSL's own", "openssl x509", id="trusted"),
    pytest.param(
        block("DH PARAMETERS"), "only: DH PARAMETERS", "name another file", id="parameters"
    ),
    pytest.param(BAD_BASE64, "is damaged", "openssl x509", id="damaged"),
    pytest.param(
        CREDENTIAL.certificate_pem + BAD_BASE64,
        "certificate 3 in it is damaged",
        "openssl storeutl",
        id="damaged third",
    ),
    pytest.param(
        ssl.PEM_cert_to_DER_cert(VERSION_6.decode()),
        "is a DER certificate",
        "-inform der",
        id="version 6 in DER",
    ),
    pytest.param(b"x" * (1 << 20) + b"x", "larger than 1 MiB", "fewer certificates", id="huge"),
]


@pytest.mark.parametrize(("contents", "reason", "hint"), CERTIFICATE_CASES)
def test_a_certificate_file_that_cannot_be_used_says_why(
    files: tuple[Path, Path], contents: bytes, reason: str, hint: str | None
) -> None:
    files[0].write_bytes(contents)

    for read in (lambda: read_credential(*files), lambda: read_trust(files[0])):
        with pytest.raises(MaterialError) as refusal:
            read()
        _assert_explained(refusal.value, files[0], reason, hint)


@pytest.mark.parametrize(
    ("contents", "reason", "hint"),
    [
        pytest.param(b"", "is empty", "interrupted", id="empty"),
        pytest.param(
            key_as(PrivateFormat.PKCS8, encoding=Encoding.DER),
            "is a DER private key",
            "openssl pkey -inform",
            id="DER",
        ),
        pytest.param(
            key_as(PrivateFormat.PKCS8, b"x", Encoding.DER),
            "is a DER private key",
            "openssl pkey -inform",
            id="encrypted DER",
        ),
        pytest.param(CREDENTIAL.pkcs12(b"x"), "is a PKCS#12", "openssl pkcs12", id="PKCS12"),
        pytest.param(
            key_as(PrivateFormat.PKCS8, b"x"), "is encrypted", "openssl pkey", id="encrypted"
        ),
        pytest.param(
            key_as(PrivateFormat.TraditionalOpenSSL, b"x"),
            "is encrypted",
            "openssl pkey",
            id="encrypted, traditional",
        ),
        pytest.param(CREDENTIAL.key_pem[:90], "is cut off", "again, whole", id="truncated"),
        pytest.param(
            CREDENTIAL.certificate_pem,
            "a certificate where a private key",
            "swapped",
            id="certificate",
        ),
        pytest.param(PUBLIC_KEY, "holds a public key where a private", "half", id="public key"),
        pytest.param(
            key_as(PrivateFormat.OpenSSH), "a key in OpenSSH's format", "ssh-keygen", id="OpenSSH"
        ),
        pytest.param(block("DSA PRIVATE KEY"), "a DSA key", None, id="DSA"),
        pytest.param(block("PRIVATE KEY"), "private key is damaged", "openssl pkey", id="damaged"),
        pytest.param(
            dsa.generate_private_key(2048).private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            ),
            "neither EC, Ed25519 nor RSA",
            "prime256v1",
            id="DSA in PKCS8",
        ),
        pytest.param(
            ed448.Ed448PrivateKey.generate().private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            ),
            "neither EC, Ed25519 nor RSA",
            "prime256v1",
            id="Ed448",
        ),
        pytest.param(
            private_pem(key_as(PrivateFormat.PKCS8, encoding=Encoding.DER).replace(P256, SM2)),
            "on a curve, that is not supported",
            "prime256v1",
            id="unknown curve",
        ),
        pytest.param(
            Authority.root().key_pem, "does not match the certificate in", "openssl", id="other"
        ),
    ],
)
def test_a_key_file_that_cannot_be_used_says_why(
    files: tuple[Path, Path], contents: bytes, reason: str, hint: str | None
) -> None:
    files[1].write_bytes(contents)

    with pytest.raises(MaterialError) as refusal:
        read_credential(*files)

    _assert_explained(refusal.value, files[1], reason, hint)


def _assert_explained(error: MaterialError, path: Path, reason: str, hint: str | None) -> None:
    assert error.path == path
    assert reason in error.reason
    assert str(error) == f"{path}: {error.reason}"
    assert not error.reason.endswith(".")
    assert (error.hint is None) == (hint is None)
    assert (hint or "") in (error.hint or "")
    secret = CREDENTIAL.key_pem.splitlines()[1].decode()
    assert secret not in f"{error} {error.hint}"


def _remove(path: Path) -> None:
    path.unlink()


def _make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("which", [0, 1], ids=["certificate", "key"])
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_remove, "does not exist"),
        (_make_folder, "is a directory"),
        (_dangle, "is a link to a file that does not exist"),
        (_make_pipe, "not a regular file"),
    ],
)
def test_a_path_that_cannot_be_read_says_why(
    files: tuple[Path, Path], which: int, spoil: Callable[[Path], None], reason: str
) -> None:
    spoil(files[which])

    with pytest.raises(MaterialError) as refusal:
        read_credential(*files)

    assert refusal.value.path == files[which]
    assert refusal.value.reason == reason


def test_a_file_without_permission_says_so(files: tuple[Path, Path]) -> None:
    files[1].chmod(0)

    with unprivileged(), pytest.raises(MaterialError, match="permission denied") as refusal:
        read_credential(*files)

    assert refusal.value.path in files  # and not one that the caller never named
    assert "ls -l" in (refusal.value.hint or "")


def test_a_path_through_a_file_is_reported_as_it_was_given(files: tuple[Path, Path]) -> None:
    with pytest.raises(MaterialError, match="not a directory") as refusal:
        read_trust(files[0] / "ca.crt")

    assert refusal.value.path == files[0] / "ca.crt"


def test_a_reversed_chain_is_recognised(files: tuple[Path, Path]) -> None:
    one, two = re.findall(rb"-----BEGIN.*?END CERTIFICATE-----\n", files[0].read_bytes(), re.S)
    files[0].write_bytes(two + one)

    with pytest.raises(MaterialError, match="matches certificate 2 of 2") as refusal:
        read_credential(*files)

    assert refusal.value.path == files[0]
    assert refusal.value.hint == (
        "put the end-entity certificate first, then each issuer after what it issued"
    )


@pytest.mark.parametrize(
    "format_",
    [
        pytest.param(PrivateFormat.PKCS8, id="PKCS8"),
        pytest.param(PrivateFormat.TraditionalOpenSSL, id="traditional"),
    ],
)
def test_a_password_decrypts_the_key_and_a_wrong_one_is_named(
    files: tuple[Path, Path], format_: PrivateFormat
) -> None:
    files[1].write_bytes(key_as(format_, b"secret"))

    assert read_credential(*files, password=b"secret") == CREDENTIAL
    with pytest.raises(MaterialError, match="the password does not decrypt"):
        read_credential(*files, password=b"wrong")


def test_what_is_usable_is_used_whatever_surrounds_it(files: tuple[Path, Path]) -> None:
    traditional = key_as(PrivateFormat.TraditionalOpenSSL)
    for certificate, key in (
        (b"\xef\xbb\xbf" + CREDENTIAL.certificate_pem, CREDENTIAL.key_pem),
        (b"subject=CN = a\n" + CREDENTIAL.certificate_pem, b"Bag Attributes\n" + traditional),
        (CREDENTIAL.certificate_pem.replace(b"\n", b"\r\n"), traditional.replace(b"\n", b"\r\n")),
        (CREDENTIAL.certificate_pem.rstrip(), block("EC PARAMETERS") + traditional),
        (CREDENTIAL.key_pem + CREDENTIAL.certificate_pem,) * 2,
    ):
        files[0].write_bytes(certificate)
        files[1].write_bytes(key)
        assert read_credential(*files) == CREDENTIAL
    assert read_credential(files[0], files[0]) == CREDENTIAL


def test_key_and_certificate_may_live_in_different_folders(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "private").mkdir()
    key = files[1].rename(tmp_path / "private" / "tls.key")

    assert read_credential(files[0], key) == CREDENTIAL


def test_relative_paths_stay_as_they_were_given(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files[0].parent)

    assert read_credential(Path(files[0].name), Path(files[1].name)) == CREDENTIAL
    with pytest.raises(MaterialError, match=r"^missing\.crt: does not exist"):
        read_credential(Path("missing.crt"), Path(files[1].name))


def test_the_hint_for_der_is_a_command_that_works(files: tuple[Path, Path]) -> None:
    files[0].write_bytes(CREDENTIAL.chain_der[0])
    with pytest.raises(MaterialError) as refusal:
        read_credential(*files)
    assert refusal.value.hint

    command = shlex.split(refusal.value.hint.removeprefix("convert it: "))
    subprocess.run(command, check=True)

    assert read_credential(Path(command[-1]), files[1]).certificate == CREDENTIAL.certificate


def test_trust_drops_duplicates_and_keeps_a_pinned_end_entity() -> None:
    trust = parse_trust(CREDENTIAL.certificate_pem * 2, path=Path("ca.crt"))

    assert trust.anchors == CREDENTIAL.path


def test_a_certificate_on_an_unknown_curve_may_be_trusted_but_is_not_a_credential_of_ours(
    files: tuple[Path, Path],
) -> None:
    files[0].write_bytes(altered(CREDENTIAL.certificate, P256, SM2))

    assert len(read_trust(files[0]).anchors) == 1
    with pytest.raises(MaterialError, match="does not match the certificate in"):
        read_credential(*files)


def test_an_odd_serial_number_is_read_without_a_warning(files: tuple[Path, Path]) -> None:
    files[0].write_bytes(negative_serial(CREDENTIAL.certificate))

    # pytest makes an exception of every warning.
    assert len(read_trust(files[0]).anchors) == 1
    assert read_credential(*files).key_pem == CREDENTIAL.key_pem


@given(st.binary(max_size=200), st.integers(0, 500), st.integers(0, 500))
def test_no_damage_to_a_file_causes_anything_but_an_explanation(
    noise: bytes, begin: int, length: int
) -> None:
    for certificate, key in (
        (_spoil(CREDENTIAL.certificate_pem, noise, begin, length), CREDENTIAL.key_pem),
        (CREDENTIAL.certificate_pem, _spoil(CREDENTIAL.key_pem, noise, begin, length)),
    ):
        # Any exception but MaterialError fails the test.
        with contextlib.suppress(MaterialError):
            parsed = parse_credential(
                certificate, key, certificate_path=Path("a.crt"), key_path=Path("a.key")
            )
            assert parsed.key_pem == CREDENTIAL.key_pem


def _spoil(contents: bytes, noise: bytes, begin: int, length: int) -> bytes:
    return contents[:begin] + noise + contents[begin + length :]


def test_an_ec_key_on_a_curve_we_do_not_make_is_still_used() -> None:
    key = ec.generate_private_key(ec.SECP521R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    with pytest.raises(MaterialError, match="does not match"):
        parse_credential(
            CREDENTIAL.certificate_pem, pem, certificate_path=Path("a"), key_path=Path("b")
        )
