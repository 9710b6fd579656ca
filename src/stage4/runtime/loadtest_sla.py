"""
What a load run is judged by; pure.

Latency and jitter of each schedule are judged against the catalogue's thresholds for its risk profile. The latency
that is judged is the p99 where there are samples for it, else the maximum; jitter is p99 - p50 of the lateness, or
max - p50 likewise. A schedule that was suspended, or whose slots were mostly missed, is not within its limits
however quick its other slots were.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from stage4.runtime.lateness import SAMPLES_FOR_P99, jitter
from stage4.runtime.loadtest_bounds import share_at_least, share_beyond
from stage4.runtime.loadtest_figures import Spans, milliseconds, with_missed
from stage4.runtime.loadtest_run import LoadPlan, LoadResult, ScheduleRecord
from stage4.telemetry.catalogue import Overrides, Thresholds, metric, thresholds_for

LATENCY = "stage4_loop_latency_seconds"
JITTER = "stage4_jitter_seconds"
MISSED_WARNING = 0.01
MISSED_CRITICAL = 0.10
"""Shares of missed slots beyond which the asked rate was not driven: surely beyond, so that one slot of six is no
verdict."""

Level = Literal["ok", "warning", "critical", "cannot_tell", "not_expected"]
Verdict = Literal["pass", "warn", "fail", "cannot_tell"]
_WORST_FIRST: tuple[Verdict, ...] = ("fail", "cannot_tell", "warn", "pass")


@dataclass(frozen=True, slots=True)
class SlaRow:
    """One limit and what was observed; milliseconds, for `slots_missed` a share.

    `beyond` counts samples beyond the critical limit, and `share_beyond_95` is the largest share of slots that this
    count leaves possible. `without_host` is the observed figure without what coincides with stalls of the host; None
    where nobody measured them. Of the running scheduler samples are seconds, and `worst_at` is the worst one's
    instant.
    """

    schedule: str
    risk_profile: str
    metric: Literal["latency_ms", "jitter_ms", "slots_missed", "suspended"]
    statistic: str
    samples: int
    observed: float | None
    warning: float
    critical: float | None
    level: Level
    beyond: int | None = None
    share_beyond_95: float | None = None
    without_host: float | None = None
    level_without_host: Level | None = None
    worst_at: str | None = None


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of them; of none nothing can be told. A breach outweighs what cannot be told."""
    found = set(verdicts)
    return next((verdict for verdict in _WORST_FIRST if verdict in found), "cannot_tell")


def verdict_of(rows: Sequence[SlaRow], *, without_host: bool = False) -> Verdict:
    """The worst row counts; without any observation nothing can be told."""
    levels = {(row.level_without_host or row.level) if without_host else row.level for row in rows}
    if "critical" in levels:
        return "fail"
    if not levels - {"not_expected"} or "cannot_tell" in levels:
        return "cannot_tell"
    return "warn" if "warning" in levels else "pass"


def latency_of(record: ScheduleRecord, plan: LoadPlan) -> Spans:
    """Latency of all its slots, missed ones included."""
    return _of(record, plan, record.latency)


def lateness_of(record: ScheduleRecord, plan: LoadPlan) -> Spans:
    """Lateness of all its slots, overtaken ones included."""
    return _of(record, plan, record.lateness)


def judge_sla(result: LoadResult, overrides: Overrides) -> tuple[SlaRow, ...]:
    """Rows for each schedule and limit; a schedule without a single evaluation cannot be judged."""
    return tuple(row for record in result.schedules for row in _judge(record, result, overrides))


def _judge(record: ScheduleRecord, result: LoadResult, overrides: Overrides) -> Iterable[SlaRow]:
    latency, lateness = latency_of(record, result.plan), lateness_of(record, result.plan)
    yield _row(record, "latency_ms", LATENCY, latency, result, overrides)
    yield _row(record, "jitter_ms", JITTER, lateness, result, overrides)
    expected = result.plan.iterations
    share = (expected - record.dispatched) / expected
    level = missed_level(expected - record.dispatched, expected)
    if level != "ok" and record.dispatched:
        yield SlaRow(
            record.name, record.risk_profile, "slots_missed", "share of slots", expected, round(share, 4),
            MISSED_WARNING, MISSED_CRITICAL, level,
        )  # fmt: skip
    if record.suspended is not None:
        yield SlaRow(
            record.name, record.risk_profile, "suspended", record.suspended.value, expected, 1.0, 0.0, 0.0, "critical"
        )


def missed_level(missed: int, expected: int) -> Level:
    """What is beyond a limit even at the lower 95 % bound of the share."""
    surely = share_at_least(expected, missed)
    if surely > MISSED_CRITICAL:
        return "critical"
    return "warning" if surely > MISSED_WARNING else "ok"


def _row(
    record: ScheduleRecord,
    name: Literal["latency_ms", "jitter_ms"],
    metric_name: str,
    spans: Spans,
    result: LoadResult,
    overrides: Overrides,
) -> SlaRow:
    limits = thresholds_for(metric_name, record.risk_profile, overrides)
    assert limits is not None, "the catalogue has thresholds for latency and jitter"
    in_ms = limits.scaled(1000.0)
    top = "p99" if len(spans) >= SAMPLES_FOR_P99 else "max"
    statistic = top if name == "latency_ms" else f"{top} - p50 of lateness"
    if not len(spans):
        return SlaRow(
            record.name, record.risk_profile, name, statistic, 0, None, in_ms.warning, in_ms.critical, "cannot_tell"
        )
    judged = tail if name == "latency_ms" else jitter
    observed = judged(list(spans.spans))
    cleared = None if result.stalls is None else judged(list(spans.without(result.stalls)))
    # Jitter is measured from the median, so a slot is beyond it by its distance from there.
    middle = 0 if name == "latency_ms" else sorted(spans.spans)[(len(spans) - 1) // 2]
    beyond = sum(metric(metric_name).beyond((span - middle) / 1e9, limits.critical) for span in spans.spans)
    return SlaRow(
        schedule=record.name,
        risk_profile=record.risk_profile,
        metric=name,
        statistic=statistic,
        samples=len(spans),
        observed=milliseconds(observed),
        warning=in_ms.warning,
        critical=in_ms.critical,
        level=level_of(metric_name, observed / 1e9, limits),
        beyond=beyond,
        share_beyond_95=round(share_beyond(len(spans), beyond), 6),
        without_host=None if cleared is None else milliseconds(cleared),
        level_without_host=None if cleared is None else level_of(metric_name, cleared / 1e9, limits),
    )


def level_of(metric_name: str, seconds: float, limits: Thresholds) -> Level:
    """The level of a value in seconds."""
    return metric(metric_name).level(seconds, limits) or "ok"


def tail(spans: Sequence[int]) -> int:
    """p99 where there are samples for it, else the maximum; 0 for none."""
    if not spans:
        return 0
    ordered = sorted(spans)
    return ordered[-(-99 * len(ordered) // 100) - 1] if len(ordered) >= SAMPLES_FOR_P99 else ordered[-1]


def _of(record: ScheduleRecord, plan: LoadPlan, spans: Sequence[int]) -> Spans:
    count = len(spans)  # an evaluation that was cut off has a lateness only
    cadence_ns = round(plan.cadence_seconds * 1e9)
    return with_missed(record.slots[:count], record.intended[:count], spans, cadence_ns, plan.warmup + plan.iterations)
