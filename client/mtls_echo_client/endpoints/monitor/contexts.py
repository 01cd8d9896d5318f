"""One TLS context for each `TLSSettings`, rebuilt when its files change.

Endpoints with equal settings share a context, so that five hundred of them cost one reading of
their files. What may replace a context is decided in `mtls_echo_tls.material.reloader`. Files that
cannot be used from the start leave no context at all, and without one there is no connection.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable

import trio

from mtls_echo_client.context import client_context
from mtls_echo_client.endpoints.monitor.remedies import CONFIGURATION
from mtls_echo_client.endpoints.plan import Problem, TLSSettings
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_tls.diagnosis.context_info import with_vocabulary
from mtls_echo_tls.material.errors import ConfigurationError
from mtls_echo_tls.material.file_digest import digest_files
from mtls_echo_tls.material.load import Material, client_material
from mtls_echo_tls.material.reloader import Reload, Reloader
from mtls_echo_tls.vocabulary import Vocabulary

# How many sources are read at once, after a look has found that they have changed.
_READERS = 8


class ContextSource:
    """The context of one `TLSSettings`, as its files are.

    Attributes:
        settings: Where to read, and what to offer.
        problem: Why what is on disk now cannot be used; None when it is in use.
        was_read: Whether the files have been looked at.
    """

    def __init__(
        self,
        settings: TLSSettings,
        vocabulary: Vocabulary = CONFIGURATION,
        *,
        strict: bool = True,
    ) -> None:
        self.settings = settings
        self._vocabulary = vocabulary
        self._strict = strict
        self.problem: Problem | None = None
        self.was_read = False
        self._reloader: Reloader | None = None
        self._reading = trio.Lock()

    @property
    def context(self) -> ssl.SSLContext | None:
        """From the last files that were usable; None before there were any."""
        return self._reloader.current if self._reloader is not None else None

    async def current(self) -> ssl.SSLContext | None:
        """The context; the first caller reads the files, in a thread."""
        if not self.was_read:
            async with self._reading:
                if not self.was_read:
                    await trio.to_thread.run_sync(self._begin)
        return self.context

    async def reread(self) -> bool:
        """Read the files again, in a thread; whether there is another context now."""
        async with self._reading:
            if self._reloader is not None:
                return await self._reloader.check()
            await trio.to_thread.run_sync(self._begin)
            return self.context is not None

    def _begin(self) -> None:
        try:
            self._reloader = Reloader(self._load, self._build, interval=0, tell=self._hear)
            self.problem = None
        except (MaterialError, ConfigurationError) as error:
            self._complain(str(error), error.hint)
        self.was_read = True

    def _load(self) -> Material:
        cert, key, ca = self.settings.cert_file, self.settings.key_file, self.settings.ca_file
        return client_material(
            cert=cert, key=key, ca=ca, strict=self._strict, vocabulary=self._vocabulary
        )

    def _build(self, material: Material) -> ssl.SSLContext:
        if material.trust is None:
            raise ConfigurationError(
                "there are no trust anchors to verify the server by", "name some: ca_file"
            )
        context = client_context(
            material.trust,
            material.credential,
            minimum_version=self.settings.minimum_version,
            strict=material.strict,
        )
        return with_vocabulary(context, self._vocabulary)

    def _hear(self, news: Reload) -> None:
        if news.error is None:
            self.problem = None
        else:
            self._complain(f"{news.error}; what was in use before still is", news.hint)

    def _complain(self, reason: str, hint: str | None) -> None:
        message = reason + (f" (hint: {hint})" if hint else "")
        self.problem = Problem(self.settings.origin, message.replace("\n", " "))


class Contexts:
    """The sources of all settings in use; see `ContextSource`."""

    def __init__(self, vocabulary: Vocabulary = CONFIGURATION, *, strict: bool = True) -> None:
        self._vocabulary = vocabulary
        self._strict = strict
        self._sources: dict[TLSSettings, ContextSource] = {}
        self._digests: dict[TLSSettings, bytes] = {}

    def source(self, settings: TLSSettings) -> ContextSource:
        """The source of these settings, the same for equal ones."""
        if settings not in self._sources:
            source = ContextSource(settings, self._vocabulary, strict=self._strict)
            self._sources[settings] = source
        return self._sources[settings]

    def keep(self, settings: Iterable[TLSSettings]) -> None:
        """Forget the sources of all other settings, and their contexts."""
        wanted = set(settings)
        self._sources = {key: kept for key, kept in self._sources.items() if key in wanted}
        self._digests = {key: kept for key, kept in self._digests.items() if key in wanted}

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the files of any of them."""
        return tuple(source.problem for source in self._sources.values() if source.problem)

    async def look(self) -> list[tuple[ContextSource, bool]]:
        """Look at all files once.

        Returns:
            The sources about which there is news, and of each whether it has another context now.
        """
        known = [source for source in self._sources.values() if source.was_read]
        digests = await trio.to_thread.run_sync(_digests, [each.settings for each in known])
        readers = trio.Semaphore(_READERS)
        news: list[tuple[ContextSource, bool]] = []

        async def reread(source: ContextSource) -> None:
            async with readers:
                before = source.problem
                replaced = await source.reread()
                if replaced or source.problem != before:
                    news.append((source, replaced))
                    # What was read may be newer than the digest: the next look compares anew, or
                    # a change back to the state before would not be seen.
                    self._digests.pop(source.settings, None)

        async with trio.open_nursery() as nursery:
            for source in known:
                digest = digests[source.settings]
                # What is wrong may mend by itself: time passes, a file system comes back.
                if source.problem is not None or self._digests.get(source.settings) != digest:
                    self._digests[source.settings] = digest
                    nursery.start_soon(reread, source)
        return news


def _digests(settings: Iterable[TLSSettings]) -> dict[TLSSettings, bytes]:
    return {
        each: digest_files((each.ca_file, each.cert_file, each.key_file)).digest
        for each in settings
    }
