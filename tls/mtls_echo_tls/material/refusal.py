"""Say which certificate OpenSSL refuses to load, and why, as far as that can be found out.

Python raises ``[SSL] PEM lib`` for whatever could not be parsed, without OpenSSL's reason, and of
a set of trust anchors and CRLs it does not tell which was at fault. So each is loaded again by
itself, and the file that holds it is looked for.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.credential import Credential, nameless_file
from mtls_echo_pki.certificates.outline import DistinguishedName
from mtls_echo_pki.certificates.reading import issuer_name, subject_name
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.files.oddities import ISSUER, certificate_oddity, crl_oddity
from mtls_echo_pki.files.pem import read_contents
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.trust_anchors import files_meant
from mtls_echo_pki.printable import printable
from mtls_echo_tls.material.errors import ConfigurationError
from mtls_echo_tls.material.load import Material


class _Culprit(NamedTuple):
    """What is not loaded: where it was read from, what to call it, and its odd part."""

    file: Path | str
    what: str
    oddity: str | None
    among_others: bool = False


def not_taken(material: Material, error: ssl.SSLError) -> ConfigurationError:
    """The error for a certificate or CRL that could be read and that OpenSSL refuses."""
    culprit = _culprit(material)
    reason = f" ({error.reason})" if error.reason else ""
    message = f"{culprit.file}: OpenSSL does not take {culprit.what}{reason}"
    return ConfigurationError(message, _hint(culprit, error.reason))


def _hint(culprit: _Culprit, reason: str | None) -> str:
    # EE_KEY_TOO_SMALL, CA_MD_TOO_WEAK and the like; others are not about strength.
    if "_TOO_" in (reason or ""):
        return (
            "its key or its signature is too weak: have it issued again, with a P-256 key, or "
            "with RSA of at least 2048 bits, and SHA-256"
        )
    if culprit.oddity is None and reason not in (None, "INVALID_CERTIFICATE"):
        return (
            "its key may be of a kind that is not usable here, such as RSA-PSS: have it issued "
            "again, with a P-256 key"
        )
    why = culprit.oddity or "a part of it is malformed, an extension or a name"
    leave = ", or take it out of that file" if culprit.among_others else ""
    first = "the certificate of that CA, and then " if why.startswith(ISSUER) else ""
    return f"{why}: have {first}it issued again{leave}"


def _culprit(material: Material) -> _Culprit:
    files, source = material.files, material.source
    own, trust = material.credential, material.trust or Trust(())
    ours = () if own is None else own.path
    for certificate in filter(_is_refused, ours):
        return _certificate(certificate, files.certificate or source, ours)
    for certificate in filter(_is_refused, trust.anchors):
        file, beside = _holder(certificate, files.anchors)
        among = trust.anchors if beside is None else beside.anchors
        return _certificate(certificate, file or source, among)
    if own is not None and _is_credential_refused(own):
        oddity = certificate_oddity(own.chain_der[0])
        return _Culprit(files.certificate or source, "this certificate", oddity)
    for crl in filter(_is_crl_refused, trust.crls):
        file, beside = _holder(crl, files.crl, files.anchors)
        oddity = crl_oddity(crl.public_bytes(Encoding.DER)) or "a part of it is malformed"
        among_others = beside is not None and len(beside.anchors) + len(beside.crls) > 1
        what = f"the CRL of {_named(issuer_name(crl))}"
        return _Culprit(file or source, what, oddity, among_others)
    return _Culprit(source, "these files", None)


def _holder(
    sought: x509.Certificate | x509.CertificateRevocationList, *named: Path | None
) -> tuple[Path | None, Trust | None]:
    """The file that holds it, one of a folder too, and all that is in that file.

    Where it is in none of them any more, the first that was named, and None.
    """
    places = [path for path in named if path is not None]
    for path in places:
        with suppress(MaterialError):
            for file in files_meant(path):
                found = _contents(file)
                if sought in (*found.anchors, *found.crls):
                    return file, found
    return next(iter(places), None), None


def _contents(file: Path) -> Trust:
    try:
        certificates, crls = read_contents(file)
    except MaterialError:
        return Trust(())  # it was replaced meanwhile
    return Trust(tuple(certificates), crls)


def _certificate(
    certificate: x509.Certificate, file: Path | str, beside: tuple[x509.Certificate, ...]
) -> _Culprit:
    oddity = certificate_oddity(_der(certificate))
    if len(beside) == 1:
        return _Culprit(file, "this certificate", oddity)
    what = f"the certificate {_named(subject_name(certificate))} in it"
    return _Culprit(file, what, oddity, among_others=True)


def _is_refused(certificate: x509.Certificate) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=_der(certificate))
    except ssl.SSLError:
        return True
    return False


def _is_crl_refused(crl: x509.CertificateRevocationList) -> bool:
    try:
        with nameless_file(crl.public_bytes(Encoding.PEM)) as path:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError:
        return True
    except OSError:
        return False  # no room for the file: that is not known
    return False


def _is_credential_refused(credential: Credential) -> bool:
    try:
        credential.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    except ssl.SSLError:
        return True
    return False


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _named(name: DistinguishedName) -> str:
    return f"'{printable(name.common_name or str(name))}'"
