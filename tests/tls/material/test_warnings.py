"""Files that load and will fail later are warned about."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.files.pem import read_credential
from mtls_echo_pki.flaws.registry import find_flaw
from mtls_echo_tls.material.load import client_material, server_material
from mtls_echo_tls.path.validate import examine
from tests.support.authorities import SERVERS
from tests.support.tls import LOCALHOST
from tests.tls.material.material_files import files as files


@pytest.mark.parametrize(
    ("credential", "warning"),
    [
        pytest.param(
            SERVERS.issue(
                Request.server("a.test", lifetime=timedelta(days=-1), backdate=timedelta(days=2))
            ),
            "our certificate expired on",
            id="expired",
        ),
        pytest.param(
            SERVERS.issue(
                Request.server("a.test", lifetime=timedelta(days=2), backdate=timedelta(days=-1))
            ),
            "our certificate is not valid before",
            id="not yet valid",
        ),
        pytest.param(
            SERVERS.issue(
                Request.server("a.test", lifetime=timedelta(days=1), backdate=timedelta(days=29))
            ),
            "our certificate expires on",
            id="expires soon",
        ),
        pytest.param(
            SERVERS.issue(Request.client("a.test")),
            "does not include serverAuth",
            id="wrong usage",
        ),
        pytest.param(
            SERVERS.issue(Request.server("spiffe://a/b")),
            "no subjectAltName with a host",
            id="no host",
        ),
    ],
)
def test_what_loads_but_will_fail_is_warned_about(
    tmp_path: Path, credential: Credential, warning: str
) -> None:
    (tmp_path / "c").write_bytes(credential.certificate_pem)
    (tmp_path / "k").write_bytes(credential.key_pem)
    warnings = server_material(cert=tmp_path / "c", key=tmp_path / "k").warnings
    assert len(warnings) == 1
    assert warning in warnings[0]


def test_a_short_lived_certificate_is_not_warned_about_from_the_start(tmp_path: Path) -> None:
    credential = SERVERS.issue(Request.server("a.test", lifetime=timedelta(minutes=30)))
    (tmp_path / "c").write_bytes(credential.certificate_pem)
    (tmp_path / "k").write_bytes(credential.key_pem)
    assert server_material(cert=tmp_path / "c", key=tmp_path / "k").warnings == ()


def test_a_bundle_with_many_old_anchors_is_one_warning(tmp_path: Path) -> None:
    old = [Authority.root(f"old {n}", lifetime=timedelta(days=1)) for n in range(5)]
    bundle = tmp_path / "bundle.crt"
    bundle.write_bytes(b"".join(authority.trust.pem for authority in old))

    material = client_material(ca=bundle)
    assert material.warnings == ()

    later = [
        Authority.root(
            f"older {n}",
            lifetime=timedelta(days=1),
            clock=lambda: datetime.now(UTC) - timedelta(days=30),
        )
        for n in range(5)
    ]
    bundle.write_bytes(b"".join(authority.trust.pem for authority in later))

    (warning,) = client_material(ca=bundle).warnings
    assert warning == "5 of 5 trust anchors are not valid, or not for long"


def test_revocation_lists_come_with_the_anchors(tmp_path: Path) -> None:
    authority = Authority.root()
    (tmp_path / "ca.crt").write_bytes(authority.trust.pem)
    lists = tmp_path / "crl.pem"
    lists.write_bytes(authority.crl().public_bytes(Encoding.PEM))

    with_lists = client_material(ca=tmp_path / "ca.crt", crl=lists)
    without = client_material(ca=tmp_path / "ca.crt")

    assert with_lists.trust is not None
    assert len(with_lists.trust.crls) == 1
    assert with_lists.generation != without.generation


def test_a_chain_that_openssl_completes_silently_is_warned_about(tmp_path: Path) -> None:
    issuing = Authority.root().intermediate()
    issued = issuing.issue(Request.client("alice.test"))
    files = {
        "c.crt": issued.certificate.public_bytes(Encoding.PEM),
        "c.key": issued.key_pem,
        "ca.crt": issuing.certificate_pem,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)

    material = client_material(
        cert=tmp_path / "c.crt", key=tmp_path / "c.key", ca=tmp_path / "ca.crt"
    )

    assert any("our chain lacks" in warning for warning in material.warnings)


def test_an_anchor_that_is_not_a_root_is_warned_about_with_crls(tmp_path: Path) -> None:
    """With CRLs OpenSSL wants it checked, and cannot: see tests/tls/path/test_crl.py."""
    root = Authority.root("a root")
    issuing = root.intermediate("an intermediate")
    (tmp_path / "ca.pem").write_bytes(issuing.certificate.public_bytes(Encoding.PEM))
    own, above = (authority.crl().public_bytes(Encoding.PEM) for authority in (issuing, root))

    def warnings(*lists: bytes) -> tuple[str, ...]:
        (tmp_path / "crl.pem").write_bytes(b"".join(lists))
        return client_material(ca=tmp_path / "ca.pem", crl=tmp_path / "crl.pem").warnings

    expected = (
        "with CRLs, OpenSSL has to check the trust anchor 'an intermediate', and cannot, since it"
        " is not a root: every certificate below that trust anchor will be refused; make 'a root',"
        " which issued it, the trust anchor in its place, have 'an intermediate' sent along, and"
        " load the CRLs of both",
    )
    assert warnings(own) == warnings(own, above) == expected
    assert client_material(ca=tmp_path / "ca.pem").warnings == ()


def test_an_authority_as_openssl_makes_it_by_itself_is_warned_about_and_its_fault_is_named(
    files: Path,
) -> None:
    # What `openssl req -x509` makes with the configuration that it comes with has no keyUsage,
    # and Python 3.13's default, like ours, refuses whatever is below it (verify code 92). Most
    # programs do not.
    (files / "openssl.cnf").write_text(
        "[req]\ndistinguished_name=dn\nx509_extensions=ca\n[dn]\n"
        "[ca]\nsubjectKeyIdentifier=hash\nbasicConstraints=critical,CA:true\n"
    )
    new = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    where = ["-keyout", "own.key", "-out", "own.crt", "-subj", "/CN=my CA", "-days", "90"]
    subprocess.run(
        ["openssl", "req", "-config", "openssl.cnf", *new, *where],
        cwd=files,
        check=True,
        capture_output=True,
    )
    mine = read_credential(files / "own.crt", files / "own.key")
    issued = Authority(mine.certificate, mine.key).issue(Request.server("localhost"))

    def found(strict: bool) -> list[tuple[str, str]]:
        path = examine(
            issued.chain_der, presenter="server", anchors=[mine.certificate], strict=strict
        )
        return [(fault.slug, fault.detail) for fault in path.faults]

    assert client_material(ca=files / "own.crt").warnings == (
        "the trust anchor 'my CA' will be refused, and every certificate below it: it has no"
        " keyUsage (RFC 5280 §4.2.1.3)",
    )
    assert client_material(ca=files / "own.crt", strict=False).warnings == (
        "the trust anchor 'my CA' is refused by strict verifiers (Python from 3.13 on by default,"
        " and OpenSSL with -x509_strict), and what it issued: it has no keyUsage (RFC 5280"
        " §4.2.1.3)",
    )
    assert found(strict=True) == [
        ("not-conforming", "“my CA” has no keyUsage, which RFC 5280 requires")
    ]
    assert found(strict=False) == []
    for strict in (True, False):
        assert client_material(ca=files / "servers.crt", strict=strict).warnings == ()


def test_an_own_certificate_that_strict_verifiers_refuse_is_warned_about_however_we_verify(
    files: Path,
) -> None:
    root = Authority.root()
    inputs = find_flaw("missing-key-identifier").build(root, Request.server("localhost"))
    (files / "own.crt").write_bytes(inputs.credential.certificate_pem)
    (files / "own.key").write_bytes(inputs.credential.key_pem)

    for strict in (True, False):
        material = server_material(cert=files / "own.crt", key=files / "own.key", strict=strict)
        assert material.warnings == (
            "our certificate is refused by strict verifiers (Python from 3.13 on by default, and"
            " OpenSSL with -x509_strict): it has no authorityKeyIdentifier (RFC 5280 §4.2.1.1)",
        )
        assert material.strict is strict


def test_a_pinned_certificate_is_not_held_to_the_rules_for_paths(files: Path) -> None:
    inputs = find_flaw("missing-key-identifier").build(
        Authority.root(), Request.server("localhost")
    )
    (files / "pinned.crt").write_bytes(Trust((inputs.credential.certificate,)).pem)

    assert client_material(ca=files / "pinned.crt").warnings == ()


def test_a_root_that_is_sent_is_needless_where_it_is_a_trust_anchor(files: Path) -> None:
    chain = files / "chain.pem"
    chain.write_bytes(LOCALHOST.certificate_pem + SERVERS.trust.pem * 2)

    def warnings(client_ca: str) -> tuple[str, ...]:
        ca, key = files / client_ca, files / "server.key"
        return server_material(cert=chain, key=key, client_ca=ca).warnings

    assert warnings("clients.crt") == ()
    (warning,) = warnings("servers.crt")
    assert warning.startswith("our chain has the root '")
    assert warning.endswith("any other must not take it from us; leave it out")
