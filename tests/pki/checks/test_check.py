"""What `pki check` finds, and that it finds nothing where nothing is wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID
from msgspec import structs

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential, key_id
from mtls_echo_pki.certificates.loading import load_certificate
from mtls_echo_pki.certificates.request import KeyType, Request
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.checks.check import Defect, check
from mtls_echo_pki.checks.verifiers import refusal_by_cryptography, refusal_by_openssl
from mtls_echo_pki.directory.ca_folder import CAFolder
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.files.atomic_writer import DATA, publish
from mtls_echo_pki.flaws.registry import find_flaw
from tests.support.pki import (
    EXTENDED_KEY_USAGE,
    KEY_USAGE,
    P256,
    SM2,
    altered,
    publish_credential,
    tree,
)


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory.create(tmp_path / "pki")


def put(directory: Directory, name: str, credential: Credential) -> None:
    publish_credential(directory.path / name, credential)


def without(oid: object) -> Callable[[TBSCertificate], TBSCertificate]:
    return lambda tbs: replace(
        tbs, extensions=tuple(extension for extension in tbs.extensions if extension.oid != oid)
    )


def only(findings: list[Defect]) -> Defect:
    assert len(findings) == 1, findings
    return findings[0]


@pytest.mark.parametrize("key_type", KeyType)
@pytest.mark.parametrize("intermediate", [False, True], ids=["root", "intermediate"])
@pytest.mark.parametrize("single", [False, True], ids=["separate", "single"])
def test_nothing_is_found_in_what_we_made_ourselves(
    tmp_path: Path, single: bool, intermediate: bool, key_type: KeyType
) -> None:
    directory = Directory.create(
        tmp_path / "pki", single_authority=single, intermediate=intermediate, key_type=key_type
    )
    directory.issue("spiffe", Request.server("spiffe://td.test/a"))
    directory.issue("wild", Request.server("*.a.test"))
    directory.issue("alice", Request.client("alice@mail.test", subject="alice"))
    before = tree(directory.path)

    assert check(directory) == []
    assert tree(directory.path) == before


def test_a_key_that_others_can_read_is_found(directory: Directory) -> None:
    key = (directory.path / "server" / "tls.key").resolve()
    key.chmod(0o644)

    finding = only(check(directory))

    assert finding.path.resolve() == key
    assert "mode 0644" in finding.what
    assert finding.hint == f"chmod 600 {finding.path}"


def test_a_folder_that_others_can_enter_is_found(directory: Directory) -> None:
    directory.path.chmod(0o755)

    assert only(check(directory)) == Defect(
        directory.path,
        "has mode 0755: others can look into it",
        f"chmod 700 {directory.path}",
    )


def test_an_expired_and_a_not_yet_valid_certificate_are_found_once_each(
    directory: Directory,
) -> None:
    day = timedelta(days=1)
    directory.issue("late", Request.client("late.test", backdate=9 * day, lifetime=-3 * day))
    directory.issue("early", Request.client("early.test", backdate=-3 * day, lifetime=9 * day))

    early, late = check(directory)

    assert (early.path, late.path) == (
        directory.path / "early" / "tls.crt",
        directory.path / "late" / "tls.crt",
    )
    assert early.what == "early.test not valid for another 3 days"
    assert late.what == "late.test expired 3 days ago"


def test_cas_and_trust_anchors_that_expire_are_found(directory: Directory) -> None:
    findings = check(directory, now=datetime.now(UTC) + timedelta(days=4000))

    places = {str(finding.path.relative_to(directory.path)) for finding in findings}
    assert places == {f"{place}/tls.crt" for place in ("server", "client")} | {
        f"{place}/{role}/{name}"
        for place, name in (("authorities", "tls.crt"), ("trust", "ca.crt"))
        for role in ("servers", "clients")
    }


def test_a_key_that_does_not_match_is_found(directory: Directory) -> None:
    one, other = (Authority.root().issue("a.test") for _ in range(2))
    publish(
        directory.path / "torn",
        {"tls.crt": one.certificate_pem, "tls.key": other.key_pem},
        {"tls.crt": 0o644},
    )

    finding = only(check(directory))

    assert finding.path == directory.path / "torn" / "tls.key"
    assert "does not match" in finding.what


def test_a_missing_intermediate_is_found_with_the_name_of_what_is_missing(
    tmp_path: Path,
) -> None:
    directory = Directory.create(tmp_path / "pki", intermediate=True)
    whole = directory.credential("server")
    put(directory, "bare", replace(whole, chain=()))

    finding = only(check(directory))

    assert "does not lead to a CA in trust/servers" in finding.what
    assert whole.certificate.issuer.rfc4514_string() in finding.what
    assert "append the intermediate" in finding.hint


def test_an_unknown_ca_is_found(directory: Directory) -> None:
    put(directory, "untrusted", Authority.root("theirs").issue(Request.client("a.test")))

    finding = only(check(directory))

    assert finding.what.endswith("no certificate of CN=theirs")


def test_what_only_strict_openssl_refuses_is_found(directory: Directory) -> None:
    authority = directory.authority("servers")
    flawed = authority.issue(
        Request.server("a.test"), alter=without(ExtensionOID.AUTHORITY_KEY_IDENTIFIER)
    )
    put(directory, "flawed", flawed)

    whats = [finding.what for finding in check(directory)]

    assert any("OpenSSL (strict)" in what and "verify code 85" in what for what in whats)


def test_what_only_cryptography_refuses_is_found(directory: Directory) -> None:
    def critical(tbs: TBSCertificate) -> TBSCertificate:
        usage = ExtensionOID.EXTENDED_KEY_USAGE
        extensions = tuple(
            type(extension)(extension.oid, True, extension.value)
            if extension.oid == usage
            else extension
            for extension in tbs.extensions
        )
        return replace(tbs, extensions=extensions)

    for role, request in (
        ("servers", Request.server("a.test")),
        ("clients", Request.client("a.test")),
    ):
        authority = directory.authority(role)  # type: ignore[arg-type]  # both are roles
        put(directory, role, authority.issue(request, alter=critical))

    findings = check(directory)

    assert [finding.path.parent.name for finding in findings] == ["clients", "servers"]
    assert all(finding.what.startswith("is refused by cryptography") for finding in findings)


def test_a_certificate_for_neither_side_is_found(directory: Directory) -> None:
    authority = directory.authority("servers")
    put(
        directory,
        "useless",
        authority.issue(Request.server("a.test"), alter=without(ExtensionOID.EXTENDED_KEY_USAGE)),
    )

    assert "good for neither" in only(check(directory)).what


def test_an_anchor_that_is_not_a_ca_is_found(directory: Directory) -> None:
    folder = directory.path / "trust" / "servers"
    both = directory.trust("servers").pem + directory.credential("server").certificate_pem
    publish(folder, {"ca.crt": both}, {"ca.crt": 0o644})

    assert only(check(directory)).what == "trusts CN=server, which is not a CA"


@pytest.mark.parametrize(
    ("remove", "what"),
    [
        ("trust/clients/..data", "is a link to a file that does not exist"),
        ("authorities/clients/..data/tls.key", "is a link to a file that does not exist"),
        ("authorities/clients/ledger.json", "no such file or directory"),
        ("client/..data", "is a link to a file that does not exist"),
    ],
)
def test_a_part_that_is_missing_is_found(directory: Directory, remove: str, what: str) -> None:
    (directory.path / remove).unlink()

    assert only(check(directory)).what == what


def test_a_damaged_ledger_is_found(directory: Directory) -> None:
    (directory.path / "authorities/servers/ledger.json").write_bytes(b"{}")

    assert "is damaged" in only(check(directory)).what


def test_a_copy_without_cas_is_well(directory: Directory) -> None:
    shutil.rmtree(directory.path / "authorities")

    assert check(directory) == []


def test_a_key_too_weak_to_be_loaded_is_found(directory: Directory) -> None:
    directory.issue_flawed("weak", Request.server("localhost"), find_flaw("weak-key"))

    refusals = [finding.what for finding in check(directory)]

    assert "is refused by OpenSSL (strict): EE_KEY_TOO_SMALL" in refusals


def test_a_certificate_that_cannot_be_read_is_found(directory: Directory) -> None:
    credential = directory.credential("server")
    twice = altered(credential.certificate, EXTENDED_KEY_USAGE, KEY_USAGE)
    files = {"tls.crt": twice, "tls.key": credential.key_pem}
    publish(directory.path / "odd", files, {"tls.crt": 0o644})

    finding = only(check(directory))

    assert finding.path == directory.path / "odd" / "tls.crt"
    assert finding.what == "a part of a certificate in it cannot be read"
    assert finding.hint.startswith("look at it with openssl x509 -in")


def test_an_anchor_on_an_unknown_curve_is_not_a_reason_to_stop(directory: Directory) -> None:
    trust = directory.trust("servers")
    odd = altered(trust.anchors[0], P256, SM2)
    folder = directory.path / "trust" / "servers"
    crl = directory.authority("servers").crl().public_bytes(Encoding.PEM)
    shutil.rmtree(directory.path / "authorities")
    files = {"ca.crt": odd, "crl.pem": crl}
    publish(folder, files, dict.fromkeys(files, 0o644))

    whats = [finding.what for finding in check(directory)]

    assert len(whats) == 2
    assert whats[0].endswith("was not signed by it")
    assert whats[1].startswith("does not lead to a CA in trust/servers")


def test_crls_that_have_gone_are_found(directory: Directory) -> None:
    folder = directory.path / "trust" / "servers"
    anchors = directory.trust("servers").pem
    crl = directory.authority("servers").crl().public_bytes(Encoding.PEM)
    files = {"ca.crt": anchors, "crl.pem": crl}
    publish(folder, files, dict.fromkeys(files, 0o644))
    assert check(directory) == []

    (folder / DATA / "crl.pem").unlink()
    finding = only(check(directory))
    assert finding.path == folder / "crl.pem"
    assert finding.what == "is a link to a file that does not exist"

    publish(folder, files, dict.fromkeys(files, 0o644))
    publish(folder, {"ca.crt": anchors}, {"ca.crt": 0o644})
    finding = only(check(directory))
    assert finding.path == folder / "crl.pem"
    assert finding.what.startswith("is gone, and with it every revocation")


def test_neither_verifier_accepts_an_unknown_ca() -> None:
    trust = Authority.root().trust
    for role, request in (
        ("servers", Request.server("a.test")),
        ("clients", Request.client("a.test")),
    ):
        credential = Authority.root().issue(request)
        for verifier in (refusal_by_openssl, refusal_by_cryptography):
            assert verifier(credential, role, trust)  # type: ignore[arg-type]  # both are roles


def test_checking_leaves_no_descriptor_open(directory: Directory) -> None:
    check(directory)
    before = len(os.listdir("/dev/fd"))
    check(directory)

    assert len(os.listdir("/dev/fd")) == before


# --- CAs that are being replaced ---------------------------------------------------------


def test_the_next_and_the_previous_ca_are_looked_at_as_well(directory: Directory) -> None:
    late = datetime.now(UTC) + timedelta(days=4000)
    directory.introduce("servers")
    assert f"{directory.path}/authorities/servers/next.crt" in paths(check(directory, now=late))

    directory.switch("servers")
    found = paths(check(directory, now=late))
    assert f"{directory.path}/authorities/servers/previous.crt" in found
    assert f"{directory.path}/authorities/servers/cross.crt" in found


def paths(findings: list[Defect]) -> set[str]:
    return {str(finding.path) for finding in findings}


def test_another_key_certified_across_is_found(directory: Directory) -> None:
    directory.introduce("servers")
    directory.switch("servers")
    ca = CAFolder.read(directory.path, "servers")
    previous = ca.state.previous
    assert previous is not None
    wrong = previous.authority.cross_sign(Authority.root("other"))
    ca.write_state(structs.replace(ca.state, cross=wrong))

    finding = only(check(directory))

    assert finding.path == directory.path / "authorities" / "servers" / "cross.crt"
    assert "which it is sent for" in finding.what


def test_a_folder_at_two_stages_at_once_is_found(directory: Directory) -> None:
    directory.introduce("servers")
    folder = directory.path / "authorities" / "servers"
    for suffix in ("crt", "key"):
        shutil.copyfile(
            folder / f"next.{suffix}", (folder / DATA).resolve() / f"previous.{suffix}"
        )
    (folder / DATA / "previous.key").chmod(0o600)

    finding = only(check(directory))

    assert finding.what == "holds both a next and a previous CA, which no step leaves"


def test_a_crl_that_is_missing_is_found_once(tmp_path: Path) -> None:
    directory = Directory.create(tmp_path / "pki", intermediate=True)
    directory.publish_crls()
    path = directory.path / "authorities" / "clients" / "ledger.json"
    ledger = json.loads(path.read_bytes())
    root = key_id(directory.root("clients").certificate)
    ledger["lists"] = {issuer: pem for issuer, pem in ledger["lists"].items() if issuer != root}
    path.write_text(json.dumps(ledger))
    trust = directory.trust("clients")
    files = {"ca.crt": trust.pem, "crl.pem": Trust((), trust.crls[:1]).crl_pem}
    publish(directory.path / "trust" / "clients", files, dict.fromkeys(files, 0o644))

    finding = only(check(directory))

    assert finding.path == directory.path / "trust" / "clients" / "crl.pem"
    assert re.match("has no CRL of CN=mtls-echo clients CA", finding.what)
    assert finding.hint == f"publish new ones: mtls-echo pki crl {directory.path}"
    directory.publish_crls()
    assert check(directory) == []


def test_a_crl_of_an_issuing_ca_signed_by_another_is_found(tmp_path: Path) -> None:
    """The CA is not a trust anchor; its folder knows its key."""
    directory = Directory.create(tmp_path / "pki", intermediate=True)
    own = directory.authority("clients")
    name = own.certificate.subject.rfc4514_string().removeprefix("CN=")
    forged = Trust(directory.trust("clients").anchors, (Authority.root(name).crl(),))
    files = {"ca.crt": forged.pem, "crl.pem": forged.crl_pem}
    publish(directory.path / "trust" / "clients", files, dict.fromkeys(files, 0o644))

    assert "was not signed by it" in only(check(directory)).what


def test_what_only_openssl_reads_cryptography_refuses() -> None:
    root = Authority.root("ca")
    leaf = root.issue(Request.server("localhost", subject="a leaf"))
    der = leaf.chain_der[0].replace(b"\x0c\x06a leaf", b"\x13\x06a_leaf")
    pinned = Trust((root.certificate, load_certificate(der)))

    assert refusal_by_openssl(leaf, "servers", pinned) is None
    assert "DER" in (refusal_by_cryptography(leaf, "servers", pinned) or "")
