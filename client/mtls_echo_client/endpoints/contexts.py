"""One context for each way to be connected, made anew whenever its files change.

Endpoints with equal settings share a context, so that five hundred of them cost one reading of
their files. A context is never altered: a live one cannot forget an authority, and one whose key
was replaced by half a file is destroyed. Changed files make a *new* context; files that cannot be
used leave the last good one in place, and the reason where it can be seen. Without a good one
there is no connection at all, neither in plaintext nor without a certificate.

Files are compared by their contents: a link that is swapped, as a mounted Kubernetes Secret does
it, changes no time stamp that could be relied on.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import trio

from mtls_echo_client.context import client_context
from mtls_echo_client.endpoints.plan import Problem, TLSSettings
from mtls_echo_pki import MaterialError
from mtls_echo_pki.publication import read_file
from mtls_echo_tls.material import ConfigurationError, client_material


class ContextSource:
    """The context of one `TLSSettings`, as its files are.

    Attributes:
        settings: Where to read, and what to offer.
        context: From the last files that were usable; None before there were any.
        problem: Why what is on disk now cannot be used; None when it is in use.
        was_read: Whether the files have been looked at.
    """

    def __init__(self, settings: TLSSettings) -> None:
        self.settings = settings
        self.context: ssl.SSLContext | None = None
        self.problem: Problem | None = None
        self._generation: str | None = None
        self.was_read = False
        self._reading = trio.Lock()

    async def current(self) -> ssl.SSLContext | None:
        """The context; the first caller reads the files, in a thread."""
        if not self.was_read:
            async with self._reading:
                if not self.was_read:
                    await trio.to_thread.run_sync(self._load)
        return self.context

    async def reread(self) -> bool:
        """Read the files again, in a thread; whether there is another context now."""
        async with self._reading:
            before = self.context
            await trio.to_thread.run_sync(self._load)
            return self.context is not before

    def _load(self) -> None:
        settings = self.settings
        try:
            material = client_material(
                cert=settings.cert_file, key=settings.key_file, ca=settings.ca_file
            )
            if material.trust is None:
                raise ConfigurationError("there are no trust anchors to verify the server by")
            if material.generation != self._generation:
                self.context = client_context(
                    material.trust,
                    material.credential,
                    minimum_version=settings.minimum_version,
                )
                self._generation = material.generation
        except (MaterialError, ConfigurationError) as error:
            self._complain(str(error), error.hint)
        except ssl.SSLError as error:
            self._complain(
                f"{settings.cert_file}: OpenSSL refuses this certificate or its key"
                f" ({error.reason})",
                "use a P-256 key, or RSA of at least 2048 bits, signed with SHA-256 or better",
            )
        else:
            self.problem = None
        self.was_read = True

    def _complain(self, reason: str, hint: str | None) -> None:
        kept = "" if self.context is None else "; what was in use before still is"
        told = f"{reason}{kept}" + (f" (hint: {hint})" if hint else "")
        self.problem = Problem(self.settings.origin, told.replace("\n", " "))


class Contexts:
    """The sources of all settings in use."""

    def __init__(self) -> None:
        self._sources: dict[TLSSettings, ContextSource] = {}
        self._contents: dict[TLSSettings, bytes] = {}

    def source(self, settings: TLSSettings) -> ContextSource:
        """The source of these settings, the same for equal ones."""
        found = self._sources.get(settings)
        if found is None:
            found = self._sources[settings] = ContextSource(settings)
        return found

    def keep(self, settings: Iterable[TLSSettings]) -> None:
        """Forget the sources of all other settings, and their contexts."""
        wanted = set(settings)
        self._sources = {key: kept for key, kept in self._sources.items() if key in wanted}
        self._contents = {key: kept for key, kept in self._contents.items() if key in wanted}

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the files of any of them."""
        return tuple(source.problem for source in self._sources.values() if source.problem)

    async def look(self) -> list[tuple[ContextSource, bool]]:
        """Look at all files once.

        Returns:
            The sources about which there is news, good or bad; and of each whether it has
            another context now.
        """
        known = [key for key, source in self._sources.items() if source.was_read]
        contents = await trio.to_thread.run_sync(partial(_contents, known))
        news: list[tuple[ContextSource, bool]] = []
        for settings, digest in contents.items():
            source = self._sources.get(settings)
            if source is None or self._contents.get(settings) == digest:
                continue
            self._contents[settings] = digest
            before = source.problem
            replaced = await source.reread()
            if replaced or source.problem != before:
                news.append((source, replaced))
        return news


def _contents(settings: Iterable[TLSSettings]) -> dict[TLSSettings, bytes]:
    """A digest of all that each of the settings names; each file is read once."""
    read: dict[Path, bytes] = {}
    found: dict[TLSSettings, bytes] = {}
    for each in settings:
        digest = hashlib.sha256()
        for path in (each.ca_file, each.cert_file, each.key_file):
            if path is not None:
                if path not in read:
                    read[path] = _digest(path)
                digest.update(read[path])
        found[each] = digest.digest()
    return found


def _digest(path: Path) -> bytes:
    try:
        return hashlib.sha256(read_file(path)).digest()
    except OSError as error:
        return hashlib.sha256(repr(error).encode()).digest()
