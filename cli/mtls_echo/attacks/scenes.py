"""Play an attack twice, without mutual TLS and with it, and note what came of it.

Nothing is told that did not happen. Each function here runs a bank, a customer and an attacker
over loopback, and notes what the attacker did, what it holds afterwards and what both ends said.
What is expected is the same of each scene: the attack succeeds without, and fails with it.
`mtls_echo.attacks.lesson` has the scenes, in order, and what there is to say about them.
"""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial

import trio

from mtls_echo.attacks.bank import WELCOME, Accounts, Bank, Customer, Visit
from mtls_echo.attacks.copies import present_copy
from mtls_echo.attacks.guessing import Tries, measure_handshake, try_logins
from mtls_echo.attacks.impostor import Impostor, Site
from mtls_echo.attacks.parties import BANK, LOOKALIKE, Parties, RunningServer, running_server
from mtls_echo.attacks.relay import Relay
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_tls.alerts import alert_name
from mtls_echo_tls.slugs import Slug

LOGIN = "alice correct-horse-battery"
ORDER, THEFT = "pay 20 to bob", "pay 900 to mallory"

# Of another site. One of them is used at the bank as well.
LEAKED = ("carol sunflower7", "dave hunter2", "erin trustno1", LOGIN, "frank letmein")

# From the top of the lists of common passwords.
COMMON = ("123456", "password", "qwerty", "111111", "dragon", "letmein", "monkey", "sunshine")
WEAK = COMMON[-1]


@dataclass(frozen=True, kw_only=True)
class Half:
    """One of the two ways in which a scene is played.

    Attributes:
        happened: What the attacker did, and what came of it, line by line.
        holds: What the attacker holds afterwards.
        client: What alice's client reports; empty when she has no part in it.
        log: What the bank's server logged; empty when it cannot know of it.
        causes: Why the bank refused the attacker, by its report.
        succeeded: Whether the attacker got what it came for.
    """

    happened: tuple[str, ...]
    holds: tuple[str, ...]
    client: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    causes: tuple[Slug, ...] = ()
    succeeded: bool


@dataclass(frozen=True, kw_only=True)
class AttackScene:
    """One attack, to be played both ways.

    Attributes:
        title, story: What it is about, before it is played.
        headings: What the two ways are called.
        why: What made the difference.
        cause: What the bank must give as its reason to refuse the attacker; None: it takes no
            refusal.
        play: Plays both ways.
    """

    title: str
    story: str
    headings: tuple[str, str] = ("with a password", "with mutual TLS")
    why: str
    cause: Slug | None
    play: Callable[[Parties], Awaitable[tuple[Half, Half]]]

    def mismatches(self, halves: tuple[Half, Half]) -> list[str]:
        """List what is not as it must be."""
        without, with_it = halves
        found: list[str] = []
        if not without.succeeded:
            found.append(f"{self.headings[0]} the attack failed")
        if with_it.succeeded:
            found.append(f"{self.headings[1]} the attack succeeded")
        if self.cause is not None and self.cause not in with_it.causes:
            found.append(f"the bank does not name {self.cause}: {with_it.causes}")
        return found


# --- eavesdropping -------------------------------------------------------------------------------


async def eavesdrop(parties: Parties) -> tuple[Half, Half]:
    """Alice logs in while mallory listens."""
    bank = _password_bank()
    async with trio.open_nursery() as nursery:
        start = partial(trio.serve_tcp, bank.serve, 0, host="127.0.0.1")
        [listener] = await nursery.start(start)
        relay = Relay(listener.socket.getsockname()[1])
        await nursery.start(relay.run)
        async with await trio.open_tcp_stream("127.0.0.1", relay.port) as stream:
            answers = b""
            for number, line in enumerate((LOGIN, ORDER), start=1):
                await stream.send_all(f"{line}\n".encode())
                while answers.count(b"\n") < number:
                    answers += await stream.receive_some()
        nursery.cancel_scope.cancel()
    passed = b"".join(record.data for record in relay.taps[0].sent_by("client"))
    overheard = passed.decode().splitlines()
    plain = Half(
        happened=("read every byte that passed",),
        holds=_quoted(overheard),
        client=_quoted(answers.decode().splitlines()),
        succeeded=LOGIN in overheard,
    )
    async with (
        running_server(parties.server(parties.bank, mutual=True), Bank().serve) as server,
        trio.open_nursery() as nursery,
    ):
        relay = Relay(server.port)
        await nursery.start(relay.run)
        visit = await Customer(None, (ORDER,)).visit(
            relay.port, parties.client(parties.alice), BANK
        )
        await server.concluded(1)
        nursery.cancel_scope.cancel()
    wire = relay.taps[0].everything
    return plain, Half(
        happened=("read every byte that passed",),
        holds=(
            f"the name {BANK}, which is in the clear" if BANK.encode() in wire else "nothing",
            "bytes that cannot be told from random",
        ),
        client=_said(visit),
        log=tuple(server.log),
        succeeded=any(word.encode() in wire for word in ("alice", ORDER)),
    )


# --- phishing, and an on-path proxy --------------------------------------------------------------


async def phish(parties: Parties) -> tuple[Half, Half]:
    """Alice visits a look-alike that hands on everything."""
    play = partial(_impersonate, parties, parties.lookalike, LOOKALIKE, (), order=THEFT, swap=None)
    return await play(mutual=False), await play(mutual=True)


async def intercept(parties: Parties) -> tuple[Half, Half]:
    """A proxy on the path presents the bank's name, by a CA that alice's device trusts."""
    extra = (parties.mallory.trust,)
    swap = ("to bob", "to mallory")
    play = partial(_impersonate, parties, parties.proxy, BANK, extra, order=None, swap=swap)
    return await play(mutual=False), await play(mutual=True)


async def _impersonate(
    parties: Parties,
    presented: Credential,
    name: str,
    extra: tuple[Trust, ...],
    *,
    order: str | None,
    swap: tuple[str, str] | None,
    mutual: bool,
) -> Half:
    bank = Bank() if mutual else _password_bank()
    async with running_server(parties.server(parties.bank, mutual=mutual), bank.serve) as real:
        impostor = Impostor(Site(real.port, BANK, parties.client), order=order, swap=swap)
        context = parties.server(presented, mutual=mutual)
        async with running_server(context, impostor.serve, trace=True) as fake:
            customer = Customer(None if mutual else LOGIN, (ORDER,))
            trusting = parties.client(parties.alice if mutual else None, *extra)
            visit = await customer.visit(fake.port, trusting, name)
            await real.concluded(1)
    stolen = [done for _, done in bank.orders if "mallory" in done]
    return Half(
        happened=(*_handed_on(impostor, name), *(f"{BANK} did: {done}" for done in stolen)),
        holds=tuple(_loot(impostor, name)),
        client=_said(visit),
        log=tuple(real.log),
        causes=real.causes,
        succeeded=bool(stolen) or any(each.startswith(WELCOME) for each in impostor.answers),
    )


def _handed_on(impostor: Impostor, name: str) -> list[str]:
    """What became of what the victim gave."""
    given = "certificate and a signature" if impostor.proof else "name and password"
    where = "" if name == BANK else f" at {name}"
    done = [f"got alice's {given}{where}", f"sent both on to {BANK}"]
    if impostor.verdict is not None and impostor.verdict.alert is not None:
        number = impostor.verdict.alert
        done.append(f"was refused: {alert_name(number)} ({number})")
    return done


def _loot(impostor: Impostor, name: str) -> list[str]:
    """What the attacker holds; of a signature, what it is good for."""
    proof, verdict = impostor.proof, impostor.verdict
    if proof is None or verdict is None:
        return list(_quoted(impostor.heard))
    theirs = "mallory" if name == BANK else name
    return [
        "alice's certificate, which is not a secret",
        f"a signature by alice: {_verdict(proof.is_valid_here)} in her handshake with {theirs},"
        f" {_verdict(proof.is_valid_in(verdict.transcript))} in mallory's with {BANK}",
    ]


def _verdict(is_valid: bool) -> str:
    return "valid" if is_valid else "not valid"


# --- many tries ----------------------------------------------------------------------------------


async def stuff(parties: Parties) -> tuple[Half, Half]:
    """Mallory tries a list of leaked logins, one of which fits."""
    halves: list[Half] = []
    for mutual in False, True:
        bank = _password_bank()
        tries, server = await _try(parties, bank, LEAKED, mutual=mutual)
        halves.append(
            Half(
                happened=(
                    f"tried {tries.made} of {len(LEAKED)} leaked logins",
                    f"passwords that {BANK} read: {bank.accounts.checks if bank.accounts else 0}",
                ),
                holds=(f'"{tries.found}"',) if tries.found else ("nothing new",),
                log=_counted(server.log),
                causes=server.causes,
                succeeded=tries.found is not None,
            )
        )
    return halves[0], halves[1]


async def guess(parties: Parties) -> tuple[Half, Half]:
    """Mallory tries likely passwords; and with mutual TLS, keys."""
    accounts = Accounts({"alice": WEAK})
    tries, server = await _try(
        parties, Bank(accounts), [f"alice {password}" for password in COMMON], mutual=False
    )
    without = Half(
        happened=(
            f"guessed {tries.made} passwords, the most common first",
            f"a guess costs {BANK} {_ms(accounts.seconds / accounts.checks)} to check",
        ),
        holds=(f'"{tries.found}"',) if tries.found else ("nothing",),
        log=_counted(server.log),
        succeeded=tries.found is not None,
    )
    return without, await _guess_keys(parties)


async def _guess_keys(parties: Parties) -> Half:
    """Present alice's certificate, and sign with as many new keys as there were passwords."""
    copied = parties.alice.chain_der[0]

    def with_new_key() -> ssl.SSLContext:
        context = parties.client()
        present_copy(context, copied)
        return context

    context = parties.server(parties.bank, mutual=True)
    visits: list[Visit] = []
    async with running_server(context, Bank().serve) as server:
        for _ in COMMON:
            visits.append(await Customer(None).visit(server.port, with_new_key(), BANK))
        await server.concluded(len(visits))
    cost = measure_handshake(with_new_key, context, BANK)
    return Half(
        happened=(
            f"presented alice's certificate {len(visits)} times, each with another guessed key",
            f"a guess costs {BANK} {_ms(cost.server)} to refuse",
        ),
        holds=("alice's certificate, which is not a secret",),
        log=_counted(server.log),
        causes=server.causes,
        succeeded=any(visit.is_logged_in for visit in visits),
    )


async def _try(
    parties: Parties, bank: Bank, logins: Iterable[str], *, mutual: bool
) -> tuple[Tries, RunningServer]:
    context = parties.server(parties.bank, mutual=mutual)
    async with running_server(context, bank.serve) as server:
        tries = await try_logins(server.port, parties.client(), BANK, logins)
        await server.concluded(tries.made)
    return tries, server


def _password_bank() -> Bank:
    name, _, password = LOGIN.partition(" ")
    return Bank(Accounts({name: password}))


def _said(visit: Visit) -> tuple[str, ...]:
    return _quoted(visit.answers) if visit.answers else (visit.report.summary,)


def _quoted(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(f'"{line}"' for line in lines)


def _counted(lines: Iterable[str]) -> tuple[str, ...]:
    """Each line once, with how often it came."""
    return tuple(f"{number} times: {line}" for line, number in Counter(lines).items())


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"
