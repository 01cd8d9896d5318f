"""Read a configuration of endpoints completely, or refuse it with the place of the first fault.

There are two forms, told apart by the type of the document only: a list is the one proposed for
Thanos (:mod:`~mtls_echo_client.endpoints.configuration.thanos_proposal`), a mapping the one that
Thanos reads (:mod:`~mtls_echo_client.endpoints.configuration.thanos`).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import cast

from mtls_echo_client.endpoints.configuration.errors import EndpointsError
from mtls_echo_client.endpoints.configuration.tls_settings import Reader
from mtls_echo_client.endpoints.configuration.yaml_reader import parse_yaml, read_text
from mtls_echo_client.endpoints.groups import MAX_ENDPOINTS, Configuration, Group, ServerEntry


def read_configuration(path: Path, *, strict: bool = True) -> Configuration:
    """Read a configuration file, and every certificate that it names.

    Args:
        path: YAML or JSON, at most 1 MiB. Relative paths in it begin at its folder.
        strict: Whether servers are going to be held to every rule of RFC 5280, for the warnings.

    Raises:
        EndpointsError: The file, or one that it names, cannot be used.
    """
    text = read_text(path, str(path))
    return _configuration(text, Reader(str(path), path.absolute().parent, strict), path)


def parse_configuration(
    text: str,
    *,
    name: str = "configuration",
    folder: Path | None = None,
    strict: bool = True,
) -> Configuration:
    """Read a configuration from a text, and every certificate that it names.

    Args:
        text: YAML or JSON.
        name: What messages call it.
        folder: What relative paths begin at; the current folder unless given.
        strict: As for `read_configuration`.

    Raises:
        EndpointsError: The text, or a file that it names, cannot be used.
    """
    return _configuration(text, Reader(name, (folder or Path()).absolute(), strict), None)


def digest_of(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _configuration(text: str, reader: Reader, path: Path | None) -> Configuration:
    name = reader.name
    document = parse_yaml(text, name)
    # Lazily, each needs only its own.
    if isinstance(document, list):
        from mtls_echo_client.endpoints.configuration.thanos_proposal import read_groups
    elif isinstance(document, dict):
        from mtls_echo_client.endpoints.configuration.thanos import read_groups
    else:
        reason = "is neither a list of groups nor a mapping with endpoints"
        raise EndpointsError(name, "", reason, "begin with: - tls_config:")
    configuration = Configuration(
        name=name,
        path=path,
        digest=digest_of(text),
        groups=read_groups(cast("object", document), reader),
        warnings=tuple(reader.warnings),
    )
    _refuse_repetitions(configuration)
    return configuration


def _refuse_repetitions(configuration: Configuration) -> None:
    names: dict[str, Group] = {}
    for group in configuration.groups:
        first = names.setdefault(group.name, group)
        if first is not group:
            reason = f"{group.name!r} is already the name of {first.place}"
            raise EndpointsError(configuration.name, f"{group.place}.name", reason)
    servers: dict[object, ServerEntry] = {}
    for _, server in configuration:
        other = servers.setdefault(server.key, server)
        if other is not server:
            reason = f"{server.written!r} is already at {other.place}"
            hint = (
                "an endpoint belongs to one group, or its TLS settings would depend on the order"
            )
            raise EndpointsError(configuration.name, server.place, reason, hint)
    if len(servers) > MAX_ENDPOINTS:
        reason = f"lists {len(servers)} endpoints; at most {MAX_ENDPOINTS}"
        raise EndpointsError(configuration.name, "", reason)
