"""The public names of mtls-echo, and the application behind the command of that name.

Everything that docs/library.md names is imported from here, when it is first used (PEP 562): the
command prints its help without loading trio, cryptography and OpenSSL.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mtls_echo import endpoints as endpoints
    from mtls_echo.exceptions import explain_exception as explain_exception
    from mtls_echo.explanation import Explanation as Explanation
    from mtls_echo.probing.library import REFUSABLE as REFUSABLE
    from mtls_echo.probing.library import assert_refuses as assert_refuses
    from mtls_echo.probing.library import probe as probe
    from mtls_echo_client.check import check as check
    from mtls_echo_client.context import client_context as client_context
    from mtls_echo_client.exit_status import exit_status as exit_status
    from mtls_echo_client.http import HTTPRequest as HTTPRequest
    from mtls_echo_client.session import Session as Session
    from mtls_echo_client.session import connect as connect
    from mtls_echo_pki.certificates.authority import Authority as Authority
    from mtls_echo_pki.certificates.credential import Credential as Credential
    from mtls_echo_pki.certificates.request import (
        KeyType as KeyType,
    )
    from mtls_echo_pki.certificates.request import (
        Request as Request,
    )
    from mtls_echo_pki.certificates.request import (
        Usage as Usage,
    )
    from mtls_echo_pki.certificates.trust import Trust as Trust
    from mtls_echo_pki.directory.directory import Directory as Directory
    from mtls_echo_pki.files.pem import (
        read_credential as read_credential,
    )
    from mtls_echo_pki.files.pem import (
        read_crls as read_crls,
    )
    from mtls_echo_pki.files.pem_blocks import MaterialError as MaterialError
    from mtls_echo_pki.files.staging import DirectoryError as DirectoryError
    from mtls_echo_pki.files.trust_anchors import read_trust as read_trust
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
    from mtls_echo_tls.diagnosis.failure import TLSFailure as TLSFailure
    from mtls_echo_tls.diagnosis.joint import (
        JointReport as JointReport,
    )
    from mtls_echo_tls.diagnosis.joint import (
        join_reports as join_reports,
    )
    from mtls_echo_tls.diagnosis.report import Report as Report
    from mtls_echo_tls.diagnosis.report import describe as describe
    from mtls_echo_tls.material.load import (
        Material as Material,
    )
    from mtls_echo_tls.material.load import (
        client_material as client_material,
    )
    from mtls_echo_tls.material.load import (
        server_material as server_material,
    )
    from mtls_echo_tls.material.reloader import Reloader as Reloader
    from mtls_echo_tls.path.certificates import PeerIdentity as PeerIdentity
    from mtls_echo_tls.stream.tcp import TCPStream as TCPStream
    from mtls_echo_tls.stream.tls import TLSStream as TLSStream

__version__ = "0.1.0"

_NAMES_IN = {
    "mtls_echo.exceptions": "explain_exception",
    "mtls_echo.explanation": "Explanation",
    "mtls_echo.probing.library": "REFUSABLE assert_refuses probe",
    "mtls_echo_client.check": "check",
    "mtls_echo_client.context": "client_context",
    "mtls_echo_client.http": "HTTPRequest",
    "mtls_echo_client.session": "Session connect",
    "mtls_echo_pki.certificates.authority": "Authority",
    "mtls_echo_pki.certificates.credential": "Credential",
    "mtls_echo_pki.certificates.request": "KeyType Request Usage",
    "mtls_echo_pki.certificates.trust": "Trust",
    "mtls_echo_pki.directory.directory": "Directory",
    "mtls_echo_pki.files.pem": "read_credential read_crls",
    "mtls_echo_pki.files.trust_anchors": "read_trust",
    "mtls_echo_pki.files.pem_blocks": "MaterialError",
    "mtls_echo_pki.files.staging": "DirectoryError",
    "mtls_echo_pki.flaws.baseline": "ValidationInput",
    "mtls_echo_pki.flaws.flaw": "Flaw",
    "mtls_echo_pki.flaws.registry": "FLAWS find_flaw",
    "mtls_echo_server.access": "Access",
    "mtls_echo_server.connection": "Connection Limits",
    "mtls_echo_server.context": "ClientAuth server_context",
    "mtls_echo_server.events": "Event",
    "mtls_echo_server.handlers": "echo",
    "mtls_echo_server.listeners": "ListenError",
    "mtls_echo_server.log": "EventLog",
    "mtls_echo_server.service": "Server serve",
    "mtls_echo_tls.address": "Address parse_address",
    "mtls_echo_tls.alerts": "AlertDescription",
    "mtls_echo_tls.diagnosis.diagnose": "diagnose",
    "mtls_echo_tls.diagnosis.evidence": "Evidence",
    "mtls_echo_client.exit_status": "exit_status",
    "mtls_echo_tls.diagnosis.failure": "TLSFailure",
    "mtls_echo_tls.diagnosis.joint": "JointReport join_reports",
    "mtls_echo_tls.diagnosis.report": "Report describe",
    "mtls_echo_tls.material.load": "Material client_material server_material",
    "mtls_echo_tls.material.reloader": "Reloader",
    "mtls_echo_tls.path.certificates": "PeerIdentity",
    "mtls_echo_tls.stream.tcp": "TCPStream",
    "mtls_echo_tls.stream.tls": "TLSStream",
}
_HOME_OF = {name: home for home, names in _NAMES_IN.items() for name in names.split()}

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
