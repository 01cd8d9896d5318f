"""The ``mtls-echo probe`` command: does a server of any make refuse the clients that it must?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from mtls_echo.commands.probe.cases import complete_cases, list_cases
from mtls_echo.console import CommandError, complain, print_result, value_errors
from mtls_echo.parameters import (
    CredentialName,
    alpn_option,
    choice_option,
    file_option,
    progress_bar,
    quiet_option,
    timeout_option,
    write_report,
    writing,
)
from mtls_echo.usage.help import SectionedCommand
from mtls_echo_client.starttls.ports import PORTS
from mtls_echo_tls.address import parse_address, reference_identifier

if TYPE_CHECKING:
    from mtls_echo.probing.meanings import Severity
    from mtls_echo.probing.result import Result
    from mtls_echo.probing.target import ClientAuth, Mode, ProbeTarget
    from mtls_echo_pki.certificates.credential import Credential

EPILOG = """
\b
examples:
  mtls-echo probe localhost:8443 --pki DIR
      A server that was started with the certificates of `mtls-echo pki init DIR`.
  mtls-echo probe api.test:443 --http /health --ca ca.crt \
--issuer-cert clients.crt --issuer-key clients.key --cert me.crt --key me.key
      A server of any make: what only its CA can sign is issued for the probe.
  mtls-echo probe api.test:443 --ca system --cert me.crt --key me.key
      Without the CA's key: the half that takes none.
  mtls-echo probe api.test:443 --pki DIR --server-name a.test --server-name b.test
      Two names with rules of their own: is one a way into the other?
  mtls-echo probe api.test:443 --pki DIR --between 'ssh api reload-after-revoking'
      Does a session outlive the certificate that it was made with?
  mtls-echo probe api.test:443 --pki DIR --junit probe.xml --sarif probe.sarif
      In CI, where the exit status says what came of it.

\b
exit status:
  0  every case that was tested was refused, or may be admitted
  1  a client was admitted that must not be
  2  usage, configuration or unusable files
  3  no TCP connection
  4  we refused the server, or it does not speak TLS
  5  the good identity is not served: nothing is judged
  6  something is unclear that would count, or nothing was tested

Probe servers that you may test, and no others: see docs/probe.md. Subjects of certificates that
are issued for it say "mtls-echo probe".
"""


_SECTIONS = {
    "Certificates": "pki name other issuer_cert issuer_key cert key password_file ca",
    "The server": "server_name http method echo handshake starttls alpn tls",
    "What is meant": "client_auth crl headers fail_on",
    "Which cases, how often": "only skip repeat pace timeout between",
    "Output": "quiet verbose json junit sarif keep listed",
}


@click.command(
    "probe", cls=SectionedCommand, sections=_SECTIONS, epilog=EPILOG, no_args_is_help=True
)
@click.argument("address", metavar="HOST:PORT", required=False)
@file_option(
    "--pki",
    metavar="DIR",
    help="Directory made by `mtls-echo pki init`, whose CA for clients the server trusts."
    "  [default: that of `serve`, if there are no files]",
)
@click.option(
    *("--as", "name"),
    type=CredentialName(),
    metavar="NAME",
    help="The good identity of DIR.  [default: client]",
)
@click.option(
    "--other",
    type=CredentialName(),
    metavar="NAME",
    help="Another of DIR, valid, which is not authorised.",
)
@file_option("--issuer-cert", help="The CA that the server trusts for clients, PEM.")
@file_option("--issuer-key", help="Its key: what is issued with it is not used elsewhere.")
@file_option("--cert", help="The good identity, PEM or PKCS#12.  [default: one is issued]")
@file_option("--key", help="Its key.")
@file_option("--password-file", help="Its first line opens encrypted keys.  [default: ask]")
@file_option(
    "--ca",
    help="The CAs that the server is verified with, PEM; a folder; or `system`."
    "  [default: those of DIR, or else system]",
)
@click.option(
    "--server-name",
    multiple=True,
    metavar="NAME",
    help="The name to ask for; several are crossed with one another.  [default: HOST]",
)
@click.option(
    "--http",
    is_flag=False,
    flag_value="/",
    metavar="[PATH]",
    help="Ask for this in HTTP/1.1: what the good identity gets must not be got by others."
    "  [PATH: /]",
)
@click.option("--method", type=click.Choice(["GET", "HEAD"]), help="Of --http.  [default: GET]")
@click.option("--echo", is_flag=True, help="Send a line, and wait for its echo.")
@click.option(
    "--handshake",
    is_flag=True,
    help="Send nothing; a handshake that is not refused within a second is an admission."
    "  [default: HTTP, an echo or this, by what the server answers]",
)
@click.option(
    "--starttls",
    type=click.Choice(list(PORTS)),
    help="Begin TLS in the middle of this protocol, which goes with --handshake.",
)
@alpn_option("Offer this protocol; repeatable.")
@click.option("--headers", is_flag=True, help="Claim identities in HTTP headers, too.")
@choice_option(
    "--client-auth",
    values=("required", "optional", "none"),
    default="required",
    help="What is meant: whether a client needs a certificate.",
)
@click.option(
    "--crl",
    metavar="FILE|published|none",
    help="The CRLs that the server reads; `published`: those of DIR.  [default: published]",
)
@click.option("--tls", type=click.Choice(["1.2", "1.3"]), help="This version only.")
@click.option(
    "--repeat",
    type=click.IntRange(1, 100),
    default=3,
    show_default=True,
    metavar="N",
    help="How often a case has to be refused: some servers refuse mostly.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="SLUG",
    shell_complete=complete_cases,
    help="This case only; repeatable.",
)
@click.option(
    "--skip",
    multiple=True,
    metavar="SLUG",
    shell_complete=complete_cases,
    help="Not this case; repeatable.",
)
@click.option(
    "--pace",
    type=click.FloatRange(min=0.1, max=1000),
    default=10.0,
    show_default=True,
    metavar="N",
    help="Connections in a second, at most.",
)
@timeout_option(5.0, "For one connection.")
@click.option(
    "--between",
    metavar="COMMAND",
    help="Run this, which revokes or reloads, between taking a session and resuming it.",
)
@choice_option(
    "--fail-on",
    values=("high", "medium", "low"),
    default="medium",
    help="Which findings make the exit status 1: of this severity and above.",
)
@click.option("--json", is_flag=True, help="Print one object in place of the account.")
@file_option("--junit", help="Write a report in JUnit's XML as well.")
@file_option("--sarif", help="Write a report in SARIF 2.1.0 as well.")
@file_option(
    "--keep", metavar="DIR", help="Write the identities that were admitted, to show it again."
)
@click.option("--list", "listed", is_flag=True, help="List the cases, and end.")
@click.option(*("-v", "--verbose"), is_flag=True, help="List what was refused, and how, as well.")
@quiet_option("Print an account only where something was admitted or is unclear; no progress.")
def probe(address: str | None, *, listed: bool, **options: Any) -> None:
    """Probe a server: does it refuse every client that it must?

    First the good identity has to be served. Then each of some thirty others, which differ from it
    in one thing, and each of some odd handshakes, is tried in both versions of TLS. Those are
    admitted that get what the good one gets; silence is not acceptance, and what was not tested is
    not a pass.
    """
    if listed:
        print_result("\n".join(list_cases()))
        return
    if address is None and not (options["http"] or "/").startswith("/"):
        # `--http HOST:PORT`, where the path was left out.
        address, options["http"] = options["http"], "/"
    if address is None:
        raise click.UsageError("Missing argument 'HOST:PORT'.", click.get_current_context())
    _check(options)
    target = _target(address, options)

    import trio

    from mtls_echo.commands.probe.material import ProbeOptions, issuer_of
    from mtls_echo.commands.probe.text import account, refusals
    from mtls_echo.probing.issuer import NotMadeError
    from mtls_echo.probing.reports import again, formats
    from mtls_echo.probing.run import run

    issuer, trust = issuer_of(
        ProbeOptions(**{key: options[key] for key in ProbeOptions.__annotations__})
    )
    target = replace(target, trust=trust)
    admitted: dict[str, Credential] = {}
    try:
        with progress_bar("probing", shown=not options["quiet"]) as progress:
            result = trio.run(
                lambda: run(
                    target,
                    issuer,
                    only=options["only"],
                    skip=options["skip"],
                    pace=options["pace"],
                    progress=progress,
                    admitted=admitted,
                )
            )
    except NotMadeError as error:
        raise CommandError(f"no good identity can be issued: {error}", "give --cert") from error
    target = replace(target, alpn=result.protocols)
    fail_on, keep = options["fail_on"], options["keep"]
    if keep is not None and result.served:
        with writing(f"--keep {keep}"):
            again.keep(keep, target, admitted)
    write_report("--junit", options["junit"], lambda: formats.as_junit(result, fail_on))
    write_report("--sarif", options["sarif"], lambda: formats.as_sarif(result, fail_on))
    if options["json"]:
        print(formats.as_json(result, fail_on).decode())
    elif result.served and not (options["quiet"] and _is_clean(result, fail_on)):
        text = account(result, fail_on, lambda row: again.command(row, target, result.mode, keep))
        lines = list(refusals(result)) if options["verbose"] else []
        print_result("\n".join([text, *([""] * bool(lines)), *lines]))
    if not result.served:
        _complain(result)
    raise SystemExit(result.exit_status(fail_on))


def _is_clean(result: Result, fail_on: Severity) -> bool:
    """Whether there is nothing to report: not even what is below --fail-on."""
    return result.exit_status(fail_on) == 0 and not result.findings()


def _complain(result: Result) -> None:
    """Say why nothing was judged."""
    first = result.baseline[0]
    what = f"nothing is judged: the good identity, {result.good}, is not served by {result.target}"
    hows: dict[str, list[str]] = {}
    for each in result.baseline:
        hows.setdefault(each.how, []).append(f"TLS {each.tls}")
    told = [f"in {' or '.join(versions)}: {how}" for how, versions in hows.items()]
    if not first.connected:
        told = [first.how]
    facts = first.facts if len(told) == 1 else []
    complain("\n".join([what, *told, *facts]), first.remedy or None)


def _check(options: dict[str, Any]) -> None:
    """Reject what does not fit together, and cases that there are none of."""
    ways = [f"--{way}" for way in ("http", "echo", "handshake") if options[way]]
    if len(ways) > 1:
        raise CommandError(f"{' and '.join(ways)} exclude each other", "give one of them")
    if options["quiet"] and options["verbose"]:
        raise CommandError("--quiet and --verbose exclude each other", "leave one of them out")
    if options["method"] and options["http"] is None:
        raise CommandError("--method has no effect without --http", "give both")
    from mtls_echo.probing.meanings import check_slugs

    with value_errors(""):
        check_slugs((*options["only"], *options["skip"]))


def _target(address: str, options: dict[str, Any]) -> ProbeTarget:
    from mtls_echo.probing.target import BOTH, ProbeTarget
    from mtls_echo.vocabulary import OTHER_SERVER
    from mtls_echo_client.check import prologue_of
    from mtls_echo_client.http import HTTPRequest

    try:
        where = parse_address(address)
        names = tuple(
            dict.fromkeys(map(reference_identifier, options["server_name"] or [where.host]))
        )
        request = HTTPRequest(options["http"] or "/", options["method"] or "GET")
    except ValueError as error:
        raise CommandError(
            str(error), "for example: mtls-echo probe localhost:8443 --pki DIR"
        ) from error
    mode: Mode | None = "handshake" if options["starttls"] else None
    if options["http"] is not None:
        mode = "http"
    elif options["echo"] or options["handshake"]:
        mode = "echo" if options["echo"] else "handshake"
    client_auth: ClientAuth = options["client_auth"]
    return ProbeTarget(
        host=where.host,
        port=where.port,
        trust=None,
        server_names=names,
        mode=mode,
        request=request,
        client_auth=client_auth,
        timeout=options["timeout"],
        alpn=options["alpn"],
        between=options["between"],
        forge_headers=options["headers"],
        repeat=options["repeat"],
        versions=(options["tls"],) if options["tls"] else BOTH,
        prologue=prologue_of(options["starttls"]),
        vocabulary=OTHER_SERVER,
    )
