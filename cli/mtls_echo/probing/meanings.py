"""What a finding means, what usually causes it in which product, and advisories of its class.

All of it is in a table, ``meanings.toml``: as far as a product's documentation or an advisory
supports it.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

import msgspec

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
        cases: The slugs of its cases.
        meaning: What it means that one is admitted.
        settings: What usually causes it, or prevents it, by product.
        advisories: Some of this class.
        alerts: Those that refuse it for what it is; empty: any.
    """

    cases: list[str]
    meaning: str
    settings: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    advisories: list[str] = msgspec.field(default_factory=list[str])
    alerts: list[str] = msgspec.field(default_factory=list[str])


@cache
def _meanings() -> dict[str, FindingClass]:
    table = resources.files("mtls_echo.probing").joinpath("meanings.toml").read_text("utf-8")
    classes = msgspec.convert(tomllib.loads(table), dict[str, FindingClass])
    return {slug: each for each in classes.values() for slug in each.cases}


def class_of(slug: str) -> FindingClass:
    """The class of a case."""
    return _meanings()[slug]


def wrong_alert(slug: str, how: str) -> str:
    """What is odd about the alert of a refusal: that it names another reason; or nothing."""
    alert, right = how.removeprefix("alert "), class_of(slug).alerts
    if not right or alert in right or alert not in _DEFINITE:
        return ""
    return f"{alert} sends the client to look for another fault; {right[0]} says what it is"
