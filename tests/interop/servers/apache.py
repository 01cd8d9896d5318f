"""Apache httpd: refuses in the handshake, or after it where the demand belongs to a location."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.interop.servers.running import ClientAuth, Files, Server, folder_for, listening

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
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule authn_core_module {modules}/mod_authn_core.so
LoadModule ssl_module {modules}/mod_ssl.so
LoadModule dir_module {modules}/mod_dir.so
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


@contextlib.contextmanager
def start(files: Files, client_auth: ClientAuth = "required", *, extra: str = "") -> Iterator[int]:
    """``extra`` belongs into the virtual host."""
    with folder_for(files) as (folder, mine):
        pages = folder / "www"
        pages.mkdir(mode=0o755)
        (pages / "index.html").write_text("hello\n")
        pages.chmod(0o755)
        (pages / "index.html").chmod(0o644)

        def command(port: int) -> list[str]:
            text = _CONFIGURATION.format(
                port=port,
                folder=folder,
                modules="/usr/lib/apache2/modules",
                files=mine,
                crl=f"SSLCARevocationFile {mine.crl}\n  SSLCARevocationCheck chain"
                if mine.crl
                else "",
                verify=_VERIFY[client_auth],
                extra=extra,
            )
            (folder / "httpd.conf").write_text(text)
            (folder / "httpd.conf").chmod(0o644)
            return ["apache2", "-X", "-d", str(folder), "-f", "httpd.conf"]

        with listening(folder, command) as port:
            yield port


SERVER = Server("apache", ("apache2",), start)
