"""The error of a configuration, in one line: which file, where in it, what is wrong there.

Its reader has the file open in an editor: the place comes first, as a person would write it
(``[0].tls_config.cert_file``).
"""

from __future__ import annotations

from mtls_echo_pki.printable import printable

# A value of a megabyte is not repeated in the error about it.
_LONGEST = 400


class EndpointsError(Exception):
    """A configuration that must not be used.

    Attributes:
        file: Which file, or what a text without one is called.
        place: Where in it; empty for the whole.
        reason: What is wrong there, and what is allowed.
        hint: What to write instead, where that is known.
    """

    def __init__(self, file: str, place: str, reason: str, hint: str | None = None) -> None:
        super().__init__(file, place, reason, hint)
        self.file = file
        self.place = _bounded(place)
        self.reason = _bounded(reason)
        self.hint = None if hint is None else _bounded(hint)

    def __str__(self) -> str:
        """One line, whatever was written into the file."""
        return ": ".join(part for part in (printable(self.file), self.fault) if part)

    @property
    def fault(self) -> str:
        """The line without the file: place and reason."""
        return f"{self.place}: {self.reason}" if self.place else self.reason


def _bounded(text: str) -> str:
    text = printable(text[: _LONGEST + 1])
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
