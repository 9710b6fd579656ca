"""
The running scheduler's last ten minutes, judged by the same limits as the private run; pure.

What is judged is what the telemetry keeps: the worst value of every second. So a latency is the largest of the ten
minutes, and jitter that of the worst minute, as the alerts read it; there is no percentile to be had from worst
values. Nothing seen, or nothing new, is never a pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal

from stage4.clock import format_instant
from stage4.config.settings import ScheduleSettings
from stage4.runtime.loadtest_sla import (
    JITTER,
    LATENCY,
    MISSED_CRITICAL,
    MISSED_WARNING,
    Level,
    SlaRow,
    Verdict,
    level_of,
    missed_level,
    verdict_of,
)
from stage4.runtime.schedule import window_open
from stage4.telemetry.catalogue import Overrides, metric, thresholds_for
from stage4.telemetry.recorder import Point, Series

WINDOW = timedelta(minutes=10)
FRESH = timedelta(seconds=15)
"""A series whose newest point is older than this, and than three cadences, says nothing about now."""
LATENESS = "stage4_lateness_seconds"
MISSED = "stage4_missed_slots_total"
SUSPENDED = "stage4_schedule_suspended"
READ = (LATENCY, JITTER, LATENESS, MISSED, SUSPENDED)

BySchedule = Mapping[str, Sequence[Point]]


@dataclass(frozen=True, slots=True)
class Running:
    """What became of the look at the running scheduler; `problem` is the catalogue code of why there was none."""

    rows: tuple[SlaRow, ...] = ()
    covered_seconds: float = 0.0
    """Between the oldest and the newest point of the ten minutes."""
    samples_lost: int = 0
    """Samples that never reached the telemetry since it started."""
    problem: str | None = None

    @property
    def verdict(self) -> Verdict:
        """As for a private run; unreachable cannot be told."""
        return "cannot_tell" if self.problem is not None else verdict_of(self.rows)

    def document(self) -> dict[str, object]:
        """The block of the report."""
        return {
            "scope": "running scheduler",
            "verdict": self.verdict,
            "problem": self.problem,
            "window_seconds": WINDOW.total_seconds(),
            "covered_seconds": round(self.covered_seconds, 1),
            "points": "worst value of every second",
            "samples_lost": self.samples_lost,
            "rows": [asdict(row) for row in self.rows],
        }


def by_schedule(series: Iterable[Series]) -> BySchedule:
    """Points by the schedule that they speak for."""
    return {one.labels["schedule"]: one.points for one in series}


def judge_running(
    schedules: Mapping[str, ScheduleSettings],
    seen: Mapping[str, BySchedule],
    now: datetime,
    overrides: Overrides,
    lost: int = 0,
) -> Running:
    """`seen` maps the metrics of `READ` to their points, which `now` is not older than."""
    since = now - WINDOW
    kept = {
        name: {schedule: [point for point in points if point.at >= since] for schedule, points in of_metric.items()}
        for name, of_metric in seen.items()
    }
    rows = [row for name, chosen in schedules.items() for row in _judge(name, chosen, kept, now, overrides)]
    instants = [point.at for of_metric in kept.values() for points in of_metric.values() for point in points]
    covered = (max(instants) - min(instants)).total_seconds() if instants else 0.0
    return Running(tuple(rows), covered, lost)


def _judge(
    name: str,
    chosen: ScheduleSettings,
    seen: Mapping[str, Mapping[str, Sequence[Point]]],
    now: datetime,
    overrides: Overrides,
) -> Iterable[SlaRow]:
    points = {metric: of_metric.get(name, ()) for metric, of_metric in seen.items()}
    allowed = max(FRESH, 3 * timedelta(seconds=chosen.cadence_seconds))
    outside = not any(
        window_open(chosen.trading_windows, now - timedelta(seconds=ago))
        for ago in range(0, int(WINDOW.total_seconds()), 60)
    )
    pairs: tuple[tuple[Literal["latency_ms", "jitter_ms"], str, Sequence[Point]], ...] = (
        ("latency_ms", LATENCY, points.get(LATENCY, ())),
        ("jitter_ms", JITTER, points.get(JITTER, ())),
    )
    for label, metric_name, found in pairs:
        limits = thresholds_for(metric_name, chosen.risk_profile, overrides)
        assert limits is not None, "the catalogue has thresholds for latency and jitter"
        in_ms = limits.scaled(1000.0)
        worst = max(found, key=lambda point: point.value, default=None)
        level: Level = "cannot_tell"
        if worst is not None:
            level = level_of(metric_name, worst.value, limits)
            if level != "critical" and now - found[-1].at > allowed:
                level = "cannot_tell"
        elif outside and label == "latency_ms" and points.get(LATENESS):
            level = "not_expected"  # outside its trading windows it fires and is not evaluated
        yield SlaRow(
            schedule=name,
            risk_profile=chosen.risk_profile,
            metric=label,
            statistic="worst of the window",
            samples=len(found),
            observed=None if worst is None else round(worst.value * 1000.0, 3),
            warning=in_ms.warning,
            critical=in_ms.critical,
            level=level,
            beyond=sum(metric(metric_name).beyond(point.value, limits.critical) for point in found),
            worst_at=None if worst is None else format_instant(worst.at),
        )
    yield from _missed(name, chosen, points.get(MISSED, ()), points.get(LATENESS, ()))
    suspended = points.get(SUSPENDED, ())
    if suspended and suspended[-1].value > 0:
        yield SlaRow(name, chosen.risk_profile, "suspended", "newest value", len(suspended), 1.0, 0.0, 0.0, "critical")


def _missed(name: str, chosen: ScheduleSettings, counted: Sequence[Point], fired: Sequence[Point]) -> Iterable[SlaRow]:
    """A row where slots were missed; a running total that fell means a restart, which counts from zero."""
    missed = 0.0
    for before, after in pairwise(counted):
        missed += after.value - before.value if after.value >= before.value else after.value
    if not missed or not fired:
        return
    span = (counted[-1].at - counted[0].at).total_seconds()
    expected = max(missed, span / chosen.cadence_seconds)
    share = missed / expected
    level = missed_level(round(missed), round(expected))
    yield SlaRow(
        name, chosen.risk_profile, "slots_missed", "share of slots", round(expected), round(share, 4),
        MISSED_WARNING, MISSED_CRITICAL, level,
    )  # fmt: skip
