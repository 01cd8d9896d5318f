"""The form of configuration proposed for Thanos: a list of groups, each with its ``tls_config``.

::

    - name: stores                    # optional
      tls_config:
        cert_file: client.crt         # optional, with key_file
        key_file: client.key
        ca_file: ca.crt
        server_name: store.test       # optional
      endpoints:
        - 10.0.0.1:10901
        - dns+store.test:10901
      endpoints_sd_files:
        - files: [targets/*.json]
          refresh_interval: 5m
      mode: strict                    # or "", or nothing

Proposed in 2021 and never merged. Null, an empty text and an empty list are what is not set, as in
the proposal; only an empty ``tls_config`` is refused, because its absence means plaintext.
"""

from __future__ import annotations

import re
import ssl

import msgspec

from mtls_echo_client.endpoints.configuration.schema import Misplaced, decode
from mtls_echo_client.endpoints.configuration.tls_settings import EMPTY, Located, Reader, located
from mtls_echo_client.endpoints.groups import (
    NAMES_INTERVAL,
    Group,
    ServerEntry,
    TargetFiles,
    parse_duration,
)
from mtls_echo_client.endpoints.plan import TLSSettings

# As Prometheus has it (discovery/file): a star in the last segment only.
_PATTERN = re.compile(r"[^*]*(\*[^/]*)?\.(json|yml|yaml|JSON|YML|YAML)")
_FILES_INTERVAL = 300.0

_FIELDS = ("cert_file", "key_file", "ca_file", "server_name")


class _ProposedTLSConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    cert_file: str | None = None
    key_file: str | None = None
    ca_file: str | None = None
    server_name: str | None = None


class _Files(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    files: list[str] | None = None
    refresh_interval: str | None = None


class _Group(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str | None = None
    tls_config: _ProposedTLSConfig | msgspec.UnsetType | None = msgspec.UNSET
    endpoints: list[str] | None = None
    endpoints_sd_files: list[_Files] | None = None
    mode: str | None = None


_OTHER_SHAPE = "to the other shape, a mapping with default_client_config and endpoints"
_MISPLACED: Misplaced = {
    _Group: {
        **dict.fromkeys(_FIELDS, "inside tls_config"),
        "files": "inside endpoints_sd_files",
        "refresh_interval": "inside endpoints_sd_files",
        **dict.fromkeys(("address", "strict"), _OTHER_SHAPE),
        **dict.fromkeys(("client_config", "default_client_config"), _OTHER_SHAPE),
    },
    _ProposedTLSConfig: {
        **dict.fromkeys(("enabled", "insecure_skip_verify", "min_version"), _OTHER_SHAPE),
        **dict.fromkeys(
            ("endpoints", "endpoints_sd_files", "mode", "name"), "beside tls_config, in its group"
        ),
    },
    _Files: dict.fromkeys(("endpoints", "mode"), "beside endpoints_sd_files, in its group"),
}


def read_groups(document: object, reader: Reader) -> tuple[Group, ...]:
    """Decode and check a document of this shape.

    Raises:
        EndpointsError: It is not one.
    """
    decoded = decode(document, list[_Group], reader.name, _MISPLACED)
    if not decoded:
        raise reader.error("", "has no groups: there is nothing to connect to")
    return tuple(_group(group, f"[{index}]", reader) for index, group in enumerate(decoded))


def _group(group: _Group, place: str, reader: Reader) -> Group:
    if group.mode not in (None, "", "strict"):
        reason = f'{group.mode!r} is not a mode; allowed are "" and strict'
        raise reader.error(f"{place}.mode", reason)
    strict = group.mode == "strict"
    servers = tuple(
        _server(text, f"{place}.endpoints[{index}]", strict, reader)
        for index, text in enumerate(group.endpoints or ())
    )
    sources = [
        (f"{place}.endpoints_sd_files[{index}]", source)
        for index, source in enumerate(group.endpoints_sd_files or ())
        # What the proposal writes for none.
        if source.files or source.refresh_interval
    ]
    if strict and sources:
        raise reader.error(
            f"{place}.endpoints_sd_files",
            "target files are not permitted in strict mode: they may drop what is to be kept",
            "list the endpoints, or take away mode: strict",
        )
    if not servers and not sources:
        raise reader.error(
            place,
            "has neither endpoints nor endpoints_sd_files: there is nothing to connect to",
            "list HOST:PORT below endpoints, or take the group away",
        )
    intervals = [_interval(source, here, reader) for here, source in sources]
    written = [interval for interval in intervals if interval is not None]
    tls = _tls(group.tls_config, f"{place}.tls_config", reader)
    return Group(
        name=group.name or place,
        place=place,
        strict=strict,
        tls=tls,
        plaintext=None if tls else (place, "has no tls_config"),
        servers=servers,
        files=tuple(files for here, source in sources for files in _files(source, here, reader)),
        names_interval=min(written, default=NAMES_INTERVAL),
        files_interval=min(written, default=_FILES_INTERVAL),
    )


def _server(text: str, place: str, strict: bool, reader: Reader) -> ServerEntry:
    server = reader.server(text, place)
    if server.is_name and strict:
        raise reader.error(
            place,
            f"{text!r} is looked up, which is not permitted in strict mode",
            "write its addresses, or take away mode: strict",
        )
    return server


def _tls(
    config: _ProposedTLSConfig | msgspec.UnsetType | None, place: str, reader: Reader
) -> TLSSettings | None:
    if config is msgspec.UNSET:
        return None
    written = located(config, _FIELDS, place)
    if not written:
        raise reader.error(
            place,
            EMPTY,
            "write ca_file, and for mutual TLS cert_file and key_file; or for plaintext take"
            " tls_config away",
        )
    return reader.settings(written, place, minimum_version=ssl.TLSVersion.TLSv1_2)


def _interval(source: _Files, place: str, reader: Reader) -> float | None:
    if not source.refresh_interval:
        return None
    try:
        return parse_duration(source.refresh_interval)
    except ValueError as error:
        raise reader.error(f"{place}.refresh_interval", str(error)) from error


def _files(source: _Files, place: str, reader: Reader) -> list[TargetFiles]:
    if not source.files:
        raise reader.error(
            f"{place}.files", "must contain at least one path", "write files: [targets.json]"
        )
    found: list[TargetFiles] = []
    for index, text in enumerate(source.files):
        here = f"{place}.files[{index}]"
        if _PATTERN.fullmatch(text) is None:
            reason = "it must end in .json, .yml or .yaml, and may have * in its last segment only"
            raise reader.error(here, f"{text!r} is not valid for file discovery: {reason}")
        found.append(TargetFiles(reader.path(Located(text, here)), here))
    return found
