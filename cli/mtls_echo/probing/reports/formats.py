"""The result of a probe as JSON, as JUnit's XML, and as SARIF 2.1.0.

All three say where nothing was judged: a report without findings is not a pass then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mtls_echo import __version__
from mtls_echo.probing.meanings import CLASSES
from mtls_echo.reports.junit import JUnitSuite, Outcome
from mtls_echo_pki.printable import printable

if TYPE_CHECKING:
    from mtls_echo.probing.meanings import Severity
    from mtls_echo.probing.result import ProbeRow, Result

_LEVELS = {"high": "error", "medium": "warning", "low": "note"}

# As GitHub ranks findings: critical from 9.0 on, high from 7.0, medium from 4.0.
_SCORES = {"high": "8.5", "medium": "5.5", "low": "2.5"}

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def as_json(result: Result, fail_on: Severity) -> bytes:
    """One object, with every row, and what each finding means."""
    rows: list[dict[str, Any]] = []
    for row in result.rows:
        fields: dict[str, Any] = msgspec.to_builtins(row)
        fields["finding"] = row.is_finding
        if row.is_finding:
            each = CLASSES[row.slug]
            fields |= {
                "meaning": each.meaning,
                "settings": each.settings,
                "advisories": each.advisories,
            }
        rows.append(fields)
    whole: dict[str, Any] = msgspec.to_builtins(result)
    status = {"exit_status": result.exit_status(fail_on), "fail_on": fail_on}
    return msgspec.json.encode({**status, **whole, "rows": rows})


def as_junit(result: Result, fail_on: Severity) -> bytes:
    """A test suite with a case for each row; what is unclear is an error."""
    name = f"mtls-echo probe {result.target}"
    failed, unclear = result.findings(fail_on), result.unclear(fail_on)
    suite = JUnitSuite(name, name)
    for each in result.baseline:
        title = f"the good identity is served (TLS {each.tls})"
        outcome: Outcome = "" if each.served else "skipped" if result.served else "error"
        suite.add(title, outcome, each.how, "; ".join(each.facts))
    for row in result.rows:
        if row in failed:
            meaning = f"{row.differs}. {CLASSES[row.slug].meaning}"
            suite.add(row.title, "failure", row.how, meaning)
        elif row in unclear:
            suite.add(row.title, "error", f"unclear: {row.how}", row.differs)
        else:
            judged = row.verdict not in ("unclear", "not tested")
            suite.add(row.title, "" if judged else "skipped", row.how)
    return suite.encode()


def as_sarif(result: Result, fail_on: Severity) -> bytes:
    """A log of one run, with a rule for each case that was admitted or is unclear."""
    shown = [row for row in result.rows if row.is_finding or row.verdict == "unclear"]
    rules = list(dict.fromkeys(row.slug for row in shown))
    failures = [each for each in result.baseline if not each.served]
    run = {
        "tool": {
            "driver": {
                "name": "mtls-echo probe",
                "version": __version__,
                "rules": [_rule(next(row for row in shown if row.slug == slug)) for slug in rules],
            }
        },
        "results": [_result(row, rules.index(row.slug), result) for row in shown],
        "invocations": [
            {
                "executionSuccessful": result.served,
                "exitCode": result.exit_status(fail_on),
                "toolExecutionNotifications": [
                    {
                        "level": "warning" if result.served else "error",
                        "message": {"text": f"TLS {each.tls} was not judged: {each.how}"},
                    }
                    for each in failures
                ],
            }
        ],
        "columnKind": "unicodeCodePoints",
    }
    return msgspec.json.encode({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]})


def _rule(row: ProbeRow) -> dict[str, Any]:
    each = CLASSES[row.slug]
    settings = "\n".join(f"{product}: {text}" for product, text in each.settings.items())
    return {
        "id": row.slug,
        "shortDescription": {"text": row.differs},
        "fullDescription": {"text": each.meaning},
        "help": {"text": settings or each.meaning},
        "defaultConfiguration": {"level": _LEVELS[row.severity]},
        "properties": {"security-severity": _SCORES[row.severity], "tags": ["security", "mtls"]},
    }


def _result(row: ProbeRow, index: int, result: Result) -> dict[str, Any]:
    where = f"tls://{result.target}"
    fails = row.is_finding
    text = f"{row.title}: {row.verdict}: {row.how}. {row.differs}."
    return {
        "ruleId": row.slug,
        "ruleIndex": index,
        "kind": "fail" if fails else "review",
        "level": _LEVELS[row.severity] if fails else "none",
        "message": {"text": printable(text)},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": where}},
                "logicalLocations": [{"fullyQualifiedName": where, "kind": "resource"}],
            }
        ],
        "partialFingerprints": {"case/v1": f"{where} {row.title} {row.server_name}".rstrip()},
    }
