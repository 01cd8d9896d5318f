"""A certificate or a CRL that cannot be used: which part of it is odd, in words."""

from __future__ import annotations

import base64
import shlex
import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import private_key_pem
from mtls_echo_pki.certificates.der import SEQUENCE, elements, encode, first
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.checks.description import describe
from mtls_echo_pki.files.oddities import certificate_oddity, crl_oddity
from mtls_echo_pki.files.pem import read_credential, read_crls
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.trust_anchors import read_trust

ROOT = Authority.root("odd root")
OWN = ROOT.issue(Request.server("localhost", subject="leaf"))
LEAF = OWN.certificate
DER = LEAF.public_bytes(Encoding.DER)
CRL = ROOT.crl()

UTF8, INTEGER, PRINTABLE, IA5 = 0x0C, 0x02, 0x13, 0x16
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18
SUBJECT = encode(UTF8, b"leaf")
END = encode(UTC_TIME, f"{LEAF.not_valid_after_utc:%y%m%d%H%M%SZ}".encode())
VERSION_3, VERSION_6, VERSION_2 = map(bytes.fromhex, ("a003020102", "a003020105", "a003020101"))
EXTENDED_KEY_USAGE, KEY_USAGE = bytes.fromhex("0603551d25"), bytes.fromhex("0603551d0f")
SAN = b"\x82\x09localhost"


def replaced(old: bytes, new: bytes, der: bytes = DER) -> bytes:
    """The certificate or CRL with another part, and all lengths put right."""
    assert der.count(old) == 1, old
    return _rebuilt(der, old, new)


def _rebuilt(der: bytes, old: bytes, new: bytes) -> bytes:
    """Replace an element, wherever it is, from the inside out."""
    if der == old:
        return new
    whole = first(der)
    if not whole.tag & 0x20 or old not in whole.contents:
        return der.replace(old, new)
    inner = b"".join(_rebuilt(part.der, old, new) for part in elements(whole.contents))
    return encode(whole.tag, inner)


def armoured(der: bytes, label: str = "CERTIFICATE") -> bytes:
    body = base64.encodebytes(der)
    return f"-----BEGIN {label}-----\n".encode() + body + f"-----END {label}-----\n".encode()


DATE = "not as YYMMDDhhmmssZ or YYYYMMDDhhmmssZ"
ODD = {
    **{
        what: (END, encode(kind, date), f"its notAfter is written “{date.decode()}”, {DATE}")
        for what, kind, date in (
            ("no seconds", UTC_TIME, b"3001010000Z"),
            ("an offset", UTC_TIME, b"300101000000+0100"),
            ("a fraction", GENERALIZED_TIME, b"20300101000000.5Z"),
            ("a leap second", GENERALIZED_TIME, b"99991231235960Z"),
        )
    },
    "not a date": (END, encode(UTF8, b"soon\x1b"), rf"its notAfter is written “soon\x1b”, {DATE}"),
    "printable": (
        SUBJECT,
        encode(PRINTABLE, b"*.a_b@c"),
        "its subject has CN=*.a_b@c, with characters that a PrintableString cannot have",
    ),
    "IA5": (
        SUBJECT,
        encode(IA5, "Müller".encode()),
        "its subject has CN=Müller, with characters that an IA5String cannot have",
    ),
    "Latin-1": (
        SUBJECT,
        encode(UTF8, "Müller".encode("latin-1")),
        "its subject has CN=Müller, a UTF8String of bytes that are not UTF-8",
    ),
    "a number": (
        SUBJECT,
        encode(INTEGER, b"\5"),
        "its subject has CN=#020105, which is of no type that a name can have",
    ),
    "visible": (
        SUBJECT,
        encode(0x1A, b"leaf"),
        "its subject has CN=leaf, which is of no type that a name can have",
    ),
    "half a character": (
        SUBJECT,
        encode(0x1E, b"\0l\0"),
        "its subject has CN=#1e03006c00, which cannot be decoded",
    ),
    "no such day": (
        END,
        encode(UTC_TIME, b"300230000000Z"),
        "its notAfter is written “300230000000Z”, and there is no such day",
    ),
    "version 6": (VERSION_3, VERSION_6, "it is of version 6, and there are three"),
    "version 2": (
        VERSION_3,
        VERSION_2,
        "it is of version 2 and has extensions, which came with version 3",
    ),
    "a doubled extension": (EXTENDED_KEY_USAGE, KEY_USAGE, "its keyUsage is there twice"),
    "a malformed extension": (SAN, b"\x82\x09local\xffost", "its subjectAltName is malformed"),
}


@pytest.mark.parametrize(("old", "new", "words"), ODD.values(), ids=ODD)
def test_the_odd_part_of_a_certificate_is_named(old: bytes, new: bytes, words: str) -> None:
    assert certificate_oddity(replaced(old, new)) == words


def test_nothing_is_odd_about_a_good_one() -> None:
    assert certificate_oddity(DER) is None
    assert crl_oddity(CRL.public_bytes(Encoding.DER)) is None
    assert certificate_oddity(b"\x30\x03\x02") is None
    assert crl_oddity(b"") is None


@pytest.mark.parametrize("odd", ["not a date", "no such day", "a leap second"])
def test_a_file_that_cannot_be_used_says_why(odd: str, tmp_path: Path) -> None:
    old, new, words = ODD[odd]
    path = tmp_path / "odd.pem"
    path.write_bytes(armoured(replaced(old, new)))

    with pytest.raises(MaterialError) as refusal:
        read_trust(path)

    assert str(refusal.value).endswith(f", cannot be used here: {words}")


KEY = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
ECDSA = bytes.fromhex("06082a8648ce3d040302")
CRITICAL = bytes.fromhex("0603551d0f0101ff")
NOT_DER = "a part of it is not encoded as DER has it"
TAKEN = {
    **{odd: ODD[odd] for odd in ("an offset", "a fraction", "printable")},
    # 3.5 and 3.6 refuse it.
    **({} if ssl.OPENSSL_VERSION_INFO >= (3, 5) else {"no seconds": ODD["no seconds"]}),
    **{odd: ODD[odd] for odd in ("version 6", "version 2")},
    "a control character": (
        SUBJECT,
        encode(PRINTABLE, b"a\0b"),
        "its subject has CN=a\\00b, with characters that a PrintableString cannot have",
    ),
    "parameters": (
        encode(SEQUENCE, ECDSA),
        encode(SEQUENCE, ECDSA + b"\5\0"),
        "its signature algorithm has parameters, and is one that has none",
    ),
    "not critical, written out": (CRITICAL, CRITICAL[:-1] + b"\0", NOT_DER),
    "critical, not as DER has it": (CRITICAL, CRITICAL[:-1] + b"\1", NOT_DER),
    "a long length": (KEY, bytes([SEQUENCE, 0x81, len(KEY) - 2]) + KEY[2:], NOT_DER),
}


@pytest.mark.parametrize(("old", "new", "words"), TAKEN.values(), ids=TAKEN)
def test_a_certificate_that_openssl_takes_is_taken(
    old: bytes, new: bytes, words: str, tmp_path: Path
) -> None:
    odd = _rebuilt(DER, old, new) if old != CRITICAL else DER.replace(old, new)
    path = tmp_path / "odd.pem"
    path.write_bytes(armoured(odd) + private_key_pem(OWN.key))

    read = read_credential(path, path)

    read.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    assert read.chain_der == (odd,)
    with pytest.raises(ValueError, match="cannot be packed"):
        read.pkcs12(b"x")
    assert (read.certificate == LEAF, read.certificate in {LEAF}) == (False, False)
    assert read_trust(path).anchors == (read.certificate,)
    assert certificate_oddity(odd) == words
    shown = describe(read.certificate, path=path, position=1)
    assert shown.names == ["localhost"]
    assert shown.key == "EC secp256r1"
    assert shown.unreadable == []
    assert shown.version in {2, 3, 6}
    if old != END:
        assert shown.not_after == LEAF.not_valid_after_utc


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(VERSION_3, bytes.fromhex("a0030c0102"), id="version is text"),
        pytest.param(VERSION_3, bytes.fromhex("a00402020002"), id="version is padded"),
        pytest.param(CRITICAL, bytes.fromhex("0603551d0f0102ffff"), id="boolean is long"),
    ],
)
def test_a_certificate_that_openssl_refuses_is_refused(
    old: bytes, new: bytes, tmp_path: Path
) -> None:
    odd, path = DER.replace(old, new), tmp_path / "odd.pem"
    path.write_bytes(armoured(odd))

    with pytest.raises(MaterialError):
        read_trust(path)


def test_what_follows_a_certificate_is_cut_off_as_the_hint_says(tmp_path: Path) -> None:
    path = tmp_path / "padded.pem"
    path.write_bytes(armoured(DER + b"\0\0\0\0"))

    with pytest.raises(MaterialError, match="4 bytes follow the certificate") as refusal:
        read_trust(path)

    assert refusal.value.hint is not None
    subprocess.run(shlex.split(refusal.value.hint.partition(": ")[2]), check=True)
    assert read_trust(Path(f"{path}.pem")).anchors == (LEAF,)


def test_a_crl_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    begin = encode(UTC_TIME, f"{CRL.last_update_utc:%y%m%d%H%M%SZ}".encode())
    odd = replaced(begin, encode(UTC_TIME, b"2401010000Z"), CRL.public_bytes(Encoding.DER))
    path = tmp_path / "odd.crl"
    path.write_bytes(armoured(odd, "X509 CRL"))

    with pytest.raises(
        MaterialError, match="cannot be used: its thisUpdate is written"
    ) as refusal:
        read_crls(path)

    assert "ask the CA for a new one" in str(refusal.value.hint)


def test_a_crl_of_a_ca_with_an_umlaut_in_an_old_string_type_is_read(tmp_path: Path) -> None:
    teletex = encode(0x14, "Müller CA".encode("latin-1"))
    odd = replaced(encode(UTF8, b"odd root"), teletex, CRL.public_bytes(Encoding.DER))
    path = tmp_path / "odd.crl"
    path.write_bytes(armoured(odd, "X509 CRL"))

    assert len(read_crls(path)) == 1
