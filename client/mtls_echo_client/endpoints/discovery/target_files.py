"""Read target files at every look, and parse those whose content is new.

Nothing is watched, so that nothing is missed when an editor renames, a mount swaps a link, or the
file system is a network's. A bad file keeps the targets of its last good content, and is a problem
until it is good again; a file that is gone has none.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mtls_echo_client.endpoints.configuration.errors import EndpointsError
from mtls_echo_client.endpoints.configuration.yaml_reader import unreadable
from mtls_echo_client.endpoints.discovery.targets import Target, find_files, parse_targets
from mtls_echo_client.endpoints.plan import Problem
from mtls_echo_pki.files.durable import read_file


@dataclass(frozen=True)
class Found:
    """What one file names.

    Attributes:
        path: The file.
        targets: Of its present content, or of its last good one.
        problem: Why they are not of its present content.
        digest: Of the content that was parsed last, well or not.
    """

    path: Path
    targets: tuple[Target, ...] = ()
    problem: Problem | None = None
    digest: bytes = b""


@dataclass(frozen=True)
class Discovery:
    """The target files, as they were at one look.

    Attributes:
        problems: About patterns; those about files are with the files.
    """

    problems: tuple[Problem, ...] = ()
    _files: Mapping[Path, Found] = field(default_factory=dict[Path, Found])
    _matches: Mapping[Path, tuple[Path, ...]] = field(default_factory=dict[Path, tuple[Path, ...]])

    def look(self, patterns: Iterable[Path]) -> Discovery:
        """Read whatever the patterns match now, in this thread; itself if nothing is new."""
        matches: dict[Path, tuple[Path, ...]] = {}
        problems: list[Problem] = []
        files: dict[Path, Found] = {}
        for pattern in dict.fromkeys(patterns):
            matches[pattern], problem = self._match(pattern)
            if problem is not None:
                problems.append(problem)
            for path in matches[pattern]:
                if path not in files and (found := self._read(path)) is not None:
                    files[path] = found
        now = Discovery(tuple(problems), files, matches)
        return self if now == self else now

    def found(self, pattern: Path) -> tuple[Found, ...]:
        """The files that a pattern matched, in the order of their names."""
        matched = self._matches.get(pattern, ())
        return tuple(self._files[path] for path in matched if path in self._files)

    def _match(self, pattern: Path) -> tuple[tuple[Path, ...], Problem | None]:
        before = self._matches.get(pattern, ())
        try:
            matched = tuple(find_files(pattern))
        except FileNotFoundError:
            # A folder that was removed has no files.
            return (), Problem(str(pattern.parent), "does not exist, and names no targets")
        except OSError as error:
            return before, Problem(str(pattern.parent), unreadable(error, pattern.parent))
        except ValueError as error:
            return before, Problem(str(pattern), str(error))
        if not matched and "*" not in pattern.name:
            return (), Problem(str(pattern), "does not exist, and names no targets")
        return matched, None

    def _read(self, path: Path) -> Found | None:
        before = self._files.get(path, Found(path))
        try:
            contents = read_file(path)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not os.path.lexists(path):
                return None  # gone since it was listed
            problem = Problem(str(path), unreadable(error, path))
            return Found(path, before.targets, problem)
        digest = hashlib.sha256(contents).digest()
        if digest == before.digest:
            return before
        try:
            return Found(path, parse_targets(contents, path), None, digest)
        except EndpointsError as error:
            return Found(path, before.targets, Problem(str(path), error.fault), digest)
