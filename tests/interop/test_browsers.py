"""Headless Chromium at the TLS port and at the status port, with client certificates and without.

What it makes of the pages is read off its own document, in which nothing of a peer may run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from tests.interop.browser import Browser
from tests.interop.foreign_peers import need
from tests.support.servers import Authorities, ServeProcess
from tests.support.timing import TIMEOUT

# A certificate's owner chose these; an image that cannot be loaded would run its onerror.
HOSTILE = "<img src=x onerror=document.title='run'><script>1</script>\u202e"


@pytest.fixture(autouse=True)
def _needed() -> None:
    for program in "chromium", "certutil":
        need(program)


@pytest.fixture(scope="module")
def pki() -> Authorities:
    return Authorities()


class Port:
    """`serve` with its status port, and browsers for it."""

    def __init__(self, running: ServeProcess, pki: Authorities, folder: Path) -> None:
        self.running = running
        self._pki = pki
        self._folder = folder
        self.url = f"https://localhost:{running.port}/"
        self.status = f"http://127.0.0.1:{running.event('status')['port']}/"

    def browser(self, own: Credential | None = None) -> Browser:
        home = self._folder / f"home{len([*self._folder.iterdir()])}"
        return Browser.make(home, self._pki.servers.trust.pem, own)

    def reports(self) -> list[dict[str, Any]]:
        """What the status port has of the last connections."""
        client = http.client.HTTPConnection(self.status[7:-1], timeout=TIMEOUT)
        client.request("GET", "/reports")
        found: list[dict[str, Any]] = json.load(client.getresponse())
        client.close()
        return found


def serving(pki: Authorities, folder: Path, *options: str) -> ServeProcess:
    return ServeProcess(*pki.files(folder), "--status", "127.0.0.1:0", *options)


def test_a_browser_with_a_certificate_is_told_who_it_is(pki: Authorities, tmp_path: Path) -> None:
    with serving(pki, tmp_path) as running:
        port = Port(running, pki, tmp_path)
        shown = port.browser(pki.alice).text(port.url)
        assert "You are alice.test" in " ".join(shown.split())
        assert "mutual TLS" in shown
        assert "X25519" in shown  # it offers groups
        assert "ClientHello" in shown
        assert "http/1.1" in shown
        [done] = [each for each in port.reports() if each["outcome"] == "completed"]
        assert done["peer"]["names"] == ["alice.test"]
        assert done["requests"] == 1
        # A browser that is asked for a certificate goes, and comes again when it has chosen.
        others = [each for each in port.reports() if each["outcome"] != "completed"]
        for each in others:
            assert (each["outcome"], each["rejected_by"]) == ("failed", None)
            assert "browsers that ask their user for a certificate" in each["summary"]
            assert each["remedy"].startswith("nothing to do, if it was")
        assert running.stop() == 0


def test_a_browser_without_a_certificate_is_anonymous(pki: Authorities, tmp_path: Path) -> None:
    with serving(pki, tmp_path, "--client-auth", "optional") as running:
        port = Port(running, pki, tmp_path)
        shown = port.browser().text(port.url)
        assert "You are anonymous" in shown
        assert running.stop() == 0


def test_why_a_client_was_refused_is_on_the_status_page(pki: Authorities, tmp_path: Path) -> None:
    past = partial(dataclasses.replace, lifetime=timedelta(days=-1), backdate=timedelta(days=2))
    expired = pki.clients.issue(past(Request.client("bob.test")))
    with serving(pki, tmp_path) as running:
        port = Port(running, pki, tmp_path)
        # Chromium presents no certificate that has expired, and shows an error of its own.
        assert "bob.test" not in port.browser(expired).dom(port.url)
        with contextlib.suppress(OSError), running.connect(pki.client_context(expired)) as client:
            client.recv(1)
        dom = port.browser().dom(port.status)
        assert dom.count('<tr class="bad">') == 2
        assert "it presented no certificate, and one is required" in dom
        assert "bob.test" in dom
        assert "its certificate has expired" in dom
        assert "renew" in dom
        assert running.stop() == 0


def test_names_of_peers_run_nothing(pki: Authorities, tmp_path: Path) -> None:
    hostile = pki.clients.issue(Request.client("eve.test", subject=HOSTILE))
    with serving(pki, tmp_path, "--allow-dns", "other.test") as running:
        port = Port(running, pki, tmp_path)
        denied = port.browser(hostile).dom(port.url)
        assert "403 Forbidden" in denied
        for target in ("", "reports", f"reports/{port.reports()[0]['client_random']}"):
            dom = port.browser().dom(port.status + target)
            assert "<title>run" not in dom
            assert "<img" not in dom
            assert "<script" not in dom
            assert "eve.test" in dom
        assert running.stop() == 0
    with serving(pki, tmp_path) as running:
        port = Port(running, pki, tmp_path)
        dom = port.browser(hostile).dom(port.url)
        assert "<title>mtls-echo: you are eve.test" in dom
        assert "&lt;img" in dom
        assert "<img" not in dom
        assert running.stop() == 0
