"""``pki renew``, ``pki revoke`` and ``pki crl``.

Each says exactly what it did to which certificate, what is still trusted, and what comes next: a
renewal alone takes nothing away from a thief, and a revocation is worth as much as the CRL that
tells it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtls_echo.commands.pki.errors import as_command_errors, print_done, quiet_option
from mtls_echo.console import complain, print_result
from mtls_echo.parameters import CredentialName, Lifetime, directory_argument, summary

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem
    from cryptography import x509

    from mtls_echo_pki.certificates.credential import Credential
    from mtls_echo_pki.directory.directory import Directory
    from mtls_echo_pki.directory.ledger import LedgerEntry

_CHOICE = (
    "say --same-key or --new-key; a key that leaked needs --new-key, and then pki revoke; "
    "one that peers have pinned, --same-key"
)


class _Reason(click.ParamType["x509.ReasonFlags"]):
    name = "reason"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> x509.ReasonFlags:
        from mtls_echo_pki.certificates.crl import REASONS, parse_reason

        try:
            reason = parse_reason(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if reason.value not in REASONS:
            self.fail(
                f"{reason.value} does not revoke for good: what is on hold comes back; "
                f"give one of {', '.join(REASONS)}",
                param,
                ctx,
            )
        return reason

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from mtls_echo_pki.certificates.crl import REASONS

        return [CompletionItem(each) for each in REASONS if each.startswith(incomplete)]


class _Serial(click.ParamType[int]):
    name = "hex"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return int(str(value).replace(":", ""), 16)
        except ValueError:
            self.fail(f'"{value}" is not a serial number; pki show prints them', param, ctx)


@click.command()
@directory_argument
@click.argument("name", type=CredentialName(), required=False)
@click.option("--all", "every", is_flag=True, help="Renew every credential in DIR.")
@click.option("--same-key", "rekey", flag_value="no", help="Keep the private key.")
@click.option("--new-key", "rekey", flag_value="yes", help="Make a new private key.")
@click.option(
    "--lifetime", type=Lifetime(), help="60s, 10m, 12h or 30d.  [default: as long as before]"
)
@quiet_option
def renew(
    directory: Path, name: str | None, every: bool, rekey: str | None, lifetime: timedelta | None
) -> None:
    """Renew the credential DIR/NAME: the same names, a new validity.

    It takes the place of the present one in one moment; readers get the one or the other,
    whole. It comes from the CA that issues now. One that has expired can be renewed, and
    one that was made bad on purpose becomes a good one.

    The key is yours to choose, because each choice is wrong at times. With --same-key, a
    copy of the key goes on working: never after a leak. With --new-key the
    old key goes on working, too, until its certificate expires or is revoked. So a leaked key
    takes both: renew --new-key, and then revoke. A key that was revoked is never renewed.

    \b
    examples:
      mtls-echo pki renew ./pki server --same-key
      mtls-echo pki renew ./pki client --new-key && mtls-echo pki revoke ./pki client
      mtls-echo pki renew ./pki --all --same-key --lifetime 12h

    exit status: 0 renewed, 2 wrong arguments or unusable files; what is there stays then
    """
    from mtls_echo_pki.directory.directory import Directory

    if rekey is None:
        raise click.UsageError(_CHOICE)
    if every == (name is not None):
        raise click.UsageError("give the NAME of a credential, or --all")
    with as_command_errors():
        pki = Directory(directory)
        names = pki.names() if name is None else [name]
        present = _present_entries(pki, names)
        if name is not None:
            flaw = present[name].flaw if name in present else None
            _renew(pki, name, rekey == "yes", lifetime, flaw)
            return
    failed = False
    for each in names:
        reason = _reason_to_leave(present.get(each), rekey == "yes")
        if reason is not None:
            print_result(f"left {directory / each} as it is: {reason}")
            continue
        try:
            with as_command_errors():
                _renew(pki, each, rekey == "yes", lifetime, None)
        except click.ClickException as error:
            complain(f"{each}: {error.message}", getattr(error, "hint", None))
            failed = True
    if failed:
        click.get_current_context().exit(2)


def _renew(
    pki: Directory, name: str, rekey: bool, lifetime: timedelta | None, flaw: str | None
) -> None:
    credential = pki.renew(name, rekey=rekey, lifetime=lifetime)
    key = "a new key" if rekey else "the same key"
    print_done(f"renewed {pki.path / name} with {key}: {summary(credential)}")
    if flaw is not None:
        print_done(f"  it was bad on purpose ({flaw}), and is good now")
    if rekey and _has_another_key(pki, name, credential):
        command = f"mtls-echo pki revoke {shlex.quote(str(pki.path))} {name}"
        print_result(f"  the previous key is still trusted; if it leaked: {command}")


def _has_another_key(pki: Directory, name: str, credential: Credential) -> bool:
    """Whether a name has a key beside its present one that is still trusted."""
    from mtls_echo_pki.certificates.authority import utcnow
    from mtls_echo_pki.certificates.credential import key_id
    from mtls_echo_pki.directory.ca_folder import ca_folders

    present = key_id(credential.certificate)
    return any(
        entry.name == name
        and entry.key != present
        and entry.revoked_at is None
        and entry.not_after > utcnow()
        for ca in ca_folders(pki.path)
        for entry in ca.ledger.issued
    )


def _reason_to_leave(entry: LedgerEntry | None, rekey: bool) -> str | None:
    """Return why a credential is not renewed unless it is named; None if it is."""
    if entry is not None and entry.flaw is not None:
        return f"bad on purpose ({entry.flaw})"
    if entry is not None and entry.revoked_at is not None and not rekey:
        return f"its key was revoked ({entry.reason})"
    return None


def _present_entries(pki: Directory, names: Iterable[str]) -> dict[str, LedgerEntry]:
    """Return what the ledgers say of the present certificates of some credentials."""
    from mtls_echo_pki.certificates.reading import serial_number
    from mtls_echo_pki.directory.ca_folder import ca_folders
    from mtls_echo_pki.files.pem_blocks import MaterialError
    from mtls_echo_pki.files.staging import DirectoryError

    by_serial = {entry.serial: entry for ca in ca_folders(pki.path) for entry in ca.ledger.issued}
    found: dict[str, LedgerEntry] = {}
    for name in names:
        try:
            serial = f"{serial_number(pki.credential(name).certificate):x}"
        except (MaterialError, DirectoryError):
            continue  # renewing it will say so
        if serial in by_serial:
            found[name] = by_serial[serial]
    return found


@click.command()
@directory_argument
@click.argument("name", type=CredentialName())
@click.option(
    "--reason",
    type=_Reason(),
    default="unspecified",
    show_default=True,
    help="keyCompromise, superseded, cessationOfOperation …, as in RFC 5280.",
)
@click.option("--present", is_flag=True, help="Revoke all keys, the present one included.")
@click.option(
    "--serial",
    "serials",
    type=_Serial(),
    multiple=True,
    help="Revoke exactly this certificate; repeatable.",
)
@quiet_option
def revoke(
    directory: Path, name: str, reason: x509.ReasonFlags, present: bool, serials: tuple[int, ...]
) -> None:
    """Revoke the keys that NAME had before its present one, and publish CRLs that say so.

    What leaks is a key, so every certificate of NAME is revoked that is good with it, renewals
    with the same key included. A NAME that has had only one key loses that. To run it again
    changes nothing.

    A verifier refuses what is revoked once it has the new DIR/trust/…/crl.pem. There is a CRL of
    every CA, and each of them ends: see mtls-echo pki crl --help.

    \b
    examples:
      mtls-echo pki revoke ./pki client --reason keyCompromise
      mtls-echo pki revoke ./pki client --present --reason cessation-of-operation

    exit status: 0 revoked, also if it had been; 2 wrong arguments or unusable files
    """
    from mtls_echo_pki.directory.directory import Directory

    if present and serials:
        raise click.UsageError("--present and --serial exclude each other; give one of them")
    with as_command_errors():
        pki = Directory(directory)
        done = pki.revoke(name, reason=reason, present=present, serials=serials)
    place = shlex.quote(str(directory))
    if done.now:
        count = f"{len(done.now)} certificate{'' if len(done.now) == 1 else 's'}"
        print_done(f"revoked {count} of {name} ({reason.value}):")
        _list(done.now, "would have expired", tell=print_done)
    elif done.before:
        print_done(f"nothing to revoke: what {name} had before is revoked already:")
        _list(done.before, "would have expired", tell=print_done)
    else:
        print_result(f"nothing to revoke: {name} has no valid certificate of another key")
    if done.valid:
        print_result("still trusted:")
        _list(done.valid, "expires", done.present)
    for role in done.roles:
        print_done(f"published {directory / 'trust' / role / 'crl.pem'}")
    if done.now and not done.valid and name in pki.names():
        print_done(f"next: mtls-echo pki renew {place} {name} --new-key")
    elif not done.now and done.valid and not serials:
        print_result(f"to revoke it as well: mtls-echo pki revoke {place} {name} --present")


def _list(
    entries: Iterable[LedgerEntry],
    verb: str,
    present: str | None = None,
    *,
    tell: Callable[[str], None] = print_result,
) -> None:
    from mtls_echo_pki.certificates.authority import utcnow
    from mtls_echo_pki.lifetimes import describe_lifetime

    for entry in entries:
        key = "" if present is None else ", the present key" if entry.key == present else ""
        left = describe_lifetime(entry.not_after - utcnow())
        tell(f"  {entry.serial}{key}, {verb} in {left}")


@click.command()
@directory_argument
@click.option(
    "--lifetime",
    type=Lifetime(),
    help="From now to their end, and of those that follow.  [default: as before; 7d at first]",
)
@quiet_option
def crl(directory: Path, lifetime: timedelta | None) -> None:
    """Publish new CRLs, of every CA.

    From then on CRLs (certificate revocation lists) are in force: a verifier that has them refuses
    every certificate whose CA has no CRL among them, or one that has ended. Every command that
    changes DIR renews CRLs past half of their life; where nothing changes, run this by a timer.

    \b
    examples:
      mtls-echo pki crl ./pki
      mtls-echo pki crl ./pki --lifetime 30d

    exit status: 0 published, 2 wrong arguments or unusable files
    """
    from mtls_echo_pki.certificates.authority import utcnow
    from mtls_echo_pki.certificates.reading import period
    from mtls_echo_pki.directory.directory import Directory
    from mtls_echo_pki.lifetimes import validity

    with as_command_errors():
        pki = Directory(directory)
        for role in pki.publish_crls(lifetime):
            path = directory / "trust" / role / "crl.pem"
            ends = min(period(each)[1] or utcnow() for each in pki.trust(role).crls)
            print_done(f"published {path}: {validity(utcnow(), ends, utcnow())}")
