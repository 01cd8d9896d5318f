"""What the ``pki`` commands say: errors and hints, and unless --quiet what they have done."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import click

from mtls_echo.console import CommandError, print_result, split_hint, usage_errors
from mtls_echo.usage.help import CommandGroup

_QUIET = "mtls_echo.pki.quiet"


def _note(ctx: click.Context, _: click.Parameter, quiet: bool) -> None:
    ctx.meta[_QUIET] = quiet


quiet_option = click.option(
    *("-q", "--quiet"),
    is_flag=True,
    expose_value=False,
    callback=_note,
    help="Print only what is wrong, what was not done, and what is still trusted.",
)


def print_done(text: str) -> None:
    """Print what was done, unless the command is to be quiet."""
    if not click.get_current_context().meta.get(_QUIET):
        print_result(text)


class PKIGroup(CommandGroup):
    """Says what is wrong with the arguments in the same form as every other error."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the arguments."""
        with usage_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with usage_errors():
            return super().invoke(ctx)


@contextmanager
def as_command_errors() -> Generator[None]:
    """End the command with an error and a hint where the library raises one."""
    from mtls_echo_pki.files.durable import os_reason
    from mtls_echo_pki.files.pem_blocks import MaterialError
    from mtls_echo_pki.files.staging import DirectoryError

    try:
        yield
    except (MaterialError, DirectoryError) as error:
        raise CommandError(str(error), error.hint) from error
    except FileExistsError as error:
        raise CommandError(
            f"{error.filename}: exists already", "choose another name: nothing is overwritten"
        ) from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise CommandError(
            f"{where}{os_reason(error)}", "name another, or see what is in its way: ls -la"
        ) from error
    except ValueError as error:
        raise CommandError(*split_hint(str(error))) from error
