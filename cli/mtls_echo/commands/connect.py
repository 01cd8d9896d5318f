"""The ``mtls-echo connect`` command: prove a connection, from a shell or a script.

Scripts rely on three things, which are documented in the help and tested: what is on standard
output, the exit status, and the fields of ``--json``. Nothing is imported before it is needed.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import cast

import click

from mtls_echo.commands.connect_options import forbid_making, forbid_mixing, versions_of
from mtls_echo.console import CONNECTION_STATUSES, CommandError, broken_pipe, value_errors
from mtls_echo.parameters import (
    CredentialName,
    Seconds,
    alpn_option,
    file_option,
    is_strict,
    quiet_option,
    timeout_option,
    verify_option,
)
from mtls_echo.password import ask_for_password
from mtls_echo.usage.help import SectionedCommand
from mtls_echo_client.starttls.ports import PORTS
from mtls_echo_tls.address import DEFAULT_PORT, parse_address, reference_identifier

# As ping does, when only --count is given.
_DEFAULT_INTERVAL = 1.0

EPILOG = f"""
\b
examples:
  mtls-echo connect localhost:8443 hello
      Mutual TLS with the certificates that `mtls-echo serve` uses too.
  mtls-echo connect localhost:8443 hello --no-cert
      What does the server say to a client without a certificate?
  mtls-echo connect localhost:8443 hello --trace
      The same handshake that `hello` alone makes, and every message of it.
  mtls-echo connect a.test:8443 hello --ca ca.crt --cert me.crt --key me.key
      With certificates of your own.
  mtls-echo connect a.test:8443 hello --ca ca.crt --cert me.p12
      The same with a PKCS#12 file, whose password is asked for.
  mtls-echo connect [::1]:8443 --repeat 1 --json
      One report per second, one line each.
  mtls-echo connect api.test:443 --handshake --ca ca.crt --cert me.crt --key me.key
      Of a server of any make: does mutual TLS with it work, and what does it prove?
  mtls-echo connect api.test:443 --http /health --ca ca.crt --cert me.crt --key me.key
      The same in HTTP, in which nginx and others refuse a certificate.
  mtls-echo connect db.test --starttls postgres --ca ca.crt --cert me.crt --key me.key
      The same of a server whose protocol begins in the clear.
  seq 100000 | mtls-echo connect | cmp - <(seq 100000)
      Every line, there and back.

\b
exit status (with --repeat and --count: of the last connection that failed):
  0  echoed, every byte verified; with --handshake not refused, with --http answered 2xx or 3xx
  2  usage, configuration or unusable files
{CONNECTION_STATUSES}\
  130  interrupted by Ctrl-C; 141  standard output was closed by its reader
"""

_SECTIONS = {
    "Certificates": "pki name no_cert cert key password_file ca crl verify",
    "What is offered": "server_name tls alpn",
    "A server that does not echo": "starttls handshake wait http method header",
    "How often, how long": "timeout repeat count",
    "Output": "quiet json show_chain trace",
}


@click.command("connect", cls=SectionedCommand, sections=_SECTIONS, epilog=EPILOG)
@click.argument("address", metavar="[HOST:PORT]", required=False)
@click.argument("message", metavar="[MESSAGE]", required=False)
@file_option(
    "--pki",
    metavar="DIR",
    help="Directory made by `mtls-echo pki init`, now if it does not exist; or a mounted"
    " Secret (tls.crt, tls.key, ca.crt) or pod certificate."
    "  [default: $MTLS_ECHO_PKI, or mtls-echo/pki among the user's state files, as for `serve`]",
)
@click.option(
    *("--as", "name"),
    type=CredentialName(),
    metavar="NAME",
    help="Which certificate of DIR to present.  [default: client]",
)
@click.option("--no-cert", is_flag=True, help="Present no certificate.")
@file_option(
    "--cert",
    help="Our certificate chain, PEM, ours first, maybe with the key; or all of it as PKCS#12.",
)
@file_option("--key", help="The private key of --cert, PEM, maybe encrypted.")
@file_option(
    "--password-file",
    help="Its first line opens an encrypted key or PKCS#12 file.  [default: ask, if there is a"
    " terminal]",
)
@file_option(
    "--ca",
    help="The CAs that the server is verified with, PEM; a folder of such files; or `system`.",
)
@file_option("--crl", help="The CRLs of those CAs, PEM: one of each, the root's included.")
@verify_option("strict with --pki, default with files")
@click.option(
    "--server-name",
    metavar="NAME",
    help="The name that the server's certificate must have, sent as SNI too.  [default: HOST]",
)
@click.option(
    "--handshake",
    is_flag=True,
    help="Send nothing: complete the handshake, and wait for a refusal, an end or a first word.",
)
@click.option(
    "--wait",
    type=Seconds(min=0),
    metavar="SECONDS",
    help="How long --handshake waits: a server of TLS 1.3 judges late.  [default: 1]",
)
@click.option(
    "--http",
    is_flag=False,
    flag_value="/",
    metavar="[PATH]",
    help="Send one request in HTTP/1.1 and say what the answer means; 2xx and 3xx are successes."
    "  [PATH: /]",
)
@click.option(
    "--method", type=click.Choice(["GET", "HEAD"]), help="The method of --http.  [default: GET]"
)
@click.option(
    "--header", multiple=True, metavar="'NAME: VALUE'", help="Add a field to --http; repeatable."
)
@click.option(
    "--show-chain",
    is_flag=True,
    help="Print each certificate that the server sent, and what is wrong with the chain.",
)
@click.option(
    "--starttls",
    type=click.Choice(list(PORTS)),
    help="Begin TLS in the middle of this protocol, at its usual port unless PORT is given; with"
    " no MESSAGE and no --http this implies --handshake.",
)
@click.option("--tls", type=click.Choice(["1.2", "1.3"]), help="Offer only this version.")
@alpn_option("Offer this protocol; repeatable.")
@timeout_option(10.0, "For connecting and the handshake; then for silence while an echo is due.")
@quiet_option(
    "Print the echo and nothing else but errors and warnings; of a server that does not echo"
    " the exit status alone tells that all is well."
)
@click.option("--json", is_flag=True, help="Print one report in place of the echo.")
@click.option(
    "--trace",
    is_flag=True,
    help="Draw the handshake, message by message, on standard error, in 60 columns or more; in"
    " less list them. With --json, report it.",
)
@click.option(
    "--repeat",
    type=Seconds(min=0),
    metavar="SECONDS",
    help="Connect again at this interval, with the files as they are then; while those cannot be"
    " used, with the ones before, and a warning.",
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    metavar="N",
    help="Connect N times.  [with --repeat: no end; SECONDS is 1 if not given]",
)
def connect(
    address: str | None,
    message: str | None,
    *,
    pki: Path | None,
    name: str | None,
    no_cert: bool,
    cert: Path | None,
    key: Path | None,
    password_file: Path | None,
    ca: Path | None,
    crl: Path | None,
    verify: str | None,
    server_name: str | None,
    handshake: bool,
    wait: float | None,
    http: str | None,
    method: str | None,
    header: tuple[str, ...],
    show_chain: bool,
    starttls: str | None,
    tls: str | None,
    alpn: tuple[str, ...],
    timeout: float,
    quiet: bool,
    json: bool,
    trace: bool,
    repeat: float | None,
    count: int | None,
) -> None:
    """Connect over mutual TLS, and verify every byte that an echo server sends back.

    MESSAGE is sent as one line. Without it, or with -, standard input is sent as it comes, many
    lines in flight; with --repeat, the line "ping". Standard output is what came back, no more.
    HOST:PORT is localhost:8443 unless given; IPv6 addresses go in brackets.

    Nothing counts as a success before the first echo: a TLS 1.3 server verifies its client after
    the client's handshake is complete. Empty input therefore sends one empty line, unprinted.

    Of a server that does not echo --handshake and --http tell what it proves, and how far it has
    accepted us. With no files given and a HOST other than this machine nothing is made on disk.
    """
    handshake |= starttls is not None and message is None and http is None
    forbid_mixing(message, handshake, wait, http, method, header)
    if http is not None and not http.startswith("/") and address is None:
        # `--http HOST:PORT`, where the path was left out.
        address, http = http, "/"
    with value_errors("", "for example: mtls-echo connect localhost:8443 hello"):
        where = parse_address(address or "", default_port=PORTS.get(starttls or "", DEFAULT_PORT))
    with value_errors("--server-name: ", "give the host name only"):
        if server_name is not None:
            reference_identifier(server_name)
    if name is not None and (no_cert or cert or key or password_file or ca or crl):
        other = "--no-cert" if no_cert else "--cert, --key, --password-file, --ca and --crl"
        raise CommandError(
            f"--as and {other} exclude each other",
            "--as names a certificate of the --pki directory",
        )
    if show_chain and json:
        raise CommandError(
            "--show-chain and --json exclude each other",
            "--trace --json has every certificate that was sent",
        )
    repeated = repeat is not None or count is not None
    others = handshake or http is not None
    if message is None and repeated and not others:
        message = "ping"
    if message == "-" and repeated:
        raise CommandError(
            "standard input can be read only once, not for each connection",
            "give a MESSAGE with --repeat and --count",
        )

    repeats = count != 1 if repeated else False
    password = None if no_cert else ask_for_password(cert, key, password_file, once=not repeats)

    import trio

    from mtls_echo.commands.connect_check import check_of
    from mtls_echo.commands.connect_io import Dialogue
    from mtls_echo.vocabulary import COMMAND_LINE
    from mtls_echo_tls.material.load import client_material

    check = check_of(http=http, method=method, header=header, wait=wait) if others else None
    if pki is None and not (cert or key or password_file or ca or crl or where.is_loopback):
        forbid_making(where, no_message=message is None and not others)
    load = partial(
        client_material,
        pki=pki,
        cert=cert,
        key=key,
        password=password,
        # From a pipe it has been read.
        password_file=None if password is not None else password_file,
        ca=ca,
        crl=crl,
        name=name or "client",
        no_cert=no_cert,
        strict=is_strict(verify, cert, key, ca, crl),
        vocabulary=COMMAND_LINE,
    )
    dialogue = Dialogue(
        address=where,
        server_name=server_name,
        load=load,
        versions=versions_of(tls),
        alpn=alpn,
        timeout=timeout,
        # An argument that is not UTF-8 goes back to the bytes it was.
        message=None
        if message in (None, "-")
        else message.encode("utf-8", "surrogateescape") + b"\n",
        quiet=quiet,
        json=json,
        trace=trace,
        interval=_DEFAULT_INTERVAL if repeat is None else repeat,
        count=count if repeated else 1,
        likely_typo=address
        if address and message is None and not others and ":" not in address
        else None,
        check=check,
        show_chain=show_chain,
        starttls=starttls,
    )
    try:
        # Between checkpoints Ctrl-C could leave a socket without an owner.
        status = trio.run(dialogue.run, restrict_keyboard_interrupt_to_checkpoints=True)
    except BrokenPipeError:
        broken_pipe()
    except BaseException as error:
        if _interrupted(error):
            raise SystemExit(130) from None  # 128 + SIGINT, as a shell reports it
        raise
    raise SystemExit(status)


def _interrupted(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return group.subgroup(KeyboardInterrupt) is not None
    return isinstance(error, KeyboardInterrupt)
