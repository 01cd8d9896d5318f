"""A plan: every endpoint to connect to, and how.

Reading a configuration ends with a `Plan`, and connecting begins with one. Every default has been
applied, every file pattern and name looked up, and each value knows where it was written. Plans
are compared: the difference between two of them is what has to be done.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mtls_echo_tls.address import Address


@dataclass(frozen=True, kw_only=True)
class TLSSettings:
    """How the servers of one endpoint are verified, and what is presented to them.

    Attributes:
        ca_file: The trust anchors, PEM. There is no default: the system's are not used.
        cert_file, key_file: Our certificate chain and its key, PEM; both or neither.
        server_name: Reference identifier (RFC 9525 §4) and SNI, if not the endpoint's host.
        minimum_version: The oldest TLS version to offer.
        origin: Where in the configuration this was written, such as ``[0].tls_config``.
    """

    ca_file: Path
    cert_file: Path | None = None
    key_file: Path | None = None
    server_name: str | None = None
    minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    origin: str = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One server to be connected to.

    Attributes:
        address: Where it is. Of a name that was resolved (``dns+``), one of its addresses.
        written: As the configuration or a target file spells it.
        group: The group's name, or its place in the document.
        strict: Always kept and always tried, whether it answers or not.
        tls: None is plaintext, which has been allowed explicitly.
        server_name: The name that the server's certificate must prove; None for plaintext.
        origin: Where it was written: ``[0].endpoints[1]``, or ``targets.json [0].targets[2]``.
        labels: Of a discovered target.
    """

    address: Address
    written: str
    group: str
    strict: bool
    tls: TLSSettings | None
    server_name: str | None
    origin: str = field(compare=False)
    labels: Mapping[str, str] = field(default_factory=dict[str, str], compare=False)


@dataclass(frozen=True)
class Problem:
    """Something that could not be read or looked up; what it gave before stays in the plan.

    Attributes:
        where: The file or name it is about.
        message: What is wrong with it, in one line.
    """

    where: str
    message: str


@dataclass(frozen=True)
class Plan:
    """Everything to be connected to at one moment.

    Attributes:
        endpoints: In the order of the configuration; no address twice.
        problems: What is missing from it, or older than it should be.
    """

    endpoints: tuple[Endpoint, ...] = ()
    problems: tuple[Problem, ...] = ()
