"""The `mtls-echo` command: a table of its sub-commands, each imported when it is used.

`mtls-echo --help` is printed from this table: it needs an interpreter and click, not trio,
cryptography and OpenSSL.
"""

from __future__ import annotations

import atexit
import gc
import io
import sys
import warnings
from typing import NoReturn, cast

import click

from mtls_echo import __version__
from mtls_echo.console import (
    PROGRAM,
    broken_pipe,
    choose_colour,
    flush_output,
    is_of_output,
    unwritable_output,
    usage_error,
)
from mtls_echo.usage.help import CommandGroup, HelpFormatter

_INTERRUPTED = 130  # 128 + SIGINT, what a shell reports for any other program


# Each command with its module, in which it has the same name, and its summary.
_COMMANDS = {
    "demo": ("commands.demo", "Show what TLS and mutual TLS are, in chapters: the lesson."),
    "observe": ("failures.observe", "Play handshake failures, and show what both ends report."),
    "serve": ("commands.serve", "Run the echo server."),
    "connect": ("commands.connect", "Connect to an echo server, and verify the echo."),
    "endpoints": (
        "commands.endpoints.command",
        "Connect to many servers, each with TLS settings of its own.",
    ),
    "probe": (
        "commands.probe.command",
        "Probe a server: does it refuse every client that it must?",
    ),
    "pki": ("commands.pki.group", "Make, inspect, check and rotate certificates."),
    "gallery": (
        "commands.gallery.command",
        "Serve every TLS fault on one port; score any client by them.",
    ),
    "explain": ("commands.explain", "Explain an error text from any TLS program."),
    "completion": ("usage.completion", "Print a shell completion script."),
    "man": ("usage.man", "Print a manual page, made of a command's help."),
}


class _Commands(CommandGroup):
    """The commands of the table: one is imported only to run it or to print its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def summaries(self, ctx: click.Context) -> list[tuple[str, str]]:
        return [(name, summary) for name, (_, summary) in _COMMANDS.items()]

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            broken_pipe()  # click would end with status 1


def _choose_colour(_: click.Context, __: click.Parameter, when: str) -> None:
    choose_colour(when)


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    import platform
    import ssl

    # A report about TLS in Python needs these versions too.
    click.echo(
        f"{PROGRAM} {__version__} (Python {platform.python_version()}, {ssl.OPENSSL_VERSION})"
    )
    ctx.exit()


@click.group(
    cls=_Commands,
    elsewhere={name: f"mtls_echo.{module}" for name, (module, _) in _COMMANDS.items()},
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
examples:
  mtls-echo demo --tour
      Start here: a connection that is accepted, and one that is refused.
  mtls-echo serve
      A server for the next command, with test certificates made on the first run.
  mtls-echo connect localhost:8443 hello
      In another terminal: a client of that server.
""",
)
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    expose_value=False,
    is_eager=True,
    callback=_choose_colour,
    help="When output is coloured. auto: on a terminal, unless NO_COLOR is set or TERM is dumb.",
)
@click.option(
    *("-V", "--version"),
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version, with those of Python and OpenSSL.",
)
def mtls_echo() -> None:
    """A TLS and mutual-TLS echo pair in which every handshake failure explains itself.

    Both ends say which side refused the other, what was compared, which alert was sent, and what
    to do about it.
    """


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command; turn every error into a message and an exit status."""
    # What modules define stays: looking among it for garbage again and again takes a twentieth of
    # the time of a command that imports much.
    gc.set_threshold(100_000)
    click.Context.formatter_class = HelpFormatter
    if not sys.warnoptions:
        # What libraries have to say to programmers; what concerns users is said by ourselves.
        warnings.simplefilter("ignore")
    for stream in (sys.stdout, sys.stderr):
        # A terminal without UTF-8 gets question marks for what it cannot show, not a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # The process is about to end: what it holds need not be searched for cycles once more, which
    # takes a sixth of the time of a short command.
    atexit.register(gc.freeze)
    try:
        status = mtls_echo.main(arguments, prog_name=PROGRAM, standalone_mode=False)
        flush_output()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.message)
        sys.exit(error.exit_code)
    except click.UsageError as error:
        usage_error(error).show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo(err=True)
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        broken_pipe()
    except OSError as error:
        if is_of_output(error):
            unwritable_output(error)
        raise
    except BaseExceptionGroup as group:
        # The same, from inside a trio nursery.
        if group.subgroup(BrokenPipeError):
            broken_pipe()
        if group.subgroup(KeyboardInterrupt):
            click.echo(err=True)
            sys.exit(_INTERRUPTED)
        if (failed := group.subgroup(is_of_output)) is not None:
            unwritable_output(_first(failed))
        raise
    sys.exit(status if isinstance(status, int) else 0)


def _first(error: BaseException) -> OSError:
    """The first error of a group of operating system errors."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    assert isinstance(error, OSError)  # noqa: S101  narrows the type: the caller has checked
    return error


if __name__ == "__main__":
    main()
