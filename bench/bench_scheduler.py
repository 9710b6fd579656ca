"""
How late schedules start, beside APScheduler 3 in the same run.

3, 100, 1,000 and 10,000 schedules, with spread phases and all due at one instant. Both schedulers start coroutines, and
lateness is read in the coroutine's first statement, from the instant its slot was meant for; `dispatch` is the moment
our scheduler turned to the slot. APScheduler is told to leave no slot out, so the k-th run of a job belongs to its k-th
slot. Each measurement has a process of its own. *Early* counts starts before their instant; *drift* is how far the
smallest lateness moved from the first third of the slots to the last. CPU is of one processor, children none.

BENCH_SECONDS sets the length of one measurement (3). Exit 1 when our scheduler is early, drifts by more than a
millisecond, or drops a start; the aims for lateness are shown and not judged, because they hold for a quiet machine.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from stage4.clock import SystemClock
from stage4.runtime.schedule import NANOSECONDS, Timing, staggered
from stage4.runtime.scheduler import Fire, Scheduler

SECONDS = float(os.environ.get("BENCH_SECONDS", "3"))
SIZES = ((3, 0.1), (100, 0.5), (1_000, 1.0), (10_000, 1.0))
"""How many schedules, and their cadence in seconds: few schedules fire more often, to have something to count."""
AIMS = {(3, False): "1", (10_000, False): "0.5"}
"""p99 of the dispatch in milliseconds on a quiet machine."""
LEAD_NS = 200_000_000
MOST_DRIFT_MS = 1.0


@dataclass
class Starts:
    """What was seen of one scheduler: (slot, lateness in nanoseconds) of each start, in the order of starts."""

    job: list[tuple[int, int]] = field(default_factory=list)
    dispatch: list[int] = field(default_factory=list)
    missed: int = 0
    cpu_percent: float = 0.0

    def late_ms(self, share: float) -> float:
        return milliseconds([late for _, late in self.job], share)


def slots(cadence: float) -> int:
    return max(3, round(SECONDS / cadence))


def milliseconds(values: Sequence[int], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1e6


def drift_ms(starts: Starts, per_schedule: int) -> float:
    """By which the smallest lateness of the last third of the slots exceeds that of the first."""
    third = max(1, per_schedule // 3)
    first = min((late for slot, late in starts.job if slot < third), default=0)
    last = min((late for slot, late in starts.job if slot >= per_schedule - third), default=0)
    return (last - first) / 1e6


def settle() -> None:
    gc.collect()
    gc.freeze()


def ours(number: int, cadence: float, aligned: bool) -> Starts:
    """Our scheduler, as the environment runs it."""
    starts, clock, wanted = Starts(), SystemClock(), slots(cadence)

    class Watch:
        def fired(self, fire: Fire) -> None:
            if fire.slot < wanted:
                starts.dispatch.append(fire.dispatched_ns - fire.intended_ns)

        def missed(self, schedule: str, slots: int) -> None:
            starts.missed += slots

        def failed(self, schedule: str, error: BaseException, in_a_row: int) -> None:
            raise SystemExit(f"{schedule}: {error}")

        def suspended(self, schedule: str, reason: object) -> None:
            raise SystemExit(f"{schedule}: {reason}")

    async def job(fire: Fire) -> None:
        if fire.slot < wanted:
            starts.job.append((fire.slot, time.monotonic_ns() - fire.intended_ns))

    async def run() -> None:
        scheduler = Scheduler(clock, observer=Watch())
        grid = [Timing.from_seconds(cadence, max_drift=cadence)] * number
        for place, timing in enumerate(grid if aligned else staggered(grid)):
            scheduler.add(f"schedule-{place}", timing, job)
        stop, anchor_ns = asyncio.Event(), time.monotonic_ns() + LEAD_NS
        settle()
        used = time.process_time()
        running = asyncio.create_task(scheduler.run(stop, anchor_ns=anchor_ns))
        await asyncio.sleep(LEAD_NS / 1e9 + wanted * cadence)
        starts.cpu_percent = 100 * (time.process_time() - used) / (wanted * cadence)
        await asyncio.sleep(cadence / 4)
        stop.set()
        await running

    asyncio.run(run())
    return starts


def peer(number: int, cadence: float, aligned: bool) -> Starts:
    """APScheduler 3 with its defaults, except that no slot may be left out or joined with the next."""
    starts, wanted = Starts(), slots(cadence)
    cadence_ns, counts = round(cadence * NANOSECONDS), [0] * number

    async def job(place: int, first_ns: int) -> None:
        slot, counts[place] = counts[place], counts[place] + 1
        if slot < wanted:
            starts.job.append((slot, time.time_ns() - first_ns - slot * cadence_ns))

    async def run() -> None:
        defaults = {"coalesce": False, "misfire_grace_time": None, "max_instances": 1000}
        scheduler = AsyncIOScheduler(timezone=UTC, job_defaults=defaults)
        # Adding 10,000 jobs takes a while; the grid begins when it is done. Whole microseconds, which it counts in.
        lead_us = LEAD_NS // 1000 + 150 * number
        anchor_us = time.time_ns() // 1000 + lead_us
        for place in range(number):
            first_us = anchor_us + (0 if aligned else round(cadence * 1e6) * place // number)
            begins = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=first_us)
            scheduler.add_job(
                job, "interval", seconds=cadence, start_date=begins, next_run_time=begins, args=(place, first_us * 1000)
            )
        scheduler.start()
        settle()
        await asyncio.sleep(max(0.0, anchor_us / 1e6 - time.time()))
        used = time.process_time()
        await asyncio.sleep(wanted * cadence)
        starts.cpu_percent = 100 * (time.process_time() - used) / (wanted * cadence)
        await asyncio.sleep(cadence / 4)
        # Jobs that it cancels now are errors to it; those before were told.
        logging.disable(logging.CRITICAL)
        scheduler.shutdown(wait=False)

    asyncio.run(run())
    starts.missed = number * wanted - len(starts.job)
    return starts


def bare_sleep() -> list[int]:
    """What the machine itself does: one thread that sleeps until an instant, 100 times a second."""
    late, due_ns = [], time.monotonic_ns()
    for _ in range(200):
        due_ns += 10_000_000
        time.sleep(max(0.0, (due_ns - time.monotonic_ns()) / 1e9))
        late.append(time.monotonic_ns() - due_ns)
    return late


def alone(measure: partial[Starts]) -> Starts:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure).result()


def line(label: str, starts: Starts, number: int, cadence: float) -> str:
    late = [lateness for _, lateness in starts.job]
    early = sum(lateness < 0 for lateness in late)
    middle, high, top = starts.late_ms(0.5), starts.late_ms(0.99), starts.late_ms(1.0)
    return (
        f"{label:<34}{len(late):>8}{starts.missed:>7}{early:>6}{middle:>9.3f}{high:>9.3f}{top:>9.3f}"
        f"{drift_ms(starts, slots(cadence)):>8.3f}{starts.cpu_percent:>6.1f}"
    )


def main() -> int:
    print(f"{os.cpu_count()} processors; load averages before: {' '.join(f'{load:.2f}' for load in os.getloadavg())}")
    bare = bare_sleep()
    bound = " / ".join(f"{milliseconds(bare, share):.3f}" for share in (0.5, 0.99, 1.0))
    print(f"a thread that only sleeps until an instant is late by p50 / p99 / max {bound} ms\n")
    heads = f"{'starts':>8}{'missed':>7}{'early':>6}{'p50':>9}{'p99':>9}{'max':>9}{'drift':>8}{'CPU %':>6}"
    print(f"{'lateness in the job (ms)':<34}{heads}")
    wrong: list[str] = []
    for number, cadence in SIZES:
        for aligned in (False, True):
            what = f"{number:,} {'at one instant' if aligned else 'staggered'}"
            we, they = (alone(partial(measure, number, cadence, aligned)) for measure in (ours, peer))
            print(line(what, we, number, cadence))
            print(line("  APScheduler", they, number, cadence))
            ratios = "   ".join(
                f"{name} {they.late_ms(share) / we.late_ms(share):.1f}"
                for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
            )
            aim = AIMS.get((number, aligned))
            aimed = f", aim p99 {aim}" if aim else ""
            dispatch = " / ".join(f"{milliseconds(we.dispatch, share):.3f}" for share in (0.5, 0.99, 1.0))
            print(f"  times later than ours: {ratios}; our dispatch p50 / p99 / max {dispatch}{aimed}")
            if any(late < 0 for _, late in we.job):
                wrong.append(f"{what}: early")
            if len(we.job) + we.missed < number * slots(cadence):
                wrong.append(f"{what}: starts dropped")
            if drift_ms(we, slots(cadence)) > MOST_DRIFT_MS and not we.missed and not aligned:
                wrong.append(f"{what}: drifts")
    print(f"\nload averages after: {' '.join(f'{load:.2f}' for load in os.getloadavg())}")
    print(f"early, dropped or drifting: {'; '.join(wrong) or 'none'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
