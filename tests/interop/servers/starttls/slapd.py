"""OpenLDAP's slapd: TLS begins behind an extended operation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.interop.servers.running import ClientAuth, Files, Server, folder_for, listening

_VERIFY = {"required": "demand", "optional": "try", "unverified": "allow", "none": "never"}

_CONFIGURATION = """
pidfile {folder}/pid
TLSCertificateFile {files.certificate}
TLSCertificateKeyFile {files.key}
TLSCACertificateFile {files.client_ca}
TLSVerifyClient {verify}
{extra}
database config
"""


@contextlib.contextmanager
def start(files: Files, client_auth: ClientAuth = "required", *, extra: str = "") -> Iterator[int]:
    """``extra`` belongs before the databases, of which there is none."""
    with folder_for(files) as (folder, mine):

        def command(port: int) -> list[str]:
            text = _CONFIGURATION.format(
                folder=folder, files=mine, verify=_VERIFY[client_auth], extra=extra
            )
            (folder / "slapd.conf").write_text(text)
            (folder / "slapd.conf").chmod(0o644)
            # With -d it stays in the foreground.
            options = ["-f", "slapd.conf", "-h", f"ldap://127.0.0.1:{port}/", "-d", "0"]
            return ["slapd", *options]

        with listening(folder, command) as port:
            yield port


SERVER = Server("slapd", ("slapd",), start, "nothing", "ldap")
