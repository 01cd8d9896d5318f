"""Measure how often a failed handshake is explained correctly, by each side alone and by both.

    .venv/bin/python -m benchmarks.accuracy [--only SLUG] [--layout NAME] [--json FILE]
                                            [--python PATH]
    .venv/bin/python -m benchmarks.accuracy --peers [NAME,…] [--cas NAME,…] [--every-ca]
                                            [--only SLUG] [--json FILE] [--python PATH]

Black box: for each failure of `benchmarks.failures` two processes, `serve --log-format json` and
`connect --json`, get PEM files and are asked what happened. Each report, and the joint report
of both, is graded against the truth:

    exact   it names what is wrong, and nothing that is not
    within  it names what is wrong among other possibilities
    wrong   it does not name what is wrong, or there is no report

Where the files lie decides what an end can know, so all of it is done in two layouts: `alone`, in
which each file has a folder to itself, and `beside`, in which an end's files lie in one folder
with the certificates of its own issuers, as is most common. (On request `shared`:
the files of both ends in one folder.)

A wrong report sends its reader looking in the wrong place and is worse than a wide one, so any
makes the exit status 1. Also checked, and printed when not so: the side that refused is named by
both, its alert reached the other, the second fault of two is listed, the exit status is right.
Reports are compared with the truth and never with one another's wording, and nothing is timed.

With ``--peers`` the other end is foreign: Go, Java, node, curl, GnuTLS, openssl and Python, in
both roles and both TLS versions, with certificates as openssl, easy-rsa, cfssl, cert-manager and
step make them (`benchmarks.peers`).

The failures are not those of the tests, but they are fixed: rules that are changed until this
table pleases make it one more test, and its figures an upper bound.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks.failures import End, Failure, failures
from benchmarks.peers.measure import CA_NAMES, STACK_NAMES
from benchmarks.peers.measure import measure as measure_peers
from benchmarks.processes import SECONDS, event, facts_of, last_line, started
from benchmarks.worlds import Side
from mtls_echo_tls.diagnosis.joint import join_reports
from mtls_echo_tls.diagnosis.report import Report

WHO = ("refusing", "refused", "joined")
GRADES = ("exact", "within", "wrong")

# Goals for both sides alone taken together, and for the joint report.
GOALS = {"alone": 0.75, "joined": 0.95}

# Where an end's files lie; see the module.
Layout = Literal["alone", "beside", "shared"]
LAYOUTS: tuple[Layout, ...] = ("alone", "beside")

# Faults that a path shows only to an observer that knows the verifier's trust anchors.
_ANCHORS_ONLY = frozenset({"unknown-authority"})

_HTTP_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
_HTTP_ANSWER = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"


@dataclass
class Result:
    """One failure, as it was reported, and how that was graded.

    Attributes:
        failure: In words.
        slug: Of the scenario.
        layout: Where the files lay.
        causes: The truth.
        named: The causes that each account names.
        grades: Of each account.
        findings: What else is not as it should be: a kind, and what was seen.
        reports: The two reports, by side.
        status: The exit status of `connect`; None when it was not run.
    """

    failure: str
    slug: str
    layout: Layout
    causes: tuple[str, ...]
    named: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    grades: dict[str, str] = field(default_factory=dict[str, str])
    findings: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    reports: dict[Side, dict[str, Any]] = field(default_factory=dict[Side, dict[str, Any]])
    status: int | None = None


def main() -> None:
    """Arrange every failure, print what was not explained rightly and the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--only", metavar="SLUG", help="arrange this failure only")
    options.add_argument(
        "--layout",
        choices=get_args(Layout),
        help="where the files lie (default: alone and beside)",
    )
    options.add_argument("--json", type=Path, metavar="FILE", help="also write everything here")
    options.add_argument(
        "--python",
        default=sys.executable,
        metavar="PATH",
        help="the interpreter that runs both ends; mtls-echo must be installed in it",
    )
    options.add_argument(
        "--peers",
        nargs="?",
        const=",".join(STACK_NAMES),
        metavar="NAME,…",
        help=f"play the faults with foreign stacks: {', '.join(STACK_NAMES)} (default: all)",
    )
    options.add_argument(
        "--cas",
        metavar="NAME,…",
        help=f"with --peers: CAs of these tools, in turn: {', '.join(CA_NAMES)} (default: all)",
    )
    options.add_argument(
        "--every-ca", action="store_true", help="with --peers: not in turn, every case with each"
    )
    chosen = options.parse_args()
    if chosen.peers:
        peers, cas = chosen.peers.split(","), (chosen.cas or ",".join(CA_NAMES)).split(",")
        for name in {*peers} - {*STACK_NAMES} | {*cas} - {*CA_NAMES}:
            options.error(f"{name}: not known")
        more = {"every_ca": chosen.every_ca, "only": chosen.only, "output": chosen.json}
        sys.exit(not measure_peers(chosen.python, peers, cas, **more))
    found = [failure for failure in failures() if chosen.only in (None, failure.slug)]
    if not found:
        options.error(f"--only {chosen.only}: no failure is called that")
    layouts: tuple[Layout, ...] = (chosen.layout,) if chosen.layout else LAYOUTS
    arranged = [(failure, layout) for layout in layouts for failure in found]

    facts = facts_of(chosen.python)
    results: list[Result] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for result in pool.map(partial(_measure, python=chosen.python), arranged):
            results.append(result)
            _print_result(result)
            print(f"\r{len(results)}/{len(arranged)} ", end="", file=sys.stderr, flush=True)
    print("\r", end="", file=sys.stderr)
    _print_summary(facts, results)
    if chosen.json:
        everything = {"facts": facts, "results": [asdict(result) for result in results]}
        chosen.json.write_text(json.dumps(everything, indent=1))
    sys.exit(any("wrong" in result.grades.values() for result in results))


# --- running -------------------------------------------------------------------------------------


def _measure(arranged: tuple[Failure, Layout], python: str) -> Result:
    return measure(*arranged, python)


def measure(failure: Failure, layout: Layout, python: str) -> Result:
    """Let the two ends meet, and grade what they report."""
    result = Result(f"{failure}, files {layout}", failure.slug, layout, failure.causes)
    with tempfile.TemporaryDirectory() as name:
        _run(failure, python, Path(name), result)
    reports = {side: msgspec.convert(found, Report) for side, found in result.reports.items()}
    _grade(failure, reports, result)
    return result


def _run(failure: Failure, python: str, folder: Path, result: Result) -> None:
    if failure.server is None:
        with _plaintext_server() as port:
            _connect(failure, python, folder, port, result)
        return
    end = _arguments(failure.server, "server", folder, result.layout)
    arguments = ["--log-format", "json", *end]
    with started(python, "serve", "--listen", "127.0.0.1:0", *arguments, folder=folder) as server:
        listening = event(server, "listening")
        if listening is None:
            result.findings.append(("not started", "the server did not start to listen"))
            return
        if failure.client is None:
            with socket.create_connection(("127.0.0.1", listening["port"]), SECONDS) as plain:
                plain.sendall(_HTTP_REQUEST)
                with contextlib.suppress(OSError):  # how it ends is the server's choice
                    plain.recv(1024)
        else:
            _connect(failure, python, folder, listening["port"], result)
            if "client" not in result.reports:
                return  # it may never have come, and the server would be waited for in vain
        report = event(server, "connection")
        if report is not None:
            result.reports["server"] = report


def _connect(failure: Failure, python: str, folder: Path, port: int, result: Result) -> None:
    assert failure.client is not None
    end = _arguments(failure.client, "client", folder, result.layout)
    arguments = ["--json", "--tls", failure.tls, *end]
    address = f"localhost:{port}"
    with started(python, "connect", address, "hi", *arguments, folder=folder) as client:
        output, errors = client.communicate()
        result.status = client.returncode
    if output:
        result.reports["client"] = json.loads(output)
    else:
        result.findings.append(("not started", f"the client: {last_line(errors)}"))


def _arguments(end: End, side: Side, folder: Path, layout: Layout) -> list[str]:
    """An end as options of its command, with the files they name."""

    def file(name: str, content: bytes) -> str:
        folders = {"alone": folder / side / name, "beside": folder / side, "shared": folder}
        path = folders[layout] / f"{side}-{name}.pem"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return str(path)

    def certificates(signed: tuple[Any, ...]) -> bytes:
        return b"".join(one.certificate.public_bytes(Encoding.PEM) for one in signed)

    anchors = "--client-ca" if side == "server" else "--ca"
    found = [
        anchors,
        file("anchors", certificates(end.trusts)),
        "--verify",
        "strict",
        *end.options,
    ]
    if end.chain and layout != "alone":
        for number, issuer in enumerate(end.chain[0].issuers):
            file(f"issuer-{number}", certificates((issuer,)))
    if end.chain:
        key = end.chain[0].key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        found += ["--cert", file("chain", certificates(end.chain)), "--key", file("key", key)]
    else:
        found.append("--no-cert")
    if end.crls:
        lists = b"".join(crl.public_bytes(Encoding.PEM) for crl in end.crls)
        found += ["--crl", file("crls", lists)]
    return found


@contextmanager
def _plaintext_server() -> Iterator[int]:
    """A port where HTTP is spoken, without TLS, once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        thread = threading.Thread(target=_answer_in_plaintext, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def _answer_in_plaintext(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):  # a client that does not come is reported by itself
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(SECONDS)
            connection.recv(4096)
            connection.sendall(_HTTP_ANSWER)


# --- grading -------------------------------------------------------------------------------------


def _grade(failure: Failure, reports: dict[Side, Report], result: Result) -> None:
    found = partial(_found, result)
    refusing = failure.rejected_by or ("client" if failure.server is None else "server")
    ends: dict[Side, End | None] = {"client": failure.client, "server": failure.server}
    for side, end in ends.items():
        if end is not None and side not in reports:
            found("no report", f"of the {side}")
            _note(result, "refusing" if side == refusing else "refused", ())
    for side, report in reports.items():
        who = "refusing" if side == refusing else "refused"
        _note(result, who, report.causes)
        if report.rejected_by != failure.rejected_by:
            found("rejecting side", f"{side} says {report.rejected_by} ({report.outcome})")
        expected = "sent" if who == "refusing" else "received"
        direction = report.alert.direction if report.alert else None
        if failure.alert and direction != expected:
            found("alert", f"{side} has {direction or 'none'}, expected one {expected}")
        # One fault is what the causes are about; of two, both must be listed.
        listed = {fault.slug for fault in report.faults}
        visible = set(failure.causes) - (_ANCHORS_ONLY if who == "refused" else set())
        if len(failure.causes) > 1 and not visible <= listed:
            found("faults", f"{side} lists {sorted(listed)}, not {sorted(visible - listed)}")
    if failure.client is not None and result.status != failure.status:
        found("exit status", f"{result.status}, expected {failure.status}")
    if None in ends.values():
        return  # there is no other report to join with
    try:
        account = join_reports(reports["client"], reports["server"])
    except (KeyError, ValueError) as error:
        found("not joined", repr(error))
        _note(result, "joined", ())
    else:
        _note(result, "joined", account.causes)
        if account.rejected_by != failure.rejected_by:
            found("rejecting side", f"the joint report says {account.rejected_by}")


def _found(result: Result, kind: str, text: str) -> None:
    result.findings.append((kind, text))


def _note(result: Result, who: str, named: Sequence[str]) -> None:
    true = set(result.causes).intersection(named)
    grade = "wrong" if not true else "exact" if true.issuperset(named) else "within"
    result.named[who], result.grades[who] = list(named), grade


# --- printing ------------------------------------------------------------------------------------


def _print_result(result: Result) -> None:
    wrong = "wrong" in result.grades.values()
    if wrong:
        print(f"WRONG {result.failure}: the truth is {', '.join(result.causes)}")
        for who, grade in result.grades.items():
            print(f"  {who}: {grade}: {', '.join(result.named[who])}")
    for kind, text in result.findings:
        print(f"{kind.upper()} {result.failure}: {text}")
    if wrong or result.findings:
        for side, report in result.reports.items():
            print(f"  {side}: {json.dumps(report)}")


def _print_summary(facts: dict[str, str], results: list[Result]) -> None:
    print("  ".join(f"{name} {value}" for name, value in facts.items()))
    for layout in dict.fromkeys(result.layout for result in results):
        _print_table(layout, [result for result in results if result.layout == layout])
    kinds = Counter(kind for result in results for kind, _ in result.findings)
    print(
        "\nnot as it should be: " + (", ".join(f"{k} {n}" for k, n in kinds.items()) or "nothing")
    )


def _print_table(layout: Layout, results: list[Result]) -> None:
    print(f"\n{len(results)} failures, files {layout}\n")
    print(f"{'':10}{'accounts':>10}" + "".join(f"{grade:>14}" for grade in GRADES))
    counts = {who: Counter(r.grades[who] for r in results if who in r.grades) for who in WHO}
    counts["alone"] = counts["refusing"] + counts["refused"]
    for who in ("refusing", "refused", "alone", "joined"):
        total = counts[who].total()
        cells = [f"{counts[who][g]} ({counts[who][g] / max(total, 1):4.0%})" for g in GRADES]
        goal = f"   goal: exact {GOALS[who]:.0%}, wrong 0" if who in GOALS else ""
        print(f"{who:10}{total:>10}" + "".join(f"{cell:>14}" for cell in cells) + goal)


if __name__ == "__main__":
    main()
