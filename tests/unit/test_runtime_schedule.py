"""The arithmetic of schedules, with expected values by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from stage4.config.settings import ScheduleSettings
from stage4.runtime.schedule import DriftPolicy, Ruling, Timing, rule, staggered, window_open

EVERY_10 = Timing(cadence_ns=10, max_drift_ns=3, phase_ns=1)


@pytest.mark.parametrize("policy", DriftPolicy)
def test_the_settings_choose_cadence_drift_and_policy(policy: DriftPolicy) -> None:
    settings = ScheduleSettings(strategy="s", cadence_seconds=0.25, max_drift_seconds=2, drift_policy=policy.value)
    assert Timing.of(settings) == Timing(cadence_ns=250_000_000, max_drift_ns=2_000_000_000, policy=policy)
    assert Timing.of(ScheduleSettings(strategy="s", cadence_seconds=1)).policy is DriftPolicy.SKIP


def test_deadlines_stand_on_the_grid_of_the_anchor() -> None:
    assert [EVERY_10.deadline(100, slot) for slot in (0, 1, 7)] == [101, 111, 171]


def test_the_latest_slot_is_the_newest_one_that_is_due() -> None:
    assert [EVERY_10.latest_slot(100, now) for now in (50, 100, 101, 110, 111, 175)] == [-1, -1, 0, 0, 1, 7]


def test_a_slot_in_time_runs_and_nothing_is_missed() -> None:
    assert rule(EVERY_10, 100, 0, 103, busy=False) == Ruling(run=True, missed=0, next_slot=1)


def test_a_slot_beyond_its_drift_runs_once_for_all_it_overtook_under_run() -> None:
    assert rule(EVERY_10, 100, 0, 125, busy=False) == Ruling(run=True, missed=2, next_slot=3)


def test_a_slot_beyond_its_drift_is_missed_under_skip() -> None:
    skipping = Timing(cadence_ns=10, max_drift_ns=3, phase_ns=1, policy=DriftPolicy.SKIP)
    assert rule(skipping, 100, 0, 105, busy=False) == Ruling(run=False, missed=1, next_slot=1)


def test_a_slot_beyond_its_drift_halts_the_schedule_under_halt() -> None:
    halting = Timing(cadence_ns=10, max_drift_ns=3, phase_ns=1, policy=DriftPolicy.HALT)
    assert rule(halting, 100, 0, 105, busy=False) == Ruling(run=False, missed=1, next_slot=1, halt=True)


def test_a_busy_schedule_misses_its_slots() -> None:
    assert rule(EVERY_10, 100, 2, 133, busy=True) == Ruling(run=False, missed=2, next_slot=4)


def test_a_slot_is_never_judged_before_it_is_due() -> None:
    with pytest.raises(ValueError, match="before it is due"):
        rule(EVERY_10, 100, 1, 110, busy=False)


def test_equal_cadences_are_spread_over_the_cadence_and_others_stay() -> None:
    minute, hour = Timing(60, 1), Timing(3600, 1)
    assert [timing.phase_ns for timing in staggered([minute, hour, minute, minute])] == [0, 0, 20, 40]


def test_a_schedule_without_windows_is_always_open() -> None:
    assert window_open((), datetime(2026, 11, 23, 3, 0, tzinfo=UTC))


@pytest.mark.parametrize(
    ("clock", "inside"), [("07:59", False), ("08:00", True), ("15:59", True), ("16:00", False), ("23:30", True)]
)
def test_a_window_includes_its_beginning_and_not_its_end(clock: str, inside: bool) -> None:
    now = datetime.fromisoformat(f"2026-11-23T{clock}:00+00:00")
    assert window_open(("08:00-16:00", "23:00-01:00"), now) is inside


def test_a_window_may_run_over_midnight() -> None:
    assert window_open(("23:00-01:00",), datetime(2026, 11, 24, 0, 59, tzinfo=UTC))
    assert not window_open(("23:00-01:00",), datetime(2026, 11, 24, 1, 0, tzinfo=UTC))
