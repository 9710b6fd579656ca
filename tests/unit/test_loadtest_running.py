"""The running scheduler's last ten minutes: judged by what is fresh, and never green for want of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from stage4.config.settings import ScheduleSettings
from stage4.runtime.loadtest_running import LATENESS, MISSED, SUSPENDED, BySchedule, Running, judge_running
from stage4.runtime.loadtest_sla import JITTER, LATENCY
from stage4.telemetry.recorder import Point

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
CHOSEN = ScheduleSettings(strategy="s", cadence_seconds=1.0)


def points(*values: float, newest: float = 1.0, every: float = 1.0) -> tuple[Point, ...]:
    """Points in the order of time; the last one is `newest` seconds old."""
    count = len(values)
    return tuple(
        Point(NOW - timedelta(seconds=newest + every * (count - 1 - place)), value)
        for place, value in enumerate(values)
    )


def judged(chosen: ScheduleSettings = CHOSEN, **seen: Sequence[Point]) -> Running:
    names = {"latency": LATENCY, "jitter": JITTER, "lateness": LATENESS, "missed": MISSED, "suspended": SUSPENDED}
    by_metric: Mapping[str, BySchedule] = {names[name]: {"one": of_metric} for name, of_metric in seen.items()}
    return judge_running({"one": chosen}, by_metric, NOW, {})


@pytest.mark.parametrize(("latency", "verdict"), [(0.150, "pass"), (0.151, "warn"), (0.221, "fail")])
def test_the_worst_second_of_the_ten_minutes_is_judged_by_the_profile(latency: float, verdict: str) -> None:
    found = judged(latency=points(0.001, latency, 0.001), jitter=points(0.001, 0.001, 0.001))
    assert found.verdict == verdict
    assert found.covered_seconds == 2.0
    assert found.rows[0].observed == latency * 1000
    assert found.rows[0].worst_at == "2026-11-23T08:59:58Z"
    assert found.rows[0].beyond == (1 if verdict == "fail" else 0)


def test_what_is_older_than_ten_minutes_no_longer_counts() -> None:
    old = points(0.9, newest=601)
    assert judged(latency=(*old, *points(0.001)), jitter=points(0.001)).verdict == "pass"


def test_nothing_seen_and_nothing_fresh_cannot_be_told() -> None:
    assert judge_running({"one": CHOSEN}, {}, NOW, {}).verdict == "cannot_tell"
    assert judged(latency=points(0.001, newest=60), jitter=points(0.001)).verdict == "cannot_tell"
    assert judge_running({}, {}, NOW, {}).verdict == "cannot_tell"
    assert Running(problem="telemetry.no_answer").verdict == "cannot_tell"


def test_one_schedule_without_data_leaves_the_whole_untold() -> None:
    seen = {LATENCY: {"one": points(0.001)}, JITTER: {"one": points(0.001)}}
    assert judge_running({"one": CHOSEN, "two": CHOSEN}, seen, NOW, {}).verdict == "cannot_tell"


def test_a_breach_stays_one_after_its_schedule_fell_silent() -> None:
    assert judged(latency=points(0.9, newest=300), jitter=points(0.001)).verdict == "fail"


def test_a_slow_cadence_has_more_time_before_it_is_stale() -> None:
    slow = ScheduleSettings(strategy="s", cadence_seconds=60.0)
    assert judged(slow, latency=points(0.001, newest=170), jitter=points(0.001, newest=170)).verdict == "pass"


def test_outside_its_trading_windows_a_schedule_has_no_latency_to_show() -> None:
    closed = ScheduleSettings(strategy="s", cadence_seconds=1.0, trading_windows=("14:00-15:00",))
    fires = points(0.001)
    assert judged(closed, lateness=fires, jitter=fires).verdict == "pass"
    assert judged(closed).verdict == "cannot_tell"
    inside = ScheduleSettings(strategy="s", cadence_seconds=1.0, trading_windows=("08:55-15:00",))
    assert judged(inside, lateness=fires, jitter=fires).verdict == "cannot_tell"


def test_a_suspended_schedule_is_not_within_limits() -> None:
    assert judged(latency=points(0.001), jitter=points(0.001), suspended=points(1.0)).verdict == "fail"
    assert judged(latency=points(0.001), jitter=points(0.001), suspended=points(1.0, 0.0)).verdict == "pass"


@pytest.mark.parametrize(
    ("totals", "share", "verdict"),
    [
        # A hundred seconds of a one-second cadence; five missed; and two and eighteen counted anew after a restart.
        ((7.0,) * 100 + (12.0,), 0.05, "warn"),
        ((100.0, *(2.0,) * 99, 20.0), 0.2, "fail"),
    ],
)
def test_missed_slots_are_counted_over_a_restart(totals: tuple[float, ...], share: float, verdict: str) -> None:
    found = judged(latency=points(0.001), jitter=points(0.001), lateness=points(0.001), missed=points(*totals))
    (row,) = [row for row in found.rows if row.metric == "slots_missed"]
    assert (row.observed, found.verdict) == (share, verdict)
