"""CRLs: made, kept apart in time, read, and trusted by a real verifier."""

from __future__ import annotations

import base64
import shutil
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.crl import CRLState
from mtls_echo_pki.certificates.request import KeyType, Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.checks.check import check
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.files.atomic_writer import publish, read_consistent
from mtls_echo_pki.files.pem import read_crls
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.trust_anchors import read_trust
from tests.support.pki import handshake, strict_contexts

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
COMPROMISED = x509.ReasonFlags.key_compromise


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def number(crl: x509.CertificateRevocationList) -> int:
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def verdict(credential: Credential, *crls: x509.CertificateRevocationList) -> int | None:
    """The verify code of a server that verifies a client by these lists; None: accepted."""
    trust = Trust((ROOT.certificate,), crls)
    other = Authority.root("other")
    contexts = strict_contexts(other.issue("localhost"), other.trust, credential, trust)
    try:
        handshake(*contexts, "localhost")
    except ssl.SSLCertVerificationError as error:
        return error.verify_code
    return None


ROOT = Authority.root()


def test_a_crl_that_cannot_be_read_is_explained(tmp_path: Path) -> None:
    number, key_identifier = bytes.fromhex("0603551d14"), bytes.fromhex("0603551d23")
    der = ROOT.crl().public_bytes(Encoding.DER)
    twice = base64.encodebytes(der.replace(number, key_identifier))
    path = tmp_path / "crl.pem"
    path.write_bytes(b"-----BEGIN X509 CRL-----\n%b-----END X509 CRL-----\n" % twice)

    with pytest.raises(MaterialError, match="cannot be used: its authorityKeyIdentifier is there"):
        read_crls(path)


@pytest.mark.parametrize("key_type", KeyType)
def test_a_crl_says_who_issued_it_and_what_was_revoked(key_type: KeyType) -> None:
    authority = Authority.root("lister", key_type=key_type)
    one, other = authority.issue("a.test"), authority.issue("b.test")
    authority.revoke(one, COMPROMISED)
    authority.revoke(other.certificate)

    crl = authority.crl()

    assert crl.issuer == authority.certificate.subject
    assert crl.is_signature_valid(authority.certificate.public_key())  # type: ignore[arg-type]  # none of ours is an X25519 key
    assert [entry.serial_number for entry in crl] == [
        one.certificate.serial_number,
        other.certificate.serial_number,
    ]
    reasons = [[extension.value.reason for extension in entry.extensions] for entry in crl]
    assert reasons == [[COMPROMISED], []]  # "unspecified" is said by silence
    own = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    identifier = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert identifier.key_identifier == own.value.digest
    assert number(crl) == 1


def test_crls_of_the_same_moment_have_different_times_and_none_is_of_the_future() -> None:
    authority = Authority.root(clock=Clock())

    lists = [authority.crl() for _ in range(3601)]

    times = [crl.last_update_utc for crl in lists]
    assert times == sorted({*times})
    assert times[0] == NOON - timedelta(hours=1)
    assert times[-1] == NOON
    assert [number(crl) for crl in lists] == [*range(1, 3602)]
    with pytest.raises(ValueError, match="check this machine's clock"):
        authority.crl()


def test_time_goes_on_where_a_clock_that_was_set_back_left_it() -> None:
    clock = Clock()
    authority = Authority.root(clock=clock)
    first = authority.crl()
    clock.now -= timedelta(minutes=40)

    second = authority.crl()
    clock.now += timedelta(hours=3, microseconds=3)
    third = authority.crl(timedelta(days=1))

    assert second.last_update_utc == first.last_update_utc + timedelta(seconds=1)
    assert third.last_update_utc == clock.now.replace(microsecond=0) - timedelta(hours=1)
    assert third.next_update_utc == clock.now.replace(microsecond=0) + timedelta(days=1)


def test_a_refused_crl_leaves_the_state_as_it_was() -> None:
    authority = Authority.root(clock=Clock())

    with pytest.raises(ValueError, match="lifetime of at least a second"):
        authority.crl(timedelta(0))

    assert authority.crl_state == CRLState()


def test_a_register_that_was_kept_goes_on_after_a_restart() -> None:
    clock = Clock()
    before = Authority.root(clock=clock)
    before.revoke(before.issue("a.test"))
    last = before.crl()
    kept = CRLState(dict(before.crl_state.revocations), number(last), last.last_update_utc)

    after = replace(before, crl_state=kept)
    crl = after.crl()

    assert number(crl) == 2
    assert len(crl) == 1
    assert crl.last_update_utc > last.last_update_utc


def test_who_is_revoked_twice_stays_revoked_as_at_first() -> None:
    clock = Clock()
    authority = Authority.root(clock=clock)
    credential = authority.issue("a.test")

    first = authority.revoke(credential, COMPROMISED)
    clock.now += timedelta(days=1)
    second = authority.revoke(credential)

    assert first == second
    assert first.date == NOON
    assert len(authority.crl()) == 1


def test_only_the_issuer_can_revoke() -> None:
    theirs = Authority.root("theirs").issue("a.test")
    same_name = Authority.root().issue("a.test")

    with pytest.raises(ValueError, match=r"revoke it with the one called CN=theirs"):
        ROOT.revoke(theirs)
    with pytest.raises(ValueError, match="not issued by this CA"):
        ROOT.revoke(same_name)
    with pytest.raises(ValueError, match="delta CRLs"):
        ROOT.revoke(ROOT.issue("a.test"), x509.ReasonFlags.remove_from_crl)


def test_a_verifier_with_crls_refuses_the_revoked_and_admits_the_others() -> None:
    root = ROOT
    good, bad = root.issue(Request.client("good.test")), root.issue(Request.client("bad.test"))
    before = root.crl()
    root.revoke(bad)
    after = root.crl()

    assert verdict(bad) is None
    assert verdict(bad, before) is None
    assert verdict(bad, after) == 23
    assert verdict(good, after) is None


def test_the_newer_of_two_crls_counts_in_whatever_order_they_come() -> None:
    bad = ROOT.issue(Request.client("bad.test"))
    before = ROOT.crl()
    ROOT.revoke(bad)
    after = ROOT.crl()

    assert before.last_update_utc < after.last_update_utc
    assert verdict(bad, before, after) == verdict(bad, after, before) == 23


def test_every_ca_of_a_path_must_have_a_crl() -> None:
    intermediate = ROOT.intermediate()
    credential = intermediate.issue(Request.client("a.test"))

    assert verdict(credential) is None
    assert verdict(credential, intermediate.crl()) == 3
    assert verdict(credential, ROOT.crl()) == 3
    assert verdict(credential, ROOT.crl(), intermediate.crl()) is None
    ROOT.revoke(intermediate.certificate)
    assert verdict(credential, ROOT.crl(), intermediate.crl()) == 23


def test_trust_without_crls_checks_no_revocation_and_with_crls_all_of_it() -> None:
    for trust, flags in ((ROOT.trust, False), (replace(ROOT.trust, crls=(ROOT.crl(),)), True)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trust.load_into(context)

        assert bool(context.verify_flags & ssl.VERIFY_CRL_CHECK_CHAIN) is flags
        assert context.cert_store_stats()["crl"] == int(flags)


def test_union_keeps_the_crls_of_both_once() -> None:
    other = Authority.root("other")
    one = replace(ROOT.trust, crls=(ROOT.crl(),))
    two = replace(other.trust, crls=(other.crl(),))

    both = one | two | one

    assert both.crls == (*one.crls, *two.crls)
    assert both.crl_pem == one.crl_pem + two.crl_pem
    assert ROOT.trust.crl_pem == b""
    assert {one, one, two} == {one, two}


# --- files ---------------------------------------------------------------------------------------


def test_crls_are_read_as_they_were_written(tmp_path: Path) -> None:
    lists = (ROOT.crl(), Authority.root("other").crl())
    (tmp_path / "ca.crt").write_bytes(ROOT.trust.pem)
    (tmp_path / "crl.pem").write_bytes(Trust((), lists).crl_pem)

    assert read_crls(tmp_path / "crl.pem") == lists
    trust = read_trust(tmp_path / "ca.crt", crl=tmp_path / "crl.pem")
    assert trust == replace(ROOT.trust, crls=lists)


SPOILT: list[tuple[str, Callable[[], bytes], str, str | None]] = [
    ("empty", lambda: b"", "is empty", "interrupted"),
    ("DER", lambda: ROOT.crl().public_bytes(Encoding.DER), "DER CRL", "openssl crl"),
    ("a certificate", lambda: ROOT.trust.pem, "holds a certificate where", "BEGIN X509 CRL"),
    ("a key", lambda: ROOT.key_pem, "has no CRL in it", None),
    ("garbage", lambda: b"hello", "is not PEM", "file "),
    ("cut off", lambda: ROOT.crl().public_bytes(Encoding.PEM)[:-20], "is cut off", "again"),
    (
        "damaged",
        lambda: b"-----BEGIN X509 CRL-----\nMAAA\n-----END X509 CRL-----\n",
        "a CRL in it is damaged",
        "openssl crl -in",
    ),
]


@pytest.mark.parametrize(
    ("contents", "reason", "hint"), [pytest.param(*case[1:], id=case[0]) for case in SPOILT]
)
def test_a_file_without_a_crl_says_what_it_is_instead(
    tmp_path: Path, contents: Callable[[], bytes], reason: str, hint: str | None
) -> None:
    (tmp_path / "ca.crt").write_bytes(ROOT.trust.pem)
    path = tmp_path / "crl.pem"
    path.write_bytes(contents())

    for required in (True, False):
        with pytest.raises(MaterialError) as failure:
            read_trust(tmp_path / "ca.crt", crl=path, crl_required=required)

        assert failure.value.path == path
        assert reason in failure.value.reason
        assert hint is None or hint in (failure.value.hint or "")


def test_a_crl_that_must_be_there_and_is_not_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(ROOT.trust.pem)

    with pytest.raises(MaterialError, match=r"crl\.pem: does not exist"):
        read_trust(tmp_path / "ca.crt", crl=tmp_path / "crl.pem")
    with pytest.raises(MaterialError, match="does not exist"):
        read_crls(tmp_path / "crl.pem")
    absent = read_trust(tmp_path / "ca.crt", crl=tmp_path / "crl.pem", crl_required=False)
    assert absent == ROOT.trust


def test_a_certificate_file_that_is_a_crl_says_so(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(ROOT.crl().public_bytes(Encoding.PEM))

    with pytest.raises(MaterialError, match="holds a CRL where"):
        read_trust(tmp_path / "ca.crt")


def test_an_optional_file_is_read_from_the_same_generation(tmp_path: Path) -> None:
    folder = tmp_path / "trust"
    publish(folder, {"a": b"1"}, {})
    assert read_consistent(folder, ["a"], optional=["b"]) == {"a": b"1"}
    publish(folder, {"a": b"2", "b": b"2"}, {})
    assert read_consistent(folder, ["a"], optional=["b"]) == {"a": b"2", "b": b"2"}
    publish(folder, {"a": b"3"}, {})
    assert read_consistent(folder, ["a"], optional=["b"]) == {"a": b"3"}


# --- the directory -------------------------------------------------------------------------------


def published(directory: Directory, lists: tuple[x509.CertificateRevocationList, ...]) -> None:
    trust = Trust(directory.authority("clients").trust.anchors, lists)
    files = {"ca.crt": trust.pem, "crl.pem": trust.crl_pem}
    publish(directory.path / "trust" / "clients", files, dict.fromkeys(files, 0o644))


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Directory.create(tmp_path_factory.mktemp("crl") / "pki").path


@pytest.fixture
def directory(pristine: Path, tmp_path: Path) -> Directory:
    shutil.copytree(pristine, tmp_path / "pki", symlinks=True)
    return Directory(tmp_path / "pki")


def test_a_directory_gives_its_crls_with_its_anchors(directory: Directory) -> None:
    authority = directory.authority("clients")
    authority.revoke(directory.credential("client"))
    crl = authority.crl()

    published(directory, (crl,))

    assert directory.trust("clients") == Trust((authority.certificate,), (crl,))
    assert directory.trust("servers").crls == ()


def test_check_is_content_with_a_good_crl(directory: Directory) -> None:
    published(directory, (directory.authority("clients").crl(),))

    assert check(directory) == []


def test_check_finds_a_revoked_credential(directory: Directory) -> None:
    authority = directory.authority("clients")
    authority.revoke(directory.credential("client"))
    published(directory, (authority.crl(),))

    (finding,) = check(directory)

    assert finding.path == directory.path / "client" / "tls.crt"
    assert "verify code 23" in finding.what


def test_check_finds_the_missing_crl_of_a_ca(directory: Directory) -> None:
    published(directory, (Authority.root("other").crl(),))

    (finding,) = check(directory)

    assert "verify code 3" in finding.what


def test_check_finds_a_crl_that_no_verifier_can_use_and_says_so_once(directory: Directory) -> None:
    authority = directory.authority("clients")
    path = directory.path / "trust" / "clients" / "crl.pem"
    now = datetime.now(UTC)
    early = replace(authority, clock=lambda: now + timedelta(days=2, minutes=55)).crl()
    late = replace(authority, crl_state=CRLState(), clock=lambda: now - timedelta(days=9)).crl()
    same_name = Authority.root(authority.certificate.subject.rfc4514_string()[3:])
    for crl, what in (
        (early, "not valid for another 2 days, so no peer is accepted"),
        (late, "expired 2 days ago, so no peer is accepted"),
        (same_name.crl(), "was not signed by it"),
    ):
        published(directory, (crl,))

        (finding,) = check(directory)

        assert finding.path == path
        assert finding.what.endswith(what)


def test_check_finds_a_damaged_crl(directory: Directory) -> None:
    published(directory, (directory.authority("clients").crl(),))
    path = directory.path / "trust" / "clients" / "crl.pem"
    path.resolve().write_bytes(b"-----BEGIN X509 CRL-----\n")

    (finding,) = check(directory)

    assert finding.path == path
    assert "cut off" in finding.what
