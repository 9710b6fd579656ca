"""The running environment's use of the machine, against its limits."""

from __future__ import annotations

import pytest

from stage4.clock import SystemClock
from stage4.config.settings import ResourceLimits
from stage4.runtime import resources
from stage4.runtime.loadtest_resources import ResourceUse, Totals
from stage4.runtime.resources import ResourceWatch, judged, largest_share, use_between

LIMITS = ResourceLimits(
    cpu_percent=50, memory_mb=100, io_read_mb_s=10, io_write_mb_s=20, headroom_warning_threshold=0.8
)


def use(cpu: float = 0.0, memory: float = 0.0, read: float = 0.0, written: float = 0.0) -> ResourceUse:
    return ResourceUse(2, cpu, memory, read, written, 0, 0, 0.0, 0.0)


def test_use_is_the_difference_of_two_readings_over_the_time_between() -> None:
    before = Totals(cpu_seconds=10.0, memory=90_000_000, read=5_000_000, written=1_000_000)
    after = Totals(cpu_seconds=12.0, memory=50_000_000, read=25_000_000, written=1_000_000)
    seen = use_between(before, after, seconds=4.0, processors=2)
    assert (seen.cpu_percent, seen.memory_mb, seen.io_read_mb_s, seen.io_write_mb_s) == (25.0, 50.0, 5.0, 0.0)


def test_a_process_that_ended_makes_no_negative_use() -> None:
    before, after = Totals(cpu_seconds=10.0, read=5, written=5, switches=9), Totals(cpu_seconds=1.0)
    seen = use_between(before, after, seconds=1.0, processors=1)
    assert (seen.cpu_percent, seen.io_read_mb_s, seen.io_write_mb_s, seen.context_switches) == (0.0, 0.0, 0.0, 0)


@pytest.mark.parametrize(
    ("seen", "status", "reasons", "share"),
    [
        (use(cpu=40, memory=80, read=8, written=16), "ok", (), 0.8),
        (use(memory=80.1), "warning", ("memory_mb",), 0.801),
        (use(cpu=50), "warning", ("cpu_percent",), 1.0),
        (use(cpu=50.1, memory=99), "error", ("cpu_percent",), 1.002),
        (use(read=30, written=30), "error", ("io_read_mb_s", "io_write_mb_s"), 3.0),
    ],
)
def test_headroom_warns_and_a_limit_is_an_error(
    seen: ResourceUse, status: str, reasons: tuple[str, ...], share: float
) -> None:
    word = judged(seen, LIMITS, 5.0)
    assert (word.status, word.reasons, word.largest_share) == (status, reasons, share)
    assert largest_share(seen, LIMITS) == pytest.approx(share)


def test_the_first_look_has_measured_nothing_and_the_second_has() -> None:
    watch = ResourceWatch(LIMITS, SystemClock())
    assert watch.look().reasons == ("not_measured",)
    word = watch.look()
    assert word.seconds > 0
    assert word.memory_mb > 1


def test_a_host_without_a_descriptor_left_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> Totals:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(resources, "totals", exhausted)
    watch = ResourceWatch(LIMITS, SystemClock())
    assert [watch.look().status, watch.look().status] == ["warning", "warning"]
