"""Whatever one strategy does in whatever order, only its own schedule suffers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from stage4.errors import Unavailable
from stage4.runtime.schedule import NANOSECONDS, Timing
from stage4.runtime.scheduler import FAILURES_BEFORE_SUSPENSION, Fire, Scheduler, Silent, SuspensionReason
from stage4.testing.clock import ManualClock
from support.simulated_timer import SimulatedTimer

SECOND = Timing.from_seconds(1, max_drift=0.5)
SLOTS = 12
ACTS = st.lists(st.sampled_from(["answer", "raise", "late", "block"]), min_size=SLOTS, max_size=SLOTS)


class Told(Silent):
    """What was fired and who was suspended."""

    def __init__(self) -> None:
        self.fires: dict[str, list[int]] = {"wild": [], "other": []}
        self.suspensions: list[tuple[str, SuspensionReason]] = []

    def fired(self, fire: Fire) -> None:
        self.fires[fire.schedule].append(fire.slot)

    def suspended(self, schedule: str, reason: SuspensionReason) -> None:
        self.suspensions.append((schedule, reason))


def wild(acts: Sequence[str]) -> Callable[[Fire], object]:
    async def evaluate(fire: Fire) -> None:
        act = acts[fire.slot]
        if act == "raise":
            raise ZeroDivisionError
        if act == "late":
            raise Unavailable("runtime.worker_late", schedule=fire.schedule, seconds=2.0)
        if act == "block":
            await asyncio.Event().wait()

    return evaluate


async def answering(fire: Fire) -> None:
    """A strategy without fault."""


def wanted(acts: Sequence[str]) -> tuple[list[int], bool]:
    """The slots that fire, and whether the schedule is suspended: by hand, slot by slot."""
    fires, failures = [], 0
    for slot, act in enumerate(acts):
        fires.append(slot)
        if act == "block":
            return fires, False
        failures = failures + 1 if act in ("raise", "late") else 0
        if failures == FAILURES_BEFORE_SUSPENSION:
            return fires, True
    return fires, False


@given(ACTS)
def test_random_failures_of_one_strategy_cost_the_other_no_slot(acts: list[str]) -> None:
    clock, told = ManualClock(), Told()
    scheduler = Scheduler(clock, observer=told)
    scheduler.add("wild", SECOND, wild(acts))  # type: ignore[arg-type]
    scheduler.add("other", SECOND, answering)

    async def story() -> None:
        stop, anchor = asyncio.Event(), clock.monotonic_ns()
        ends = anchor + (SLOTS - 1) * NANOSECONDS + NANOSECONDS // 2
        await scheduler.run(stop, timer=SimulatedTimer(clock, ends, stop.set), anchor_ns=anchor)

    asyncio.run(story())
    fires, suspended = wanted(acts)
    assert told.fires["wild"] == fires
    assert told.suspensions == ([("wild", SuspensionReason.FAILURES)] if suspended else [])
    assert told.fires["other"] == list(range(SLOTS))
    assert scheduler.suspension("other") is None
