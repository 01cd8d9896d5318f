"""Durations and dates as people write them: ``30d``, "30 days", "expires in 30 days"."""

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
    made for 30 days a moment ago has "30 days" left.
    """
    lifetime = max(lifetime, timedelta(0))
    name, unit = next(
        (
            (name, unit)
            for name, unit in _UNITS.items()
            if lifetime >= 2 * unit - unit / 60 or abs(lifetime - unit) <= unit / 60
        ),
        ("s", _UNITS["s"]),
    )
    count = round(lifetime / unit)
    return f"{count} {_UNIT_NAMES[name]}{'' if count == 1 else 's'}"


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
