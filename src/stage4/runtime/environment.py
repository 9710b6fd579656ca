"""
The operated environment: scheduler, workers, desk, gate and telemetry joined into one thing that runs.

It fails closed: without the gate's watch nothing runs, and a signal leaves only after the gate said so. Telemetry
fails open: a sample that nobody takes is lost, the scheduler never waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from datetime import datetime, time
from functools import partial
from typing import TYPE_CHECKING

from stage4.clock import Clock
from stage4.config import Installation
from stage4.errors import Stage4Error, Unavailable
from stage4.market.bar import Feed
from stage4.runtime import enable, run_lock
from stage4.runtime.desk import Desk, DeskSchedule, desk_schedules
from stage4.runtime.faults import FaultFile
from stage4.runtime.feeds import configured_feed
from stage4.runtime.gate import Gate
from stage4.runtime.sampling import Sampler
from stage4.runtime.schedule import DriftPolicy, Timing, staggered, window_open
from stage4.runtime.scheduler import Fire, Scheduler, SuspensionReason
from stage4.runtime.signal import Evaluation
from stage4.runtime.state import STATE_FILE, RuntimeState, SchedulerState, ScheduleState, process_started, write_state
from stage4.runtime.worker import Request
from stage4.runtime.worker_pool import WorkerPool
from stage4.telemetry.sample import Sample, SampleSink

if TYPE_CHECKING:
    from stage4.runtime.gate import OrderOutcome

WATCH_SECONDS = 0.1
HEARTBEAT_NS = 500_000_000
ACCOUNTS_NS = 1_000_000_000

Events = Callable[[str, Mapping[str, object]], None]
"""Hears what a person may want to know: a catalogue code and its parameters. Must not block."""
Orders = Callable[["OrderOutcome"], None]
"""Hears that an enable order was accepted or refused, after it happened."""


class Environment:
    """Runs the schedules of one installation until told to stop."""

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
    ) -> None:
        operations = installation.settings.operations
        self._installation = installation
        self._clock = clock
        self._sink = sink
        self._events = events
        self._orders = orders
        scheduler_name, schedules = desk_schedules(installation.settings)
        begins = clock.now()
        self._faults = FaultFile(installation)
        self._feed = feed or configured_feed(installation, schedules, begins)
        self._workers = workers or WorkerPool()
        self._gate = Gate(installation.root, operations.installation_id, clock)
        self._desk = Desk(
            schedules,
            self._feed,
            self._gate,
            start_equity=operations.feed.start_equity,
            daily_loss_limit_pct=operations.daily_loss_limit_pct,
            day_starts=time.fromisoformat(operations.day_starts),
            begins=begins,
        )
        self._sampler = Sampler(scheduler_name, self._desk, clock.monotonic_ns())
        self._scheduler = Scheduler(clock, observer=self)
        timings = staggered([_timing(schedule) for schedule in schedules])
        for schedule, timing in zip(schedules, timings, strict=True):
            self._scheduler.add(schedule.name, timing, partial(self._evaluate, schedule))
        self._in_flight: dict[str, int] = dict.fromkeys(self._desk.schedules, 0)
        self._submissions_at_stop: int | None = None
        self._written: tuple[object, int] | None = None
        self._accounts_sampled_ns = 0
        self._process_started = process_started(os.getpid())

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
            try:
                await self._workers.start(self._desk.schedules)
                watching = asyncio.create_task(self._watch(stop))
                # Without the watch over the gate nothing may run on.
                watching.add_done_callback(lambda _: stop.set())
                try:
                    await self._scheduler.run(stop)
                finally:
                    stop.set()
                    await watching
            finally:
                await self._workers.close()
                self._gate.close()

    # What the scheduler tells -------------------------------------------------------------------------------------

    def fired(self, fire: Fire) -> None:
        lateness_ns = fire.dispatched_ns - fire.intended_ns
        self._sampler.records[fire.schedule].lateness.add(fire.dispatched_ns, lateness_ns)

    def missed(self, schedule: str, slots: int) -> None:
        self._sampler.records[schedule].missed += slots

    def failed(self, schedule: str, error: BaseException, in_a_row: int) -> None:
        self._events("runtime.evaluation_failed", {"schedule": schedule, "reason": str(error), "n": in_a_row})

    def suspended(self, schedule: str, reason: SuspensionReason) -> None:
        self._sampler.records[schedule].suspended = True
        self._events("runtime.schedule_suspended", {"schedule": schedule, "reason": reason.value})

    # One evaluation -----------------------------------------------------------------------------------------------

    async def _evaluate(self, schedule: DeskSchedule, fire: Fire) -> None:
        now = self._clock.now()
        self._take_market(now)
        lateness = {"stage4_lateness_seconds": fire.lateness_ms / 1000.0}
        if not window_open(schedule.settings.trading_windows, now):
            self._sink.offer(self._sampler.of_schedule(schedule, now, lateness, window_closed=True))
            return
        if not self._desk.warmed_up(schedule):
            self._sink.offer(self._sampler.of_schedule(schedule, now, lateness, warming_up=True))
            return
        evaluation: Evaluation | None = None
        try:
            evaluation = await self._answer(schedule, now)
        finally:
            # A failed evaluation has a latency too; leaving it out would hide the worst ones.
            metrics = evaluation.metrics if evaluation is not None else {}
            latency = (self._clock.monotonic_ns() - fire.intended_ns) / 1e9
            values = {**lateness, "stage4_loop_latency_seconds": latency, **metrics}
            self._sink.offer(self._sampler.of_schedule(schedule, self._clock.now(), values))

    async def _answer(self, schedule: DeskSchedule, now: datetime) -> Evaluation:
        """Evaluate, and submit what came of it.

        While the gate is closed the strategies go on being evaluated, so that the panels show the market; such an
        evaluation is not in flight, because nothing of it can leave.
        """
        faults = self._faults.current(now)
        request = Request(schedule.spec, self._desk.snapshot(schedule, now), faults.latency_ms)
        counted = self._permitted(schedule)
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

    def _take_market(self, now: datetime) -> None:
        self._desk.take(self._feed.advance(now), now, self._faults.current(now))

    def _permitted(self, schedule: DeskSchedule) -> bool:
        settings = schedule.settings
        return self._gate.permits(schedule=schedule.name, strategy=settings.strategy, tags=settings.tags).open

    # The watch over gate, orders, state and accounts --------------------------------------------------------------

    async def _watch(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._gate.refresh()
            self._apply_orders()
            await self._tell_state()
            self._sample_accounts()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), WATCH_SECONDS)

    def _apply_orders(self) -> None:
        if not enable.pending_orders(self._installation.root):
            return
        from stage4.security.people import People

        try:
            people = People.load(self._installation.path(self._installation.settings.operations.operators_file))
        except Stage4Error as error:
            self._events(error.code, error.params)
            return
        for outcome in self._gate.apply_orders(people):
            if outcome.outcome != "waiting":
                self._orders(outcome)

    async def _tell_state(self) -> None:
        """Write the state at once when the picture changed, and as a heartbeat otherwise."""
        if self._gate.wide is None:
            self._submissions_at_stop = None
        elif self._submissions_at_stop is None:
            self._submissions_at_stop = self._desk.broker.submissions
        picture = (dict(self._gate.digests), self._gate.alarms, sum(self._in_flight.values()) == 0)
        now_ns = self._clock.monotonic_ns()
        if self._written is not None and self._written[0] == picture and now_ns - self._written[1] < HEARTBEAT_NS:
            return
        self._written = (picture, now_ns)
        try:
            # In a thread, because a slow disk must not make a schedule late.
            await asyncio.to_thread(write_state, self._installation.path(STATE_FILE), self._state())
        except Unavailable as error:
            self._events(error.code, error.params)

    def _state(self) -> RuntimeState:
        wide, in_flight = self._gate.wide, sum(self._in_flight.values())
        if wide is None:
            state = SchedulerState.ENABLED
        else:
            state = SchedulerState.STOPPING if in_flight else SchedulerState.DISABLED
        submissions = self._desk.broker.submissions
        after_stop = 0 if self._submissions_at_stop is None else submissions - self._submissions_at_stop
        return RuntimeState(
            installation_id=self._installation.settings.operations.installation_id,
            state=state,
            pid=os.getpid(),
            process_started=self._process_started,
            boot_id=self._clock.boot_id(),
            heartbeat_ns=self._clock.boottime_ns(),
            at=self._clock.now(),
            override_digest=None if wide is None else wide.digest,
            stops=dict(self._gate.digests),
            in_flight=in_flight,
            signals_submitted=submissions,
            signals_after_stop=after_stop,
            schedules={schedule.name: self._schedule_state(schedule) for schedule in self._desk.schedules.values()},
            alarms=self._gate.alarms,
        )

    def _schedule_state(self, schedule: DeskSchedule) -> ScheduleState:
        if self._sampler.records[schedule.name].suspended:
            state = "suspended"
        elif not self._permitted(schedule):
            state = "disabled"
        else:
            state = "enabled" if self._desk.warmed_up(schedule) else "warming_up"
        return ScheduleState(
            strategy=schedule.settings.strategy,
            tags=schedule.settings.tags,
            state=state,
            in_flight=self._in_flight[schedule.name],
            signals=self._desk.broker.submissions_by_schedule.get(schedule.name, 0),
        )

    def _sample_accounts(self) -> None:
        now, now_ns = self._clock.now(), self._clock.monotonic_ns()
        self._sampler.advance(now_ns, {s.name: self._expected(s, now) for s in self._desk.schedules.values()})
        if now_ns - self._accounts_sampled_ns < ACCOUNTS_NS:
            return
        self._accounts_sampled_ns = now_ns
        self._take_market(now)
        closed = self._gate.wide is not None
        for sample in self._samples(now, closed):
            self._sink.offer(sample)

    def _samples(self, now: datetime, gate_closed: bool) -> list[Sample]:
        samples = list(self._sampler.of_accounts(now, self._feed.market_time(now), gate_closed=gate_closed))
        # A suspended schedule is evaluated no more, so somebody else must say that it is suspended.
        silent = [s for s in self._desk.schedules.values() if self._sampler.records[s.name].suspended]
        return samples + [self._sampler.of_schedule(schedule, now, {}) for schedule in silent]

    def _expected(self, schedule: DeskSchedule, now: datetime) -> bool:
        """Whether a signal may be expected: enabled, warmed up, inside its windows. A suspension is no excuse."""
        inside = window_open(schedule.settings.trading_windows, now)
        return inside and self._desk.warmed_up(schedule) and self._permitted(schedule)


def _timing(schedule: DeskSchedule) -> Timing:
    settings = schedule.settings
    return Timing.from_seconds(settings.cadence_seconds, max_drift=settings.max_drift_seconds, policy=DriftPolicy.SKIP)


def run_until_signalled(environment: Environment) -> None:
    """Run in a new event loop until SIGTERM or SIGINT, then end cleanly."""

    async def until_signalled() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await environment.run(stop)

    asyncio.run(until_signalled())
