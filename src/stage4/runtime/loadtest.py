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
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
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
from stage4.runtime.loadtest_hiccup import HiccupMeter
from stage4.runtime.loadtest_probe import KillProbe
from stage4.runtime.loadtest_resources import ResourceMeter
from stage4.runtime.loadtest_run import LoadPlan, LoadResult, Progress, ScheduleRecord
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
PATIENCE_SECONDS = 30.0


class Inline:
    """Evaluates in this process, one at a time."""

    def __init__(self, schedules: Iterable[DeskSchedule]) -> None:
        self._strategies = {schedule.name: schedule.strategy for schedule in schedules}

    async def evaluate(self, request: Request) -> Evaluation:
        strategy = self._strategies[request.snapshot.schedule]
        return sound(strategy.evaluate(request.snapshot), request.snapshot)


class _Run(Silent):
    """One load run: hears the scheduler and keeps the records."""

    def __init__(
        self,
        plan: LoadPlan,
        desk: Desk,
        feed: SyntheticFeed,
        evaluator: Evaluator,
        probe: KillProbe,
        progress: Progress,
        clock: Clock,
    ) -> None:
        self._plan = plan
        self._desk = desk
        self._feed = feed
        self._evaluator = evaluator
        self._probe = probe
        self._progress = progress
        self._clock = clock
        self._unfinished = set(desk.schedules)
        self.counted = asyncio.Event()
        """All counted slots are done."""
        self.records = {
            name: ScheduleRecord(name, schedule.settings.risk_profile) for name, schedule in desk.schedules.items()
        }
        progress.expected += plan.iterations * len(self.records)

    def suspended(self, schedule: str, reason: SuspensionReason) -> None:
        self.records[schedule].suspended = reason
        self._probe.leave_out(schedule)
        self._done(schedule)

    async def evaluate(self, schedule: DeskSchedule, fire: Fire) -> None:
        """The job of `schedule`: market, strategy, gate, broker, as the environment does it."""
        end = self._plan.iterations + self._plan.warmup
        if fire.slot >= end:
            self._done(schedule.name)
        now = self._clock.now()
        record = self.records[schedule.name] if self._plan.warmup <= fire.slot < end else None
        if record is not None:
            record.dispatched += 1
            self._progress.missed += fire.slot - (record.slots[-1] if record.slots else self._plan.warmup - 1) - 1
            record.slots.append(fire.slot)
            record.intended.append(fire.intended_ns)
            record.lateness.append(fire.dispatched_ns - fire.intended_ns)
            self._progress.dispatched += 1
        self._desk.take(self._feed.advance(now), now)
        try:
            evaluation = await self._evaluator.evaluate(Request(schedule.spec, self._desk.snapshot(schedule, now)))
            if self._probe.begun:
                self._probe.offer(schedule, now)
            else:
                self._desk.settle(schedule, evaluation, now)
            if record is not None:
                record.signals += len(evaluation.signals)
        except Stage4Error:
            if record is not None:
                record.failed += 1
            raise
        finally:
            if record is not None:
                self._ended(record, fire)

    def _ended(self, record: ScheduleRecord, fire: Fire) -> None:
        ended_ns = self._clock.monotonic_ns()
        record.service.append(ended_ns - fire.dispatched_ns)
        record.latency.append(ended_ns - fire.intended_ns)
        self._progress.worst_ns = max(self._progress.worst_ns, ended_ns - fire.intended_ns)

    def _done(self, schedule: str) -> None:
        self._unfinished.discard(schedule)
        if not self._unfinished:
            self.counted.set()


MakeEvaluator = Callable[[tuple[DeskSchedule, ...]], Evaluator]


def run_load_test(
    plan: LoadPlan,
    settings: Settings,
    clock: Clock,
    *,
    progress: Progress | None = None,
    evaluator: MakeEvaluator | None = None,
) -> LoadResult:
    """Run `plan` with the schedules of `settings`, repeated until there are enough of them.

    `progress` is kept up to date while it runs; `evaluator` replaces the strategies' own (inline where the plan is).
    Raises what `desk_schedules` raises, Unavailable `runtime.worker_died` where no worker starts and Unavailable
    `loadtest.unfinished` where the run does not come to its end.
    """
    with tempfile.TemporaryDirectory(prefix="stage4-load-") as scratch:
        root = Path(scratch)
        (root / OVERRIDES).mkdir(parents=True)
        create_latch(root / GATE_FILE, INSTALLATION, clock.now())
        gate = Gate(root, INSTALLATION, clock)
        try:
            return asyncio.run(_drive(plan, settings, gate, root, clock, progress or Progress(), evaluator))
        finally:
            gate.close()


async def _drive(
    plan: LoadPlan,
    settings: Settings,
    gate: Gate,
    root: Path,
    clock: Clock,
    progress: Progress,
    evaluator: MakeEvaluator | None,
) -> LoadResult:
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
    chosen = evaluator(schedules) if evaluator else Inline(schedules) if plan.inline else pool
    probe = KillProbe(root, gate, desk, clock, plan.cadence_seconds)
    run = _Run(plan, desk, feed, chosen, probe, progress, clock)
    scheduler = Scheduler(clock, observer=run)
    grid = Timing.from_seconds(plan.cadence_seconds, max_drift=plan.cadence_seconds)
    for schedule, timing in zip(schedules, staggered([grid] * len(schedules)), strict=True):
        scheduler.add(schedule.name, timing, _job(run, schedule))
    try:
        if chosen is pool:
            await pool.start(desk.schedules)
        with HiccupMeter() as hiccups, ResourceMeter(clock, apart=hiccups.pid) as resources:
            seconds, submissions = await _until_finished(scheduler, run, probe, plan, clock)
        restarts = pool.restarts
    finally:
        await pool.close()
    return LoadResult(
        plan=plan,
        schedules=tuple(run.records.values()),
        submissions=submissions,
        resources=resources.use,
        stalls=hiccups.stalls,
        seconds=seconds,
        worker_restarts=restarts,
        probe=probe.result(),
    )


async def _until_finished(
    scheduler: Scheduler, run: _Run, probe: KillProbe, plan: LoadPlan, clock: Clock
) -> tuple[float, int]:
    """Seconds the counted part took, and the signals submitted in it; then the scheduler is stopped by its file.

    The garbage of the set-up is not collected in the middle of it.
    """
    gc.collect()
    gc.freeze()
    began_ns = clock.monotonic_ns()
    stop = asyncio.Event()
    running = asyncio.create_task(scheduler.run(stop, anchor_ns=began_ns + LEAD_NS))
    patience = plan.seconds * 3 + PATIENCE_SECONDS
    try:
        async with asyncio.timeout(patience):
            await _first_of(run.counted.wait(), running)
            seconds = (clock.monotonic_ns() - began_ns) / 1e9
            submissions = probe.submissions
            await _first_of(probe.run(), running)
    except TimeoutError:
        raise Unavailable("loadtest.unfinished", seconds=round(patience)) from None
    finally:
        stop.set()
        await asyncio.gather(running, return_exceptions=True)
        gc.unfreeze()
    return seconds, submissions


async def _first_of(wanted: Coroutine[object, object, object], running: asyncio.Task[None]) -> None:
    """Wait for `wanted`; a scheduler that ended before it passes its error on."""
    waiting = asyncio.ensure_future(wanted)
    try:
        await asyncio.wait({waiting, running}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            await running
        await waiting
    finally:
        waiting.cancel()


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
