"""Whatever a certificate or a CRL holds, the reader raises its own error and nothing else."""

from __future__ import annotations

import datetime
import warnings
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import is_key_of, key_id
from mtls_echo_pki.certificates.crl import CRLState, crl_number, is_crl_of
from mtls_echo_pki.certificates.der import UnreadableError, dotted, elements, encode, first
from mtls_echo_pki.certificates.identifiers import hosts, identity_text, names_host, subject_of
from mtls_echo_pki.certificates.loading import load_certificate, parsing
from mtls_echo_pki.certificates.outline import DistinguishedName, outline_of
from mtls_echo_pki.certificates.reading import (
    expiry,
    extension,
    has_readable_extensions,
    invalidity,
    is_self_issued,
    is_unreadable,
    issuer_name,
    period,
    public_key,
    raw_extensions,
    serial_number,
    subject_name,
    unreadable_extensions,
    usage,
    value_of,
)
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.tbs import is_issued_by, is_signed_by
from mtls_echo_pki.checks.description import describe, describe_crl
from mtls_echo_pki.files.oddities import certificate_oddity
from mtls_echo_pki.files.pem_blocks import MaterialError
from tests.support.mutations import certificates, crls, many, mutated

NOW = datetime.datetime.now(datetime.UTC)
ROOT = Authority.root("reader's root")
LEAF = ROOT.issue(Request.server("localhost", "127.0.0.1", subject="leaf"))
KINDS = (
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
    x509.SubjectAlternativeName,
    x509.NameConstraints,
    x509.AuthorityKeyIdentifier,
    x509.SubjectKeyIdentifier,
)

UTF8, PRINTABLE, TELETEX, BMP = 0x0C, 0x13, 0x14, 0x1E
COMMON_NAME = bytes.fromhex("0603550403")
COUNTRY = bytes.fromhex("0603550406")


# --- anything ------------------------------------------------------------------------------------


@many
@given(mutated(certificates()))
def test_a_mutated_certificate_is_read_or_unreadable(der: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with suppress(UnreadableError):
            str(outline_of(der).subject)
        with suppress(UnreadableError):
            read_all(load_certificate(der))


def read_all(certificate: x509.Certificate) -> None:
    """Ask for everything that is ever asked for."""
    assert isinstance(serial_number(certificate), int)
    for name in subject_name(certificate), issuer_name(certificate):
        assert isinstance(str(name), str)
        assert name == DistinguishedName(name.der)
        assert hash(name) == hash(DistinguishedName(name.der))
        _ = name.common_name
    assert period(certificate)[1] == expiry(certificate)
    invalidity(certificate, NOW)
    is_self_issued(certificate)
    raw_extensions(certificate)
    if has_readable_extensions(certificate):
        assert not unreadable_extensions(certificate)
    for kind in KINDS:
        found = value_of(certificate, kind)
        if is_unreadable(certificate, kind):
            assert found is None
        else:
            assert found == extension(certificate, kind)
    subject_of(certificate)
    names_host(certificate, "localhost")
    hosts(certificate)
    is_key_of(LEAF.key, certificate)
    is_issued_by(certificate, ROOT.certificate)
    is_signed_by(LEAF.certificate, certificate)
    describe(certificate, path=Path("x"), position=1)
    for part in (public_key, key_id, usage):
        with suppress(UnreadableError):
            part(certificate)


@many
@given(mutated(crls()))
def test_a_mutated_crl_is_read_or_unreadable(der: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with suppress(UnreadableError):
            read_all_of_crl(load_crl(der))


def load_crl(der: bytes) -> x509.CertificateRevocationList:
    with parsing():
        return x509.load_der_x509_crl(der)


def read_all_of_crl(crl: x509.CertificateRevocationList) -> None:
    assert isinstance(str(issuer_name(crl)), str)
    invalidity(crl, NOW)
    is_crl_of(crl, ROOT.certificate)
    value_of(crl, x509.AuthorityKeyIdentifier)
    for part in (crl_number, CRLState.from_crl):
        with suppress(UnreadableError):
            part(crl)
    with suppress(MaterialError):
        describe_crl(crl, path=Path("x"), position=1)


@given(st.binary(max_size=40))
def test_a_name_of_any_bytes_has_a_text(der: bytes) -> None:
    name = DistinguishedName(der)

    assert isinstance(str(name), str)
    assert name == DistinguishedName(bytes(der))


# --- names ---------------------------------------------------------------------------------------


def name_of(*attributes: tuple[bytes, int, bytes]) -> DistinguishedName:
    rdns = (encode(0x31, encode(0x30, oid + encode(tag, text))) for oid, tag, text in attributes)
    return DistinguishedName(encode(0x30, b"".join(rdns)))


@pytest.mark.parametrize(
    ("oid", "tag", "value", "text"),
    [
        (COMMON_NAME, UTF8, "Müller".encode(), "CN=Müller"),
        (COMMON_NAME, UTF8, "Müller".encode("latin-1"), "CN=Müller"),
        (COMMON_NAME, TELETEX, "Müller".encode("latin-1"), "CN=Müller"),
        (COMMON_NAME, BMP, "Müller".encode("utf-16-be"), "CN=Müller"),
        (COMMON_NAME, BMP, b"odd", "CN=#1e036f6464"),
        (COMMON_NAME, PRINTABLE, b"*.a_b@test", "CN=*.a_b@test"),
        (COMMON_NAME, UTF8, b"", "CN="),
        (COMMON_NAME, UTF8, b"x" * 100, f"CN={'x' * 100}"),
        (COMMON_NAME, 0x02, b"\x05", "CN=#020105"),
        (COUNTRY, PRINTABLE, b"USA", "C=USA"),
    ],
)
def test_a_string_of_any_type_and_length_is_shown(
    oid: bytes, tag: int, value: bytes, text: str
) -> None:
    assert str(name_of((oid, tag, value))) == text


def test_a_name_is_written_as_rfc_4514_has_it() -> None:
    name = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "# Zäh, Sohn + Co; "),
            x509.NameAttribute(x509.NameOID.TITLE, "a\\b\0"),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, " <issuing> "),
        ]
    )

    assert str(DistinguishedName.of(name)) == name.rfc4514_string()


def test_names_are_the_same_where_openssl_says_so() -> None:
    name = name_of((COMMON_NAME, UTF8, b"Field  CA"))

    assert name == name_of((COMMON_NAME, PRINTABLE, b" field ca"))
    assert hash(name) == hash(name_of((COMMON_NAME, PRINTABLE, b" field ca")))
    assert name != name_of((COMMON_NAME, UTF8, b"Field CB"))
    assert name != name_of((COUNTRY, UTF8, b"Field  CA"))
    assert name != name_of((COMMON_NAME, UTF8, b"Field CA"), (COUNTRY, PRINTABLE, b"US"))


def test_a_malformed_name_equals_itself_only() -> None:
    good, cut = name_of((COMMON_NAME, UTF8, b"a")), encode(0x30, b"\x31\x7f")

    assert DistinguishedName(cut) == DistinguishedName(cut)
    assert DistinguishedName(cut) != DistinguishedName(encode(0x30, b"\x31\x7e"))
    assert DistinguishedName(cut) != good
    assert str(DistinguishedName(cut)) == f"#{cut.hex()}"


# --- one odd part --------------------------------------------------------------------------------


def altered(old: bytes, new: bytes) -> x509.Certificate:
    der = LEAF.certificate.public_bytes(Encoding.DER)
    assert der.count(old) == 1
    return load_certificate(der.replace(old, new))


EXTENDED_KEY_USAGE = bytes.fromhex("0603551d25")
KEY_USAGE = bytes.fromhex("0603551d0f")


def test_a_doubled_extension_hides_no_other() -> None:
    odd = altered(EXTENDED_KEY_USAGE, KEY_USAGE)

    assert not has_readable_extensions(odd)
    assert unreadable_extensions(odd) == ["2.5.29.15"]
    assert is_unreadable(odd, x509.KeyUsage)
    assert hosts(odd) == ["localhost", "127.0.0.1"]
    constraints = value_of(odd, x509.BasicConstraints)
    assert constraints is not None
    assert not constraints.ca


def test_a_malformed_name_in_subject_alternative_name_hides_no_other() -> None:
    odd = altered(b"\x82\x09localhost", b"\x82\x09local\xffost")

    assert is_unreadable(odd, x509.SubjectAlternativeName)
    assert hosts(odd) == ["127.0.0.1"]
    assert names_host(odd, "127.0.0.1")
    assert unreadable_extensions(odd) == ["2.5.29.17"]


def test_the_year_0_comes_before_every_other() -> None:
    der = LEAF.certificate.public_bytes(Encoding.DER)
    dates = (f"{each:%y%m%d%H%M%SZ}".encode() for each in period(LEAF.certificate))
    validity = encode(0x30, b"".join(encode(0x17, each) for each in dates))
    zero = encode(0x30, encode(0x18, b"00000101000000Z") + encode(0x18, b"99991231235959Z"))
    assert der.count(validity) == 1

    odd = load_certificate(relength(der, validity, zero))

    assert period(odd)[0] == datetime.datetime.min.replace(tzinfo=datetime.UTC)
    assert expiry(odd).year == 9999
    assert invalidity(odd, NOW) is None


def relength(der: bytes, old: bytes, new: bytes) -> bytes:
    """Replace a part of what is signed, with all lengths put right."""
    tbs, *rest = elements(first(der).contents)
    inner = encode(0x30, tbs.contents.replace(old, new))
    return encode(0x30, inner + b"".join(part.der for part in rest))


@pytest.mark.parametrize("serial", [0, -1, -(1 << 70), 1 << 158])
def test_a_serial_number_may_be_any_integer(serial: int) -> None:
    der = LEAF.certificate.public_bytes(Encoding.DER)
    contents = LEAF.certificate.serial_number
    old = encode(0x02, contents.to_bytes(contents.bit_length() // 8 + 1))
    new = encode(0x02, serial.to_bytes(serial.bit_length() // 8 + 1, signed=True))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert serial_number(load_certificate(relength(der, old, new))) == serial


def test_what_cryptography_does_not_load_has_an_outline() -> None:
    der = LEAF.certificate.public_bytes(Encoding.DER)
    odd = relength(der, encode(UTF8, b"leaf"), encode(PRINTABLE, b"*l_f"))

    with pytest.raises(ValueError, match="InvalidValue"):
        x509.load_der_x509_certificate(odd)
    assert str(outline_of(odd).subject) == "CN=*l_f"
    assert outline_of(odd).serial == LEAF.certificate.serial_number


def test_an_extension_of_a_very_long_type_is_listed() -> None:
    der = LEAF.certificate.public_bytes(Encoding.DER)
    short, arc = bytes.fromhex("0603551d0f"), b"\x2b" + b"\xff" * 3000 + b"\x7f"
    for octets in arc, b"\x2b" + b"\xff" * 32 + b"\x7f":
        tbs, *rest = elements(first(der).contents)
        *parts, last = elements(tbs.contents)
        extension = encode(0x30, encode(0x06, octets) + encode(0x04, b"\5\0"))
        extensions = encode(0x30, extension + first(last.contents).contents)
        inner = b"".join(part.der for part in parts) + encode(0xA3, extensions)
        odd = encode(0x30, encode(0x30, inner) + b"".join(part.der for part in rest))

        oids = [raw.oid for raw in outline_of(odd).extensions]
        assert oids[0] == f"#{encode(0x06, octets).hex()}"
        assert dotted(first(short).contents) in oids


def test_the_version_may_not_be_a_very_long_number() -> None:
    der = LEAF.certificate.public_bytes(Encoding.DER)
    longest, longer = (encode(0x02, b"\x7f" * octets) for octets in (8, 3000))
    third = bytes.fromhex("a003020102")

    assert certificate_oddity(relength(der, third, encode(0xA0, longest)))
    with pytest.raises(UnreadableError):
        load_certificate(relength(der, third, encode(0xA0, longer)))
    assert certificate_oddity(relength(der, third, encode(0xA0, longer))) is None


def test_nothing_but_a_certificate_has_an_outline() -> None:
    for der in (b"", b"\x30", b"\x30\x80", b"\x30\x03\x02\x01\x01", b"\x30\x84\xff\xff\xff\xff"):
        with pytest.raises(UnreadableError):
            outline_of(der)


def test_a_presented_identifier_of_any_type_has_a_text() -> None:
    directory = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a, b")])
    upn = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")

    assert identity_text(x509.DirectoryName(directory)) == r"CN=a\, b"
    assert identity_text(x509.RegisteredID(x509.ObjectIdentifier("1.2.3.4"))) == "RID:1.2.3.4"
    assert identity_text(x509.OtherName(upn, encode(UTF8, b"a@b"))) == f"{upn.dotted_string}:a@b"
    assert identity_text(x509.OtherName(upn, b"\x05\x00")) == f"{upn.dotted_string}:#0500"
    assert identity_text(x509.OtherName(upn, b"\x05")).endswith(":#05")
