"""stunnel, before a server that echoes: what becomes of a client is decided in the handshake."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.interop.servers.running import ClientAuth, Files, Server, folder_for, listening

_VERIFY = {
    "required": "verifyChain = yes\nrequireCert = yes",
    "optional": "verifyChain = yes\nrequireCert = no",
    "unverified": "requireCert = yes\nverifyChain = no",
    "none": "verifyChain = no",
}

_CONFIGURATION = """
foreground = yes
pid =
debug = err
syslog = no
[echo]
accept = 127.0.0.1:{port}
exec = /bin/cat
execArgs = cat
cert = {files.certificate}
key = {files.key}
CAfile = {files.client_ca}
{crl}
{verify}
sslVersionMin = TLSv1.2
{extra}
"""


@contextlib.contextmanager
def start(files: Files, client_auth: ClientAuth = "required", *, extra: str = "") -> Iterator[int]:
    """``extra`` belongs into the service."""
    with folder_for(files) as (folder, mine):

        def command(port: int) -> list[str]:
            text = _CONFIGURATION.format(
                port=port,
                files=mine,
                crl=f"CRLfile = {mine.crl}" if mine.crl else "",
                verify=_VERIFY[client_auth],
                extra=extra,
            )
            (folder / "stunnel.conf").write_text(text)
            (folder / "stunnel.conf").chmod(0o644)
            return ["stunnel", str(folder / "stunnel.conf")]

        with listening(folder, command) as port:
            yield port


SERVER = Server("stunnel", ("stunnel",), start, "echo")
