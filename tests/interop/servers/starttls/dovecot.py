"""Dovecot: IMAP and POP3, where TLS begins behind STARTTLS and STLS.

It completes the handshake whatever the client presents, and refuses to log it in: nothing of that
can be seen before a password is tried.
"""

from __future__ import annotations

import contextlib
import functools
import grp
import pwd
from collections.abc import Iterator

from tests.interop.servers.running import ClientAuth, Files, Server, folder_for, listening

_CONFIGURATION = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = /dev/stderr
protocols = {protocol}
listen = 127.0.0.1
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
ssl = yes
ssl_cert = <{files.certificate}
ssl_key = <{files.key}
ssl_min_protocol = TLSv1.2
{ca}
{verify}
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={folder}/home
}}
service {protocol}-login {{
  chroot =
  inet_listener {protocol} {{
    port = {port}
  }}
  inet_listener {protocol}s {{
    port = 0
  }}
}}
service anvil {{
  chroot =
}}
{extra}
"""


@contextlib.contextmanager
def start(
    files: Files,
    client_auth: ClientAuth = "required",
    *,
    extra: str = "",
    protocol: str = "imap",
) -> Iterator[int]:
    """``extra`` are further settings."""
    with folder_for(files) as (folder, mine):
        owner = pwd.getpwuid(folder.stat().st_uid)

        def command(port: int) -> list[str]:
            asks = client_auth != "none"
            text = _CONFIGURATION.format(
                port=port,
                protocol=protocol,
                folder=folder,
                user=owner.pw_name,
                group=grp.getgrgid(folder.stat().st_gid).gr_name,
                files=mine,
                ca=f"ssl_ca = <{mine.client_ca}" if asks else "",
                verify="ssl_verify_client_cert = yes\nssl_require_crl = no" if asks else "",
                extra="auth_ssl_require_client_cert = yes\n" * (client_auth == "required") + extra,
            )
            (folder / "dovecot.conf").write_text(text)
            (folder / "dovecot.conf").chmod(0o644)
            return ["dovecot", "-F", "-c", str(folder / "dovecot.conf")]

        with listening(folder, command, as_root=True) as port:
            yield port


SERVER_IMAP = Server("dovecot imap", ("dovecot",), start, "nothing", "imap")
SERVER_POP3 = Server(
    "dovecot pop3", ("dovecot",), functools.partial(start, protocol="pop3"), "nothing", "pop3"
)
