"""Reload key, certificate and trust while connections go on, by replacing one reference.

Three ways of changing an `ssl.SSLContext` that is in use are traps. `load_cert_chain` with files
that do not match leaves it without a usable key. `load_verify_locations` only adds: no CA can be
dropped. And a context that is exchanged in the SNI callback keeps the sessions and the settings of
the one it replaces. So each *generation* of material gets a context of its own, with its own
ticket keys and an empty session cache, and nothing that is wrong with the files ever reaches one:
the next generation is used once it is complete, and until then the present one is.

**Changes are found by reading** (`mtls_echo_tls.material.file_digest`): a few files are hashed
every second, which takes less time than one handshake; they are parsed only when the hash changes.

**Files that are read must belong together.** Files that are published at once are complete
whenever they are read. Plain files may be read half written: a bundle cut off between two
certificates looks complete. They count once they have not changed for a while (`SETTLE`). In
either case they are hashed again after they were loaded.

**A problem is reported once**, with the file and the reason, retried every time, and its end is
reported at once. What may not replace the material in use: `mtls_echo_tls.material.replacement`.
"""

from __future__ import annotations

import datetime
import ssl
import time
from collections.abc import Callable
from typing import NamedTuple, NoReturn

import msgspec
import trio

from mtls_echo_pki.files.durable import os_reason
from mtls_echo_tls.material.errors import ConfigurationError
from mtls_echo_tls.material.file_digest import digest_files
from mtls_echo_tls.material.load import Material
from mtls_echo_tls.material.refusal import not_taken
from mtls_echo_tls.material.replacement import changed_parts, reason_to_keep
from mtls_echo_tls.material.warnings import expiry_warnings

# How long plain files must not have changed before they count, in seconds: longer than the pause
# between two writes of a program, and not longer than a person waits.
SETTLE = 0.5

# How often files that change while they are read are read again, before that is an error.
_ATTEMPTS = 10

# How long a read may take, in seconds: a file system may hang.
_READ_TIMEOUT = 30.0

_TOO_SLOW = ConfigurationError(
    f"reading takes longer than {_READ_TIMEOUT:g} s",
    "is the file system that the files are on reachable?",
)
_UNSTABLE = "written again and again while they are read"
_AT_ONCE = "replace all of them by one rename, as Kubernetes does"

# How often dates are checked when files are read on demand only, in seconds.
_DATES_INTERVAL = 60.0


class Reload(msgspec.Struct, frozen=True):
    """The result of an attempt to reload.

    Attributes:
        ok: Whether the files are in order; if not, `error` and perhaps `hint` say why.
        generation: The one in use from now on.
        changed: The parts that are new in it; empty when the material is what it was.
        not_after: When the first certificate of our own chain in use expires.
        recovered: Whether the attempt before had an error.
    """

    ok: bool
    generation: int
    changed: tuple[str, ...] = ()
    error: str | None = None
    hint: str | None = None
    not_after: datetime.datetime | None = None
    recovered: bool = False

    def __str__(self) -> str:
        stays = f"generation {self.generation} stays in use"
        if not self.ok:
            return f"{self.error}; {stays}"
        if not self.changed:
            return f"the files are {'again ' if self.recovered else ''}what they were; {stays}"
        until = f", valid until {self.not_after:%Y-%m-%d %H:%M} UTC" if self.not_after else ""
        again = "the files are in order again; " if self.recovered else ""
        return f"{again}new {_listed(self.changed)}: generation {self.generation}{until}"


class Reloader:
    """The current `ssl.SSLContext` of one end, replaced when its files change.

    It serves as the ``context`` of a server. `run` it in a nursery to notice changes; or call
    `check` where that is wanted.

    Args:
        load, build: Reads the files, and makes a context of them; called in a thread.
        first: The material of the first generation. None: ``load`` is called now.
        interval: Seconds between two reads of the files; 0: only when asked.
        settle: Seconds that plain files must not have changed.
        tell: Called with the result of each attempt that is news.
        warn: Called with a message for each certificate or CRL that has expired or soon will.

    Attributes:
        generation, material: The number of the generation in use, 1 at first, and its material.
        problem: What is wrong with the files at present, if anything is.

    Raises:
        ConfigurationError: OpenSSL refuses the certificate.
        Exception: What ``load`` and ``build`` raise, for the first generation only.
    """

    def __init__(
        self,
        load: Callable[[], Material],
        build: Callable[[Material], ssl.SSLContext],
        *,
        first: Material | None = None,
        interval: float = 1.0,
        settle: float = SETTLE,
        tell: Callable[[Reload], object] | None = None,
        warn: Callable[[str], object] | None = None,
    ) -> None:
        self._load = load
        self._build = build
        self._interval = interval
        self._settle = settle
        self._tell = tell
        self._warn = warn
        self.material = load() if first is None else first
        self._context = self._built(self.material)
        self.generation = 1
        self._newer = trio.Event()
        self._asked = trio.Event()
        self._checking = trio.Lock()
        self._reading = trio.CapacityLimiter(1)  # a read that hangs occupies one thread only
        # Of the files as they were last evaluated. Not yet known for the first generation: they
        # may have changed between its reading and this line.
        self._digest: bytes | None = None
        self.problem: str | None = None
        self._warned = set(self.material.warnings)

    def __call__(self) -> ssl.SSLContext:
        """The context of the generation in use; call it as late as possible."""
        return self._context

    @property
    def current(self) -> ssl.SSLContext:
        """The context of the generation in use."""
        return self._context

    async def run(self) -> NoReturn:
        """Check the files every ``interval`` seconds, and whenever asked, until cancelled."""
        while True:
            with trio.move_on_after(self._interval or _DATES_INTERVAL):
                await self._asked.wait()
            asked = self._asked.is_set()
            self._asked = trio.Event()
            if asked or self._interval:
                await self.check(asked=asked)
            else:
                self._check_dates()

    def ask(self) -> None:
        """Have `run` check the files at once, and report even if nothing is new.

        Several calls before it does count as one.
        """
        self._asked.set()

    async def wait_newer(self, than: int) -> int:
        """Wait until there is a newer generation than that, and return its number."""
        while self.generation <= than:
            await self._newer.wait()
        await trio.lowlevel.checkpoint()
        return self.generation

    async def check(self, *, asked: bool = False) -> bool:
        """Read the files now; use what changed, or keep what is in use and report why.

        Returns whether there is a new generation; asked, it also reports that nothing is new.
        """
        async with self._checking:
            candidate = _Candidate(None, error=_TOO_SLOW)
            with trio.move_on_after(_READ_TIMEOUT):
                candidate = await trio.to_thread.run_sync(
                    self._read_files, abandon_on_cancel=True, limiter=self._reading
                )
            is_new = self._apply(candidate, asked=asked)
            self._check_dates()
            return is_new

    # --- in a thread -----------------------------------------------------------------------------

    def _read_files(self) -> _Candidate:
        """Read the files until they are stable, and evaluate them."""
        files = self.material.files
        seen = digest_files(files)
        if self.problem is None and seen.digest == self._digest:
            return _Candidate(seen.digest)
        where = ", ".join(str(path) for path in dict.fromkeys(files) if path is not None)
        candidate = unstable = _Candidate(
            None, error=ConfigurationError(f"{where}: {_UNSTABLE}", _AT_ONCE)
        )
        for _ in range(_ATTEMPTS):
            candidate = self._evaluate(seen.digest)
            is_news = candidate.error is not None or candidate.material is not None
            # Files that are evaluated again, because time may have removed the problem, have been
            # stable since.
            if is_news and not seen.atomic and seen.digest != self._digest:
                time.sleep(self._settle)
            again = digest_files(files)
            if again == seen:
                return candidate
            seen = again
        if seen.atomic and candidate.error is None:
            # Published faster than we read: what was read is complete, but not the newest.
            return candidate._replace(digest=None)
        return unstable

    def _evaluate(self, digest: bytes) -> _Candidate:
        try:
            successor = self._load()
            changed = changed_parts(self.material, successor)
            if not changed:
                return _Candidate(digest)
            now = datetime.datetime.now(datetime.UTC)
            reason = reason_to_keep(self.material, successor, now)
            if reason is not None:
                return _Candidate(digest, error=reason)
            return _Candidate(digest, successor, self._built(successor), changed)
        except Exception as error:  # of any kind: the generation in use must stay
            return _Candidate(digest, error=error)

    def _built(self, material: Material) -> ssl.SSLContext:
        try:
            return material.context(self._build)
        except ssl.SSLError as error:
            raise not_taken(material, error) from error

    # --- in the event loop -----------------------------------------------------------------------

    def _apply(self, candidate: _Candidate, *, asked: bool) -> bool:
        before, self.problem, self._digest = self.problem, None, candidate.digest
        if candidate.error is not None:
            self.problem = _message(candidate.error)
            if asked or self.problem != before:
                self._report(error=self.problem, hint=getattr(candidate.error, "hint", None))
            return False
        if candidate.material is not None and candidate.context is not None:
            self.material, self._context = candidate.material, candidate.context
            self.generation += 1
            newer, self._newer = self._newer, trio.Event()
            newer.set()
        if asked or before is not None or candidate.material is not None:
            self._report(changed=candidate.changed, recovered=before is not None)
        return candidate.material is not None

    def _report(
        self,
        *,
        changed: tuple[str, ...] = (),
        error: str | None = None,
        hint: str | None = None,
        recovered: bool = False,
    ) -> None:
        if self._tell is not None:
            not_after = self.material.not_after
            ok = error is None
            self._tell(Reload(ok, self.generation, changed, error, hint, not_after, recovered))

    def _check_dates(self) -> None:
        """Warn of what has expired or soon will, of each once."""
        material = self.material
        now = datetime.datetime.now(datetime.UTC)
        dated = expiry_warnings(material.credential, material.trust, now)
        present = dict.fromkeys((*material.warnings, *dated))
        new = [message for message in present if message not in self._warned]
        self._warned = set(present)
        for message in new:
            if self._warn is not None:
                self._warn(message)


class _Candidate(NamedTuple):
    """What the files hold, or why it is not used although they have changed.

    The digest is that of the files that were evaluated; None when it is not known.
    """

    digest: bytes | None
    material: Material | None = None
    context: ssl.SSLContext | None = None
    changed: tuple[str, ...] = ()
    error: Exception | None = None


def _message(error: Exception) -> str:
    if hasattr(error, "hint"):
        return str(error)
    if isinstance(error, OSError):
        reason = os_reason(error)
        return f"{error.filename}: {reason}" if error.filename else reason
    return f"{type(error).__name__}: {error}"


def _listed(words: tuple[str, ...]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
