"""
A whole scheduler in a process of its own, for the kill trials: real strategies in their workers, a real gate, a fast
market, and a broker that tells of every submission.

Run as `python -m support.kill_desk ROOT CADENCE DESCRIPTOR`. For each submission it writes two instants of the
monotonic clock to the descriptor: when the gate was asked, and when the signal was with the broker.
"""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from stage4.clock import SystemClock
from stage4.config import Installation, load
from stage4.market import SyntheticFeed
from stage4.market.synthetic import MarketModel
from stage4.runtime.desk import Desk, DeskSchedule
from stage4.runtime.environment import Environment
from stage4.runtime.risk import Fill
from stage4.runtime.signal import Signal
from stage4.telemetry.sample import Sample

RECORD = struct.Struct("qq")
BAR = timedelta(milliseconds=4)
COPIES = 2
"""Schedules for each schedule of the settings, each with a worker of its own."""


def fast(installation: Installation, cadence: float, copies: int = COPIES) -> Installation:
    """The installation with every schedule at `cadence` seconds and strategies that want something nearly always."""
    chosen = installation.settings
    ((name, scheduler),) = chosen.runtime.multi_strategy_schedulers.items()
    schedules = {
        f"{schedule}_{copy}": msgspec.structs.replace(
            each, cadence_seconds=cadence, max_drift_seconds=5.0, warmup_bars=5
        )
        for schedule, each in scheduler.schedules.items()
        for copy in range(copies)
    }
    scheduler = msgspec.structs.replace(scheduler, schedules=schedules)
    runtime = msgspec.structs.replace(chosen.runtime, multi_strategy_schedulers={name: scheduler})
    eager = {
        "mean_reversion_strategies": {"entry_zscore": 0.3, "exit_zscore": 0.25, "lookback": 20},
        "volatility_target_strategies": {"rebalance_threshold": 0.0001, "lookback": 20},
        "cross_exchange_arbitrage_strategies": {"spread_entry": 0.0001, "spread_exit": 0.00009},
    }
    changed = {
        section: {n: msgspec.structs.replace(each, **values) for n, each in getattr(chosen, section).items()}
        for section, values in eager.items()
    }
    return Installation(installation.root, msgspec.structs.replace(chosen, runtime=runtime, **changed))


class Nobody:
    """A telemetry that takes every sample and keeps none."""

    def offer(self, sample: Sample) -> bool:
        return True


class Told:
    """Stands between desk and broker, and before the gate, with a watch in the hand."""

    def __init__(self, desk: Desk, descriptor: int) -> None:
        self._permitted, self._submit, self._descriptor = desk.permitted, desk.broker.submit, descriptor
        self._asked_ns = 0

    def permitted(self, schedule: DeskSchedule) -> bool:
        self._asked_ns = time.monotonic_ns()
        return self._permitted(schedule)

    def submit(self, signal: Signal, quantity: float, price: float, at: datetime) -> Fill | None:
        os.write(self._descriptor, RECORD.pack(self._asked_ns, time.monotonic_ns()))
        return self._submit(signal, quantity, price, at)


async def work(root: Path, cadence: float, descriptor: int) -> None:
    clock, installation = SystemClock(), fast(load(root), cadence)
    feed = SyntheticFeed(7, begins=clock.now(), venues=("alpha", "beta"), interval=BAR, model=MarketModel())
    environment = Environment(installation, clock=clock, sink=Nobody(), feed=feed)
    told = Told(environment.desk, descriptor)
    environment.desk.permitted = told.permitted  # type: ignore[method-assign]
    environment.desk.broker.submit = told.submit  # type: ignore[method-assign]
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await environment.run(stop)


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
