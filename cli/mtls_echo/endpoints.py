"""Many servers, each group with TLS settings of its own: the public names (docs/endpoints.md)."""

from __future__ import annotations

from mtls_echo_client.endpoints.configuration import parse_configuration, read_configuration
from mtls_echo_client.endpoints.errors import EndpointsError
from mtls_echo_client.endpoints.monitor import Monitor
from mtls_echo_client.endpoints.plan import Endpoint, Plan, Problem, TLSSettings
from mtls_echo_client.endpoints.planner import Planner
from mtls_echo_client.endpoints.status import Status

__all__ = [
    "Endpoint",
    "EndpointsError",
    "Monitor",
    "Plan",
    "Planner",
    "Problem",
    "Status",
    "TLSSettings",
    "parse_configuration",
    "read_configuration",
]
