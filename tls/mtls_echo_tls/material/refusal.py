"""Say which certificate OpenSSL refuses to load, and why, as far as that can be found out.

Python raises ``[SSL] PEM lib`` for whatever could not be parsed, without OpenSSL's reason, and of
a set of trust anchors it does not tell which was at fault. So each is loaded again by itself.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.outline import DistinguishedName
from mtls_echo_pki.certificates.reading import issuer_name, subject_name
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.files.oddities import ISSUER, certificate_oddity, crl_oddity
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
    ours, anchors = () if own is None else own.path, trust.anchors
    for file, beside in ((files.certificate, ours), (files.anchors, anchors)):
        for certificate in beside:
            if _is_refused(certificate):
                return _certificate(certificate, file or source, beside)
    if own is not None and _is_credential_refused(own):
        oddity = certificate_oddity(own.chain_der[0])
        return _Culprit(files.certificate or source, "this certificate", oddity)
    for crl in trust.crls:
        oddity = crl_oddity(crl.public_bytes(Encoding.DER))
        if oddity is not None:
            return _Culprit(files.crl or source, f"the CRL of {_named(issuer_name(crl))}", oddity)
    return _Culprit(source, "these files", None)


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
