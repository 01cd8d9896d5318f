"""The ``mtls-echo pki`` commands: a PKI for tests in one line, with nothing overwritten.

Results go to standard output; errors to standard error, with a hint. Exit status 0 is
done, 2 is wrong usage or unusable files, and ``pki check`` has 1 for "something was
found". Nothing is imported before a command needs it, so that ``--help`` stays quick.
"""

from __future__ import annotations

import shlex
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtls_echo_pki import pkcs12
from mtls_echo_pki.console import CommandError

if TYPE_CHECKING:
    from mtls_echo_pki.credential import Credential
    from mtls_echo_pki.description import Description

# Spelled out, since KeyType would import cryptography for a --help; a test compares them.
KEY_TYPES = ("p256", "p384", "ed25519", "rsa2048")


class _Lifetime(click.ParamType[timedelta]):
    name = "lifetime"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        from mtls_echo_pki.request import parse_lifetime

        if isinstance(value, timedelta):
            return value
        try:
            return parse_lifetime(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Group(click.Group):
    """Says what is wrong with the arguments in the same form as every other error."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _usage_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _usage_errors():
            return super().invoke(ctx)


@click.group(cls=_Group)
def pki() -> None:
    """Make, inspect and check certificates for tests and demonstrations.

    \b
    examples:
      mtls-echo pki init ./pki
      mtls-echo pki issue ./pki alice alice@mail.test --client
      mtls-echo pki show ./pki
      mtls-echo pki check ./pki
    """


@pki.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--name",
    "server_names",
    multiple=True,
    metavar="SERVERNAME",
    help="Identity of the server; repeatable.  [default: localhost, 127.0.0.1, ::1]",
)
@click.option(
    "--client-name",
    "client_names",
    multiple=True,
    metavar="IDENTITY",
    help="Identity of the client; repeatable.  [default: client.test]",
)
@click.option("--single-authority", is_flag=True, help="Let one authority issue both sides.")
@click.option("--intermediate", is_flag=True, help="Put an issuing authority below each root.")
@click.option("--key-type", type=click.Choice(KEY_TYPES), default="p256", show_default=True)
def init(
    directory: Path,
    server_names: tuple[str, ...],
    client_names: tuple[str, ...],
    single_authority: bool,
    intermediate: bool,
    key_type: str,
) -> None:
    """Make a PKI in DIR, with one server and one client.

    DIR must not exist, or be empty. Servers and clients get separate authorities, and
    each side trusts only the other's. An identity is a host, an IP address, an e-mail
    address or a URI.

    \b
    examples:
      mtls-echo pki init ./pki
      mtls-echo pki init ./pki --name echo.test --name 10.0.0.7
      mtls-echo pki init ./pki --client-name spiffe://prod.test/payments
      mtls-echo pki init ./pki --intermediate --key-type p384

    exit status: 0 made, 2 wrong arguments or DIR cannot be used; nothing is overwritten
    """
    from mtls_echo_pki.directory import DEFAULT_CLIENT_NAMES, DEFAULT_SERVER_NAMES, Directory
    from mtls_echo_pki.request import KeyType

    server_names = server_names or DEFAULT_SERVER_NAMES
    with _refusals():
        made = Directory.create(
            directory,
            server_names=server_names,
            client_names=client_names or DEFAULT_CLIENT_NAMES,
            key_type=KeyType(key_type),
            single_authority=single_authority,
            intermediate=intermediate,
        )
        described = [(name, made.credential(name)) for name in ("server", "client")]
    place = shlex.quote(str(directory))
    kinds = "one authority" if single_authority else "an authority for servers, one for clients"
    click.echo(f"made {directory} with {kinds}{', each below a root' if intermediate else ''}")
    for name, credential in described:
        click.echo(f"  {name:8}{_summary(credential)}")
    click.echo("next:")
    click.echo(f"  mtls-echo serve --pki {place}")
    # The connecting side checks the name it connects to, so show one that is there.
    host = next((name for name in server_names if "@" not in name and "/" not in name), None)
    address = f"[{host}]" if host and ":" in host else host
    target = f" {shlex.quote(f'{address}:8443')}" if address and "*" not in address else ""
    click.echo(f"  mtls-echo connect{target} --pki {place}")


@pki.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("name")
@click.argument("identities", metavar="IDENTITY...", nargs=-1, required=True)
@click.option("--server", "usage", flag_value="server", help="Issue a server's certificate.")
@click.option("--client", "usage", flag_value="client", help="Issue a client's certificate.")
@click.option(
    "--lifetime",
    type=_Lifetime(),
    default="30d",
    show_default=True,
    help="60s, 10m, 12h or 30d; not longer than the authority's.",
)
@click.option("--key-type", type=click.Choice(KEY_TYPES), default="p256", show_default=True)
@click.option(
    "--pkcs12",
    "pkcs12_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write key and certificates as PKCS#12 (mode 0600), for browsers and Java.",
)
@click.option(
    "--pkcs12-password-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"Its first line is the password.  [default: ${pkcs12.PASSWORD_VARIABLE}, or ask]",
)
def issue(
    directory: Path,
    name: str,
    identities: tuple[str, ...],
    usage: str | None,
    lifetime: timedelta,
    key_type: str,
    pkcs12_file: Path | None,
    pkcs12_password_file: Path | None,
) -> None:
    """Issue a credential as DIR/NAME, for one IDENTITY or more.

    IDENTITY is a host (a.test, *.a.test), an IP address, an e-mail address or a URI,
    told apart by its form. NAME becomes the common name, which no peer compares.

    The PKCS#12 password is the first line of --pkcs12-password-file, else the value of
    MTLS_ECHO_PKCS12_PASSWORD, else asked for on the terminal. It is never an argument,
    which other users could see, and never printed.

    \b
    examples:
      mtls-echo pki issue ./pki alice alice@mail.test --client
      mtls-echo pki issue ./pki api api.test 10.0.0.7 --server --lifetime 12h
      mtls-echo pki issue ./pki payments spiffe://prod.test/payments --client
      mtls-echo pki issue ./pki bob bob@mail.test --client --pkcs12 bob.p12

    exit status: 0 issued, 2 wrong arguments or unusable files; nothing is overwritten
    """
    from mtls_echo_pki.directory import Directory
    from mtls_echo_pki.request import KeyType, Request, Usage

    if usage is None:
        raise click.UsageError("say whether it is for a --server or a --client")
    if pkcs12_password_file is not None and pkcs12_file is None:
        raise click.UsageError("--pkcs12-password-file needs --pkcs12 FILE")
    with _refusals():
        pki_directory = Directory(directory)
        request = Request(
            names=identities,
            subject=name,
            usage=Usage(usage),
            lifetime=lifetime,
            key_type=KeyType(key_type),
        )
        if pkcs12_file is None:
            credential = pki_directory.issue(name, request)
        else:
            password = pkcs12.read_password(pkcs12_password_file)
            # Taken before anything is issued: a name once issued cannot be issued again.
            with pkcs12.reserved(pkcs12_file):
                credential = pki_directory.issue(name, request)
            pkcs12.write(pkcs12_file, credential, password, name, directory / name)
    click.echo(f"issued {directory / name}: {_summary(credential)}")
    if pkcs12_file is not None:
        click.echo(f"wrote {pkcs12_file}")


@pki.command()
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def show(path: Path, as_json: bool) -> None:
    """Show the certificates in PATH: a PKI directory, a mounted Secret or a PEM file.

    \b
    examples:
      mtls-echo pki show ./pki
      mtls-echo pki show ./pki/server
      mtls-echo pki show /etc/ssl/certs/ca-certificates.crt
      mtls-echo pki show ./pki --json | jq -r '.[] | [.not_after, .path] | @tsv'

    exit status: 0 shown, 2 nothing there to show
    """
    from mtls_echo_pki.description import describe
    from mtls_echo_pki.pem import read_certificates

    with _refusals():
        descriptions = [
            describe(certificate, path=file, position=position)
            for file in _certificate_files(path)
            for position, certificate in enumerate(read_certificates(file), start=1)
        ]
    if as_json:
        import msgspec

        encoded = msgspec.json.format(msgspec.json.encode(descriptions), indent=2)
        click.echo(encoded.decode())
    else:
        click.echo("\n\n".join(_paragraph(description) for description in descriptions))


@pki.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def check(directory: Path) -> None:
    """Check that the PKI in DIR works, and that its keys are private.

    Every credential must match its key, be valid now, lead to a trust anchor, and be
    accepted by OpenSSL (strict, in a real handshake) and by the verifier of the Python
    package cryptography. Each finding is one line: what is wrong with which file, and
    what to do.

    \b
    examples:
      mtls-echo pki check ./pki
      mtls-echo pki check ./pki && mtls-echo serve --pki ./pki

    exit status: 0 all well, 1 something was found, 2 DIR is no PKI directory
    """
    from mtls_echo_pki.check import check as findings_of
    from mtls_echo_pki.directory import Directory

    with _refusals():
        pki_directory = Directory(directory)
        findings = findings_of(pki_directory)
        count = len(pki_directory.names())
    for finding in findings:
        hint = f" (hint: {finding.hint})" if finding.hint else ""
        click.echo(f"{finding.path}: {finding.what}{hint}")
    if findings:
        click.get_current_context().exit(1)
    click.echo(f"{directory}: all well, {count} credential{'' if count == 1 else 's'} checked")


def _certificate_files(path: Path) -> list[Path]:
    """Return the files with certificates in ``path``, which may be one of them."""
    if not path.is_dir():
        return [path]
    patterns = ("authorities/*/tls.crt", "trust/*/ca.crt", "*/tls.crt", "tls.crt", "ca.crt")
    files = [
        file
        for pattern in patterns
        for file in sorted(path.glob(pattern))
        # With a single authority one folder is a link to the other; ..data is another.
        if not file.parent.is_symlink() and not file.parent.name.startswith("..")
    ]
    if not files:
        raise CommandError(
            f"{path}: has no certificates in it",
            "name a PKI directory, a folder with tls.crt or ca.crt, or a PEM file",
        )
    return files


def _paragraph(description: Description) -> str:
    from mtls_echo_pki.authority import utcnow
    from mtls_echo_pki.description import validity

    begin, end = description.not_before, description.not_after
    number = f" ({description.position})" if description.position > 1 else ""
    lines = [
        f"{description.path}{number}",
        f"  subject      {description.subject or '(empty)'}",
        f"  issuer       {description.issuer or '(empty)'}",
        f"  names        {', '.join(description.names) or '(none)'}",
        f"  validity     {begin:%Y-%m-%d %H:%M:%S} to {end:%Y-%m-%d %H:%M:%S} UTC, "
        f"{validity(begin, end, utcnow())}",
        f"  usage        {', '.join(description.usage) or '(any)'}",
        f"  key          {description.key}",
        f"  serial       {description.serial}",
        f"  fingerprint  {description.fingerprint}",
    ]
    return "\n".join(lines)


def _summary(credential: Credential) -> str:
    from mtls_echo_pki.authority import utcnow
    from mtls_echo_pki.description import presented_identifiers, validity

    certificate = credential.certificate
    names = ", ".join(presented_identifiers(certificate))
    end = certificate.not_valid_after_utc
    return f"{names}; {validity(certificate.not_valid_before_utc, end, utcnow())}"


@contextmanager
def _refusals() -> Generator[None]:
    """End the command with an error and a hint where the library raises one."""
    from mtls_echo_pki.pem import MaterialError
    from mtls_echo_pki.placement import DirectoryError

    try:
        yield
    except (MaterialError, DirectoryError) as error:
        raise CommandError(str(error), error.hint) from error
    except FileExistsError as error:
        raise CommandError(
            f"{error.filename}: exists already", "choose another name: nothing is overwritten"
        ) from error
    except OSError as error:
        raise CommandError(f"{error.filename}: {_reason(error)}") from error
    except ValueError as error:
        message, _, hint = str(error).partition("; ")
        raise CommandError(message, hint or None) from error


@contextmanager
def _usage_errors() -> Generator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise  # not an error but the help
    except click.UsageError as error:
        message = error.format_message().rstrip(".")
        command = error.ctx.command_path if error.ctx else "mtls-echo pki"
        raise CommandError(message[:1].lower() + message[1:], f"see: {command} --help") from error


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
