"""How a load run is judged: percentiles with support, limits by profile, stalls of the host, resources."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stage4 import words
from stage4.cli.load_test_scheduler import EXIT_CODES
from stage4.config.settings import Limits, ResourceLimits
from stage4.runtime.loadtest_figures import distribution
from stage4.runtime.loadtest_hiccup import Stall, attributed_ns
from stage4.runtime.loadtest_report import Phase, document, sentences, verdict_code, verdicts_of
from stage4.runtime.loadtest_resources import NOTHING, ResourceUse, judge_resources
from stage4.runtime.loadtest_run import LoadPlan, LoadResult, ProbeResult, ScheduleRecord
from stage4.runtime.loadtest_running import Running
from stage4.runtime.loadtest_sla import SlaRow, judge_sla, verdict_of, worst
from stage4.runtime.scheduler import SuspensionReason

MS = 1_000_000
USE = ResourceUse(10, 20.0, 100.0, 1.0, 1.0, 100, 1, 0.0, 30.0)
KILLED = ProbeResult(written_ms=2.0, closed_ms=1.0, submitted_before=3, asked_after=3, signals_after=0)


def record(latency: Sequence[int], lateness: Sequence[int] | None = None, profile: str = "balanced") -> ScheduleRecord:
    late = list(lateness if lateness is not None else [0] * len(latency))
    return ScheduleRecord(
        "s1",
        profile,
        slots=list(range(5, 5 + len(latency))),
        intended=[100 * MS * slot for slot in range(len(latency))],
        lateness=late,
        service=[total - part for total, part in zip(latency, late, strict=True)],
        latency=list(latency),
        dispatched=len(latency),
        signals=len(latency),
    )


def result(
    *records: ScheduleRecord, stalls: tuple[Stall, ...] | None = (), iterations: int = 0, probe: ProbeResult = KILLED
) -> LoadResult:
    counted = iterations or max(1, *(record.dispatched for record in records), 1)
    plan = LoadPlan(iterations=counted, schedules=len(records), cadence_seconds=0.1, seed=1)
    return LoadResult(plan, records, 7, USE, stalls, 3.0, 0, probe)


def said(found: LoadResult, running: Running | None = None) -> dict[str, Mapping[str, object]]:
    return {each.code: each.params for each in sentences([Phase("private", found)], running, {})}


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
    assert (latency.statistic, latency.observed, latency.level) == ("p99", 1.0, "ok")
    assert (jitter.statistic, jitter.observed, jitter.level) == ("p99 - p50 of lateness", 0.0, "ok")


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


def test_what_the_host_took_is_shown_apart_and_changes_no_verdict() -> None:
    lateness = [0] * 29 + [60 * MS]
    stall = Stall(2900 * MS, 2950 * MS)
    found = result(record([80 * MS] * 30, lateness), stalls=(stall,))
    (_, jitter) = judge_sla(found, {})
    assert (jitter.level, jitter.observed, jitter.without_host, jitter.level_without_host) == (
        "warning",
        60.0,
        10.0,
        "ok",
    )
    assert said(found)["loadtest.host_explains"] == {"stalls": 1, "longest": 50.0, "cpu": 20}
    busy = replace(found, resources=replace(USE, cpu_percent=51.0))
    assert said(busy)["loadtest.host_or_own_load"] == {"stalls": 1, "longest": 50.0, "cpu": 51}


def test_a_stall_elsewhere_explains_nothing_and_no_meter_says_so() -> None:
    slow = record([MS] * 29 + [900 * MS])
    assert "loadtest.host_does_not_explain" in said(result(slow, stalls=(Stall(0, 20 * MS),)))
    unmeasured = result(slow, stalls=None)
    assert "loadtest.host_unmeasured" in said(unmeasured)
    assert judge_sla(unmeasured, {})[0].without_host is None


def test_ninety_samples_support_no_p99_and_the_words_say_what_they_do_support() -> None:
    few = said(result(*(record([MS] * 30) for _ in range(3))))["loadtest.few_samples"]
    # 1 - 0.05 ** (1 / 90), in per cent
    assert few == {"samples": 90, "needed": 1000, "bound": 299, "share": 3.3}
    assert "loadtest.few_samples" not in said(result(record([MS] * 1000)))


def test_a_bound_says_how_many_slots_may_lie_beyond_the_limit() -> None:
    (latency, _) = judge_sla(result(record([MS] * 29 + [300 * MS])), {})
    # Clopper and Pearson: one of thirty leaves up to 14.9 % possible.
    assert (latency.beyond, latency.share_beyond_95) == (1, pytest.approx(0.1486, abs=0.0005))


@pytest.mark.parametrize(
    ("dispatched", "level"), [(100, None), (97, None), (96, "warning"), (85, "warning"), (83, "critical")]
)
def test_a_rate_that_was_not_driven_is_no_pass(dispatched: int, level: str | None) -> None:
    rows = judge_sla(result(record([MS] * dispatched), iterations=100), {})
    assert [row.level for row in rows if row.metric == "slots_missed"] == ([] if level is None else [level])


def test_a_suspended_schedule_is_not_within_its_limits() -> None:
    slow = record([MS] * 30)
    slow.suspended = SuspensionReason.FAILURES
    assert verdict_of(judge_sla(result(slow), {})) == "fail"


def test_the_worse_part_counts_and_a_breach_outweighs_what_cannot_be_told() -> None:
    good, bad = Phase("private", result(record([MS] * 30))), Phase("peak", result(record([900 * MS] * 30)))
    assert verdicts_of([good], None, {}) == {"private": "pass", "kill_switch": "pass"}
    unreached = Running(problem="telemetry.no_answer")
    assert worst(verdicts_of([good], unreached, {}).values()) == "cannot_tell"
    assert worst(verdicts_of([good, bad], unreached, {}).values()) == "fail"
    assert worst(["pass", "warn"]) == "warn"
    assert worst([]) == "cannot_tell"


def test_the_words_name_the_worst_of_the_running_scheduler() -> None:
    quick = SlaRow("one", "balanced", "latency_ms", "worst of the window", 600, 20.0, 150.0, 220.0, "ok", beyond=0)
    slow = replace(quick, schedule="two", observed=300.0, level="critical", beyond=3, worst_at="2026-11-23T08:59:58Z")
    told = said(result(record([MS] * 30)), Running((quick, slow), covered_seconds=599.6))["loadtest.running_fail"]
    assert told == {
        "seconds": 600,
        "schedule": "two",
        "figure": "latency_ms",
        "value": 300.0,
        "at": "2026-11-23T08:59:58Z",
        "beyond": 3,
    }
    assert said(result(record([MS] * 30)), Running((quick,)))["loadtest.running_pass"]["schedule"] == "one"
    assert not [code for code in said(result(record([MS] * 30)), Running(problem="x")) if "running" in code]


def test_worse_than_before_is_not_called_a_missed_limit() -> None:
    assert verdict_code({"private": "pass", "comparison": "fail"}) == "loadtest.verdict_worse"
    assert verdict_code({"private": "fail", "comparison": "fail"}) == "loadtest.verdict_fail"
    assert verdict_code({"private": "warn", "comparison": "cannot_tell"}) == "loadtest.verdict_cannot_tell"


@pytest.mark.parametrize(
    ("probe", "verdict"),
    [
        (KILLED, "pass"),
        (ProbeResult(2.0, 1.0, 3, 3, 1), "fail"),
        (ProbeResult(2.0, None, 3, 3, 0), "fail"),
        (ProbeResult(2.0, 1.0, 0, 3, 0), "cannot_tell"),
        (ProbeResult(2.0, 1.0, 3, 0, 0), "cannot_tell"),
        (ProbeResult(None, None, 0, 0, 0), "cannot_tell"),
    ],
)
def test_a_kill_switch_that_nobody_tried_has_not_passed(probe: ProbeResult, verdict: str) -> None:
    found = result(record([MS] * 30), probe=probe)
    assert verdicts_of([Phase("private", found)], None, {})["kill_switch"] == verdict
    assert f"loadtest.kill_{verdict}" in said(found)


@pytest.mark.parametrize(
    ("cpu", "status", "reasons"),
    [(20.0, "ok", ()), (60.0, "warning", ("cpu_percent",)), (70.0, "error", ("cpu_percent",))],
)
def test_resources_are_judged_by_limit_and_headroom(cpu: float, status: str, reasons: tuple[str, ...]) -> None:
    use = ResourceUse(10, cpu, 100.0, 1.0, 1.0, 100, 1, 0.0, 30.0)
    verdict = judge_resources(use, ResourceLimits())
    assert (verdict.status, verdict.reasons) == (status, reasons)
    assert judge_resources(NOTHING, ResourceLimits()).reasons == ("not_measured",)


def test_the_document_keeps_the_keys_of_the_field_and_counts_what_was_missed() -> None:
    report = document([Phase("private", result(record([2 * MS] * 28), iterations=30))], None, {}, ResourceLimits(), {})
    peer = ("schedules", "iterations", "avg_latency_ms", "max_latency_ms", "jitter_ms", "signals_emitted")
    assert list(report)[:9] == ["schema", *peer, "resource_status", "settings"]
    assert (report["avg_latency_ms"], report["max_latency_ms"], report["signals_emitted"]) == (2.0, 2.0, 28)
    measured = report["measured"]
    assert isinstance(measured, dict)
    assert (measured["slots_expected"], measured["slots_missed"], measured["signals_submitted"]) == (30, 2, 7)
    json.dumps(report, allow_nan=False)


def test_every_verdict_has_words_and_an_exit_code() -> None:
    for verdict in EXIT_CODES:
        assert words.text(f"loadtest.verdict_{verdict}", "pl", latency=1, jitter=1, parts="x")
