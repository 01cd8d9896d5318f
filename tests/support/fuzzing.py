"""How many examples tests try: few in `make test`, ``MTLS_ECHO_FUZZ`` in `make fuzz`."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# As many as the cheapest tests try, which need some 50 µs for each.
USUAL = 2_000
TRIED = int(os.environ.get("MTLS_ECHO_FUZZ", USUAL))


def examples(usual: int) -> settings:
    """So many examples, and as many times more as was asked for."""
    return settings(
        max_examples=max(usual * TRIED // USUAL, 1),
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
