"""Commands that show a finding again, without mtls-echo."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mtls_echo_pki.files.durable import PUBLIC, replace_file
from mtls_echo_tls.address import Address

if TYPE_CHECKING:
    from mtls_echo.probing.result import ProbeRow
    from mtls_echo.probing.target import ProbeTarget
    from mtls_echo_pki.certificates.credential import Credential

# What takes two connections, or more than a line can say.
_NOT_SHOWN = (
    "split-hello",
    "forged-headers",
    "ticket-of-refused",
    "ticket-across-names",
    "ticket-after-change",
)


def keep(folder: Path, target: ProbeTarget, credentials: Mapping[str, Credential]) -> None:
    """Write the identities that were admitted, and the CA of the server.

    Raises:
        OSError: They cannot be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for slug, credential in credentials.items():
        replace_file(folder / f"{slug}.crt", credential.certificate_pem, PUBLIC)
        replace_file(folder / f"{slug}.key", credential.key_pem, 0o600)
    if target.trust is not None:
        replace_file(folder / "ca.crt", target.trust.pem, PUBLIC)


def command(row: ProbeRow, target: ProbeTarget, mode: str, folder: Path | None) -> str | None:
    """A command for a finding; None where it takes more than one line, or files not kept.

    Args:
        folder: Of the files (`keep`).
    """
    where = str(Address(target.host, target.port))
    if row.slug == "plaintext":
        return shlex.join(["curl", "-i", f"http://{where}{target.request.path}"])
    has_files = row.group == "identity" and row.slug != "none"
    if (has_files and folder is None) or row.slug in _NOT_SHOWN:
        return None
    by_curl = mode == "http" and not row.slug.startswith("sni-")
    name = row.server_name if row.group == "identity" else target.server_names[0]
    if by_curl:
        parts = ["curl", "-ik", f"--tlsv{row.tls}", "--tls-max", row.tls]
        parts += ["--connect-to", f"::{where}"]
        if target.alpn:
            parts.append("--http2" if "h2" in target.alpn else "--http1.1")
        if row.slug == "host-not-sni":
            parts += ["-H", f"Host: {Address(row.server_name, target.port)}"]
    else:
        name = row.server_name if row.group == "identity" or row.slug.startswith("sni-") else name
        parts = ["openssl", "s_client", "-connect", where]
        parts += ["-servername", name] if name else ["-noservername"]
        parts += [f"-tls{row.tls.replace('.', '_')}"]
        parts += ["-alpn", ",".join(target.alpn)] if target.alpn else []
    if has_files and folder is not None:
        dash = "--" if by_curl else "-"
        parts += [f"{dash}cert", str(folder / f"{row.slug}.crt")]
        parts += [f"{dash}key", str(folder / f"{row.slug}.key")]
        if not by_curl:
            parts += ["-cert_chain", str(folder / f"{row.slug}.crt")]
    if by_curl:
        parts.append(f"https://{Address(name, target.port)}{target.request.path}")
    return shlex.join(parts)
