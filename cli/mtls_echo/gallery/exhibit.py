"""Exhibits, and visits to them: what a server does wrong, and what it saw of a client.

An exhibit differs from ``good`` in one thing, as the flaws of `mtls_echo_pki.flaws` do, from which
most are made. Public sites with bad certificates could not keep that up: a certificate that was to
be revoked expired too, and then proved nothing about revocation.

Whether a client refused is for the server to say: a client may print an error and have sent its
request all the same, and an exit status proves nothing. So a visit keeps whether the handshake was
completed, and how much came.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import trio

from mtls_echo_pki.flaws.baseline import issued_directly
from mtls_echo_pki.flaws.names import asked_for_by_address
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tls import TLSStream
from mtls_echo_tls.trace.messages import HANDSHAKE

if TYPE_CHECKING:
    import ssl

    from mtls_echo_pki.flaws.baseline import BaselineFactory
    from mtls_echo_pki.flaws.flaw import Flaw, TLSVersion
    from mtls_echo_tls.diagnosis.report import Report
    from mtls_echo_tls.stream.tcp import TCPStream

Group: TypeAlias = Literal[
    "baseline", "certificate", "revocation", "protocol", "alert", "client certificate"
]

# What a client must do: succeed, refuse, or fail, whatever the reason; or what it likes.
Must: TypeAlias = Literal["work", "refuse", "fail", "either"]

Behaviour: TypeAlias = Callable[["ExhibitVisit"], Awaitable[None]]
Configure: TypeAlias = Callable[["ssl.SSLContext"], None]

BOTH: tuple[TLSVersion, ...] = ("1.2", "1.3")


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """One server of the gallery.

    Attributes:
        slug: Its name, and the first label of its host name.
        title: What is wrong with it, in one sentence.
        rule: Where the rule is written that a client follows or breaks.
        must: What a client has to do. *refuse* is judged by what the server sees: no application
            data may reach it. *fail* is judged by the client's exit status, since the server has
            shown nothing that could be verified.
        choice: Why a client may do either.
        versions: The versions of TLS in which it is different.
        prepare: Makes its certification path, with nothing wrong in it yet.
        flaw: What is wrong with that.
        behave: What it does with a connection whose first record has arrived.
        configure: What is different about its TLS context.
        needs_client_certificate: Whether only a client with a certificate can be judged by it.
    """

    slug: str
    group: Group
    title: str
    rule: str
    must: Must
    behave: Behaviour
    choice: str = ""
    versions: tuple[TLSVersion, ...] = BOTH
    prepare: BaselineFactory = issued_directly
    flaw: Flaw | None = None
    configure: Configure | None = None
    needs_client_certificate: bool = False

    @property
    def by_address(self) -> bool:
        """Whether it has to be asked for by IP address: then no name can pick it."""
        return self.prepare is asked_for_by_address

    @property
    def control(self) -> Exhibit:
        """The same without its fault: where that does not work, a refusal says nothing."""
        name = getattr(self.prepare, "__name__", "").replace("_", "-")
        return replace(self, slug=f"{self.group}-{name}", flaw=None, must="work")

    def fields(self, domain: str) -> dict[str, Any]:
        """For programs; JSON types."""
        return {
            "exhibit": self.slug,
            "group": self.group,
            "host": None if self.by_address else f"{self.slug}.{domain}",
            "title": self.title,
            "rule": self.rule,
            "must": self.must,
            "choice": self.choice or None,
            "tls": self.versions,
        }


class ExhibitStream(TLSStream):
    """The server's end of a TLS connection whose first record has been read already."""

    __slots__ = ()

    def begin(self, record: bytes) -> None:
        """Take the first record, before the handshake."""
        self.evidence.keep_first_bytes(record)
        self._records.feed(record)


@dataclass
class ExhibitVisit:
    """One connection, and what becomes of it.

    Args:
        exhibit: What the client asked for.
        context: The exhibit's TLS configuration.
        transport: The connection, whose first record has been read.
        first: That record: the ClientHello, or what else the client sent.
        hold: For how long, in seconds, an exhibit keeps a client waiting that does so.
        server_name: As the client sent it (SNI).
        domain: Below which the exhibits have their names.
    """

    exhibit: Exhibit
    context: ssl.SSLContext
    transport: TCPStream
    first: bytes
    hold: float
    server_name: str | None = None
    domain: str = ""
    stream: ExhibitStream | None = field(default=None, init=False)
    established: bool = field(default=False, init=False)
    bug: Exception | None = field(default=None, init=False)

    async def run(self) -> None:
        """Let the exhibit behave as it does; what goes wrong is in the report."""
        try:
            await self.exhibit.behave(self)
        except (TLSFailure, trio.BrokenResourceError):
            pass
        except Exception as error:  # other visits go on
            self.bug = error
        finally:
            if self.stream is not None and self.transport.is_open:
                await self.stream.aclose()
            self.transport.close()

    async def handshake(self) -> TLSStream:
        """Complete the handshake.

        Raises:
            TLSFailure: The client refused us, or left.
        """
        self.stream = ExhibitStream(self.transport, self.context, server_side=True)
        self.stream.begin(self.first)
        await self.stream.do_handshake()
        self.established = True
        return self.stream

    @property
    def received(self) -> int:
        """How many bytes of application data the client has sent; in the clear, if not TLS."""
        if self.first[0] != HANDSHAKE:
            return len(self.first)
        return self.stream.received if self.stream is not None else 0

    @property
    def report(self) -> Report | None:
        """The server's report; None where it never spoke TLS."""
        return diagnose(self.stream.evidence) if self.stream is not None else None

    @property
    def line(self) -> str:
        """What happened, in one line; it may quote what the client sent."""
        return f"{self.exhibit.slug}: {self._what(self.report)}"

    def _what(self, report: Report | None) -> str:
        if self.bug is not None:
            return f"a bug in the gallery, {type(self.bug).__name__}: {self.bug}"
        if report is None:
            return self.exhibit.title
        if self.established:
            came = f"{self.received} bytes came" if self.received else "nothing came"
            return f"the handshake was completed, {came}"
        if (alert := report.alert) is not None and alert.direction == "received":
            return f"the client refused, {alert.name} ({alert.code})"
        return report.summary

    @property
    def fields(self) -> dict[str, Any]:
        """For programs; JSON types."""
        return {
            "exhibit": self.exhibit.slug,
            "server_name": self.server_name,
            "established": self.established,
            "bytes_received": self.received,
            "report": self.report,
        }
