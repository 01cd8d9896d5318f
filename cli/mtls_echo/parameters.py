"""Parameter types that several commands take, and the summary of a credential."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mtls_echo_pki.certificates.credential import Credential


class Lifetime(click.ParamType[timedelta]):
    """A duration such as 30d; see :func:`~mtls_echo_pki.certificates.lifetimes.parse_lifetime`."""

    name = "lifetime"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Read it."""
        from mtls_echo_pki.certificates.lifetimes import parse_lifetime

        if isinstance(value, timedelta):
            return value
        try:
            return parse_lifetime(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Seconds(click.FloatRange):
    """A finite number of seconds: ``inf`` and ``nan`` are numbers to Python and to click."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read it, within the range."""
        seconds = float(super().convert(value, param, ctx))
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is not a finite number of seconds", param, ctx)
        return seconds


directory_argument = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))


def summary(credential: Credential) -> str:
    """Return the names of a credential and how long it lasts, on one line."""
    from mtls_echo_pki.certificates.authority import utcnow
    from mtls_echo_pki.certificates.identifiers import presented_identifiers
    from mtls_echo_pki.certificates.lifetimes import validity

    certificate = credential.certificate
    names = ", ".join(presented_identifiers(certificate))
    end = certificate.not_valid_after_utc
    return f"{names}; {validity(certificate.not_valid_before_utc, end, utcnow())}"
