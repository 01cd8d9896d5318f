"""The tables of other programs' texts: sound, cited, and each row explained as it says."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtls_echo_tls.causes import CAUSES
from mtls_echo_tls.explain.findings import Finding
from mtls_echo_tls.explain.parse import MOST, findings
from mtls_echo_tls.explain.tables import FOLDER, TableRow, program_words, rows
from mtls_echo_tls.reasons import CAUSES_BY_REASON

TABLES = sorted(path.stem for path in FOLDER.glob("*.tsv") if path.stem != "programs")

# These programs' names for an alert are read by what they say of it, not by a row.
_KINDS = {
    "alert-received", "alert-sent", "alert", "own-verdict", "reason", "vague", "ending", "file",
    "key", "config", "other", "line",
}  # fmt: skip


def beside_its_program(row: TableRow, spelling: str) -> str:
    """The text as it could be printed: something in its holes, its program's words before it."""
    if not spelling.startswith("?"):
        return spelling.replace("…", "xyzzy")
    short = spelling[1:].replace("…", "xyzzy")
    what = "alert " if row.kind == "alert" else "error " if short.lstrip("-").isalnum() else ""
    return f"{program_words()[row.program][0]} {what}{short}"


def folded(spelling: str) -> str:
    return spelling.lower().replace("_", " ").removeprefix("?")


def spelled_alike() -> dict[str, list[TableRow]]:
    shared: dict[str, list[TableRow]] = {}
    for row in rows():
        for spelling in row.spellings():
            shared.setdefault(folded(spelling), []).append(row)
    return shared


SHARED = spelled_alike()


def says_what_the_row_says(row: TableRow, spelling: str, first: Finding) -> bool:
    shared = SHARED[folded(spelling)]
    causes = {slug for each in shared for slug in each.causes.split()} - {"-"}
    if row.kind == "line" or (row.causes == "-" and first.kind in ("file", "vague")):
        return True
    if first.alert is not None and row.kind.startswith("alert"):
        return str(first.alert) in {each.code for each in shared}  # whose causes `alerts` has
    if first.reason is not None and first.kind == "reason" and first.reason in CAUSES_BY_REASON:
        return folded(first.reason) in folded(spelling)  # the diagnosis knows its causes
    return bool(causes & {*first.stated, *first.causes(first.side)})


@pytest.mark.parametrize("table", TABLES)
def test_every_row_is_sound_and_says_where_it_is_from(table: str) -> None:
    for row in rows(table):
        assert row.kind in _KINDS, row
        assert row.side in ("-", "client", "server"), row
        assert row.refused in ("printer", "peer", "client", "server", "nobody", "unsaid"), row
        assert set(row.causes.split()) - {"-"} <= set(CAUSES), row
        assert len(row.source) > 5, row
        assert all(any(map(str.isalnum, spelling)) for spelling in row.spellings()), row


@pytest.mark.parametrize("table", TABLES)
def test_every_spelling_of_a_row_leads_to_its_causes(table: str) -> None:
    """Or, where programs share a text, to those of one of them, or of all."""
    wrong = []
    for row in rows(table):
        for spelling in row.spellings():
            found = findings(beside_its_program(row, spelling))
            if not found or not says_what_the_row_says(row, spelling, found[0]):
                wrong.append((row.program, spelling, row.causes, found[:1]))
                continue
            sides = {each.side for each in SHARED[folded(spelling)]} | {None}
            if row.side != "-" and found[0].side not in sides:
                wrong.append((row.program, spelling, row.side, found[:1]))
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "side", "refused"),
    [
        ("postfix/smtpd[7]: TLS library problem: tlsv1 alert unknown ca", "server", "client"),
        ("postfix/smtp[7]: TLS library problem: tlsv1 alert unknown ca", "client", "server"),
        ("TLS server: In state x received CLIENT ALERT: Fatal - Unknown CA", "server", "client"),
        ("TLS client: In state x received SERVER ALERT: Fatal - Unknown CA", "client", "server"),
        ("generated SERVER ALERT: Fatal - Unknown CA", "server", "server"),
        ("eap_tls: ERROR: TLS Alert write:fatal:unknown CA", "server", "server"),
        ("eap_tls: ERROR: TLS Alert read:fatal:unknown CA", "server", "client"),
        ("SSL_do_handshake() failed (SSL: error:0A000418:SSL routines::tlsv1 alert unknown ca)"
         " while SSL handshaking to upstream", "client", "server"),
        ("SSL_do_handshake() failed (SSL: error:0A000418:SSL routines::tlsv1 alert unknown ca)"
         " while SSL handshaking, client: 10.0.0.1", "server", "client"),
        ("http: TLS handshake error from 10.0.0.1:5: remote error: tls: unknown certificate"
         " authority", "server", "client"),
    ],
)  # fmt: skip
def test_the_form_of_a_line_says_who_printed_it(text: str, side: str, refused: str) -> None:
    finding = findings(text)[0]

    assert (finding.side, finding.rejected_by(finding.side)) == (side, refused)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("verify error:num=24:invalid CA certificate", 79),
        ("verify error:num=79:invalid CA certificate", 79),
        ("verify error:num=20:unable to get local issuer certificate", 20),
    ],
)
def test_of_a_number_and_a_text_the_text_is_believed(text: str, code: int) -> None:
    """The numbers moved between OpenSSL 1.1.1 and 3.0."""
    assert findings(text)[0].verify_code == code


@pytest.mark.parametrize(
    "text",
    [
        "tls: failed to find any PEM data in certificate input",
        "error:0909006C:PEM routines:get_name:no start line",
        "error:1E08010C:DECODER routines::unsupported",
        "java.io.IOException: keystore password was incorrect",
        'nginx: [emerg] cannot load certificate key "/x.key": PEM_read_bio_PrivateKey() failed',
    ],
)
def test_what_is_about_a_file_refuses_no_side(text: str) -> None:
    finding = findings(text)[0]

    assert (finding.kind, finding.refused, finding.rejected_by("client")) == (
        "file", "nobody", None,
    )  # fmt: skip


TEXTS = [
    "tlsv1 alert unknown ca",
    "x509: certificate signed by unknown authority",
    "invalid peer certificate: UnknownIssuer",
    "SEC_ERROR_UNKNOWN_ISSUER",
    "{bad_cert,invalid_ext_key_usage}",
    "GNUTLS_E_KEY_USAGE_VIOLATION",
    "0x800B010F",
]
noise = st.text(alphabet="0123456789 .,:;()[]<>|/\t\n\"'", max_size=60)


@given(st.sampled_from(TEXTS), noise, noise)
def test_what_stands_around_a_text_changes_nothing(text: str, before: str, after: str) -> None:
    alone = findings(text)[0]
    found = findings(f"{before} {text} {after}")[0]

    assert (found.refused, found.causes(None)) == (alone.refused, alone.causes(None))


@given(st.text(max_size=300))
def test_any_text_at_all_is_read(text: str) -> None:
    for finding in findings(text):
        assert set(finding.causes("client")) <= set(CAUSES)


@pytest.mark.parametrize(
    "text",
    [
        " ".join(row.text for row in rows()),
        "x certificate ssl tls " * 50_000,
        "tls: " * 210_000,
        "fatal alert was received " * 42_000,
    ],
    ids=["every text", "common words", "a prefix", "a pattern"],
)
def test_a_mebibyte_is_read_in_bounded_time(text: str) -> None:
    """Only so much is looked at, and nothing in it is tried again and again."""
    began = time.process_time()
    findings(text)

    assert time.process_time() - began < 10
    assert findings("." * MOST + " tlsv1 alert unknown ca") == []


def test_the_tables_are_read_when_a_text_is_and_not_before() -> None:
    program = (
        "import mtls_echo_tls.explain.parse, mtls_echo_tls.explain.tables as tables;"
        "print(tables._forms.cache_info().currsize)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert ran.stdout == "0\n", ran.stderr


def test_a_go_error_is_known_without_the_name_of_its_package() -> None:
    with_it, without = (
        findings(f"{package}failed to find any PEM data in certificate input")[0]
        for package in ("tls: ", "")
    )

    assert (without.program, without.kind) == (with_it.program, with_it.kind) == ("Go", "file")
