"""How a load run is judged: percentiles with support, limits by profile, stalls of the host, resources."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stage4 import words
from stage4.cli.load_test_scheduler import EXIT_CODES
from stage4.config.settings import Limits, ResourceLimits
from stage4.runtime.loadtest import LoadPlan, LoadResult, ScheduleRecord
from stage4.runtime.loadtest_hiccup import Stall, attributed_ns
from stage4.runtime.loadtest_report import distribution, document, judge_sla, verdict_of
from stage4.runtime.loadtest_resources import NOTHING, ResourceUse, judge_resources

MS = 1_000_000
USE = ResourceUse(10, 20.0, 100.0, 1.0, 1.0, 100, 1, 0.0, 30.0)


def record(latency: Sequence[int], lateness: Sequence[int] | None = None, profile: str = "balanced") -> ScheduleRecord:
    late = list(lateness if lateness is not None else [0] * len(latency))
    return ScheduleRecord(
        "s1",
        profile,
        intended=[100 * MS * slot for slot in range(len(latency))],
        lateness=late,
        service=[total - part for total, part in zip(latency, late, strict=True)],
        latency=list(latency),
        dispatched=len(latency),
        signals=len(latency),
    )


def result(*records: ScheduleRecord, stalls: tuple[Stall, ...] = (), iterations: int = 30) -> LoadResult:
    plan = LoadPlan(iterations=iterations, schedules=len(records), cadence_seconds=0.1, seed=1)
    return LoadResult(plan, records, 7, USE, stalls, 3.0, 0)


@pytest.mark.parametrize(
    ("latency_ms", "verdict"), [(149, "pass"), (150, "pass"), (151, "warn"), (220, "warn"), (221, "fail")]
)
def test_latency_is_judged_by_the_profile_of_its_schedule(latency_ms: int, verdict: str) -> None:
    spans = [MS] * 29 + [latency_ms * MS]
    assert verdict_of(judge_sla(result(record(spans)), {})) == verdict


def test_a_stricter_profile_has_stricter_limits() -> None:
    spans = [MS] * 29 + [210 * MS]
    assert verdict_of(judge_sla(result(record(spans, profile="conservative")), {})) == "fail"
    assert verdict_of(judge_sla(result(record(spans, profile="aggressive")), {})) == "warn"


@pytest.mark.parametrize(("late_ms", "verdict"), [(30, "pass"), (31, "warn"), (76, "fail")])
def test_jitter_below_a_thousand_samples_is_max_minus_p50(late_ms: int, verdict: str) -> None:
    lateness = [0] * 29 + [late_ms * MS]
    (latency, jitter) = judge_sla(result(record([80 * MS] * 30, lateness)), {})
    assert (latency.level, jitter.statistic) == ("ok", "max - p50 of lateness")
    assert verdict_of([jitter]) == verdict


def test_with_a_thousand_samples_one_outlier_is_no_breach() -> None:
    spans = [MS] * 1999 + [900 * MS]
    (latency, jitter) = judge_sla(result(record(spans, spans)), {})
    assert (latency.statistic, latency.observed_ms, latency.level) == ("p99", 1.0, "ok")
    assert (jitter.statistic, jitter.observed_ms, jitter.level) == ("p99 - p50 of lateness", 0.0, "ok")


def test_the_installation_may_set_its_own_limits() -> None:
    own = {"balanced": {"loop_latency_seconds": Limits(warning=0.001, critical=0.002)}}
    assert verdict_of(judge_sla(result(record([3 * MS] * 30)), own)) == "fail"


def test_a_schedule_without_an_evaluation_cannot_be_judged() -> None:
    rows = judge_sla(result(record([MS] * 30), record([])), {})
    assert verdict_of(rows) == "cannot_tell"
    assert verdict_of([]) == "cannot_tell"


def test_a_breach_outweighs_what_cannot_be_told() -> None:
    assert verdict_of(judge_sla(result(record([]), record([900 * MS])), {})) == "fail"


def test_percentiles_need_ten_samples_beyond_them() -> None:
    few = distribution([MS] * 90)
    assert (few["p50"], few["p90"], few["p99"]) == (1.0, None, None)
    assert few["unsupported"] == ["p90", "p99", "p99_9"]
    many = distribution(list(range(MS, 1001 * MS, MS)))
    assert many["unsupported"] == ["p99_9"]
    assert many["p99"] == pytest.approx(990, rel=0.002)
    assert (many["min"], many["max"], many["samples"]) == (1.0, 1000.0, 1000)


def test_no_sample_has_no_distribution() -> None:
    assert distribution([]) == {"samples": 0}


@given(st.lists(st.integers(0, 10**10), min_size=100, max_size=300))
def test_percentiles_are_those_of_the_sorted_samples(spans: list[int]) -> None:
    found = distribution(spans)["p50"]
    assert isinstance(found, float)
    ordered = sorted(spans)
    middle = ordered[(len(ordered) - 1) // 2] / 1e6, ordered[len(ordered) // 2] / 1e6
    assert min(middle) * 0.998 - 0.002 <= found <= max(middle) * 1.002 + 0.002


def test_lateness_is_the_hosts_where_a_stall_covers_it() -> None:
    stall = Stall(100 * MS, 120 * MS)
    assert attributed_ns(100 * MS, 20 * MS, [stall]) == 20 * MS
    assert attributed_ns(110 * MS, 20 * MS, [stall]) == 10 * MS
    assert attributed_ns(90 * MS, 5 * MS, [stall]) == 0
    assert attributed_ns(100 * MS, 20 * MS, []) == 0


def test_the_worst_lateness_names_the_hosts_part() -> None:
    lateness = [0] * 29 + [60 * MS]
    stall = Stall(2900 * MS, 2950 * MS)
    (_, jitter) = judge_sla(result(record([80 * MS] * 30, lateness), stalls=(stall,)), {})
    assert (jitter.level, jitter.observed_ms, jitter.host_attributed_ms) == ("warning", 60.0, 50.0)


@pytest.mark.parametrize(
    ("cpu", "status", "reasons"),
    [(20.0, "ok", ()), (60.0, "warning", ("cpu_percent",)), (70.0, "error", ("cpu_percent",))],
)
def test_resources_are_judged_by_limit_and_headroom(cpu: float, status: str, reasons: tuple[str, ...]) -> None:
    use = ResourceUse(10, cpu, 100.0, 1.0, 1.0, 100, 1, 0.0, 30.0)
    verdict = judge_resources(use, ResourceLimits())
    assert (verdict.status, verdict.reasons) == (status, reasons)
    assert judge_resources(NOTHING, ResourceLimits()).status == "ok"


def test_the_document_keeps_the_keys_of_the_field_and_counts_what_was_missed() -> None:
    report = document(result(record([2 * MS] * 28)), {}, ResourceLimits(), {})
    peer = ("schedules", "iterations", "avg_latency_ms", "max_latency_ms", "jitter_ms", "signals_emitted")
    assert list(report)[:9] == ["schema", *peer, "resource_status", "settings"]
    assert (report["avg_latency_ms"], report["max_latency_ms"], report["signals_emitted"]) == (2.0, 2.0, 28)
    measured = report["measured"]
    assert isinstance(measured, dict)
    assert (measured["slots_expected"], measured["slots_missed"], measured["signals_submitted"]) == (30, 2, 7)
    json.dumps(report, allow_nan=False)


def test_every_verdict_has_words_and_an_exit_code() -> None:
    for verdict in EXIT_CODES:
        assert words.text(f"loadtest.verdict_{verdict}", "pl", latency=1, jitter=1)
