"""The Prometheus exposition: samples in, `/metrics` out, on an address of its own.

Serving happens in the telemetry process, so that a scrape never holds the scheduler's interpreter. A value that a
sample leaves out keeps its last figure: an alert must not resolve because something can no longer be told. That it is
old is said by `stage4_prices_stale`, `stage4_schedule_suspended` and `stage4_last_sample_timestamp_seconds`.
"""

from __future__ import annotations

from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from stage4 import files, words
from stage4.config.addresses import is_loopback
from stage4.errors import Unavailable, UsageError
from stage4.telemetry import catalogue
from stage4.telemetry.catalogue import Metric
from stage4.telemetry.recorder import label_values
from stage4.telemetry.sample import Sample

_Child = Gauge | Counter | Histogram
_SAMPLE_TIME = catalogue.metric("stage4_last_sample_timestamp_seconds")
_SAMPLES_LOST = catalogue.metric("stage4_samples_lost_total")


class Exporter:
    """Holds one child for each series, because looking a label set up costs more than setting it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._families = {metric.name: self._family(metric) for metric in catalogue.METRICS}
        self._children: dict[tuple[str, tuple[str, ...]], _Child] = {}
        self._totals: dict[tuple[str, tuple[str, ...]], float] = {}

    def apply(self, sample: Sample, lost: int = 0) -> None:
        """Show a sample; `lost` is the running total of samples that did not arrive."""
        for name, value in sample.values.items():
            if catalogue.known(name):
                self._show(catalogue.metric(name), sample, value)
        self._show(_SAMPLE_TIME, sample, sample.at.timestamp())
        self._show(_SAMPLES_LOST, sample, lost)

    def _show(self, metric: Metric, sample: Sample, value: float) -> None:
        key = (metric.name, label_values(metric, sample))
        child = self._children.get(key)
        if child is None:
            family = self._families[metric.name]
            child = self._children[key] = family.labels(*key[1]) if metric.labels else family
        if isinstance(child, Gauge):
            child.set(value)
        elif isinstance(child, Histogram):
            child.observe(value)
        else:
            before = self._totals.get(key, 0.0)
            # A smaller total means that the runtime was started anew and counts from zero.
            child.inc(value - before if value >= before else value)
            self._totals[key] = value

    def _family(self, metric: Metric) -> _Child:
        text = words.text(metric.help_code, "en")
        if metric.type == "histogram":
            return Histogram(metric.name, text, metric.labels, buckets=metric.buckets, registry=self.registry)
        kind = Gauge if metric.type == "gauge" else Counter
        return kind(metric.name, text, metric.labels, registry=self.registry)


class MetricsEndpoint:
    """`/metrics` over HTTP. Loopback only: the exposition itself asks for no credentials."""

    def __init__(self, exporter: Exporter, host: str, port: int) -> None:
        """Listen at once, port 0 for any; UsageError `telemetry.not_loopback`, Unavailable `telemetry.port_in_use`."""
        if not is_loopback(host):
            raise UsageError("telemetry.not_loopback", host=host)
        try:
            started: tuple[WSGIServer, Thread] = start_http_server(port, host, exporter.registry)
        except OSError as error:
            raise Unavailable("telemetry.port_in_use", host=host, port=port, reason=files.reason(error)) from error
        self._server, self._thread = started
        self.port = self._server.server_port

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
