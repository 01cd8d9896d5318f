"""Which name breaks a CA's nameConstraints, for diagnosis (RFC 5280 §4.2.1.10).

A constrained CA lists subtrees per type of name. A name of that type must lie in a permitted one,
if any is listed for its type, and in no excluded one. OpenSSL has applied this already; here the
name that broke it is found.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from cryptography import x509

from mtls_echo_pki.certificates.identifiers import subject_alternative_names
from mtls_echo_pki.certificates.outline import DistinguishedName
from mtls_echo_pki.certificates.reading import subject_name

# OpenSSL gives up at 2^20 (NAME_CHECK_MAX); a report is not worth as many.
_MOST_COMPARISONS = 10_000


def not_permitted(certificate: x509.Certificate, limits: x509.NameConstraints) -> str | None:
    """The first name in the certificate that the constraints forbid; None if there is none."""
    names: list[x509.GeneralName] = list(subject_alternative_names(certificate))
    trees = len(limits.permitted_subtrees or ()) + len(limits.excluded_subtrees or ())
    if len(names) * trees > _MOST_COMPARISONS:
        return None
    subject = subject_name(certificate)
    if subject and not _name_permitted(subject, limits):
        return str(subject)
    for name in names:
        permitted = _of_type(limits.permitted_subtrees, name)
        excluded = _of_type(limits.excluded_subtrees, name)
        outside = bool(permitted) and not any(_within(name, tree) for tree in permitted)
        if outside or any(_within(name, tree) for tree in excluded):
            value = name.value
            return str(DistinguishedName.of(value) if isinstance(value, x509.Name) else value)
    return None


def _name_permitted(subject: DistinguishedName, limits: x509.NameConstraints) -> bool:
    permitted, excluded = (
        [
            DistinguishedName.of(each.value)
            for each in trees or ()
            if isinstance(each, x509.DirectoryName)
        ]
        for trees in (limits.permitted_subtrees, limits.excluded_subtrees)
    )
    inside = not permitted or any(subject.is_within(each) for each in permitted)
    return inside and not any(subject.is_within(each) for each in excluded)


def _of_type(
    trees: Sequence[x509.GeneralName] | None, name: x509.GeneralName
) -> list[x509.GeneralName]:
    return [tree for tree in trees or () if type(tree) is type(name)]


def _within(name: x509.GeneralName, tree: x509.GeneralName) -> bool:
    match name, tree:
        case x509.DNSName(value=host), x509.DNSName(value=limit):
            return _host_within(host, limit)
        case x509.RFC822Name(value=mailbox), x509.RFC822Name(value=limit):
            if "@" in limit:
                return mailbox.lower() == limit.lower()
            return _exact_or_dotted(mailbox.rpartition("@")[2], limit)
        case x509.UniformResourceIdentifier(value=uri), x509.UniformResourceIdentifier(
            value=limit
        ):
            return _exact_or_dotted(urlsplit(uri).hostname or "", limit)
        case x509.IPAddress(value=address), x509.IPAddress(value=network):
            return isinstance(network, ipaddress.IPv4Network | ipaddress.IPv6Network) and (
                address in network
            )
        case x509.DirectoryName(value=subject), x509.DirectoryName(value=prefix):
            return DistinguishedName.of(subject).is_within(DistinguishedName.of(prefix))
        case _:
            return False


def _host_within(host: str, limit: str) -> bool:
    """Whether zero or more labels were added to the left of the limit."""
    host, limit = host.lower(), limit.lower().lstrip(".")
    return not limit or host == limit or host.endswith(f".{limit}")


def _exact_or_dotted(host: str, limit: str) -> bool:
    """A limit with a leading dot means the hosts below it, one without that host itself."""
    host, limit = host.lower(), limit.lower()
    return host.endswith(limit) if limit.startswith(".") else host == limit
