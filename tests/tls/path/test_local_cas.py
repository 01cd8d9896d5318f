"""CA certificates in the folders of our files are used to diagnose, never sent or trusted."""

from __future__ import annotations

import os
import ssl
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.flaws.baseline import with_extension
from mtls_echo_server.context import server_context
from mtls_echo_tls.diagnosis.context_info import context_info
from mtls_echo_tls.diagnosis.joint import join_reports
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.material.load import Material, client_material, server_material
from mtls_echo_tls.path.local_cas import (
    LocalCA,
    find_local_cas,
    omitted_cas,
)
from tests.support.authorities import CLIENTS, SERVERS
from tests.support.tls import LOCALHOST, V13, both_versions, reports, tls_pair

ROOT = Authority.root("Acme Root")
ISSUING = ROOT.intermediate("Acme Issuing")
BEARER = ISSUING.issue(Request.client("alice.test"))
ALONE = Credential(BEARER.key, BEARER.certificate)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def put(folder: Path, **files: bytes) -> Path:
    """Write files whose names have a dot for each underscore."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_bytes(content)
    return folder


def found_in(*folders: Path) -> list[x509.Certificate]:
    return [one.certificate for one in find_local_cas(folders)]


def test_cas_are_found_and_no_other_certificates(tmp_path: Path) -> None:
    put(
        tmp_path,
        root_pem=pem(ROOT.certificate),
        issuing_crt=pem(BEARER.certificate, ISSUING.certificate),
        text_pem=b"nothing of interest\n",
        cut_cer=pem(CLIENTS.certificate)[:200],
        other_txt=pem(SERVERS.certificate),
        empty_pem=b"",
    )

    assert {*found_in(tmp_path)} == {ROOT.certificate, ISSUING.certificate}
    assert {one.file.name for one in find_local_cas([tmp_path])} == {"root.pem", "issuing.crt"}


def test_a_certificate_may_be_binary_as_windows_keeps_it(tmp_path: Path) -> None:
    binary = ISSUING.certificate.public_bytes(Encoding.DER)
    put(tmp_path, issuing_cer=binary, root_der=ROOT.certificate.public_bytes(Encoding.DER))
    put(tmp_path, cut_cer=binary[:-1], more_cer=binary + b"\n")

    assert {*found_in(tmp_path)} == {ROOT.certificate, ISSUING.certificate}


def test_a_file_with_a_private_key_in_it_is_left_alone(tmp_path: Path) -> None:
    put(tmp_path, root_pem=pem(ROOT.certificate) + ROOT.key_pem)

    assert found_in(tmp_path) == []


def test_no_link_leads_out_of_the_folder_and_nothing_is_waited_for(tmp_path: Path) -> None:
    elsewhere = put(tmp_path / "elsewhere", root_pem=pem(ROOT.certificate))
    folder = put(tmp_path / "folder", issuing_pem=pem(ISSUING.certificate))
    (folder / "out.pem").symlink_to(elsewhere / "root.pem")
    (folder / "dead.pem").symlink_to(folder / "nowhere")
    (folder / "alias.pem").symlink_to("issuing.pem")
    (folder / "deeper.pem").mkdir()
    os.mkfifo(folder / "pipe.pem")

    assert found_in(folder) == [ISSUING.certificate]
    assert found_in(tmp_path / "absent") == []


def test_a_link_that_turns_in_a_circle_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path, root_pem=pem(ROOT.certificate))
    (tmp_path / "circle.pem").symlink_to("circle.pem")
    (tmp_path / "round").symlink_to("round")

    assert found_in(tmp_path, tmp_path / "round") == [ROOT.certificate]


def test_a_file_that_goes_while_it_is_looked_at_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a rollover removes ``next.crt``: it was not asked for, so it is not an error."""
    put(tmp_path, root_pem=pem(ROOT.certificate))
    (tmp_path / "next.crt").symlink_to("root.pem")
    readlink = os.readlink

    def going(path: str, **options: int) -> str:
        if str(path).endswith("next.crt"):
            os.unlink(path)
        return readlink(path, **options)

    monkeypatch.setattr(os, "readlink", going)

    assert found_in(tmp_path) == [ROOT.certificate]
    assert not os.path.lexists(tmp_path / "next.crt")


def test_a_published_generation_is_followed(tmp_path: Path) -> None:
    """Kubernetes mounts a Secret as links into a folder of the same folder."""
    put(tmp_path / "..2026", ca_crt=pem(ROOT.certificate))
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "ca.crt").symlink_to("..data/ca.crt")

    assert found_in(tmp_path) == [ROOT.certificate]


def test_so_many_files_and_no_more_are_read(tmp_path: Path) -> None:
    put(tmp_path, **{f"a{number:03}_pem": b"nothing\n" for number in range(64)})
    put(tmp_path, b_pem=pem(ROOT.certificate))
    assert found_in(tmp_path) == []

    (tmp_path / "a000.pem").unlink()
    assert found_in(tmp_path) == [ROOT.certificate]

    (tmp_path / "b.pem").write_bytes(pem(ROOT.certificate) + b"\n" * (1 << 20))
    assert found_in(tmp_path) == []


def test_what_should_have_been_sent_ends_below_the_root() -> None:
    known = [LocalCA(one.certificate, Path("x")) for one in (ROOT, SERVERS, ISSUING)]

    assert [one.certificate for one in omitted_cas(ALONE, known)] == [ISSUING.certificate]
    assert omitted_cas(BEARER, known) == ()
    assert omitted_cas(LOCALHOST, known) == ()


def test_a_context_of_material_knows_what_was_found_and_another_does_not(tmp_path: Path) -> None:
    material = bearer(tmp_path, ALONE, ROOT, ISSUING)
    assert len(material.local_cas) == 3
    assert context_info(material.context(_client_context)).local_cas == material.local_cas
    assert context_info(_client_context(material)).local_cas == ()

    undeclared = material.context(lambda _: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    assert not context_info(undeclared).declared
    assert context_info(undeclared).local_cas == material.local_cas


# --- at start ------------------------------------------------------------------------------------


def test_a_forgotten_intermediate_is_named_at_start_with_its_file(tmp_path: Path) -> None:
    put(tmp_path, a_crt=ALONE.certificate_pem, a_key=ALONE.key_pem, ca_pem=SERVERS.trust.pem)
    put(tmp_path, issuing_pem=pem(ISSUING.certificate), root_pem=pem(ROOT.certificate))

    material = client_material(
        cert=tmp_path / "a.crt", key=tmp_path / "a.key", ca=tmp_path / "ca.pem"
    )

    assert material.warnings == (
        "our chain lacks 'Acme Issuing', which is in the same folder:"
        f" append {tmp_path / 'issuing.pem'} to the certificate file",
    )
    assert ISSUING.certificate not in (material.credential.chain if material.credential else ())
    assert material.trust is not None
    assert material.trust.anchors == SERVERS.trust.anchors


def test_a_whole_chain_beside_its_issuers_is_not_a_reason_to_warn(tmp_path: Path) -> None:
    put(tmp_path, a_crt=BEARER.certificate_pem, a_key=BEARER.key_pem, ca_pem=SERVERS.trust.pem)
    put(tmp_path, issuing_pem=pem(ISSUING.certificate), root_pem=pem(ROOT.certificate))

    material = client_material(
        cert=tmp_path / "a.crt", key=tmp_path / "a.key", ca=tmp_path / "ca.pem"
    )

    assert material.warnings == ()
    assert len(material.local_cas) == 3


def test_a_directory_knows_its_own_authorities(tmp_path: Path) -> None:
    Directory.create(tmp_path / "pki", intermediate=True)

    material = server_material(pki=tmp_path / "pki")

    assert material.warnings == ()
    known = {one.certificate.subject.rfc4514_string() for one in material.local_cas}
    assert len(known) == 4
    assert any("issuing" in name for name in known)


# --- in a refusal --------------------------------------------------------------------------------


def bearer(folder: Path, credential: Credential, *beside: Authority) -> Material:
    """A client's material, in a folder with these authorities' certificates."""
    put(folder, a_crt=credential.certificate_pem, a_key=credential.key_pem)
    put(folder, ca_pem=SERVERS.trust.pem)
    for number, authority in enumerate(beside):
        put(folder, **{f"beside{number}_pem": pem(authority.certificate)})
    return client_material(cert=folder / "a.crt", key=folder / "a.key", ca=folder / "ca.pem")


def _client_context(material: Material) -> ssl.SSLContext:
    assert material.trust is not None
    return client_context(material.trust, material.credential)


async def refused(
    material: Material, trusted_ca: Authority, version: ssl.TLSVersion
) -> tuple[Report, Report]:
    """What the client and the server report, whose anchor is that authority's root."""
    one = material.context(_client_context)
    one.minimum_version = one.maximum_version = version
    other = server_context(LOCALHOST, trusted_ca.trust)
    return await reports(*tls_pair(one, other))


@both_versions
async def test_a_left_out_link_that_lies_beside_is_named_and_the_two_reports_are_sure(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    refused_side, verifier = await refused(bearer(tmp_path, ALONE, ROOT, ISSUING), ROOT, version)

    assert {*verifier.causes} == {"unknown-authority", "missing-intermediate"}
    # The server may have the intermediate, and have refused us for a reason of its own.
    assert refused_side.causes[0] == "missing-intermediate"
    assert {"unknown-authority", "crl-missing"} < {*refused_side.causes}
    assert refused_side.remedy.endswith(f"in this order: {tmp_path / 'beside1.pem'}")
    assert join_reports(refused_side, verifier).causes == ("missing-intermediate",)


async def test_where_the_root_is_untrusted_too_both_faults_are_named(tmp_path: Path) -> None:
    refused_side, verifier = await refused(bearer(tmp_path, ALONE, ROOT, ISSUING), CLIENTS, V13)

    account = join_reports(refused_side, verifier)

    assert {*account.causes} == {"unknown-authority", "missing-intermediate"}
    assert refused_side.causes[0] == "missing-intermediate"


async def test_an_untrusted_ca_with_all_links_sent_is_one(tmp_path: Path) -> None:
    refused_side, verifier = await refused(bearer(tmp_path, BEARER, ROOT), CLIENTS, V13)

    assert "missing-intermediate" not in refused_side.causes
    assert join_reports(refused_side, verifier).causes == ("unknown-authority",)


@both_versions
async def test_a_root_beside_it_with_the_issuers_name_and_another_key_is_reported(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """A CA that was made anew under its old name leaves certificates of the old one behind."""
    anew = Authority.root("Acme Root")
    refused_side, verifier = await refused(
        bearer(tmp_path, ROOT.issue(Request.client("alice.test")), anew), anew, version
    )

    assert verifier.causes == ["impostor-authority"]
    assert refused_side.causes[0] == "impostor-authority"
    assert len(refused_side.causes) > 2  # the server may have another root in mind
    beside = [fact.value for fact in refused_side.evidence if fact.fact == "beside it"]
    assert beside == ["a root that is called “Acme Root” too, and has another key"]


async def test_a_link_that_the_verifier_finds_beside_its_own_files_is_missing(
    tmp_path: Path,
) -> None:
    put(tmp_path, s_crt=LOCALHOST.certificate_pem, s_key=LOCALHOST.key_pem)
    put(tmp_path, clients_pem=ROOT.trust.pem, issuing_pem=pem(ISSUING.certificate))
    material = server_material(
        cert=tmp_path / "s.crt", key=tmp_path / "s.key", client_ca=tmp_path / "clients.pem"
    )
    one = client_context(SERVERS.trust, ALONE)
    other = material.context(lambda read: server_context(LOCALHOST, read.trust))

    _refused_side, verifier = await reports(*tls_pair(one, other))

    assert verifier.causes == ["missing-intermediate"]


async def test_an_expired_root_that_lies_beside_explains_certificate_expired(
    tmp_path: Path,
) -> None:
    root = Authority.root("Old Root")
    tbs = TBSCertificate.of(root.certificate)
    over = replace(tbs, not_before=tbs.not_before - timedelta(days=9), not_after=tbs.not_before)
    old = replace(root, certificate=root.certify(over))

    refused_side, verifier = await refused(
        bearer(tmp_path, root.issue(Request.client("a.test")), old), old, V13
    )

    assert verifier.causes == ["expired-authority"]
    # The server may have another certificate of that CA, and a clock or a CRL that is off.
    assert refused_side.causes[0] == "expired-authority"
    assert len(refused_side.causes) > 1
    assert join_reports(refused_side, verifier).causes == ("expired-authority",)


@both_versions
async def test_a_fault_of_a_ca_that_lies_beside_is_one_candidate_and_not_the_first(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """The server has never heard of that CA: what is wrong with it is not why it refused."""
    root = Authority.root("Own Root")
    usage = root.certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    tbs = with_extension(TBSCertificate.of(root.certificate), without_cert_sign(usage))
    beside = replace(root, certificate=root.certify(tbs))

    refused_side, verifier = await refused(
        bearer(tmp_path, root.issue(Request.client("a.test")), beside), CLIENTS, version
    )

    assert verifier.causes[0] == "unknown-authority"
    assert refused_side.causes[0] == "unknown-authority"
    assert "not-an-authority" in refused_side.causes


def without_cert_sign(usage: x509.KeyUsage) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=False,
        crl_sign=usage.crl_sign, encipher_only=False, decipher_only=False,
    )  # fmt: skip


async def test_remedies_for_certificates_of_ones_own_name_no_directory_of_ours(
    tmp_path: Path,
) -> None:
    past, end = timedelta(days=2), timedelta(days=-1)
    expired = ROOT.issue(replace(Request.client("a.test"), backdate=past, lifetime=end))
    (tmp_path / "files").mkdir()
    mine, _ = await refused(bearer(tmp_path / "files", expired), ROOT, V13)
    directory = Directory.open_or_create(tmp_path / "pki")[0]
    ours = client_material(pki=directory.path).context(
        lambda read: client_context(SERVERS.trust, expired)
    )
    theirs, _ = await reports(*tls_pair(ours, server_context(LOCALHOST, ROOT.trust)))

    assert mine.causes == theirs.causes == ["expired"]
    assert "Directory" not in mine.remedy
    assert "Directory" in theirs.remedy
