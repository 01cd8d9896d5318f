"""The CAs of the tests, made once in each process; a test that needs others makes its own.

Servers and clients have separate ones, as `mtls-echo pki init` makes them.
"""

from __future__ import annotations

from mtls_echo_pki.certificates.authority import Authority

SERVERS = Authority.root("servers")
CLIENTS = Authority.root("clients")
UNTRUSTED_CA = Authority.root("untrusted")
