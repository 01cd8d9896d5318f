"""The rules of the options of ``mtls-echo connect``: what excludes what, and what they stand for.

Usage errors are told without importing what a connection needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtls_echo.console import CommandError

if TYPE_CHECKING:
    import ssl

    from mtls_echo_tls.address import Address


def forbid_mixing(
    message: str | None,
    handshake: bool,
    wait: float | None,
    http: str | None,
    method: str | None,
    header: tuple[str, ...],
) -> None:
    """Reject options that say different things about what to do once TLS is up."""
    if handshake and http is not None:
        raise CommandError("--handshake and --http exclude each other", "give one of them")
    if message is not None and (handshake or http is not None):
        used = "--handshake" if handshake else "--http"
        raise CommandError(
            f"{used} sends no MESSAGE, and {message!r} is one",
            "an echo is asked for without it" + (", a path is written --http /PATH" * bool(http)),
        )
    if wait is not None and not handshake:
        raise CommandError("--wait has no effect without --handshake", "give both")
    if (method or header) and http is None:
        used = "--method" if method else "--header"
        raise CommandError(f"{used} has no effect without --http", "give both")


def forbid_making(where: Address, *, no_message: bool) -> None:
    """Reject a server elsewhere where there are no files, and none were asked to be made."""
    import os

    from mtls_echo_tls.material.load import default_pki

    if os.environ.get("MTLS_ECHO_PKI") or default_pki().exists():
        return
    typo = f"; to send {where.host!r} as a message: mtls-echo connect localhost:8443 {where.host}"
    raise CommandError(
        f"there are no trust anchors to verify {where} by, and none are made for another machine",
        "give --ca FILE, or --ca system for a certificate of the public web; and, for the server"
        " to know you, --cert FILE --key FILE" + (typo if no_message else ""),
    )


def versions_of(tls: str | None) -> tuple[ssl.TLSVersion, ssl.TLSVersion]:
    """The lowest and the highest version to offer, of which --tls names one."""
    from ssl import TLSVersion

    lowest = TLSVersion.TLSv1_3 if tls == "1.3" else TLSVersion.TLSv1_2
    highest = TLSVersion.TLSv1_2 if tls == "1.2" else TLSVersion.TLSv1_3
    return lowest, highest
