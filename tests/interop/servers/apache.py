"""Apache httpd: refuses in the handshake, or after it where the demand belongs to a location."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.interop.servers.configured import Configured
from tests.interop.servers.running import Files, Server

_VERIFY = {
    "required": "require",
    "optional": "optional",
    "unverified": "optional_no_ca",
    "none": "none",
}

_CONFIGURATION = """
ServerName localhost
PidFile httpd.pid
DefaultRuntimeDir {folder}
DocumentRoot {folder}/www
ErrorLog /dev/stderr
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule authn_core_module /usr/lib/apache2/modules/mod_authn_core.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
StartServers 1
ServerLimit 1
ThreadsPerChild 8
MaxRequestWorkers 8
Listen 127.0.0.1:{port}
SSLSessionCache none
<VirtualHost 127.0.0.1:{port}>
  SSLEngine on
  SSLCertificateFile {files.certificate}
  SSLCertificateKeyFile {files.key}
  SSLCACertificateFile {files.client_ca}
  {crl}
  SSLVerifyClient {verify}
  SSLVerifyDepth 3
  {extra}
</VirtualHost>
"""


def _write_page(folder: Path, _: Files) -> Mapping[str, object]:
    pages = folder / "www"
    pages.mkdir(mode=0o755)
    (pages / "index.html").write_text("hello\n")
    pages.chmod(0o755)
    (pages / "index.html").chmod(0o644)
    return {}


# ``extra`` belongs into the virtual host.
_SETTINGS = Configured(
    file="httpd.conf",
    template=_CONFIGURATION,
    verify=_VERIFY,
    crl="SSLCARevocationFile {}\n  SSLCARevocationCheck chain",
    command=("apache2", "-X", "-d", "{folder}", "-f", "httpd.conf"),
    prepare=_write_page,
)

SERVER = Server("apache", ("apache2",), _SETTINGS.start)
