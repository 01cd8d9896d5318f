"""Validate TLS settings by loading every file that they name.

A path may lead to a file that is missing or empty, or to the key of another certificate. Found
here, that is one line at the start; found later, a handshake that fails. So each file is read,
each pair compared, and a context made of it and thrown away.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from mtls_echo_client.context import client_context
from mtls_echo_client.endpoints.configuration.errors import EndpointsError
from mtls_echo_client.endpoints.groups import ServerEntry, read_server
from mtls_echo_client.endpoints.plan import TLSSettings
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_tls.address import reference_identifier
from mtls_echo_tls.material.load import client_material
from mtls_echo_tls.vocabulary import Vocabulary

# What a key or a certificate begins with; written in place of a path by mistake, it must not get
# into a log.
_PEM = "-----BEGIN"

_STRONG_ENOUGH = "use a P-256 key, or RSA of at least 2048 bits, signed with SHA-256 or better"


# There is no key for a password.
_NO_PASSWORDS = Vocabulary(unlock="")

# About settings that are there, and say nothing.
EMPTY = "is empty, and might mean TLS or plaintext"


class Located(NamedTuple):
    """A text and where it was written."""

    text: str
    place: str


def located(config: msgspec.Struct | None, names: Iterable[str], place: str) -> dict[str, Located]:
    """Those of the settings that are written, with their places."""
    found = {name: getattr(config, name, None) for name in names}
    return {name: Located(text, f"{place}.{name}") for name, text in found.items() if text}


@dataclass
class Reader:
    """Reads the settings of one configuration.

    Attributes:
        name: Of the file, for messages.
        folder: What relative paths begin at.
        strict: Whether servers are going to be held to every rule of RFC 5280.
        warnings: Collected on the way.
    """

    name: str
    folder: Path
    strict: bool = True
    warnings: list[str] = field(default_factory=list[str])
    _proved: set[tuple[Path | None, ...]] = field(default_factory=set[tuple[Path | None, ...]])

    def error(self, place: str, reason: str, hint: str | None = None) -> EndpointsError:
        """An error of this file."""
        return EndpointsError(self.name, place, reason, hint)

    def server(self, text: str, place: str) -> ServerEntry:
        """An endpoint; see `read_server`.

        Raises:
            EndpointsError: It is not one.
        """
        try:
            return read_server(text, place)
        except ValueError as error:
            raise self.error(place, str(error)) from error

    def path(self, written: Located) -> Path:
        """A path, relative ones from the folder of the configuration.

        Raises:
            EndpointsError: No file can be called so, or it is the contents of one.
        """
        text, place = written
        if _PEM in text:
            raise self.error(
                place, "holds PEM itself", "write it to a file, and here the file's path"
            )
        try:
            if b"\0" not in os.fsencode(text):
                return self.folder / text
        except UnicodeEncodeError:
            pass
        raise self.error(place, f"{text!r} is not a path")

    def host_name(self, written: Located) -> str:
        """A host name or IP address to verify.

        Raises:
            EndpointsError: It is neither.
        """
        try:
            return reference_identifier(written.text)
        except ValueError as error:
            hint = "write the name alone, without a port"
            raise self.error(written.place, str(error), hint) from error

    def settings(
        self,
        written: Mapping[str, Located],
        place: str,
        *,
        minimum_version: ssl.TLSVersion,
        origin: str | None = None,
    ) -> TLSSettings:
        """Make settings, and load their files.

        Args:
            written: ``ca_file``, ``cert_file``, ``key_file`` and ``server_name``, those that are.
            place: Of the ``tls_config``.
            minimum_version: The oldest version to offer.
            origin: What to call the place, if other settings went into it.

        Raises:
            EndpointsError: One is missing, or names what cannot be used.
        """
        ca, cert, key, name = map(written.get, ("ca_file", "cert_file", "key_file", "server_name"))
        if ca is None:
            raise self.error(
                place,
                "ca_file is missing: without trust anchors no server can be verified",
                "name the servers' CA; if every public one is meant, name the system's"
                " bundle, such as /etc/ssl/certs/ca-certificates.crt",
            )
        if cert is not None and key is None:
            raise self.error(cert.place, "key_file is missing: a certificate needs its key")
        if key is not None and cert is None:
            raise self.error(key.place, "cert_file is missing: a key needs its certificate")
        settings = TLSSettings(
            ca_file=self.path(ca),
            cert_file=self.path(cert) if cert else None,
            key_file=self.path(key) if key else None,
            server_name=self.host_name(name) if name else None,
            minimum_version=minimum_version,
            origin=origin or place,
        )
        self._prove(settings, written)
        return settings

    def _prove(self, settings: TLSSettings, written: Mapping[str, Located]) -> None:
        files = ca, cert, key = settings.ca_file, settings.cert_file, settings.key_file
        if files in self._proved:
            return
        places = {
            self.path(written[name]): written[name].place
            for name in ("key_file", "cert_file", "ca_file")
            if name in written
        }
        first = cert or ca
        if os.path.isdir(ca):  # what reads this form of configuration elsewhere takes a file only
            raise self.error(places[ca], f"{ca}: is a directory", "name the file inside it")
        try:
            material = client_material(
                ca=ca, cert=cert, key=key, strict=self.strict, vocabulary=_NO_PASSWORDS
            )
            assert material.trust is not None  # noqa: S101  there is a ca_file
            client_context(material.trust, material.credential)
        except MaterialError as error:
            place = places.get(error.path, places[first])
            raise self.error(place, str(error), _hint(error, ca)) from error
        except ssl.SSLError as error:
            reason = (error.reason or "no reason given").replace("_", " ").lower()
            raise self.error(
                places[first], f"{first}: OpenSSL refuses it ({reason})", _STRONG_ENOUGH
            ) from error
        self.warnings += (f"{places[first]}: {warning}" for warning in material.warnings)
        self._proved.add(files)


def _hint(error: MaterialError, ca: Path) -> str | None:
    """The hint, and what the file is for that its command writes."""
    hint = error.hint or ""
    if error.path != ca and " -nodes " in hint:
        return f"{hint}; name what it writes as cert_file and as key_file"
    return f"{hint}; name that file as key_file" if "openssl pkey -in" in hint else error.hint
