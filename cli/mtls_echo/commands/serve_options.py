"""The options of `mtls-echo serve`, and its page of help.

Each is checked by itself here; contradictions between them are refused in
`mtls_echo.commands.serve`. Nothing is imported that a page of help does not need.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import click

from mtls_echo.parameters import (
    Command,
    CredentialName,
    alpn_option,
    choice_option,
    file_option,
    quiet_option,
    verify_option,
)

EPILOG = """\b
examples:
  mtls-echo serve
      Mutual TLS on 127.0.0.1:8443, with test certificates made on the first run.
      Try it from another terminal: mtls-echo connect localhost:8443 hello
  mtls-echo serve --cert s.crt --key s.key --client-ca ca.crt --listen 0.0.0.0:8443
      Your own certificates, reachable from other machines.
  mtls-echo serve --cert s.p12 --password-file s.pass --client-ca ca.crt
      The certificate and its key as PKCS#12, as Windows and Java export them.
  mtls-echo serve --allow-uri 'spiffe://prod.test/ns/*/sa/web'
      Of the clients with a valid certificate, only these are authorised.
  mtls-echo serve --client-auth none
      Plain TLS: clients are not asked for a certificate.

\b
signals:
  SIGTERM, SIGINT  stop accepting; a connection on which nothing has arrived
                   for a second is closed with close_notify, busy ones have
                   the grace period; a second signal cuts off what is left
  SIGHUP           read the files now, before --reload-interval is over, and
                   log what is new
  With --workers, send them to the process that `listening` names in JSON.

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

# The headings that the options are listed under.
SECTIONS = {
    "Certificates": "pki name cert key password_file client_ca crl verify",
    "Who may enter": "client_auth allow_cn allow_dns allow_uri allow_email allow_fingerprint",
    "TLS and protocols": "min_version max_version session_tickets alpn http",
    "Listening": "listen workers status",
    "Limits": "handshake_timeout idle_timeout max_connections max_handshakes"
    " max_handshakes_per_network max_connection_age grace_period reload_interval",
    "Output": "verbose quiet log_format trace keylog",
}


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


def _allow(kind: str, help: str) -> Callable[[Command], Command]:
    return click.option(f"--allow-{kind}", multiple=True, metavar="VALUE", help=help)


def _period(
    name: str, default: int, help: str, *, type: Callable[[str], float] = _seconds_or_0
) -> Callable[[Command], Command]:
    return click.option(
        name, type=type, metavar="SECONDS", default=default, show_default=True, help=help
    )


_OPTIONS = (
    file_option(
        "--pki",
        metavar="DIR",
        help="Directory made by `mtls-echo pki init`, now and with test certificates if it does "
        "not exist; or a mounted Secret (tls.crt, tls.key, ca.crt) or pod certificate.  "
        "[default: $MTLS_ECHO_PKI, or mtls-echo/pki among the user's state files]",
    ),
    click.option(
        *("--as", "name"),
        type=CredentialName(),
        metavar="NAME",
        help="Credential in that directory.  [default: server]",
    ),
    file_option(
        *("--cert", "--grpc-server-tls-cert", "cert"),
        help="In place of --pki: the certificate, then intermediates, PEM, maybe with the key; "
        "or all of it as PKCS#12.",
    ),
    file_option(
        *("--key", "--grpc-server-tls-key", "key"),
        help="The private key of the certificate, PEM, maybe encrypted.",
    ),
    file_option(
        "--password-file",
        help="Its first line opens an encrypted key or PKCS#12 file, and is read again at each "
        "reload.  [default: ask, if there is a terminal]",
    ),
    file_option(
        *("--client-ca", "--grpc-server-tls-client-ca", "client_ca"),
        help="CA certificates whose clients are accepted, PEM; a folder of such files; or "
        "`system`.",
    ),
    file_option(
        "--crl",
        help="CRLs, what those CAs have revoked, PEM: one from each CA, the root's included.",
    ),
    verify_option("strict with --pki, default with files"),
    click.option(
        "--listen",
        multiple=True,
        default=("127.0.0.1:8443",),
        show_default=True,
        metavar="HOST:PORT",
        help="Where to listen; repeatable. [::1]:8443 for IPv6, port 0 for any free port.",
    ),
    choice_option(
        "--client-auth",
        values=("none", "optional", "required"),
        default="required",
        help="Whether clients need a certificate. An invalid one is refused in either case.",
    ),
    _allow(
        "cn", "Authorise this common name. All --allow options are repeatable, and one is enough."
    ),
    _allow("dns", 'Authorise this DNS name; "*" stands for characters of one label.'),
    _allow("uri", 'Authorise this URI; "*" stands for characters of one path segment.'),
    _allow("email", "Authorise this e-mail address."),
    _allow("fingerprint", "Authorise the certificate with this SHA-256 fingerprint."),
    choice_option(
        *("--min-version", "--grpc-server-tls-min-version", "min_version"),
        values=("1.2", "1.3"),
        default="1.2",
        help="Oldest TLS version.",
    ),
    choice_option(
        "--max-version", values=("1.2", "1.3"), default="1.3", help="Newest TLS version."
    ),
    alpn_option(
        "Accept this application protocol; repeatable.  [default: http/1.1, without insisting on"
        " it]"
    ),
    click.option(
        "--no-http",
        "http",
        flag_value=False,
        default=True,
        type=bool,
        help="Echo HTTP requests too, instead of answering a browser or curl with a page about "
        "its own handshake.",
    ),
    _period("--handshake-timeout", 10, "How long a handshake may take.", type=_seconds),
    _period("--idle-timeout", 300, "Close a connection after so long without data; 0: never."),
    click.option(
        "--max-connections",
        type=click.IntRange(min=1),
        default=1000,
        show_default=True,
        help="Clients served at once; others wait in the kernel's queue.",
    ),
    click.option(
        "--max-handshakes",
        type=click.IntRange(min=1),
        help="Unfinished handshakes at once; beyond, the oldest of the network with most is "
        "ended.  [default: as many as --max-connections, 64 at least]",
    ),
    click.option(
        "--max-handshakes-per-network",
        type=click.IntRange(min=1),
        help="Of those, from one network (IPv4 /24, IPv6 /56): raise it where all clients come "
        "through one load balancer.  [default: half; 64 at least, 1000 at most]",
    ),
    _period("--grace-period", 30, "Time that a stop leaves to busy connections."),
    _period(
        "--max-connection-age",
        0,
        "Close at the first pause after so long, so that the client authenticates again; "
        "0: never.",
    ),
    _period(
        "--reload-interval",
        1,
        "Look for changed certificates, keys, CAs and CRLs so often; 0: only at SIGHUP.",
    ),
    choice_option(
        "--session-tickets",
        values=("off", "on"),
        default="off",
        help="Let clients resume sessions without verifying their certificate again.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(min=0),
        default=1,
        show_default=True,
        help="Serve by so many processes, which share what is allowed above; 0: one per core.",
    ),
    click.option(
        "--status",
        metavar="HOST:PORT",
        help="Answer plain HTTP there: /healthz, /readyz, /metrics, /reports, and a page that "
        "shows who was refused and why. For this machine only, unless HOST is another address.",
    ),
    file_option(
        "--keylog",
        help="Append every connection's secrets, for Wireshark. They decrypt everything.",
    ),
    click.option(
        *("-v", "--verbose"),
        is_flag=True,
        help="On a terminal, where an event is one short line, write all of it; elsewhere that is"
        " what is written.",
    ),
    quiet_option(
        "Write nothing of single connections, and of reloads only what fails: that is, where it"
        " listens, warnings, errors and the stop."
    ),
    choice_option(
        "--log-format",
        values=("text", "json"),
        default="text",
        help="The form of the events on standard error.",
    ),
    click.option(
        "--trace",
        is_flag=True,
        help="Draw each connection's handshake, message by message, below its event; with json, "
        "report it.",
    ),
)


def with_options(command: Command) -> Command:
    """Give a command the options, in the order above."""
    return reduce(lambda decorated, option: option(decorated), reversed(_OPTIONS), command)
