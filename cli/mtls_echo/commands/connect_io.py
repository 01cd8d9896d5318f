"""Run the sessions of `mtls-echo connect` between standard input and standard output.

Standard output carries what came back from the server, verified, and nothing else, so that
``seq 100000 | mtls-echo connect | cmp - <(seq 100000)`` is a test. Whatever is said about it goes
to standard error. With ``--json`` standard output carries the report instead.

Input is read in pieces as they come, not in lines: a line in a terminal, up to 64 KiB of a file
or a pipe. The descriptor is waited for, never made non-blocking, which would change it for the
shell and every other program that shares it. Output may block for as long as its reader likes,
such as ``less``, so it is written in a thread while the connection waits.

Of many connections each uses the files as they are when it begins, if they are in order. If not,
it uses what was in order last, and that is said once, on standard error also with ``--json``: no
report is about it, for nothing has happened to any connection (`mtls_echo_tls.material.reloader`).
"""

from __future__ import annotations

import itertools
import os
import shlex
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING

import click
import trio

from mtls_echo.commands.connect_check import Check, account, on_one_screen
from mtls_echo.console import (
    REDIRECT,
    CommandError,
    complain,
    print_result,
    say,
    width_of,
    wrap_line,
)
from mtls_echo.output import write
from mtls_echo.vocabulary import COMMAND_LINE, OTHER_SERVER
from mtls_echo_client.check import examine, prologue_of
from mtls_echo_client.context import client_context
from mtls_echo_client.exit_status import NO_CONNECTION, OK, USAGE, exit_status
from mtls_echo_client.http import offer_http
from mtls_echo_client.session import Session, connect
from mtls_echo_pki.files.durable import os_reason
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.staging import DirectoryError
from mtls_echo_pki.lifetimes import describe_seconds
from mtls_echo_pki.printable import printable
from mtls_echo_tls.address import DEFAULT_HOST, Address
from mtls_echo_tls.diagnosis.context_info import with_vocabulary
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.diagnosis.report import Report, describe
from mtls_echo_tls.material.errors import ConfigurationError
from mtls_echo_tls.material.reloader import Reload, Reloader
from mtls_echo_tls.path.certificates import PeerIdentity

if TYPE_CHECKING:
    from mtls_echo_tls.material.load import Material

# As much as a pipe holds on Linux.
_READ_SIZE = 65_536

# Sent when there is no input at all: only an echo shows whether the server accepted us.
_PROOF = b"\n"


@dataclass(frozen=True, kw_only=True)
class Dialogue:
    """What the command line asked for.

    Attributes:
        server_name: The reference identifier, if not the address's host.
        load: Reads the files; ``create=False`` before a later connection.
        versions: The TLS versions to offer, lowest and highest.
        timeout: Seconds; see `connect`.
        message: None for standard input.
        quiet: Whether only errors and warnings are said, beside the echo.
        interval: Seconds from the start of one connection to that of the next.
        count: How many connections; None for no end.
        likely_typo: What was taken for a host and may have been meant as the message.
        check: What to do in place of an echo.
        show_chain: Whether to print what the server sent, judged.
        starttls: The protocol in whose middle TLS begins.
    """

    address: Address
    server_name: str | None
    load: Callable[..., Material]
    versions: tuple[ssl.TLSVersion, ssl.TLSVersion]
    alpn: tuple[str, ...]
    timeout: float
    message: bytes | None
    json: bool
    quiet: bool = False
    trace: bool = False
    interval: float = 0.0
    count: int | None = 1
    likely_typo: str | None = None
    check: Check | None = None
    show_chain: bool = False
    starttls: str | None = None

    async def run(self) -> int:
        """Connect as often as asked.

        Returns:
            The exit status of the last connection that failed, 0 when none did.

        Raises:
            CommandError: Standard input or output cannot be used.
            BrokenPipeError: Its reader has gone.
        """
        try:
            material = self.load()
            reload = partial(self.load, create=False)
            reloader = Reloader(
                reload, self._context, first=material, tell=self._report_reload, warn=_warn
            )
        except (MaterialError, DirectoryError, ConfigurationError) as error:
            return await self._conclude(_unusable(str(error), error.hint), USAGE)
        if material.created:
            self._say(f"made test certificates in {material.source}")
        warnings = material.warnings
        if self.check is None:
            _warn(*warnings)
        status = OK
        for number in itertools.count(1):
            started = trio.current_time()
            status = await self._connect(number, reloader.current) or status
            if number == 1 and self.check is not None:
                _warn(*warnings)  # a verdict comes first
            if number == self.count:
                break
            await trio.sleep_until(started + self.interval)
            await reloader.check()
        return status

    def _context(self, material: Material) -> ssl.SSLContext:
        if material.trust is None:
            raise ConfigurationError(
                "there are no trust anchors to verify the server by", "name some: --ca FILE"
            )
        lowest, highest = self.versions
        context = client_context(
            material.trust,
            material.credential,
            minimum_version=lowest,
            maximum_version=highest,
            alpn=self.alpn,
            strict=material.strict,
        )
        if self.check is not None and self.check.request is not None and not self.alpn:
            offer_http(context)
        return with_vocabulary(context, COMMAND_LINE if self.check is None else OTHER_SERVER)

    async def _connect(self, number: int, context: ssl.SSLContext) -> int:
        if self.check is not None:
            return await self._examine(number, context, self.check)
        try:
            session = await connect(
                self.address.host,
                self.address.port,
                context,
                server_name=self.server_name,
                timeout=self.timeout,
                trace=self.trace,
                prologue=prologue_of(self.starttls),
            )
            async with session:
                await self._talk(session)
        except TLSFailure as failure:
            report = failure.report
            self._draw(report)
            status = await self._conclude(report, exit_status(report))
            self._draw_chain(failure.evidence)
            return status
        if self.count != 1 and not self.json:
            self._say(f"{number}: echoed after {_took(session.report)}")
        return await self._conclude(session.report, OK)

    async def _examine(self, number: int, context: ssl.SSLContext, check: Check) -> int:
        evidence = await examine(
            self.address.host,
            self.address.port,
            context,
            server_name=self.server_name,
            request=check.request,
            wait=check.wait,
            timeout=self.timeout,
            trace=self.trace,
            starttls=self.starttls,
        )
        report = await trio.to_thread.run_sync(diagnose, evidence)
        self._draw(report)
        status = exit_status(report)
        if status == OK and not self.json and not self.quiet:
            if self.count != 1:
                say(f"{number}: {report.summary} ({_took(report)})")
            else:
                print_result(account(report, width_of(sys.stdout)))
        await self._conclude(report, status)
        self._draw_chain(evidence)
        return status

    async def _talk(self, session: Session) -> None:
        source = _Input(self.message, sys.stdin)
        output = None if self.json else _descriptor(sys.stdout)

        async def sink(data: bytes) -> None:
            if session.echoed == len(data) and not self.json:
                # The first echo: only now is it true (TLS 1.3).
                self._draw(session.report)
                if self.count == 1:
                    self._say(_greeting(self.address, session))
                self._draw_chain(session.evidence)
            if output is not None and not source.only_proof:
                await _write(output, data)

        if source.interactive and not self.json:
            self._say("type a line: its echo proves the connection; Ctrl-D ends")
        await session.echo_all(source.read, sink)
        session.evidence.finish()  # the verdict is known; closing is not part of it

    def _say(self, text: str) -> None:
        if not self.quiet:
            say(text)

    def _report_reload(self, reload: Reload) -> None:
        if reload.ok:
            self._say(f"reloaded: {reload}")
            return
        say(f"warning: not reloaded: {reload}")
        if reload.hint is not None:
            say(f"hint: {reload.hint}")

    def _draw(self, report: Report) -> None:
        if report.trace and not self.json:
            from mtls_echo_tls.diagrams.full import WIDTH
            from mtls_echo_tls.diagrams.narrow import sequence_within

            plain = not (sys.stderr.encoding or "").lower().startswith("utf")
            columns = width_of(sys.stderr) or WIDTH
            lines = sequence_within(report, columns, ascii_only=plain)
            click.echo("\n".join(lines), err=True)

    def _draw_chain(self, evidence: Evidence) -> None:
        if self.show_chain:
            from mtls_echo_tls.diagrams.chain import sent_chain

            for line in sent_chain(evidence):
                whole = wrap_line(line, width_of(sys.stderr) or len(line), "     ")
                click.echo("\n".join(whole), err=True)

    async def _conclude(self, report: Report, status: int) -> int:
        if self.json:
            await _write(_descriptor(sys.stdout), report.encode() + b"\n")
        elif status != OK:
            message, hint = describe(on_one_screen(report, width_of(sys.stderr)))
            if status == NO_CONNECTION and self.likely_typo is not None:
                words = ["mtls-echo", "connect", str(Address(DEFAULT_HOST)), self.likely_typo]
                line = shlex.join(words)
                hint = f"{hint}; to send {self.likely_typo!r} as a message: {line}"
            complain(message, hint)
        return status


def _took(report: Report) -> str:
    return describe_seconds(report.duration_ms / 1000)


def _warn(*messages: str) -> None:
    for message in messages:
        say(f"warning: {message}")


class _Input:
    """One message, or standard input; it proves the connection when that is empty."""

    def __init__(self, message: bytes | None, file: IO[str] | None) -> None:
        self._message = message
        # Closed (`<&-`), its number may already be that of another file: do not touch it.
        self._descriptor = file.fileno() if message is None and file is not None else None
        self.interactive = self._descriptor is not None and os.isatty(self._descriptor)
        self._begun = message is not None
        self.only_proof = False

    async def read(self) -> bytes:
        if self._descriptor is not None:
            data = await _read(self._descriptor)
        else:
            data, self._message = self._message or b"", None
        if not self._begun and not data:
            data, self.only_proof = _PROOF, True
        self._begun = True
        return data


async def _read(descriptor: int) -> bytes:
    while True:
        try:
            await trio.lowlevel.wait_readable(descriptor)
        except PermissionError:
            # epoll does not take regular files, which are always readable.
            await trio.lowlevel.checkpoint()
        try:
            return os.read(descriptor, _READ_SIZE)
        except BlockingIOError:
            continue  # another process made it non-blocking, and another reader was faster
        except OSError as error:
            raise CommandError(
                f"standard input cannot be read: {os_reason(error)}",
                "give the MESSAGE as an argument",
            ) from error


async def _write(descriptor: int, data: bytes) -> None:
    try:
        await write(descriptor, data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandError(
            f"standard output cannot be written: {os_reason(error)}", REDIRECT
        ) from error


def _descriptor(file: IO[str] | None) -> int:
    if file is None:
        raise CommandError("standard output is closed", REDIRECT)
    return file.fileno()


def _greeting(address: Address, session: Session) -> str:
    evidence = session.evidence
    if evidence.own_chain:
        us = f"as {PeerIdentity.from_der(evidence.own_chain[0])}"
    elif evidence.certificate_requested:
        us = "without a certificate, which the server permits"
    else:
        us = "without a certificate: the server asks for none"
    # What was verified, which need not be the first of the names that the certificate has.
    them = printable(evidence.server_name or str(session.peer))
    return f"connected to {address} {us}; it proved to be {them} ({evidence.version})"


def _unusable(message: str, hint: str | None) -> Report:
    """The report of a connection that was not tried, without usable material."""
    return Report(
        side="client",
        outcome="failed",
        rejected_by=None,
        stage="connect",
        causes=[],
        alert=None,
        verify_code=None,
        evidence=[],
        summary=message,
        remedy=hint or "",
        rfc="",
        tls=None,
        peer=None,
        own=None,
        client_random=None,
        duration_ms=0.0,
    )
