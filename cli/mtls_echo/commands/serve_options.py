"""The options of `mtls-echo serve`, and its page of help.

Each is checked by itself here; contradictions between them are refused in
`mtls_echo.commands.serve`. Nothing is imported that a page of help does not need.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., object])

_FILE = click.Path(path_type=Path)

EPILOG = """\b
examples:
  mtls-echo serve
      Mutual TLS on 127.0.0.1:8443, with test certificates made on the first run.
      Try it from another terminal: mtls-echo connect localhost:8443 hello
  mtls-echo serve --cert s.crt --key s.key --client-ca ca.crt --listen 0.0.0.0:8443
      Your own certificates, reachable from other machines.
  mtls-echo serve --allow-uri 'spiffe://prod.test/ns/*/sa/web'
      Of the clients with a valid certificate, only these are authorised.
  mtls-echo serve --client-auth none
      Plain TLS: clients are not asked for a certificate.

\b
signals:
  SIGTERM, SIGINT  stop accepting; a connection on which nothing has arrived
                   for a second is closed with close_notify, busy ones have
                   the grace period; a second signal cuts off what is left
  SIGHUP           read the files now, without waiting for --reload-interval,
                   and log what is new

\b
reload:
  Certificate, key, CAs and CRLs are read again every --reload-interval. New
  connections use what is new, complete and no worse than what it replaces;
  otherwise what is in use stays, and the event says which file is wrong and
  why. Open connections go on: --max-connection-age bounds for how long.

\b
exit status:
  0  stopped, every connection finished
  1  stopped, some had to be cut off
  2  usage, configuration, unusable files, or an address that cannot be listened on
"""


def _seconds(text: str) -> float:
    """A finite number of seconds above 0."""
    seconds = _seconds_or_0(text)
    if seconds == 0:
        raise click.BadParameter(
            "must be more than 0: it limits how long an unauthenticated client is waited for"
        )
    return seconds


def _seconds_or_0(text: str) -> float:
    """A finite number of seconds; 0 where that means no limit, or none at all."""
    try:
        seconds = float(text)
    except ValueError as error:
        raise click.BadParameter(f'"{text}" is not a number of seconds') from error
    # Also refuses nan, with which every comparison is false.
    if not 0 <= seconds < math.inf:
        raise click.BadParameter(f'"{text}": must be 0 or more, and finite')
    return seconds


def _allow(kind: str, text: str) -> Callable[[_F], _F]:
    return click.option(f"--allow-{kind}", multiple=True, metavar="VALUE", help=text)


_OPTIONS = (
    click.option(
        "--pki",
        type=_FILE,
        metavar="DIR",
        help="Directory made by `mtls-echo pki init`; made with test certificates if it does not "
        "exist.  [default: $MTLS_ECHO_PKI, or mtls-echo/pki among the user's state files]",
    ),
    click.option(
        "--as", "name", metavar="NAME", help="Credential in that directory.  [default: server]"
    ),
    click.option(
        "--cert",
        "--grpc-server-tls-cert",
        "cert",
        type=_FILE,
        metavar="FILE",
        help="In place of --pki: the certificate, then intermediates, PEM.",
    ),
    click.option(
        "--key",
        "--grpc-server-tls-key",
        "key",
        type=_FILE,
        metavar="FILE",
        help="The private key of the certificate, PEM.",
    ),
    click.option(
        "--client-ca",
        "--grpc-server-tls-client-ca",
        "client_ca",
        type=_FILE,
        metavar="FILE",
        help="CA certificates whose clients are accepted, PEM.",
    ),
    click.option(
        "--crl",
        type=_FILE,
        metavar="FILE",
        help="CRLs, what those CAs have revoked, PEM: one from each CA, the root's included.",
    ),
    click.option(
        "--listen",
        multiple=True,
        default=("127.0.0.1:8443",),
        show_default=True,
        metavar="HOST:PORT",
        help="Where to listen; repeatable. [::1]:8443 for IPv6, port 0 for any free port.",
    ),
    click.option(
        "--client-auth",
        type=click.Choice(["none", "optional", "required"]),
        default="required",
        show_default=True,
        help="Whether clients need a certificate. An invalid one is refused in either case.",
    ),
    _allow(
        "cn", "Authorise this common name. All --allow options are repeatable, and one is enough."
    ),
    _allow("dns", 'Authorise this DNS name; "*" stands for characters of one label.'),
    _allow("uri", 'Authorise this URI; "*" stands for characters of one path segment.'),
    _allow("email", "Authorise this e-mail address."),
    _allow("fingerprint", "Authorise the certificate with this SHA-256 fingerprint."),
    click.option(
        "--min-version",
        "--grpc-server-tls-min-version",
        "min_version",
        type=click.Choice(["1.2", "1.3"]),
        default="1.2",
        show_default=True,
        help="Oldest TLS version.",
    ),
    click.option(
        "--max-version",
        type=click.Choice(["1.2", "1.3"]),
        default="1.3",
        show_default=True,
        help="Newest TLS version.",
    ),
    click.option(
        "--alpn",
        multiple=True,
        metavar="NAME",
        help="Accept this application protocol; repeatable.",
    ),
    click.option(
        "--handshake-timeout",
        type=_seconds,
        metavar="SECONDS",
        default=10,
        show_default=True,
        help="How long a handshake may take.",
    ),
    click.option(
        "--idle-timeout",
        type=_seconds_or_0,
        metavar="SECONDS",
        default=300,
        show_default=True,
        help="Close a connection after so long without data; 0: never.",
    ),
    click.option(
        "--max-connections",
        type=click.IntRange(min=1),
        default=1000,
        show_default=True,
        help="Clients served at once; others wait in the kernel's queue.",
    ),
    click.option(
        "--grace-period",
        type=_seconds_or_0,
        metavar="SECONDS",
        default=30,
        show_default=True,
        help="Time that a stop leaves to busy connections.",
    ),
    click.option(
        "--max-connection-age",
        type=_seconds_or_0,
        metavar="SECONDS",
        default=0,
        show_default=True,
        help="Close at the first pause after so long, so that the client authenticates again; "
        "0: never.",
    ),
    click.option(
        "--reload-interval",
        type=_seconds_or_0,
        metavar="SECONDS",
        default=1,
        show_default=True,
        help="Look for changed certificates, keys, CAs and CRLs so often; 0: only at SIGHUP.",
    ),
    click.option(
        "--session-tickets",
        type=click.Choice(["off", "on"]),
        default="off",
        show_default=True,
        help="Let clients resume sessions without verifying their certificate again.",
    ),
    click.option(
        "--keylog",
        type=_FILE,
        metavar="FILE",
        help="Append every connection's secrets, for Wireshark. They decrypt everything.",
    ),
    click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="The form of the events on standard error.",
    ),
    click.option(
        "--trace",
        is_flag=True,
        help="Draw each connection's handshake, message by message, below its event; with json, "
        "report it.",
    ),
)


def with_options(command: _F) -> _F:
    """Give a command the options, in the order above."""
    return reduce(lambda decorated, option: option(decorated), reversed(_OPTIONS), command)
