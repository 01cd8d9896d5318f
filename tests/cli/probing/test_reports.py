"""The reports of a probe: JSON, JUnit's XML, SARIF 2.1.0, and the account for people."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal
from xml.etree import ElementTree

import msgspec
import pytest

from mtls_echo.commands.probe.text import account
from mtls_echo.probing.handshakes import HANDSHAKES
from mtls_echo.probing.identities import IDENTITIES
from mtls_echo.probing.meanings import CLASSES, differs, wrong_alert
from mtls_echo.probing.reports.again import command
from mtls_echo.probing.reports.formats import as_json, as_junit, as_sarif
from mtls_echo.probing.result import GoodOutcome, ProbeRow, Result
from mtls_echo.probing.target import ProbeTarget
from mtls_echo_client.http import HTTPRequest

ROWS = [
    ProbeRow(
        slug="none",
        group="identity",
        tls="1.3",
        server_name="a.test",
        verdict="admitted",
        how="HTTP/1.1 200 OK",
        differs="No certificate is presented",
        severity="high",
        tries=2,
    ),
    ProbeRow(
        slug="weak-key",
        group="identity",
        tls="1.3",
        server_name="a.test",
        verdict="admitted",
        how="HTTP/1.1 200 OK",
        differs="The certificate's key is RSA with 1024 bits.",
        severity="low",
    ),
    ProbeRow(
        slug="expired",
        group="identity",
        tls="1.3",
        server_name="a.test",
        verdict="refused",
        how="alert unknown_ca",
        differs="The certificate has expired",
        severity="high",
        note=wrong_alert("expired", "alert unknown_ca"),
    ),
    ProbeRow(
        slug="sni-none",
        group="handshake",
        tls="1.3",
        verdict="unclear",
        how="HTTP/1.1 200 OK, with another text \x1b[31m",
        differs="No certificate, and no name is asked for (SNI)",
        severity="high",
    ),
    ProbeRow(
        slug="revoked",
        group="identity",
        tls="1.3",
        verdict="not tested",
        how="no CRL is given",
        differs="The CA has revoked the certificate",
        severity="high",
        tries=0,
    ),
]

FOUND = Result(
    target="a.test:8443",
    mode="http",
    good="CN=client",
    server="a.test (nginx/1.22.1)",
    baseline=[
        GoodOutcome(tls="1.2", served=False, how="the server refused us: protocol_version"),
        GoodOutcome(tls="1.3", served=True, how="HTTP/1.1 200 OK"),
    ],
    rows=ROWS,
    connections=12,
)

NOT_SERVED = Result(
    target="a.test:8443",
    mode="http",
    good="CN=client",
    baseline=[GoodOutcome(tls="1.3", served=False, how="refused", facts=["one", "two"])],
)


# --- SARIF, as far as OASIS's schema demands it of what is written here --------------------------


class Text(msgspec.Struct, forbid_unknown_fields=True):
    text: Annotated[str, msgspec.Meta(min_length=1)]


class Rule(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    id: str
    short_description: Text
    full_description: Text
    help: Text
    default_configuration: dict[Literal["level"], Literal["none", "note", "warning", "error"]]
    properties: dict[str, Any]


class Driver(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    version: str
    rules: list[Rule]


class Tool(msgspec.Struct, forbid_unknown_fields=True):
    driver: Driver


class Artifact(msgspec.Struct, forbid_unknown_fields=True):
    uri: Annotated[str, msgspec.Meta(pattern=r"^[a-z]+://\S+$")]


class Physical(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    artifact_location: Artifact


class Logical(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    fully_qualified_name: str
    kind: str


class Location(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    physical_location: Physical
    logical_locations: list[Logical]


class SarifResult(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    rule_id: str
    rule_index: Annotated[int, msgspec.Meta(ge=0)]
    kind: Literal["notApplicable", "pass", "fail", "review", "open", "informational"]
    level: Literal["none", "note", "warning", "error"]
    message: Text
    locations: list[Location]
    partial_fingerprints: dict[str, str]


class Notification(msgspec.Struct, forbid_unknown_fields=True):
    level: Literal["none", "note", "warning", "error"]
    message: Text


class Invocation(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    execution_successful: bool
    exit_code: int
    tool_execution_notifications: list[Notification]


class Run(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    tool: Tool
    results: list[SarifResult]
    invocations: list[Invocation]
    column_kind: Literal["utf16CodeUnits", "unicodeCodePoints"]


class Log(msgspec.Struct, forbid_unknown_fields=True):
    schema: str = msgspec.field(name="$schema")
    version: Literal["2.1.0"]
    runs: list[Run]


def test_a_sarif_log_has_a_result_for_each_finding_and_for_what_is_unclear() -> None:
    run = msgspec.json.decode(as_sarif(FOUND, "medium"), type=Log).runs[0]

    assert [(each.rule_id, each.kind, each.level) for each in run.results] == [
        ("none", "fail", "error"),
        ("weak-key", "fail", "note"),
        ("sni-none", "review", "none"),
    ]
    for each in run.results:
        assert run.tool.driver.rules[each.rule_index].id == each.rule_id
        assert each.locations[0].physical_location.artifact_location.uri == "tls://a.test:8443"
    assert len({str(each.partial_fingerprints) for each in run.results}) == len(run.results)
    assert run.invocations[0].exit_code == 1
    assert "\x1b" not in as_sarif(FOUND, "medium").decode()


def test_where_nothing_was_judged_no_report_looks_like_a_success() -> None:
    run = msgspec.json.decode(as_sarif(NOT_SERVED, "low"), type=Log).runs[0]
    suite = ElementTree.XML(as_junit(NOT_SERVED, "low"))

    assert run.results == []
    assert not run.invocations[0].execution_successful
    assert run.invocations[0].tool_execution_notifications[0].level == "error"
    assert suite.attrib["errors"] == "1"
    assert json.loads(as_json(NOT_SERVED, "low"))["exit_status"] == 5


def test_a_suite_of_junit_counts_its_cases() -> None:
    suite = ElementTree.XML(as_junit(FOUND, "medium"))
    kinds = {case.attrib["name"]: [each.tag for each in case] for case in suite}

    assert suite.tag == "testsuite"
    assert {name: suite.attrib[name] for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "7",
        "failures": "1",
        "errors": "1",
        "skipped": "2",
    }
    assert kinds["none (TLS 1.3)"] == ["failure"]
    assert kinds["weak-key (TLS 1.3)"] == []  # below the severity that counts
    assert kinds["sni-none (TLS 1.3)"] == ["error"]
    assert kinds["revoked (TLS 1.3)"] == ["skipped"]


def test_an_object_of_json_has_every_row_and_what_each_finding_means() -> None:
    found = json.loads(as_json(FOUND, "medium"))

    assert (found["exit_status"], found["target"]) == (1, "a.test:8443")
    assert [row["slug"] for row in found["rows"]] == [row.slug for row in ROWS]
    assert [row["finding"] for row in found["rows"]] == [True, True, False, False, False]
    assert "nginx" in found["rows"][0]["settings"]


def test_the_account_begins_with_the_findings_and_the_product_s_own_setting() -> None:
    text = account(FOUND, "medium", lambda row: f"curl {row.slug}")

    assert max(map(len, text.splitlines())) <= 80
    assert "1. none (high, TLS 1.3)" in text
    assert "ssl_verify_client on;" in text
    assert "HAProxy" not in text  # the server says that it is nginx
    assert "curl none" in text
    assert text.index("1. none") < text.index("not clear") < text.index("\nnot tested")
    assert "\x1b" not in text
    assert "certificate_expired says what it is" in text


@pytest.mark.parametrize(
    ("slug", "alert", "is_wrong"),
    [
        ("expired", "certificate_expired", False),
        ("expired", "bad_certificate", False),
        ("expired", "unknown_ca", True),
        ("unknown-authority", "certificate_expired", True),
        ("none", "handshake_failure", False),
        ("weak-key", "unknown_ca", False),
    ],
)
def test_an_alert_that_names_another_reason_is_noted(
    slug: str, alert: str, *, is_wrong: bool
) -> None:
    assert bool(wrong_alert(slug, f"alert {alert}")) is is_wrong


def test_every_case_belongs_to_a_class() -> None:
    assert len(IDENTITIES) + len(HANDSHAKES) == len(CLASSES)
    assert {*IDENTITIES, *HANDSHAKES} == {*CLASSES}
    for slug, each in CLASSES.items():
        assert each.meaning.endswith(".")
        assert each.cases[slug]
        assert differs(slug)
    # Caddy's demands a certificate all the same: of the system's CAs.
    assert not any("Caddy" in advisory for advisory in CLASSES["none"].advisories)
    assert any("Caddy" in advisory for advisory in CLASSES["ca-names"].advisories)


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        (["refused", "not tested"], 0),
        (["refused", "admitted"], 1),
        (["refused", "unclear"], 6),
        (["not tested"], 6),
        ([], 6),
        (["admitted", "unclear"], 1),
    ],
)
def test_the_exit_status_calls_nothing_a_pass_that_was_not_tested(
    verdicts: list[Any], status: int
) -> None:
    rows = [msgspec.structs.replace(ROWS[0], verdict=each) for each in verdicts]

    assert msgspec.structs.replace(FOUND, rows=rows).exit_status() == status


def test_what_is_unclear_counts_where_an_admission_would() -> None:
    refused = ROWS[2]
    unclear = msgspec.structs.replace(ROWS[1], verdict="unclear")
    result = Result(
        target="a.test:443",
        mode="http",
        good="client.test",
        baseline=[GoodOutcome(tls="1.3", served=True, how="HTTP/1.1 200 OK")],
        rows=[refused, unclear],
    )

    assert result.exit_status("medium") == 0
    assert result.exit_status("low") == 6
    assert msgspec.structs.replace(result, rows=[unclear]).exit_status("medium") == 6
    assert b' errors="0"' in as_junit(result, "medium")
    assert b' errors="1"' in as_junit(result, "low")


def test_a_command_shows_a_finding_again_or_there_is_none() -> None:
    target = ProbeTarget(
        host="a.test",
        port=8443,
        trust=None,
        server_names=("a.test",),
        request=HTTPRequest("/a?b=1&c=2"),
    )
    shown, forged = (
        command(msgspec.structs.replace(ROWS[0], slug=slug), target, "http", None)
        for slug in ("plaintext", "forged-headers")
    )
    assert shown == "curl -i 'http://a.test:8443/a?b=1&c=2'"
    # Without the headers it would show a refusal.
    assert forged is None


@pytest.mark.parametrize(
    ("alpn", "by_curl", "by_openssl"),
    [
        ((), "::a.test:8443 https", "-tls1_3"),
        (("http/1.1",), "::a.test:8443 --http1.1 https", "-tls1_3 -alpn http/1.1"),
        (("h2", "http/1.1"), "::a.test:8443 --http2 https", "-tls1_3 -alpn h2,http/1.1"),
    ],
)
def test_a_command_offers_the_protocols_that_the_run_did(
    alpn: tuple[str, ...], by_curl: str, by_openssl: str
) -> None:
    target = ProbeTarget(host="a.test", port=8443, trust=None, server_names=("a.test",), alpn=alpn)

    assert by_curl in str(command(ROWS[0], target, "http", None))
    assert str(command(ROWS[0], target, "handshake", None)).endswith(by_openssl)
