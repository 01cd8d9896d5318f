"""The names of settings, commands and programs in the texts for one kind of reader.

One remedy is read on a command line, beside a configuration file and in a program's log, where the
same setting is called ``--ca``, ``ca_file`` and ``server_trust``. The texts of this package know
none of these: they have places, which a `Vocabulary` completes. An application gives its own to
its contexts (`mtls_echo_tls.diagnosis.context_info.with_vocabulary`) and to whatever reads files
(`mtls_echo_tls.material.load`).
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True):
    """The names that complete a text; as they are here, for a reader who calls the library.

    ``{owner}`` in one of them is the side that owns the fault.
    """

    # What an end is given: arguments, options or keys.
    pki: str = "pki"
    cert: str = "cert"
    key: str = "key"
    ca: str = "ca"
    client_ca: str = "client_ca"
    crl: str = "crl"
    unlock_file: str = "password_file"
    # All the ways to give a password; empty where there are none.
    unlock: str = "password or password_file"
    no_cert: str = "no_cert"
    server_trust: str = "server_trust"
    client_trust: str = "client_trust"
    server_name: str = "server_name"
    alpn: str = "alpn"
    versions: str = "minimum_version and maximum_version of both contexts"
    certificate: str = "credential"
    other_certificate: str = "another credential"
    server_certificate: str = "the credential of server_context"
    no_client_certificate: str = "ClientAuth.OPTIONAL"
    access: str = "Access"
    allow_plaintext: str = "allow_plaintext=True"
    lenient: str = "strict=False"
    http: str = "http of check()"
    handshake: str = "check() without http"
    starttls: str = "starttls"

    # What follows the name of a setting, where its value is shown.
    file: str = ""
    directory: str = ""
    name: str = ""

    # What makes and prints certificates, and what speaks TLS.
    pki_program: str = "`Directory`"
    show: str = "`openssl storeutl -noout -text FILE`"
    renew: str = "`Directory.renew(name, rekey=False)`"
    rekey: str = "`Directory.renew(name, rekey=True)`"
    rollover: str = "with {pki_program}: `Directory.introduce`, `switch` and `retire`"
    issue: str = "`Directory.issue(name, Request.{owner}(identity))`"
    issue_server: str = "`Directory.issue(name, Request.server(host))`"
    publish_crls: str = "`Directory.publish_crls()`"
    client_program: str = "`connect()`"
    server_program: str = "`serve()`"

    def for_other_files(self) -> Vocabulary:
        """The same for a reader whose certificates were not made by this project's programs."""
        its_ca = "the CA of the present one issues it"
        return replace(
            self,
            renew="with the program that made it",
            rekey=its_ca,
            rollover="its operator has both",
            issue=its_ca,
            issue_server=its_ca,
            publish_crls="each CA",
        )

    def complete(self, text: str, **sides: str) -> str:
        """The text, its places filled with these names and with what the sides are called."""
        return text.format_map(_Places(self, sides))


class _Places(dict[str, str]):
    """What the places of a text stand for."""

    def __init__(self, vocabulary: Vocabulary, sides: dict[str, str]) -> None:
        super().__init__(sides)
        self._vocabulary = vocabulary

    def __missing__(self, place: str) -> str:
        name: str = getattr(self._vocabulary, place)
        return name.format_map(self)


API = Vocabulary()
