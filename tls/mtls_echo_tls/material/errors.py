"""The error of settings that do not fit together."""

from __future__ import annotations


class ConfigurationError(Exception):
    """The settings given do not fit together; `hint` says what to give instead."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
