"""The public names of mtls-echo, and the application behind the command of that name.

Everything that docs/library.md names is imported from here, when it is first used (PEP 562): the
command prints its help without loading trio, cryptography and OpenSSL.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mtls_echo import endpoints as endpoints
    from mtls_echo_client.context import client_context as client_context
    from mtls_echo_client.session import Session as Session
    from mtls_echo_client.session import connect as connect
    from mtls_echo_pki.certificates.authority import Authority as Authority
    from mtls_echo_pki.certificates.credential import Credential as Credential
    from mtls_echo_pki.certificates.request import KeyType as KeyType
    from mtls_echo_pki.certificates.request import Request as Request
    from mtls_echo_pki.certificates.request import Usage as Usage
    from mtls_echo_pki.certificates.trust import Trust as Trust
    from mtls_echo_pki.directory.directory import Directory as Directory
    from mtls_echo_pki.files.pem import read_credential as read_credential
    from mtls_echo_pki.files.pem import read_crls as read_crls
    from mtls_echo_pki.files.pem import read_trust as read_trust
    from mtls_echo_pki.files.pem_blocks import MaterialError as MaterialError
    from mtls_echo_pki.files.staging import DirectoryError as DirectoryError
    from mtls_echo_pki.flaws.baseline import ValidationInput as ValidationInput
    from mtls_echo_pki.flaws.flaw import Flaw as Flaw
    from mtls_echo_pki.flaws.registry import FLAWS as FLAWS
    from mtls_echo_pki.flaws.registry import find_flaw as find_flaw
    from mtls_echo_server.access import Access as Access
    from mtls_echo_server.connection import Connection as Connection
    from mtls_echo_server.connection import Limits as Limits
    from mtls_echo_server.context import ClientAuth as ClientAuth
    from mtls_echo_server.context import server_context as server_context
    from mtls_echo_server.events import Event as Event
    from mtls_echo_server.handlers import echo as echo
    from mtls_echo_server.listeners import ListenError as ListenError
    from mtls_echo_server.log import EventLog as EventLog
    from mtls_echo_server.service import Server as Server
    from mtls_echo_server.service import serve as serve
    from mtls_echo_tls.address import Address as Address
    from mtls_echo_tls.address import parse_address as parse_address
    from mtls_echo_tls.alerts import AlertDescription as AlertDescription
    from mtls_echo_tls.diagnosis.diagnose import diagnose as diagnose
    from mtls_echo_tls.diagnosis.evidence import Evidence as Evidence
    from mtls_echo_tls.diagnosis.exit_status import exit_status as exit_status
    from mtls_echo_tls.diagnosis.failure import TLSFailure as TLSFailure
    from mtls_echo_tls.diagnosis.joint import JointReport as JointReport
    from mtls_echo_tls.diagnosis.joint import join_reports as join_reports
    from mtls_echo_tls.diagnosis.report import Report as Report
    from mtls_echo_tls.diagnosis.report import describe as describe
    from mtls_echo_tls.material.load import Material as Material
    from mtls_echo_tls.material.load import client_material as client_material
    from mtls_echo_tls.material.load import server_material as server_material
    from mtls_echo_tls.material.reloader import Reloader as Reloader
    from mtls_echo_tls.path.certificates import PeerIdentity as PeerIdentity
    from mtls_echo_tls.stream.tcp import TCPStream as TCPStream
    from mtls_echo_tls.stream.tls import TLSStream as TLSStream

__version__ = "0.1.0"

_HOME_OF = {
    "Access": "mtls_echo_server.access",
    "Address": "mtls_echo_tls.address",
    "AlertDescription": "mtls_echo_tls.alerts",
    "Authority": "mtls_echo_pki.certificates.authority",
    "ClientAuth": "mtls_echo_server.context",
    "Connection": "mtls_echo_server.connection",
    "Credential": "mtls_echo_pki.certificates.credential",
    "Directory": "mtls_echo_pki.directory.directory",
    "DirectoryError": "mtls_echo_pki.files.staging",
    "Event": "mtls_echo_server.events",
    "EventLog": "mtls_echo_server.log",
    "Evidence": "mtls_echo_tls.diagnosis.evidence",
    "FLAWS": "mtls_echo_pki.flaws.registry",
    "Flaw": "mtls_echo_pki.flaws.flaw",
    "JointReport": "mtls_echo_tls.diagnosis.joint",
    "KeyType": "mtls_echo_pki.certificates.request",
    "Limits": "mtls_echo_server.connection",
    "ListenError": "mtls_echo_server.listeners",
    "Material": "mtls_echo_tls.material.load",
    "MaterialError": "mtls_echo_pki.files.pem_blocks",
    "PeerIdentity": "mtls_echo_tls.path.certificates",
    "Reloader": "mtls_echo_tls.material.reloader",
    "Report": "mtls_echo_tls.diagnosis.report",
    "Request": "mtls_echo_pki.certificates.request",
    "Server": "mtls_echo_server.service",
    "Session": "mtls_echo_client.session",
    "TCPStream": "mtls_echo_tls.stream.tcp",
    "TLSFailure": "mtls_echo_tls.diagnosis.failure",
    "TLSStream": "mtls_echo_tls.stream.tls",
    "Trust": "mtls_echo_pki.certificates.trust",
    "Usage": "mtls_echo_pki.certificates.request",
    "ValidationInput": "mtls_echo_pki.flaws.baseline",
    "client_context": "mtls_echo_client.context",
    "client_material": "mtls_echo_tls.material.load",
    "connect": "mtls_echo_client.session",
    "describe": "mtls_echo_tls.diagnosis.report",
    "diagnose": "mtls_echo_tls.diagnosis.diagnose",
    "echo": "mtls_echo_server.handlers",
    "exit_status": "mtls_echo_tls.diagnosis.exit_status",
    "find_flaw": "mtls_echo_pki.flaws.registry",
    "join_reports": "mtls_echo_tls.diagnosis.joint",
    "parse_address": "mtls_echo_tls.address",
    "read_credential": "mtls_echo_pki.files.pem",
    "read_crls": "mtls_echo_pki.files.pem",
    "read_trust": "mtls_echo_pki.files.pem",
    "serve": "mtls_echo_server.service",
    "server_context": "mtls_echo_server.context",
    "server_material": "mtls_echo_tls.material.load",
}

if not TYPE_CHECKING:  # a type checker reads the imports above
    __all__ = [*_HOME_OF, "endpoints"]

    def __getattr__(name: str) -> object:
        if name == "endpoints":
            return importlib.import_module("mtls_echo.endpoints")
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_HOME_OF[name]), name)

    def __dir__() -> list[str]:
        return [*__all__, "__version__"]
