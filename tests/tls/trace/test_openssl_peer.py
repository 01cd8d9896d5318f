"""An OpenSSL peer is recognised by its habits; any other is not taken for one."""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_tls.alerts import AlertDescription as A
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.tables import (
    CAUSES_BY_ALERT,
    CAUSES_BY_OPENSSL_ALERT,
    CAUSES_BY_VERIFY_CODE,
)
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from mtls_echo_tls.trace.messages import HANDSHAKE, Message
from mtls_echo_tls.trace.openssl_peer import is_openssl
from mtls_echo_tls.trace.recorder import Recorder
from mtls_echo_tls.trace.shown import AlertSeen
from tests.interop.foreign_peers import java, need, write_material
from tests.support.authorities import SERVERS
from tests.support.timing import TIMEOUT
from tests.support.tls import (
    accepting,
    both_versions,
    client_side,
    converse,
    openssl,
    reports,
    server_side,
    tls_pair,
)

PYTHON = (
    "import socket, ssl, sys; c = ssl.create_default_context(cafile=sys.argv[2]);"
    "c.wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[1]))),"
    " server_hostname='localhost')"
)
NODE = (
    "require('tls').connect({host: '127.0.0.1', port: process.argv[1], servername: 'localhost'})"
)

CLIENT_COMMANDS = {
    "openssl": ["openssl", "s_client", "-connect", "127.0.0.1:PORT"],
    "openssl, 1.2": ["openssl", "s_client", "-tls1_2", "-connect", "localhost:PORT", "-status"],
    "openssl, 1.3": ["openssl", "s_client", "-tls1_3", "-alpn", "h2", "-connect", "[::1]:PORT"],
    "curl": ["curl", "--disable", "--noproxy", "*", "https://127.0.0.1:PORT/"],
    "node": ["node", "-e", NODE, "PORT"],
    "python": [sys.executable, "-c", PYTHON, "PORT", "FOLDER/servers.crt"],
}


def hello_of(command: Sequence[str], folder: Path) -> Message:
    """The ClientHello with which a program connects to us."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        listener.settimeout(TIMEOUT)
        port = listener.getsockname()[1]
        filled = [
            part.replace("PORT", str(port)).replace("FOLDER", str(folder)) for part in command
        ]
        with subprocess.Popen(
            filled, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                connection, _ = listener.accept()
                with connection, connection.makefile("rb") as stream:
                    header = stream.read(5)
                    body = stream.read(int.from_bytes(header[3:]))
            finally:
                process.kill()
    return received(body)


def received(body: bytes) -> Message:
    return Message(0.0, "received", HANDSHAKE, body, protected=False)


def recorded(*bodies: bytes) -> Recorder:
    recorder = Recorder()
    recorder.messages.extend(received(body) for body in bodies)
    return recorder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    write_material(folder)
    return folder


@pytest.mark.parametrize("name", CLIENT_COMMANDS)
def test_clients_on_openssl_are_recognised(name: str, folder: Path) -> None:
    command = CLIENT_COMMANDS[name]
    need(command[0])

    assert is_openssl(recorded(hello_of(command, folder).body))


def test_java_is_not_taken_for_openssl(folder: Path) -> None:
    need("java")
    for version in ("TLSv1.2", "TLSv1.3"):
        command = [*java("Refused"), "client", "FOLDER", "PORT", f"{version}/client/0/1"]
        assert not is_openssl(recorded(hello_of(command, folder).body))


@both_versions
async def test_a_server_on_openssl_is_recognised_when_it_asks_for_a_certificate(
    version: ssl.TLSVersion,
) -> None:
    options = ["-accept", "127.0.0.1:0", "-cert", "server.pem", "-CAfile", "ca.pem"]
    options += ["-Verify", "1", "-verify_return_error"]
    async with openssl("s_server", *options) as (process, _):
        port = await accepting(process)
        sock = socket.create_connection(("127.0.0.1", port))
        stream = TLSStream(TCPStream(sock), client_side(version), server_name="localhost")
        report = await converse(stream)

    # It trusts the servers' authority; we come with a client's.
    assert report.rejected_by == "server"
    assert stream.evidence.peer_is_openssl
    assert any(fact.fact == "server runs" for fact in report.evidence)


# --- others, from recordings ---------------------------------------------------------------------


def extension(kind: int, data: bytes = b"") -> bytes:
    return struct.pack(">HH", kind, len(data)) + data


def vector(codes: str) -> bytes:
    data = bytes.fromhex(codes)
    return struct.pack(">H", len(data)) + data


def handshake(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3) + body


def client_hello(*extensions: bytes) -> bytes:
    data = b"".join(extensions)
    fixed = b"\x03\x03" + bytes(32) + b"\x00" + vector("1301c02b") + b"\x01\x00"
    return handshake(1, fixed + struct.pack(">H", len(data)) + data)


OPENSSL = "040305030603080708080809080a080b080408050806040105010601"
BRAINPOOL = OPENSSL[:20] + "081a081b081c" + OPENSSL[20:]
GO = "0804040308070805080604010501060105030603 02010203"
GNUTLS = "04010809080404030807 0501080a080505030808 0601080b0806060302010203"
JAVA_17 = "040305030603080708080804080508060809080a080b0401050106010402"
BORING = "04030804040105030805050108060601"

TLS12 = "030303010302040205020602"
ML_DSA = "090509060904"

FORMATS, OTHER_FORMATS = extension(11, b"\x03\x00\x01\x02"), extension(11, b"\x01\x00")
EMS, ETM = extension(23), extension(22)


def signatures(codes: str) -> bytes:
    return extension(13, vector(codes))


@pytest.mark.parametrize("codes", [OPENSSL, OPENSSL + "03030301", BRAINPOOL])
def test_newer_releases_and_shorter_lists_are_recognised(codes: str) -> None:
    hello = client_hello(FORMATS, extension(35), ETM, EMS, signatures(codes), extension(43))
    assert is_openssl(recorded(hello))


def test_ml_dsa_first_marks_a_release_that_offers_one_point_format() -> None:
    def hello(formats: bytes, codes: str) -> Recorder:
        return recorded(client_hello(formats, extension(35), ETM, EMS, signatures(codes)))

    assert is_openssl(hello(OTHER_FORMATS, ML_DSA + BRAINPOOL))
    assert not is_openssl(hello(FORMATS, ML_DSA + BRAINPOOL))
    assert not is_openssl(hello(OTHER_FORMATS, ML_DSA[::-1] + BRAINPOOL))
    assert not is_openssl(hello(OTHER_FORMATS, ML_DSA + GO))


def test_a_client_of_3_6_that_offers_tls_1_2_alone_is_recognised() -> None:
    hello = client_hello(OTHER_FORMATS, extension(35), ETM, EMS, signatures(OPENSSL + TLS12))
    assert is_openssl(recorded(hello))
    assert not is_openssl(
        recorded(client_hello(OTHER_FORMATS, extension(35), EMS, signatures(OPENSSL + TLS12)))
    )


@pytest.mark.parametrize(
    "extensions",
    [
        pytest.param((OTHER_FORMATS, signatures(GO), extension(43)), id="Go"),
        pytest.param((OTHER_FORMATS, signatures(GNUTLS), ETM, EMS), id="GnuTLS"),
        pytest.param((OTHER_FORMATS, signatures(JAVA_17), EMS), id="Java"),
        pytest.param((EMS, OTHER_FORMATS, signatures(BORING)), id="BoringSSL"),
        pytest.param((FORMATS, ETM, EMS, signatures(GO)), id="other signatures"),
        pytest.param((OTHER_FORMATS, ETM, EMS, signatures(OPENSSL)), id="one format"),
        pytest.param((FORMATS, EMS, signatures(OPENSSL)), id="no encrypt_then_mac"),
        pytest.param((EMS, ETM, FORMATS, signatures(OPENSSL)), id="another order"),
        pytest.param((FORMATS, ETM, EMS, signatures(OPENSSL), FORMATS), id="one twice"),
        pytest.param((FORMATS, extension(0x0A0A), ETM, EMS, signatures(OPENSSL)), id="GREASE"),
        pytest.param((), id="nothing"),
    ],
)
def test_one_mark_that_differs_makes_it_not_openssl(extensions: tuple[bytes, ...]) -> None:
    assert not is_openssl(recorded(client_hello(*extensions)))


def request13(*extensions: bytes) -> bytes:
    data = b"".join(extensions)
    return handshake(13, b"\x00" + struct.pack(">H", len(data)) + data)


def server_hello(*extensions: bytes) -> bytes:
    data = b"".join(extensions)
    fixed = b"\x03\x03" + bytes(range(32)) + b"\x00" + b"\xc0\x2b\x00"
    return handshake(2, fixed + struct.pack(">H", len(data)) + data)


ENCRYPTED = handshake(8, b"\x00\x00")


@pytest.mark.parametrize(
    ("messages", "recognised"),
    [
        pytest.param((ENCRYPTED, request13(signatures(OPENSSL), extension(47))), True, id="1.3"),
        pytest.param(
            (ENCRYPTED, request13(signatures(ML_DSA + BRAINPOOL), extension(27))), True, id="3.6"
        ),
        pytest.param(
            (ENCRYPTED, request13(extension(5), extension(18), signatures(GO))), False, id="Go"
        ),
        pytest.param(
            (ENCRYPTED, request13(extension(47), signatures(OPENSSL))), False, id="other order"
        ),
        pytest.param((ENCRYPTED,), False, id="did not ask"),
        pytest.param((handshake(13, b"\x01\x40" + vector(OPENSSL)),), False, id="1.2, formats"),
        pytest.param((handshake(13, b"\x01\x40" + vector(OPENSSL + TLS12)),), True, id="3.6, 1.2"),
        pytest.param((handshake(13, b"\x09\x40"),), False, id="malformed"),
    ],
)
def test_servers_are_distinguished_by_what_they_ask(
    messages: tuple[bytes, ...], recognised: bool
) -> None:
    answer = server_hello(OTHER_FORMATS, EMS)
    assert is_openssl(recorded(answer, *messages)) is recognised


@given(st.lists(st.tuples(st.integers(0, 30), st.binary(max_size=120)), max_size=4))
def test_malformed_messages_make_no_peer_openssl(messages: list[tuple[int, bytes]]) -> None:
    assert not is_openssl(recorded(*(bytes([kind]) + body for kind, body in messages)))


# --- what it is good for -------------------------------------------------------------------------


def test_an_alert_of_openssl_means_what_its_own_verdicts_do() -> None:
    for alert, causes in CAUSES_BY_OPENSSL_ALERT.items():
        assert set(causes) <= {*CAUSES_BY_ALERT[alert], "not-conforming"}
        assert len(set(causes)) == len(causes)
    told = {cause for causes in CAUSES_BY_OPENSSL_ALERT.values() for cause in causes}
    assert {cause for causes in CAUSES_BY_VERIFY_CODE.values() for cause in causes} <= told
    assert "unknown-authority" not in CAUSES_BY_OPENSSL_ALERT[A.bad_certificate]
    assert "unknown-authority" not in CAUSES_BY_OPENSSL_ALERT[A.certificate_unknown]


def refused_server(*, openssl: bool, names: Sequence[str], sni: str | None = None) -> Evidence:
    """A server of ours whose certificate a client has refused with bad_certificate."""
    credential = SERVERS.issue(Request.server(*names))
    return Evidence(
        "server",
        sni,
        stage="handshake",
        failed=True,
        hello_answered=True,
        alert=AlertSeen(A.bad_certificate, sent=False, protected=False),
        own_chain=credential.chain_der,
        client_random="00" * 32,
        peer_is_openssl=openssl,
    )


def test_a_client_that_names_no_host_asked_for_an_address() -> None:
    without = diagnose(refused_server(openssl=True, names=["localhost"]))
    assert without.causes == ["wrong-name"]
    assert any("no address" in fact.value for fact in without.evidence)
    assert diagnose(refused_server(openssl=True, names=["spiffe://a/b"])).causes == ["no-san"]


@pytest.mark.parametrize(
    ("openssl", "names", "sni"),
    [
        pytest.param(False, ["localhost"], None, id="unknown stack"),
        pytest.param(True, ["localhost", "127.0.0.1"], None, id="an address is named"),
        pytest.param(True, ["localhost"], "localhost", id="the name is named"),
    ],
)
def test_and_otherwise_nothing_is_sure(
    openssl: bool, names: Sequence[str], sni: str | None
) -> None:
    causes = diagnose(refused_server(openssl=openssl, names=names, sni=sni)).causes
    assert len(causes) > 1
    assert ("wrong-name" in causes) is (sni is None)


@both_versions
async def test_between_two_of_ours_an_alert_has_its_narrow_meaning(
    version: ssl.TLSVersion,
) -> None:
    root = Authority.root("another")
    one, other = await reports(
        *tls_pair(client_side(version, root.issue(Request.client("a.test"))), server_side(version))
    )
    assert any(fact.fact == "server runs" for fact in one.evidence)
    assert not any(fact.fact == "client runs" for fact in other.evidence)
    assert "self-signed" not in one.causes


def test_a_recording_that_is_not_there_leaves_the_wide_meaning() -> None:
    assert not is_openssl(Recorder())
