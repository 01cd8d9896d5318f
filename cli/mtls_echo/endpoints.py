"""The public names for many servers, each group with its own TLS settings (docs/endpoints.md)."""

from __future__ import annotations

from mtls_echo_client.endpoints.configuration.errors import EndpointsError
from mtls_echo_client.endpoints.configuration.read import parse_configuration, read_configuration
from mtls_echo_client.endpoints.discovery.planner import Planner
from mtls_echo_client.endpoints.monitor.monitor import Monitor
from mtls_echo_client.endpoints.monitor.status import Status
from mtls_echo_client.endpoints.plan import Endpoint, Plan, Problem, TLSSettings

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
