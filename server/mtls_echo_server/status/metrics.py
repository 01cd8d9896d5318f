"""The metrics, as Prometheus reads them.

Times are moments, not how long is left, as Prometheus' own practice has it; every cause exists
from the start; and no label holds what a peer chose.
"""

from __future__ import annotations

import platform
import ssl
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from mtls_echo_pki.certificates.reading import expiry
from mtls_echo_server.status import counts
from mtls_echo_server.status.view import StatusView

_PREFIX = "mtls_echo_"

# Trust anchors whose end is shown.
_MOST_ANCHORS = 64


class StatusMetrics(Collector):
    """The metrics of a server: `exposition` writes them."""

    def __init__(self, view: StatusView) -> None:
        self._view = view
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def exposition(self, accept: str) -> tuple[str, bytes]:
        """The content type, and the metrics: OpenMetrics where that is accepted."""
        encode, kind = choose_encoder(accept)
        return kind, encode(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are given when asked for."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every metric, as it is now."""
        now = self._view.tally.counts
        yield _counter("handshakes", "TLS handshakes", ("result", "version"), now.handshakes)
        yield _counter(
            "handshake_failures",
            "TLS handshakes that were not completed",
            ("rejected_by", "cause"),
            now.failures,
        )
        yield _histogram(
            "handshake_duration_seconds",
            "From the ClientHello until the client was served",
            counts.DURATIONS,
            now.durations,
        )
        yield _gauge("connections", "Clients that are being served", self._view.connections)
        yield _counter(
            "connections_ended", "Connections, by what ended them", ("ended",), now.ended
        )
        yield _counter(
            "connections_denied", "Clients that were not authorised", (), {"": now.denied}
        )
        yield _counter("http_requests", "Requests on the TLS port", (), {"": now.requests})
        yield _histogram(
            "peer_certificate_expiry_seconds",
            "What validity the certificates of clients had left when their connections ended",
            counts.LEFT,
            now.left,
        )
        yield from self._files()
        yield from self._build()

    def _files(self) -> Iterator[Metric]:
        tally, reloader = self._view.tally, self._view.reloader
        material = reloader.material
        own = material.credential.path if material.credential is not None else ()
        trusted = material.trust.anchors[:_MOST_ANCHORS] if material.trust is not None else ()
        ends = GaugeMetricFamily(
            f"{_PREFIX}certificate_not_after_timestamp_seconds",
            "When certificates expire: of the chain that is presented, and of trust anchors",
            labels=("kind", "position"),
        )
        for kind, chain in ("own", own), ("authority", trusted):
            for position, certificate in enumerate(chain):
                ends.add_metric((kind, str(position)), expiry(certificate).timestamp())
        yield ends
        updates = GaugeMetricFamily(
            f"{_PREFIX}crl_next_update_timestamp_seconds",
            "Until when CRLs count",
            labels=("position",),
        )
        for position, crl in enumerate(material.trust.crls if material.trust is not None else ()):
            if crl.next_update_utc is not None:
                updates.add_metric((str(position),), crl.next_update_utc.timestamp())
        yield updates
        yield _counter(
            "reloads", "Changed files that were taken, or not", ("result",), tally.counts.reloads
        )
        yield _gauge("last_reload_successful", "Whether the files are in order", tally.reload_ok)
        yield _gauge(
            "last_reload_success_timestamp_seconds",
            "When files were last taken",
            tally.reloaded_at,
        )
        yield _gauge("generation", "The number of the files in use", reloader.generation)

    def _build(self) -> Iterator[Metric]:
        view = self._view
        yield _gauge("ready", "Whether clients may be sent here", view.why_not_ready() is None)
        yield _gauge("start_time_seconds", "When the server started", view.tally.started)
        serving, wanted = view.workers
        yield _gauge("workers", "Processes that serve", serving if wanted else 1)
        built = InfoMetricFamily(f"{_PREFIX}build", "What runs")
        built.add_metric(
            (),
            {
                "version": _version(),
                "python": platform.python_version(),
                "openssl": ssl.OPENSSL_VERSION,
            },
        )
        yield built


def _counter(
    name: str, help: str, labels: Sequence[str], values: dict[str, int]
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"{_PREFIX}{name}", help, labels=labels)
    for key, value in values.items():
        family.add_metric(key.split() if labels else (), value)
    return family


def _gauge(name: str, help: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}{name}", help, value=float(value))


def _histogram(
    name: str, help: str, bounds: tuple[float, ...], values: counts.Histogram
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(f"{_PREFIX}{name}", help)
    buckets: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip((*map(_number, bounds), "+Inf"), values.counts, strict=True):
        below += count
        buckets.append((bound, below))
    family.add_metric((), buckets, values.total)
    return family


def _number(bound: float) -> str:
    return str(float(bound))


def _version() -> str:
    try:
        return version("mtls-echo")
    except PackageNotFoundError:
        return "unknown"
