"""The certificates of one gallery: every exhibit's, and what its client needs to judge it.

A client of the gallery has one file of trust anchors. An exhibit whose fault lies in a trust
anchor or in a CRL therefore has a root of its own: it would change the verdict on all others.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.files.durable import PUBLIC, replace_file
from mtls_echo_tls.diagnosis.context_info import ContextInfo, describe_context

if TYPE_CHECKING:
    from pathlib import Path

    from mtls_echo.gallery.exhibit import Exhibit
    from mtls_echo_pki.certificates.credential import Credential
    from mtls_echo_pki.flaws.baseline import ValidationInput
    from mtls_echo_pki.flaws.flaw import TLSVersion

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

# No RSA key exchange and no CBC; but the keys and signatures that are exhibited, too.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=0"

_HTTP = "http/1.1"


class World:
    """Makes the certificates and contexts of exhibits, each when it is first needed.

    Args:
        servers: The root that issues what exhibits present.
        clients: The root whose clients are accepted.
    """

    def __init__(self, servers: Authority | None = None, clients: Authority | None = None) -> None:
        self.servers = servers or Authority.root("mtls-echo gallery CA")
        self.clients = clients or Authority.root("mtls-echo gallery client CA")
        self._given: dict[tuple[str, str], ValidationInput] = {}
        self._contexts: dict[tuple[str, str, TLSVersion | None], ssl.SSLContext] = {}

    @cached_property
    def client(self) -> Credential:
        """A client's good credential."""
        return self.clients.issue(Request.client("client.test", subject="client"))

    def given(self, exhibit: Exhibit, *names: str) -> ValidationInput:
        """What an exhibit presents under these names, the first of which is asked for."""
        key = exhibit.slug, names[0]
        if key not in self._given:
            self._given[key] = self._make(exhibit, names)
        return self._given[key]

    def context(self, exhibit: Exhibit, version: TLSVersion | None, *names: str) -> ssl.SSLContext:
        """The context of an exhibit's server; ``version`` None: both."""
        key = exhibit.slug, names[0], version
        if key not in self._contexts:
            self._contexts[key] = self._context(exhibit, version, self.given(exhibit, *names))
        return self._contexts[key]

    def trust(
        self, exhibits: Iterable[Exhibit], names: Callable[[Exhibit], Sequence[str]]
    ) -> Trust:
        """What a client of all these has to trust, and the CRLs of good and of revocation.

        Args:
            names: Those under which an exhibit is served.
        """
        found = Trust(())
        for exhibit in exhibits:
            if exhibit.group in ("baseline", "revocation") or self._has_own_root(exhibit):
                trust = self.given(exhibit, *names(exhibit)).trust
                with_crls = exhibit.group != "certificate"
                found |= trust if with_crls else Trust(trust.anchors)
        return found

    def write(self, trust: Trust, folder: Path) -> None:
        """Write what a client is given."""
        replace_file(folder / "ca.crt", trust.pem, PUBLIC)
        replace_file(folder / "crl.pem", trust.crl_pem, PUBLIC)
        replace_file(folder / "client.crt", self.client.certificate_pem, PUBLIC)
        replace_file(folder / "client.key", self.client.key_pem, 0o600)

    @staticmethod
    def _has_own_root(exhibit: Exhibit) -> bool:
        differs = exhibit.flaw.differs if exhibit.flaw is not None else ""
        return differs.startswith("trust anchor") or "CRL" in differs

    def _make(self, exhibit: Exhibit, names: Sequence[str]) -> ValidationInput:
        root = self.servers
        if self._has_own_root(exhibit):
            root = Authority.root(f"mtls-echo gallery CA for {exhibit.slug}")
        request = Request.server(*names, subject=exhibit.slug)
        baseline = exhibit.prepare(root, request)
        inputs = exhibit.flaw.apply(baseline) if exhibit.flaw is not None else baseline.inputs
        if baseline.crls:
            return inputs
        # For a client that checks for revocation: nothing is revoked.
        crls = tuple(each.crl() for each in baseline.authorities)
        return inputs.but(trust=replace(inputs.trust, crls=crls))

    def _context(
        self, exhibit: Exhibit, version: TLSVersion | None, given: ValidationInput
    ) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _VERSIONS[version or "1.2"]
        context.maximum_version = _VERSIONS[version or "1.3"]
        context.set_ciphers(_CIPHERS)
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        given.credential.load_into(context)
        context.set_alpn_protocols([_HTTP])
        if exhibit.configure is not None:
            exhibit.configure(context)
        trust = None
        if context.verify_mode != ssl.CERT_NONE:
            trust = self.clients.trust
            trust.load_into(context)
        # For the diagnosis of a refusal. No protocol is named: nothing is insisted on.
        describe_context(context, ContextInfo(given.credential, trust))
        return context
