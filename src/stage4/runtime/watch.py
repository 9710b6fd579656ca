"""
The environment's watch: gate, enable orders, suspensions, the scheduler's own word, and the accounts.

It is told of every change in the override directory and looks at once; every tenth of a second it looks unasked, for
what it was not told. It carries out orders, has the broker cancel what works under a stop, and writes `state.json`: at
once when the picture changed, and twice a second as a heartbeat. Every five seconds it looks at what the environment
uses of the machine. Once a second it values the accounts, so that they
are fresh even where schedules are slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from datetime import datetime

from stage4.clock import Clock
from stage4.config import Installation
from stage4.errors import Stage4Error, Unavailable
from stage4.runtime import enable
from stage4.runtime.desk import Desk, DeskSchedule
from stage4.runtime.gate import Gate, OrderOutcome
from stage4.runtime.inotify import DirectoryWatch
from stage4.runtime.resources import ResourceWatch
from stage4.runtime.sampling import Sampler
from stage4.runtime.schedule import window_open
from stage4.runtime.state import (
    STATE_FILE,
    ResourceState,
    RuntimeState,
    SchedulerState,
    ScheduleState,
    process_started,
    write_state,
)
from stage4.runtime.stop_progress import StopFollower, Told
from stage4.runtime.suspension_keeper import SuspensionKeeper
from stage4.telemetry.sample import Sample

WATCH_SECONDS = 0.1
HEARTBEAT_NS = 500_000_000
ACCOUNTS_NS = 1_000_000_000
RESOURCES_NS = 5_000_000_000
_RESOURCES = {"ok": "runtime.resources_ok", "warning": "runtime.resources_warning", "error": "runtime.resources_error"}

Events = Callable[[str, Mapping[str, object]], None]
"""Hears what a person may want to know: a catalogue code and its parameters. Must not block."""
Orders = Callable[[OrderOutcome], None]
"""Hears that an enable order was accepted or refused, after it happened. Must not block."""


class Watch:
    """Looks after one running environment; `in_flight` counts evaluations whose signals may still leave."""

    def __init__(
        self,
        installation: Installation,
        *,
        clock: Clock,
        desk: Desk,
        gate: Gate,
        sampler: Sampler,
        suspensions: SuspensionKeeper,
        in_flight: Mapping[str, int],
        take_market: Callable[[datetime], datetime],
        offer: Callable[[Sample], bool],
        events: Events,
        orders: Orders,
        stops: Told,
    ) -> None:
        self._installation = installation
        self._clock = clock
        self._desk = desk
        self._gate = gate
        self._sampler = sampler
        self._suspensions = suspensions
        self._in_flight = in_flight
        self._take_market = take_market
        self._offer = offer
        self._events = events
        self._orders = orders
        covered = {schedule.name: schedule.settings for schedule in desk.schedules.values()}
        self._follower = StopFollower(desk.broker, covered, stops)
        self._woken = asyncio.Event()
        self._hears = False
        self._process_started = process_started(os.getpid())
        self._submissions_at_stop: int | None = None
        self._written: tuple[object, int] | None = None
        self._sampled: tuple[bool, int] | None = None
        self._resources = ResourceWatch(installation.settings.runtime.resource_limits, clock)
        self._used: ResourceState | None = None
        self._looked_ns: int | None = None
        # What was told about the orders that still lie there: one that cannot be moved away is told once.
        self._told: frozenset[OrderOutcome | str] = frozenset()

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until `stop` is set."""
        ear = DirectoryWatch(
            self._gate.directory, asyncio.get_running_loop(), changed=self._look_at_once, lost=self._missed_something
        )
        wake = self._woken.set
        also = DirectoryWatch(self._suspensions.directory, asyncio.get_running_loop(), changed=wake, lost=wake)
        ending = asyncio.create_task(stop.wait())
        ending.add_done_callback(lambda _: self._woken.set())
        try:
            while not stop.is_set():
                self._woken.clear()
                self._hears = ear.follow()
                self._look()
                self._apply_orders()
                also.follow()
                await self._suspensions.follow()
                await self._look_at_resources()
                await self._tell_state()
                self._sample_accounts()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), WATCH_SECONDS)
        finally:
            ear.close()
            also.close()
            ending.cancel()

    def _look(self) -> None:
        self._gate.refresh()
        self._follow_stops()

    def _follow_stops(self) -> None:
        gate = self._gate
        self._follower.follow(gate.stops, gate.closed_at, self._in_flight, self._clock.now())

    def _look_at_once(self) -> None:
        # In the callback itself, so that a state that is just being written to a slow disk holds nothing up.
        self._look()
        self._woken.set()

    def _missed_something(self) -> None:
        self._gate.distrust()
        self._look_at_once()

    def _apply_orders(self) -> None:
        if not enable.pending_orders(self._installation.root):
            self._told = frozenset()
            return
        from stage4.security.people import People

        try:
            people = People.load(self._installation.path(self._installation.settings.operations.operators_file))
        except Stage4Error as error:
            if str(error) not in self._told:
                self._events(error.code, error.params)
            self._told |= {str(error)}
            return
        outcomes = self._gate.apply_orders(people)
        for outcome in outcomes:
            if outcome.outcome != "waiting" and outcome not in self._told:
                self._orders(outcome)
        self._told = frozenset(outcomes)

    async def _look_at_resources(self) -> None:
        now_ns = self._clock.monotonic_ns()
        # The second look comes soon, because the first has nothing to compare with.
        patience_ns = RESOURCES_NS if self._used is not None else HEARTBEAT_NS
        if self._looked_ns is not None and now_ns - self._looked_ns < patience_ns:
            return
        first, self._looked_ns = self._looked_ns is None, now_ns
        used = await asyncio.to_thread(self._resources.look)
        if first:
            return
        before, self._used = "ok" if self._used is None else self._used.status, used
        self._sampler.resources_share = used.largest_share if used.seconds else None
        if used.status != before:
            self._events(_RESOURCES[used.status], {"names": ", ".join(used.reasons)})

    async def _tell_state(self) -> None:
        # A signal that was asked about may have closed the gate since the last look: its stop has its progress too.
        self._follow_stops()
        if self._gate.wide is None:
            self._submissions_at_stop = None
        elif self._submissions_at_stop is None:
            self._submissions_at_stop = self._desk.broker.submissions
        # How much is in flight matters to somebody only while a stop is in force.
        draining = bool(self._gate.stops) and any(self._in_flight.values())
        suspended = tuple(record.suspended for record in self._sampler.records.values())
        picture = (dict(self._gate.digests), self._gate.alarms, draining, dict(self._follower.progress), suspended)
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
        working, unknown = self._follower.working()
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
            working_orders=working,
            progress=dict(self._follower.progress),
            hears=self._hears,
            schedules={schedule.name: self._schedule_state(schedule) for schedule in self._desk.schedules.values()},
            alarms=self._gate.alarms if unknown is None else (*self._gate.alarms, "gate.orders_unknown"),
            resources=self._used,
        )

    def _schedule_state(self, schedule: DeskSchedule) -> ScheduleState:
        record = self._sampler.records[schedule.name]
        if not self._desk.permitted(schedule):
            state = "disabled"
        elif record.suspended:
            state = "suspended"
        else:
            state = "enabled" if self._desk.warmed_up(schedule) else "warming_up"
        return ScheduleState(
            strategy=schedule.settings.strategy,
            tags=schedule.settings.tags,
            state=state,
            in_flight=self._in_flight[schedule.name],
            signals=self._desk.broker.submissions_by_schedule.get(schedule.name, 0),
            missed_slots=record.missed,
            lateness=record.histogram.figures(),
            suspended=record.suspended,
        )

    def _sample_accounts(self) -> None:
        now, now_ns = self._clock.now(), self._clock.monotonic_ns()
        self._sampler.advance(now_ns, {s.name: self._expected(s, now) for s in self._desk.schedules.values()})
        closed = self._gate.wide is not None
        if self._sampled is not None and closed == self._sampled[0] and now_ns - self._sampled[1] < ACCOUNTS_NS:
            return
        self._sampled = (closed, now_ns)
        market_now = self._take_market(now)
        for sample in self._sampler.of_accounts(now, market_now, gate_closed=closed):
            self._offer(sample)
        for sample in self._sampler.of_feeds(now, market_now):
            self._offer(sample)
        for schedule in self._desk.schedules.values():
            # A suspended schedule is evaluated no more, so somebody else must say that it is suspended.
            if self._sampler.records[schedule.name].suspended:
                self._offer(self._sampler.of_schedule(schedule, now, {}))

    def _expected(self, schedule: DeskSchedule, now: datetime) -> bool:
        """Whether a signal may be expected: enabled, warmed up, inside its windows. A suspension is no excuse."""
        inside = window_open(schedule.settings.trading_windows, now)
        return inside and self._desk.warmed_up(schedule) and self._desk.permitted(schedule)
