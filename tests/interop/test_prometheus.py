"""What Prometheus' own tool says of the metrics and of the alerting rules."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from mtls_echo_server import events
from tests.interop.foreign_peers import need
from tests.server.status.world import Asked, ended, refusal, report
from tests.support.timing import TIMEOUT

RULES = Path(__file__).parents[2] / "docs" / "alerts.yaml"


@pytest.fixture(autouse=True)
def _needed() -> None:
    need("promtool")


def promtool(*arguments: str, stdin: bytes = b"") -> str:
    done = subprocess.run(
        ["promtool", *arguments], input=stdin, capture_output=True, timeout=TIMEOUT, check=False
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def test_the_metrics_are_as_they_should_be() -> None:
    asked = Asked()
    asked.tally(events.accepted("127.0.0.1:1", None, "TLSv1.3", 0.003))
    asked.tally(ended(report(1)))
    asked.tally(ended(refusal(2)))
    assert promtool("check", "metrics", stdin=asked.get("/metrics").body) == ""


def test_the_rules_fire_when_they_should_and_not_before(tmp_path: Path) -> None:
    assert "5 rules found" in promtool("check", "rules", str(RULES))
    tests = Path(__file__).with_name("alerts_test.yaml").read_text()
    (tmp_path / "test.yaml").write_text(tests.replace("RULES", str(RULES)))
    assert "SUCCESS" in promtool("test", "rules", str(tmp_path / "test.yaml"))


def test_the_rules_name_metrics_that_exist() -> None:
    exposed = Asked().get("/metrics").body.decode()
    named = {*re.findall(r"mtls_echo_\w+", RULES.read_text())}
    assert len(named) == 6
    for name in named:
        assert f"\n{name}" in exposed or f"# TYPE {name} " in exposed
    assert 'le="86400.0"' in exposed
