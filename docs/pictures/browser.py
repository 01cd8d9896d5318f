"""Pictures of the pages that a browser shows: the one about its handshake, and the status page."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from docs.pictures.session import Command, environment
from tests.interop.browser import Browser

from mtls_echo_pki.directory.directory import Directory

# Whose certificate is not good, or not enough, in the order in which they connect.
_CLIENTS = (
    ("bob", "pki issue pki bob bob.test --client"),
    ("carol", "pki issue pki carol carol.test --client --flaw unknown-authority"),
    ("dave", "pki issue pki dave dave.test --client --flaw expired"),
)


def take(page: Path, status: Path) -> None:
    """Start a server, show it to a browser and to some clients, and take both pictures.

    Args:
        page: Where the picture of the page on the TLS port goes, as PNG.
        status: Where that of the status page goes.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        variables = environment(home)

        def run(line: str) -> None:
            Command(f"mtls-echo {line}", variables).end()

        run("pki init pki")
        pki = Directory(home / "pki")
        for _, line in _CLIENTS:
            run(line)
        browser = Browser.make(home, pki.trust("servers").pem, pki.credential("client"))
        server = Command(
            "mtls-echo serve --pki pki --listen 127.0.0.1:0 --status 127.0.0.1:0"
            " --allow-dns client.test --allow-dns localhost",
            variables,
        )
        try:
            server.wait_for("status on")
            port, status_port = re.findall(r"127\.0\.0\.1:(\d+)", server.as_printed)
            connect = f"connect localhost:{port} --pki pki hello"
            for name, _ in _CLIENTS:
                run(f"{connect} --as {name}")
            run(f"{connect} --no-cert")
            run(connect)
            browser.picture(f"http://127.0.0.1:{status_port}/", status, "960,676")
            browser.picture(f"https://localhost:{port}/", page, "900,578")
        finally:
            server.stop()
