"""What telemetry knows: the newest sample of every source, counts, and the last minutes of every series.

Pure and not thread-safe: one thread applies and asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from stage4.telemetry import catalogue
from stage4.telemetry.catalogue import Metric
from stage4.telemetry.sample import Sample

KEPT = timedelta(minutes=15)
MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND_US = 1_000_000

Source = tuple[str, str, str, str]
"""Scheduler, schedule, risk profile, venue: who a sample speaks for."""


def source_of(sample: Sample) -> Source:
    return sample.scheduler, sample.schedule, sample.risk_profile, sample.venue


def microseconds(at: datetime) -> int:
    """Whole microseconds since 1970, UTC."""
    return (at - EPOCH) // MICROSECOND


def instant(at_us: int) -> datetime:
    return EPOCH + timedelta(microseconds=at_us)


@dataclass(frozen=True, slots=True)
class Point:
    at: datetime
    value: float


@dataclass(frozen=True, slots=True)
class Series:
    """One metric with one set of label values; points in the order of time."""

    labels: Mapping[str, str]
    points: tuple[Point, ...]


class _Ring:
    """One point a second: the worst value of that second, at the instant it was seen. Bounded by construction."""

    __slots__ = ("_points",)

    def __init__(self) -> None:
        self._points: deque[tuple[int, float]] = deque(maxlen=int(KEPT.total_seconds()))

    def add(self, at_us: int, value: float, metric: Metric) -> None:
        if self._points:
            last_us, last = self._points[-1]
            if at_us < last_us:
                return  # the wall clock went back: time in a series does not
            if at_us // _SECOND_US == last_us // _SECOND_US:
                if metric.worse(value, last) == value:
                    self._points[-1] = (at_us, value)
                return
        self._points.append((at_us, value))

    def since(self, since_us: int) -> tuple[Point, ...]:
        return tuple(Point(instant(at_us), value) for at_us, value in self._points if at_us >= since_us)


class Recorder:
    """Applies samples in the order they arrive."""

    def __init__(self) -> None:
        self.samples = 0
        self.lost = 0
        self.last: Sample | None = None
        self.newest: dict[Source, Sample] = {}
        self._rings: dict[tuple[str, tuple[str, ...]], _Ring] = {}

    def apply(self, sample: Sample) -> None:
        """Take one sample over; a gap in its number counts as lost, a lower number is a new start of the runtime."""
        if self.last is not None and sample.seq > self.last.seq:
            self.lost += sample.seq - self.last.seq - 1
        self.samples += 1
        self.last = sample
        self.newest[source_of(sample)] = sample
        at_us = microseconds(sample.at)
        for name, value in sample.values.items():
            if not catalogue.known(name):
                continue  # an older telemetry process beside a newer runtime
            metric = catalogue.metric(name)
            key = (name, label_values(metric, sample))
            ring = self._rings.get(key)
            if ring is None:
                ring = self._rings[key] = _Ring()
            ring.add(at_us, value, metric)

    def series(self, name: str, since: datetime, schedule: str = "") -> Iterator[Series]:
        """The series of a metric from `since` on, at most the last 15 minutes before its newest point.

        `schedule` empty means all. Series without a point in that span are left out.
        """
        since_us = microseconds(since)
        for (owner, values), ring in self._rings.items():
            labels = dict(zip(catalogue.metric(owner).labels, values, strict=True))
            if owner != name or (schedule and labels.get("schedule", schedule) != schedule):
                continue
            if points := ring.since(since_us):
                yield Series(labels, points)


def label_values(metric: Metric, sample: Sample) -> tuple[str, ...]:
    """The values of the metric's labels, which are fields of the sample."""
    return tuple(getattr(sample, label) for label in metric.labels)
