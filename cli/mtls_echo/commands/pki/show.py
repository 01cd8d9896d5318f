"""``pki show``: print what the certificates and CRLs of a folder or a file say."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtls_echo.commands.pki.errors import as_command_errors
from mtls_echo.console import CommandError, print_result
from mtls_echo_pki.printable import printable

if TYPE_CHECKING:
    from mtls_echo_pki.checks.description import CRLDescription, Description
    from mtls_echo_pki.checks.status import Overview


@click.command()
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def show(path: Path, as_json: bool) -> None:
    """Show the certificates and CRLs in PATH, and where a PKI stands.

    PATH is a PKI directory, a mounted Secret or a PEM file. Of a PKI directory the end tells,
    for each CA, at which stage of its replacement it is, what ends when, what was
    revoked, and what to do next. In JSON, what has "revoked" is a CRL, and what has
    "stage" such an end.

    \b
    examples:
      mtls-echo pki show ./pki
      mtls-echo pki show ./pki/server
      mtls-echo pki show /etc/ssl/certs/ca-certificates.crt
      mtls-echo pki show ./pki --json | jq -r '.[] | [.not_after, .path] | @tsv'
      mtls-echo pki show ./pki --json | jq -r '.[] | select(.stage) | .next[]'

    exit status: 0 shown, 2 nothing there to show
    """
    from mtls_echo_pki.checks.description import describe, describe_crl
    from mtls_echo_pki.files.durable import is_folder
    from mtls_echo_pki.files.pem import read_contents
    from mtls_echo_pki.files.pem_blocks import MaterialError
    from mtls_echo_pki.files.staging import DirectoryError

    descriptions: list[Description | CRLDescription] = []
    ends: list[Overview] = []
    trouble: DirectoryError | MaterialError | None = None
    with as_command_errors(), _quiescent(path):
        for file in _files(path):
            certificates, crls = read_contents(file)
            for position, certificate in enumerate(certificates, start=1):
                descriptions.append(describe(certificate, path=file, position=position))
            for position, crl in enumerate(crls, start=1):
                descriptions.append(describe_crl(crl, path=file, position=position))
        if is_folder(path / "authorities"):
            from mtls_echo_pki.checks.status import overviews
            from mtls_echo_pki.directory.directory import Directory

            try:
                ends = overviews(Directory(path))
            except (DirectoryError, MaterialError) as error:
                trouble = error
    if as_json:
        import msgspec

        encoded = msgspec.json.format(msgspec.json.encode([*descriptions, *ends]), indent=2)
        click.echo(encoded.decode())
    else:
        paragraphs = [_paragraph(description) for description in descriptions]
        print_result("\n\n".join([*paragraphs, *map(_end, ends)]))
    if trouble is not None:
        raise CommandError(str(trouble), trouble.hint)


@contextmanager
def _quiescent(path: Path) -> Generator[None]:
    """Recover a PKI directory after a killed command, if that is permitted."""
    from mtls_echo_pki.files.durable import is_folder

    if not is_folder(path / "authorities"):
        yield
        return
    from mtls_echo_pki.directory.recovery import quiescent

    with quiescent(path):
        yield


def _end(overview: Overview) -> str:
    from mtls_echo_pki.certificates.authority import utcnow
    from mtls_echo_pki.checks.status import lines_of

    return "\n".join(map(printable, lines_of(overview, utcnow())))


def _files(path: Path) -> list[Path]:
    """Return the files in ``path`` that can be shown; ``path`` may be one of them."""
    from mtls_echo_pki.files.durable import is_folder
    from mtls_echo_pki.files.trust_anchors import anchor_files

    if not is_folder(path):
        return [path]
    patterns = (
        *(f"authorities/*/{name}.crt" for name in ("tls", "next", "previous", "cross")),
        *("trust/*/ca.crt", "trust/*/crl.pem", "*/tls.crt"),
        *("tls.crt", "credentialbundle.pem", "credential-bundle.pem"),
        *("ca.crt", "trust-bundle.pem", "crl.pem"),
    )
    files = [
        file
        for pattern in patterns
        for file in sorted(path.glob(pattern))
        # With a single CA one folder is a link to the other; ..data is another.
        if not file.parent.is_symlink() and not file.parent.name.startswith("..")
    ]
    files = files or [*anchor_files(path)]
    if not files:
        raise CommandError(
            f"{path}: has no certificates in it",
            "name a PKI directory, a folder with tls.crt, ca.crt or CAs in it, or a PEM file",
        )
    return files


def _paragraph(description: Description | CRLDescription) -> str:
    from mtls_echo_pki.checks.description import Description

    number = f" ({description.position})" if description.position > 1 else ""
    if isinstance(description, Description):
        lines = _certificate_lines(description)
    else:
        lines = _crl_lines(description)
    return "\n".join(printable(line) for line in (f"{description.path}{number}", *lines))


def _certificate_lines(description: Description) -> list[str]:
    odd = ", ".join(description.unreadable)
    return [
        f"  subject      {description.subject or '(empty)'}",
        f"  issuer       {description.issuer or '(empty)'}",
        f"  names        {', '.join(description.names) or '(none)'}",
        f"  validity     {_validity(description.not_before, description.not_after)}",
        f"  usage        {', '.join(description.usage) or ('(unreadable)' if odd else '(any)')}",
        f"  key          {description.key}",
        f"  serial       {description.serial}",
        f"  fingerprint  {description.fingerprint}",
        *([f"  version      {description.version}"] if description.version != 3 else []),
        *([f"  unreadable   extension {odd}"] if odd else []),
    ]


def _crl_lines(description: CRLDescription) -> list[str]:
    from mtls_echo_pki.lifetimes import timestamp

    revoked = [
        f"{each.serial} on {timestamp(each.date)} UTC, {each.reason}"
        for each in description.revoked
    ] or ["(none)"]
    return [
        "  CRL",
        f"  issuer       {description.issuer or '(empty)'}",
        f"  number       {'(none)' if description.number is None else description.number}",
        f"  validity     {_validity(description.this_update, description.next_update)}",
        f"  revoked      {revoked[0]}",
        *(f"               {each}" for each in revoked[1:]),
    ]


def _validity(begin: datetime, end: datetime | None) -> str:
    from mtls_echo_pki.certificates.authority import utcnow
    from mtls_echo_pki.lifetimes import timestamp, validity

    if end is None:
        return f"{timestamp(begin)} UTC, for ever"
    return f"{timestamp(begin)} to {timestamp(end)} UTC, {validity(begin, end, utcnow())}"
