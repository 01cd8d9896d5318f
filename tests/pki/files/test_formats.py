"""Files as people have them: each is named, and the command that is hinted makes PEM of it."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import re
import shutil
import subprocess
from base64 import encodebytes
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs7,
)

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.files.pem import parse_certificates
from mtls_echo_pki.files.pem_blocks import MaterialError, blocks, quoted
from mtls_echo_pki.files.private_key import parse_key
from mtls_echo_pki.files.trust_anchors import parse_trust

ROOT = Authority.root("formats")
CREDENTIAL = ROOT.intermediate().issue(Request.server("a.test"))
PEM, KEY = CREDENTIAL.certificate_pem, CREDENTIAL.key_pem
DER = CREDENTIAL.certificate.public_bytes(Encoding.DER)
KEY_DER = CREDENTIAL.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
PATH = [*CREDENTIAL.path]


def run(*command: str, folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def hinted(error: MaterialError) -> str:
    """The command in a hint, with the passwords that it would ask for."""
    assert error.hint is not None
    command = error.hint.partition(": ")[2].replace("; then: ", "; ")
    command = re.sub(r"(openssl pkcs12 )", r"\1-passin pass:secret ", command)
    return command.replace(
        "keytool -importkeystore",
        "keytool -importkeystore -srcstorepass secret -deststorepass secret -noprompt",
    )


def four_dashes(pem: bytes) -> bytes:
    return pem.replace(b"-----", b"----")


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        pytest.param(PEM.decode().encode("utf-16"), "is UTF-16 text", id="utf-16"),
        pytest.param(PEM.decode().encode("utf-16-le"), "is UTF-16 text", id="utf-16-le"),
        pytest.param(PEM.decode().encode("utf-16-be"), "is UTF-16 text", id="utf-16-be"),
        pytest.param(PEM.replace(b"\n", rb"\n"), r"has \n written out", id="literal"),
        pytest.param(b'"%b"\n' % PEM.replace(b"\n", rb"\n"), r"has \n written out", id="quoted"),
        pytest.param(PEM.replace(b"\n", rb"\\r\\n"), r"has \n written out", id="doubled"),
        pytest.param(
            b'{"tls.crt": "%b"}' % PEM.replace(b"\n", rb"\n").replace(b"/", rb"\/"),
            r"has \n written out",
            id="json",
        ),
        pytest.param(PEM.replace(b"\n", b" "), "has blanks in place of line ends", id="one line"),
        pytest.param(
            b"".join(b"> %b\n" % line for line in PEM.splitlines()),
            "has more in each line than PEM",
            id="mail",
        ),
        pytest.param(
            b"".join(b'"%b"\n' % line for line in PEM.splitlines()),
            "has more in each line than PEM",
            id="quoted lines",
        ),
        pytest.param(
            PEM.replace(b"BEGIN CERT", b"BEGIN\xc2\xa0CERT"),
            "line 1 is nearly a boundary",
            id="no-break space",
        ),
        pytest.param(PEM.replace(b"\n", b"\r"), "has lines that end with a carriage", id="cr"),
        pytest.param(encodebytes(PEM), "is base64 of a PEM file", id="base64"),
        pytest.param(encodebytes(DER), "is base64 without boundaries", id="bare"),
        pytest.param(DER, "is a DER certificate", id="der"),
        pytest.param(
            PEM.replace(b"-----\n-----", b"----------"),
            " has more than a boundary in it",
            id="joined",
        ),
        pytest.param(
            b"".join(b"    " + line for line in PEM.splitlines(keepends=True)),
            "line 1 is indented",
            id="indented",
        ),
        pytest.param(four_dashes(PEM), "line 1 is nearly a boundary", id="four"),
        pytest.param(
            PEM.replace(b"BEGIN CERTIFICATE", b"begin certificate"),
            "line 1 is nearly a boundary",
            id="lower",
        ),
        pytest.param(
            PEM.replace(b"-----", "———".encode()), "line 1 is nearly a boundary", id="em-dashes"
        ),
        pytest.param(
            PEM.replace(b"-----BEGIN", b"----- BEGIN"), "line 1 is nearly a boundary", id="blank"
        ),
        pytest.param(
            PEM.replace(b"-----END CERTIFICATE-----", b"----END CERTIFICATE----"),
            " is nearly a boundary, and has to be: -----END CERTIFICATE-----",
            id="four at the end",
        ),
        pytest.param(
            pkcs7.serialize_certificates(PATH, Encoding.DER), "is a DER PKCS#7", id="p7b"
        ),
        pytest.param(pkcs7.serialize_certificates(PATH, Encoding.PEM), "holds a PKCS#7", id="p7"),
        pytest.param(CREDENTIAL.pkcs12(b"secret"), "is a PKCS#12 file", id="pkcs12"),
    ],
)
def test_a_certificate_in_another_form_is_named_and_the_command_works(
    contents: bytes, reason: str, tmp_path: Path
) -> None:
    file = tmp_path / "my file.pem"
    file.write_bytes(contents)

    command = refused(file, reason, parse_certificates)
    subprocess.run(["bash", "-c", command], check=True, capture_output=True)

    made = next(tmp_path.glob("my file.pem*.pem"))
    assert CREDENTIAL.certificate in parse_certificates(made.read_bytes(), path=made)


def refused(file: Path, reason: str, parse: Callable[..., object]) -> str:
    with pytest.raises(MaterialError) as caught:
        parse(file.read_bytes(), path=file)
    assert reason in caught.value.reason
    command = hinted(caught.value).replace("; then ", "; ")
    return command.replace("; convert it: ", "; ")


@pytest.mark.parametrize(
    "contents",
    [
        KEY.decode().encode("utf-16"),
        KEY.replace(b"\n", rb"\n"),
        encodebytes(KEY),
        four_dashes(KEY),
        KEY_DER,
        CREDENTIAL.pkcs12(b"secret"),
    ],
)
def test_a_private_key_in_another_form_stays_private(contents: bytes, tmp_path: Path) -> None:
    file = tmp_path / "tls.key"
    file.write_bytes(contents)

    command = refused(file, "", parse_key)
    subprocess.run(["bash", "-c", f"umask 022; {command}"], check=True, capture_output=True)

    made = tmp_path / "tls.key.pem"
    assert parse_key(made.read_bytes(), path=made).public_key() == CREDENTIAL.key.public_key()
    assert made.stat().st_mode & 0o077 == 0


def test_a_pkcs12_file_with_rc2_needs_the_legacy_provider(tmp_path: Path) -> None:
    (tmp_path / "s.pem").write_bytes(PEM + KEY)
    arguments = "pkcs12 -export -legacy -in s.pem -passout pass:secret -out s.pfx"
    run("openssl", *arguments.split(), folder=tmp_path)

    command = refused(tmp_path / "s.pfx", "is a PKCS#12 file", parse_certificates)

    assert " -legacy " in command
    subprocess.run(["bash", "-c", command], check=True, capture_output=True)
    made = tmp_path / "s.pfx.pem"
    assert parse_certificates(made.read_bytes(), path=made)[0] == CREDENTIAL.certificate


@pytest.mark.parametrize("kind", ["JKS", "JCEKS"])
def test_a_java_key_store_is_named_by_its_kind(kind: str, tmp_path: Path) -> None:
    begin = {"JKS": b"\xfe\xed\xfe\xed", "JCEKS": b"\xce\xce\xce\xce"}[kind]

    with pytest.raises(MaterialError) as caught:
        blocks(begin + bytes(60), tmp_path / "store")

    assert caught.value.reason == f"is a Java key store ({kind}), not PEM"
    assert f"-srcstoretype {kind}" in hinted(caught.value)


FOREIGN = {
    "gzip": (gzip.compress(PEM), "is packed by gzip", "gzip -dc"),
    "bzip2": (bz2.compress(PEM), "is packed by bzip2", "bzip2 -dc"),
    "xz": (lzma.compress(PEM), "is packed by xz", "xz -dc"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(60), "is packed by zstd", "zstd -dc"),
    "ZIP": (b"PK\x03\x04" + bytes(60), "is a ZIP archive", "unzip"),
    "tar": (bytes(257) + b"ustar" + bytes(250) + PEM, "is a tar archive", "tar -xf"),
    "tar.gz": (gzip.compress(bytes(257) + b"ustar" + bytes(250)), "packed by gzip", "tar -xf"),
    "page": (b"<!DOCTYPE html>\n<html><title>Sign in", "is a web page (HTML)", "curl -f"),
    "old page": (b"\r\n\n<HTML><BODY>404", "is a web page (HTML)", "curl -f"),
    "XML": (b'<?xml version="1.0"?><Error>', "is XML", "curl -f"),
    "HTTP": (b"HTTP/1.1 200 OK\r\n\r\n", "is a whole HTTP response", "without -i"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS", "git lfs pull"),
    "vault": (b"$ANSIBLE_VAULT;1.1;AES256\n61\n", "by Ansible Vault", "ansible-vault decrypt"),
    "NSS": (b"SQLite format 3\0" + bytes(60), "cert9.db", "certutil -L"),
    "PuTTY": (b"PuTTY-User-Key-File-3: ecdsa-sha2-nistp256\n", "of PuTTY", "puttygen"),
    "PuTTY 25519": (b"PuTTY-User-Key-File-3: ssh-ed25519\n", "of PuTTY", "openssl genpkey"),
    "SSH": (b"ssh-rsa AAAAB3Nz x\n", "is an SSH public key", "X.509"),
    "SSH certificate": (
        b"ecdsa-sha2-nistp256-cert-v01@openssh.com AAAA x\n",
        "is a certificate of OpenSSH",
        "X.509",
    ),
    "SSH2": (b"---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n", "is an SSH public key", "X.509"),
    "PGP": (
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n-----END PGP PUBLIC KEY BLOCK-----\n",
        "holds a PGP key where",
        "name the file",
    ),
    "netrc": (b"machine a.test\nlogin me\npassword geheim\n", "is a .netrc file", "name the file"),
    "JSON": (b'{"error": "unauthorized"}', "is JSON", "jq -r"),
    "YAML": (
        b"kind: Secret\ndata:\n  tls.crt: %b\n" % encodebytes(PEM).replace(b"\n", b""),
        "base64 of PEM as its tls.crt",
        "base64 -d",
    ),
    "YAML of Windows": (
        b'kind: Secret\r\ndata:\r\n  "ca.crt": "%b" \r\n' % encodebytes(PEM).replace(b"\n", b""),
        "is YAML, with base64 of PEM as its ca.crt",
        "base64 -d",
    ),
    "Secret as JSON": (
        b'{\n  "data": {\n    "ca.crt": "%b",\n    "tls.crt": ""\n  }\n}\n'
        % encodebytes(PEM).replace(b"\n", b""),
        "is JSON, with base64 of PEM as its ca.crt",
        "base64 -d",
    ),
}


@pytest.mark.parametrize(("contents", "reason", "hint"), FOREIGN.values(), ids=FOREIGN)
def test_what_is_something_else_altogether_is_named(
    contents: bytes, reason: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(MaterialError) as caught:
        parse_trust(contents, path=tmp_path / "ca.pem")

    assert reason in caught.value.reason
    assert hint in (caught.value.hint or "")
    assert "geheim" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize(
    "kind", ["gzip", "bzip2", "xz", "YAML", "YAML of Windows", "Secret as JSON"]
)
def test_the_command_for_what_is_packed_works(kind: str, tmp_path: Path) -> None:
    contents, reason, _ = FOREIGN[kind]
    (tmp_path / "ca.pem").write_bytes(contents)

    command = refused(tmp_path / "ca.pem", reason, parse_certificates)
    subprocess.run(["bash", "-c", command], check=True, capture_output=True)

    assert (tmp_path / "ca.pem.pem").read_bytes() == PEM


def test_no_command_takes_a_file_for_an_option() -> None:
    assert quoted(Path("-d secret.yaml")) == "'./-d secret.yaml'"
    assert quoted(Path("ca.pem")) == "ca.pem"


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is missing")
def test_the_command_for_json_works(tmp_path: Path) -> None:
    file = tmp_path / "ca.json"
    text = encodebytes(PEM).decode().replace("\n", "")
    file.write_text(json.dumps({"ca.crt": text}))

    command = refused(file, "is JSON", parse_certificates).replace("KEY", "ca.crt")
    subprocess.run(["bash", "-c", command], check=True, capture_output=True)

    assert (tmp_path / "ca.json.pem").read_text() == f"{text}\n"


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is missing")
def test_the_command_for_a_key_of_openssh_works(tmp_path: Path) -> None:
    file = tmp_path / "id"
    made = "ssh-keygen", "-q", "-N", "", "-t"
    run(*made, "ecdsa", "-f", "id", folder=tmp_path)

    command = refused(file, "holds a key in OpenSSH's format", parse_key)
    subprocess.run(["bash", "-c", f"{command} -q -N ''"], check=True, capture_output=True)

    converted = tmp_path / "id.pem"
    assert parse_key(converted.read_bytes(), path=converted)
    run(*made, "ed25519", "-f", "id25519", folder=tmp_path)
    assert "openssl genpkey" in refused(tmp_path / "id25519", "holds a key in", parse_key)


@pytest.mark.parametrize("encode", [bytes, encodebytes], ids=["as it is", "base64"])
@pytest.mark.parametrize(
    "store", [b"\xfe\xed\xfe\xed" + bytes(60), CREDENTIAL.pkcs12(b"x")], ids=["JKS", "PKCS#12"]
)
def test_of_what_holds_keys_the_ca_certificates_are_taken(
    store: bytes, encode: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    with pytest.raises(MaterialError) as caught:
        parse_trust(encode(store), path=tmp_path / "store")

    assert " -nokeys -cacerts " in hinted(caught.value)
    assert "-nodes" not in hinted(caught.value)


@pytest.mark.skipif(shutil.which("keytool") is None, reason="keytool is missing")
@pytest.mark.parametrize("kind", ["JKS", "JCEKS"])
def test_the_command_for_a_java_key_store_works(kind: str, tmp_path: Path) -> None:
    (tmp_path / "s.p12").write_bytes(CREDENTIAL.pkcs12(b"secret", name="server"))
    arguments = (
        "-importkeystore -srckeystore s.p12 -srcstoretype PKCS12 -srcstorepass secret"
        f" -destkeystore store -deststoretype {kind} -deststorepass secret -noprompt"
    )
    run("keytool", *arguments.split(), folder=tmp_path)

    command = refused(tmp_path / "store", f"is a Java key store ({kind})", parse_certificates)
    subprocess.run(["bash", "-c", command], check=True, capture_output=True)

    made = tmp_path / "store.pem"
    assert parse_certificates(made.read_bytes(), path=made)[0] == CREDENTIAL.certificate


def test_a_trusted_certificate_in_a_bundle_is_not_left_out(tmp_path: Path) -> None:
    (tmp_path / "b.pem").write_bytes(ROOT.certificate_pem)
    arguments = "x509 -in b.pem -trustout -addtrust serverAuth -out trusted.pem"
    run("openssl", *arguments.split(), folder=tmp_path)
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(PEM + (tmp_path / "trusted.pem").read_bytes())

    command = refused(bundle, "a certificate in OpenSSL's own format among", parse_certificates)
    subprocess.run(["bash", "-c", command], check=True, capture_output=True)

    made = tmp_path / "bundle.pem.pem"
    assert parse_certificates(made.read_bytes(), path=made) == [*PATH, ROOT.certificate]


@pytest.mark.parametrize(
    ("arguments", "reason", "word"),
    [
        ("req -new -subj /CN=a -key s.pem", "is a DER certificate signing request", "CA"),
        ("pkey -pubout -in s.pem", "is a DER public key", "private key"),
    ],
)
def test_a_request_and_a_public_key_say_what_to_do(
    arguments: str, reason: str, word: str, tmp_path: Path
) -> None:
    (tmp_path / "s.pem").write_bytes(KEY)
    run("openssl", *arguments.split(), "-outform", "der", "-out", "x", folder=tmp_path)

    with pytest.raises(MaterialError) as caught:
        blocks((tmp_path / "x").read_bytes(), tmp_path / "x")

    assert caught.value.reason == reason
    assert word in str(caught.value.hint)


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (PEM[:-30], 'is cut off: "BEGIN CERTIFICATE" in line 9 without its "END CERTIFICATE"'),
        (
            PEM.replace(b"END CERTIFICATE", b"END RSA PRIVATE KEY", 1),
            '"END RSA PRIVATE KEY" in line 12 does not match "BEGIN CERTIFICATE" in line 1',
        ),
    ],
)
def test_damage_is_named_with_its_line(contents: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(MaterialError) as caught:
        blocks(contents, tmp_path / "x")

    assert re.sub(r"\d+", "N", caught.value.reason) == re.sub(r"\d+", "N", reason)


@pytest.mark.parametrize(
    "comment",
    [
        b"# ---- BEGIN CERTIFICATE of the year ----\n",
        b"--- begin of certificates ---\n",
        b"subject=CN = a.test\nissuer=CN = x\n",
        b"Bag Attributes: <No Attributes>\n",
        b"\xff\xfe commentary\n\0\0\n",
    ],
)
def test_commentary_is_not_a_boundary(comment: bytes, tmp_path: Path) -> None:
    found = parse_certificates(comment + PEM + comment, path=tmp_path / "x")

    assert found == PATH
