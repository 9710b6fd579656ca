"""
The operated environment: scheduler, workers, desk, gate and telemetry joined into one thing that runs.

It fails closed: without the gate's watch nothing runs, and a signal leaves only after the gate said so. Telemetry
fails open: a sample that nobody takes is lost, the scheduler never waits for it.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Mapping
from datetime import datetime, time
from functools import partial

from stage4.clock import Clock
from stage4.config import Installation
from stage4.errors import Unavailable
from stage4.market.bar import Feed
from stage4.runtime import run_lock
from stage4.runtime.desk import Desk, DeskSchedule, desk_schedules
from stage4.runtime.faults import FaultFile
from stage4.runtime.feeds import configured_feed
from stage4.runtime.gate import Gate
from stage4.runtime.sampling import Sampler
from stage4.runtime.schedule import Timing, staggered, window_open
from stage4.runtime.scheduler import Fire, Scheduler, SuspensionReason
from stage4.runtime.signal import Evaluation
from stage4.runtime.stop_progress import Told
from stage4.runtime.suspension import Suspension
from stage4.runtime.suspension_keeper import Suspended, SuspensionKeeper
from stage4.runtime.watch import Events, Orders, Watch
from stage4.runtime.worker import Request
from stage4.runtime.worker_pool import WorkerPool
from stage4.telemetry.sample import SampleSink


class Environment:
    """Runs the schedules of one installation until told to stop.

    Raises UsageError where the settings contradict themselves, Refused `runtime.faults_refused` where faults are staged
    in production. The gate is opened by `run`; until then nothing can leave the desk.
    """

    def __init__(
        self,
        installation: Installation,
        *,
        clock: Clock,
        sink: SampleSink,
        feed: Feed | None = None,
        workers: WorkerPool | None = None,
        events: Events = lambda code, params: None,
        orders: Orders = lambda outcome: None,
        stops: Told = lambda file_name, stage, progress: None,
        suspensions: Suspended = lambda schedule, suspension: None,
    ) -> None:
        operations = installation.settings.operations
        self._installation = installation
        self._clock = clock
        self._sink = sink
        self._events = events
        self._orders = orders
        self._stops = stops
        self._suspensions = suspensions
        self._last_failure: dict[str, str] = {}
        self._scheduler_name, schedules = desk_schedules(installation.settings)
        begins = clock.now()
        self._faults = FaultFile(installation)
        self._feed = feed or configured_feed(installation, schedules, begins)
        self._workers = workers or WorkerPool()
        self._desk = Desk(
            schedules,
            self._feed,
            start_equity=operations.feed.start_equity,
            daily_loss_limit_pct=operations.daily_loss_limit_pct,
            day_starts=time.fromisoformat(operations.day_starts),
            begins=begins,
        )
        self._sampler = Sampler(self._scheduler_name, self._desk, clock.monotonic_ns())
        self._scheduler = Scheduler(clock, observer=self)
        timings = staggered([Timing.of(schedule.settings) for schedule in schedules])
        for schedule, timing in zip(schedules, timings, strict=True):
            self._scheduler.add(schedule.name, timing, partial(self._evaluate, schedule))
        self._keeper = SuspensionKeeper(
            installation.root,
            self._scheduler,
            {schedule.name: schedule.settings for schedule in schedules},
            clock,
            changed=self._suspension_changed,
            events=events,
        )
        self._in_flight: dict[str, int] = dict.fromkeys(self._desk.schedules, 0)

    @property
    def desk(self) -> Desk:
        """The books, for those who look on."""
        return self._desk

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set.

        Raises Refused `runtime.already_running` when another environment holds the installation, Unavailable
        `runtime.worker_died` when the workers do not start.
        """
        with run_lock.sole_environment(self._installation.path(run_lock.LOCK_FILE)):
            operations = self._installation.settings.operations
            gate = Gate(self._installation.root, operations.installation_id, self._clock)
            self._desk.gate = gate
            try:
                await self._workers.start(self._desk.schedules)
                await self._keeper.follow()
                watching = asyncio.create_task(self._watch(gate).run(stop))
                # Without the watch over the gate nothing may run on.
                watching.add_done_callback(lambda _: stop.set())
                try:
                    await self._scheduler.run(stop)
                finally:
                    stop.set()
                    await watching
            finally:
                await self._workers.close()
                gate.close()

    def _watch(self, gate: Gate) -> Watch:
        return Watch(
            self._installation,
            clock=self._clock,
            desk=self._desk,
            gate=gate,
            sampler=self._sampler,
            suspensions=self._keeper,
            in_flight=self._in_flight,
            take_market=self._take_market,
            offer=self._sink.offer,
            events=self._events,
            orders=self._orders,
            stops=self._stops,
        )

    # What the scheduler tells -------------------------------------------------------------------------------------

    def fired(self, fire: Fire) -> None:
        lateness_ns = fire.dispatched_ns - fire.intended_ns
        self._sampler.records[fire.schedule].dispatched(fire.dispatched_ns, lateness_ns)

    def missed(self, schedule: str, slots: int) -> None:
        self._sampler.records[schedule].missed += slots

    def failed(self, schedule: str, error: BaseException, in_a_row: int) -> None:
        self._last_failure[schedule] = str(error)
        self._events("runtime.evaluation_failed", {"schedule": schedule, "reason": str(error), "n": in_a_row})

    def suspended(self, schedule: str, reason: SuspensionReason) -> None:
        why = self._last_failure.get(schedule, "") if reason is SuspensionReason.FAILURES else "max_drift_seconds"
        self._keeper.suspended(schedule, reason, why)

    def _suspension_changed(self, schedule: str, suspension: Suspension | None) -> None:
        self._sampler.records[schedule].suspended = suspension is not None
        if suspension is None:
            self._events("runtime.schedule_resumed", {"schedule": schedule})
        else:
            self._events("runtime.schedule_suspended", {"schedule": schedule, "reason": suspension.cause.value})
        self._suspensions(schedule, suspension)

    # One evaluation -----------------------------------------------------------------------------------------------

    async def _evaluate(self, schedule: DeskSchedule, fire: Fire) -> None:
        now = self._clock.now()
        self._take_market(now)
        if not window_open(schedule.settings.trading_windows, now):
            self._tell(schedule, fire, {}, window_closed=True)
        elif not self._desk.warmed_up(schedule):
            self._tell(schedule, fire, {}, warming_up=True)
        else:
            await self._evaluate_now(schedule, fire, now)

    async def _evaluate_now(self, schedule: DeskSchedule, fire: Fire, now: datetime) -> None:
        try:
            metrics = (await self._answer(schedule, now)).metrics
        except Unavailable:
            # A failed evaluation has a latency too; leaving it out would hide the worst ones.
            self._tell(schedule, fire, {"stage4_loop_latency_seconds": self._since(fire)})
            raise
        self._tell(schedule, fire, {"stage4_loop_latency_seconds": self._since(fire), **metrics})

    async def _answer(self, schedule: DeskSchedule, now: datetime) -> Evaluation:
        """Evaluate, and submit what came of it.

        While the gate is closed the strategies go on being evaluated, so that the panels show the market; such an
        evaluation is not in flight, because nothing of it can leave.
        """
        faults = self._faults.current(now)
        request = Request(schedule.spec, self._desk.snapshot(schedule, now), faults.latency_ms)
        counted = self._desk.permitted(schedule)
        self._in_flight[schedule.name] += counted
        try:
            evaluation = await self._workers.evaluate(request)
            if faults.no_signals:
                evaluation = Evaluation((), evaluation.metrics)
            self._sampler.answered(schedule.name, evaluation)
            self._desk.settle(schedule, evaluation, self._clock.now())
        finally:
            self._in_flight[schedule.name] -= counted
        return evaluation

    def _take_market(self, now: datetime) -> datetime:
        """Bring the desk up to `now`; the market's own time."""
        self._desk.take(self._feed.advance(now), now, self._faults.current(now))
        return self._feed.market_time(now)

    def _since(self, fire: Fire) -> float:
        """Seconds from the intended instant of `fire`."""
        return (self._clock.monotonic_ns() - fire.intended_ns) / 1e9

    def _tell(self, schedule: DeskSchedule, fire: Fire, values: Mapping[str, float], **flags: bool) -> None:
        values = {"stage4_lateness_seconds": fire.lateness_ms / 1000.0, **values}
        self._sink.offer(self._sampler.of_schedule(schedule, self._clock.now(), values, **flags))


def run_until_signalled(environment: Environment) -> None:
    """Run in a new event loop until SIGTERM or SIGINT, then end cleanly."""

    async def until_signalled() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        # A full collection over everything that was imported takes 3 to 8 ms, for which every schedule would be late.
        gc.collect()
        gc.freeze()
        await environment.run(stop)

    asyncio.run(until_signalled())
