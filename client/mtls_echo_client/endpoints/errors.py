"""A configuration is refused in one line: which file, where in it, what is wrong there.

Whoever reads that line has the file open in an editor. So the place comes first and is written as
a person would say it (``[0].tls_config.cert_file``), and the way out is a hint of its own.
"""

from __future__ import annotations

from mtls_echo_pki.printable import printable


class EndpointsError(Exception):
    """A configuration that must not be used.

    Attributes:
        file: Which file, or ``--endpoint.config``.
        place: Where in it; empty for the whole.
        reason: What is wrong there, and what is allowed.
        hint: What to write instead, where that is known.
    """

    def __init__(self, file: str, place: str, reason: str, hint: str | None = None) -> None:
        super().__init__(file, place, reason, hint)
        self.file = file
        self.place = place
        self.reason = printable(reason)
        self.hint = hint

    def __str__(self) -> str:
        """One line, whatever was written into the file."""
        return printable(": ".join(part for part in (self.file, self.where, self.reason) if part))

    @property
    def where(self) -> str:
        """The place, on one line."""
        return printable(self.place)
