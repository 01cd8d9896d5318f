"""The names of settings and programs in messages for a reader at a command line."""

from __future__ import annotations

from msgspec.structs import replace

from mtls_echo_tls.vocabulary import Vocabulary

# What the library calls `Directory`, `connect` and `serve`.
COMMANDS = {
    "pki_program": "`mtls-echo pki`",
    "show": "`mtls-echo pki show FILE`",
    "renew": "`mtls-echo pki renew DIR NAME --same-key`",
    "rekey": "`mtls-echo pki renew DIR NAME --new-key`",
    "rollover": "with {pki_program}: `mtls-echo pki rollover --help`",
    "issue": "`mtls-echo pki issue DIR NAME IDENTITY --{owner}`",
    "issue_server": "`mtls-echo pki issue DIR NAME HOST --server`",
    "publish_crls": "`mtls-echo pki crl DIR`",
    "client_program": "`mtls-echo connect`",
    "server_program": "`mtls-echo serve`",
}

# The options of `mtls-echo connect` and `mtls-echo serve`.
COMMAND_LINE = Vocabulary(
    pki="--pki",
    cert="--cert",
    key="--key",
    ca="--ca",
    client_ca="--client-ca",
    crl="--crl",
    unlock_file="--password-file",
    unlock="--password-file",
    no_cert="--no-cert",
    server_trust="--ca",
    client_trust="--client-ca",
    server_name="--server-name",
    alpn="--alpn",
    versions="--min-version and --max-version on the server, --tls on the client",
    certificate="--as NAME from a --pki directory, or --cert and --key",
    other_certificate="--as NAME, or --cert and --key",
    server_certificate="--cert FILE --key FILE, or --pki DIR",
    no_client_certificate="--client-auth optional",
    access="--allow-*",
    lenient="--verify default",
    http="--http PATH",
    starttls="--starttls",
    handshake="--handshake",
    file=" FILE",
    directory=" DIR",
    name=" NAME",
    **COMMANDS,
)

# The same where the server is of another make, whose settings have other names.
OTHER_SERVER = replace(
    COMMAND_LINE,
    client_trust="in its settings, a",
    access="rules for who may enter",
    no_client_certificate="a certificate then is optional",
    versions="in the server's settings, --tls on the client",
)
