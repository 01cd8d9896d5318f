"""Certificates, and the first lines of configurations that use them."""

from __future__ import annotations

from pathlib import Path

from tests.support.clients import World

TLS = "  tls_config: {ca_file: servers.crt}\n"
LISTED = "- endpoints: ['a.test:1']\n"
DEFAULT = "default_client_config: {tls_config: {ca_file: servers.crt}}\n"


def make_files(folder: Path) -> None:
    """Valid certificates and keys, and files that are neither."""
    World.create(folder)
    for kind in ("crt", "key"):  # by the name that the corpus of refusals quotes
        (folder / f"untrusted.{kind}").rename(folder / f"foreign.{kind}")
    (folder / "empty.crt").touch()
    (folder / "garbage.crt").write_text(
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    )


def with_tls(fields: str) -> str:
    """A group with these fields in its ``tls_config``."""
    return f"{LISTED}  tls_config: {{{fields}}}\n"


def with_files(source: str) -> str:
    """A group with TLS that finds its endpoints."""
    return f"-{TLS[1:]}  endpoints_sd_files: [{source}]\n"


def thanos(endpoint: str, default: str = DEFAULT) -> str:
    """The form that Thanos reads, with one endpoint."""
    return f"{default}endpoints:\n- {{{endpoint}}}\n"


def replace(path: Path, text: str) -> None:
    """Replace a file by rename."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, "utf-8")
    temporary.replace(path)
