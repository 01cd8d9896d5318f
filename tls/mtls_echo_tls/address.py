"""Addresses, ``HOST:PORT``, and the reference identifiers that servers are verified against.

The *address* leads to a machine; the network decides which. The *reference identifier* (RFC 9525
§4) is the name that the server's certificate must prove, and comes from the user, never from the
network. By default it is the host as the user typed it, before any lookup.

Both ends parse addresses here. A client may omit the usual parts. A server needs both: whether it
listens on this machine only or on every interface should not depend on a default, which half the
tools set one way and half the other.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

DEFAULT_HOST = "localhost"
DEFAULT_PORT = 8443

# Characters of URLs and of shell mistakes, which no host name contains.
_FORBIDDEN = frozenset("/@?#\\\"'<>%,;()[]{}|^`*=&$!")


class Address(NamedTuple):
    """A host and a TCP port.

    The host is a name or an IP address, IPv6 without brackets. The port is from 1 to 65535; to
    listen on, 0 is any free one.
    """

    host: str
    port: int = DEFAULT_PORT

    @property
    def is_loopback(self) -> bool:
        """Whether the host as it is written is this machine (RFC 6761 §6.3)."""
        if self.host == DEFAULT_HOST or self.host.endswith(f".{DEFAULT_HOST}"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        """As `parse_address` reads it; IPv6 in brackets (RFC 3986 §3.2.2)."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(
    text: str, *, listening: bool = False, default_port: int = DEFAULT_PORT
) -> Address:
    """Read ``HOST:PORT``, ``HOST``, ``:PORT``, ``[IPV6]:PORT`` or ``[IPV6]``.

    The defaults are `localhost` and port 8443, or another one. To listen on, both parts are
    needed, and port 0 is allowed.

    Raises:
        ValueError: It is none of these; the message says what to write instead.
    """
    if "://" in text:
        bare = text.partition("://")[2].partition("/")[0] or f"{DEFAULT_HOST}:{default_port}"
        raise ValueError(f"{text!r} is a URL; write only host and port: {bare}")
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is not an IPv6 address in brackets, as in [::1]:8443")
        if not _is_ipv6(host):
            raise ValueError(f"{host!r} in brackets is not an IPv6 address")
        colon, port = rest[:1], rest[1:]
    elif text.count(":") > 1:
        if _is_ipv6(text):
            raise ValueError(f"put an IPv6 address in brackets: [{text}] or [{text}]:PORT")
        raise ValueError(f"{text!r} has more than one colon; write HOST:PORT")
    else:
        host, colon, port = text.partition(":")
        if not listening and not colon and host.isdecimal():
            hint = f"for a port of this machine: :{text}"
            raise ValueError(f"{text!r} is a number, not a host; {hint}")
    if listening and not (host and colon):
        raise ValueError(f"{text!r} is not HOST:PORT: both must be given")
    if not _is_ipv6(host):
        reference_identifier(host or DEFAULT_HOST)
    number = _parse_port(port, text, 0 if listening else 1) if colon else default_port
    return Address(host or DEFAULT_HOST, number)


def reference_identifier(name: str) -> str:
    """The form of a host name or IP address that certificates and SNI use; else a `ValueError`.

    Without the dot that marks a name as absolute in DNS and without an IPv6 zone, neither of
    which a certificate can contain; non-ASCII names in their IDNA form.
    """
    address = name.partition("%")[0]
    if _is_ipv6(address):
        return address
    host = name.removesuffix(".")
    if not host or host.startswith((".", "-")) or not host.isprintable():
        raise ValueError(f"{name!r} is not a host name or an IP address")
    wrong = next((c for c in host if c.isspace() or c in _FORBIDDEN or c == ":"), None)
    if wrong is not None:
        raise ValueError(f"{name!r} is not a host name: it contains {wrong!r}")
    try:
        # For ASCII names this only checks the length of each part.
        ascii_form = host.encode("idna").decode()
    except UnicodeError:
        lengths = "each part between dots has 1 to 63 characters"
        raise ValueError(f"{name!r} is not a host name: {lengths}") from None
    if len(ascii_form) > 253:
        raise ValueError(f"{name[:20]!r}… is not a host name: it has more than 253 characters")
    return ascii_form


def _parse_port(text: str, whole: str, lowest: int) -> int:
    # isdecimal() alone admits digits of other scripts; int() alone admits "+1" and "1_0".
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{whole!r}: the port must be a number, not {text!r}")
    port = int(text) if len(text) < 6 else -1
    if not lowest <= port <= 65_535:
        raise ValueError(f"{whole!r}: the port must be from {lowest} to 65535")
    return port


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
