"""What several commands share: parameters, a bar of progress, reports in files."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Generator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mtls_echo.console import CommandError, value_errors, width_of

if TYPE_CHECKING:
    import socket

    from click.shell_completion import CompletionItem

    from mtls_echo_pki.certificates.credential import Credential


Command = TypeVar("Command", bound=Callable[..., Any])


class Lifetime(click.ParamType[timedelta]):
    """A duration such as 30d; see :func:`~mtls_echo_pki.lifetimes.parse_lifetime`."""

    name = "lifetime"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """The duration."""
        from mtls_echo_pki.lifetimes import parse_lifetime

        if isinstance(value, timedelta):
            return value
        try:
            return parse_lifetime(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class FlawSlug(click.ParamType[str]):
    """The name of a flaw; completed by the shell with what it means."""

    name = "slug"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name, if there is such a flaw."""
        from mtls_echo_pki.flaws.registry import find_flaw

        try:
            return find_flaw(value).slug
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the flaws whose names begin so."""
        from click.shell_completion import CompletionItem

        from mtls_echo_pki.flaws.registry import FLAWS

        return [
            CompletionItem(slug, help=flaw.title)
            for slug, flaw in FLAWS.items()
            if slug.startswith(incomplete)
        ]


class CredentialName(click.ParamType[str]):
    """The name of a credential; completed by the shell with those of the PKI directory."""

    name = "name"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the folders of the directory that have a certificate in them."""
        from click.shell_completion import CompletionItem

        directory = ctx.params.get("directory") or ctx.params.get("pki")
        if directory is None:
            from mtls_echo_tls.material.load import default_pki

            directory = default_pki()
        names = (each.parent.name for each in directory.glob("*/tls.crt"))
        return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


class Seconds(click.FloatRange):
    """A finite number of seconds: ``inf`` and ``nan`` are numbers to Python and to click."""

    name = "number of seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number, within the range."""
        seconds = float(super().convert(value, param, ctx))
        if not math.isfinite(seconds):
            self.fail(f"{value!r} is not a finite number of seconds", param, ctx)
        return seconds


class ProtocolName(click.ParamType[str]):
    """The name of an application protocol (RFC 7301 §3.1)."""

    name = "protocol"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name, if it can be one."""
        if not value.isascii() or not 1 <= len(value) <= 255:
            told = f'"{value}" is not a protocol name; it has 1 to 255 ASCII characters: http/1.1'
            self.fail(told, param, ctx)
        return str(value)


def alpn_option(help: str) -> Callable[[Command], Command]:
    """The option ``--alpn``."""
    return click.option(
        "--alpn", type=ProtocolName(), multiple=True, metavar="PROTOCOL", help=help
    )


def timeout_option(default: float, help: str) -> Callable[[Command], Command]:
    """The option ``--timeout``, in seconds."""
    return click.option(
        "--timeout",
        type=Seconds(min=0, min_open=True),
        default=default,
        show_default=True,
        metavar="SECONDS",
        help=help,
    )


def verify_option(default: str) -> Callable[[Command], Command]:
    """The option ``--verify``, whose default is described in words."""
    return click.option(
        "--verify",
        type=click.Choice(["strict", "default"]),
        help="Hold certificates to every rule of RFC 5280, as Python does from 3.13 on, or verify"
        f" them as OpenSSL, curl, Go and nginx do.  [default: {default}]",
    )


def is_strict(verify: str | None, *files: Path | None) -> bool:
    """Whether to hold peers to every rule of RFC 5280: unless told, not with files of one's own.

    Those were made by other programs' rules; what a PKI directory has in it keeps to all.
    """
    if verify is None:
        return all(file is None for file in files)
    return verify == "strict"


directory_argument = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))


def file_option(*names: str, help: str, metavar: str = "FILE") -> Callable[[Command], Command]:
    """An option that takes a path; what reads the file finds out whether it is usable."""
    return click.option(*names, type=click.Path(path_type=Path), metavar=metavar, help=help)


def quiet_option(help: str) -> Callable[[Command], Command]:
    """The option ``--quiet``: of what goes well nothing is said; errors and warnings stay."""
    return click.option(*("-q", "--quiet"), is_flag=True, help=help)


def choice_option(
    *names: str, values: Sequence[str], default: str, help: str
) -> Callable[[Command], Command]:
    """An option that takes one of a few values."""
    values_type = click.Choice(values)
    return click.option(*names, type=values_type, default=default, show_default=True, help=help)


def check_addresses(option: str, addresses: Sequence[str]) -> None:
    """Refuse what cannot be an address to listen on, before anything is opened."""
    from mtls_echo_server.listeners import FORMS
    from mtls_echo_tls.address import parse_address

    with value_errors(f"{option}: ", f"write {FORMS}"):
        for each in addresses:
            parse_address(each, listening=True)


def listen_on(option: str, addresses: Sequence[str]) -> list[socket.socket]:
    """Open a listening socket for each address, all or none.

    Raises:
        CommandError: One is no address, or cannot be listened on.
    """
    from mtls_echo_server.listeners import ListenError, listen

    check_addresses(option, addresses)
    try:
        return listen(addresses)
    except ListenError as error:
        raise CommandError(str(error), error.hint) from error


@contextlib.contextmanager
def progress_bar(
    label: str, *, shown: bool = True
) -> Generator[Callable[[int, int], None] | None]:
    """A bar on standard error, if that is a terminal: moved by what is done, of how much."""
    if not shown or width_of(sys.stderr) is None:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    from mtls_echo.terminal import open_console

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=open_console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextlib.contextmanager
def writing(what: str) -> Generator[None]:
    """Say what cannot be written, and why."""
    try:
        yield
    except OSError as error:
        from mtls_echo_pki.files.durable import os_reason

        raise CommandError(f"{what}: {os_reason(error)}", "name another, to be written") from error


def write_report(option: str, file: Path | None, content: Callable[[], bytes]) -> None:
    """Write a report, if a file is named."""
    if file is not None:
        with writing(f"{option} {file}"):
            file.write_bytes(content())


def summary(credential: Credential) -> str:
    """Return the names of a credential and how long it lasts, on one line."""
    from mtls_echo_pki.certificates.authority import utcnow
    from mtls_echo_pki.certificates.identifiers import presented_identifiers
    from mtls_echo_pki.certificates.reading import period
    from mtls_echo_pki.lifetimes import validity

    certificate = credential.certificate
    names = ", ".join(presented_identifiers(certificate))
    return f"{names}; {validity(*period(certificate), utcnow())}"
