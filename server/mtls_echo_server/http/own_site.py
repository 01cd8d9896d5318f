"""What a client finds on the TLS port: its own handshake, and an echo."""

from __future__ import annotations

import functools
import ssl

from mtls_echo_server.connection import Connection
from mtls_echo_server.http.handshake import Handshake
from mtls_echo_server.http.problems import problem
from mtls_echo_server.http.site import BYTES, HTTPResponse, ReceivedRequest, Rule, Site, get
from mtls_echo_tls.diagrams.full import sequence

# Of the body of POST /echo, in bytes: what a connection that only echoes may have in flight.
MOST_ECHOED = 256 * 1024


def own_site(connection: Connection) -> Site:
    """What answers this connection."""

    @functools.cache  # a handshake does not change, and to read one takes a millisecond
    def handshake() -> Handshake:
        return Handshake(connection)

    def front(request: ReceivedRequest) -> HTTPResponse:
        if not request.wants_html:
            return as_json(request)
        from mtls_echo_server.http.page import handshake_page

        return handshake_page(handshake())

    def as_json(_: ReceivedRequest) -> HTTPResponse:
        return HTTPResponse.json(handshake().value())

    def trace(_: ReceivedRequest) -> HTTPResponse:
        drawn = sequence(handshake().traced())
        return HTTPResponse.text(
            "".join(f"{line}\n" for line in drawn) or "nothing was recorded\n"
        )

    def certificate(request: ReceivedRequest) -> HTTPResponse:
        chain = connection.evidence.peer_chain
        if not chain:
            return problem(404, "you presented no certificate", html=request.wants_html)
        pem = "".join(map(ssl.DER_cert_to_PEM_cert, chain))
        return HTTPResponse(200, "application/x-pem-file", pem.encode())

    rules = {
        "/": get(front),
        "/json": get(as_json),
        "/trace": get(trace),
        "/certificate.pem": get(certificate),
        "/echo": Rule({"POST": _echo}, MOST_ECHOED),
    }
    return rules.get


def denied(reason: str) -> Site:
    """What answers a client that is not authorised, whatever it asks for."""

    def refuse(request: ReceivedRequest) -> HTTPResponse:
        why = f"not authorised: {reason}"
        return problem(403, why, (("Connection", "close"),), html=request.wants_html)

    methods = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT")
    rule = Rule(dict.fromkeys(methods, refuse), MOST_ECHOED)
    return lambda _: rule


def _echo(request: ReceivedRequest) -> HTTPResponse:
    # Not as what it came: another site may have a browser send it, and would have it run here.
    return HTTPResponse(200, BYTES, request.body)
