"""
Judges a load run and makes its document `stage4.load_test/1`; pure.

Latency and jitter of each schedule are judged against the catalogue's thresholds for its risk profile. The latency
that is judged is the p99 where there are samples for it, else the maximum; jitter is p99 - p50 of the lateness, or
max - p50 likewise. A percentile is reported only with at least ten samples beyond it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from stage4.config.settings import ResourceLimits
from stage4.runtime.lateness import SAMPLES_FOR_P99, jitter
from stage4.runtime.loadtest import LoadResult, ScheduleRecord
from stage4.runtime.loadtest_hiccup import NOTED_NS, PERIOD_NS, attributed_ns
from stage4.runtime.loadtest_resources import judge_resources
from stage4.telemetry.catalogue import Overrides, metric, thresholds_for

SCHEMA = "stage4.load_test/1"
LATENCY = "stage4_loop_latency_seconds"
JITTER = "stage4_jitter_seconds"
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99_9": 99.9}
SAMPLES_BEYOND = 10
LARGEST_US = 3_600_000_000
DIGITS = 3

Level = Literal["ok", "warning", "critical", "cannot_tell"]
Verdict = Literal["pass", "warn", "fail", "cannot_tell"]


@dataclass(frozen=True, slots=True)
class SlaRow:
    """One limit and what was observed; milliseconds."""

    schedule: str
    risk_profile: str
    metric: Literal["latency_ms", "jitter_ms"]
    statistic: str
    samples: int
    observed_ms: float | None
    warning_ms: float
    critical_ms: float | None
    level: Level
    host_attributed_ms: float = 0.0


def judge_sla(result: LoadResult, overrides: Overrides) -> tuple[SlaRow, ...]:
    """A row for each schedule and limit; a schedule without a single evaluation cannot be judged."""
    return tuple(
        row
        for record in result.schedules
        for row in (
            _row(record, "latency_ms", LATENCY, record.latency, _tail(record.latency), result, overrides),
            _row(record, "jitter_ms", JITTER, record.lateness, jitter(record.lateness), result, overrides),
        )
    )


def verdict_of(rows: Sequence[SlaRow]) -> Verdict:
    """The worst row counts; without any observation nothing can be told."""
    levels = {row.level for row in rows}
    if "critical" in levels:
        return "fail"
    if not levels or "cannot_tell" in levels:
        return "cannot_tell"
    return "warn" if "warning" in levels else "pass"


def document(
    result: LoadResult, overrides: Overrides, limits: ResourceLimits, fingerprint: Mapping[str, object]
) -> dict[str, object]:
    """The whole report. The first keys are those that readers of the field's existing reports expect, measured."""
    plan, records = result.plan, result.schedules
    rows = judge_sla(result, overrides)
    resources = judge_resources(result.resources, limits)
    latency = [span for record in records for span in record.latency]
    lateness = [span for record in records for span in record.lateness]
    service = [span for record in records for span in record.service]
    expected = plan.iterations * len(records)
    return {
        "schema": SCHEMA,
        "schedules": plan.schedules,
        "iterations": plan.iterations,
        "avg_latency_ms": _ms(sum(latency) / len(latency)) if latency else None,
        "max_latency_ms": _ms(max(latency)) if latency else None,
        "jitter_ms": _ms(jitter(lateness)) if lateness else None,
        "signals_emitted": sum(record.signals for record in records),
        "resource_status": resources.status,
        "settings": {
            "iterations": plan.iterations,
            "schedules": plan.schedules,
            "cadence_ms": _ms(plan.cadence_seconds * 1e9),
            "warmup_iterations": plan.warmup,
            "seed": plan.seed,
            "evaluation": "inline" if plan.inline else "workers",
            "cpu_budget_percent": limits.cpu_percent,
            "memory_budget_mb": limits.memory_mb,
        },
        "sla": {
            "verdict": verdict_of(rows),
            "rows": [asdict(row) for row in rows],
        },
        "measured": {
            "scope": "private run",
            "seconds": round(result.seconds, DIGITS),
            "slots_expected": expected,
            "slots_dispatched": sum(record.dispatched for record in records),
            "slots_missed": expected - sum(record.dispatched for record in records),
            "evaluations_failed": sum(record.failed for record in records),
            "worker_restarts": result.worker_restarts,
            "signals_submitted": result.submissions,
        },
        "latency_ms": distribution(latency),
        "lateness_ms": distribution(lateness),
        "service_ms": distribution(service),
        "by_schedule": [_schedule(record, plan.iterations) for record in records],
        "resources": {
            **{name: round(value, DIGITS) for name, value in asdict(result.resources).items()},
            "status": resources.status,
            "reasons": list(resources.reasons),
            "limits": {
                "cpu_percent": limits.cpu_percent,
                "memory_mb": limits.memory_mb,
                "io_read_mb_s": limits.io_read_mb_s,
                "io_write_mb_s": limits.io_write_mb_s,
                "headroom_warning_threshold": limits.headroom_warning_threshold,
            },
        },
        "host": {**_hiccups(result, lateness), "fingerprint": dict(fingerprint)},
    }


def distribution(spans: Sequence[int]) -> dict[str, object]:
    """Count, mean, extremes and HdrHistogram percentiles of `spans` (nanoseconds) in milliseconds.

    A percentile with fewer than ten samples beyond it is null and listed as unsupported.
    """
    if not spans:
        return {"samples": 0}
    from hdrh.histogram import HdrHistogram

    histogram = HdrHistogram(1, LARGEST_US, 3)
    for span in spans:
        histogram.record_value(min(max(1, span // 1000), LARGEST_US))
    supported = {
        name: percentile
        for name, percentile in PERCENTILES.items()
        if len(spans) * (100.0 - percentile) / 100.0 >= SAMPLES_BEYOND - 1e-9
    }
    values = {
        name: round(histogram.get_value_at_percentile(percentile) / 1000.0, DIGITS) if name in supported else None
        for name, percentile in PERCENTILES.items()
    }
    return {
        "samples": len(spans),
        "min": _ms(min(spans)),
        "mean": _ms(sum(spans) / len(spans)),
        **values,
        "max": _ms(max(spans)),
        "unsupported": [name for name in PERCENTILES if name not in supported],
    }


def _row(
    record: ScheduleRecord,
    name: Literal["latency_ms", "jitter_ms"],
    metric_name: str,
    spans: Sequence[int],
    observed_ns: int,
    result: LoadResult,
    overrides: Overrides,
) -> SlaRow:
    limits = thresholds_for(metric_name, record.risk_profile, overrides)
    assert limits is not None, "the catalogue has thresholds for latency and jitter"
    in_ms = limits.scaled(1000.0)
    top = "p99" if len(spans) >= SAMPLES_FOR_P99 else "max"
    level: Level = "cannot_tell"
    if spans:
        level = metric(metric_name).level(observed_ns / 1e9, limits) or "ok"
    return SlaRow(
        schedule=record.name,
        risk_profile=record.risk_profile,
        metric=name,
        statistic=top if name == "latency_ms" else f"{top} - p50 of lateness",
        samples=len(spans),
        observed_ms=_ms(observed_ns) if spans else None,
        warning_ms=in_ms.warning,
        critical_ms=in_ms.critical,
        level=level,
        host_attributed_ms=_worst_attributed_ms(record, result),
    )


def _worst_attributed_ms(record: ScheduleRecord, result: LoadResult) -> float:
    """Of the latest dispatch, the part that coincides with stalls of the host."""
    if not record.lateness:
        return 0.0
    lateness, intended = max(zip(record.lateness, record.intended, strict=True))
    return _ms(attributed_ns(intended, lateness, result.stalls))


def _tail(spans: Sequence[int]) -> int:
    """p99 where there are samples for it, else the maximum; 0 for none."""
    if not spans:
        return 0
    ordered = sorted(spans)
    return ordered[-(-99 * len(ordered) // 100) - 1] if len(ordered) >= SAMPLES_FOR_P99 else ordered[-1]


def _schedule(record: ScheduleRecord, iterations: int) -> dict[str, object]:
    return {
        "schedule": record.name,
        "risk_profile": record.risk_profile,
        "slots_missed": iterations - record.dispatched,
        "evaluations_failed": record.failed,
        "suspended": None if record.suspended is None else record.suspended.value,
        "signals": record.signals,
        "latency_ms": distribution(record.latency),
        "lateness_ms": distribution(record.lateness),
        "service_ms": distribution(record.service),
    }


def _hiccups(result: LoadResult, lateness: Sequence[int]) -> dict[str, object]:
    stalls = result.stalls
    explained = sum(
        attributed_ns(intended, late, stalls)
        for record in result.schedules
        for intended, late in zip(record.intended, record.lateness, strict=True)
    )
    return {
        "hiccup_period_ms": _ms(PERIOD_NS),
        "stalls_over_ms": _ms(NOTED_NS),
        "stalls": len(stalls),
        "stalled_ms": round(sum(stall.milliseconds for stall in stalls), DIGITS),
        "longest_stall_ms": round(max((stall.milliseconds for stall in stalls), default=0.0), DIGITS),
        "attributed_share_of_lateness": round(explained / sum(lateness), DIGITS) if sum(lateness) else 0.0,
    }


def _ms(nanoseconds: float) -> float:
    return round(nanoseconds / 1e6, DIGITS)
