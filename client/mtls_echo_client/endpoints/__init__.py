"""One client and many servers, each group of them with TLS settings of its own.

Three parts share nothing but the `Plan`. The *configuration* is read strictly and says what was
meant (:mod:`~mtls_echo_client.endpoints.configuration`); *discovery* makes a plan of it, anew
whenever a file or a name changes (:mod:`~mtls_echo_client.endpoints.planner`); the *monitor*
keeps to the plan, and re-dials only what has changed in it
(:mod:`~mtls_echo_client.endpoints.monitor`).

The names below are loaded on first use: the command of this package prints its help without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtls_echo_pki.lazy import exporter

if TYPE_CHECKING:
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

__getattr__ = exporter(
    __name__,
    {
        "configuration": ("parse_configuration", "read_configuration"),
        "errors": ("EndpointsError",),
        "monitor": ("Monitor",),
        "plan": ("Endpoint", "Plan", "Problem", "TLSSettings"),
        "planner": ("Planner",),
        "status": ("Status",),
    },
)
