"""A server that is told what to do by a file: a template, and what is put into it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.interop.servers.running import ClientAuth, Files, folder_for, listening


def _nothing(_folder: Path, _files: Files) -> Mapping[str, object]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Configured:
    """How a product is configured; ``start`` starts it.

    Attributes:
        file: The name of its configuration.
        template: What is in that: ``{port}``, ``{folder}``, ``{files.key}`` and its like,
            ``{crl}``, ``{verify}`` and ``{extra}`` are put in.
        verify: What stands for ``{verify}``.
        crl: What stands for ``{crl}``, where there is one.
        command: Its words; ``{folder}`` and ``{port}`` are put in.
        prepare: Writes what it needs beside, and returns what else is put in.
    """

    file: str
    template: str
    verify: Mapping[str, str]
    crl: str = ""
    command: Sequence[str]
    prepare: Callable[[Path, Files], Mapping[str, object]] = _nothing

    @contextlib.contextmanager
    def start(
        self, files: Files, client_auth: ClientAuth = "required", *, extra: str = ""
    ) -> Iterator[int]:
        """Start it; ``extra`` is in the language of its configuration."""
        with folder_for(files) as (folder, mine):
            put = {"folder": folder, "files": mine, **self.prepare(folder, mine)}

            def command(port: int) -> list[str]:
                text = self.template.format(
                    port=port,
                    crl=self.crl.format(mine.crl) if mine.crl else "",
                    verify=self.verify[client_auth].format(**put),
                    extra=extra,
                    **put,
                )
                (folder / self.file).write_text(text)
                (folder / self.file).chmod(0o644)
                return [word.format(folder=folder, port=port) for word in self.command]

            with listening(folder, command) as port:
                yield port
