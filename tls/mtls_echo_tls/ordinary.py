"""A cache of what certificates say: the same peers come again, and ours is always there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

_Read = TypeVar("_Read")

# In bytes; most certificates have less than 2 KiB. A peer must not fill our memory with others.
_ORDINARY = 4096


def cache_ordinary(most: int) -> Callable[[Callable[[bytes], _Read]], Callable[[bytes], _Read]]:
    """Cache a pure function of bytes, for the last ``most`` of ordinary size."""

    def decorate(read: Callable[[bytes], _Read]) -> Callable[[bytes], _Read]:
        cached = functools.lru_cache(most)(read)

        @functools.wraps(read)
        def read_once(data: bytes) -> _Read:
            return (cached if len(data) <= _ORDINARY else read)(data)

        return read_once

    return decorate
