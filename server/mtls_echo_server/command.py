"""`mtls-echo serve`: options in, a running server or a clear refusal out.

What contradicts itself is refused at the start, before a port is open, since every silent
interpretation of a contradiction is less secure than one of its halves. Modules that take time to
import are imported when their turn comes: options, then the port (clients may queue from here
on), then cryptography and the material, then trio.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    import socket
    import ssl

    from mtls_echo_server.access import Access
    from mtls_echo_server.connection import Limits
    from mtls_echo_server.events import EventLog
    from mtls_echo_server.service import Server, Stopped
    from mtls_echo_tls.material import Material

_FILE = click.Path(path_type=Path)

# Descriptors beside the connections': standard streams, listeners, epoll, wake-up pipes, files.
_OTHER_DESCRIPTORS = 64

_EPILOG = """\b
examples:
  mtls-echo serve
      Mutual TLS on 127.0.0.1:8443, with test certificates made on the first run.
      Try it from another terminal: mtls-echo connect localhost:8443 hello
  mtls-echo serve --cert s.crt --key s.key --client-ca ca.crt --listen 0.0.0.0:8443
      Your own certificates, reachable from other machines.
  mtls-echo serve --allow-uri 'spiffe://prod.test/ns/*/sa/web'
      Of the clients with a valid certificate, only these may enter.
  mtls-echo serve --client-auth none
      Plain TLS: clients are not asked for a certificate.

\b
signals:
  SIGTERM, SIGINT  stop accepting; a connection on which nothing has arrived for a second is
                   closed with close_notify, busy ones have the grace period; a second signal
                   cuts off what is left
  SIGHUP           is noted and changes nothing: restart to load other certificates

\b
exit status:
  0  stopped, every connection finished
  1  stopped, some had to be cut off
  2  usage, configuration, unusable files, or an address that cannot be listened on
"""


def _seconds(text: str) -> float:
    """A finite number of seconds above 0."""
    seconds = _seconds_or_0(text)
    if seconds == 0:
        raise click.BadParameter("must be more than 0: it is what keeps strangers from waiting")
    return seconds


def _seconds_or_0(text: str) -> float:
    """A finite number of seconds; 0 where that means no limit, or none at all."""
    try:
        seconds = float(text)
    except ValueError as error:
        raise click.BadParameter(f'"{text}" is not a number of seconds') from error
    # Also turns away nan, with which every comparison is false.
    if not 0 <= seconds < math.inf:
        raise click.BadParameter(f'"{text}": must be 0 or more, and finite')
    return seconds


def _allow(kind: str, text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(f"--allow-{kind}", multiple=True, metavar="VALUE", help=text)


@click.command(epilog=_EPILOG, context_settings={"max_content_width": 100})
@click.option(
    "--pki",
    type=_FILE,
    metavar="DIR",
    help="Directory made by `mtls-echo pki init`; made with test certificates if it does not "
    "exist.  [default: $MTLS_ECHO_PKI, or mtls-echo/pki among the user's state files]",
)
@click.option(
    "--as", "name", metavar="NAME", help="Credential in that directory.  [default: server]"
)
@click.option(
    "--cert",
    "--grpc-server-tls-cert",
    "cert",
    type=_FILE,
    metavar="FILE",
    help="In place of --pki: certificate, then intermediates, PEM.",
)
@click.option(
    "--key",
    "--grpc-server-tls-key",
    "key",
    type=_FILE,
    metavar="FILE",
    help="Private key of the certificate, PEM.",
)
@click.option(
    "--client-ca",
    "--grpc-server-tls-client-ca",
    "client_ca",
    type=_FILE,
    metavar="FILE",
    help="Authorities whose clients may enter, PEM.",
)
@click.option(
    "--crl",
    type=_FILE,
    metavar="FILE",
    help="What those authorities have revoked, PEM: a list from each, the root's included.",
)
@click.option(
    "--listen",
    multiple=True,
    default=("127.0.0.1:8443",),
    show_default=True,
    metavar="HOST:PORT",
    help="Repeatable; [::1]:8443 for IPv6, port 0 for any free one.",
)
@click.option(
    "--client-auth",
    type=click.Choice(["none", "optional", "required"]),
    default="required",
    show_default=True,
    help="Whether clients need a certificate. A bad one is refused in either case.",
)
@_allow("cn", "Let this common name enter. All --allow options are repeatable, and one is enough.")
@_allow("dns", 'Let this DNS name enter; "*" stands for characters of one label.')
@_allow("uri", 'Let this URI enter; "*" stands for characters of one path segment.')
@_allow("email", "Let this e-mail address enter.")
@_allow("fingerprint", "Let the certificate with this SHA-256 fingerprint enter.")
@click.option(
    "--min-version",
    "--grpc-server-tls-min-version",
    "min_version",
    type=click.Choice(["1.2", "1.3"]),
    default="1.2",
    show_default=True,
    help="Oldest TLS version.",
)
@click.option(
    "--max-version",
    type=click.Choice(["1.2", "1.3"]),
    default="1.3",
    show_default=True,
    help="Newest TLS version.",
)
@click.option("--alpn", multiple=True, metavar="NAME", help="Application protocol; repeatable.")
@click.option(
    "--handshake-timeout",
    type=_seconds,
    metavar="SECONDS",
    default=10,
    show_default=True,
    help="Time for a handshake.",
)
@click.option(
    "--idle-timeout",
    type=_seconds_or_0,
    metavar="SECONDS",
    default=300,
    show_default=True,
    help="Close a connection that is silent for so long; 0: never.",
)
@click.option(
    "--max-connections",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Clients served at once; more wait in the kernel's queue.",
)
@click.option(
    "--grace-period",
    type=_seconds_or_0,
    metavar="SECONDS",
    default=30,
    show_default=True,
    help="What a stop leaves to busy connections.",
)
@click.option(
    "--max-connection-age",
    type=_seconds_or_0,
    metavar="SECONDS",
    default=0,
    show_default=True,
    help="Close at the first pause after so long, so that the client authenticates again; "
    "0: never.",
)
@click.option(
    "--session-tickets",
    type=click.Choice(["off", "on"]),
    default="off",
    show_default=True,
    help="Let clients resume, without their certificate being verified again.",
)
@click.option(
    "--keylog",
    type=_FILE,
    metavar="FILE",
    help="Append every connection's secrets, for Wireshark. Whoever has them can read along.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Form of the events on standard error.",
)
@click.option(
    "--trace",
    is_flag=True,
    help="Draw each connection's handshake, message by message, below its event; with json, "
    "report it.",
)
@click.pass_context
def serve(ctx: click.Context, /, **options: Any) -> None:
    """Echo every byte to clients that prove who they are.

    Each client must present a certificate from a trusted authority (mutual TLS), unless
    --client-auth says otherwise. Whoever is refused is told why by a TLS alert; both that and
    the reasons it does not carry are logged.
    """
    _refuse_contradictions(options)
    access = _access(options)
    with contextlib.ExitStack() as listening:
        # Before a port is open: from then on a signal is a request to a server.
        listening.enter_context(_signals_held())
        sockets = [listening.enter_context(sock) for sock in _listen(options["listen"])]

        from mtls_echo_server import events
        from mtls_echo_server.events import EventLog

        log = EventLog(options["log_format"])
        material = _material(options)
        context = _context(options, material)
        if material.created:
            log(events.created(material.source))
        for message in material.warnings:
            log(events.warning(message))
        if options["keylog"] is not None:
            log(events.warning(f"the secrets of every connection go to {options['keylog']}"))
        limits = _limits(options)
        _raise_descriptor_limit(limits, log)
        stopped = _run(context, sockets, access, limits, log, trace=options["trace"])
    ctx.exit(1 if stopped.aborted else 0)


# --- what cannot be meant ------------------------------------------------------------------------


def _refuse_contradictions(options: dict[str, Any]) -> None:
    asked = options["client_auth"] != "none"
    files = [options["cert"], options["key"], options["client_ca"], options["crl"]]
    if options["client_ca"] is not None and not asked:
        _refuse(
            "--client-ca has no effect with --client-auth none",
            "leave one of them out: authorities are named to ask clients for certificates",
        )
    if asked and options["cert"] and options["key"] and options["client_ca"] is None:
        _refuse(
            f"--client-auth {options['client_auth']} needs --client-ca: "
            "there is no authority whose clients to accept",
            "name one with --client-ca FILE, or ask for no certificates with --client-auth none",
        )
    if any(file is not None for file in files) and options["name"] is not None:
        _refuse(
            "--as names a credential in a --pki directory, and excludes --cert, --key and "
            "--client-ca",
            "leave out --as, or the files",
        )
    allowed = [kind for kind in _KINDS if options[f"allow_{kind}"]]
    if allowed and not asked:
        _refuse(
            f"--allow-{allowed[0]} can admit nobody with --client-auth none",
            "without certificates nobody has a name: use --client-auth required",
        )
    if options["min_version"] > options["max_version"]:
        _refuse(
            f"--min-version {options['min_version']} is above "
            f"--max-version {options['max_version']}",
            "leave out --max-version to allow the newest",
        )
    for protocol in options["alpn"]:
        if not protocol.isascii() or not 1 <= len(protocol) <= 255:
            _refuse(
                f'--alpn: "{protocol}" is not a protocol name',
                "1 to 255 ASCII characters (RFC 7301 §3.1), such as h2 or http/1.1",
            )


_KINDS = ("cn", "dns", "uri", "email", "fingerprint")


def _access(options: dict[str, Any]) -> Access:
    from mtls_echo_server.access import Access

    for kind in _KINDS:
        try:
            Access(**{kind: options[f"allow_{kind}"]})
        except ValueError as error:
            _refuse(f"--allow-{kind}: {error}", None)
    return Access(**{kind: options[f"allow_{kind}"] for kind in _KINDS})


def _refuse(message: str, hint: str | None) -> NoReturn:
    # Imported late: the package that it lives in brings cryptography with it.
    from mtls_echo_pki.console import CommandError

    raise CommandError(message, hint)


# --- from options to values ----------------------------------------------------------------------


def _listen(addresses: tuple[str, ...]) -> list[socket.socket]:
    from mtls_echo_server.listeners import FORMS, ListenError, listen

    try:
        return listen(addresses)
    except ValueError as error:
        _refuse(f"--listen: {error}", f"write {FORMS}")
    except ListenError as error:
        _refuse(str(error), error.hint)


def _material(options: dict[str, Any]) -> Material:
    from mtls_echo_pki import DirectoryError, MaterialError
    from mtls_echo_tls.material import ConfigurationError, server_material

    try:
        return server_material(
            pki=options["pki"],
            cert=options["cert"],
            key=options["key"],
            client_ca=options["client_ca"],
            crl=options["crl"],
            name=options["name"] or "server",
        )
    except (ConfigurationError, DirectoryError, MaterialError) as error:
        _refuse(str(error), error.hint)


def _context(options: dict[str, Any], material: Material) -> ssl.SSLContext:
    import ssl

    from mtls_echo_server.context import ClientAuth, server_context

    assert material.credential is not None  # noqa: S101  narrows the type: a server always has one
    versions = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
    client_auth = ClientAuth(options["client_auth"])
    keylog: Path | None = options["keylog"]
    try:
        return server_context(
            material.credential,
            None if client_auth is ClientAuth.NONE else material.trust,
            client_auth=client_auth,
            minimum_version=versions[options["min_version"]],
            maximum_version=versions[options["max_version"]],
            alpn=options["alpn"],
            session_tickets=options["session_tickets"] == "on",
            keylog=keylog,
        )
    except ssl.SSLError as error:
        # EE_KEY_TOO_SMALL, CA_MD_TOO_WEAK and the like; others are not about strength.
        weak = "_TOO_" in (error.reason or "")
        _refuse(
            f"{material.source}: OpenSSL does not take this certificate ({error.reason})",
            "its key or its signature is too weak: have it issued again, with a P-256 key"
            if weak
            else "its key may be of a kind that is not usable here, such as RSA-PSS: have it "
            "issued again, with a P-256 key",
        )
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        _refuse(f"--keylog {keylog}: {reason}", "name a file that you may write to")


def _limits(options: dict[str, Any]) -> Limits:
    from mtls_echo_server.connection import Limits

    return Limits(
        handshake_timeout=options["handshake_timeout"],
        idle_timeout=options["idle_timeout"] or math.inf,
        max_connections=options["max_connections"],
        grace_period=options["grace_period"],
        max_connection_age=options["max_connection_age"] or math.inf,
    )


def _raise_descriptor_limit(limits: Limits, log: EventLog) -> None:
    """Take the descriptors that the connections need, as far as the system lets us."""
    import resource

    from mtls_echo_server import events

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = limits.max_connections + _OTHER_DESCRIPTORS
    wanted = needed + limits.max_strangers
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    reachable = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))
    if reachable < needed:
        log(
            events.warning(
                f"--max-connections {limits.max_connections} is more than the {reachable} "
                "descriptors that this process may open (ulimit -n); clients beyond them wait"
            )
        )


# --- running -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _signals_held() -> Generator[None]:
    """Keep signals for `_run`: SIGHUP would kill us, and SIGTERM is promised a clean stop.

    Not SIGINT: whoever waits for a slow file or a name server may press Ctrl-C.
    """
    import signal

    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(
    context: ssl.SSLContext,
    sockets: list[socket.socket],
    access: Access,
    limits: Limits,
    log: EventLog,
    *,
    trace: bool,
) -> Stopped:
    import signal

    import trio

    from mtls_echo_server import events
    from mtls_echo_server.service import Server

    async def obey(signals: Any, server: Server) -> None:
        async for number in signals:
            if number == signal.SIGHUP:
                log(events.warning("SIGHUP changes nothing: restart to load other certificates"))
            else:
                server.stop()

    async def main() -> Stopped:
        server = Server(context, access=access, limits=limits, events=log, trace=trace)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            # What was held (`_signals_held`) arrives now.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGHUP})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(obey, signals, server)
                stopped = await server.run(sockets)
                nursery.cancel_scope.cancel()
        return stopped

    return trio.run(main)
