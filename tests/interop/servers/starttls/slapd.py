"""OpenLDAP's slapd: TLS begins behind an extended operation."""

from __future__ import annotations

from tests.interop.servers.configured import Configured
from tests.interop.servers.running import Server

_VERIFY = {"required": "demand", "optional": "try", "unverified": "allow", "none": "never"}

_CONFIGURATION = """
pidfile {folder}/pid
TLSCertificateFile {files.certificate}
TLSCertificateKeyFile {files.key}
TLSCACertificateFile {files.client_ca}
TLSVerifyClient {verify}
{extra}
database config
"""

# ``extra`` belongs before the databases, of which there is none.
_SETTINGS = Configured(
    file="slapd.conf",
    template=_CONFIGURATION,
    verify=_VERIFY,
    # With -d it stays in the foreground.
    command=("slapd", "-f", "slapd.conf", "-h", "ldap://127.0.0.1:{port}/", "-d", "0"),
)

SERVER = Server("slapd", ("slapd",), _SETTINGS.start, "nothing", "ldap")
