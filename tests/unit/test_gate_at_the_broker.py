"""With an override file in place not one signal reaches the broker, whatever the file holds; the broker counts."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from stage4.market.synthetic import SyntheticFeed
from stage4.runtime import enable
from stage4.runtime.desk import Desk, desk_schedules
from stage4.runtime.gate import Gate
from stage4.runtime.stop import request_stop
from stage4.testing.clock import ManualClock
from support.desks import BEGINS, VENUES, settings
from support.gates import EWA_AND_JAN, Site, make_site, people, signers

STOPS: dict[str, Callable[[Site], object]] = {
    "a stop": lambda site: request_stop(site.root, reason="r", clock=site.clock),
    "garbage": lambda site: site.wide_file.write_bytes(b"\xff\x00"),
    "an empty file": lambda site: site.wide_file.touch(),
    "a dangling link": lambda site: site.wide_file.symlink_to("nowhere"),
    "a directory in its place": lambda site: site.wide_file.mkdir(),
    "no override directory": lambda site: site.overrides.rmdir(),
    "another override directory": lambda site: (os.rename(site.overrides, site.root / "old"), site.overrides.mkdir()),
}


class Trading:
    """The three strategies on the synthetic market, second by second, through a real gate to the paper broker."""

    def __init__(self, gate: Gate) -> None:
        self._feed = SyntheticFeed(7, begins=BEGINS, venues=VENUES, interval=timedelta(seconds=1))
        _, schedules = desk_schedules(settings())
        self._now = BEGINS
        self._desk = Desk(schedules, self._feed, gate, start_equity=300_000.0, daily_loss_limit_pct=2.0, begins=BEGINS)

    def trade(self, seconds: int = 60) -> int:
        """How many signals the broker got in `seconds`."""
        before = self._desk.broker.submissions
        for _ in range(seconds):
            self._now += timedelta(seconds=1)
            self._desk.take(self._feed.advance(self._now), self._now)
            for schedule in self._desk.schedules.values():
                evaluation = schedule.strategy.evaluate(self._desk.snapshot(schedule, self._now))
                self._desk.settle(schedule, evaluation, self._now)
        return self._desk.broker.submissions - before


@pytest.mark.parametrize("kind", STOPS)
def test_no_signal_reaches_the_broker_until_two_people_enable(tmp_path: Path, kind: str) -> None:
    site = make_site(tmp_path, ManualClock(BEGINS))
    gate = site.gate()
    trading = Trading(gate)
    assert trading.trade() > 0
    STOPS[kind](site)
    assert trading.trade() == 0
    site.overrides.mkdir(exist_ok=True)
    gate.refresh()
    assert trading.trade() == 0
    enable.request_enable(site.root, signers=signers(*EWA_AND_JAN), clock=site.clock)
    assert [result.outcome for result in gate.apply_orders(people())] == ["accepted"]
    assert trading.trade() > 0
