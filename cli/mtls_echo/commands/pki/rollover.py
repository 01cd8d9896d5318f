"""``pki rollover``: replace a CA, in three steps that a script can run again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from mtls_echo.commands.pki.errors import as_command_errors, print_done, quiet_option
from mtls_echo.parameters import directory_argument

if TYPE_CHECKING:
    from mtls_echo_pki.directory.layout import Role

# Spelled out, since their modules would import cryptography for a --help; a test compares them.
STEPS = ("introduce", "switch", "retire")
_ROLES = ("servers", "clients")


@click.command()
@directory_argument
@click.argument("step", type=click.Choice(STEPS))
@click.option(
    "--authority",
    "role",
    type=click.Choice(_ROLES),
    help="Only the CA that issues these.  [default: both]",
)
@quiet_option
def rollover(directory: Path, step: str, role: str | None) -> None:
    """Replace the CAs of DIR, so that no peer is locked out on the way.

    introduce makes a new CA, which is trusted beside the present one and issues nothing
    yet. When every peer has the new trust, switch lets it issue; what it issues is sent with a
    certificate by the old one, so that a peer that has not learnt of the new one accepts it all
    the same. When every credential has been renewed, retire ends the trust in the old one and
    destroys its key. It refuses to while a credential in DIR would be locked out by it.

    A step that was done is not an error, so that a script can be run again from where it was
    killed; one out of order is. mtls-echo pki show tells where one stands.

    \b
    examples:
      mtls-echo pki rollover ./pki introduce
      mtls-echo pki rollover ./pki switch && mtls-echo pki renew ./pki --all --same-key
      mtls-echo pki rollover ./pki retire
      mtls-echo pki rollover ./pki introduce --authority clients

    exit status: 0 done, also if it had been; 2 out of order, wrong arguments, unusable files
    """
    from mtls_echo_pki.directory.ca_folder import ca_folders
    from mtls_echo_pki.directory.directory import Directory
    from mtls_echo_pki.directory.layout import ROLES
    from mtls_echo_pki.directory.rollover import Step, issued_by_previous, situation, take

    roles = ROLES if role is None else (cast("Role", role),)
    outdated: list[str] = []
    with as_command_errors():
        pki = Directory(directory)
        taken = take(pki, Step(step), roles)
        done = {"introduce": "introduced", "switch": "switched", "retire": "retired"}[step]
        for ca in ca_folders(directory):
            if set(ca.roles) & set(roles):
                already = "" if ca.roles[0] in taken else " already"
                whose = " and ".join(ca.roles)
                print_done(f"{done}{already}, for {whose}: {situation(ca.state)}")
                if names := issued_by_previous(pki, ca):
                    print_done(f"  still from the previous CA: {', '.join(names)}")
                outdated += names
    if step == "retire":
        return
    place = shlex.quote(str(directory))
    option = "" if role is None else f" --authority {role}"
    print_done("next:")
    if step == "introduce":
        print_done(
            "  see that every peer has the new trust: what is in trust/ goes to all of them"
        )
        print_done(f"  mtls-echo pki rollover {place} switch{option}")
        return
    for name in outdated:
        print_done(f"  mtls-echo pki renew {place} {name} --same-key")
    print_done(f"  mtls-echo pki rollover {place} retire{option}")
