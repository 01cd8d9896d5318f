"""A package's names, imported when they are first used (PEP 562).

A command lives in the package whose work it does, and to import one module of a package is to run
the package's ``__init__``. Where that imported everything, printing a page of help would take a
quarter of a second for trio and cryptography. So each of our packages says in a table where its
names live; type checkers read the imports under ``TYPE_CHECKING`` beside it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping


def exporter(package: str, homes: Mapping[str, tuple[str, ...]]) -> Callable[[str], object]:
    """A module's ``__getattr__`` that finds the exported names.

    Args:
        package: The module's ``__name__``.
        homes: The names that each submodule provides. None may be called like a submodule: the
            submodule would take its place as soon as it is imported.
    """
    home_of = {name: module for module, names in homes.items() for name in names}

    def find(name: str) -> object:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{home_of[name]}"), name)

    return find
