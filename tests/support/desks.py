"""Desks, snapshots and small installations for the tests of the runtime."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from stage4.clock import Clock
from stage4.config import Installation
from stage4.config.settings import ResourceLimits, Settings
from stage4.market import SyntheticFeed
from stage4.runtime.desk import Desk, desk_schedules
from stage4.runtime.gate import OPEN, GateVerdict
from stage4.runtime.latch import create_latch
from stage4.runtime.replay import default_settings
from stage4.runtime.signal import Snapshot, VenueWindow
from stage4.telemetry.sample import Sample
from stage4.testing.clock import ManualClock

BEGINS = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
VENUES = ("alpha", "beta")
CLOSED = GateVerdict(False, "gate.stopped")


class Switch:
    """A gate that says what it is told to, and remembers how often it was asked."""

    def __init__(self, verdict: GateVerdict = OPEN) -> None:
        self.verdict = verdict
        self.asked: list[tuple[str, str, tuple[str, ...]]] = []

    def permits(self, *, schedule: str, strategy: str, tags: Sequence[str] = ()) -> GateVerdict:
        self.asked.append((schedule, strategy, tuple(tags)))
        return self.verdict


class Kept:
    """A sink that keeps every sample."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    def offer(self, sample: Sample) -> bool:
        self.samples.append(sample)
        return True

    def values(self, metric: str, schedule: str | None = None) -> list[float]:
        """Every value of `metric`, of one schedule where it is named."""
        chosen = (s for s in self.samples if schedule is None or s.schedule == schedule)
        return [sample.values[metric] for sample in chosen if metric in sample.values]


def settings(*, cadence: float = 0.05, kind: str = "drill", **of_schedule: Any) -> Settings:
    """The three strategies at `cadence` seconds on one-second synthetic bars; `of_schedule` changes each schedule."""
    base = default_settings(VENUES)
    ((name, scheduler),) = base.runtime.multi_strategy_schedulers.items()
    schedules = {
        schedule: msgspec.structs.replace(
            chosen, cadence_seconds=cadence, interval="1s", max_drift_seconds=5.0, **of_schedule
        )
        for schedule, chosen in scheduler.schedules.items()
    }
    scheduler = msgspec.structs.replace(scheduler, schedules=schedules)
    # A machine that is busy with other tests is no news.
    roomy = ResourceLimits(
        cpu_percent=100, memory_mb=1e6, io_read_mb_s=1e6, io_write_mb_s=1e6, headroom_warning_threshold=1.0
    )
    runtime = msgspec.structs.replace(base.runtime, multi_strategy_schedulers={name: scheduler}, resource_limits=roomy)
    operations = msgspec.structs.replace(base.operations, installation=kind, installation_id="test-desk")
    return msgspec.structs.replace(base, runtime=runtime, operations=operations)


def installation(root: Path, chosen: Settings | None = None, clock: Clock | None = None) -> Installation:
    """What the environment needs of an installation at `root`: settings, an override directory, the gate's memory."""
    made = Installation(root, chosen or settings())
    made.path("var/runtime/overrides").mkdir(parents=True, mode=0o700)
    now = (clock or ManualClock(BEGINS)).now()
    create_latch(made.path("var/runtime/gate.json"), made.settings.operations.installation_id, now)
    return made


def desk(gate: Switch | None = None, chosen: Settings | None = None) -> Desk:
    """A warmed-up desk at `BEGINS` on the synthetic market."""
    chosen = chosen or settings()
    feed = SyntheticFeed(7, begins=BEGINS, venues=VENUES, interval=timedelta(seconds=1))
    _, schedules = desk_schedules(chosen)
    made = Desk(schedules, feed, gate or Switch(), start_equity=300_000.0, daily_loss_limit_pct=2.0, begins=BEGINS)
    made.take(feed.advance(BEGINS), BEGINS)
    return made


def window(venue: str, closes: Sequence[float], *, step: float = 60.0, delay_ms: float = 0.0) -> VenueWindow:
    """Bars of `venue`, `step` seconds apart."""
    return VenueWindow(venue, tuple(step * place for place in range(len(closes))), tuple(closes), delay_ms)


def snapshot(*windows: VenueWindow, held: dict[str, float] | None = None, equity: float = 100_000.0) -> Snapshot:
    """What a strategy sees: one-minute bars and a largest position of 10 per cent."""
    return Snapshot(
        schedule="watched",
        strategy="tested",
        symbol="BTC/USD",
        at=1000.0,
        interval_seconds=60.0,
        equity=equity,
        max_position=0.1,
        windows=windows,
        held=held or {},
    )


def walk(seed: int, length: int, *, start: float = 100.0, volatility: float = 0.001) -> list[float]:
    """A seeded random walk of prices."""
    chance = random.Random(seed)
    log_price = math.log(start)
    prices = []
    for _ in range(length):
        log_price += volatility * chance.gauss(0, 1)
        prices.append(math.exp(log_price))
    return prices


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something that happens by itself; fails when it does not."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
