"""The command `mtls-echo serve`: options in, a running server or a clear refusal out.

What contradicts itself is refused at the start, before a port is open, since every silent
interpretation of a contradiction is less secure than one of its halves. Modules that take time to
import are imported when their turn comes: options, then the port (clients may queue from here
on), then cryptography and the material, then trio.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import math
import os
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtls_echo.commands.serve_options import EPILOG, SECTIONS, with_options
from mtls_echo.console import CommandError, value_errors
from mtls_echo.parameters import check_addresses, is_strict, listen_on, writing
from mtls_echo.password import ask_for_password
from mtls_echo.usage.help import SectionedCommand
from mtls_echo_pki.files.durable import os_reason

if TYPE_CHECKING:
    import socket
    import ssl

    from mtls_echo.commands.serve_status import ServiceStatus
    from mtls_echo_server.access import Access
    from mtls_echo_server.connection import Limits
    from mtls_echo_server.events import Events
    from mtls_echo_server.log import EventLog
    from mtls_echo_tls.material.errors import ConfigurationError
    from mtls_echo_tls.material.load import Material
    from mtls_echo_tls.material.reloader import Reloader


# As Python itself has it from 3.13 on.
_NEW_OBJECTS = 2_000


@click.command(
    cls=SectionedCommand,
    sections=SECTIONS,
    epilog=EPILOG,
    context_settings={"max_content_width": 100},
)
@with_options
@click.pass_context
def serve(ctx: click.Context, /, **options: Any) -> None:
    """Echo every byte to authenticated clients.

    Each client must present a certificate from a trusted CA (mutual TLS), unless --client-auth
    says otherwise. A refused client gets the reason as a TLS alert; the alert and the reasons
    that it does not carry are logged.
    """
    _refuse_contradictions(options)
    access = _access(options)
    workers = _workers(options)
    of_status = () if options["status"] is None else (options["status"],)
    check_addresses("--status", of_status)
    if options["keylog"] is not None:
        _try_to_append(options["keylog"])
    # Before a port is open: a client would wait for the answer.
    named = (options[name] for name in ("cert", "key", "password_file"))
    options["password"] = ask_for_password(*named)
    with contextlib.ExitStack() as listening:
        # Before a port is open: from then on a signal is a request to a server.
        listening.enter_context(_signals_held())
        sockets = [
            listening.enter_context(sock) for sock in listen_on("--listen", options["listen"])
        ]
        status_sockets = [
            listening.enter_context(sock) for sock in listen_on("--status", of_status)
        ]

        from mtls_echo_server import events

        log = _log(options)
        told = events.Redirect(log)
        reloader = _reloader(options, told)
        if options["keylog"] is not None:
            log(events.warning(f"the secrets of every connection go to {options['keylog']}"))
        limits = _limits(options)

        from mtls_echo.commands.serve_process import raise_descriptor_limit, run

        raise_descriptor_limit(limits.share(1, workers), log)
        # From here on a search for garbage has to be short, since clients wait for it: it is among
        # few new objects at a time, and never among what the start made.
        gc.freeze()
        gc.set_threshold(_NEW_OBJECTS)
        service = reloader, sockets, access, limits, log
        trace, http = options["trace"], options["http"]
        status = _status(options, status_sockets, reloader, log)
        if workers == 1:
            finished = not run(*service, trace=trace, http=http, status=status).aborted
        else:
            from mtls_echo.commands.serve_workers import run_workers

            finished = run_workers(workers, *service, told, trace=trace, http=http, status=status)
    ctx.exit(0 if finished else 1)


@contextlib.contextmanager
def _signals_held() -> Generator[None]:
    """Hold signals for `run`: SIGHUP would kill the process, and SIGTERM means a clean stop.

    Not SIGINT: Ctrl-C must end the wait for a slow file or a name server.
    """
    import signal

    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# --- contradictions ------------------------------------------------------------------------------


def _refuse_contradictions(options: dict[str, Any]) -> None:
    asked = options["client_auth"] != "none"
    files = [options[name] for name in _FILES if name != "pki"]
    if options["client_ca"] is not None and not asked:
        raise CommandError(
            "--client-ca has no effect with --client-auth none",
            "leave one of them out: a CA is named to ask clients for certificates",
        )
    if asked and options["cert"] and options["key"] and options["client_ca"] is None:
        raise CommandError(
            f"--client-auth {options['client_auth']} needs --client-ca: "
            "there is no CA whose clients to accept",
            "name one with --client-ca FILE, or ask for no certificates with --client-auth none",
        )
    if any(file is not None for file in files) and options["name"] is not None:
        raise CommandError(
            "--as names a credential in a --pki directory, and excludes --cert, --key, "
            "--password-file, --client-ca and --crl",
            "leave out --as, or the files",
        )
    allowed = [kind for kind in _KINDS if options[f"allow_{kind}"]]
    if allowed and not asked:
        raise CommandError(
            f"--allow-{allowed[0]} can admit no client with --client-auth none",
            "without a certificate no client has a name: use --client-auth required",
        )
    if options["min_version"] > options["max_version"]:
        raise CommandError(
            f"--min-version {options['min_version']} is above "
            f"--max-version {options['max_version']}",
            "leave out --max-version to allow the newest",
        )
    if options["quiet"] and options["verbose"]:
        raise CommandError("--quiet and --verbose exclude each other", "leave one of them out")


_KINDS = ("cn", "dns", "uri", "email", "fingerprint")


def _access(options: dict[str, Any]) -> Access:
    from mtls_echo_server.access import Access

    allowed = {kind: options[f"allow_{kind}"] for kind in _KINDS}
    for kind, values in allowed.items():
        with value_errors(f"--allow-{kind}: ", "see a certificate's: mtls-echo pki show FILE"):
            Access(**{kind: values})
    return Access(**allowed)


def _workers(options: dict[str, Any]) -> int:
    """How many processes are to serve."""
    workers: int = options["workers"] or _cores()
    most: int = options["max_connections"]
    if workers > most:
        raise CommandError(
            f"--workers {workers} share --max-connections {most}: some could serve no client",
            "allow more connections, or take fewer workers",
        )
    return workers


def _cores() -> int:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _try_to_append(keylog: Path) -> None:
    """Refuse a key log that cannot be written; one that is not there yet is not left behind."""
    with writing(f"--keylog {keylog}"):
        is_new = not os.path.lexists(keylog)
        os.close(os.open(keylog, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600))
        if is_new:
            keylog.unlink()


# --- from options to values ----------------------------------------------------------------------


def _log(options: dict[str, Any]) -> EventLog:
    """The log: short and coloured on a terminal, and what it always is elsewhere."""
    from mtls_echo.event_lines import EventLines, is_kept_when_quiet, wants_lines
    from mtls_echo_server.log import EventLog

    text = options["log_format"] == "text"
    return EventLog(
        options["log_format"],
        keep=is_kept_when_quiet if options["quiet"] else None,
        view=EventLines(in_full=options["verbose"]) if text and wants_lines() else None,
    )


def _status(
    options: dict[str, Any], sockets: list[socket.socket], reloader: Reloader, log: EventLog
) -> ServiceStatus | None:
    """The status of this server; None if it was not asked for."""
    if not sockets:
        return None
    from mtls_echo.commands.serve_status import ServiceStatus

    shown = {name: options[name] for name in _SHOWN}
    host = options["status"].rpartition(":")[0].strip("[]")
    return ServiceStatus(sockets, host, shown, reloader, log)


# The options that the status port shows.
_SHOWN = (
    "listen", "client_auth", "allow_cn", "allow_dns", "allow_uri", "allow_email",
    "allow_fingerprint", "min_version", "max_version", "alpn", "http", "handshake_timeout",
    "idle_timeout", "max_connections", "grace_period", "max_connection_age", "reload_interval",
    "session_tickets", "workers",
)  # fmt: skip


def _reloader(options: dict[str, Any], log: Events) -> Reloader:
    """Read the files for the first time; reload them later, and log it."""
    from mtls_echo_pki.files.pem_blocks import MaterialError
    from mtls_echo_pki.files.staging import DirectoryError
    from mtls_echo_server import events
    from mtls_echo_tls.material.errors import ConfigurationError
    from mtls_echo_tls.material.reloader import Reloader

    try:
        material = _read(options, create=True)
        reloader = Reloader(
            partial(_read, options, create=False),
            partial(_context, options),
            first=material,
            interval=options["reload_interval"],
            tell=lambda result: log(events.reload(result)),
            warn=lambda message: log(events.warning(message)),
        )
    except (ConfigurationError, DirectoryError, MaterialError) as error:
        raise CommandError(str(error), error.hint) from error
    if material.created:
        log(events.created(material.source))
    for message in material.warnings:
        log(events.warning(message))
    return reloader


_FILES = ("pki", "cert", "key", "password_file", "client_ca", "crl")


def _read(options: dict[str, Any], *, create: bool) -> Material:
    from mtls_echo.vocabulary import COMMAND_LINE
    from mtls_echo_tls.material.errors import ConfigurationError
    from mtls_echo_tls.material.load import server_material, without_trust

    files = {name: options[name] for name in _FILES}
    own = (path for option, path in files.items() if option != "pki")
    material = server_material(
        **files,
        password=options["password"],
        name=options["name"] or "server",
        create=create,
        strict=is_strict(options["verify"], *own),
        vocabulary=COMMAND_LINE,
    )
    if options["client_auth"] == "none":
        return without_trust(material, COMMAND_LINE)
    if material.trust is None:
        where = f" in {material.source}" if options["cert"] is None else ""
        raise ConfigurationError(
            f"--client-auth {options['client_auth']} needs the CA of the clients' certificates:"
            f" there is no {'ca.crt' if where else '--client-ca'}{where}",
            f"{'put it there' if where else 'name it with --client-ca FILE'}, or ask for no"
            " certificates with --client-auth none",
        )
    return material


def _context(options: dict[str, Any], material: Material) -> ssl.SSLContext:
    import ssl

    from mtls_echo.vocabulary import COMMAND_LINE
    from mtls_echo_server.context import ClientAuth, server_context
    from mtls_echo_tls.diagnosis.context_info import with_vocabulary

    assert material.credential is not None  # noqa: S101  narrows the type: a server always has one
    versions = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
    keylog: Path | None = options["keylog"]
    try:
        context = server_context(
            material.credential,
            material.trust,
            client_auth=ClientAuth(options["client_auth"]),
            minimum_version=versions[options["min_version"]],
            maximum_version=versions[options["max_version"]],
            alpn=options["alpn"],
            session_tickets=options["session_tickets"] == "on",
            keylog=keylog,
            strict=material.strict,
        )
    except ssl.SSLError:
        raise
    except OSError as error:
        raise _not_loaded(material, keylog, error) from error
    if options["http"] and not options["alpn"]:
        from mtls_echo_server.http.face import offer_http

        offer_http(context)
    return with_vocabulary(context, COMMAND_LINE)


def _not_loaded(material: Material, keylog: Path | None, error: OSError) -> ConfigurationError:
    """The error for a key log that cannot be written, or a lack of descriptors or of memory."""
    from mtls_echo_tls.material.errors import ConfigurationError

    if keylog is not None and str(error.filename) == str(keylog):
        problem = f"--keylog {keylog}: {os_reason(error)}"
        return ConfigurationError(problem, "name a file that you may write to")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        hint = "allow more open files (ulimit -n)"
    else:
        hint = "make room in memory, or in the folder for temporary files"
    return ConfigurationError(f"{material.source}: {os_reason(error)}", hint)


def _limits(options: dict[str, Any]) -> Limits:
    from mtls_echo_server.connection import Limits

    return Limits(
        handshake_timeout=options["handshake_timeout"],
        idle_timeout=options["idle_timeout"] or math.inf,
        max_connections=options["max_connections"],
        grace_period=options["grace_period"],
        max_connection_age=options["max_connection_age"] or math.inf,
        max_handshakes=options["max_handshakes"],
        max_handshakes_per_network=options["max_handshakes_per_network"],
    )
