"""A test suite in JUnit's XML, as CI servers read it."""

from __future__ import annotations

from typing import Literal, TypeAlias
from xml.etree import ElementTree

from mtls_echo_pki.printable import printable

# What became of a case; empty: it passed.
Outcome: TypeAlias = Literal["", "failure", "error", "skipped"]

_PLURALS: dict[Outcome, str] = {"failure": "failures", "error": "errors", "skipped": "skipped"}


class JUnitSuite:
    """A suite, whose cases are counted as they are added.

    Args:
        name: The suite's.
        classname: That of its cases.
    """

    def __init__(self, name: str, classname: str) -> None:
        self._suite = ElementTree.Element("testsuite", name=printable(name))
        self._classname = printable(classname)
        self._counts = dict.fromkeys(_PLURALS, 0)

    def add(self, name: str, outcome: Outcome = "", message: str = "", text: str = "") -> None:
        """Add a case; what it says may be a peer's, and is escaped."""
        case = ElementTree.SubElement(
            self._suite, "testcase", classname=self._classname, name=printable(name)
        )
        if outcome:
            self._counts[outcome] += 1
            found = ElementTree.SubElement(case, outcome, message=printable(message))
            found.text = printable(text)

    def encode(self) -> bytes:
        """The whole of it, in UTF-8."""
        self._suite.set("tests", str(len(self._suite)))
        for outcome, count in self._counts.items():
            self._suite.set(_PLURALS[outcome], str(count))
        written: bytes = ElementTree.tostring(self._suite, encoding="utf-8", xml_declaration=True)
        return written
