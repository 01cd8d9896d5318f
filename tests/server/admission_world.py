"""CAs, certificates, CRLs and clients half-way through a handshake."""

from __future__ import annotations

import contextlib
import datetime
import ssl
from typing import NamedTuple

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_server.context import ClientAuth, server_context
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tcp import TCPStream
from tests.support.servers import VERSIONS, Running, echoed

versions = pytest.mark.parametrize(
    "version", [version for _, version in VERSIONS], ids=[name for name, _ in VERSIONS]
)

DAY = datetime.timedelta(days=1)

NOW = datetime.datetime.now(datetime.UTC)

SERVERS = Authority.root("servers")

LOCALHOST = SERVERS.issue(Request.server("localhost"))

CLIENTS, OTHERS = Authority.root("clients"), Authority.root("others")

ISSUING = CLIENTS.intermediate("issuing")

ALICE, BELOW = (
    CLIENTS.issue(Request.client("alice.test")),
    ISSUING.issue(Request.client("alice.test")),
)


def trusting(trust: Trust | None, *, session_tickets: bool = False) -> ssl.SSLContext:
    auth = ClientAuth.REQUIRED if trust else ClientAuth.NONE
    return server_context(LOCALHOST, trust, client_auth=auth, session_tickets=session_tickets)


def listed(trust: Trust, *crls: x509.CertificateRevocationList) -> Trust:
    return Trust(trust.anchors, crls)


def certified(
    certificate: x509.Certificate, issuer: Authority, since: float, until: float
) -> x509.Certificate:
    """The same name and key, valid from and until so many days from now, whatever the issuer's."""
    builder = x509.CertificateBuilder(
        issuer.certificate.subject,
        certificate.subject,
        certificate.public_key(),
        x509.random_serial_number(),
        NOW + since * DAY,
        NOW + until * DAY,
    )
    for extension in certificate.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(issuer.key, hashes.SHA256())


def dated(root: Authority, since: float, until: float) -> x509.Certificate:
    return certified(root.certificate, root, since, until)


def tls_client(
    credential: Credential | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = version
    SERVERS.trust.load_into(context)
    if credential is not None:
        credential.load_into(context)
    return context


class Halfway:
    """A client of the standard library that has sent its ClientHello, and read the answer."""

    def __init__(
        self, tcp: TCPStream, context: ssl.SSLContext, session: ssl.SSLSession | None
    ) -> None:
        self._tcp = tcp
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname="localhost", session=session
        )

    @classmethod
    async def into(
        cls, here: Running, context: ssl.SSLContext, session: ssl.SSLSession | None = None
    ) -> Halfway:
        halfway = cls(await here.tcp(), context, session)
        with pytest.raises(ssl.SSLWantReadError):
            halfway._tls.do_handshake()
        await halfway._tcp.send_all(halfway._outgoing.read())
        await trio.lowlevel.wait_readable(halfway._tcp.socket)
        return halfway

    async def go_on(self) -> bytes:
        """Complete the handshake, say hello, and return the first that comes back."""
        await self._until(self._tls.do_handshake)
        self._tls.write(b"hello")
        answer = await self._until(lambda: self._tls.read(1000))
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        await self._tcp.send_all(self._outgoing.read())
        await self._tcp.aclose()
        assert isinstance(answer, bytes)
        return answer

    async def _until(self, operation: object) -> object:
        assert callable(operation)
        while True:
            try:
                result = operation()
            except ssl.SSLWantReadError:
                await self._tcp.send_all(self._outgoing.read())
                data = await self._tcp.receive_some()
                assert data, "the server has closed"
                self._incoming.write(data)
            else:
                await self._tcp.send_all(self._outgoing.read())
                return result


async def is_served(here: Running, credential: Credential) -> bool:
    """Whether a client that begins now is served."""
    try:
        async with await here.connect(tls_client(credential)) as stream:
            return await echoed(stream) == b"hello"
    except TLSFailure:
        return False


def two_lists(*revoked: x509.Certificate, issued_by_root: bool) -> Trust:
    root = Authority(CLIENTS.certificate, CLIENTS.key)
    issuing = Authority(ISSUING.certificate, ISSUING.key, ISSUING.issuers)
    for certificate in revoked:
        (root if issued_by_root else issuing).revoke(certificate)
    return listed(CLIENTS.trust, root.crl(), issuing.crl())


class Lapsing(NamedTuple):
    """A certification path of which one date comes before the others."""

    trust: Trust
    issuing: Authority
    leaf: x509.Certificate


def lapsing(lapse: str) -> Lapsing:
    """A path of nine days, but for ``certificate``, ``issuing``, ``root`` or ``list``: two."""
    ends = dict.fromkeys(("certificate", "issuing", "root", "list"), 9.0) | {lapse: 2.0}
    root = Authority(dated(CLIENTS, -1, ends["root"]), CLIENTS.key)
    issuing = Authority(
        certified(ISSUING.certificate, root, -1, ends["issuing"]), ISSUING.key, (root.certificate,)
    )
    leaf = certified(BELOW.certificate, issuing, -1, ends["certificate"])
    lists = (authority.crl(ends["list"] * DAY) for authority in (root, issuing))
    return Lapsing(listed(root.trust, *lists), issuing, leaf)
