"""Exim: SMTP, where TLS begins behind STARTTLS."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.interop.servers.running import ClientAuth, Files, Server, folder_for, listening

_VERIFY = {
    "required": "tls_verify_hosts = *",
    "optional": "tls_try_verify_hosts = *",
    "none": "",
}

# Nothing is delivered and nobody is looked up: a conversation of its own ends with TLS.
_CONFIGURATION = """
primary_hostname = mail.test
spool_directory = {folder}/spool
log_file_path = {folder}/%slog
exim_user = {user}
exim_group = {user}
keep_environment =
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
host_lookup =
rfc1413_query_timeout = 0s
tls_certificate = {files.certificate}
tls_privatekey = {files.key}
{ca}
{crl}
{verify}
acl_smtp_rcpt = deny
{extra}
"""


@contextlib.contextmanager
def start(files: Files, client_auth: ClientAuth = "required", *, extra: str = "") -> Iterator[int]:
    """``extra`` belongs into the main section."""
    with folder_for(files) as (folder, mine):
        user = folder.stat().st_uid

        def command(port: int) -> list[str]:
            text = _CONFIGURATION.format(
                port=port,
                folder=folder,
                user=user,
                files=mine,
                ca=f"tls_verify_certificates = {mine.client_ca}" if client_auth != "none" else "",
                crl=f"tls_crl = {mine.crl}" if mine.crl else "",
                verify=_VERIFY[client_auth],
                extra=extra,
            )
            (folder / "exim.conf").write_text(text)
            (folder / "exim.conf").chmod(0o644)
            return ["exim4", "-C", str(folder / "exim.conf"), "-bdf"]

        with listening(folder, command) as port:
            yield port


SERVER = Server("exim", ("exim4",), start, "nothing", "smtp")
