"""Drivers of TLS peers that are not ours: each says what it saw in its own words.

Five stacks as clients (openssl s_client, curl, node, Java, Python's blocking `ssl`) and four as
servers. A driver interprets nothing: it hands back the text that a user of that program would
read, and `alert_seen` finds the alert in it, or fails to. So a peer that swallows an alert shows
up here as its own error message, never as a pass.

How each spells an alert:

========  ====================================================================================
openssl   ``...:SSL alert number 116``
node      the same, in ``err.message``; ``err.code`` is ``ERR_SSL_TLSV13_ALERT_...``
curl      ``error:0A00045C:``, whose low 12 bits are 1000 + the number (OpenSSL's
          ``SSL_AD_REASON_OFFSET``); with ``-v`` also ``(IN), TLS alert, ... (628)``, whose low
          byte it is
Java      ``Received fatal alert: certificate_required``; a server in TLS 1.3, see below,
          ``Unexpected plaintext alert received: Level: fatal; Alert: unknown_ca`` at best
Python    ``[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED]``
========  ====================================================================================

curl's error text alone is not enough: it answers a *received* certificate_expired in TLS 1.2 with
"SSL certificate verification failed", as if the server's certificate were at fault.

A Java server before JDK 24 cannot read a TLS 1.3 client's refusal of its certificate at all.
OpenSSL sends that alert in clear, as it has no handshake keys for writing yet; JSSE takes the two
bytes for ciphertext and says `PLAINTEXT_ALERT_UNREAD` (JDK-8331682). Any OpenSSL client, s_client
and curl included, gets the same answer, so the tests look at the wire there.

To send 5 MB before the verdict a client must be able to write before it: in TLS 1.3 all of them
can. In TLS 1.2 only one that does False Start (RFC 7918), as browsers did and none of the five
does; the Python peer imitates it, so that the server meets those bytes there too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, TypeAlias

import pytest

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request, Usage
from mtls_echo_tls.alerts import AlertDescription
from tests.support.timing import TIMEOUT

SOURCES = Path(__file__).parent / "peers"

# What a Java server says of an alert that it could not read; see the module.
PLAINTEXT_ALERT_UNREAD = "Insufficient buffer remaining for AEAD cipher fragment (2)"

IN_FLIGHT = 5 * 1024 * 1024

VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


class Case(NamedTuple):
    """What a foreign client does: which version, as whom, how many bytes, how often."""

    version: str
    credential: str
    size: int = 0
    times: int = 1

    @property
    def spec(self) -> str:
        """As the peers under tests/interop/peers read it, and repeat it in each line."""
        return "/".join(map(str, self))


Observed = dict[Case, Counter[str]]


def missing(program: str) -> str | None:
    """Why this peer cannot take part; on CI that is a failure, elsewhere a skip."""
    return None if shutil.which(program) else f"{program} is not installed"


def need(program: str) -> None:
    """Skip, naming the program that is absent; with CI=true, fail."""
    reason = missing(program)
    if reason is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}, and on CI every foreign peer must be")
        pytest.skip(reason)


def alert_seen(text: str) -> str:
    """The alert's name in RFC 8446's spelling; the text itself when it names none."""
    if match := re.search(r"SSL alert number (\d+)", text):
        return _name(int(match[1]), text)
    if match := re.search(r"Received fatal alert: (\w+)", text):
        return match[1]
    if match := re.search(r"plaintext alert received:.*\b(\w+)$", text):
        return match[1]
    if match := re.search(r"\[SSL: (?:SSLV3|TLSV1|TLSV13)_ALERT_(\w+)\]", text):
        return match[1].lower()
    # Not every error has an alert behind it: reasons below 1000 are OpenSSL's own.
    if (match := re.search(r"error:([0-9A-F]{8}):", text)) and int(match[1], 16) & 0xFFF >= 1000:
        return _name((int(match[1], 16) & 0xFFF) - 1000, text)
    if match := re.search(r"\(IN\), TLS alert, [^(]*\((\d+)\)", text):
        return _name(int(match[1]) & 0xFF, text)
    return text


def _name(number: int, text: str) -> str:
    return AlertDescription(number).name if number in set(AlertDescription) else text


def write_material(folder: Path) -> None:
    """One credential per verdict, as PEM and PKCS#12, and both sides' trust anchors."""
    servers, clients, others = (Authority.root(name) for name in ("servers", "clients", "others"))
    past = partial(dataclasses.replace, lifetime=timedelta(days=-1), backdate=timedelta(days=2))
    credentials = {
        "server": servers.issue(Request.server("localhost")),
        "server-of-another-name": servers.issue(Request.server("other.test")),
        "server-of-another-authority": others.issue(Request.server("localhost")),
        "server-expired": servers.issue(past(Request.server("localhost"))),
        "server-with-a-client-certificate": servers.issue(
            dataclasses.replace(Request.server("localhost"), usage=Usage.CLIENT)
        ),
        "server-expired-too": servers.issue(past(Request.server("localhost"))),
        "client": clients.issue(Request.client("client.test")),
        "client-of-another-authority": others.issue(Request.client("client.test")),
        "client-expired": clients.issue(past(Request.client("client.test"))),
        # From the CA that the server trusts, so that only its usage is wrong.
        "client-with-a-server-certificate": clients.issue(Request.server("client.test")),
    }
    for name, credential in credentials.items():
        (folder / f"{name}.crt").write_bytes(credential.certificate_pem)
        (folder / f"{name}.key").write_bytes(credential.key_pem)
        (folder / f"{name}.p12").write_bytes(credential.pkcs12(b"secret", name="me"))
    (folder / "servers.crt").write_bytes(servers.trust.pem)
    (folder / "clients.crt").write_bytes(clients.trust.pem)
    (folder / "in-flight").write_bytes(payload(IN_FLIGHT))


def payload(size: int) -> bytes:
    """That many bytes, in lines: s_client reads a Q at the start of a line as "quit"."""
    line = b"hello\n"
    return (line * (size // len(line) + 1))[:size]


def _own(folder: Path, credential: str, option: str) -> list[str]:
    if credential == "none":
        return []
    certificate, key = folder / f"{credential}.crt", folder / f"{credential}.key"
    return [f"{option}cert", str(certificate), f"{option}key", str(key)]


@contextlib.contextmanager
def started(*command: str) -> Generator[subprocess.Popen[str]]:
    """A process that is killed when the block ends, or at the timeout."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    watchdog = threading.Timer(TIMEOUT, process.kill)
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            # What s_client never read of its input cannot be flushed any more.
            with contextlib.suppress(BrokenPipeError):
                assert pipe is not None
                pipe.close()


# --- clients -------------------------------------------------------------------------------------


def _openssl_once(port: int, folder: Path, case: Case) -> str:
    command = [
        *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-quiet"),
        *("-servername", "localhost", "-verify_return_error"),
        *("-CAfile", str(folder / "servers.crt"), f"-{_short(case.version)}"),
        *_own(folder, case.credential, "-"),
    ]
    if case.credential == "client":
        # The end of its input ends it, once the echo is here.
        with started(*command, "-no_ign_eof") as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("hello\n")
            process.stdin.flush()
            for line in process.stdout:
                if line == "hello\n":
                    return f"echoed {len(line)}"
            return "end of file"
    source = folder / "in-flight" if case.size else Path(os.devnull)
    with source.open("rb") as stdin:
        done = subprocess.run(
            command, stdin=stdin, capture_output=True, timeout=TIMEOUT, check=False
        )
    return done.stderr.decode(errors="replace")


def _short(version: str) -> str:
    return version.lower().replace("v1.", "1_")


def _curl_once(port: int, folder: Path, case: Case) -> str:
    number = case.version.removeprefix("TLSv")
    command = [
        *("curl", "--disable", "--noproxy", "*", "--silent", "--show-error", "--verbose"),
        *("--resolve", f"localhost:{port}:127.0.0.1", f"--tlsv{number}", "--tls-max", number),
        *("--cacert", str(folder / "servers.crt"), *_own(folder, case.credential, "--")),
        f"https://localhost:{port}/",
    ]
    if case.credential == "client":
        # The echo of a request is, to curl, an answer without a header that never ends.
        with started(*command, "--http0.9", "--no-buffer") as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("GET / HTTP/1.1"):
                    return "echoed a request"
            return "end of file"
    if case.size:
        # No Expect: curl would wait for a "100 Continue" before it sends anything.
        command += ["--data-binary", f"@{folder / 'in-flight'}", "--header", "Expect:"]
    done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
    return done.stderr.decode(errors="replace")


def _python_once(port: int, folder: Path, case: Case) -> str:
    context = _python_context(folder, ssl.PROTOCOL_TLS_CLIENT, case.version, case.credential)
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as tcp:
        try:
            if case.size == IN_FLIGHT and case.version == "TLSv1.2":
                return _false_start(tcp, context, case.size)
            with context.wrap_socket(tcp, server_hostname="localhost") as tls:
                # Everything is written before anything is read: what most programs do, and what
                # a server that does not read on after its refusal would never let finish.
                tls.sendall(payload(case.size))
                echoed = 0
                while chunk := tls.recv(65536):
                    echoed += len(chunk)
                    if echoed >= case.size:
                        return f"echoed {echoed}"
                return "end of file"
        except OSError as error:
            return f"{type(error).__name__}: {error}"


def _false_start(tcp: socket.socket, context: ssl.SSLContext, size: int) -> str:
    """Send application data right behind our last flight, before the server has verified it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    flights = 0
    while True:
        try:
            tls.do_handshake()
            return "accepted"
        except ssl.SSLWantReadError:
            if outgoing.pending:
                tcp.sendall(outgoing.read())
                flights += 1
                if flights == 2:  # ClientHello, then Certificate ... Finished
                    for _ in range(0, size, 16_384):
                        # A record as the network shows it; it is never decrypted.
                        tcp.sendall(b"\x17\x03\x03\x40\x00" + bytes(16_384))
            data = tcp.recv(65536)
            if not data:
                return "end of file"
            incoming.write(data)


def _python_context(
    folder: Path, protocol: ssl._SSLMethod, version: str, credential: str
) -> ssl.SSLContext:
    is_server = protocol is ssl.PROTOCOL_TLS_SERVER
    context = ssl.SSLContext(protocol)
    context.minimum_version = context.maximum_version = VERSIONS[version]
    context.load_verify_locations(folder / ("clients.crt" if is_server else "servers.crt"))
    context.verify_mode = ssl.CERT_REQUIRED
    if credential != "none":
        context.load_cert_chain(folder / f"{credential}.crt", folder / f"{credential}.key")
    return context


_OneByOne: TypeAlias = Callable[[int, Path, Case], str]
_StartServer: TypeAlias = Callable[
    [Path, Sequence[str]], contextlib.AbstractContextManager["ForeignServer"]
]


def _each(once: _OneByOne, port: int, folder: Path, cases: Sequence[Case]) -> Observed:
    """One connection at a time each, two at once: each mostly waits for the other end."""
    tasks = [case for case in cases for _ in range(case.times)]
    observed = _nothing_yet(cases)
    with ThreadPoolExecutor(2) as pool:
        texts = pool.map(lambda case: once(port, folder, case), tasks)
        for case, text in zip(tasks, texts, strict=True):
            observed[case][alert_seen(text)] += 1
    return observed


def _batch(command: Sequence[str], port: int, folder: Path, cases: Sequence[Case]) -> Observed:
    """All connections in one process."""
    done = subprocess.run(
        [*command, "client", str(folder), str(port), *(case.spec for case in cases)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    by_spec = {case.spec: case for case in cases}
    observed = _nothing_yet(cases)
    for line in done.stdout.splitlines():
        _, spec, text = line.split("\t")
        observed[by_spec[spec]][alert_seen(text)] += 1
    return observed


def _nothing_yet(cases: Sequence[Case]) -> Observed:
    return {case: Counter() for case in cases}


def observe(peer: str, port: int, folder: Path, cases: Sequence[Case]) -> Observed:
    """Let one foreign client connect, as often as the cases say.

    Args:
        peer: A key of `CLIENTS`.
        port: Where the server listens, on 127.0.0.1.
        folder: From `write_material`.
        cases: What to do.

    Returns:
        For each case how often it saw which alert, ``echoed N``, or which other text.
    """
    return CLIENTS[peer].observe(port, folder, cases)


@dataclass(frozen=True)
class ForeignClient:
    """A program, and how to run it.

    Attributes:
        program: What must be installed.
        once: Runs it for one connection.
        command: Runs it for many; exclusive with ``once``.
    """

    program: str
    once: _OneByOne | None = None
    command: tuple[str, ...] = ()

    def observe(self, port: int, folder: Path, cases: Sequence[Case]) -> Observed:
        """See `observe`."""
        if self.once is None:
            return _batch(self.command, port, folder, cases)
        return _each(self.once, port, folder, cases)


_NODE = ("node", str(SOURCES / "refused.mjs"))
# Serial: threads of a collector would only take turns with the server on a small machine.
_JAVA = ("java", "-XX:+UseSerialGC", str(SOURCES / "Refused.java"))

CLIENTS = {
    "openssl": ForeignClient("openssl", once=_openssl_once),
    "curl": ForeignClient("curl", once=_curl_once),
    "node": ForeignClient("node", command=_NODE),
    "java": ForeignClient("java", command=_JAVA),
    "python": ForeignClient(sys.executable, once=_python_once),
}


# --- servers -------------------------------------------------------------------------------------


class ForeignServer:
    """A running server that is not ours: a port for each case, and what it saw there."""

    def __init__(self) -> None:
        self._ports: dict[str, int] = {}
        self._saw: dict[str, list[str]] = {}
        self._news = threading.Condition()

    def opened(self, case: str, port: int) -> None:
        """It listens."""
        with self._news:
            self._ports[case] = port
            self._news.notify_all()

    def note(self, case: str, text: str) -> None:
        """A connection has ended."""
        with self._news:
            self._saw.setdefault(case, []).append(alert_seen(text))
            self._news.notify_all()

    def port(self, case: str) -> int:
        """Where the server of this case listens."""
        with self._news:
            assert self._news.wait_for(lambda: case in self._ports, TIMEOUT), self._ports
            return self._ports[case]

    def saw(self, case: str, number: int) -> Counter[str]:
        """What it saw of this case, once that is this many connections."""
        with self._news:
            seen = self._saw.setdefault(case, [])
            assert self._news.wait_for(lambda: len(seen) >= number, TIMEOUT), (case, seen)
            return Counter(seen)

    def read(self, output: IO[str]) -> None:
        """Take the lines of a program under tests/interop/peers, to the end."""
        for line in output:
            kind, case, text = line.rstrip("\n").split("\t")
            if kind == "port":
                self.opened(case, int(text))
            else:
                self.note(case, text)

    def read_s_server(self, case: str, output: IO[str]) -> None:
        """Take what ``openssl s_server`` says: nothing of a connection that went well."""
        for line in output:
            if match := re.match(r"ACCEPT .*:(\d+)", line):
                self.opened(case, int(match[1]))
            elif "error:" in line:
                self.note(case, line)


@contextlib.contextmanager
def program_server(
    command: Sequence[str], folder: Path, cases: Sequence[str]
) -> Generator[ForeignServer]:
    """A program under tests/interop/peers as the server of these cases."""
    here = ForeignServer()
    with (
        started(*command, "server", str(folder), *cases) as process,
        _thread_of(here.read, process),
    ):
        yield here


@contextlib.contextmanager
def _s_server(folder: Path, cases: Sequence[str]) -> Generator[ForeignServer]:
    here = ForeignServer()
    with contextlib.ExitStack() as stack:
        for case in cases:
            version, credential = case.split("/")
            process = stack.enter_context(
                started(
                    *("openssl", "s_server", "-accept", "127.0.0.1:0", f"-{_short(version)}"),
                    *_own(folder, credential, "-"),
                    *("-CAfile", str(folder / "clients.crt"), "-Verify", "3"),
                    # Sends every line back to front: a palindrome is echoed.
                    *("-verify_return_error", "-rev"),
                )
            )
            stack.enter_context(_thread_of(partial(here.read_s_server, case), process))
        yield here


@contextlib.contextmanager
def _thread_of(read: Callable[[IO[str]], None], process: subprocess.Popen[str]) -> Generator[None]:
    """Read what a process says until it ends, which is when the block does."""
    assert process.stdout is not None
    thread = threading.Thread(target=read, args=(process.stdout,))
    thread.start()
    try:
        yield
    finally:
        process.kill()
        thread.join()


@contextlib.contextmanager
def _python_server(folder: Path, cases: Sequence[str]) -> Generator[ForeignServer]:
    here = ForeignServer()
    with contextlib.ExitStack() as stack:
        for case in cases:
            version, credential = case.split("/")
            context = _python_context(folder, ssl.PROTOCOL_TLS_SERVER, version, credential)
            listener = socket.create_server(("127.0.0.1", 0))
            thread = threading.Thread(target=_python_serve, args=(here, case, context, listener))
            thread.start()
            stack.callback(thread.join)
            stack.callback(_close_listener, listener)
            here.opened(case, listener.getsockname()[1])
        yield here


def _python_serve(
    here: ForeignServer, case: str, context: ssl.SSLContext, listener: socket.socket
) -> None:
    while True:
        try:
            tcp, _ = listener.accept()
        except OSError:
            return  # closed: the test is over
        tcp.settimeout(TIMEOUT)
        with tcp:
            try:
                with context.wrap_socket(tcp, server_side=True) as tls:
                    echoed = 0
                    while chunk := tls.recv(65536):
                        tls.sendall(chunk)
                        echoed += len(chunk)
                    here.note(case, f"echoed {echoed}")
            except OSError as error:
                here.note(case, f"{type(error).__name__}: {error}")


def _close_listener(listener: socket.socket) -> None:
    # Wakes the thread in accept(); a close alone does not, on Linux.
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()


# Program needed, and how to run it.
SERVERS: dict[str, tuple[str, _StartServer]] = {
    "openssl": ("openssl", _s_server),
    "node": ("node", partial(program_server, _NODE)),
    "java": ("java", partial(program_server, _JAVA)),
    "python": (sys.executable, _python_server),
}


# --- between the two -----------------------------------------------------------------------------


@dataclass
class Relayed:
    """One connection through the relay.

    Attributes:
        ends: In the order in which they happened: ``client closed``, ``client reset``,
            ``server closed`` (its FIN), ``server reset``.
        last_of_client: The last bytes it sent.
        bytes_of_client: How many it sent in all.
    """

    ends: list[str] = field(default_factory=list)
    last_of_client: bytes = b""
    bytes_of_client: int = 0

    def reset_first(self, side: str) -> bool:
        """Whether this side reset the connection before the other had ended it."""
        before = itertools.takewhile(lambda end: end.startswith(side), self.ends)
        return f"{side} reset" in before


class Relay:
    """A TCP relay that records how each side ended, and passes it on.

    The order of ``ends`` is one of cause and effect, not of clocks: a side learns that the other
    has closed only after the relay has written it down.
    """

    def __init__(self, port: int) -> None:
        self.connections: list[Relayed] = []
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        _close_listener(self._listener)
        for thread in self._threads:
            thread.join()

    def wait(self) -> list[Relayed]:
        """The connections, when both sides of each have ended."""
        for thread in self._threads[1:]:
            thread.join(TIMEOUT)
            assert not thread.is_alive(), self.connections
        return self.connections

    def _accept(self) -> None:
        while True:
            try:
                client_side, _ = self._listener.accept()
            except OSError:
                return  # closed: the test is over
            record = Relayed()
            self.connections.append(record)
            thread = threading.Thread(target=self._relay, args=(client_side, record))
            self._threads.append(thread)
            thread.start()

    def _relay(self, client_side: socket.socket, record: Relayed) -> None:
        with client_side, socket.create_connection(("127.0.0.1", self._target)) as server_side:
            for sock in (client_side, server_side):
                sock.settimeout(TIMEOUT)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(
                target=_pump, args=(server_side, client_side, record, "server", "client")
            )
            back.start()
            _pump(client_side, server_side, record, "client", "server")
            back.join()


def _pump(source: socket.socket, sink: socket.socket, record: Relayed, of: str, to: str) -> None:
    while True:
        try:
            data = source.recv(65536)
        except OSError:
            data = b""
            record.ends.append(f"{of} reset")
        else:
            if not data:
                record.ends.append(f"{of} closed")
        if not data:
            # Whichever end it was, the other side learns of it; a reset as an end, no sooner.
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)
            return
        if of == "client":
            record.bytes_of_client += len(data)
            record.last_of_client = (record.last_of_client + data)[-64:]
        try:
            sink.sendall(data)
        except OSError:
            record.ends.append(f"{to} reset")
            # What it sent last may still be unread the other way; what comes from here is lost.
            with contextlib.suppress(OSError):
                while source.recv(65536):
                    pass
            return
