"""Events, the files in use, and a site to be asked, without a socket."""

from __future__ import annotations

import ssl
from typing import Any

import msgspec

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_server import events
from mtls_echo_server.context import server_context
from mtls_echo_server.events import Event
from mtls_echo_server.http.site import HTTPResponse, ReceivedRequest
from mtls_echo_server.status.routes import StatusSite
from mtls_echo_server.status.tally import Tally
from mtls_echo_server.status.view import StatusView
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.report import Parameters, Report
from mtls_echo_tls.material.load import Material
from mtls_echo_tls.material.reloader import Reloader
from mtls_echo_tls.path.summaries import summarise
from tests.support.authorities import CLIENTS, SERVERS

TLS = Parameters(
    version="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384", alpn=None, server_name=None, resumed=False
)
ALICE = CLIENTS.issue(Request.client("alice.test", subject="alice"))
SERVER = SERVERS.issue(Request.server("localhost"))


def report(number: int = 0, **changed: Any) -> Report:
    """Of a connection that was fine, unless that is changed."""
    usual: dict[str, Any] = {
        "outcome": "echoed",
        "stage": "established",
        "causes": [],
        "tls": TLS,
        "peer": summarise(ALICE.chain_der),
        "client_random": f"{number:064x}",
    }
    return msgspec.structs.replace(diagnose(Evidence("server")), **{**usual, **changed})


def refusal(number: int = 0, **changed: Any) -> Report:
    usual: dict[str, Any] = {
        "outcome": "refused",
        "rejected_by": "server",
        "stage": "handshake",
        "causes": ["expired"],
        "tls": None,
        "summary": "we refused the client: its certificate has expired",
        "remedy": "renew it",
    }
    return report(number, **{**usual, **changed})


def ended(report: Report, **changed: Any) -> Event:
    usual: dict[str, Any] = {
        "ended": "client" if report.outcome == "echoed" else "failure",
        "version": report.tls.version if report.tls is not None else None,
    }
    given: dict[str, Any] = {**usual, "received": 5, "sent": 5, **changed}
    return events.connection("127.0.0.1:1234", report, **given)


def reloader(credential: Credential = SERVER, trust: Trust = CLIENTS.trust) -> Reloader:
    material = Material(credential, trust, "some files", side="server")

    def build(material: Material) -> ssl.SSLContext:
        assert material.credential is not None
        return server_context(material.credential, material.trust)

    return Reloader(lambda: material, build, first=material)


class Asked:
    """A site and its tally."""

    def __init__(
        self,
        *,
        names: frozenset[str] | None = frozenset(),
        workers: int = 0,
        reloader: Reloader | None = None,
    ) -> None:
        self.tally = Tally()
        connections = None if workers else lambda: 3
        self.view = StatusView(
            self.tally, reloader or _RELOADER, {"listen": ["x"]}, connections, workers=workers
        )
        self.site = StatusSite(self.view, names)

    def get(self, target: str, accept: str = "*/*", host: str = "127.0.0.1:9") -> HTTPResponse:
        request = ReceivedRequest.of("GET", target, {"accept": accept, "host": host})
        rule = self.site(request.path)
        assert rule is not None, target
        route = rule.route("GET")
        assert route is not None
        return route(request)

    def page(self, target: str) -> str:
        return self.get(target, "text/html").body.decode()


_RELOADER = reloader()
