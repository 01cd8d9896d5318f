"""A headless Chromium with a profile of its own: its trust anchors, its client certificate.

Both lie in an NSS database in its home. Which certificate a site gets is otherwise asked in a
dialogue; here it is a setting of the profile, as an administrator's policy would make it. Without
one the dialogue stays open, and no page comes: so a client without a certificate is one whose
database has none.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtls_echo_pki.certificates.credential import Credential
from tests.support.timing import TIMEOUT

# No process of its own that a container cannot have, and nothing is looked up in the network.
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
    "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--hide-scrollbars", "--disable-default-apps", "--no-proxy-server",
)  # fmt: skip


@dataclass(frozen=True)
class Browser:
    """A browser that is started anew for each page, and remembers nothing in between."""

    home: Path

    @classmethod
    def make(cls, home: Path, anchors: bytes, own: Credential | None = None) -> Browser:
        """Make the profile, with these trust anchors (PEM) and this client certificate."""
        database = home / ".pki" / "nssdb"
        database.mkdir(parents=True)
        where = ("-d", f"sql:{database}")
        _run("certutil", *where, "-N", "--empty-password")
        (home / "anchors.crt").write_bytes(anchors)
        _run("certutil", *where, "-A", "-n", "a", "-t", "C,,", "-i", str(home / "anchors.crt"))
        if own is not None:
            (home / "own.p12").write_bytes(own.pkcs12(b"secret", name="me"))
            _run("pk12util", *where, "-i", str(home / "own.p12"), "-W", "secret", "-K", "")
        chosen: dict[str, Any] = {"https://localhost,*": {"setting": {"filters": [{}]}}}
        exceptions = {"auto_select_certificate": chosen}
        preferences = {"profile": {"content_settings": {"exceptions": exceptions}}}
        (home / "profile" / "Default").mkdir(parents=True)
        (home / "profile" / "Default" / "Preferences").write_text(json.dumps(preferences))
        return cls(home)

    def dom(self, url: str) -> str:
        """The document of a page, after it was loaded and its scripts, if any, have run."""
        return self._start("--dump-dom", "--virtual-time-budget=1500", url)

    def text(self, url: str) -> str:
        """The same without its tags."""
        return re.sub(r"<(style|script).*?</\1>|<[^>]*>", " ", self.dom(url), flags=re.DOTALL)

    def picture(self, url: str, path: Path, size: str = "1200,1500", *more: str) -> None:
        """Make a picture of the page, as PNG."""
        self._start(f"--screenshot={path}", f"--window-size={size}", *more, url)

    def _start(self, *arguments: str) -> str:
        profile = f"--user-data-dir={self.home / 'profile'}"
        return _run("chromium", *_OPTIONS, profile, *arguments, HOME=str(self.home))


def _run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=TIMEOUT,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
