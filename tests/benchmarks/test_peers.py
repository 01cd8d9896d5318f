"""`benchmarks.accuracy --peers`: it grades rightly, and foreign peers take part in either role."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from benchmarks.peers.arranging import Turns, arrange, stacks_of
from benchmarks.peers.faults import World
from benchmarks.peers.grading import Outcome, grade, graded
from benchmarks.peers.makers import make
from benchmarks.peers.measure import goals_met
from benchmarks.peers.profiles import PROFILES, Issued
from benchmarks.peers.stacks import STACKS
from benchmarks.worlds import BOTH
from cryptography import x509

from tests.support.timing import TIMEOUT

ROOT = Path(__file__).parents[2]


def outcome(truth: str, judge: str = "theirs", **report: Any) -> Outcome:
    usual = {"outcome": "refused", "rejected_by": "server", "summary": "", "remedy": ""}
    found = Outcome("a-fault", "go", "server", "1.3", "step", judge, tuple(truth.split()))
    found.report = {**usual, **report}
    return found


def graded_as(found: Outcome, *culprits: str, alone: bool = False) -> Outcome:
    grade(found, "server", culprits, alone=alone)
    return found


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("expired", "exact"),
        ("expired not-yet-valid", "first"),
        ("unknown-authority expired", "within"),
        ("unknown-authority self-signed", "wrong"),
        ("unknown-authority", "false"),
        ("closed-without-alert", "wrong"),  # it was closed so, and nothing else is said
        ("", "wrong"),
    ],
)
def test_the_order_of_the_causes_makes_the_grade(named: str, expected: str) -> None:
    assert graded(named.split(), {"expired"}) == expected


@pytest.mark.parametrize(
    ("causes", "judge", "expected"),
    [
        ("", "theirs", "met"),
        ("", "ours", "met"),
        ("weak-key", "theirs", "accepted"),  # a foreign end may accept what it likes
        ("weak-key", "ours", "wrong"),  # ours may not
    ],
)
def test_two_ends_that_come_together(causes: str, judge: str, expected: str) -> None:
    assert graded_as(outcome(causes, judge, causes=[], outcome="echoed")).grade == expected


def test_a_sound_pair_that_does_not_meet_is_wrong_and_so_is_not_a_report() -> None:
    assert graded_as(outcome("", causes=["expired"])).grade == "false"
    silent = outcome("expired")
    silent.report = None
    assert graded_as(silent).grade == "wrong"


@pytest.mark.parametrize(("said", "right"), [("server", True), ("client", False), (None, False)])
def test_the_side_that_refused_must_be_named(said: str | None, right: bool) -> None:
    found = graded_as(outcome("expired", causes=["expired"], rejected_by=said))
    assert found.refuser_right is right


def test_the_hint_must_name_a_ca_that_is_at_fault() -> None:
    right, remedy = ["expired-authority"], "renew the certificate of “Old CA”"
    named = outcome("expired-authority", causes=right, remedy=remedy)
    assert graded_as(named, "Old CA").culprit_named is True
    assert graded_as(outcome("expired-authority", causes=right), "Old CA").culprit_named is False
    wrong = outcome("expired-authority", causes=["expired"], remedy=remedy)
    assert graded_as(wrong, "Old CA").culprit_named is None  # of a wrong cause it does not matter
    assert graded_as(outcome("expired", causes=["expired"])).culprit_named is None


def test_what_one_end_cannot_know_is_counted_apart_and_still_not_right() -> None:
    causes = ["unknown-authority", "missing-intermediate"]
    found = graded_as(outcome("missing-intermediate", causes=causes), alone=True)
    assert (found.grade, found.undecidable) == ("within", True)
    sent_along = graded_as(outcome("missing-intermediate", causes=causes), alone=False)
    assert not sent_along.undecidable
    assert not graded_as(
        outcome("missing-intermediate", causes=["expired"]), alone=True
    ).undecidable
    assert not graded_as(outcome("expired", causes=causes), alone=True).undecidable


def test_the_goals_allow_one_in_twenty_to_be_wrong_and_none_to_be_false() -> None:
    right = [graded_as(outcome("expired", causes=["expired"])) for _ in range(19)]
    wrong = graded_as(outcome("expired", causes=["reset", "timeout"]))
    accepted = graded_as(outcome("expired", causes=[], outcome="echoed"))
    assert goals_met([*right, wrong, accepted])
    assert not goals_met([*right[1:], wrong])
    unknown = outcome("missing-intermediate", causes=["unknown-authority", "missing-intermediate"])
    assert goals_met([*right, wrong, graded_as(unknown, alone=True)])
    assert not goals_met([*right, wrong, graded_as(unknown, alone=True), wrong])
    assert not goals_met([*right * 9, graded_as(outcome("expired", causes=["weak-key"]))])


def extensions(issued: Issued) -> set[tuple[x509.ObjectIdentifier, bool, str]]:
    """Which extensions it has, how, and the shape of what the forms are about."""
    found: set[tuple[x509.ObjectIdentifier, bool, str]] = set()
    for extension in issued.certificate.extensions:
        value = extension.value
        shape = ""
        if isinstance(value, x509.AuthorityKeyIdentifier):
            shape = str((value.authority_cert_issuer, value.authority_cert_serial_number is None))
        elif isinstance(value, x509.BasicConstraints | x509.KeyUsage | x509.ExtendedKeyUsage):
            shape = repr(value)
        found.add((extension.oid, extension.critical, shape))
    return found


@pytest.mark.parametrize("name", ["openssl", "easy-rsa"])
def test_the_model_of_a_tool_makes_what_the_tool_makes(name: str) -> None:
    profile = next(profile for profile in PROFILES if profile.name == name)
    made = make(profile)
    if made is None:
        pytest.skip(f"{name} is not installed")
    world = World(profile)
    modelled = world.authority(made.root.certificate.subject.rfc4514_string()[3:].split(",")[0])
    assert extensions(modelled) == extensions(made.root)
    for side in BOTH:
        leaf = world.leaf(side, made.root)
        assert extensions(leaf) == extensions(made.end_entities[side])
        assert leaf.certificate.subject == made.end_entities[side].certificate.subject


def test_every_stack_meets_every_fault_that_it_can_and_the_certificates_of_every_tool() -> None:
    turns = Turns(
        tuple(World(profile) for profile in PROFILES if profile.name != "openssl"), False
    )
    meetings = list(arrange(STACKS, turns))
    for stack in STACKS:
        mine = [meeting for meeting in meetings if meeting.stack is stack]
        assert {meeting.part.side for meeting in mine} == {*stack.sides}
        assert {meeting.profile for meeting in mine} == {
            world.profile.name for world in turns.worlds
        }
        faults = Counter(meeting.fault.slug for meeting in mine)
        for slug in ("sound", "expired", "other-ca", "wrong-name", "no-common-version"):
            assert faults[slug] > 0, (stack.name, slug)


def test_a_stack_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    stacks, missing = stacks_of(["go", "python"])
    assert [stack.name for stack in stacks] == ["python"]
    assert missing == {"go": "go not installed"}


def test_python_takes_part_in_either_role_and_everything_is_written(tmp_path: Path) -> None:
    written = tmp_path / "outcomes.json"
    arguments = ("--peers", "python", "--cas", "step", "--only", "expired", "--json", str(written))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.accuracy", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.stderr == ""
    found = json.loads(written.read_text())
    outcomes = [Outcome(**one) for one in found["outcomes"]]
    played = {(one.side, one.judge, one.tls) for one in outcomes}
    assert len(played) == len(outcomes) == 8
    assert [one for one in outcomes if one.grade in ("not played", "accepted")] == []
    assert all(one.refuser_right for one in outcomes)
    assert found["made"] == {"CA of step": "modelled with cryptography"}
    assert "8 cases, about 1 min" in done.stdout
