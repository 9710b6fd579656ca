"""The kill switch end to end: a working environment, each scope stopped and enabled, orders cancelled."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from stage4.app.installing import create
from stage4.clock import SystemClock
from stage4.config import load
from stage4.market import SyntheticFeed
from stage4.runtime import enable
from stage4.runtime.broker import PaperBroker
from stage4.runtime.environment import Environment
from stage4.runtime.state import STATE_FILE, RuntimeState, StopProgress, read_state
from stage4.runtime.stop import ALL, OVERRIDES, Scope, ScopeKind, StopReceipt, judge_word, request_stop
from stage4.security import sshsig
from support.desks import until
from support.kill_desk import BAR, Nobody, fast

CLOCK = SystemClock()
MEAN, VOLATILITY, CROSS = "mean_reversion_intraday_0", "volatility_target_daily_0", "cross_exchange_watch_0"
PARTS = {
    Scope(ScopeKind.STRATEGY, "core_volatility_target"): {VOLATILITY},
    Scope(ScopeKind.SCHEDULE, MEAN): {MEAN},
    Scope(ScopeKind.TAG, "intraday"): {MEAN, CROSS},
}


class Venue(PaperBroker):
    """Fills as the paper broker does, and has three orders at work that go when they are cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.working = {MEAN: 2, CROSS: 1}
        self.cancelled: list[tuple[str, ...]] = []

    def working_orders(self, schedules: Sequence[str]) -> int:
        return sum(self.working.get(name, 0) for name in schedules)

    def cancel_orders(self, schedules: Sequence[str]) -> None:
        self.cancelled.append(tuple(schedules))
        for name in schedules:
            self.working.pop(name, None)


class House:
    """A running environment, what it said of its stops, and those who stop and enable."""

    def __init__(self, root: Path, environment: Environment, stages: list[tuple[str, str]]) -> None:
        self.root, self.environment, self.stages = root, environment, stages

    @property
    def word(self) -> RuntimeState:
        return read_state(self.root / STATE_FILE)

    @property
    def signals(self) -> dict[str, int]:
        return dict(self.environment.desk.broker.submissions_by_schedule)

    async def stop(self, scope: Scope = ALL) -> StopReceipt:
        receipt = request_stop(self.root, scope=scope, reason="r", clock=CLOCK)
        await until(lambda: judge_word(self.word, receipt.facts) == "disabled")
        return receipt

    async def enable(self, scope: Scope = ALL) -> None:
        statement = enable.prepare(self.root, scope.file_name, clock=CLOCK)
        keys = self.root / "secrets/people"
        signed = [(who, sshsig.sign(keys / who, statement.message, sshsig.ENABLE)) for who in ("im-zofia", "l2-ewa")]
        enable.submit(self.root, statement, signed)
        await until(lambda: scope.file_name not in self.word.stops)

    async def trades(self, *schedules: str) -> None:
        """Wait until each of these schedules has submitted something new."""
        before = self.signals
        await until(lambda: all(self.signals.get(name, 0) > before.get(name, 0) for name in schedules))


def during(
    root: Path, story: Callable[[House], Awaitable[None]], broker: PaperBroker | None = None
) -> list[tuple[str, str]]:
    create(root, CLOCK, language="en")
    stages: list[tuple[str, str]] = []

    def told(name: str, stage: str, _: StopProgress) -> None:
        stages.append((name, stage))

    async def around() -> None:
        feed = SyntheticFeed(7, begins=CLOCK.now(), venues=("alpha", "beta"), interval=BAR)
        installation = fast(load(root), 0.02, copies=1)
        environment = Environment(installation, clock=CLOCK, sink=Nobody(), feed=feed, stops=told)
        if broker is not None:
            environment.desk.broker = broker
        stop = asyncio.Event()
        running = asyncio.create_task(environment.run(stop))
        try:
            await until(lambda: running.done() or environment.desk.broker.submissions > 0, 30)
            await story(House(root, environment, stages))
        finally:
            stop.set()
            await running

    asyncio.run(around())
    return stages


@pytest.mark.parametrize("scope", PARTS, ids=lambda scope: str(scope.kind))
def test_each_part_is_stopped_alone_all_can_be_stopped_with_it_and_each_is_enabled_alone(
    tmp_path: Path, scope: Scope
) -> None:
    held, free = PARTS[scope], {MEAN, VOLATILITY, CROSS} - PARTS[scope]

    async def story(house: House) -> None:
        await house.trades(*held, *free)
        await house.stop(scope)
        before = house.signals
        await house.trades(*free)
        assert {name: house.signals.get(name, 0) for name in held} == {name: before.get(name, 0) for name in held}
        assert {name for name, each in house.word.schedules.items() if each.state == "disabled"} == held

        await house.stop()
        stopped = house.signals
        await house.enable(scope)
        assert ALL.file_name in house.word.stops, "the stop of all is another stop"
        assert house.signals == stopped
        await house.stop(scope)
        await house.enable()
        await house.trades(*free)
        assert {name: house.signals.get(name, 0) for name in held} == {name: stopped.get(name, 0) for name in held}
        await house.enable(scope)
        await house.trades(*held)

    stages = during(tmp_path / "desk", story)
    assert stages.count((scope.file_name, "verified")) == 2
    assert stages.count((ALL.file_name, "acknowledged")) == 1


def test_orders_at_work_are_cancelled_and_both_states_are_told(tmp_path: Path) -> None:
    venue = Venue()

    async def story(house: House) -> None:
        assert house.word.working_orders == 3
        scope = Scope(ScopeKind.SCHEDULE, CROSS)
        await house.stop(scope)
        assert venue.working == {MEAN: 2}
        assert house.word.progress[scope.file_name].orders.found == 1
        await house.stop()
        come = house.word.progress[ALL.file_name]
        assert (come.orders.found, come.orders.working) == (2, 0)
        assert come.closed_at <= come.acknowledged_at
        assert come.verified_at is not None
        await until(lambda: house.word.working_orders == 0)

    stages = during(tmp_path / "desk", story, venue)
    assert venue.cancelled == [(CROSS,), (MEAN, VOLATILITY, CROSS)]
    assert [stage for name, stage in stages if name == ALL.file_name] == [
        "acknowledged",
        "orders_cancelled",
        "verified",
    ]


def test_a_stop_is_heard_and_not_only_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stage4.runtime.watch.WATCH_SECONDS", 3600.0)

    async def story(house: House) -> None:
        assert house.word.hears
        await house.stop()
        await house.enable()
        await house.stop(Scope(ScopeKind.SCHEDULE, CROSS))

    during(tmp_path / "desk", story)


def test_where_nothing_is_heard_it_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stage4.runtime.inotify.DirectoryWatch._begin", lambda self: False)

    async def story(house: House) -> None:
        assert not house.word.hears
        await house.stop()
        await house.enable()

    during(tmp_path / "desk", story)


@pytest.mark.parametrize("how", ["removed", "replaced", "moved away and back"])
def test_a_directory_that_went_stops_everything_and_its_return_enables_nothing(tmp_path: Path, how: str) -> None:
    async def story(house: House) -> None:
        overrides = house.root / OVERRIDES
        if how == "removed":
            shutil.rmtree(overrides)
        else:
            overrides.rename(house.root / "away")
            if how == "replaced":
                overrides.mkdir()
        await until(lambda: ALL.file_name in house.word.stops)
        before = house.signals
        if how == "removed":
            overrides.mkdir()
        elif how != "replaced":
            (house.root / "away").rename(overrides)
        seen_ns = house.word.heartbeat_ns
        await until(lambda: house.word.heartbeat_ns > seen_ns + 1_000_000_000)
        assert house.signals == before
        await house.enable()
        await house.trades(MEAN)

    during(tmp_path / "desk", story)
