"""What docs/security.md says can be done beyond the defaults is done, as it says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.support.command_line import serving
from tests.support.timing import TIMEOUT

PAGE = Path(__file__).parents[2] / "docs" / "security.md"


def test_a_file_of_openssl_leaves_out_the_groups_that_are_not_in_the_profile(
    tmp_path: Path,
) -> None:
    found = re.search(r"```ini\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    (tmp_path / "groups.cnf").write_text(found[1])

    assert negotiated("X448", tmp_path) == "X448"
    assert negotiated("X448", tmp_path, OPENSSL_CONF="groups.cnf") is None
    assert negotiated("X25519", tmp_path, OPENSSL_CONF="groups.cnf") == "X25519"


def negotiated(group: str, folder: Path, **more: str) -> str | None:
    """The group of a handshake with our server, of a client that offers this one only."""
    more = {name: str(folder / value) for name, value in more.items()}
    with serving("--client-auth", "none", pki=folder / "pki", **more) as server:
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-groups", group],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    key = re.search(r"Server Temp Key: (\w+)", done.stdout)
    return key[1] if key else None
