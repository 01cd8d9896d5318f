"""`mtls-echo completion`: print click's completion script for a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from mtls_echo.console import PROGRAM

_VARIABLE = "_MTLS_ECHO_COMPLETE"


_EPILOG = """\b
examples:
  eval "$(mtls-echo completion bash)"    # in ~/.bashrc
  eval "$(mtls-echo completion zsh)"     # in ~/.zshrc
  mtls-echo completion fish > ~/.config/fish/completions/mtls-echo.fish
"""


@click.command(epilog=_EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that teaches SHELL to complete mtls-echo's commands and options."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    click.echo(kind(ctx.find_root().command, {}, PROGRAM, _VARIABLE).source())
