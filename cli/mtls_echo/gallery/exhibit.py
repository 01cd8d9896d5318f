"""Exhibits: what a server of the gallery does wrong, and what a client has to make of it.

An exhibit differs from ``good`` in one thing, as the flaws of `mtls_echo_pki.flaws` do, from which
most are made. Public sites with bad certificates could not keep that up: a certificate that was to
be revoked expired too, and then proved nothing about revocation.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from mtls_echo_pki.flaws.names import asked_for_by_address

if TYPE_CHECKING:
    import ssl

    from mtls_echo.gallery.visit import Visit
    from mtls_echo_pki.flaws.flaw import Flaw, TLSVersion

Group: TypeAlias = Literal[
    "baseline", "certificate", "revocation", "protocol", "alert", "client certificate"
]

# What a client must do: succeed, refuse, or fail, whatever the reason; or what it likes.
Must: TypeAlias = Literal["work", "refuse", "fail", "either"]

Behaviour: TypeAlias = Callable[["Visit"], Awaitable[None]]
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
        flaw: What is wrong with its certificate.
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
    flaw: Flaw | None = None
    configure: Configure | None = None
    needs_client_certificate: bool = False

    @property
    def by_address(self) -> bool:
        """Whether it has to be asked for by IP address: then no name can pick it."""
        return self.flaw is not None and self.flaw.prepare is asked_for_by_address

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
