"""Shell completion: click knows how, this says it in a way that can be found."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from mtls_echo_pki.console import PROGRAM

_VARIABLE = "_MTLS_ECHO_COMPLETE"


@click.command(
    epilog='Examples: `eval "$(mtls-echo completion bash)"` in ~/.bashrc;'
    ' `eval "$(mtls-echo completion zsh)"` in ~/.zshrc;'
    " `mtls-echo completion fish > ~/.config/fish/completions/mtls-echo.fish`."
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that teaches SHELL to complete mtls-echo's commands and options."""
    from mtls_echo.__main__ import mtls_echo

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    click.echo(kind(mtls_echo, {}, PROGRAM, _VARIABLE).source())
