"""What a certificate tells of its issuer, whose own is not at hand: a root or an intermediate.

Where a path ends below a CA whose certificate neither side has, an unknown CA and a missing
intermediate leave the same traces. Which of the two is likelier is often in the last certificate:

* authorityKeyIdentifier may name the issuer's issuer (RFC 5280 §4.2.1.1);
* the issuer's name mostly says what the issuer is: "Issuing CA", "Intermediate Authority", "Sub
  CA", "Root X1" are what CAs are called in the guides to openssl and Active Directory, by step,
  Caddy and Vault, and in the web's PKI;
* an address to fetch the issuer's certificate from (caIssuers, RFC 5280 §4.2.2.1) is there for
  verifiers that miss it, and no CA of the web may issue to a server from its root. Active
  Directory writes one of ldap from its roots too: that tells nothing.

Names and addresses are free text: they rank the two causes, and rule out neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from mtls_echo_pki.certificates.outline import DistinguishedName
from mtls_echo_pki.certificates.reading import is_self_issued, issuer_name, subject_name, value_of
from mtls_echo_tls.path.rules import display_name, short_name

# Between words of a name; also in "IssuingCA", but not in "CAs".
_GAP = re.compile(r"(?<=[a-z])(?=[A-Z])|[\W_]+")

# In the languages of Europe "intermedi…" is an intermediate, and in German "Zwischen…".
_INTERMEDIATE = re.compile(
    r" (interm([eé]di\w*)?|zwischen\w*|issuing|subordinate|(sub|int) ?ca\d*|(?<!self )signing ca) "
)
_ROOT = re.compile(r" root\w* ")


def why_intermediate(certificate: x509.Certificate) -> str:
    """Why the issuer of a certificate is likely to be an intermediate; "" if nothing says so.

    Where authorityKeyIdentifier says what the issuer is, the rest is not asked.
    """
    identifier = value_of(certificate, x509.AuthorityKeyIdentifier)
    if is_self_issued(certificate) or (identifier is not None and issuers_issuer(identifier)):
        return ""
    name = f" {_GAP.sub(' ', short_name(issuer_name(certificate))).lower()} "
    if _ROOT.search(name):
        return ""
    if _INTERMEDIATE.search(name):
        return "by its name it is an intermediate"
    if any(map(_is_fetched, _places(certificate))):
        return "the certificate says where to fetch it, as is usual below intermediates"
    return ""


def _places(certificate: x509.Certificate) -> list[x509.GeneralName]:
    """Where the certificate of its issuer is, as authorityInfoAccess has it."""
    wanted = AuthorityInformationAccessOID.CA_ISSUERS
    access = value_of(certificate, x509.AuthorityInformationAccess) or ()
    return [one.access_location for one in access if one.access_method == wanted]


def _is_fetched(place: x509.GeneralName) -> bool:
    if not isinstance(place, x509.UniformResourceIdentifier):
        return False
    return place.value.lower().startswith(("http://", "https://"))


def is_issued_by_root(certificate: x509.Certificate) -> bool:
    """Whether its issuer's issuer, as authorityKeyIdentifier names it, is the issuer itself."""
    identifier = value_of(certificate, x509.AuthorityKeyIdentifier)
    return identifier is not None and issuers_issuer(identifier) == [issuer_name(certificate)]


def is_above(certificate: x509.Certificate) -> Callable[[x509.Certificate], bool]:
    """Whether an anchor issued its issuer, by what authorityKeyIdentifier says."""
    identifier = value_of(certificate, x509.AuthorityKeyIdentifier)
    above = issuers_issuer(identifier) if identifier is not None else []
    return lambda anchor: subject_name(anchor) in above


def above_issuer(certificate: x509.Certificate) -> str:
    """The issuer's issuer, as authorityKeyIdentifier names it; "" if it does not, or is a root."""
    identifier = value_of(certificate, x509.AuthorityKeyIdentifier)
    above = issuers_issuer(identifier) if identifier is not None else []
    return display_name(above[0]) if above and above[0] != issuer_name(certificate) else ""


def issuers_issuer(identifier: x509.AuthorityKeyIdentifier) -> list[DistinguishedName]:
    """The name of the issuer's issuer, if authorityKeyIdentifier has it."""
    names = identifier.authority_cert_issuer or ()
    return [DistinguishedName.of(n.value) for n in names if isinstance(n, x509.DirectoryName)]
