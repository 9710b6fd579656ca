"""The scheduler's promises, on a simulated clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from stage4.errors import Unavailable, UsageError
from stage4.runtime.schedule import NANOSECONDS, DriftPolicy, Timing
from stage4.runtime.scheduler import BURST, Fire, Job, Scheduler, Silent, SuspensionReason
from stage4.testing.clock import ManualClock
from support.simulated_timer import SimulatedTimer

SECOND = Timing.from_seconds(1, max_drift=0.5)


class Told(Silent):
    """Keeps what the scheduler said."""

    def __init__(self) -> None:
        self.fires: list[tuple[str, int]] = []
        self.suspensions: list[tuple[str, SuspensionReason]] = []
        self.failures: list[tuple[str, str, int]] = []
        self.lost = 0

    def fired(self, fire: Fire) -> None:
        self.fires.append((fire.schedule, fire.slot))

    def missed(self, schedule: str, slots: int) -> None:
        self.lost += slots

    def failed(self, schedule: str, error: BaseException, in_a_row: int) -> None:
        self.failures.append((schedule, str(error), in_a_row))

    def suspended(self, schedule: str, reason: SuspensionReason) -> None:
        self.suspensions.append((schedule, reason))


def play(
    jobs: dict[str, tuple[Timing, Job]],
    *,
    seconds: float,
    told: Told | None = None,
    each_wake: Callable[[Scheduler, ManualClock], None] = lambda scheduler, clock: None,
) -> Told:
    """Run `jobs` for `seconds` of simulated time."""
    clock, told = ManualClock(), told or Told()
    scheduler = Scheduler(clock, observer=told)
    for name, (timing, job) in jobs.items():
        scheduler.add(name, timing, job)

    def late() -> int:
        each_wake(scheduler, clock)
        return 0

    async def story() -> None:
        stop = asyncio.Event()
        anchor = clock.monotonic_ns()
        until = anchor + round(seconds * NANOSECONDS)
        await scheduler.run(stop, timer=SimulatedTimer(clock, until, stop.set, late), anchor_ns=anchor)

    asyncio.run(story())
    return told


def nothing(fire: Fire) -> None:
    """A job without work."""


async def failing(fire: Fire) -> None:
    raise Unavailable("runtime.worker_died", schedule=fire.schedule)


def test_a_schedule_fires_once_for_each_slot() -> None:
    assert play({"one": (SECOND, nothing)}, seconds=3.5).fires == [("one", slot) for slot in range(4)]


def test_a_schedule_that_fails_three_times_in_a_row_is_suspended_alone() -> None:
    told = play({"bad": (SECOND, failing), "good": (SECOND, nothing)}, seconds=9.5)
    assert told.suspensions == [("bad", SuspensionReason.FAILURES)]
    assert [count for _, _, count in told.failures] == [1, 2, 3]
    assert [slot for name, slot in told.fires if name == "bad"] == [0, 1, 2]
    assert [slot for name, slot in told.fires if name == "good"] == list(range(10))


def test_a_success_forgets_the_failures_before_it() -> None:
    async def every_third_succeeds(fire: Fire) -> None:
        if fire.slot % 3 != 2:
            await failing(fire)

    told = play({"uneven": (SECOND, every_third_succeeds)}, seconds=11.5)
    assert told.suspensions == []
    assert len(told.fires) == 12


def test_a_bug_in_a_job_counts_as_a_failure_of_its_schedule() -> None:
    async def buggy(fire: Fire) -> None:
        raise ZeroDivisionError

    told = play({"buggy": (SECOND, buggy), "good": (SECOND, nothing)}, seconds=9.5)
    assert told.suspensions == [("buggy", SuspensionReason.FAILURES)]


def test_an_evaluation_at_work_makes_only_its_own_slots_missed() -> None:
    async def endless(fire: Fire) -> None:
        await asyncio.Event().wait()

    told = play({"stuck": (SECOND, endless), "free": (SECOND, nothing)}, seconds=4.5)
    assert told.fires.count(("stuck", 0)) == 1
    assert [slot for name, slot in told.fires if name == "free"] == list(range(5))
    assert told.lost == 4


def test_a_stall_beyond_the_drift_suspends_a_schedule_that_asked_for_it() -> None:
    careful = Timing.from_seconds(1, max_drift=0.5, policy=DriftPolicy.HALT)

    wakes: list[int] = []

    def each_wake(scheduler: Scheduler, clock: ManualClock) -> None:
        wakes.append(0)
        if len(wakes) == 3:
            clock.advance(seconds=0.7)

    told = play({"careful": (careful, nothing), "other": (SECOND, nothing)}, seconds=6.5, each_wake=each_wake)
    assert told.suspensions == [("careful", SuspensionReason.DRIFT)]
    assert [slot for name, slot in told.fires if name == "careful"] == [0, 1, 2]
    assert [slot for name, slot in told.fires if name == "other"][-1] == 6


def test_a_suspended_schedule_goes_on_at_its_next_slot_when_it_is_resumed() -> None:
    wakes: list[int] = []

    def each_wake(scheduler: Scheduler, clock: ManualClock) -> None:
        wakes.append(0)
        if len(wakes) == 2:
            scheduler.suspend("one")
        if len(wakes) == 4:
            scheduler.resume("one")

    told = play({"one": (SECOND, nothing), "other": (SECOND, nothing)}, seconds=6.5, each_wake=each_wake)
    slots = [slot for name, slot in told.fires if name == "one"]
    assert told.suspensions == [("one", SuspensionReason.REQUEST)]
    assert slots[0] == 0
    assert slots[-1] == 6
    assert len(slots) < 7
    assert len(slots) == len(set(slots))


def test_a_burst_begins_its_first_evaluations_before_its_last_dispatch() -> None:
    told, begun = Told(), []

    async def job(fire: Fire) -> None:
        begun.append(len(told.fires))

    number = 10 * BURST
    play({f"schedule-{place}": (SECOND, job) for place in range(number)}, seconds=0.5, told=told)
    assert len(begun) == number
    assert begun[0] <= BURST
    assert len(set(told.fires)) == number


def test_a_stop_is_heard_in_the_middle_of_a_burst() -> None:
    told, clock = Told(), ManualClock()
    scheduler, stop = Scheduler(clock, observer=told), asyncio.Event()

    async def job(fire: Fire) -> None:
        stop.set()

    for place in range(10 * BURST):
        scheduler.add(f"schedule-{place}", SECOND, job)
    anchor = clock.monotonic_ns()
    asyncio.run(scheduler.run(stop, timer=SimulatedTimer(clock, anchor + NANOSECONDS, stop.set), anchor_ns=anchor))
    assert 0 < len(told.fires) <= 2 * BURST


def test_lateness_counts_from_the_intended_instant() -> None:
    assert Fire("one", 3, intended_ns=1_000_000, dispatched_ns=3_500_000, missed=0).lateness_ms == 2.5


def test_two_schedules_cannot_share_a_name() -> None:
    scheduler = Scheduler(ManualClock())
    scheduler.add("one", SECOND, nothing)
    with pytest.raises(UsageError, match="schedule_twice"):
        scheduler.add("one", SECOND, nothing)


def test_a_failing_plain_job_ends_the_run() -> None:
    def broken(fire: Fire) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        play({"broken": (SECOND, broken)}, seconds=1.5)
