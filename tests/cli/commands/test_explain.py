"""`mtls-echo explain`: real texts of many programs, and who refused whom in each."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner, Result

from mtls_echo.commands.explain import explain as command
from mtls_echo_tls.alerts import AlertDescription, alert_meaning
from mtls_echo_tls.causes import CAUSES
from mtls_echo_tls.diagnosis.tables import CAUSES_BY_VERIFY_CODE
from mtls_echo_tls.explain.parse import findings
from mtls_echo_tls.explain.phrases import PHRASES, PROGRAMS
from mtls_echo_tls.reasons import CAUSES_BY_REASON
from tests.support.command_line import environment


class Printed(NamedTuple):
    stack: str
    text: str
    origin: str
    rejected_by: str
    cause: str | None = None  # none where it is about a file, or says nothing of a cause
    side: str | None = None
    alert: int | None = None


_TOML = tomllib.loads(Path(__file__).with_name("explain_corpus.toml").read_text("utf-8"))
CORPUS = [Printed(**entry) for entry in _TOML["text"]]


def run(*arguments: str) -> Result:
    """In this process: an interpreter for each of these texts would take most of the time."""
    return CliRunner().invoke(command, arguments)


def explained(*arguments: str) -> Any:
    ran = run("--json", *arguments)
    assert ran.exit_code == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("printed", CORPUS, ids=lambda s: f"{s.stack}: {s.text[-60:]!a}")
def test_a_real_text_names_who_refused_the_alert_and_the_likeliest_cause(printed: Printed) -> None:
    finding = findings(printed.text)[0]

    rejected_by = finding.rejected_by(finding.side) or finding.refused
    cause = next(iter(finding.causes(finding.side)), None)
    assert (finding.side, rejected_by, finding.alert, cause) == (
        printed.side,
        printed.rejected_by,
        printed.alert,
        printed.cause,
    )


def test_the_corpus_is_large_and_says_where_each_text_is_from() -> None:
    assert len({printed.text for printed in CORPUS}) >= 150
    assert all(printed.origin.startswith(("made: ", "cited: https://")) for printed in CORPUS)


def test_every_cause_that_a_text_can_lead_to_is_in_the_catalogue() -> None:
    assert {slug for phrase in PHRASES for slug in phrase.causes} <= set(CAUSES)
    for printed in CORPUS:
        for finding in findings(printed.text):
            for side in (None, "client", "server"):
                assert set(finding.causes(side)) <= set(CAUSES)


@pytest.mark.parametrize("code", [c for c in AlertDescription if c not in (0, 90)])
def test_every_alert_is_known_by_number_and_by_name_in_each_spelling(
    code: AlertDescription,
) -> None:
    words = code.name.replace("_", " ")
    camel = "".join(part.capitalize() for part in code.name.split("_"))
    for text in (
        str(int(code)),
        f"alert {int(code)}",
        code.name,
        words.upper(),
        f"SSL alert number {int(code)}",
        f"error:0A{1000 + code:06X}:SSL routines::x",
        f"tlsv1 alert {words}:../ssl/record",
        f"Received fatal alert: {code.name}",
        f"received fatal alert: {camel}",
    ):
        found = findings(text)
        assert found, text
        assert found[0].alert == code, text


def test_the_alerts_that_are_not_refusals_are_not_explained_as_one() -> None:
    assert findings("* TLSv1.3 (IN), TLS alert, close notify (256):") == []
    assert findings("Verify return code: 0 (ok)") == []


@pytest.mark.parametrize("symbol", CAUSES_BY_REASON)
def test_every_reason_of_the_diagnosis_is_known_as_symbol_and_as_words(symbol: str) -> None:
    for text in (
        f"[SSL: {symbol}] whatever (_ssl.c:1000)",
        f"error:0A000001:SSL routines::{symbol.lower().replace('_', ' ')}",
        f"ERR_SSL_{symbol}",
    ):
        found = findings(text)[0]
        # A phrase of its own may say the same.
        assert found.reason == symbol or found.causes(None) == CAUSES_BY_REASON[symbol]


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("error:0A00018A:SSL routines::dh key too small", "the server's key exchange"),
        ("[SSL: UNSAFE_LEGACY_RENEGOTIATION_DISABLED] whatever (_ssl.c:1000)", "RFC 5746"),
    ],
)
def test_a_reason_that_needs_other_words_has_them(text: str, means: str) -> None:
    result = run(text)
    assert means in " ".join(result.stdout.split())


@pytest.mark.parametrize("code", CAUSES_BY_VERIFY_CODE)
def test_every_verdict_of_the_diagnosis_is_known_by_its_code(code: int) -> None:
    finding = findings(f"verify error:num={code}:something")[0]

    assert finding.verify_code == code
    assert finding.causes(None) == CAUSES_BY_VERIFY_CODE[code]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("certificate chain too long", 22),
        ("unable to get CRL issuer certificate", 33),
        ("key usage does not include CRL signing", 35),
        ("Different CRL scope", 44),
        ("Path length invalid for non-CA cert", 80),
        ("Path length given without key usage keyCertSign", 81),
        ("Key usage keyCertSign invalid for non-CA cert", 82),
        ("Issuer name empty", 83),
        ("Subject name empty", 84),
        ("Missing Authority Key Identifier", 85),
        ("Missing Subject Key Identifier", 86),
        ("Empty Subject Alternative Name extension", 87),
        ("Subject empty and Subject Alt Name extension not critical", 88),
        ("Basic Constraints of CA cert not marked critical", 89),
        ("Authority Key Identifier marked critical", 90),
        ("Subject Key Identifier marked critical", 91),
        ("CA cert does not include key usage extension", 92),
        ("Using cert extension requires at least X509v3", 93),
        ("Certificate public key has explicit ECC parameters", 94),
    ],
)
def test_rarer_verdicts_are_known_by_the_words_of_openssl(words: str, code: int) -> None:
    """Python, which prints no number, is strict since 3.13."""
    for text in (words, f"certificate verify failed: {words} (_ssl.c:1020)"):
        (finding,) = findings(text)
        assert finding.verify_code == code


def test_an_alert_received_names_first_the_other_side_as_its_sender() -> None:
    text = "tlsv1 alert unknown ca"
    for side, other in (("client", "server"), ("server", "client")):
        ran = run("--side", side, text)

        assert ran.stdout.startswith(f"the {other} refused the {side}, which printed this\n")

    both = run(text).stdout
    assert both.startswith("the other side refused the one that printed this\n")
    assert "printed by a client: the server refused" in both
    assert "printed by a server: the client refused" in both


def test_an_own_verdict_is_the_printing_sides() -> None:
    ran = run("curl: (60) SSL certificate problem: certificate has expired")

    assert ran.stdout.startswith("the client, which printed this, refused the server\n")
    assert "its certificate has expired [expired]" in ran.stdout


def test_a_received_alert_outweighs_a_verdict_that_was_passed_over() -> None:
    text = "verify error:num=20:unable to get local issuer certificate\nSSL alert number 116"

    assert findings(text)[0].alert == AlertDescription.certificate_required


def test_what_a_text_does_not_say_is_not_claimed() -> None:
    ran = run("curl: (60) SSL certificate verification failed")

    assert "does not say which side refused the other" in ran.stdout
    assert "decides:" in ran.stdout
    assert "our certificate" not in ran.stdout


@pytest.mark.parametrize(
    "mangled",
    [
        "\x1b[31mERROR\x1b[0m \x1b[1mtlsv1   alert\tunknown ca\x1b[0m",
        "TLSV1 ALERT UNKNOWN CA",
        "'tlsv1 alert unknown ca'",
        "2026-11-21T22:57:21Z app[12]: \u201ctlsv1 alert unknown ca\u201d",
        "something: tlsv1 alert\n   unknown ca",
        "something: tlsv1 alert unkn\nown ca",
        r"{\"msg\":\"tlsv1 alert unknown ca\n\"}",
    ],
)
def test_colours_case_quotes_wraps_and_timestamps_do_not_matter(mangled: str) -> None:
    assert findings(mangled)[0].alert == AlertDescription.unknown_ca


@pytest.mark.parametrize(
    "text", ["hello", "404 Not Found", "GET / HTTP/1.1", "permission denied", "200", "ssl", "%"]
)
def test_other_texts_are_not_recognised(text: str) -> None:
    ran = run(text)

    assert ran.exit_code == 1
    assert ran.stdout == ""
    assert "looked for alerts" in ran.stderr
    assert "hint: paste the line" in ran.stderr


def test_a_misspelt_text_gets_the_nearest_known() -> None:
    ran = run("tlsv1 alrt unkown ca")

    assert ran.exit_code == 1
    assert "alert unknown ca" in ran.stderr
    answer = json.loads(run("--json", "tlsv1 alrt unkown ca").stdout)
    assert answer["recognised"] is False
    assert "alert unknown ca" in answer["nearest"]


def test_json_has_the_same_answer_in_the_words_of_a_report() -> None:
    answer = explained("--side", "client", "SSL alert number 48")

    assert answer["recognised"] is True
    assert answer["alert"] == {
        "name": "unknown_ca",
        "code": 48,
        "direction": "received",
        "meaning": alert_meaning(48),
    }
    (only,) = answer["answers"]
    assert only["rejected_by"] == "server"
    assert only["causes"][:2] == ["unknown-authority", "missing-intermediate"]
    assert only["means"]["unknown-authority"].startswith("our certificate was issued by")
    assert only["rfc"].startswith("RFC 5280")
    assert only["remedy"]
    assert only["find_out"]


def test_a_side_that_contradicts_the_words_is_pointed_out() -> None:
    ran = run("--side", "client", "Empty client certificate chain")

    assert "usually a server's" in ran.stdout


def test_every_answer_fits_80_columns_and_never_lacks_a_remedy() -> None:
    for printed in CORPUS[::12]:
        ran = run(printed.text)

        assert ran.exit_code == 0
        assert max(map(len, ran.stdout.splitlines())) <= 80, ran.stdout
        assert "\nfix: " in ran.stdout
        assert "{" not in ran.stdout or "{" in printed.text


def _piped(data: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "mtls_echo", "explain", *arguments]
    return subprocess.run(command, input=data, capture_output=True, env=environment())


@pytest.mark.parametrize("arguments", [(), ("-",)], ids=["a pipe", "a dash"])
def test_the_text_can_come_from_standard_input(arguments: tuple[str, ...]) -> None:
    ran = _piped(b"\xff\xfe first line\ntlsv1 alert unknown ca\n", *arguments)

    assert ran.returncode == 0
    assert b"unknown_ca (48)" in ran.stdout


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_the_encodings_of_windows_are_read(encoding: str) -> None:
    ran = _piped("tlsv1 alert unknown ca\r\n".encode(encoding))

    assert ran.returncode == 0
    assert b"unknown_ca (48)" in ran.stdout


def test_bytes_that_are_no_text_are_not_recognised() -> None:
    ran = _piped(bytes(range(256)) * 256)

    assert ran.returncode == 1
    assert b"not recognised" in ran.stderr


_IN_A_HANDLER = (
    'http: panic serving 127.0.0.1:40388: Get "https://api.test/": {}'
    "\ngoroutine 7 [running]:\nnet/http.(*conn).serve(0xc000146000, {{0x7c8d48, 0xc000126db0}})"
)


@pytest.mark.parametrize(
    ("text", "side"),
    [
        (_IN_A_HANDLER.format("x509: certificate signed by unknown authority"), "client"),
        (_IN_A_HANDLER.format("remote error: tls: bad certificate"), "client"),
        ("remote error: tls: bad certificate\nnet/http.(*conn).serve(0xc000146000)", None),
        ("remote error: tls: bad certificate\nnet/http.(*Transport).roundTrip(0xc000146000)"
         "\nnet/http.(*conn).serve(0xc000146000)", "client"),
        ("javax.net.ssl.SSLHandshakeException: bad_certificate at ServerHandshaker.java:1"
         " ClientHandshaker.java:1", None),
    ],
)  # fmt: skip
def test_the_frames_of_a_handler_do_not_make_a_server_of_the_client_it_runs(
    text: str, side: str | None
) -> None:
    assert findings(text)[0].side == side


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("FileNotFoundError: [Errno 2] No such file or directory: '/etc/ssl/certs/ca.pem'",
         "/etc/ssl/certs/ca.pem is not there"),
        ("Error: ENOENT: no such file or directory, open 'C:\\certs\\server.key'",
         "C:\\certs\\server.key is not there"),
        ("open C:\\certs\\client.pem: The system cannot find the file specified.",
         "C:\\certs\\client.pem is not there"),
        ("open 'C:\\my certs\\ca.cer': The system cannot find the path specified.",
         "C:\\my certs\\ca.cer is not there"),
        ("open /etc/etcd/ssl/peer.crt: permission denied",
         "/etc/etcd/ssl/peer.crt may not be read by the program"),
        ("permission denied: server.key", "server.key may not be read by the program"),
        ("Access to the path '~/a.pfx' is denied.", "~/a.pfx may not be read by the program"),
        ("No such file or directory: /etc/certs/ca.pem", "/etc/certs/ca.pem is not there"),
        ("No such file or directory: ./server.key.old", "./server.key.old is not there"),
        ("no such file or directory (ca.pem)", "ca.pem is not there"),
        ("java.io.FileNotFoundException: /etc/k.jks (No such file or directory)",
         "/etc/k.jks is not there"),
        ("02001002:fopen:No such file or directory:bss_file.c:398:fopen('/etc/a/s.key','r')",
         "/etc/a/s.key is not there"),
        ("unable to load client certificate: stat certs/tls.crt: no such file or directory",
         "certs/tls.crt is not there"),
    ],
)  # fmt: skip
def test_a_file_of_certificates_that_cannot_be_read_is_named_and_told_as_a_file(
    text: str, means: str
) -> None:
    (finding,) = findings(text)

    assert (finding.kind, finding.refused, finding.meaning) == ("file", "nobody", means)


@pytest.mark.parametrize(
    ("text", "is_about_password"),
    [
        ("PKCS12 routines::mac verify failure", True),
        ("Mac verify error: invalid password?", True),
        ("unable to load key server.key: bad decrypt", True),
        ("error:04800065:PEM routines::bad decrypt", True),
        ("java.io.IOException: keystore password was incorrect", True),
        ("Given final block not properly padded", True),
        ("The specified network password is not correct", True),
        ("curl: (58) could not parse PKCS12 file, check password, OpenSSL error", True),
        ("permission denied: server.key", False),
        ("PEM routines::no start line", False),
    ],
)
def test_a_wrong_password_has_a_remedy_of_its_own(text: str, is_about_password: bool) -> None:
    (answer, *_) = explained(text)["answers"]

    assert answer["causes"] == []
    assert answer["remedy"].startswith("try the password with") is is_about_password


def test_no_more_than_64_kib_are_looked_at() -> None:
    ran = _piped(b"x" * 70_000 + b" tlsv1 alert unknown ca")

    assert ran.returncode == 1
    assert b"only the first 64 KiB" in ran.stderr


def test_no_text_at_all_is_a_usage_error() -> None:
    assert _piped(b" \n").returncode == 2
    assert run("").exit_code == 2
    assert run("--side", "neither", "48").exit_code == 2


def test_words_need_no_quotes() -> None:
    assert explained("tlsv1", "alert", "unknown", "ca")["alert"]["code"] == 48


def test_the_help_costs_no_heavy_import() -> None:
    program = (
        "import sys; from mtls_echo.commands.explain import explain;"
        "explain.main(['--help'], standalone_mode=False);"
        "print({'trio', 'cryptography', 'ssl', 'rich'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert "examples" in ran.stdout
    assert ran.stdout.endswith("\nset()\n"), ran.stderr


def test_the_patterns_are_in_the_case_that_texts_are_brought_to() -> None:
    for pattern in [
        *(phrase.pattern for phrase in PHRASES),
        *(pattern for pattern, _, _ in PROGRAMS),
    ]:
        classes = pattern.replace(r"\S", "").replace(r"\W", "").replace(r"\D", "")
        assert classes == classes.lower(), pattern
