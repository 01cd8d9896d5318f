"""The servers of the chapter about endpoints: four, with certificates from three CAs.

Everything is made on the fly, in one folder that a second terminal can read too. The configuration
has the shape that the Thanos project proposed for its clients of many servers: a list of groups,
each with a ``tls_config`` of its own; one is strict, the endpoints of the other are discovered
from a file.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

import trio

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.files.durable import replace_file
from mtls_echo_server.connection import Limits
from mtls_echo_server.context import server_context
from mtls_echo_server.listeners import listen
from mtls_echo_server.service import Server
from mtls_echo_tls.address import parse_address

# How long a stopping server waits for connections that are busy, in seconds.
_GRACE = 1.0

# The name of the file to give to `mtls-echo endpoints`.
CONFIGURATION = "endpoints.yaml"

_CONFIGURATION = """\
- name: payments
  tls_config:
    cert_file: one/client/tls.crt
    key_file: one/client/tls.key
    ca_file: trusted.crt
    server_name: localhost
  endpoints: ["{first}", "{second}"]
  mode: strict
- name: archive
  tls_config:
    cert_file: two/client/tls.crt
    key_file: two/client/tls.key
    ca_file: two/trust/servers/ca.crt
  endpoints_sd_files:
    - files: ["targets/*.json"]
      refresh_interval: 1s
"""


class DemoServer:
    """A server that keeps its address when it is stopped and started again."""

    def __init__(self, pki: Directory) -> None:
        self._context = server_context(pki.credential("server"), pki.trust("clients"))
        self._reserved = _reserve(0)
        self.address = f"127.0.0.1:{self._reserved.getsockname()[1]}"
        self._server: Server | None = None
        self._closed = trio.Event()

    async def open(self, nursery: trio.Nursery) -> None:
        """Accept connections."""
        self._reserved.close()
        # The servers' events are not needed: this demonstration is about the client.
        limits = Limits(grace_period=_GRACE)
        server = Server(self._context, limits=limits, events=lambda _: None)
        self._server, self._closed = server, trio.Event()
        sockets = listen([self.address])

        async def run(*, task_status: trio.TaskStatus[object]) -> None:
            await server.run(sockets, task_status=task_status)
            self._closed.set()

        await nursery.start(run)

    async def close(self) -> None:
        """Close every connection with close_notify, and the port."""
        if self._server is not None:
            self._server.stop()
            await self._closed.wait()
            self._reserved = _reserve(parse_address(self.address).port)


def _reserve(port: int) -> socket.socket:
    """A socket that is bound, so that the port stays ours, and does not listen."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    return sock


class DemoServers:
    """The folder, which must not exist or be empty, the CAs and the servers.

    Attributes:
        configuration: The file to give to `mtls-echo endpoints`.
        targets: The target file, which the second group's endpoints are discovered from.
        first, second: Servers with certificates of the first CA, listed in the strict group.
        third: A server with a certificate of the second CA, named in the target file.
        untrusted: A server named there too, with a certificate of a CA that is not trusted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.configuration = folder / CONFIGURATION
        self.targets = folder / "targets" / "archive.json"
        one, two, elsewhere = (Directory.create(folder / n) for n in ("one", "two", "elsewhere"))
        self.first, self.second, self.third, self.untrusted = (
            DemoServer(pki) for pki in (one, one, two, elsewhere)
        )
        self._anchors = one.trust("servers").pem
        self.trust_the_right_ca()
        self.write_targets(self.third, self.untrusted)
        text = _CONFIGURATION.format(first=self.first.address, second=self.second.address)
        self.configuration.write_text(text, "utf-8")

    async def open(self, nursery: trio.Nursery) -> None:
        """Start all four servers."""
        for server in (self.first, self.second, self.third, self.untrusted):
            await server.open(nursery)

    def write_targets(self, *servers: DemoServer) -> None:
        """Write the target file."""
        self.targets.parent.mkdir(exist_ok=True)
        addresses = json.dumps([each.address for each in servers])
        contents = f'[{{"targets": {addresses},\n  "labels": {{"shelf": "3"}}}}]\n'.encode()
        replace_file(self.targets, contents, 0o644)

    def trust_another_ca(self) -> None:
        """Replace the first group's CA by one of the same name with another key."""
        self._trust(Authority.root("servers").trust.pem)

    def trust_the_right_ca(self) -> None:
        """Put the first group's CA back."""
        self._trust(self._anchors)

    def _trust(self, anchors: bytes) -> None:
        replace_file(self.folder / "trusted.crt", anchors, 0o644)
