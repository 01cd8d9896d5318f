"""A probe of other people's servers: no false alarm on a right one, every hole of a wrong one.

The table says what each product does by each setting. Findings below ``medium`` are what some
stacks take on purpose: Go any key usage, node and Java short RSA keys that the CA itself signed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import trio
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo.probing.issuer import IdentityFactory
from mtls_echo.probing.result import Result
from mtls_echo.probing.run import run
from mtls_echo.probing.target import ProbeTarget
from mtls_echo_client.starttls.negotiation import starttls
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from tests.interop.servers import apache, caddy, haproxy, nginx, ours, redis, s_server, stunnel
from tests.interop.servers.programs import SERVER_GO, SERVER_JAVA, SERVER_NODE
from tests.interop.servers.running import ClientAuth, Files, Server
from tests.interop.servers.starttls import postgres
from tests.support.authorities import CLIENTS, SERVERS

GO = {"wrong-usage-any", "wrong-usage-no-digital-signature", "weak-key"}
JAVA = {"wrong-usage-any", "weak-key", "weak-signature"}
NODE = {"weak-key"}

# What a server that verifies nothing admits: a sample of each kind.
ALL = {"unknown-authority", "self-signed", "expired", "wrong-usage", "servers-ca"}
# nginx and Apache pass over an unknown CA only.
UNKNOWN = {"none", "unknown-authority", "self-signed", "servers-ca"}
SOME = tuple(sorted({"none", "key-not-owned", *ALL}))

# The page of nginx tells the client what was found about it, unless it is told otherwise.
EXTRA = {"nginx": "location = / { return 200 hello; }"}


@dataclass(frozen=True)
class Setting:
    """A product with a setting, and the findings that are there."""

    server: Server
    client_auth: ClientAuth
    findings: set[str] = field(default_factory=set[str])
    low: set[str] = field(default_factory=set[str])

    def __str__(self) -> str:
        return f"{self.server}-{self.client_auth}"


RIGHT = [
    *(Setting(each.SERVER, "required") for each in (nginx, apache, haproxy, stunnel, ours)),
    *(Setting(each.SERVER, "required") for each in (s_server, redis)),
    Setting(haproxy.SERVER_TCP, "required"),
    Setting(caddy.SERVER, "required", low=GO),
    Setting(SERVER_GO, "required", low=GO),
    Setting(SERVER_NODE, "required", low=NODE),
    Setting(SERVER_JAVA, "required", low=JAVA),
]
OPTIONAL = [
    *(Setting(each.SERVER, "optional", {"none"}) for each in (nginx, apache, haproxy, stunnel)),
    *(Setting(each.SERVER, "optional", {"none"}) for each in (ours, caddy, redis)),
    *(Setting(each, "optional", {"none"}) for each in (SERVER_GO, SERVER_JAVA)),
    Setting(haproxy.SERVER_TCP, "optional", {"none"}),
    # It asks its own application, which answers 401.
    Setting(SERVER_NODE, "optional"),
]
UNVERIFIED = [
    *(Setting(each.SERVER, "unverified", UNKNOWN) for each in (nginx, apache)),
    *(Setting(each.SERVER, "unverified", ALL) for each in (haproxy, stunnel, caddy)),
    *(Setting(each, "unverified", ALL) for each in (SERVER_GO, SERVER_JAVA)),
    Setting(haproxy.SERVER_TCP, "unverified", ALL),
    Setting(SERVER_NODE, "unverified", ALL | {"none"}),
]
NONE = [
    *(Setting(each.SERVER, "none", {"none"}) for each in (nginx, haproxy, ours)),
    Setting(SERVER_GO, "none", {"none"}),
]

GOOD = CLIENTS.issue(Request.client("client.test", subject="client"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("probe")
    server = SERVERS.issue(Request.server("localhost", "127.0.0.1"))
    (folder / "s.crt").write_bytes(server.certificate_pem)
    (folder / "s.key").write_bytes(server.key_pem)
    (folder / "c.crt").write_bytes(CLIENTS.trust.pem)
    return Files(folder / "s.crt", folder / "s.key", folder / "c.crt")


def probed(
    server: Server, port: int, only: tuple[str, ...] = (), *, crl: Any = (), **target: Any
) -> Result:
    """The result for a server on this machine, without a second for every handshake."""
    if server.starttls is not None:
        target["prologue"] = partial(starttls, server.starttls)
        target["mode"] = "handshake"
    usual: dict[str, Any] = {
        "repeat": 1,
        "wait": 0.3,
        "timeout": 60.0,
        "server_names": ("localhost",),
    }
    where = ProbeTarget(host="127.0.0.1", port=port, trust=SERVERS.trust, **(usual | target))
    issuer = IdentityFactory(
        good=GOOD, clients=CLIENTS, servers=SERVERS, crl=crl, trusted=CLIENTS.trust.anchors
    )
    return trio.run(lambda: run(where, issuer, only=only, pace=1000))


def admitted(result: Result, severity: Any = "medium") -> set[str]:
    """The cases of findings."""
    return {row.slug for row in result.findings(severity)}


@pytest.mark.parametrize("setting", RIGHT, ids=str)
def test_on_a_server_that_is_right_there_is_no_alarm(setting: Setting, files: Files) -> None:
    setting.server.need()
    extra = EXTRA.get(setting.server.name, "")
    # Java takes a second for every refusal.
    versions = ("1.3",) if setting.server is SERVER_JAVA else ("1.2", "1.3")
    with setting.server.start(files, "required", extra=extra) as port:
        result = probed(setting.server, port, versions=versions)

    assert [each.served for each in result.baseline] == [True] * len(versions)
    assert admitted(result) == set()
    assert admitted(result, "low") == setting.low
    assert not [(row.title, row.how) for row in result.rows if row.verdict == "unclear"]
    assert result.exit_status("medium") == 0
    refused = {row.slug for row in result.rows if row.verdict in ("refused", "refused late")}
    assert {"none", "unknown-authority", "expired", "wrong-usage", "servers-ca"} <= refused
    assert {"sni-none", "sni-case", "split-hello", "plaintext"} <= refused


@pytest.mark.parametrize("setting", [*OPTIONAL, *UNVERIFIED, *NONE], ids=str)
def test_on_a_server_that_is_wrong_every_hole_is_found(setting: Setting, files: Files) -> None:
    setting.server.need()
    extra = EXTRA.get(setting.server.name, "")
    with setting.server.start(files, setting.client_auth, extra=extra) as port:
        result = probed(setting.server, port, SOME, versions=("1.3",))

    assert admitted(result) == setting.findings
    assert result.exit_status("medium") == (1 if setting.findings else 0)
    if setting.client_auth == "none":
        whys = {row.how for row in result.rows if row.verdict == "not tested"}
        assert whys == {"the server asks for no certificate"}


@pytest.mark.parametrize(
    "server", [nginx.SERVER, apache.SERVER, haproxy.SERVER, ours.SERVER], ids=str
)
def test_whether_a_server_reads_its_crl_is_found_out(server: Server, files: Files) -> None:
    server.need()
    authority = Authority.root("clients with a CRL")
    authority.revoke(authority.issue(Request.client("gone.test")))
    crl = authority.crl()
    folder = files.certificate.parent
    (folder / "crl.pem").write_bytes(crl.public_bytes(Encoding.PEM))
    (folder / "crl.ca").write_bytes(authority.trust.pem)
    issuer = IdentityFactory(
        good=authority.issue(Request.client("client.test")), clients=authority, crl=(crl,)
    )

    def revoked(port: int) -> Result:
        where = ProbeTarget(
            host="127.0.0.1", port=port, trust=SERVERS.trust, server_names=("localhost",), repeat=1
        )
        only = ("revoked", "revoked-authority")
        return trio.run(lambda: run(where, issuer, only=only, pace=1000))

    extra = EXTRA.get(server.name, "")
    reading = Files(files.certificate, files.key, folder / "crl.ca", folder / "crl.pem")
    passing = Files(files.certificate, files.key, folder / "crl.ca")
    with server.start(reading, extra=extra) as port:
        assert {row.verdict for row in revoked(port).rows} <= {"refused", "refused late"}
    with server.start(passing, extra=extra) as port:
        assert admitted(revoked(port)) == {"revoked", "revoked-authority"}


def test_a_server_that_names_many_cas_may_trust_the_system_s(files: Files) -> None:
    nginx.SERVER.need()
    public = [Authority.root(f"public {number}") for number in range(25)]
    for count, verdict in ((25, "unclear"), (1, "not tested"), (0, "refused")):
        store = files.certificate.parent / "many.crt"
        store.write_bytes(CLIENTS.trust.pem + b"".join(ca.trust.pem for ca in public[:count]))
        many = Files(files.certificate, files.key, store)
        with nginx.SERVER.start(many, extra=EXTRA["nginx"]) as port:
            result = probed(nginx.SERVER, port, ("ca-names",))

        assert [row.verdict for row in result.rows][:1] == [verdict]


def test_nginx_gives_a_ticket_to_a_client_that_it_refuses_and_refuses_it_again(
    files: Files,
) -> None:
    nginx.SERVER.need()
    with nginx.SERVER.start(files, extra=EXTRA["nginx"]) as port:
        result = probed(nginx.SERVER, port, ("ticket-of-refused",))

    assert {row.verdict for row in result.rows} == {"refused late"}
    assert all(row.how.endswith(", resumed") for row in result.rows)


def test_behind_starttls_a_client_without_a_certificate_is_not_judged_by_tls_alone(
    files: Files,
) -> None:
    """PostgreSQL demands a certificate by pg_hba.conf, of a client that has said who it is."""
    postgres.SERVER.need()
    with postgres.SERVER.start(files) as port:
        result = probed(postgres.SERVER, port, SOME, versions=("1.3",))

    assert admitted(result, "low") == set()
    assert {row.slug for row in result.rows if row.verdict == "unclear"} == {"none"}
    assert {row.slug for row in result.rows if row.verdict == "refused"} == {*SOME} - {"none"}


def test_a_handshake_alone_is_no_proof_where_the_server_speaks_http(files: Files) -> None:
    """nginx completes it with any client, and refuses in its answer."""
    nginx.SERVER.need()
    with nginx.SERVER.start(files, extra=EXTRA["nginx"]) as port:
        result = probed(nginx.SERVER, port, SOME, mode="handshake", versions=("1.3",))

    assert admitted(result, "low") == set()
    assert {row.slug: row.verdict for row in result.rows} == {
        **dict.fromkeys(SOME, "unclear"),
        "key-not-owned": "refused",
    }
    assert "(--http)" in result.rows[0].how
