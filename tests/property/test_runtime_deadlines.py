"""Whatever the load: no fire is early, no lateness accumulates, no slot is lost without being counted."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from stage4.runtime.schedule import DriftPolicy, Timing, rule
from stage4.runtime.scheduler import Fire, Scheduler, Silent
from stage4.testing.clock import ManualClock
from support.simulated_timer import SimulatedTimer

MICROSECOND = 1000
TIMINGS = st.builds(
    Timing,
    cadence_ns=st.integers(1, 50_000).map(lambda us: us * MICROSECOND),
    max_drift_ns=st.integers(0, 100_000).map(lambda us: us * MICROSECOND),
    phase_ns=st.integers(0, 50_000).map(lambda us: us * MICROSECOND),
    policy=st.sampled_from([DriftPolicy.RUN, DriftPolicy.SKIP]),
)


@given(TIMINGS, st.integers(0, 2**62), st.integers(0, 10_000), st.integers(0, 10**12), st.booleans())
def test_a_ruling_counts_every_slot_that_came_due_exactly_once(
    timing: Timing, anchor: int, slot: int, lateness: int, busy: bool
) -> None:
    now = timing.deadline(anchor, slot) + lateness
    ruling = rule(timing, anchor, slot, now, busy=busy)
    assert ruling.next_slot - slot == ruling.missed + ruling.run
    assert timing.deadline(anchor, ruling.next_slot) > now
    assert timing.deadline(anchor, ruling.next_slot - 1) <= now


class Seen(Silent):
    """Keeps fires and counts missed slots."""

    def __init__(self) -> None:
        self.fires: list[Fire] = []
        self.lost: Counter[str] = Counter()

    def fired(self, fire: Fire) -> None:
        self.fires.append(fire)

    def missed(self, schedule: str, slots: int) -> None:
        self.lost[schedule] += slots


@settings(max_examples=60, deadline=None)
@given(st.lists(TIMINGS, min_size=1, max_size=5), st.integers(0, 2**32))
def test_the_scheduler_is_never_early_and_never_drifts(timings: list[Timing], seed: int) -> None:
    chance = random.Random(seed)
    clock = ManualClock()
    seen = Seen()
    anchor = clock.monotonic_ns()
    until = anchor + 300_000 * MICROSECOND

    def work(fire: Fire) -> None:
        # Now and then the machine stalls in the middle of a dispatch.
        if chance.random() < 0.1:
            clock.advance(seconds=chance.randrange(100_000) / 1e6)

    async def story() -> None:
        stop = asyncio.Event()
        scheduler = Scheduler(clock, observer=seen)
        for place, timing in enumerate(timings):
            scheduler.add(f"s{place}", timing, work)
        timer = SimulatedTimer(clock, until, stop.set, late_us=lambda: chance.choice([0, 0, 1, 700, 20_000]))
        await scheduler.run(stop, timer=timer, anchor_ns=anchor)

    asyncio.run(story())
    for fire in seen.fires:
        timing = timings[int(fire.schedule[1:])]
        assert fire.intended_ns == anchor + timing.phase_ns + fire.slot * timing.cadence_ns
        assert fire.dispatched_ns >= fire.intended_ns
    for place in range(len(timings)):
        slots = [fire.slot for fire in seen.fires if fire.schedule == f"s{place}"]
        assert slots == sorted(set(slots))
        if slots:
            run_or_lost = len(slots) + seen.lost[f"s{place}"]
            assert run_or_lost >= slots[-1] + 1
