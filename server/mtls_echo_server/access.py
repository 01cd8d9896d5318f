"""Decide which authenticated clients are authorised, by the names that their certificates prove.

A certificate from a trusted CA proves an identity and nothing else. Which identities a server
admits is a decision of its own, made after the handshake, from names that are already proven. So
this module is pure: identities in, a verdict out; no certificate is verified here and none could
be.

The rules are a union: a client is authorised when *any* of them names it. With no rule at all,
every authenticated client is. A rule names one type of identifier and is compared with that type
only: a common name that reads like a host never matches a rule for DNS names.

=========== ========================== ============================================
rule        compared with              how
=========== ========================== ============================================
cn          subject commonName         exactly
dns         dNSName                    without case; ``*`` inside one label
uri         uniformResourceIdentifier  scheme and host without case, ``*`` inside
                                       one path segment
email       rfc822Name                 local part exactly, domain without case
                                       (RFC 5280 §7.5)
fingerprint SHA-256 of the certificate ``sha256:AA:BB:…`` or plain hexadecimal
=========== ========================== ============================================

A ``*`` matches one or more *unreserved* characters (RFC 3986 §2.3), never for a dot between
labels or a slash between segments, and never for a ``*``, so that a certificate that itself
presents ``*.a.test`` is not admitted as if it were some host of that domain. It matches no segment
``.`` or ``..``, and no percent-encoding, in which either could hide. A wider pattern is a trust
domain of its own: a trust anchor, not a pattern.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mtls_echo_tls.denial import NOT_AMONG, ONLY_CERTAIN

if TYPE_CHECKING:
    from mtls_echo_tls.path.certificates import PeerIdentity

_LABEL = re.compile(r"[a-z0-9_*]([a-z0-9_*-]{0,61}[a-z0-9_*])?")
_URI = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<host>[^/?#]*)(?P<rest>.*)", re.DOTALL
)
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Access:
    """Which authenticated clients are authorised.

    Args:
        cn: Common names, for CAs that put the client's name nowhere else.
        dns: DNS names; ``*`` inside one label.
        uri: URIs, such as SPIFFE IDs; ``*`` inside one path segment.
        email: E-mail addresses.
        fingerprint: SHA-256 fingerprints of certificates.

    Raises:
        ValueError: A rule that can match no client, or more than its author can have meant.
    """

    cn: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    uri: tuple[str, ...] = ()
    email: tuple[str, ...] = ()
    fingerprint: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for kind, normalise in _RULES.items():
            object.__setattr__(self, kind, tuple(map(normalise, getattr(self, kind))))

    @property
    def restricted(self) -> bool:
        """Whether there is any rule."""
        return bool(self.cn or self.dns or self.uri or self.email or self.fingerprint)

    def denial(self, peer: PeerIdentity | None) -> str | None:
        """Why this client (None: an anonymous one) is not authorised; None when it is.

        The reason may be sent to the client: it names the client, and none of the rules.
        """
        if not self.restricted:
            return None
        if peer is None:
            return ONLY_CERTAIN
        if self._admits(peer):
            return None
        return f'"{peer}" {NOT_AMONG}'

    def _admits(self, peer: PeerIdentity) -> bool:
        return (
            peer.fingerprint in self.fingerprint
            or peer.common_name in self.cn
            or any(_matches_dns(rule, name) for rule in self.dns for name in peer.dns)
            or any(_matches_uri(rule, name) for rule in self.uri for name in peer.uris)
            or any(_normal_email(name) in self.email for name in peer.emails)
        )


def _common_name_rule(name: str) -> str:
    if not name:
        raise ValueError("an empty common name names no client")
    if "*" in name:
        raise ValueError(f'"{name}": a common name has no parts that a "*" could stand for')
    return name


def _dns_rule(name: str) -> str:
    rule = name.lower().removesuffix(".")
    if not rule.isascii():
        raise ValueError(f'"{name}": write a DNS name as certificates do, in A-labels (xn--…)')
    if not all(_LABEL.fullmatch(label) for label in rule.split(".")):
        raise ValueError(f'"{name}" is not a DNS name such as a.test or *.a.test')
    if set(rule) <= set("*."):
        raise ValueError(f'"{name}" would admit every DNS name: leave the rule out instead')
    return rule


def _uri_rule(uri: str) -> str:
    parts = _URI.fullmatch(uri)
    if parts is None:
        raise ValueError(f'"{uri}" is not a URI such as spiffe://a.test/web or spiffe://a.test/*')
    path, separator, _ = re.split(r"([?#]|\Z)", parts["rest"], maxsplit=1)
    if "*" in uri and ("*" in parts["host"] or separator):
        raise ValueError(f'"{uri}": a "*" stands for a part of one path segment only')
    if "**" in path:
        raise ValueError(f'"{uri}": a "*" does not cross segments, "**" has no meaning')
    return _normal_uri(uri)


def _email_rule(address: str) -> str:
    local, at, domain = address.rpartition("@")
    if not (local and at and domain) or "*" in address or any(c.isspace() for c in address):
        raise ValueError(f'"{address}" is not an e-mail address such as user@a.test')
    return _normal_email(address)


def _fingerprint_rule(value: str) -> str:
    digits = value.lower().removeprefix("sha256:").replace(":", "")
    if not _FINGERPRINT.fullmatch(digits):
        what = " (40 digits are SHA-1, which is forgeable)" if len(digits) == 40 else ""
        raise ValueError(
            f'"{value}" is not a SHA-256 fingerprint: 64 hexadecimal digits, also as '
            f"sha256:AA:BB:…{what}"
        )
    return digits


_RULES: dict[str, Callable[[str], str]] = {
    "cn": _common_name_rule,
    "dns": _dns_rule,
    "uri": _uri_rule,
    "email": _email_rule,
    "fingerprint": _fingerprint_rule,
}


def _normal_uri(uri: str) -> str:
    parts = _URI.fullmatch(uri)
    if parts is None:
        return uri
    return f"{parts['scheme'].lower()}://{parts['host'].lower()}{parts['rest']}"


def _normal_email(address: str) -> str:
    local, _, domain = address.rpartition("@")
    return f"{local}@{domain.lower()}"


def _matches_dns(rule: str, name: str) -> bool:
    wanted, presented = rule.split("."), name.lower().removesuffix(".").split(".")
    return len(wanted) == len(presented) and all(map(_matches_part, wanted, presented))


def _matches_uri(rule: str, uri: str) -> bool:
    wanted, presented = rule.split("/"), _normal_uri(uri).split("/")
    return len(wanted) == len(presented) and all(map(_matches_part, wanted, presented))


def _matches_part(rule: str, part: str) -> bool:
    """Whether a label or a segment matches, ``*`` standing for unreserved characters."""
    if "*" not in rule:
        return rule == part
    if part in (".", ".."):
        return False
    return re.fullmatch("[A-Za-z0-9._~-]+".join(map(re.escape, rule.split("*"))), part) is not None
