"""Why a server's certificate does not name what was asked for (RFC 9525 §6.3).

OpenSSL says that the names differ, and not how near they are. Three near misses are common: an
address that is written as a host name, a wildcard that stands for less than it was meant to, and a
wildcard for a part of a label.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from cryptography import x509

from mtls_echo_pki.certificates.identifiers import (
    has_unreadable_names,
    hosts,
    names_host,
    subject_alternative_names,
)
from mtls_echo_tls.path.certificates import end_entity

# Names that are listed, and their characters: what was asked for comes behind them.
_MOST_NAMES = 8
_LONGEST_LIST = 160


class Mismatch(NamedTuple):
    """What was compared; after a near miss, the entry that is lacking, as openssl writes it."""

    detail: str
    lacks: str = ""


def mismatch(leaf: x509.Certificate, reference: str) -> Mismatch:
    """How the names in a certificate differ from the reference identifier."""
    presented = subject_alternative_names(leaf).get_values_for_type(x509.DNSName)
    detail = f"it names {listed_hosts(leaf) or 'no host'}; {reference} was asked for"
    try:
        address = ipaddress.ip_address(reference)
    except ValueError:
        near = _near_wildcard(presented, reference)
        return Mismatch(f"{detail}, and {near}", f"DNS:{reference}") if near else Mismatch(detail)
    if not any(_is_same_address(name, address) for name in presented):
        return Mismatch(detail)
    detail += ", which is there as a dNSName: only an iPAddress entry names an address"
    return Mismatch(detail, f"IP:{address}")


def unnamed(chain: tuple[bytes, ...], reference: str | None) -> list[str]:
    """How a presented certificate differs from what was asked for; empty if it does not."""
    leaf = end_entity(chain)
    if leaf is None or reference is None or has_unreadable_names(leaf):
        return []
    return [mismatch(leaf, reference).detail] if not names_host(leaf, reference) else []


def listed_hosts(leaf: x509.Certificate) -> str:
    """The hosts that a certificate names, the first ones, and how many there are besides."""
    named = hosts(leaf)
    listed = named[:_MOST_NAMES]
    while len(listed) > 1 and len(", ".join(listed)) > _LONGEST_LIST:
        listed.pop()
    more = len(named) - len(listed)
    return f"{', '.join(listed)} and {more} more" if more > 0 else ", ".join(listed)


def _is_same_address(name: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return ipaddress.ip_address(name) == address
    except ValueError:
        return False


def _near_wildcard(presented: list[str], reference: str) -> str:
    host = reference.lower().rstrip(".")
    for name in presented:
        label, _, parent = name.lower().partition(".")
        if label == "*" and host == parent:
            return f"{name} stands for hosts below {parent}, not for itself"
        if label == "*" and host.endswith(f".{parent}") and host.count(".") > name.count("."):
            return f"{name} stands for one label only"
        if label == "*" and "." not in parent and host.endswith(f".{parent}"):
            return f"{name} counts for nothing: a wildcard needs two labels after it"
        if "*" in label and label != "*" and host.endswith(f".{parent}"):
            return f"{name} counts for nothing: a wildcard has to be a whole label"
    return ""
