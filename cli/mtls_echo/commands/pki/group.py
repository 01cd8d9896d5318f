"""The ``mtls-echo pki`` commands ``init``, ``issue`` and ``check``, and the group of all of them.

Results go to standard output; errors to standard error, with a hint. Exit status 0 is
done, 2 is wrong usage or unusable files, and ``pki check`` has 1 for "something was
found". Nothing is imported before a command needs it, so that ``--help`` stays quick.
"""

from __future__ import annotations

import shlex
from datetime import timedelta
from pathlib import Path

import click

from mtls_echo.commands.pki.errors import PKIGroup, as_command_errors, print_done, quiet_option
from mtls_echo.console import print_result
from mtls_echo.parameters import (
    FlawSlug,
    Lifetime,
    choice_option,
    directory_argument,
    file_option,
    summary,
)
from mtls_echo_pki.printable import printable

# Spelled out, since KeyType would import cryptography for a --help; a test compares them.
KEY_TYPES = ("p256", "p384", "ed25519", "rsa2048")


_ELSEWHERE = {
    "show": "mtls_echo.commands.pki.show",
    "flaws": "mtls_echo.commands.pki.flaws",
    "renew": "mtls_echo.commands.pki.rotate",
    "revoke": "mtls_echo.commands.pki.rotate",
    "crl": "mtls_echo.commands.pki.rotate",
    "rollover": "mtls_echo.commands.pki.rollover",
    "remove": "mtls_echo.commands.pki.remove",
}


@click.group(cls=PKIGroup, elsewhere=_ELSEWHERE)
def pki() -> None:
    """Make, inspect, check and rotate certificates for tests and demonstrations.

    \b
    examples:
      mtls-echo pki init ./pki
      mtls-echo pki issue ./pki alice alice@mail.test --client
      mtls-echo pki renew ./pki alice --new-key
      mtls-echo pki revoke ./pki alice --reason keyCompromise
      mtls-echo pki rollover ./pki introduce
      mtls-echo pki show ./pki
      mtls-echo pki check ./pki
      mtls-echo pki flaws
      mtls-echo pki remove ./pki
    """


@pki.command()
@directory_argument
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
@click.option("--single-authority", is_flag=True, help="Let one CA issue for both sides.")
@click.option("--intermediate", is_flag=True, help="Put an issuing CA below each root.")
@choice_option("--key-type", values=KEY_TYPES, default="p256", help="The kind of all keys.")
@quiet_option
def init(
    directory: Path,
    server_names: tuple[str, ...],
    client_names: tuple[str, ...],
    single_authority: bool,
    intermediate: bool,
    key_type: str,
) -> None:
    """Make a PKI in DIR, with one server and one client.

    DIR must not exist, or be empty. Servers and clients get separate CAs (certification
    authorities), and each side trusts only the other's. An identity is a host, an IP
    address, an e-mail address or a URI.

    \b
    examples:
      mtls-echo pki init ./pki
      mtls-echo pki init ./pki --name echo.test --name 10.0.0.7
      mtls-echo pki init ./pki --client-name spiffe://prod.test/payments
      mtls-echo pki init ./pki --intermediate --key-type p384

    exit status: 0 made, 2 wrong arguments or DIR cannot be used; nothing is overwritten
    """
    from mtls_echo_pki.certificates.request import KeyType
    from mtls_echo_pki.directory import directory as directories

    server_names = server_names or directories.DEFAULT_SERVER_NAMES
    with as_command_errors():
        made = directories.Directory.create(
            directory,
            server_names=server_names,
            client_names=client_names or directories.DEFAULT_CLIENT_NAMES,
            key_type=KeyType(key_type),
            single_authority=single_authority,
            intermediate=intermediate,
        )
        described = [(name, made.credential(name)) for name in ("server", "client")]
    place = shlex.quote(str(directory))
    kinds = "one CA" if single_authority else "a CA for servers, one for clients"
    print_done(f"made {directory} with {kinds}{', each below a root' if intermediate else ''}")
    for name, credential in described:
        print_done(f"  {name:8}{summary(credential)}")
    print_done("next:")
    print_done(f"  mtls-echo serve --pki {place}")
    # The connecting side checks the name it connects to, so show one that is there.
    host = next((name for name in server_names if "@" not in name and "/" not in name), None)
    address = f"[{host}]" if host and ":" in host else host
    target = f" {shlex.quote(f'{address}:8443')}" if address and "*" not in address else ""
    print_done(f"  mtls-echo connect{target} --pki {place}")


@pki.command()
@directory_argument
@click.argument("name")
@click.argument("identities", metavar="IDENTITY...", nargs=-1, required=True)
@click.option("--server", "usage", flag_value="server", help="Issue a server's certificate.")
@click.option("--client", "usage", flag_value="client", help="Issue a client's certificate.")
@click.option(
    "--lifetime",
    type=Lifetime(),
    default="30d",
    show_default=True,
    help="60s, 10m, 12h or 30d; not longer than the CA's.",
)
@choice_option("--key-type", values=KEY_TYPES, default="p256", help="The kind of its key.")
@file_option(
    *("--pkcs12", "pkcs12_file"),
    help="Also write key and certificates as PKCS#12 (mode 0600), for browsers and Java.",
)
@file_option(
    "--pkcs12-password-file",
    help="Its first line is the password.  [default: $MTLS_ECHO_PKCS12_PASSWORD, or ask]",
)
@click.option(
    "--flaw",
    "slug",
    type=FlawSlug(),
    help="Issue a deliberately bad one; see them all: mtls-echo pki flaws.",
)
@quiet_option
def issue(
    directory: Path,
    name: str,
    identities: tuple[str, ...],
    usage: str | None,
    lifetime: timedelta,
    key_type: str,
    pkcs12_file: Path | None,
    pkcs12_password_file: Path | None,
    slug: str | None,
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
      mtls-echo pki issue ./pki late localhost --server --flaw expired

    exit status: 0 issued, 2 wrong arguments or unusable files; nothing is overwritten
    """
    from mtls_echo_pki.certificates.request import KeyType, Request, Usage
    from mtls_echo_pki.directory.directory import Directory

    if slug is not None and pkcs12_file is not None:
        raise click.UsageError("--flaw and --pkcs12 exclude each other; give one of them")
    if usage is None:
        raise click.UsageError("say whether it is for a --server or a --client")
    if pkcs12_password_file is not None and pkcs12_file is None:
        raise click.UsageError("--pkcs12-password-file needs --pkcs12 FILE")
    with as_command_errors():
        pki_directory = Directory(directory)
        request = Request(
            names=identities,
            subject=name,
            usage=Usage(usage),
            lifetime=lifetime,
            key_type=KeyType(key_type),
        )
        if slug is not None:
            from mtls_echo.commands.pki.flaws import advice
            from mtls_echo_pki.flaws.registry import find_flaw

            flaw = find_flaw(slug)
            inputs = pki_directory.issue_flawed(name, request, flaw)
            credential = inputs.credential
            notes = advice(directory, name, request.usage, flaw, inputs)
        elif pkcs12_file is None:
            credential, notes = pki_directory.issue(name, request), ""
        else:
            from mtls_echo.commands.pki import pkcs12

            password = pkcs12.read_password(pkcs12_password_file)
            # Taken before anything is issued: a name once issued cannot be issued again.
            with pkcs12.reserved(pkcs12_file):
                credential = pki_directory.issue(name, request)
            pkcs12.write(pkcs12_file, credential, password, name, directory / name)
            notes = f"wrote {pkcs12_file}"
    print_done(f"issued {directory / name}: {summary(credential)}")
    if notes:
        print_done(notes)


@pki.command()
@directory_argument
@quiet_option
def check(directory: Path) -> None:
    """Check that the PKI in DIR works, and that its keys are private.

    Every credential must match its key, be valid now, lead to a trust anchor, and be
    accepted by OpenSSL (strict, in a real handshake) and by the verifier of the Python
    package cryptography. CRLs (certificate revocation lists), where there are any, must be
    there for every CA, not expired, and those that the ledger knows. What a command that was
    killed has left is finished first. Each finding is one line: what is wrong with which
    file, and what to do.

    \b
    examples:
      mtls-echo pki check ./pki
      mtls-echo pki check ./pki && mtls-echo serve --pki ./pki

    exit status: 0 all well, 1 something was found, 2 DIR is not a PKI directory
    """
    from mtls_echo_pki.checks.check import check as findings_of
    from mtls_echo_pki.directory.directory import Directory

    with as_command_errors():
        pki_directory = Directory(directory)
        findings = findings_of(pki_directory)
        count = len(pki_directory.names())
    for finding in findings:
        hint = f" (hint: {finding.hint})" if finding.hint else ""
        print_result(printable(f"{finding.path}: {finding.what}{hint}"))
    if findings:
        click.get_current_context().exit(1)
    print_done(f"{directory}: all well, {count} credential{'' if count == 1 else 's'} checked")
