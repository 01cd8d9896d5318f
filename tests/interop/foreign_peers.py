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

import atexit
import contextlib
import dataclasses
import functools
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Generator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest
from benchmarks.processes import killed_after

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request, Usage
from mtls_echo_tls.alerts import AlertDescription
from tests.support.timing import TIMEOUT

SOURCES = Path(__file__).parent / "peers"

# What a Java server says of an alert that it could not read; see the module.
PLAINTEXT_ALERT_UNREAD = "Insufficient buffer remaining for AEAD cipher fragment (2)"

IN_FLIGHT = 5 * 1024 * 1024

VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


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
        return alert_name(int(match[1]), text)
    if match := re.search(r"Received fatal alert: (\w+)", text):
        return match[1]
    if match := re.search(r"plaintext alert received:.*\b(\w+)$", text):
        return match[1]
    if match := re.search(r"\[SSL: (?:SSLV3|TLSV1|TLSV13)_ALERT_(\w+)\]", text):
        return match[1].lower()
    # Not every error has an alert behind it: reasons below 1000 are OpenSSL's own.
    if (match := re.search(r"error:([0-9A-F]{8}):", text)) and int(match[1], 16) & 0xFFF >= 1000:
        return alert_name((int(match[1], 16) & 0xFFF) - 1000, text)
    if match := re.search(r"\(IN\), TLS alert, [^(]*\((\d+)\)", text):
        return alert_name(int(match[1]) & 0xFF, text)
    return text


def alert_name(number: int, text: str) -> str:
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


def version_option(version: str) -> str:
    return version.lower().replace("v1.", "1_")


def own_files(folder: Path, credential: str, option: str) -> list[str]:
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
    try:
        with killed_after(TIMEOUT, process):
            yield process
    finally:
        process.wait()
        for pipe in (process.stdin, process.stdout):
            # What s_client never read of its input cannot be flushed any more.
            with contextlib.suppress(BrokenPipeError):
                assert pipe is not None
                pipe.close()


def python_context(
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


Program: TypeAlias = Callable[[], Sequence[str]]
"""The words that start a peer; asked for when it is needed, since it may have to be compiled."""


def node(source: str) -> Sequence[str]:
    """A peer in JavaScript."""
    return ("node", str(SOURCES / f"{source}.mjs"))


@functools.cache
def java(name: str) -> Sequence[str]:
    """A peer in Java, compiled once in each test process: that takes longer than to run it."""
    classes = tempfile.mkdtemp(prefix="mtls-echo-classes-")
    atexit.register(shutil.rmtree, classes)
    source = str(SOURCES / f"{name}.java")
    subprocess.run(["javac", "-d", classes, source], check=True, timeout=TIMEOUT)
    # To start quickly is worth more here than to run quickly. Serial: threads of a collector would
    # only take turns with the server on a small machine.
    return ("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", classes, name)


def close_listener(listener: socket.socket) -> None:
    # Wakes the thread in accept(); a close alone does not, on Linux.
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
