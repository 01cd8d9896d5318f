"""The last page of the lesson: what to type next."""

from __future__ import annotations

from mtls_echo.demo.blocks import Bullets, Prose, Section, Status

_NEXT = Section(
    "now you",
    (
        Prose("What the lesson showed, with servers, clients and certificates of your own:"),
        Bullets(
            (
                "Be both ends: `mtls-echo serve`, and in a second terminal"
                " `mtls-echo connect localhost:8443 hello`; then the same with `--no-cert`.",
                "An error of any TLS program: `mtls-echo explain 'THE ERROR'`.",
                "Each failure, played: `mtls-echo observe expired`; `--list` names them all.",
                "A server of yours: `mtls-echo connect HOST:PORT --handshake` says what it proves"
                " and asks for, `mtls-echo probe HOST:PORT` whether it refuses whom it must.",
                "A client of yours: `mtls-echo gallery judge --client curl`, or any command.",
                "A CA and certificates: `mtls-echo pki init DIR`, and `mtls-echo pki --help` for"
                " what it can do then.",
            )
        ),
        Prose("The documentation has a page about each of them, and about the library."),
    ),
)


async def play(_: Status) -> list[Section]:
    """Nothing is played."""
    return [_NEXT]
