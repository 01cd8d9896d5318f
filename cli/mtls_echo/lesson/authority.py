"""Chapter 5, one's own CA: two of them made, used, and kept apart."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import trio

from mtls_echo.demo.blocks import (
    Bullets,
    Cell,
    Prose,
    Section,
    Status,
    Table,
    Transcript,
    bad,
    good,
    unmet,
)
from mtls_echo.lesson.stage import stage
from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_server.context import server_context

_LAYOUT = (
    ("authorities/servers", "a CA's certificate and key: it issues servers' certificates"),
    ("authorities/clients", "the other CA's: it issues clients' certificates"),
    ("trust/servers/ca.crt", "the first CA without its key, for clients: whom they trust"),
    ("trust/clients/ca.crt", "the second CA without its key, for servers"),
    ("server/tls.crt, tls.key", "what a server proves itself with"),
    ("client/tls.crt, tls.key", "what a client proves itself with"),
)


_ALICES = "alice's certificate"


async def play(status: Status) -> list[Section]:
    """Make a PKI directory, issue a certificate, and see whom a server with it admits."""
    status("making two CAs")
    with tempfile.TemporaryDirectory(prefix="mtls-echo-") as folder:
        made = await _run(folder, "pki", "init", "pki")
        issued = await _run(folder, "pki", "issue", "pki", "alice", "alice.test", "--client")
        directory = Directory(Path(folder) / "pki")
        missing = tuple(
            place
            for place, _ in _LAYOUT
            if not (Path(folder) / "pki" / place.partition(",")[0]).exists()
        )
        admitted = await _try_three(directory)
    return [
        Section(
            "a CA of one's own",
            (
                Prose(
                    "Public CAs certify that someone controls a name on the internet. For services"
                    " of one's own that is the wrong question: who may connect is decided by the"
                    " organisation, and so it is its own CA. That is a key and a certificate which"
                    " the CA has signed itself. The signature proves nothing to anyone: a root is"
                    " trusted because it was installed as a trust anchor, and for no other reason."
                ),
                made,
            ),
        ),
        Section(
            "what goes where",
            (
                Table(("in pki/", "is"), _LAYOUT),
                Bullets(
                    (
                        "The key of the CA for clients can make a client of any name. It belongs"
                        " on another machine than the server, which needs `trust/` and its own"
                        " `tls.crt` and `tls.key` only.",
                        "There are two CAs, so that a stolen key of a server does not open other"
                        " servers as a client. The usage in its certificate forbids that as well.",
                    )
                ),
            ),
            tuple(f"pki init did not make {place}" for place in missing),
        ),
        Section(
            "whom a server admits",
            (
                Prose("The CA for clients issues one for alice:"),
                issued,
                Prose("A server with this directory, and three clients:"),
                Table(
                    ("a client presents", "and is"),
                    tuple((what, _verdict(what, alert)) for what, alert in admitted),
                ),
                Prose(
                    "A certificate is worth what its issuer is worth to the verifier: anyone can"
                    " make a CA, and with it a certificate for “alice.test”."
                ),
            ),
            unmet(
                {
                    "alice is admitted, and only alice": [alert for _, alert in admitted]
                    == [None, "unknown_ca", "unknown_ca"],
                }
            ),
        ),
    ]


async def _run(folder: str, *arguments: str) -> Transcript:
    done = await trio.run_process(
        [sys.executable, "-m", "mtls_echo", *arguments],
        cwd=folder,
        capture_stdout=True,
        capture_stderr=True,
    )
    return Transcript(f"mtls-echo {' '.join(arguments)}", (done.stdout + done.stderr).decode())


async def _try_three(directory: Directory) -> list[tuple[str, str | None]]:
    """Three certificates, and the alert that each of them got; None if it was admitted."""
    trust = directory.trust("servers")
    impostor = Authority.root("mallory's CA").issue(Request.client("alice.test", subject="alice"))
    presented = {
        _ALICES: directory.credential("alice"),
        "the server's own certificate and key": directory.credential("server"),
        "a certificate for alice.test from another CA": impostor,
    }
    found: list[tuple[str, str | None]] = []
    server = server_context(directory.credential("server"), directory.trust("clients"))
    async with stage(server) as scene:
        for what, credential in presented.items():
            played = await scene.play(client_context(trust, credential))
            alert = played.client.alert
            admitted = played.client.outcome == "echoed"
            found.append((what, None if admitted else alert.name if alert else "no alert"))
    return found


def _verdict(what: str, alert: str | None) -> Cell:
    """What came of it: a refusal of the two that must be refused is good."""
    shown = good if (alert is None) == (what == _ALICES) else bad
    return shown("accepted" if alert is None else f"refused: {alert}")
