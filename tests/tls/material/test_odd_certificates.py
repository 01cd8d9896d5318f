"""Certificates that OpenSSL reads and `cryptography` does not: loaded, warned of, examined."""

from __future__ import annotations

from pathlib import Path
from ssl import DER_cert_to_PEM_cert

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import private_key_pem
from mtls_echo_pki.certificates.request import Request
from mtls_echo_tls.material.load import server_material
from mtls_echo_tls.path.certificates import PeerIdentity
from mtls_echo_tls.path.validate import examine

OWN = Authority.root("ca").issue(Request.server("localhost", subject="a leaf"))
# The subject as a PrintableString, one character of which it cannot have.
ODD = OWN.chain_der[0].replace(b"\x0c\x06a leaf", b"\x13\x06a_leaf")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    certificate, key = tmp_path / "tls.pem", tmp_path / "tls.key"
    certificate.write_text(DER_cert_to_PEM_cert(ODD))
    key.write_bytes(private_key_pem(OWN.key))
    return certificate, key


def test_one_warning_names_what_is_odd(files: tuple[Path, Path]) -> None:
    material = server_material(cert=files[0], key=files[1], client_ca=files[0])

    (warning,) = [text for text in material.warnings if "PrintableString" in text]
    assert warning == (
        "our certificate is read by OpenSSL, and not by some other programs: its subject has"
        " CN=a_leaf, with characters that a PrintableString cannot have"
    )
    assert material.not_after == OWN.certificate.not_valid_after_utc


def test_a_date_that_no_verifier_takes_is_what_is_wrong_with_it() -> None:
    end = f"{OWN.certificate.not_valid_after_utc:%y%m%d%H%M%SZ}".encode()
    odd = OWN.chain_der[0].replace(end, end[:10] + b".5Z")
    path = examine([odd], presenter="server", anchors=[OWN.certificate], reference="localhost")

    (fault,) = [each for each in path.faults if each.slug == "not-conforming"]
    assert (fault.depth, fault.variant, fault.strict) == (0, "odd-date", False)
    assert fault.detail.startswith("its notAfter is written “")


def test_a_path_of_it_is_examined() -> None:
    path = examine([ODD], presenter="server", anchors=[OWN.certificate], reference="localhost")

    assert [each.public_bytes(Encoding.DER) for each in path.certificates] == [ODD]
    assert "wrong-name" not in path.slugs
    identity = PeerIdentity.from_der(ODD)
    assert (identity.common_name, identity.dns) == ("a_leaf", ("localhost",))
