"""The contents of a configuration, in either form: groups of endpoints that are treated alike.

In the form that Thanos reads each endpoint has its own settings, and so is a group of one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mtls_echo_client.endpoints.plan import TLSSettings
from mtls_echo_tls.address import Address, parse_address, reference_identifier

# Seconds between lookups of a name where nothing is written; what Thanos does.
NAMES_INTERVAL = 30.0

# The most endpoints of one client.
MAX_ENDPOINTS = 10_000

_DNS = "dns+"
_PREFIX = re.compile(r"([a-z0-9]+)\+")
_DURATION = re.compile(
    r"(?:(\d{1,9})y)?(?:(\d{1,9})w)?(?:(\d{1,9})d)?(?:(\d{1,9})h)?"
    r"(?:(\d{1,9})m)?(?:(\d{1,9})s)?(?:(\d{1,9})ms)?",
    re.ASCII,
)
_SECONDS = (365 * 86_400.0, 7 * 86_400.0, 86_400.0, 3600.0, 60.0, 1.0, 0.001)


@dataclass(frozen=True)
class ServerEntry:
    """One endpoint as it was written, in a configuration or a target file.

    Attributes:
        is_name: It was written ``dns+``: each address of the name is an endpoint.
        place: Where it was written, inside its file.
    """

    written: str
    address: Address
    is_name: bool
    place: str

    @property
    def key(self) -> Address:
        """The same for every spelling of one address."""
        return Address(canonical(self.address.host), self.address.port)


@dataclass(frozen=True)
class TargetFiles:
    """Files that name more endpoints.

    Attributes:
        pattern: A path, with ``*`` in its last segment perhaps.
        place: Where in the configuration it was written.
    """

    pattern: Path
    place: str


@dataclass(frozen=True, kw_only=True)
class Group:
    """Endpoints that are treated alike.

    Attributes:
        name: As written, or the group's place in the document.
        strict: Its endpoints are always kept and always tried.
        tls: None is plaintext.
        plaintext: The place and the words that make it so, when it is.
        servers: Those that the configuration lists.
        files: Where it finds more.
        names_interval: Seconds between two lookups of its names.
        files_interval: Seconds after which its files are read again at the latest.
    """

    name: str
    place: str
    strict: bool
    tls: TLSSettings | None
    plaintext: tuple[str, str] | None = None
    servers: tuple[ServerEntry, ...] = ()
    files: tuple[TargetFiles, ...] = ()
    names_interval: float = NAMES_INTERVAL
    files_interval: float = 300.0


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Everything that was read, decoded and checked.

    Attributes:
        name: Of the file, or of a text without one, for messages.
        path: The file; None when it was given inline, and cannot change.
        digest: Of what was read (SHA-256, hex).
        warnings: What loaded but will not work, or not for long: place and clause.
    """

    name: str
    path: Path | None
    digest: str
    groups: tuple[Group, ...]
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @property
    def material(self) -> tuple[Path, ...]:
        """The files of certificates and keys that it refers to, each once."""
        named = (
            path
            for group in self.groups
            if group.tls is not None
            for path in (group.tls.ca_file, group.tls.cert_file, group.tls.key_file)
        )
        return tuple(dict.fromkeys(path for path in named if path is not None))

    @property
    def patterns(self) -> tuple[TargetFiles, ...]:
        """The target files that it refers to."""
        return tuple(files for group in self.groups for files in group.files)

    def __iter__(self) -> Iterator[tuple[Group, ServerEntry]]:
        """Every endpoint that it lists, with its group."""
        return ((group, server) for group in self.groups for server in group.servers)


def read_server(text: str, place: str) -> ServerEntry:
    """Read ``HOST:PORT`` or ``dns+HOST:PORT``, written at ``place``.

    Raises:
        ValueError: It is neither; the error tells what to write.
    """
    prefix = _PREFIX.match(text)
    is_name = prefix is not None and prefix[0] == _DNS
    if prefix is not None and not is_name:
        if prefix[1] in ("dnssrv", "dnssrvnoa"):
            raise ValueError(
                f"{text!r} asks for SRV records, which are not looked up here; write dns+HOST:PORT"
            )
        raise ValueError(f"{text!r} begins with {prefix[0]!r}; the only prefix is {_DNS!r}")
    bare = text.removeprefix(_DNS)
    if not bare:
        raise ValueError(f"{text!r} is not HOST:PORT: both must be given")
    address = parse_address(bare)
    # There is no default for where to connect: both parts must be given, as for a listener.
    parse_address(bare, listening=True)
    if _is_number(address.host):
        raise ValueError(
            f"{text!r}: {address.host!r} is not a host name, and an IPv4 address has four numbers"
        )
    return ServerEntry(text, address, is_name, place)


def canonical(host: str) -> str:
    """One spelling of a host that has many: case, a final dot, IPv6 zeros, IPv4 inside IPv6."""
    address, _, zone = host.partition("%")
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return reference_identifier(host).lower()
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped.compressed
    return f"{found.compressed}%{zone}" if zone else found.compressed


def _is_number(host: str) -> bool:
    """Whether its last label is a number (RFC 1123 §2.1), and it is not an address.

    Resolvers take ``127.1``, ``0x7f.1`` and ``2130706433`` for 127.0.0.1.
    """
    name = canonical(host)
    last = name.rpartition(".")[2]
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return last.isdecimal() or re.fullmatch("0x[0-9a-f]*", last) is not None
    return False


def parse_duration(text: str) -> float:
    """Seconds of a duration as Prometheus writes them: ``30s``, ``5m``, ``1h30m``.

    Raises:
        ValueError: It is not one, or is zero.
    """
    match = _DURATION.fullmatch(text)
    parts = [int(part or 0) for part in match.groups()] if match else []
    seconds = sum(n * unit for n, unit in zip(parts, _SECONDS, strict=False))
    if seconds <= 0:
        raise ValueError(f"{text!r} is not a duration; write 30s, 5m or 1h30m")
    return seconds
