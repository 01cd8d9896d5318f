"""Key, certificate and trust change while connections go on: one reference is swapped.

Three ways of changing an `ssl.SSLContext` that is in use are traps. `load_cert_chain` with files
that do not match leaves it without a usable key. `load_verify_locations` only adds: no authority
can be dropped. And a context that is exchanged in the SNI callback keeps the sessions and the
demands of the one it replaces. So each *generation* of material gets a context of its own, with
ticket keys of its own and a session cache that is empty, and nothing that is wrong with the files
ever reaches one: the next generation is in use when it is complete, and until then the present
one is.

**What changed is found by reading** (`mtls_echo_tls.material.file_digest`): a few files are hashed
every second, which takes less time than one handshake; only when the hash is another are they
parsed.

**What is read must belong together.** Files that are published all at once are complete whenever
they are read. Plain files may be caught half written: a bundle cut off between two certificates
looks sound. They count when they have not changed for a while (`SETTLE`). In either case they are
hashed again after they were loaded.

**What is wrong is said once**, with the file and the reason, tried again every time, and said to
be mended at once. What may not replace what is in use: `mtls_echo_tls.material.replacement`.
"""

from __future__ import annotations

import datetime
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

import trio

from mtls_echo_pki.files.durable import os_reason
from mtls_echo_tls.material.file_digest import digest_files
from mtls_echo_tls.material.load import ConfigurationError, Material
from mtls_echo_tls.material.replacement import changed_parts, reason_to_keep
from mtls_echo_tls.material.warnings import expiry_warnings

# How long plain files must not have changed before they count, in seconds: longer than a program
# that writes one pauses between two writes, and no more than a person waits for.
SETTLE = 0.5

# How often files that change while they are read are read again, before that is an error.
_ATTEMPTS = 10

# After how many seconds reading is given up for now: a file system that hangs.
_PATIENCE = 30.0

_TOO_SLOW = ConfigurationError(
    f"reading takes longer than {_PATIENCE:g} s",
    "is the file system that the files are on reachable?",
)
_UNSETTLED = "written again and again while they are read"

# How often dates are looked at when files are looked at on demand only, in seconds.
_DATES_INTERVAL = 60.0


@dataclass(frozen=True)
class Reload:
    """What became of an attempt to reload.

    Attributes:
        ok: Whether the files are in order.
        generation: The one in use from now on.
        changed: In words, what is new in it; nothing when the files say what they said before.
        error: The file and what is wrong with it, when there is something.
        hint: What to do about it, where that is known.
        not_after: When the first certificate of our own chain in use expires.
        mended: Whether something was wrong the last time.
    """

    ok: bool
    generation: int
    changed: tuple[str, ...] = ()
    error: str | None = None
    hint: str | None = None
    not_after: datetime.datetime | None = None
    mended: bool = False

    def __str__(self) -> str:
        stays = f"generation {self.generation} stays in use"
        if not self.ok:
            return f"{self.error}; {stays}"
        if not self.changed:
            return f"the files are {'again ' if self.mended else ''}what they were; {stays}"
        until = (
            "" if self.not_after is None else f", valid until {self.not_after:%Y-%m-%d %H:%M} UTC"
        )
        again = "the files are in order again; " if self.mended else ""
        return f"{again}new {_listed(self.changed)}: generation {self.generation}{until}"


class Reloader:
    """The current `ssl.SSLContext` of one end, and how it gets a successor.

    It serves as the ``context`` of a `mtls_echo_server.Server`. For changes to be noticed by
    themselves, `run` it in a nursery; or call `check` when the moment has come.

    Args:
        load: Reads the files. Called in a thread, as ``build`` is.
        build: Makes a context of what was read.
        first: What was read already, for the first generation. None: ``load`` is called now.
        interval: Seconds between two looks at the files; 0: only when asked.
        settle: Seconds that plain files must not have changed.
        tell: Called with what became of each attempt that is news.
        warn: Called with each doubt, one clause: what expires soon, or has expired.

    Raises:
        ConfigurationError: OpenSSL refuses the certificate.
        Exception: What ``load`` and ``build`` raise, this first time only.
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
        self._material = load() if first is None else first
        self._context = self._built(self._material)
        self._generation = 1
        self._newer = trio.Event()
        self._asked = trio.Event()
        self._checking = trio.Lock()
        self._reading = trio.CapacityLimiter(1)  # should a read hang, it is one thread that does
        # Of the files as they were when they were judged last. Not yet known for the first
        # generation: they may have changed between its reading and this line.
        self._digest: bytes | None = None
        self._trouble: str | None = None
        self._warned = set(self._material.warnings)

    def __call__(self) -> ssl.SSLContext:
        """The context of the generation in use: to be asked for as late as possible."""
        return self._context

    @property
    def current(self) -> ssl.SSLContext:
        """The context of the generation in use."""
        return self._context

    @property
    def generation(self) -> int:
        """Which one that is: 1, and one more for each successor."""
        return self._generation

    @property
    def material(self) -> Material:
        """What it was made from."""
        return self._material

    @property
    def trouble(self) -> str | None:
        """What is wrong with the files at present."""
        return self._trouble

    async def run(self) -> NoReturn:
        """Look at the files every ``interval`` seconds, and whenever asked, until cancelled."""
        while True:
            with trio.move_on_after(self._interval or _DATES_INTERVAL):
                await self._asked.wait()
            asked = self._asked.is_set()
            self._asked = trio.Event()
            if asked or self._interval:
                await self.check(asked=asked)
            else:
                self._look_at_dates()

    def ask(self) -> None:
        """Have `run` look at the files at once, and say so even if nothing is new.

        However often it is called before it does, it is once.
        """
        self._asked.set()

    async def wait_newer(self, than: int) -> int:
        """Wait until there is a newer generation than that, and return its number."""
        while self._generation <= than:
            await self._newer.wait()
        await trio.lowlevel.checkpoint()
        return self._generation

    async def check(self, *, asked: bool = False) -> bool:
        """Look at the files now; take what they say, or keep what is in use and say why.

        Args:
            asked: Tell that nothing is new, too.

        Returns:
            Whether there is a new generation.
        """
        async with self._checking:
            found = _Found(None, error=_TOO_SLOW)
            with trio.move_on_after(_PATIENCE):
                found = await trio.to_thread.run_sync(
                    self._find, abandon_on_cancel=True, limiter=self._reading
                )
            is_new = self._conclude(found, asked=asked)
            self._look_at_dates()
            return is_new

    # --- in a thread -----------------------------------------------------------------------------

    def _find(self) -> _Found:
        """Read the files, and find out what they are good for."""
        files = self._material.files
        seen = digest_files(files)
        if self._trouble is None and seen.digest == self._digest:
            return _Found(seen.digest)
        where = ", ".join(str(path) for path in dict.fromkeys(files) if path is not None)
        found = unsettled = _Found(None, error=ConfigurationError(f"{where}: {_UNSETTLED}"))
        for _ in range(_ATTEMPTS):
            found = self._judge(seen.digest)
            is_news = found.error is not None or found.material is not None
            # What was judged before, and is judged again because time may mend what was wrong
            # with it, has settled since.
            if is_news and not seen.atomic and seen.digest != self._digest:
                time.sleep(self._settle)
            again = digest_files(files)
            if again == seen:
                return found
            seen = again
        if seen.atomic and found.error is None:
            # Published faster than we read. What was read is complete, and not the newest.
            return found._replace(digest=None)
        return unsettled

    def _judge(self, digest: bytes) -> _Found:
        try:
            successor = self._load()
            changed = changed_parts(self._material, successor)
            if not changed:
                return _Found(digest)
            now = datetime.datetime.now(datetime.UTC)
            objected = reason_to_keep(self._material, successor, now)
            if objected is not None:
                return _Found(digest, error=objected)
            return _Found(digest, successor, self._built(successor), changed)
        except Exception as error:  # whatever it is, what is in use must stay in use
            return _Found(digest, error=error)

    def _built(self, material: Material) -> ssl.SSLContext:
        try:
            return self._build(material)
        except ssl.SSLError as error:
            raise not_taken(material, error) from error

    # --- in the event loop -----------------------------------------------------------------------

    def _conclude(self, found: _Found, *, asked: bool) -> bool:
        before, self._trouble, self._digest = self._trouble, None, found.digest
        if found.error is not None:
            self._trouble = _words(found.error)
            if asked or self._trouble != before:
                self._say(error=self._trouble, hint=getattr(found.error, "hint", None))
            return False
        if found.material is not None and found.context is not None:
            self._material, self._context = found.material, found.context
            self._generation += 1
            newer, self._newer = self._newer, trio.Event()
            newer.set()
        if asked or before is not None or found.material is not None:
            self._say(changed=found.changed, mended=before is not None)
        return found.material is not None

    def _say(
        self,
        *,
        changed: tuple[str, ...] = (),
        error: str | None = None,
        hint: str | None = None,
        mended: bool = False,
    ) -> None:
        if self._tell is not None:
            not_after = self._material.not_after
            ok = error is None
            self._tell(Reload(ok, self._generation, changed, error, hint, not_after, mended))

    def _look_at_dates(self) -> None:
        """Warn of what expires soon or has expired, each once."""
        material = self._material
        dated = expiry_warnings(
            material.credential, material.trust, datetime.datetime.now(datetime.UTC)
        )
        present = dict.fromkeys((*material.warnings, *dated))
        new = [doubt for doubt in present if doubt not in self._warned]
        self._warned = set(present)
        for doubt in new:
            if self._warn is not None:
                self._warn(doubt)


def not_taken(material: Material, error: ssl.SSLError) -> ConfigurationError:
    """What to say when OpenSSL will not load a certificate that could be read."""
    # EE_KEY_TOO_SMALL, CA_MD_TOO_WEAK and the like; others are not about strength.
    weak = "_TOO_" in (error.reason or "")
    return ConfigurationError(
        f"{material.source}: OpenSSL does not take this certificate ({error.reason})",
        "its key or its signature is too weak: have it issued again, with a P-256 key, or with "
        "RSA of at least 2048 bits, and SHA-256"
        if weak
        else "its key may be of a kind that is not usable here, such as RSA-PSS: have it issued "
        "again, with a P-256 key",
    )


class _Found(NamedTuple):
    """What a look at the files has found.

    Attributes:
        digest: Of the files it is about; None when that is not known.
        material, context, changed: The successor, if there is one.
        error: Why there is none although the files are others.
    """

    digest: bytes | None
    material: Material | None = None
    context: ssl.SSLContext | None = None
    changed: tuple[str, ...] = ()
    error: Exception | None = None


def _words(error: Exception) -> str:
    if hasattr(error, "hint"):
        return str(error)
    if isinstance(error, OSError):
        reason = os_reason(error)
        return f"{error.filename}: {reason}" if error.filename else reason
    return f"{type(error).__name__}: {error}"


def _listed(words: tuple[str, ...]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
