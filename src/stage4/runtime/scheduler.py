"""
The scheduler: one heap of absolute monotonic deadlines, one timer, any number of schedules.

* A job never runs before its deadline, and lateness never accumulates (`schedule.Timing`).
* Lateness is counted from the intended instant of the oldest slot a run answers for, so a stall is not hidden.
* A schedule whose evaluation fails three times in a row is suspended alone; the others go on.
* An evaluation still at work makes its own next slots missed and delays nobody else.

A job may be a plain callable, run inside the dispatch (it must be quick, and must not fail: its exception ends
`run`), or a coroutine function, run as a task of its own.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from stage4.clock import Clock
from stage4.errors import UsageError
from stage4.runtime.schedule import Timing, rule
from stage4.runtime.timer import Timer, system_timer

FAILURES_BEFORE_SUSPENSION = 3
BURST = 64
"""Dispatches in one turn of the event loop: a turn costs a few microseconds, a dispatch about seven."""
START_AHEAD_NS = 20_000_000
"""The grids begin this much after `run`, or their first slots would be late by the time of setting up."""


@dataclass(frozen=True, slots=True)
class Fire:
    """One dispatch of one schedule; instants are nanoseconds of the monotonic clock."""

    schedule: str
    slot: int
    intended_ns: int
    dispatched_ns: int
    missed: int
    """Slots of this schedule that were missed just before this one."""

    @property
    def lateness_ms(self) -> float:
        """From the intended instant to the dispatch, milliseconds, never negative."""
        return (self.dispatched_ns - self.intended_ns) / 1e6


class SuspensionReason(StrEnum):
    """Why a schedule no longer fires."""

    FAILURES = "failures"
    DRIFT = "drift"
    REQUEST = "request"


Job = Callable[[Fire], Awaitable[None] | None]


class SchedulerObserver(Protocol):
    """Hears what the scheduler did; called on the event loop, must be quick."""

    def fired(self, fire: Fire) -> None:
        """A slot was dispatched."""

    def missed(self, schedule: str, slots: int) -> None:
        """`slots` slots of `schedule` will never run."""

    def failed(self, schedule: str, error: BaseException, in_a_row: int) -> None:
        """An evaluation ended with `error`, the `in_a_row`-th in a row."""

    def suspended(self, schedule: str, reason: SuspensionReason) -> None:
        """`schedule` no longer fires."""


class Silent:
    """An observer that hears nothing."""

    def fired(self, fire: Fire) -> None: ...

    def missed(self, schedule: str, slots: int) -> None: ...

    def failed(self, schedule: str, error: BaseException, in_a_row: int) -> None: ...

    def suspended(self, schedule: str, reason: SuspensionReason) -> None: ...


@dataclass(slots=True)
class _Entry:
    """What changes about one schedule while it runs."""

    timing: Timing
    job: Job
    slot: int = 0
    evaluation: asyncio.Future[None] | None = None
    failures: int = 0
    missed: int = 0
    suspended: SuspensionReason | None = None


class Scheduler:
    """Fires jobs on their grids until told to stop."""

    def __init__(self, clock: Clock, *, observer: SchedulerObserver | None = None) -> None:
        self._clock = clock
        self._observer: SchedulerObserver = observer or Silent()
        self._entries: dict[str, _Entry] = {}
        self._heap: list[tuple[int, str]] = []
        self._anchor_ns: int | None = None
        self._wakeup: asyncio.Future[None] | None = None

    def add(self, name: str, timing: Timing, job: Job) -> None:
        """Register schedule `name`; raises UsageError `runtime.schedule_twice` when the name is taken."""
        if name in self._entries:
            raise UsageError("runtime.schedule_twice", schedule=name)
        self._entries[name] = _Entry(timing, job)
        if self._anchor_ns is not None:
            self._enlist(name, self._clock.monotonic_ns())

    @property
    def anchor_ns(self) -> int | None:
        """The origin of all grids; None before `run`."""
        return self._anchor_ns

    def suspension(self, name: str) -> SuspensionReason | None:
        """Why `name` does not fire; None when it does."""
        return self._entries[name].suspended

    def failures(self, name: str) -> int:
        """How many evaluations of `name` failed in a row."""
        return self._entries[name].failures

    def suspend(self, name: str, reason: SuspensionReason = SuspensionReason.REQUEST) -> None:
        """Let `name` fire no more; an evaluation at work is left to end. A request gives way to what never ends."""
        entry = self._entries[name]
        if entry.suspended is None or (entry.suspended is SuspensionReason.REQUEST and reason is not entry.suspended):
            entry.suspended = reason
            self._observer.suspended(name, reason)

    def resume(self, name: str) -> None:
        """Let `name` fire again from its next slot; its failures are forgotten."""
        entry = self._entries[name]
        if entry.suspended is not None:
            entry.suspended, entry.failures = None, 0
            self._enlist(name, self._clock.monotonic_ns())

    async def run(self, stop: asyncio.Event, *, timer: Timer | None = None, anchor_ns: int | None = None) -> None:
        """Fire until `stop` is set, then cancel what is at work and return when it has ended."""
        loop = asyncio.get_running_loop()
        chosen = timer or system_timer(loop, self._clock)
        self._anchor_ns = self._clock.monotonic_ns() + START_AHEAD_NS if anchor_ns is None else anchor_ns
        self._heap = []
        for name, entry in self._entries.items():
            entry.slot = 0
            heapq.heappush(self._heap, (entry.timing.deadline(self._anchor_ns, 0), name))
        watching = asyncio.create_task(stop.wait())
        watching.add_done_callback(lambda _: self._wake())
        try:
            while not stop.is_set():
                self._dispatch_due(stop)
                self._wakeup = loop.create_future()
                if self._heap:
                    chosen.arm(self._heap[0][0], self._wake)
                if not stop.is_set():
                    await self._wakeup
        finally:
            watching.cancel()
            chosen.close()
            await self._end_evaluations()
            self._anchor_ns = None

    def _wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    def _enlist(self, name: str, now_ns: int) -> None:
        """Put `name` back on its grid at the first slot that is not yet due."""
        if self._anchor_ns is None or any(listed == name for _, listed in self._heap):
            return
        entry = self._entries[name]
        entry.slot = entry.timing.latest_slot(self._anchor_ns, now_ns) + 1
        heapq.heappush(self._heap, (entry.timing.deadline(self._anchor_ns, entry.slot), name))
        self._wake()

    def _dispatch_due(self, stop: asyncio.Event) -> None:
        # Only what is due on entry, and not all of a burst at once: the event loop must get its turn, to begin the
        # evaluations that were dispatched first and to hear a stop.
        horizon_ns = self._clock.monotonic_ns()
        for _ in range(BURST):
            if not self._heap or self._heap[0][0] > horizon_ns or stop.is_set():
                return
            deadline_ns, name = self._heap[0]
            entry = self._entries[name]
            if entry.suspended is not None:
                heapq.heappop(self._heap)
                continue
            self._dispatch(name, entry, deadline_ns, self._clock.monotonic_ns())

    def _dispatch(self, name: str, entry: _Entry, deadline_ns: int, now_ns: int) -> None:
        assert self._anchor_ns is not None
        ruling = rule(entry.timing, self._anchor_ns, entry.slot, now_ns, busy=entry.evaluation is not None)
        slot, entry.slot = entry.slot, ruling.next_slot
        if ruling.halt:
            heapq.heappop(self._heap)
        else:
            # The next deadline stands in the heap before the job runs, so nothing the job does can lose it.
            heapq.heapreplace(self._heap, (entry.timing.deadline(self._anchor_ns, entry.slot), name))
        if ruling.missed:
            entry.missed += ruling.missed
            self._observer.missed(name, ruling.missed)
        if ruling.halt:
            self.suspend(name, SuspensionReason.DRIFT)
        if not ruling.run:
            return
        fire = Fire(name, slot, deadline_ns, now_ns, entry.missed)
        entry.missed = 0
        self._observer.fired(fire)
        work = entry.job(fire)
        if work is None:
            entry.failures = 0
            return
        entry.evaluation = asyncio.ensure_future(work)
        entry.evaluation.add_done_callback(lambda done: self._ended(name, done))

    def _ended(self, name: str, evaluation: asyncio.Future[None]) -> None:
        entry = self._entries[name]
        entry.evaluation = None
        if evaluation.cancelled():
            return
        error = evaluation.exception()
        if error is None:
            entry.failures = 0
            return
        entry.failures += 1
        self._observer.failed(name, error, entry.failures)
        if entry.failures >= FAILURES_BEFORE_SUSPENSION:
            self.suspend(name, SuspensionReason.FAILURES)

    async def _end_evaluations(self) -> None:
        at_work = [entry.evaluation for entry in self._entries.values() if entry.evaluation is not None]
        for evaluation in at_work:
            evaluation.cancel()
        await asyncio.gather(*at_work, return_exceptions=True)
