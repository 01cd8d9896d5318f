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

from mtls_echo.attacks.copies import is_signature_over, signature_of, split_at_signature
from mtls_echo.attacks.handmade import Answer, present
from mtls_echo_client.session import Session, connect
from mtls_echo_tls.stream.tls import TLSStream


@dataclass(frozen=True)
class Site:
    """The real server: where it is, its name, and a client's context for it."""

    port: int
    name: str
    context: Callable[[], ssl.SSLContext]


@dataclass(frozen=True)
class Proof:
    """What a client with a certificate gives to a server, and where it is worth something.

    Attributes:
        certificate: DER.
        verify: The CertificateVerify message.
        transcript, cipher: The handshake that it was made for.
    """

    certificate: bytes
    verify: bytes
    transcript: bytes
    cipher: str

    @property
    def is_valid_here(self) -> bool:
        """Whether it is, in that handshake."""
        return self.is_valid_in(self.transcript)

    def is_valid_in(self, transcript: bytes) -> bool:
        """Whether it would be in another handshake of the same suite."""
        return is_signature_over(self.verify, self.certificate, transcript, self.cipher)


@dataclass
class Impostor:
    """An attacker's server: its `serve` is the handler of one that is traced.

    Args:
        site: Where everything is handed on to.
        order: What it has the real server do when the victim has left.
        swap: What it replaces in the victim's words by what, and back again in the answers.

    Attributes:
        heard: What victims said, in the clear.
        answers: What the real server said to the attacker itself.
        proof: The victim's, if it was asked for one.
        verdict: What the real server made of it.
    """

    site: Site
    order: str | None = None
    swap: tuple[str, str] | None = None
    heard: list[str] = field(default_factory=list[str])
    answers: list[str] = field(default_factory=list[str])
    proof: Proof | None = None
    verdict: Answer | None = None

    async def serve(self, victim: TLSStream) -> None:
        """Hand on everything between a victim and the real server."""
        if victim.evidence.peer_chain:
            await self._hand_on_proof(victim)
            return
        async with await connect(
            "127.0.0.1", self.site.port, self.site.context(), server_name=self.site.name
        ) as session:
            await self._hand_on_words(victim, session)
            if self.order is not None:
                await session.send(f"{self.order}\n".encode())
                self.answers += _lines(await session.receive())

    async def _hand_on_proof(self, victim: TLSStream) -> None:
        evidence = victim.evidence
        transcript, verify = split_at_signature(evidence.recorder.messages)
        certificate, cipher = evidence.peer_chain[0], evidence.cipher or ""
        self.proof = Proof(certificate, verify, transcript, cipher)
        signature = signature_of(verify)
        site = self.site
        self.verdict = await present(site.port, site.name, certificate, lambda _: signature)
        self.answers += _lines(self.verdict.data)

    async def _hand_on_words(self, victim: TLSStream, session: Session) -> None:
        async with trio.open_nursery() as nursery:

            async def answer() -> None:
                while True:
                    await victim.send_all(self._altered(await session.receive(), back=True))

            nursery.start_soon(answer)
            while said := await victim.receive_some():
                self.heard += _lines(said)
                await session.send(self._altered(said))
            nursery.cancel_scope.cancel()

    def _altered(self, words: bytes, *, back: bool = False) -> bytes:
        if self.swap is None:
            return words
        said, meant = self.swap[::-1] if back else self.swap
        return words.replace(said.encode(), meant.encode())


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "replace").splitlines()
