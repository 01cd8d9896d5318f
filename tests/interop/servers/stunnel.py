"""stunnel, before a server that echoes: what becomes of a client is decided in the handshake."""

from __future__ import annotations

from tests.interop.servers.configured import Configured
from tests.interop.servers.running import Server

_VERIFY = {
    "required": "verifyChain = yes\nrequireCert = yes",
    "optional": "verifyChain = yes\nrequireCert = no",
    "unverified": "requireCert = yes\nverifyChain = no",
    "none": "verifyChain = no",
}

_CONFIGURATION = """
foreground = yes
pid =
debug = err
syslog = no
[echo]
accept = 127.0.0.1:{port}
exec = /bin/cat
execArgs = cat
cert = {files.certificate}
key = {files.key}
CAfile = {files.client_ca}
{crl}
{verify}
sslVersionMin = TLSv1.2
{extra}
"""

# ``extra`` belongs into the service.
_SETTINGS = Configured(
    file="stunnel.conf",
    template=_CONFIGURATION,
    verify=_VERIFY,
    crl="CRLfile = {}",
    command=("stunnel", "{folder}/stunnel.conf"),
)

SERVER = Server("stunnel", ("stunnel",), _SETTINGS.start, "echo")
