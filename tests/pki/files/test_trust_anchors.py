"""Trust anchors from a folder, and CRLs among them."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential, private_key_pem
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.trust_anchors import anchor_files, passed_over, read_trust
from tests.support.mounts import mount
from tests.support.pki import unprivileged

ONE, TWO = Authority.root("one"), Authority.root("two")
BOTH = {*ONE.trust.anchors, *TWO.trust.anchors}
LIST = ONE.crl()
ISSUED = ONE.issue(Request.client("alice.test"))
BEARER = Credential(ISSUED.key, ISSUED.certificate, ONE.trust.anchors)
LIST_PEM = LIST.public_bytes(Encoding.PEM)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "the cas"
    folder.mkdir()
    (folder / "one.pem").write_bytes(ONE.trust.pem)
    (folder / "two.crt").write_bytes(TWO.trust.pem)
    return folder


def refusal(folder: Path) -> MaterialError:
    with pytest.raises(MaterialError) as caught:
        read_trust(folder)
    return caught.value


def test_every_file_of_a_folder_is_read(folder: Path) -> None:
    (folder / "three.cer").write_bytes(ONE.trust.pem + Authority.root("three").trust.pem)
    for ignored in ("README", "one.key", ".hidden.pem", "old.pem.bak"):
        (folder / ignored).write_text("nothing of interest")

    anchors = read_trust(folder).anchors

    assert len(anchors) == 3
    assert {*anchors} > BOTH


@pytest.mark.parametrize("name", ["revoked.CRL", "5f0ffa03.R0", "5F0FFA03.r0", "list.Pem"])
def test_names_are_compared_without_case(folder: Path, name: str) -> None:
    (folder / "two.crt").rename(folder / "CA.CRT")
    (folder / name).write_bytes(LIST_PEM)

    trust = read_trust(folder)

    assert {*trust.anchors} == BOTH
    assert trust.crls == (LIST,)
    assert [*passed_over(folder)] == []


def test_files_that_are_not_read_and_hold_something_are_told(folder: Path) -> None:
    lists = {
        "list.crl.txt": LIST_PEM,
        "crl": ONE.trust.pem + LIST_PEM,
        "old.pem.bak": TWO.trust.pem,
    }
    ders = {
        "ca.crl.der": LIST.public_bytes(Encoding.DER),
        "c.der": ONE.certificate.public_bytes(Encoding.DER),
    }
    for name, contents in (lists | ders).items():
        (folder / name).write_bytes(contents)
    for ignored in ("README", "one.key", ".one.pem.swp", "notes.der"):
        (folder / ignored).write_text("-----BEGIN nothing of interest")
    (folder / ".hidden").write_bytes(LIST_PEM)
    (folder / "one.key").write_bytes(private_key_pem(ONE.key))
    (folder / "link").symlink_to("one.pem")
    (folder / "nowhere").symlink_to("gone")
    (folder / "below").mkdir()

    assert {file.name: held for file, held in passed_over(folder)} == {
        "list.crl.txt": "CRLs",
        "crl": "certificates and CRLs",
        "old.pem.bak": "certificates",
        "ca.crl.der": "a DER CRL",
        "c.der": "a DER certificate",
    }
    assert read_trust(folder).crls == ()


def test_links_by_hash_are_not_read_twice_and_files_so_named_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["openssl", "rehash", str(folder)], check=True, capture_output=True)
    links = [entry for entry in folder.iterdir() if entry.is_symlink()]
    assert len(links) == 2
    assert anchor_files(folder) == (folder / "one.pem", folder / "two.crt")

    monkeypatch.chdir(folder)
    assert anchor_files(Path()) == (Path("one.pem"), Path("two.crt"))
    monkeypatch.chdir(folder.parent)
    assert anchor_files(Path(folder.name)) == tuple(
        Path(folder.name, name) for name in ("one.pem", "two.crt")
    )

    for link in links:  # as some programs install them
        contents = link.read_bytes()
        link.unlink()
        link.write_bytes(contents)
    (folder / "one.pem").unlink()
    (folder / "two.crt").unlink()
    assert {*read_trust(folder).anchors} == BOTH


def test_a_mounted_folder_is_read_in_one_generation(tmp_path: Path) -> None:
    mount(tmp_path / "m", {"one.pem": ONE.trust.pem, "two.pem": TWO.trust.pem})

    assert {*read_trust(tmp_path / "m").anchors} == BOTH


def test_a_folder_without_a_certificate_is_an_error(folder: Path) -> None:
    for file in anchor_files(folder):
        file.unlink()
    reason = "has no CA certificate in it: no *.pem, *.crt or *.cer"
    error = refusal(folder)
    assert (error.path, error.reason) == (folder, reason)
    assert error.hint == "copy the PEM file of the CA there, or name the file itself"

    (folder / "ca.crl").write_bytes(LIST_PEM)
    assert refusal(folder).reason == reason


@pytest.mark.parametrize(
    ("name", "contents", "reason", "hint"),
    [
        ("x.pem", ONE.trust.pem[:200], "is cut off", "copy the file again, whole"),
        ("x.crt", b"", "is empty", "was the program that writes it interrupted?"),
        ("x.pem", b"hello\n" * 9, "is not PEM", "file "),
        (
            "x.cer",
            ONE.certificate.public_bytes(Encoding.DER),
            "is a DER certificate",
            "openssl x509 -inform der",
        ),
        (
            "x.pem",
            private_key_pem(ONE.key),
            "holds a private key where a certificate belongs",
            "move it out of",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_and_not_left_out(
    folder: Path, name: str, contents: bytes, reason: str, hint: str
) -> None:
    (folder / name).write_bytes(contents)

    error = refusal(folder)

    assert error.path == folder / name
    assert error.reason.startswith(reason)
    assert hint in (error.hint or "")


def test_the_command_for_a_file_of_another_form_mends_the_folder(folder: Path) -> None:
    file = folder / "x.cer"
    file.write_bytes(Authority.root("three").certificate.public_bytes(Encoding.DER))

    convert, _, remove = (refusal(folder).hint or "").partition("; then remove ")
    command = f"{convert.removeprefix('convert it: ')} && rm {remove}"
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)

    assert len(read_trust(folder).anchors) == 3


@pytest.mark.parametrize("in_folder", [False, True])
def test_of_a_pkcs12_file_only_its_ca_certificates_are_to_be_taken(
    tmp_path: Path, *, in_folder: bool
) -> None:
    file, copy = tmp_path / "me.pem", tmp_path / "me.pem.pem"
    file.write_bytes(BEARER.pkcs12(b"sesame"))

    error = refusal(tmp_path if in_folder else file)
    assert (error.path, error.reason) == (file, "is a PKCS#12 file, not PEM")
    command = (error.hint or "").removeprefix("take the CA certificates out of it: ")
    command, _, remove = command.partition("; then remove ")
    assert command == f"openssl pkcs12 -in {file} -nokeys -cacerts -out {copy}"
    assert remove == (str(file) if in_folder else "")

    given = command.replace("-nokeys", "-passin pass:sesame -nokeys")
    subprocess.run(["sh", "-c", given], check=True, capture_output=True)
    assert b"PRIVATE KEY" not in copy.read_bytes()
    assert read_trust(copy).anchors == ONE.trust.anchors


def test_a_file_or_a_folder_without_permission_is_an_error() -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        for name in ("one.pem", "two.pem"):
            (folder / name).write_bytes(ONE.trust.pem)
            (folder / name).chmod(0o644)
        (folder / "two.pem").chmod(0)
        with unprivileged():
            error = refusal(folder)
        folder.chmod(0o700)
        with unprivileged():
            closed = refusal(folder)

    assert (error.path, error.reason) == (folder / "two.pem", "permission denied")
    assert (closed.path, closed.reason) == (folder, "permission denied")


@pytest.mark.parametrize(
    ("make", "reason"), [(os.mkdir, "is a directory"), (os.mkfifo, "not a regular file")]
)
def test_what_is_no_file_is_to_be_moved_out(
    folder: Path, make: Callable[[Path], None], reason: str
) -> None:
    make(folder / "x.pem")

    error = refusal(folder)

    assert (error.path, error.reason) == (folder / "x.pem", reason)
    assert error.hint == f"move it out of '{folder}', where only files belong"


def test_a_link_that_leads_nowhere_is_an_error(folder: Path) -> None:
    (folder / "gone.pem").symlink_to("nowhere")

    error = refusal(folder)

    assert (error.path.name, error.reason) == (
        "gone.pem",
        "is a link to a file that does not exist",
    )


def test_crls_among_certificates_are_used_with_those_of_their_own_file(
    folder: Path, tmp_path: Path
) -> None:
    other = TWO.crl()
    (tmp_path / "crl.pem").write_bytes(LIST_PEM + other.public_bytes(Encoding.PEM))
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(ONE.trust.pem + LIST_PEM)
    (folder / "one.crl").write_bytes(LIST_PEM)

    assert read_trust(bundle).crls == read_trust(folder).crls == (LIST,)
    both = read_trust(bundle, crl=tmp_path / "crl.pem").crls
    assert both == read_trust(folder, crl=tmp_path / "crl.pem").crls == (LIST, other)
    assert read_trust(bundle, crl=bundle).crls == (LIST,)


def test_a_damaged_crl_among_certificates_is_an_error(tmp_path: Path) -> None:
    damaged = b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"
    (tmp_path / "x.pem").write_bytes(ONE.trust.pem + damaged)

    assert refusal(tmp_path / "x.pem").reason == "a CRL in it is damaged"
