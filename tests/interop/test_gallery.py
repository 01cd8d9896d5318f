"""The gallery by clients that are not ours: a sample of docs/clients.md; badssl.com's names."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from docs.tables.clients import cell, page

from mtls_echo.gallery.clients import CLIENTS
from mtls_echo.gallery.collection import EXHIBITS
from mtls_echo.gallery.judge import judge
from tests.cli.gallery.test_command import running
from tests.interop.foreign_peers import need

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"

# Each has one answer whatever the version of the client is.
SAMPLE = ("expired", "wrong-name", "no-san", "revoked", "tls1-2", "client-required", "closes")


def published(client: str, slug: str) -> str:
    """What the page says of a client and an exhibit."""
    columns: list[str] = []
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [each.strip() for each in line.strip("|").split("|")]
        if line.startswith("| | "):
            columns = cells
        elif line.startswith("| ") and slug in cells[0].split("<br>") and client in columns:
            return cells[columns.index(client)]
    return ""


@pytest.mark.parametrize("name", ["curl", "openssl", "gnutls", "wget", "node"])
def test_the_published_table_is_what_happens(name: str) -> None:
    need(CLIENTS[name].needs[0])
    score = trio.run(lambda: judge(CLIENTS[name], [EXHIBITS[slug] for slug in SAMPLE]))
    found: dict[str, Any] = msgspec.json.decode(score.as_json({}))
    seen = {slug: cell(found, EXHIBITS[slug]) for slug in SAMPLE}
    assert seen == {slug: published(name, slug) for slug in SAMPLE}


def test_every_exhibit_and_every_client_is_on_the_page() -> None:
    text = PAGE.read_text("utf-8")
    rows = "<br>".join(re.findall(r"^\| ([a-z0-9<>-]+) \|", text, re.MULTILINE)).split("<br>")
    assert {*EXHIBITS} - {"good"} - {*rows} == {
        slug for slug in EXHIBITS if slug.startswith("alert-") and slug not in rows
    }
    assert re.findall(r"^\| ([a-z]+) \| [^|]*\d[^|]* \|$", text, re.MULTILINE) == [*CLIENTS]


def test_a_page_shows_what_a_client_said_of_its_version_as_text() -> None:
    rows: list[dict[str, Any]] = []
    text = "\n".join(page([{"client": "x", "version": "1\x1b[2J", "rows": rows}]))
    assert "1\\x1b[2J" in text


# --- as badssl.com -------------------------------------------------------------------------------

# curl's exit statuses: 60 is a server that could not be verified.
BADSSL = {
    "badssl.com": 0,
    "sha256.badssl.com": 0,
    "tls-v1-2.badssl.com": 0,
    "expired.badssl.com": 60,
    "wrong.host.badssl.com": 60,
    "self-signed.badssl.com": 60,
    "untrusted-root.badssl.com": 60,
    "incomplete-chain.badssl.com": 60,
    "revoked.badssl.com": 60,
    "client.badssl.com": 0,
}
REASONS = {
    "expired": "expired",
    "wrong.host": "no alternative certificate subject name matches",
    "self-signed": "self-signed certificate|self signed certificate",
    "untrusted-root": "self-signed certificate in certificate chain",
    "incomplete-chain": "unable to get local issuer",
    "revoked": "revoked",
}


def test_tests_that_were_written_for_badssl_com_pass_without_it(tmp_path: Path) -> None:
    need("curl")
    found: dict[str, int] = {}
    with running("--domain", "badssl.com", "--files", str(tmp_path)) as (_, port):
        for host in BADSSL:
            crl = ["--crlfile", str(tmp_path / "crl.pem")] if "revoked" in host else []
            ran = subprocess.run(
                [
                    *("curl", "--disable", "--silent", "--show-error", "--noproxy", "*"),
                    *("--cacert", str(tmp_path / "ca.crt"), *crl),
                    *("--cert", str(tmp_path / "client.crt")),
                    *("--key", str(tmp_path / "client.key")),
                    *("--connect-to", f"::127.0.0.1:{port}", f"https://{host}/"),
                ],
                capture_output=True,
                text=True,
            )
            found[host] = ran.returncode
            reason = REASONS.get(host.removesuffix(".badssl.com"), "")
            assert re.search(reason, ran.stderr), (host, ran.stderr)
    assert found == BADSSL
