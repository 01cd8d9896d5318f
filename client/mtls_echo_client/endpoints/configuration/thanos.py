"""The form of configuration that Thanos reads: a mapping; each endpoint has its own settings.

::

    default_client_config:            # optional
      tls_config:
        ca_file: ca.crt
        cert_file: client.crt
        key_file: client.key
        min_version: "1.3"
    endpoints:
      - address: 10.0.0.1:10901
        strict: true
      - address: 10.0.0.2:10901
        client_config:
          tls_config: {ca_file: other.crt}
          server_name: store.test
      - address: 127.0.0.1:10901
        client_config:
          tls_config: {enabled: false}

Each setting that an endpoint does not write is the default's, as the documentation of Thanos
describes (in its code, ``enabled: true`` takes all of them away). Certificate and key are one
setting. The server's name goes over only to an endpoint that writes nothing about TLS.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import cast

import msgspec

from mtls_echo_client.endpoints.configuration.schema import Misplaced, decode
from mtls_echo_client.endpoints.configuration.tls_settings import EMPTY, Located, Reader, located
from mtls_echo_client.endpoints.groups import Group
from mtls_echo_client.endpoints.plan import TLSSettings

_PATHS = ("ca_file", "cert_file", "key_file")
_TLS_KEYS = ("enabled", "insecure_skip_verify", *_PATHS, "min_version")
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

# What no group of the other shape lacks, and no endpoint of this one has.
_GROUP_KEYS = frozenset({"endpoints", "endpoints_sd_files", "mode"})


class _TLSConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    enabled: bool | None = None
    insecure_skip_verify: bool | None = None
    cert_file: str | None = None
    key_file: str | None = None
    ca_file: str | None = None
    min_version: str | float | None = None


class _ClientConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tls_config: _TLSConfig | msgspec.UnsetType | None = msgspec.UNSET
    server_name: str | None = None
    compression: str | None = None


class _Endpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    address: str
    strict: bool | None = None
    group: bool | None = None
    service_config: str | None = None
    client_config: _ClientConfig | msgspec.UnsetType | None = msgspec.UNSET


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    default_client_config: _ClientConfig | msgspec.UnsetType | None = msgspec.UNSET
    endpoints: list[_Endpoint] | None = None


_CLIENT_KEYS = ("tls_config", "server_name", "compression")
_OTHER_SHAPE = "to the other shape, a list of groups"
_BESIDE_CLIENT_CONFIG = dict.fromkeys(("address", "strict", "group"), "beside client_config")
_MISPLACED: Misplaced = {
    _Document: {
        **dict.fromkeys(_CLIENT_KEYS, "inside default_client_config"),
        **dict.fromkeys(_TLS_KEYS, "inside default_client_config.tls_config"),
        "client_config": "inside an endpoint; for all of them it is default_client_config",
    },
    _Endpoint: {
        **dict.fromkeys(_CLIENT_KEYS, "inside client_config"),
        **dict.fromkeys(_TLS_KEYS, "inside client_config.tls_config"),
        **dict.fromkeys(("endpoints", "endpoints_sd_files", "mode", "name"), _OTHER_SHAPE),
    },
    _ClientConfig: {**dict.fromkeys(_TLS_KEYS, "inside tls_config"), **_BESIDE_CLIENT_CONFIG},
    _TLSConfig: {
        **dict.fromkeys(("server_name", "compression"), "beside tls_config"),
        **_BESIDE_CLIENT_CONFIG,
    },
}


@dataclass
class _Parsed:
    """The contents of one ``client_config``; None is what is absent.

    Attributes:
        place: Of its ``tls_config``.
        about_tls: Whether there is a ``tls_config`` at all.
    """

    place: str
    enabled: bool | None = None
    about_tls: bool = False
    paths: dict[str, Located] = field(default_factory=dict[str, Located])
    minimum_version: ssl.TLSVersion | None = None
    server_name: Located | None = None

    @property
    def first_use_of_tls(self) -> str | None:
        """The place of a setting that plaintext has no use for."""
        if self.minimum_version is not None:
            return f"{self.place}.min_version"
        given = [*self.paths.values(), *([self.server_name] if self.server_name else [])]
        return given[0].place if given else None


def read_groups(document: object, reader: Reader) -> tuple[Group, ...]:
    """Decode and check a document of this shape.

    Raises:
        EndpointsError: It is not one.
    """
    _refuse_other_shapes(cast("dict[str, object]", document), reader)
    decoded = decode(document, _Document, reader.name, _MISPLACED)
    if not decoded.endpoints:
        raise reader.error("", "has no endpoints: there is nothing to connect to")
    default = _client_config(decoded.default_client_config, "default_client_config", reader)
    _check_default(default, reader)
    return tuple(
        _endpoint(endpoint, f"endpoints[{index}]", default, reader)
        for index, endpoint in enumerate(decoded.endpoints)
    )


def _refuse_other_shapes(document: dict[str, object], reader: Reader) -> None:
    listed = document.get("endpoints")
    items = cast("list[object]", listed) if isinstance(listed, list) else []
    for index, item in enumerate(items):
        keys = set(cast("dict[str, object]", item)) if isinstance(item, dict) else set[str]()
        if keys & _GROUP_KEYS and "address" not in keys:
            raise reader.error(
                f"endpoints[{index}]",
                "is a group inside a mapping, as once proposed (thanos#5505)",
                "take away the line endpoints: above the list, and indent the list no more",
            )
    keys = set(document) - {"endpoints"}
    if keys & _GROUP_KEYS or ("tls_config" in keys and any(isinstance(i, str) for i in items)):
        raise reader.error(
            "",
            "is one group where a list of groups is expected",
            "put '- ' before its first line, and indent the others by two spaces",
        )


def _client_config(
    config: _ClientConfig | msgspec.UnsetType | None, place: str, reader: Reader
) -> _Parsed:
    found = _Parsed(place=f"{place}.tls_config")
    if config is msgspec.UNSET:
        return found
    if config is None or config == _ClientConfig():
        raise reader.error(place, EMPTY, "write tls_config, or take it away")
    if config.compression not in (None, "", "none"):
        known = config.compression == "snappy"
        raise reader.error(
            f"{place}.compression",
            f"{config.compression!r} is {'not supported' if known else 'no compression'}:"
            " an echo is compared byte for byte; only none is allowed",
        )
    if config.server_name:
        found.server_name = Located(config.server_name, f"{place}.server_name")
        reader.host_name(found.server_name)
    if config.tls_config is not msgspec.UNSET:
        _tls_config(config.tls_config, found, reader)
    return found


def _tls_config(config: _TLSConfig | None, found: _Parsed, reader: Reader) -> None:
    place = found.place
    if config is None or all(value in (None, "") for value in msgspec.structs.astuple(config)):
        raise reader.error(
            place,
            EMPTY,
            "write ca_file, and for mutual TLS cert_file and key_file; or enabled: false for"
            " plaintext; or take tls_config away for the default",
        )
    if config.insecure_skip_verify:
        raise reader.error(
            f"{place}.insecure_skip_verify",
            "true is not supported: a server that is not verified may be an attacker",
            "name its CA, or the server's own certificate, as ca_file",
        )
    found.about_tls = True
    found.enabled = config.enabled
    found.minimum_version = _version(config.min_version, f"{place}.min_version", reader)
    found.paths = located(config, _PATHS, place)


def _version(text: str | float | None, place: str, reader: Reader) -> ssl.TLSVersion | None:
    if text is None or text == "":
        return None
    if str(text) in _VERSIONS:
        return _VERSIONS[str(text)]
    why = "deprecated (RFC 8996)" if str(text) in ("1.0", "1.1") else "no version of TLS"
    raise reader.error(place, f"{str(text)!r} is {why}; allowed are 1.2 and 1.3")


def _check_default(default: _Parsed, reader: Reader) -> None:
    if default.server_name is not None and not default.about_tls:
        raise reader.error(default.server_name.place, "has no effect without tls_config beside it")
    if "ca_file" in default.paths and default.enabled is not False:
        # Though every endpoint may have files of its own: what is written is checked.
        reader.settings(default.paths, default.place, minimum_version=ssl.TLSVersion.TLSv1_3)


def _endpoint(endpoint: _Endpoint, place: str, default: _Parsed, reader: Reader) -> Group:
    server = reader.server(endpoint.address, f"{place}.address")
    if endpoint.strict and server.is_name:
        raise reader.error(
            server.place,
            f"{server.written!r} is looked up, which is not permitted with strict: true",
            "write its addresses, each as an endpoint, or take away strict: true",
        )
    if endpoint.group:
        raise reader.error(
            f"{place}.group",
            "true is not supported: a group is balanced by gRPC, and here each address is checked",
            "write dns+ before the address, to check each of them",
        )
    if endpoint.service_config:
        reason = "is not supported: it is an instruction for gRPC"
        raise reader.error(f"{place}.service_config", reason)
    own = _client_config(endpoint.client_config, f"{place}.client_config", reader)
    tls, plaintext = _resolve(own, default, place, reader)
    strict = bool(endpoint.strict)
    return Group(
        name=place, place=place, strict=strict, tls=tls, plaintext=plaintext, servers=(server,)
    )


def _resolve(
    own: _Parsed, default: _Parsed, place: str, reader: Reader
) -> tuple[TLSSettings | None, tuple[str, str] | None]:
    """The settings of an endpoint, or the place and words that make it plaintext."""
    decided = own if own.enabled is not None else default
    if decided.enabled is False:
        off = (f"{decided.place}.enabled", "is false")
    elif decided.enabled is None and not (own.about_tls or default.about_tls):
        off = (place, "has no tls_config, and neither has default_client_config")
    else:
        return _merged(own, default, reader), None
    if (useless := own.first_use_of_tls) is not None:
        raise reader.error(
            useless,
            f"has no effect in plaintext: {' '.join(off)}",
            "write enabled: true in its tls_config, or take it away",
        )
    return None, off


def _merged(own: _Parsed, default: _Parsed, reader: Reader) -> TLSSettings:
    paths = dict(own.paths)
    inherited: list[str] = []
    for names in (("ca_file",), ("cert_file", "key_file")):
        if not any(name in own.paths for name in names):
            given = {name: default.paths[name] for name in names if name in default.paths}
            inherited += given
            paths |= given
    version = own.minimum_version
    if version is None and default.minimum_version is not None:
        version = default.minimum_version
        inherited.append("min_version")
    name = own.server_name or (None if own.about_tls else default.server_name)
    if name is not None:
        paths["server_name"] = name
    place = origin = own.place if own.about_tls else default.place
    if own.about_tls and inherited:
        origin = f"{place} ({', '.join(inherited)}: {default.place})"
    return reader.settings(
        paths,
        place,
        # What Thanos offers by default; it would be less secure to read the same file otherwise.
        minimum_version=version or ssl.TLSVersion.TLSv1_3,
        origin=origin,
    )
