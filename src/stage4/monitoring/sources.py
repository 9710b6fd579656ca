"""
Where the series of panels come from: Prometheus where it is configured, else the telemetry process itself.

An exporter shows the last value for as long as it lives, so fresh scrapes say nothing about fresh values. The
Prometheus source therefore reads the instant of each schedule's last sample too, and ends every series there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from stage4.errors import Unavailable
from stage4.monitoring.alerts import LAST_SAMPLE
from stage4.monitoring.panels import SeriesSource, SourceName
from stage4.telemetry.catalogue import Metric
from stage4.telemetry.recorder import Point, Series

if TYPE_CHECKING:
    from stage4.config import Installation

ANSWER_SECONDS = 5.0
_MOST_POINTS = 900
_SCRAPE = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class PrometheusSource:
    """Prometheus at `url`."""

    url: str
    timeout: float = ANSWER_SECONDS

    @property
    def name(self) -> SourceName:
        return "prometheus"

    def series(self, metric: Metric, since: datetime, until: datetime) -> Sequence[Series]:
        step = max(1, round((until - since).total_seconds() / _MOST_POINTS))
        by = ", ".join(metric.labels)
        aggregate = "max" if metric.direction == "higher_is_worse" else "min"
        found = self._query(
            "query_range",
            query=f"{aggregate} by ({by}) ({metric.name})",
            start=since.timestamp(),
            end=until.timestamp(),
            step=step,
        )
        told = self._query(
            "query", query=f"max by ({', '.join(LAST_SAMPLE.labels)}) ({LAST_SAMPLE.name})", time=until.timestamp()
        )
        last_told = {
            tuple(one["metric"].get(label, "") for label in LAST_SAMPLE.labels): _instant(float(one["value"][1]))
            for one in told
        }
        whole = [_series(metric, one) for one in found]
        return [ended(one, _told(one.labels, last_told)) for one in whole]

    def _query(self, path: str, **params: Any) -> list[dict[str, Any]]:
        import httpx

        try:
            answer = httpx.get(f"{self.url}/api/v1/{path}", params=params, timeout=self.timeout, trust_env=False)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise Unavailable("monitoring.prometheus_unreachable", url=self.url, reason=reason) from error
        if answer.status_code != httpx.codes.OK:
            reason = f"{answer.status_code} {answer.text[:200]}"
            raise Unavailable("monitoring.prometheus_refused", url=self.url, reason=reason)
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found


def _series(metric: Metric, found: Mapping[str, Any]) -> Series:
    labels = {label: found["metric"].get(label, "") for label in metric.labels}
    return Series(labels, tuple(Point(_instant(at), float(value)) for at, value in found["values"]))


def _told(labels: Mapping[str, str], last_told: Mapping[tuple[str, ...], datetime]) -> datetime | None:
    """When the runtime last told a value of this series; series of a profile come with any sample of the scheduler."""
    if "schedule" in labels:
        return last_told.get((labels["scheduler"], labels["schedule"]))
    of_scheduler = [at for key, at in last_told.items() if key[0] == labels.get("scheduler", key[0])]
    return max(of_scheduler, default=None)


def ended(series: Series, last_told: datetime | None) -> Series:
    """`series` without the points that only repeat what was told by `last_told`.

    A slow schedule told its value before the first point; then that value stands alone, at its own instant. With
    no instant at all nothing is known to be fresh, and nothing is left.
    """
    if last_told is None:
        return replace(series, points=())
    kept = tuple(point for point in series.points if point.at <= last_told + _SCRAPE)
    if kept and kept[-1].at >= last_told:
        return replace(series, points=(*kept[:-1], Point(last_told, kept[-1].value)))
    return replace(series, points=(*kept, Point(last_told, series.points[-1].value)))


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@dataclass(frozen=True, slots=True)
class TelemetrySource:
    """The telemetry process of the installation, over gRPC; it keeps the last fifteen minutes."""

    installation: Installation
    environ: Mapping[str, str]

    @property
    def name(self) -> SourceName:
        return "telemetry"

    def series(self, metric: Metric, since: datetime, until: datetime) -> Sequence[Series]:
        from stage4.errors import Refused
        from stage4.telemetry.grpc_client import MetricsClient

        try:
            with MetricsClient.of(self.installation, self.environ) as client:
                return client.series(metric.name, seconds=(until - since).total_seconds())
        except Refused as error:
            # For a panel a refused call is an answer that did not come.
            raise Unavailable(error.code, **error.params) from error


def source_of(installation: Installation, environ: Mapping[str, str]) -> SeriesSource:
    """The configured source."""
    url = installation.settings.operations.monitoring.prometheus_url
    return PrometheusSource(url.rstrip("/")) if url else TelemetrySource(installation, environ)
