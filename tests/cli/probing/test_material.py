"""Identities from material of every make: each differs from the good one in one thing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from mtls_echo.commands.probe.material import ProbeOptions, issuer_of
from mtls_echo.probing.identities import IDENTITIES
from mtls_echo.probing.issuer import MARK, IdentityFactory, NotMadeError
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from tests.cli.probing.servers import GOOD, context, http, probed, serving, verdicts
from tests.cli.probing.servers import hello as hello_in_http
from tests.support.authorities import CLIENTS

# What openssl writes by itself: no SAN, RSA, a subject with O and OU, no extensions at all.
OPENSSL = """
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 9 -subj /O=acme/CN=ca
openssl req -newkey rsa:2048 -nodes -keyout me.key -out me.csr -subj /C=DE/O=acme/OU=ops/CN=me
openssl x509 -req -in me.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 5 -out me.crt
"""


def given(folder: Path, **files: str) -> ProbeOptions:
    names = ("pki", "issuer_cert", "issuer_key", "cert", "key", "password_file", "ca")
    paths = {name: folder / files[name] if name in files else None for name in names}
    return ProbeOptions(name=None, other=None, crl=None, **paths)


@pytest.fixture(scope="module")
def openssl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("openssl")
    for line in OPENSSL.strip().splitlines():
        subprocess.run(line.split(), cwd=folder, check=True, capture_output=True)
    return folder


def test_certificates_that_openssl_made_are_copied_as_they_are(openssl: Path) -> None:
    issuer, trust = issuer_of(
        given(openssl, issuer_cert="ca.crt", issuer_key="ca.key", cert="me.crt", key="me.key")
    )
    again = issuer.again().certificate
    unmarked = issuer.unmarked().again().certificate
    expired = IDENTITIES["expired"](issuer)

    assert trust is None  # the system's
    assert [a.value for a in again.subject if a.oid != NameOID.COMMON_NAME] == [
        "DE",
        "acme",
        "ops",
    ]
    assert again.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == MARK
    assert issuer.good is not None
    assert unmarked.subject == issuer.good.certificate.subject
    with pytest.raises(x509.ExtensionNotFound):
        again.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert expired is not None
    assert expired.certificate.subject == again.subject
    assert expired.certificate.not_valid_after_utc < again.not_valid_after_utc


def test_most_identities_can_be_made_by_a_ca_of_openssl(openssl: Path) -> None:
    issuer, _ = issuer_of(
        given(openssl, issuer_cert="ca.crt", issuer_key="ca.key", cert="me.crt", key="me.key")
    )

    assert unmade(issuer) == {"other", "revoked", "revoked-authority", "servers-ca"}


def unmade(issuer: IdentityFactory) -> set[str]:
    """The identities for which a reason is given instead."""
    found: set[str] = set()
    for slug, make in IDENTITIES.items():
        try:
            make(issuer)
        except NotMadeError:
            found.add(slug)
    return found


@pytest.mark.parametrize("with_root", [True, False])
def test_an_intermediate_as_issuer_is_sent_along(tmp_path: Path, *, with_root: bool) -> None:
    root = Authority.root("root")
    below = root.intermediate("below")
    path = below.path if with_root else below.path[:1]
    (tmp_path / "i.crt").write_bytes(b"".join(_pem(each) for each in path))
    (tmp_path / "i.key").write_bytes(below.key_pem)
    issuer, _ = issuer_of(given(tmp_path, issuer_cert="i.crt", issuer_key="i.key"))
    again = issuer.again()

    assert again.chain == (below.certificate,)
    assert "path-too-long" in unmade(issuer)
    assert "expired" not in unmade(issuer)


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def test_one_ca_for_both_is_not_another_ca() -> None:
    issuer = IdentityFactory(good=GOOD, clients=CLIENTS, servers=CLIENTS)

    with pytest.raises(NotMadeError, match="one CA issues both"):
        IDENTITIES["servers-ca"](issuer)


def test_a_revoked_identity_takes_a_crl_that_revokes_something() -> None:
    authority = Authority.root("clients")
    empty = IdentityFactory(good=GOOD, clients=authority, crl=(authority.crl(),))
    gone = authority.issue(Request.client("gone.test"))
    authority.revoke(gone)
    full = IdentityFactory(good=GOOD, clients=authority, crl=(authority.crl(),))

    with pytest.raises(NotMadeError, match="revokes nothing yet"):
        IDENTITIES["revoked"](empty)
    made = IDENTITIES["revoked"](full)
    assert made is not None
    assert made.certificate.serial_number == gone.certificate.serial_number


@pytest.mark.real_time
async def test_a_ca_that_the_server_does_not_trust_proves_nothing() -> None:
    """Else every certificate of it would be refused, for whatever is wrong with the CA."""
    from mtls_echo.probing.run import run
    from mtls_echo.probing.target import ProbeTarget
    from tests.support.authorities import SERVERS

    async with serving(context(), http(hello_in_http)) as port:
        where = ProbeTarget(
            host="127.0.0.1", port=port, trust=SERVERS.trust, server_names=("localhost",)
        )
        other = IdentityFactory(good=GOOD, clients=Authority.root("other"))
        result = await run(where, other, only=("expired", "unknown-authority"), pace=1000)
        right = await probed(port, only=("expired",))

    assert verdicts(result) == {"expired": {"not tested"}, "unknown-authority": {"refused"}}
    assert any("proves nothing" in note for note in result.notes)
    assert verdicts(right) == {"expired": {"refused"}}
