"""The cases of a probe, and what a finding means: what usually causes it in which product.

All of it is in a table, ``meanings.toml``: as far as a product's documentation or an advisory
supports it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib import resources
from typing import Literal, TypeAlias

import msgspec

from mtls_echo_pki.flaws.registry import FLAWS
from mtls_echo_pki.lookup import look_up

Severity: TypeAlias = Literal["high", "medium", "low"]

# Alerts that say what is wrong with a certificate; bad_certificate and others only that it is.
_DEFINITE = frozenset(
    {
        "certificate_expired",
        "certificate_required",
        "certificate_revoked",
        "unknown_ca",
        "unsupported_certificate",
    }
)


class FindingClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One class of findings.

    Attributes:
        cases: The slugs of its cases, and how grave it is that one is admitted.
        meaning: What it means that one is admitted.
        settings: What usually causes it, or prevents it, by product.
        advisories: Some of this class.
        alerts: Those that refuse it for what it is; empty: any.
    """

    cases: dict[str, Severity]
    meaning: str
    settings: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    advisories: list[str] = msgspec.field(default_factory=list[str])
    alerts: list[str] = msgspec.field(default_factory=list[str])


_table = tomllib.loads(
    resources.files("mtls_echo.probing").joinpath("meanings.toml").read_text("utf-8")
)
_differs = msgspec.convert(_table.pop("differs"), dict[str, str])
_classes = msgspec.convert(_table, dict[str, FindingClass])

# The class of each case.
CLASSES: dict[str, FindingClass] = {
    slug: each for each in _classes.values() for slug in each.cases
}


def differs(slug: str) -> str:
    """In what a case differs from the good identity, in one clause."""
    return _differs.get(slug) or FLAWS[slug].title


def check_slugs(slugs: Iterable[str]) -> None:
    """Raise a `ValueError` for the first that is not that of a case."""
    for slug in slugs:
        look_up("case", slug, CLASSES, "mtls-echo probe --list")


def wrong_alert(slug: str, how: str) -> str:
    """What is odd about the alert of a refusal: that it names another reason; or nothing."""
    alert, right = how.removeprefix("alert "), CLASSES[slug].alerts
    if not right or alert in right or alert not in _DEFINITE:
        return ""
    return f"{alert} sends the client to look for another fault; {right[0]} says what it is"
