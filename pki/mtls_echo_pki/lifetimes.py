"""Durations and dates as people write them: ``30d``, "30 days", "expires in 30 days", "0.3 ms".

Whatever shows a person how long something is or was takes it from here, so that all of the program
rounds alike.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}
_UNIT_NAMES = {"d": "day", "h": "hour", "m": "minute", "s": "second"}

# In tables; "m" could be months there, or metres.
_ABBREVIATIONS = {"year": "y", "day": "d", "hour": "h", "minute": "min", "second": "s"}

# Said of two and more: what lives for 365 days is renewed in days.
_YEAR = timedelta(days=365)

# Far below datetime's year 9999, far above what any certificate should last.
MAX_LIFETIME = timedelta(days=36500)


def parse_lifetime(text: str) -> timedelta:
    """Read a lifetime such as ``60s``, ``10m``, ``12h`` or ``30d``.

    Raises:
        ValueError: If it is not a positive whole number and one of these units, or
            is longer than a hundred years.
    """
    match = re.fullmatch(r"([0-9]{1,12})([smhd])", text)
    if match is None or int(match[1]) == 0:
        raise ValueError(f'"{text}" is not a lifetime; write 60s, 10m, 12h or 30d')
    if int(match[1]) > MAX_LIFETIME // _UNITS[match[2]]:
        raise ValueError(f'"{text}" is longer than a hundred years')
    return int(match[1]) * _UNITS[match[2]]


def describe_lifetime(lifetime: timedelta) -> str:
    """Return a duration in words, rounded to the unit a person would use.

    Ninety minutes stay "90 minutes" and a whole day is "1 day": a unit is used when it fits at
    least twice, or exactly once. A sixtieth of the unit is overlooked in that, so that what was
    made for 30 days a moment ago has "30 days" left. Years are used from two on.
    """
    if lifetime < _UNITS["s"] / 2:
        return "less than a second"
    count, name = _rounded(lifetime)
    return f"{count} {name}{'' if count == 1 else 's'}"


def describe_seconds(seconds: float) -> str:
    """Return what was measured: "0.3 ms", "1.4 s", and in words from two minutes on."""
    if seconds >= 1.95 * 60:
        return describe_lifetime(timedelta(seconds=seconds))
    if seconds >= 0.99995:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.1f} ms" if seconds >= 0.00005 else "less than 0.1 ms"


def abbreviate_seconds(seconds: float) -> str:
    """Return a duration for a column of a table: ``30 d``, ``59 s``, ``1.4 s``, ``0.6 ms``."""
    if seconds < 9.95:
        return describe_seconds(seconds).replace("less than ", "<")
    count, name = _rounded(timedelta(seconds=seconds))
    return f"{count} {_ABBREVIATIONS[name]}"


def _rounded(lifetime: timedelta) -> tuple[int, str]:
    """How many of the unit that a person would use."""
    if lifetime >= 2 * _YEAR - _UNITS["d"]:
        return round(lifetime / _YEAR), "year"
    name, unit = next(
        (
            (name, unit)
            for name, unit in _UNITS.items()
            if lifetime >= 2 * unit - unit / 60 or abs(lifetime - unit) <= unit / 60
        ),
        ("s", _UNITS["s"]),
    )
    return max(round(lifetime / unit), 1), _UNIT_NAMES[name]


def timestamp(moment: datetime) -> str:
    """Return a moment as it is printed, to the second."""
    return moment.replace(tzinfo=None).isoformat(" ", "seconds")


def validity(begin: datetime, end: datetime, now: datetime) -> str:
    """Return how a validity stands at ``now``, such as "expires in 30 days"."""
    if now < begin:
        return f"not valid for another {describe_lifetime(begin - now)}"
    if now > end:
        return f"expired {describe_lifetime(now - end)} ago"
    return f"expires in {describe_lifetime(end - now)}"
