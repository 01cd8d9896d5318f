"""A gallery in a thread, for tests of any kind: each exhibit on a port of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import trio

from mtls_echo.gallery.collection import EXHIBITS, find_exhibit
from mtls_echo.gallery.server import LOCAL, Gallery, Place
from mtls_echo.gallery.world import World
from mtls_echo_tls.address import Address

if TYPE_CHECKING:
    from mtls_echo.gallery.exhibit import Exhibit

Result = TypeVar("Result")

# Seconds that a silent server stays silent.
_HOLD = 1.5


class _Open(NamedTuple):
    place: Place
    leave: trio.Event
    left: trio.Event


class ThreadedGallery:
    """The exhibits, each served on localhost from when it is asked for; no name has to resolve.

    Args:
        folder: Where the files of its clients are put.

    Attributes:
        exhibits: All of them, by name.
        trust, crl: Files with the trust anchors and the CRLs of all, PEM.
        certificate, key: Files of a client.
    """

    def __init__(self, folder: Path) -> None:
        self.exhibits = EXHIBITS
        self.trust, self.crl = folder / "ca.crt", folder / "crl.pem"
        self.certificate, self.key = folder / "client.crt", folder / "client.key"
        self._gallery = Gallery(World(), hold=_HOLD)
        world = self._gallery.world
        world.write(world.trust(EXHIBITS.values(), lambda _: LOCAL), folder)
        self._open: dict[str, _Open] = {}
        self._started: Future[tuple[trio.lowlevel.TrioToken, trio.Nursery]] = Future()
        self._outside = ThreadPoolExecutor(1, "gallery")
        self._thread = threading.Thread(target=trio.run, args=(self._run,), daemon=True)

    def __enter__(self) -> ThreadedGallery:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        token, nursery = self._started.result()
        token.run_sync_soon(nursery.cancel_scope.cancel)
        self._thread.join()
        self._outside.shutdown()

    def host(self, slug: str) -> str:
        """The name to connect to and to ask for; an address, where that is what is wrong.

        Raises:
            ValueError: There is no such exhibit.
        """
        return self._gallery.world.given(find_exhibit(slug), *LOCAL).reference

    def port(self, slug: str) -> int:
        """The port of an exhibit, which is served from now on; raises as `host`."""
        return self._do(self._show, find_exhibit(slug)).place.port

    def url(self, slug: str) -> str:
        """The URL of an exhibit, which is served from now on; raises as `host`."""
        return f"https://{Address(self.host(slug), self.port(slug))}/"

    def received(self, slug: str) -> int:
        """How many bytes of application data have come to an exhibit since it was served.

        Ends it: every connection that there is by now is waited for. Its next URL is another.
        """
        return self._do(self._end, find_exhibit(slug)).received

    def _do(
        self, what: Callable[[Exhibit], Coroutine[Any, Any, Result]], exhibit: Exhibit
    ) -> Result:
        """Have something done in the thread; from any other, whatever event loop runs there."""
        token, _ = self._started.result()

        def run() -> Result:
            return trio.from_thread.run(what, exhibit, trio_token=token)

        # Its own thread has no event loop, where trio would not let it wait.
        return self._outside.submit(run).result()

    async def _run(self) -> None:
        async with trio.open_nursery() as nursery:
            self._started.set_result((trio.lowlevel.current_trio_token(), nursery))
            await trio.sleep_forever()

    async def _show(self, exhibit: Exhibit) -> _Open:
        if exhibit.slug not in self._open:
            _, nursery = self._started.result()
            self._open[exhibit.slug] = await nursery.start(self._serve, exhibit)
        return self._open[exhibit.slug]

    async def _end(self, exhibit: Exhibit) -> Place:
        shown = await self._show(exhibit)
        shown.leave.set()
        await shown.left.wait()
        return shown.place

    async def _serve(self, exhibit: Exhibit, task_status: trio.TaskStatus[_Open]) -> None:
        async with self._gallery.alone(exhibit) as place:
            shown = _Open(place, trio.Event(), trio.Event())
            task_status.started(shown)
            await shown.leave.wait()
        del self._open[exhibit.slug]
        shown.left.set()
