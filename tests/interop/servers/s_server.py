"""``openssl s_server``: echoes each line back to front, so that a palindrome is an echo."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.interop.servers.running import (
    ClientAuth,
    Files,
    Server,
    folder_for,
    saying_its_port,
)

_VERIFY = {
    "required": ["-Verify", "3", "-verify_return_error"],
    "optional": ["-verify", "3", "-verify_return_error"],
    "unverified": ["-Verify", "3"],
    "none": [],
}


@contextlib.contextmanager
def start(files: Files, client_auth: ClientAuth = "required", *, extra: str = "") -> Iterator[int]:
    """``extra`` are further options."""
    with folder_for(files) as (folder, mine):
        command = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-rev"]
        command += ["-cert", str(mine.certificate), "-key", str(mine.key)]
        command += ["-cert_chain", str(mine.certificate)]
        command += ["-CAfile", str(mine.client_ca), *_VERIFY[client_auth]]
        if mine.crl:
            command += ["-crl_check", "-CRL", str(mine.crl)]
        with saying_its_port(folder, [*command, *extra.split()]) as port:
            yield port


SERVER = Server("s_server", ("openssl",), start, "echo")
