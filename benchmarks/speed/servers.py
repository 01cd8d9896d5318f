"""The servers under comparison, and how each is started.

`serve` is the command as users run it: every default, the log as JSON into a file. Most peers have
what they have by default, with one CA for both sides: OpenSSL sends two session tickets after each
handshake, say. The peers named "alike" are configured as `serve` is: one CA for each side, no
tickets.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.admission import require_admission
from benchmarks.speed.material import SOURCES, Material, Missing, Workshop, program
from benchmarks.speed.running import Server, StartError, free_port, port_told, start, wait_for

OURS = "serve"
C = "C epoll"
TRIO = "trio.SSLStream"
PROTOCOL = "asyncio.Protocol"
RESUMING = "serve, tickets"
TWO_WORKERS = "serve, 2 workers"
ORDINARY = "ours, ordinary handler"

EVERY_KIND = frozenset({"handshakes", "resumed", "echoes", "idle"})
SETTINGS = "settings"


@dataclass(frozen=True)
class Peer:
    """A server that can be started.

    Attributes:
        name: As in the results.
        launch: Starts it, given where to make files and its certificates.
        pki: Which PKI it and its clients have (`benchmarks.speed.material`).
        kinds: The kinds of work that it takes part in; idle: being weighed; settings: being
            compared with itself.
        full: Whether it is left out of a short run.
        at_once: The most connections that it serves.
        largest: The largest message that it echoes.
        verifies: Whether it is to serve clients with a certificate that it trusts alone.
    """

    name: str
    launch: Callable[[Workshop, Material], Server]
    pki: str = "one"
    kinds: frozenset[str] = EVERY_KIND
    full: bool = False
    at_once: int = 100_000
    largest: int = 1 << 30
    verifies: bool = True

    def material(self, workshop: Workshop) -> Material:
        """The PKI that it and its clients have."""
        return workshop.material(self.pki)

    def start(self, workshop: Workshop) -> Server:
        """Start it; raises `Missing`, and `StartError` if it does not verify its clients."""
        material = self.material(workshop)
        server = self.launch(workshop, material)
        try:
            if self.verifies:
                require_admission(server, material, workshop)
        except BaseException:
            server.close()
            raise
        return server


def _server(workshop: Workshop, *command: str | Path, cores: int = 1) -> Server:
    """A server that says which port it got."""
    output = _file(workshop)
    process = start(command, output, cores=cores)
    return Server([process], port_told(process, output))


def _file(workshop: Workshop) -> Path:
    made = workshop.folder / "output"
    made.mkdir(exist_ok=True)
    return made / f"{len([*made.iterdir()])}.log"


def ours() -> str:
    """The command of this project, beside the interpreter that runs this."""
    return str(Path(sys.executable).with_name("mtls-echo"))


def serve(*options: str, cores: int = 1) -> Callable[[Workshop, Material], Server]:
    """The command of this project with its PKI directory, and with more options than it needs."""

    def launch(workshop: Workshop, material: Material) -> Server:
        started = serve_with("--pki", str(material.folder), *options, cores=cores)
        return started(workshop, material)

    return launch


def serve_with(*options: str, cores: int = 1) -> Callable[[Workshop, Material], Server]:
    """The command of this project with these options."""

    def launch(workshop: Workshop, material: Material) -> Server:
        known = subprocess.run([ours(), "serve", "--help"], capture_output=True, text=True).stdout
        for option in options:
            if option.startswith("--") and option not in known:
                raise Missing(f"serve has no {option}")
        command = (ours(), "serve")
        fixed = ("--listen", "127.0.0.1:0", "--log-format", "json")
        return _server(workshop, *command, *fixed, *options, cores=cores)

    return launch


def _c(*options: str) -> Callable[[Workshop, Material], Server]:
    return lambda workshop, material: _server(
        workshop, workshop.compiled("epoll"), *material.server, *options
    )


def _python(which: str, *options: str) -> Callable[[Workshop, Material], Server]:
    def launch(workshop: Workshop, material: Material) -> Server:
        if which == "uvloop" and importlib.util.find_spec("uvloop") is None:
            raise Missing("uvloop is not installed")
        source = SOURCES / "echo_python.py"
        return _server(workshop, sys.executable, source, which, *material.server, *options)

    return launch


def _s_server(workshop: Workshop, material: Material) -> Server:
    certificate, key, ca = material.server
    files = ("-cert", certificate, "-key", key, "-CAfile", ca)
    verify = ("-Verify", "2", "-verify_return_error", "-rev")
    command = (program("openssl"), "s_server", "-accept", "127.0.0.1:0")
    return _server(workshop, *command, *files, *verify)


def _go(workshop: Workshop, material: Material) -> Server:
    built = workshop.folder / "echo-go"
    if not built.exists():
        command = [program("go"), "build", "-o", str(built), str(SOURCES / "echo.go")]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Missing(f"echo.go cannot be compiled: {done.stderr.strip().splitlines()[-1]}")
    return _server(workshop, built, *material.server)


def _node(workshop: Workshop, material: Material) -> Server:
    return _server(workshop, program("node"), SOURCES / "echo.js", *material.server)


def _proxy(
    name: str, command: Callable[[str, Path], list[str | Path]], configuration: str
) -> Callable[[Workshop, Material], Server]:
    """A proxy that ends TLS, with an echo server behind it; the CPU time of both counts."""

    def launch(workshop: Workshop, material: Material) -> Server:
        found = program(name)
        backend = _server(workshop, workshop.compiled("epoll"), "plain")
        certificate, key, ca = material.server
        both = workshop.folder / f"{name}.pem"
        both.write_bytes(certificate.read_bytes() + key.read_bytes())
        both.chmod(0o600)
        values = {
            "port": free_port(),
            "backend": backend.port,
            "certificate": certificate,
            "key": key,
            "ca": ca,
            "both": both,
            "folder": workshop.folder,
        }
        file = workshop.folder / f"{name}.conf"
        file.write_text(configuration % values)
        output = _file(workshop)
        process = start(command(found, file), output)
        try:
            port = wait_for(process, output, int(str(values["port"])))
        except StartError:
            backend.close()
            raise
        return Server([process, *backend.processes], port)

    return launch


def _nginx(workshop: Workshop, material: Material) -> Server:
    built = subprocess.run([program("nginx"), "-V"], capture_output=True, text=True).stderr
    loaded = [*Path("/etc/nginx/modules-enabled").glob("*stream*.conf")]
    if "--with-stream=dynamic" in built and not loaded:
        raise Missing("nginx's stream module is not installed")
    return _proxy("nginx", lambda it, file: [it, "-c", file], _NGINX)(workshop, material)


_NGINX = """
daemon off;
master_process off;
pid %(folder)s/nginx.pid;
error_log stderr;
include /etc/nginx/modules-enabled/*stream*.conf;
events { worker_connections 4096; }
stream {
    server {
        listen 127.0.0.1:%(port)d ssl;
        ssl_certificate %(certificate)s;
        ssl_certificate_key %(key)s;
        ssl_client_certificate %(ca)s;
        ssl_verify_client on;
        ssl_protocols TLSv1.2 TLSv1.3;
        proxy_pass 127.0.0.1:%(backend)d;
    }
}
"""

_HAPROXY = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 300s
    timeout server 300s
listen echo
    bind 127.0.0.1:%(port)d ssl crt %(both)s ca-file %(ca)s verify required
    server backend 127.0.0.1:%(backend)d
"""

_STUNNEL = """
foreground = yes
pid =
[echo]
accept = 127.0.0.1:%(port)d
connect = 127.0.0.1:%(backend)d
cert = %(both)s
CAfile = %(ca)s
verifyChain = yes
"""


def _setting(name: str, *options: str, pki: str = "two") -> Peer:
    """Ours with another setting."""
    return Peer(
        name,
        serve(*options),
        pki=pki,
        kinds=frozenset({SETTINGS}),
        full=True,
        verifies="none" not in options,
    )


_CONFIGURED = ("tickets=0", "release-buffers")

PEERS = (
    Peer(OURS, serve(), pki="two", kinds=EVERY_KIND - {"resumed"} | {SETTINGS}),
    Peer(RESUMING, serve("--session-tickets", "on"), pki="two", kinds=frozenset({"resumed"})),
    Peer(
        TWO_WORKERS,
        serve("--workers", "2", cores=2),
        pki="two",
        kinds=frozenset({"handshakes"}),
    ),
    Peer(ORDINARY, _python("ordinary", "alike"), pki="two", kinds=frozenset({"echoes"})),
    Peer(C, _c("tickets=2")),
    Peer(f"{C}, alike", _c(*_CONFIGURED), pki="two", kinds=frozenset({"handshakes", "idle"})),
    Peer(TRIO, _python("trio")),
    Peer(f"{TRIO}, alike", _python("trio", "alike"), pki="two", kinds=frozenset({"handshakes"})),
    Peer(PROTOCOL, _python("protocol")),
    Peer("asyncio streams", _python("streams"), full=True),
    Peer("uvloop Protocol", _python("uvloop")),
    Peer("openssl s_server", _s_server, full=True, at_once=1, largest=64),
    Peer("nginx stream", _nginx, full=True),
    Peer("haproxy", _proxy("haproxy", lambda it, file: [it, "-f", file], _HAPROXY), full=True),
    Peer("stunnel", _proxy("stunnel", lambda it, file: [it, file], _STUNNEL), full=True),
    Peer("Go crypto/tls", _go, full=True),
    Peer("node", _node, full=True),
    _setting("plain TLS: --client-auth none", "--client-auth", "none"),
    _setting("--session-tickets on", "--session-tickets", "on"),
    _setting("--trace", "--trace"),
    _setting("one CA for both sides", pki="one"),
    _setting("keys of RSA-2048", pki="rsa2048"),
    _setting("keys of Ed25519", pki="ed25519"),
    _setting("keys of P-384", pki="p384"),
)
