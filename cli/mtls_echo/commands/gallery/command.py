"""The command `mtls-echo gallery`: serve every TLS fault on one port, each under its name."""

from __future__ import annotations

import contextlib
import shlex
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtls_echo.commands.gallery.judge import judge
from mtls_echo.console import CommandError, print_result, say
from mtls_echo.parameters import file_option, listen_on, quiet_option, writing
from mtls_echo.usage.help import ParentCommand
from mtls_echo_tls.address import Address

if TYPE_CHECKING:
    from mtls_echo.gallery.exhibit import Exhibit, ExhibitVisit
    from mtls_echo.gallery.server import Gallery
    from mtls_echo.gallery.world import World

_EPILOG = """\b
examples:
  mtls-echo gallery
      Serve all exhibits; it prints how to visit them.
  mtls-echo gallery --list
  mtls-echo gallery --hosts | sudo tee -a /etc/hosts
      For clients that do not resolve names below localhost by themselves.
  mtls-echo gallery --listen 127.0.0.1:8443 --pki ./pki --files ./gallery
      With the CA of a directory that clients trust already.
  mtls-echo gallery judge --client curl
      Score a client.

\b
exit status:
  0  stopped, or listed
  2  usage, unusable files, or a port that cannot be listened on
"""


@click.group(
    cls=ParentCommand,
    invoke_without_command=True,
    epilog=_EPILOG,
    context_settings={"max_content_width": 100},
)
@click.option(
    "--listen",
    default="127.0.0.1:8443",
    show_default=True,
    metavar="HOST:PORT",
    help="The address of all exhibits; port 0 is any free one.",
)
@file_option(
    "--pki",
    metavar="DIR",
    help="Let the CAs of a directory made by `mtls-echo pki init` issue, in place of new ones.",
)
@file_option(
    "--files",
    metavar="DIR",
    help="Put what clients need there: ca.crt, crl.pem, client.crt, client.key.  [default: a"
    " folder that is removed at the end]",
)
@click.option(
    "--domain",
    default="gallery.localhost",
    show_default=True,
    metavar="DOMAIN",
    help="An exhibit's name is SLUG.DOMAIN. Browsers and curl know names below localhost.",
)
@click.option("--list", "listed", is_flag=True, help="List the exhibits, and end.")
@click.option("--hosts", is_flag=True, help="Print lines for /etc/hosts, and end.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per exhibit, or per visit.")
@quiet_option("Say where it is, and nothing of single visits.")
@click.pass_context
def gallery(
    ctx: click.Context,
    listen: str,
    pki: Path | None,
    files: Path | None,
    domain: str,
    listed: bool,
    hosts: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Serve every TLS fault on one port, to see what clients make of it.

    The name that a client asks for (SNI) picks the exhibit: expired.gallery.localhost has a
    certificate that has expired, and nothing else is wrong with it. Each answers HTTP in HTTP, and
    echoes anything else. Certificates are made at the start: none is ever out of date, and nothing
    leaves this machine.
    """
    if ctx.invoked_subcommand is not None:
        return
    domain = _domain(domain)
    if listed:
        _list(domain, as_json)
    elif hosts:
        host = _reachable(listen.rpartition(":")[0].strip("[]"))
        from mtls_echo.gallery.collection import ALIASES

        for slug in (*(each.slug for each in _served()), *ALIASES):
            print_result(f"{host} {slug}.{domain}")
        print_result(f"{host} {domain}")
    else:
        _serve(listen, pki, files, domain, as_json, quiet)


gallery.add_command(judge)


def _domain(text: str) -> str:
    from mtls_echo_pki.certificates.request import Request

    domain = text.lower().strip(".")
    try:
        if not domain.isascii():
            raise ValueError
        Request.server(f"good.{domain}")
    except ValueError:
        raise CommandError(
            f"--domain: {text!r} is not a domain name",
            "write one such as gallery.localhost, and as it is sent, with A-labels (xn--…)",
        ) from None
    return domain


def _served() -> list[Exhibit]:
    """The exhibits that a name can pick: not those that a client has to ask for by address."""
    from mtls_echo.gallery.collection import EXHIBITS

    return [each for each in EXHIBITS.values() if not each.by_address]


def _list(domain: str, as_json: bool) -> None:
    import msgspec

    from mtls_echo.gallery.collection import EXHIBITS

    group = None
    for exhibit in EXHIBITS.values():
        if as_json:
            click.echo(msgspec.json.encode(exhibit.fields(domain)))
            continue
        if exhibit.group != group:
            print_result(f"{chr(10) if group else ''}{exhibit.group}: {_GROUPS[exhibit.group]}")
            group = exhibit.group
        print_result(f"  {exhibit.slug:36}  {exhibit.title}")


_GROUPS = {
    "baseline": "must work, or nothing else says anything",
    "certificate": "must be refused before anything is sent, unless RFC 5280 leaves the choice",
    "revocation": "the same, for clients that are given the CRLs",
    "protocol": "must work, or fail, by what the server does",
    "alert": "the server's first answer is this alert; must fail",
    "client certificate": "must work, and says who was seen",
}


def _serve(
    listen: str, pki: Path | None, files: Path | None, domain: str, as_json: bool, quiet: bool
) -> None:
    import signal

    import msgspec
    import trio

    from mtls_echo.gallery.server import Gallery

    def tell(visit: ExhibitVisit) -> None:
        if as_json and not quiet:
            click.echo(msgspec.json.encode(visit.fields))
        elif not quiet:
            say(visit.line)

    async def until_stopped() -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            shown = Gallery(_world(pki), domain)
            # What is made from here on is removed again.
            with _folder(files) as folder:
                _write(folder, shown)
                if not as_json:
                    _introduce(sockets[0].getsockname()[:2], folder, domain)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(shown.serve, sockets, tell)
                    async for _ in signals:
                        nursery.cancel_scope.cancel()

    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(sock) for sock in listen_on("--listen", (listen,))]
        trio.run(until_stopped)


@contextlib.contextmanager
def _folder(files: Path | None) -> Generator[Path]:
    """The folder that was asked for, or one for as long as this lasts."""
    if files is not None:
        yield files
        return
    with tempfile.TemporaryDirectory(prefix="mtls-echo-gallery-") as folder:
        yield Path(folder)


def _reachable(host: str) -> str:
    """The address at which this machine reaches a listener: that of every interface is none."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared only


def _world(pki: Path | None) -> World:
    from mtls_echo.gallery.world import World

    if pki is None:
        return World()
    from mtls_echo_pki.directory.ca_folder import CAFolder
    from mtls_echo_pki.directory.store import Store
    from mtls_echo_pki.files.pem_blocks import MaterialError
    from mtls_echo_pki.files.staging import DirectoryError

    try:
        Store(pki)
        servers, clients = (
            CAFolder.read(pki, role).state.issuing for role in ("servers", "clients")
        )
    except (DirectoryError, MaterialError) as error:
        raise CommandError(f"--pki: {error}", error.hint) from error
    if servers.issuers:
        raise CommandError(
            f"--pki {pki} issues through an intermediate, and many exhibits make one of their own,"
            " which takes a root's key",
            "leave out --pki, or make a directory without --intermediate",
        )
    return World(servers, clients)


def _write(folder: Path, gallery: Gallery) -> None:
    trust = gallery.world.trust(_served(), gallery.names_of)
    with writing(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        gallery.world.write(trust, folder)


def _introduce(bound: tuple[str, int], files: Path, domain: str) -> None:
    address = Address(_reachable(bound[0]), bound[1])
    ca, crl = (shlex.quote(str(files / name)) for name in ("ca.crt", "crl.pem"))
    expired, revoked = (f"{slug}.{domain}" for slug in ("expired", "revoked"))
    say(f"gallery on {address}; an exhibit is https://SLUG.{domain}:{address.port}/")
    for line in (
        f"the files of its clients are in {files}; the exhibits: mtls-echo gallery --list",
        f"curl --cacert {ca} https://{expired}:{address.port}/",
        f"curl --cacert {ca} --crlfile {crl} --connect-to ::{address}"
        f" https://{revoked}:{address.port}/",
        f"openssl s_client -connect {address} -CAfile {ca} -verify_return_error"
        f" -servername {expired} -verify_hostname {expired}",
    ):
        click.echo(f"  {line}", err=True)
