"""Exim: SMTP, where TLS begins behind STARTTLS."""

from __future__ import annotations

from tests.interop.servers.configured import Configured
from tests.interop.servers.running import Server

_VERIFY = {
    "required": "tls_verify_certificates = {files.client_ca}\ntls_verify_hosts = *",
    "optional": "tls_verify_certificates = {files.client_ca}\ntls_try_verify_hosts = *",
    "none": "",
}

# Nothing is delivered and nobody is looked up: a conversation of its own ends with TLS.
_CONFIGURATION = """
primary_hostname = mail.test
spool_directory = {folder}/spool
log_file_path = {folder}/%slog
exim_user = {user}
exim_group = {user}
keep_environment =
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
host_lookup =
rfc1413_query_timeout = 0s
tls_certificate = {files.certificate}
tls_privatekey = {files.key}
{crl}
{verify}
acl_smtp_rcpt = deny
{extra}
"""

# ``extra`` belongs into the main section.
_SETTINGS = Configured(
    file="exim.conf",
    template=_CONFIGURATION,
    verify=_VERIFY,
    crl="tls_crl = {}",
    command=("exim4", "-C", "{folder}/exim.conf", "-bdf"),
    prepare=lambda folder, _: {"user": folder.stat().st_uid},
)

SERVER = Server("exim", ("exim4",), _SETTINGS.start, "nothing", "smtp")
