"""Makes the document `stage4.load_test/1` of a load run, and the sentences that say what it means; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from stage4.config.settings import ResourceLimits
from stage4.runtime.lateness import SAMPLES_FOR_P99, jitter
from stage4.runtime.loadtest_bounds import samples_for, share_beyond
from stage4.runtime.loadtest_figures import DIGITS, PERCENTILES, buckets, distribution, milliseconds, supported
from stage4.runtime.loadtest_hiccup import NOTED_NS, PERIOD_NS
from stage4.runtime.loadtest_resources import judge_resources
from stage4.runtime.loadtest_run import LoadPlan, LoadResult, ScheduleRecord
from stage4.runtime.loadtest_running import Running
from stage4.runtime.loadtest_sla import SlaRow, Verdict, judge_sla, latency_of, lateness_of, verdict_of, worst
from stage4.telemetry.catalogue import Overrides

SCHEMA = "stage4.load_test/1"
OWN_LOAD_PERCENT = 50.0
"""A run that takes more of the processors than this may itself be what kept the bare timer waiting."""
_PROBED: Mapping[str, Verdict] = {"pass": "pass", "fail": "fail", "cannot_tell": "cannot_tell"}


@dataclass(frozen=True, slots=True)
class Sentence:
    """Something that must be said in words: a catalogue code and its parameters; `phase` where there are several."""

    code: str
    params: Mapping[str, object]
    phase: str | None = None


@dataclass(frozen=True, slots=True)
class Phase:
    """One run at one rate; `name` is `private` or `peak`."""

    name: str
    result: LoadResult


def verdicts_of(phases: Sequence[Phase], running: Running | None, overrides: Overrides) -> dict[str, Verdict]:
    """The verdict of each part; the worst counts."""
    found: dict[str, Verdict] = {}
    for phase in phases:
        found[phase.name] = verdict_of(judge_sla(phase.result, overrides))
    found["kill_switch"] = worst(_PROBED[phase.result.probe.verdict] for phase in phases)
    if running is not None:
        found["running"] = running.verdict
    return found


def verdict_code(verdicts: Mapping[str, Verdict]) -> str:
    """The catalogue code of what the parts come to. Being worse than before is a no, and still no missed limit."""
    verdict = worst(verdicts.values())
    if verdict == "fail" and {part for part, found in verdicts.items() if found == "fail"} == {"comparison"}:
        return "loadtest.verdict_worse"
    return f"loadtest.verdict_{verdict}"


def document(
    phases: Sequence[Phase],
    running: Running | None,
    overrides: Overrides,
    limits: ResourceLimits,
    fingerprint: Mapping[str, object],
) -> dict[str, object]:
    """The whole report. The first keys are those that readers of the field's existing reports expect, measured."""
    first, *more = phases
    records = first.result.schedules
    latency = [span for record in records for span in latency_of(record, first.result.plan).spans]
    lateness = [span for record in records for span in lateness_of(record, first.result.plan).spans]
    verdicts = verdicts_of(phases, running, overrides)
    plan = first.result.plan
    block = _block(first, overrides, limits)
    return {
        "schema": SCHEMA,
        "schedules": plan.schedules,
        "iterations": plan.iterations,
        "avg_latency_ms": milliseconds(sum(latency) / len(latency)) if latency else None,
        "max_latency_ms": milliseconds(max(latency)) if latency else None,
        "jitter_ms": milliseconds(jitter(lateness)) if lateness else None,
        "signals_emitted": sum(record.signals for record in records),
        "resource_status": judge_resources(first.result.resources, limits).status,
        "settings": {
            **_settings(plan),
            "peak": [round(plan.cadence_seconds / phase.result.plan.cadence_seconds, DIGITS) for phase in more],
            "cpu_budget_percent": limits.cpu_percent,
            "memory_budget_mb": limits.memory_mb,
        },
        "sla": {
            "verdict": worst(verdicts.values()),
            "parts": verdicts,
            "without_host": verdict_of(judge_sla(first.result, overrides), without_host=True),
            "rows": block.pop("rows"),
        },
        **block,
        "peak": [
            {"cadence_ms": milliseconds(phase.result.plan.cadence_seconds * 1e9), **_block(phase, overrides, limits)}
            for phase in more
        ],
        "running": None if running is None else running.document(),
        "fingerprint": dict(fingerprint),
    }


def sentences(phases: Sequence[Phase], running: Running | None, overrides: Overrides) -> list[Sentence]:
    """What the figures of the document do not say by themselves."""
    said = []
    for phase in phases:
        name = phase.name if len(phases) > 1 else None
        said += [replace(sentence, phase=name) for sentence in _of_phase(phase, overrides)]
    if running is not None and running.problem is None:
        worst_row = max(running.rows, key=_badness, default=None)
        if worst_row is not None:
            params = {
                "seconds": round(running.covered_seconds),
                "schedule": worst_row.schedule,
                "figure": worst_row.metric,
                "value": worst_row.observed,
                "at": worst_row.worst_at,
                "beyond": worst_row.beyond,
            }
            said.append(Sentence(f"loadtest.running_{running.verdict}", params))
    return said


def _badness(row: SlaRow) -> tuple[int, float]:
    """The level first, then how near the figure is to where its warning begins."""
    rank = ("not_expected", "ok", "warning", "cannot_tell", "critical").index(row.level)
    return rank, (row.observed or 0.0) / row.warning if row.warning else 0.0


def _of_phase(phase: Phase, overrides: Overrides) -> list[Sentence]:
    result, plan = phase.result, phase.result.plan
    said = []
    counts = [len(latency_of(record, plan)) for record in result.schedules]
    total, least = sum(counts), min(counts)
    if total and not supported(total, PERCENTILES["p99"]):
        share = 100.0 * share_beyond(total, 0)
        params = {"samples": total, "needed": SAMPLES_FOR_P99, "bound": samples_for(0.99), "share": round(share, 1)}
        said.append(Sentence("loadtest.few_samples", params))
    elif least < SAMPLES_FOR_P99:
        said.append(Sentence("loadtest.few_by_schedule", {"samples": least, "needed": SAMPLES_FOR_P99}))
    expected = plan.iterations * len(result.schedules)
    missed = expected - sum(record.dispatched for record in result.schedules)
    if missed:
        said.append(Sentence("loadtest.missed", {"missed": missed, "expected": expected}))
    rows = judge_sla(result, overrides)
    if result.stalls is None:
        said.append(Sentence("loadtest.host_unmeasured", {}))
    elif verdict_of(timed := [row for row in rows if row.metric in ("latency_ms", "jitter_ms")]) in ("fail", "warn"):
        cleared = verdict_of(timed, without_host=True)
        host = _host(result)
        code = "loadtest.host_does_not_explain"
        if cleared == "pass":
            code = "loadtest.host_or_own_load" if host["own_load"] else "loadtest.host_explains"
        facts = {"stalls": host["stalls"], "longest": host["longest_stall_ms"]}
        said.append(Sentence(code, {**facts, "cpu": round(result.resources.cpu_percent)}))
    probe = result.probe
    said.append(
        Sentence(
            f"loadtest.kill_{probe.verdict}",
            {"closed": probe.closed_ms, "asked": probe.asked_after, "after": probe.signals_after},
        )
    )
    return said


def _settings(plan: LoadPlan) -> dict[str, object]:
    return {
        "iterations": plan.iterations,
        "schedules": plan.schedules,
        "cadence_ms": milliseconds(plan.cadence_seconds * 1e9),
        "rate_per_second": round(plan.schedules / plan.cadence_seconds, DIGITS),
        "warmup_iterations": plan.warmup,
        "seed": plan.seed,
        "evaluation": "inline" if plan.inline else "workers",
    }


def _block(phase: Phase, overrides: Overrides, limits: ResourceLimits) -> dict[str, object]:
    """Everything about one phase."""
    result, plan = phase.result, phase.result.plan
    records = result.schedules
    resources = judge_resources(result.resources, limits)
    latency = [latency_of(record, plan).spans for record in records]
    lateness = [lateness_of(record, plan).spans for record in records]
    service = [record.service for record in records]
    expected = plan.iterations * len(records)
    dispatched = sum(record.dispatched for record in records)
    probe = result.probe
    return {
        "rows": [asdict(row) for row in judge_sla(result, overrides)],
        "measured": {
            "scope": "private run",
            "seconds": round(result.seconds, DIGITS),
            "slots_expected": expected,
            "slots_dispatched": dispatched,
            "slots_missed": expected - dispatched,
            "evaluations_failed": sum(record.failed for record in records),
            "worker_restarts": result.worker_restarts,
            "signals_submitted": result.submissions,
        },
        "latency_ms": distribution(*latency),
        "lateness_ms": distribution(*lateness),
        "service_ms": distribution(*service),
        "histogram": {
            name: buckets([span for group in groups for span in group])
            for name, groups in (("latency_ms", latency), ("lateness_ms", lateness), ("service_ms", service))
        },
        "by_schedule": [_schedule(record, plan) for record in records],
        "kill_switch": {
            "verdict": probe.verdict,
            "order_to_written_ms": probe.written_ms,
            "order_to_closed_ms": probe.closed_ms,
            "submitted_before": probe.submitted_before,
            "asked_after": probe.asked_after,
            "signals_after": probe.signals_after,
        },
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
        "host": _host(result),
    }


def _schedule(record: ScheduleRecord, plan: LoadPlan) -> dict[str, object]:
    return {
        "schedule": record.name,
        "risk_profile": record.risk_profile,
        "slots_missed": plan.iterations - record.dispatched,
        "evaluations_failed": record.failed,
        "suspended": None if record.suspended is None else record.suspended.value,
        "signals": record.signals,
        "latency_ms": distribution(latency_of(record, plan).spans),
        "lateness_ms": distribution(lateness_of(record, plan).spans),
        "service_ms": distribution(record.service),
    }


def _host(result: LoadResult) -> dict[str, object]:
    """The stalls of the host, and how much of lateness and latency coincides with them."""
    where = {"hiccup_period_ms": milliseconds(PERIOD_NS), "stalls_over_ms": milliseconds(NOTED_NS)}
    if result.stalls is None:
        return {**where, "measured": False, "stalls": None, "longest_stall_ms": None}
    stalls = result.stalls
    return {
        **where,
        "measured": True,
        "own_load": result.resources.cpu_percent > OWN_LOAD_PERCENT,
        "stalls": len(stalls),
        "stalled_ms": round(sum(stall.milliseconds for stall in stalls), DIGITS),
        "longest_stall_ms": round(max((stall.milliseconds for stall in stalls), default=0.0), DIGITS),
        "attributed_share_of_lateness": _share(result, lateness=True),
        "attributed_share_of_latency": _share(result, lateness=False),
    }


def _share(result: LoadResult, *, lateness: bool) -> float:
    assert result.stalls is not None
    chosen = [(lateness_of if lateness else latency_of)(record, result.plan) for record in result.schedules]
    whole = sum(sum(spans.spans) for spans in chosen)
    left = sum(sum(spans.without(result.stalls)) for spans in chosen)
    return round((whole - left) / whole, DIGITS) if whole else 0.0
