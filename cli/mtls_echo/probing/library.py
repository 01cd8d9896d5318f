"""Probe a server from a program, and assert in a test of any server that it refuses a client."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from mtls_echo.probing.identities import IDENTITIES
from mtls_echo.probing.issuer import IdentityFactory
from mtls_echo.probing.meanings import check_slugs
from mtls_echo.probing.run import run
from mtls_echo.probing.target import BOTH, ClientAuth, Mode, ProbeTarget
from mtls_echo.probing.verdict import REFUSALS
from mtls_echo_client.http import HTTPRequest
from mtls_echo_tls.address import parse_address, reference_identifier

if TYPE_CHECKING:
    from cryptography import x509

    from mtls_echo.probing.result import Result
    from mtls_echo_pki.certificates.authority import Authority
    from mtls_echo_pki.certificates.credential import Credential
    from mtls_echo_pki.certificates.trust import Trust
    from mtls_echo_pki.flaws.flaw import TLSVersion


async def probe(
    server: str | tuple[str, int],
    *,
    trust: Trust | None = None,
    good: Credential | None = None,
    issuer: Authority | None = None,
    servers_issuer: Authority | None = None,
    other: Credential | None = None,
    crl: Sequence[x509.CertificateRevocationList] = (),
    server_names: Sequence[str] = (),
    mode: Mode | None = None,
    path: str = "/",
    client_auth: ClientAuth = "required",
    versions: Sequence[TLSVersion] = BOTH,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    repeat: int = 3,
    wait: float = 1.0,
    timeout: float = 5.0,  # noqa: ASYNC109  for each of many connections
    pace: float = 1000.0,
) -> Result:
    """Probe a server: does it refuse every client that it must?

    Args:
        server: ``HOST:PORT``, or the two.
        trust: The CAs that the server is verified with; the system's unless given.
        good: The identity that it must serve; one is issued unless given.
        issuer: The CA whose clients it admits, with its key.
        servers_issuer: The CA of its own certificate, with its key, if that is another.
        other: An identity that is valid, and not authorised.
        crl: The CRLs that it reads.
        server_names: The names to ask for; the host unless given.
        mode: How to speak to it; found out unless given.
        path: What to ask for in HTTP.
        client_auth: What is meant.
        versions: Of TLS.
        only, skip: The slugs of cases (``mtls-echo probe --list``).
        repeat: How often a case has to be refused.
        wait: Seconds after a handshake in which a server that says nothing would have refused.
        timeout: Seconds for one connection.
        pace: Connections in a second, at most; the default is for a server of one's own.

    Returns:
        The result; ``findings()`` are the clients that were admitted and must not be.

    Raises:
        ValueError: The address, a name or a case is none; there is nothing to try, or neither an
            identity nor a CA is given.
    """
    host, port = server if isinstance(server, tuple) else parse_address(server)
    if good is None and issuer is None:
        raise ValueError("give the identity that the server must serve, or its CA's key")
    check_slugs((*only, *skip))
    if repeat < 1 or not versions:
        raise ValueError("each case has to be tried at least once, in one version of TLS")
    target = ProbeTarget(
        host=host,
        port=port,
        trust=trust,
        server_names=tuple(map(reference_identifier, server_names or [host])),
        mode=mode,
        request=HTTPRequest(path),
        client_auth=client_auth,
        versions=tuple(versions),
        wait=wait,
        timeout=timeout,
        repeat=repeat,
    )
    made = IdentityFactory(
        good=good, clients=issuer, servers=servers_issuer, other=other, crl=tuple(crl)
    )
    return await run(target, made, only=only, skip=skip, pace=pace)


def assert_refuses(server: str | tuple[str, int], identity: str, **options: Any) -> None:
    """Assert that a server refuses an identity, in a test that need not know of trio.

    The server has to run in another thread or process, as a fixture starts it. It must serve the
    good identity: where it does not, or where nothing was tested, the assertion fails as well.

    Args:
        server: ``HOST:PORT``, or the two.
        identity: A slug, such as ``expired``; see `REFUSABLE`.
        options: Of `probe`; ``trust`` and ``issuer`` are needed. ``repeat`` is 1 unless given.

    Raises:
        AssertionError: The identity was admitted, or it is not clear, or could not be tested.
        ValueError: There is no such identity.
    """
    if identity not in REFUSABLE:
        raise ValueError(f"there is no identity {identity!r}: one of {', '.join(REFUSABLE)}")
    result = trio.run(partial(probe, server, **{"repeat": 1, **options}, only=[identity]))
    if not result.served:
        hows = "\n".join(f"TLS {each.tls}: {each.how}" for each in result.baseline)
        raise AssertionError(f"{result.target} does not serve the good identity\n{hows}")
    wrong = [row for row in result.rows if row.verdict not in REFUSALS]
    if wrong:
        hows = "\n".join(f"{row.title}: {row.verdict}: {row.how}" for row in wrong)
        raise AssertionError(f"{result.target} does not refuse: {wrong[0].differs}\n{hows}")


# The identities that a CA's key is enough for; those that need more are for `probe`.
REFUSABLE: tuple[str, ...] = tuple(
    slug
    for slug in IDENTITIES
    if slug not in ("revoked", "revoked-authority", "servers-ca", "other")
)
