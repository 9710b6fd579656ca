"""
The load test: a private copy of the environment's scheduler, driven hard and measured from outside.

Open loop: every slot has its intended instant on the scheduler's absolute grid, and all times count from there, so
a stall shows in every slot it delayed (no coordinated omission; G. Tene, "How NOT to Measure Latency", 2015).
Everything but the market and the broker is the real thing: scheduler, timer, strategies, worker processes, gate.
Nothing of it touches the running scheduler or leaves the machine.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import cycle, islice
from pathlib import Path

from stage4.clock import Clock
from stage4.config.settings import Settings
from stage4.errors import Stage4Error, Unavailable
from stage4.market.synthetic import SyntheticFeed
from stage4.runtime.desk import Desk, DeskSchedule, desk_schedules
from stage4.runtime.feeds import DEFAULT_VENUES, HISTORY_BARS
from stage4.runtime.gate import Gate
from stage4.runtime.latch import GATE_FILE, create_latch
from stage4.runtime.loadtest_hiccup import HiccupMeter, Stall
from stage4.runtime.loadtest_resources import ResourceMeter, ResourceUse
from stage4.runtime.schedule import Timing, staggered
from stage4.runtime.scheduler import Fire, Job, Scheduler, Silent, SuspensionReason
from stage4.runtime.signal import Evaluation, sound
from stage4.runtime.stop import OVERRIDES
from stage4.runtime.strategies.cross_exchange import CrossExchange
from stage4.runtime.worker import Request
from stage4.runtime.worker_pool import Evaluator, WorkerPool

INSTALLATION = "load-test"
BAR = timedelta(seconds=1)
LEAD_NS = 50_000_000
"""Between the anchor of the grid and now, so that the first slot is not late because of the set-up."""
MOST_WORKERS = 8
"""More schedules than this are evaluated inline: the test measures the scheduler, not the machine's memory."""
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """`iterations` counted slots for each of `schedules` schedules, after `warmup` slots that are not counted."""

    iterations: int
    schedules: int
    cadence_seconds: float
    seed: int
    warmup: int = 5

    @property
    def inline(self) -> bool:
        """Whether strategies run inside the scheduler's process."""
        return self.schedules > MOST_WORKERS

    @property
    def seconds(self) -> float:
        """How long the run takes when nothing is late."""
        return (self.iterations + self.warmup + 1) * self.cadence_seconds


@dataclass(slots=True)
class ScheduleRecord:
    """What one schedule did in its counted slots; spans in nanoseconds, in the order of the slots.

    *Lateness*: intended instant to dispatch. *Service*: dispatch to the last signal submitted. *Latency*: intended
    instant to the last signal submitted.
    """

    name: str
    risk_profile: str
    intended: list[int] = field(default_factory=list)
    lateness: list[int] = field(default_factory=list)
    service: list[int] = field(default_factory=list)
    latency: list[int] = field(default_factory=list)
    dispatched: int = 0
    failed: int = 0
    signals: int = 0
    suspended: SuspensionReason | None = None


@dataclass(frozen=True, slots=True)
class LoadResult:
    """Everything measured in one run, not yet judged."""

    plan: LoadPlan
    schedules: tuple[ScheduleRecord, ...]
    submissions: int
    resources: ResourceUse
    stalls: tuple[Stall, ...]
    seconds: float
    worker_restarts: int


class Inline:
    """Evaluates in this process, one at a time."""

    def __init__(self, schedules: Iterable[DeskSchedule]) -> None:
        self._strategies = {schedule.name: schedule.strategy for schedule in schedules}

    async def evaluate(self, request: Request) -> Evaluation:
        strategy = self._strategies[request.snapshot.schedule]
        return sound(strategy.evaluate(request.snapshot), request.snapshot)


class _Run(Silent):
    """One load run: hears the scheduler and keeps the records."""

    def __init__(self, plan: LoadPlan, desk: Desk, feed: SyntheticFeed, evaluator: Evaluator, clock: Clock) -> None:
        self._plan = plan
        self._desk = desk
        self._feed = feed
        self._evaluator = evaluator
        self._clock = clock
        self._unfinished = set(desk.schedules)
        self.finished = asyncio.Event()
        self.records = {
            name: ScheduleRecord(name, schedule.settings.risk_profile) for name, schedule in desk.schedules.items()
        }

    def suspended(self, schedule: str, reason: SuspensionReason) -> None:
        self.records[schedule].suspended = reason
        self._done(schedule)

    async def evaluate(self, schedule: DeskSchedule, fire: Fire) -> None:
        """The job of `schedule`: market, strategy, gate, broker, as the environment does it."""
        if fire.slot >= self._plan.iterations + self._plan.warmup:
            self._done(schedule.name)
            return
        now = self._clock.now()
        record = self.records[schedule.name] if fire.slot >= self._plan.warmup else None
        if record is not None:
            record.dispatched += 1
            record.intended.append(fire.intended_ns)
            record.lateness.append(fire.dispatched_ns - fire.intended_ns)
        self._desk.take(self._feed.advance(now), now)
        try:
            evaluation = await self._evaluator.evaluate(Request(schedule.spec, self._desk.snapshot(schedule, now)))
        except Stage4Error:
            if record is not None:
                record.failed += 1
            raise
        self._desk.settle(schedule, evaluation, now)
        ended_ns = self._clock.monotonic_ns()
        if record is not None:
            record.signals += len(evaluation.signals)
            record.service.append(ended_ns - fire.dispatched_ns)
            record.latency.append(ended_ns - fire.intended_ns)

    def _done(self, schedule: str) -> None:
        self._unfinished.discard(schedule)
        if not self._unfinished:
            self.finished.set()


def run_load_test(plan: LoadPlan, settings: Settings, clock: Clock) -> LoadResult:
    """Run `plan` with the schedules of `settings`, repeated until there are enough of them.

    Raises what `desk_schedules` raises, Unavailable `runtime.worker_died` where no worker starts and Unavailable
    `loadtest.unfinished` where the run does not come to its end.
    """
    with tempfile.TemporaryDirectory(prefix="stage4-load-") as scratch:
        root = Path(scratch)
        (root / OVERRIDES).mkdir(parents=True)
        create_latch(root / GATE_FILE, INSTALLATION, clock.now())
        gate = Gate(root, INSTALLATION, clock)
        try:
            return asyncio.run(_drive(plan, settings, gate, clock))
        finally:
            gate.close()


async def _drive(plan: LoadPlan, settings: Settings, gate: Gate, clock: Clock) -> LoadResult:
    schedules = _repeated(desk_schedules(settings)[1], plan.schedules)
    feed = _market(schedules, plan, clock)
    desk = Desk(
        schedules,
        feed,
        gate,
        start_equity=settings.operations.feed.start_equity,
        daily_loss_limit_pct=settings.operations.daily_loss_limit_pct,
        begins=clock.now(),
    )
    pool = WorkerPool()
    run = _Run(plan, desk, feed, Inline(schedules) if plan.inline else pool, clock)
    scheduler = Scheduler(clock, observer=run)
    grid = Timing.from_seconds(plan.cadence_seconds, max_drift=plan.cadence_seconds)
    for schedule, timing in zip(schedules, staggered([grid] * len(schedules)), strict=True):
        scheduler.add(schedule.name, timing, _job(run, schedule))
    try:
        if not plan.inline:
            await pool.start(desk.schedules)
        with HiccupMeter() as hiccups, ResourceMeter(clock) as resources:
            seconds = await _until_finished(scheduler, run, plan, clock)
        restarts = pool.restarts
    finally:
        await pool.close()
    return LoadResult(
        plan=plan,
        schedules=tuple(run.records.values()),
        submissions=desk.broker.submissions,
        resources=resources.use,
        stalls=hiccups.stalls,
        seconds=seconds,
        worker_restarts=restarts,
    )


async def _until_finished(scheduler: Scheduler, run: _Run, plan: LoadPlan, clock: Clock) -> float:
    """Seconds the run took. The garbage of the set-up is not collected in the middle of it."""
    gc.collect()
    gc.freeze()
    began_ns = clock.monotonic_ns()
    running = asyncio.create_task(scheduler.run(run.finished, anchor_ns=began_ns + LEAD_NS))
    try:
        async with asyncio.timeout(plan.seconds * 3 + PATIENCE_SECONDS):
            await running
    except TimeoutError:
        raise Unavailable("loadtest.unfinished", seconds=round(plan.seconds * 3 + PATIENCE_SECONDS)) from None
    finally:
        gc.unfreeze()
    return (clock.monotonic_ns() - began_ns) / 1e9


def _job(run: _Run, schedule: DeskSchedule) -> Job:
    return lambda fire: run.evaluate(schedule, fire)


def _repeated(known: tuple[DeskSchedule, ...], count: int) -> tuple[DeskSchedule, ...]:
    """`count` schedules: the configured ones, then the same again under other names."""
    chosen = []
    for place, schedule in enumerate(islice(cycle(known), count)):
        round_number = place // len(known) + 1
        chosen.append(schedule if round_number == 1 else replace(schedule, name=f"{schedule.name}-{round_number}"))
    return tuple(chosen)


def _market(schedules: tuple[DeskSchedule, ...], plan: LoadPlan, clock: Clock) -> SyntheticFeed:
    """A synthetic market with one new bar in every cadence and enough history for every schedule."""
    pairs = [
        (schedule.strategy.primary_exchange, schedule.strategy.secondary_exchange)
        for schedule in schedules
        if isinstance(schedule.strategy, CrossExchange)
    ]
    return SyntheticFeed(
        plan.seed,
        begins=clock.now(),
        venues=pairs[0] if pairs else DEFAULT_VENUES,
        interval=BAR,
        speed=BAR.total_seconds() / plan.cadence_seconds,
        history=max(HISTORY_BARS, *(schedule.warmup_bars for schedule in schedules)),
    )
