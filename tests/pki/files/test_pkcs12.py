"""PKCS#12 files as openssl makes them, and what is said of those that do not open."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from hypothesis import given
from hypothesis import strategies as st

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.files.passwords import PasswordError
from mtls_echo_pki.files.pem import read_credential
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.pkcs12 import parse_pkcs12
from mtls_echo_pki.files.private_key import is_locked, parse_key

ROOT = Authority.root("pkcs12")
ISSUING = ROOT.intermediate()
CREDENTIAL = ISSUING.issue(Request.server("a.test"))
OLD = ["-legacy"]
TRIPLE_DES = ["-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "chain.pem").write_bytes(CREDENTIAL.certificate_pem)
    (tmp_path / "leaf.pem").write_bytes(CREDENTIAL.certificate_pem.partition(b"\n-----BEGIN")[0])
    (tmp_path / "key.pem").write_bytes(CREDENTIAL.key_pem)
    (tmp_path / "more.pem").write_bytes(ROOT.trust.pem + CREDENTIAL.certificate_pem)
    return tmp_path


def export(folder: Path, *options: str, opener: str = "pass:geheim") -> Path:
    command = ["openssl", "pkcs12", "-export", "-passout", opener, "-out", "x.p12"]
    subprocess.run([*command, *options], cwd=folder, check=True, capture_output=True)
    return folder / "x.p12"


BOTH = ["-in", "chain.pem", "-inkey", "key.pem"]


@pytest.mark.parametrize("options", [[], OLD, TRIPLE_DES, ["-nomac"], ["-descert", *OLD]])
@pytest.mark.parametrize("password", [b"geheim", "geheim", lambda: "geheim"])
def test_a_pkcs12_file_is_a_credential(folder: Path, options: list[str], password: str) -> None:
    file = export(folder, *BOTH, *options)

    assert is_locked(file)
    read = read_credential(file, file, password=password)
    assert read == CREDENTIAL
    assert read.key_pem == CREDENTIAL.key_pem


def test_the_chain_is_put_in_order_by_signatures(folder: Path) -> None:
    file = export(folder, "-in", "leaf.pem", "-inkey", "key.pem", "-certfile", "more.pem")

    path = read_credential(file, file, password=b"geheim").path

    assert path == (*CREDENTIAL.path, ROOT.certificate)


def test_certificates_beside_the_chain_are_kept(folder: Path) -> None:
    (folder / "more.pem").write_bytes(Authority.root("other").trust.pem + ROOT.trust.pem)
    file = export(folder, *BOTH, "-certfile", "more.pem")

    path = read_credential(file, file, password=b"geheim").path

    assert path[:3] == (*CREDENTIAL.path, ROOT.certificate)
    assert len(path) == 4


def never() -> bytes:
    raise AssertionError("it was asked for")


@pytest.mark.parametrize("options", [[], ["-nomac", "-keypbe", "NONE", "-certpbe", "NONE"]])
def test_an_empty_password_is_not_asked_for(folder: Path, options: list[str]) -> None:
    file = export(folder, *BOTH, *options, opener="pass:")

    assert not is_locked(file)
    assert read_credential(file, file, password=never) == CREDENTIAL


@pytest.mark.parametrize("password", [None, b"", "", lambda: b""])
def test_a_missing_password_is_said_to_be_missing(folder: Path, password: bytes | None) -> None:
    file = export(folder, *BOTH)

    with pytest.raises(PasswordError, match="is a PKCS#12 file with a password") as caught:
        read_credential(file, file, password=password)

    assert caught.value.missing
    assert caught.value.hint == f"convert it: openssl pkcs12 -in {file} -nodes -out {file}.pem"


@pytest.mark.parametrize("password", [b"wrong", b"geheim\n", "gehëim", b"x" * 1023])
def test_a_wrong_password_does_not_open_it(folder: Path, password: bytes) -> None:
    file = export(folder, *BOTH)

    with pytest.raises(PasswordError) as caught:
        read_credential(file, file, password=password)

    assert caught.value.reason == "the password does not open this PKCS#12 file"
    assert not caught.value.missing
    assert caught.value.hint == f"try it: openssl pkcs12 -in {file} -noout"


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        (b"ge\0heim", "the password has a NUL byte in it: is it UTF-16 text?"),
        ("ge\0heim", "the password has a NUL byte in it: is it UTF-16 text?"),
        (lambda: "ge\udce9heim", "the password has a character in it that UTF-8 cannot encode"),
    ],
)
def test_what_cannot_be_a_password_is_refused_without_showing_it(
    folder: Path, password: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file = export(folder, *BOTH)
    command = "pkcs8 -topk8 -in key.pem -out new.key -passout pass:geheim"
    subprocess.run(["openssl", *command.split()], cwd=folder, check=True)

    for files in ((file, file), (folder / "chain.pem", folder / "new.key")):
        with pytest.raises(PasswordError) as caught:
            read_credential(*files, password=password)
        assert caught.value.reason == reason
        # A traceback would show it.
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert "".join(capfd.readouterr()) == ""


def test_a_panic_of_the_library_is_a_file_that_does_not_open(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, load = export(folder, *BOTH), pkcs12.load_pkcs12

    def panics(contents: bytes, _: bytes | None) -> object:
        return load(contents, b"a\0b")

    monkeypatch.setattr(pkcs12, "load_pkcs12", panics)

    with pytest.raises(PasswordError, match="does not open this PKCS#12 file") as caught:
        read_credential(file, file, password=b"geheim")

    assert caught.value.__context__ is None


def test_without_the_legacy_provider_both_reasons_are_said_and_the_command_works(
    folder: Path,
) -> None:
    file = export(folder, *BOTH, *OLD)
    program = (
        "import sys, pathlib\n"
        "from mtls_echo import MaterialError, read_credential\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "try: read_credential(path, path, password='geheim')\n"
        "except MaterialError as error: print(error.reason, error.hint, sep='\\n')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(file)],
        env={**os.environ, "CRYPTOGRAPHY_OPENSSL_NO_LEGACY": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    reason, hint = ran.stdout.splitlines()

    assert reason == (
        "the password does not open this PKCS#12 file, or its encryption (RC2 or RC4) cannot be"
        " read here"
    )
    command = hint.removeprefix("convert it: ")
    subprocess.run([*command.split(), "-passin", "pass:geheim"], check=True, capture_output=True)
    made = file.with_name("x.p12.pem")
    assert read_credential(made, made) == CREDENTIAL


@pytest.mark.parametrize(
    ("options", "reason", "hint"),
    [
        (["-nokeys", "-in", "chain.pem"], "without a private key", "openssl pkcs12 -export"),
        (["-nocerts", "-inkey", "key.pem"], "without the certificate of its", "-nokeys"),
    ],
)
def test_what_is_missing_in_it_is_named(
    folder: Path, options: list[str], reason: str, hint: str
) -> None:
    file = export(folder, *options)

    with pytest.raises(MaterialError, match=f"is a PKCS#12 file {reason}") as caught:
        read_credential(file, file, password=b"geheim")

    assert hint in (caught.value.hint or "")


def test_a_file_that_is_cut_off_is_not_a_matter_of_its_password(folder: Path) -> None:
    file = export(folder, *BOTH)
    file.write_bytes(file.read_bytes()[:-20])

    assert not is_locked(file)
    with pytest.raises(MaterialError, match="is a PKCS#12 file that is cut off"):
        read_credential(file, file, password=b"geheim")


PACKED = CREDENTIAL.pkcs12(b"geheim")
ENCRYPTED = {
    form: CREDENTIAL.key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"geheim"))
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL)
}
BARE = pkcs12.serialize_key_and_certificates(
    None, CREDENTIAL.key, CREDENTIAL.certificate, CREDENTIAL.chain, NoEncryption()
)


@given(st.sampled_from([PACKED, BARE]), st.integers(0, 4000), st.binary(max_size=9))
def test_no_damage_to_a_file_causes_anything_but_an_explanation(
    contents: bytes, position: int, noise: bytes
) -> None:
    spoilt = contents[:position] + noise + contents[position + len(noise) :]

    # Any exception but MaterialError fails the test.
    with contextlib.suppress(MaterialError):
        assert parse_pkcs12(spoilt, path=Path("x.p12"), password=b"geheim").key_pem


# --- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "pkcs8 -topk8 -in key.pem -passout pass:geheim -out new.key",
        "pkcs8 -topk8 -v1 PBE-SHA1-3DES -in key.pem -passout pass:geheim -out new.key",
        "ec -in key.pem -aes256 -passout pass:geheim -out new.key",
        "ec -in key.pem -des3 -passout pass:geheim -out new.key",
    ],
)
def test_an_encrypted_key_is_opened_and_a_wrong_password_named(folder: Path, command: str) -> None:
    subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    files = folder / "chain.pem", folder / "new.key"

    assert is_locked(files[1])
    assert read_credential(*files, password=lambda: "geheim") == CREDENTIAL
    reasons = list[str]()
    for word in (b"falsch", b"auch falsch", b"wieder falsch", b"x" * 1023):
        with pytest.raises(PasswordError) as caught:
            read_credential(*files, password=word)
        reasons.append(caught.value.reason)
    # One in 256 decrypts to what has a padding.
    assert "the password does not decrypt the private key" in reasons
    assert all(each.startswith("the password does not decrypt the private") for each in reasons)


def _with_a_bang(lines: list[bytes]) -> None:
    lines[-3] = b"!" + lines[-3][1:]


def _without_padding(lines: list[bytes]) -> None:
    lines[-2] = lines[-2].rstrip(b"=")[:-1] + b"=" * 3


def _without_a_line(lines: list[bytes]) -> None:
    del lines[-3]


PKCS8, TRADITIONAL = "pkcs8 -topk8 -in key.pem", "ec -in key.pem -aes256"


@pytest.mark.parametrize(
    ("command", "spoil", "reason"),
    [
        (PKCS8, _with_a_bang, "it is not base64"),
        (TRADITIONAL, _with_a_bang, "it is not base64"),
        (PKCS8, _without_padding, "it is not base64"),
        (TRADITIONAL, _without_padding, "it is not base64"),
        (PKCS8, _without_a_line, "part of it is missing"),
    ],
)
def test_a_damaged_key_is_not_a_matter_of_its_password(
    folder: Path, command: str, spoil: Callable[[list[bytes]], None], reason: str
) -> None:
    made = [*command.split(), "-passout", "pass:geheim", "-out", "new.key"]
    subprocess.run(["openssl", *made], cwd=folder, check=True, capture_output=True)
    files = folder / "chain.pem", folder / "new.key"
    lines = files[1].read_bytes().splitlines()
    spoil(lines)
    files[1].write_bytes(b"\n".join(lines) + b"\n")

    assert not is_locked(files[1])
    for password in (b"geheim", b"falsch", never):
        with pytest.raises(MaterialError) as caught:
            read_credential(*files, password=password)
        assert caught.value.reason == f"the private key is damaged: {reason}"


@given(
    st.sampled_from([PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL]),
    st.integers(30, 400),
    st.binary(max_size=9),
)
def test_no_damage_to_an_encrypted_key_causes_anything_but_an_explanation(
    form: PrivateFormat, position: int, noise: bytes
) -> None:
    contents = ENCRYPTED[form]
    spoilt = contents[:position] + noise + contents[position + len(noise) :]

    # Any exception but MaterialError fails the test.
    with contextlib.suppress(MaterialError):
        parse_key(spoilt, path=Path("x.key"), password=b"geheim")


@pytest.mark.parametrize(
    "command",
    ["ec -in key.pem -des", "pkcs8 -topk8 -v2 rc2-40-cbc -in key.pem"],
)
def test_an_encryption_of_old_is_not_said_to_be_a_wrong_password(
    folder: Path, command: str
) -> None:
    old = [
        *command.split(),
        *["-provider", "legacy", "-provider", "default", "-passout", "pass:geheim"],
    ]
    subprocess.run(
        ["openssl", *old, "-out", "old.key"], cwd=folder, check=True, capture_output=True
    )
    files = folder / "chain.pem", folder / "old.key"

    with pytest.raises(PasswordError, match="or its encryption, an unusual one") as caught:
        read_credential(*files, password=b"geheim")

    convert = (caught.value.hint or "").removeprefix("encrypt it anew: ").rstrip(")")
    given = f"{convert} -passin pass:geheim -passout pass:neu)"
    subprocess.run(["sh", "-c", given], check=True, capture_output=True)
    made = folder / "old.key.aes"
    assert read_credential(files[0], made, password=b"neu") == CREDENTIAL
    assert made.stat().st_mode & 0o077 == 0
