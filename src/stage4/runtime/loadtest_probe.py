"""
The kill-switch probe of a load run: the private copy is stopped by its own override file while it is under load.

Before and after the file every evaluation wants to trade, through the same desk, gate and broker as always. A
question that was begun after the file stood and is answered "open" is a signal that got away: there must be none.
Where nobody asked, nothing was shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from stage4.clock import Clock
from stage4.runtime.desk import Desk, DeskSchedule, GatePort
from stage4.runtime.gate import GateVerdict
from stage4.runtime.loadtest_run import PROBE_SLOTS, ProbeResult
from stage4.runtime.signal import Evaluation, Signal, SignalKind
from stage4.runtime.stop import request_stop

SHARE = 0.001
"""Of a schedule's equity that each trading wish of the probe is worth."""
ASK_SECONDS = 0.001
PATIENCE_SECONDS = 10.0


class KillProbe:
    """Stands in front of the gate of one run; asked only by the desk until `run`."""

    def __init__(self, root: Path, gate: GatePort, desk: Desk, clock: Clock, cadence_seconds: float) -> None:
        self._root = root
        self._gate = gate
        self._desk = desk
        self._clock = clock
        self._limit_seconds = PATIENCE_SECONDS + 2 * PROBE_SLOTS * cadence_seconds
        self._wishes = dict.fromkeys(desk.schedules, 0)
        self._before = 0
        self._offered = asyncio.Event()
        self._ordered_ns: int | None = None
        self._stands_ns: int | None = None
        self._closed_ns: int | None = None
        self._asked_after = 0
        self._after = 0
        self.begun = False
        desk.gate = self

    @property
    def submissions(self) -> int:
        """Signals that have reached the broker so far."""
        return self._desk.broker.submissions

    def permits(self, *, schedule: str, strategy: str, tags: Sequence[str] = ()) -> GateVerdict:
        """The gate's own answer, noted."""
        asked_ns = self._clock.monotonic_ns()
        verdict = self._gate.permits(schedule=schedule, strategy=strategy, tags=tags)
        if self._ordered_ns is not None and self._closed_ns is None and not verdict.open:
            self._closed_ns = self._clock.monotonic_ns()
        if self._stands_ns is not None and asked_ns > self._stands_ns:
            self._asked_after += 1
            self._after += verdict.open
        return verdict

    def leave_out(self, schedule: str) -> None:
        """`schedule` fires no more, so nobody waits for its wish."""
        self._wishes.pop(schedule, None)
        self._offered.set()

    def offer(self, schedule: DeskSchedule, now: datetime) -> None:
        """One small trade of `schedule`, the way of every signal; towards flat, which no risk limit forbids."""
        if schedule.name in self._wishes:
            self._wishes[schedule.name] += 1
        market, book = self._desk.market, self._desk.books[schedule.name]
        key = (market.venues[0], market.symbol)
        price = market.marks.get(key)
        if price is not None:
            held = book.positions[key].quantity if key in book.positions else 0.0
            small = SHARE * book.equity(market.marks) / price
            wish = Signal(
                kind=SignalKind.SELL if held > 0 else SignalKind.BUY,
                schedule=schedule.name,
                strategy=schedule.settings.strategy,
                symbol=market.symbol,
                venue=market.venues[0],
                quantity=min(small, abs(held)) if held else small,
                confidence=1.0,
                reason="probe",
            )
            submitted = self._desk.settle(schedule, Evaluation((wish,), {}), now)
            if self._ordered_ns is None:
                self._before += submitted
        self._offered.set()

    async def run(self) -> None:
        """Let every schedule trade, place the stop, and let every schedule try again."""
        self.begun = True
        try:
            async with asyncio.timeout(self._limit_seconds):
                await self._all_offered()
                self._ordered_ns = self._clock.monotonic_ns()
                placing = asyncio.create_task(asyncio.to_thread(self._place))
                asking = asyncio.create_task(self._ask())
                try:
                    self._stands_ns = await placing
                    await asking
                    await self._all_offered()
                finally:
                    asking.cancel()
        except TimeoutError:
            return  # the result says what was not seen

    def result(self) -> ProbeResult:
        """What was seen so far."""
        return ProbeResult(
            self._since_order(self._stands_ns),
            self._since_order(self._closed_ns),
            self._before,
            self._asked_after,
            self._after,
        )

    def _place(self) -> int:
        request_stop(self._root, reason="load test", requested_by="load test", clock=self._clock)
        return self._clock.monotonic_ns()

    async def _ask(self) -> None:
        """Ask on the scheduler's own thread until the gate is closed: a busy one answers late, and that counts."""
        schedule = next(iter(self._desk.schedules.values()))
        while self._closed_ns is None:
            self._desk.permitted(schedule)
            await asyncio.sleep(ASK_SECONDS)

    async def _all_offered(self) -> None:
        """Until each schedule that still fires has wanted to trade once more."""
        before = dict(self._wishes)
        while any(count == before[name] for name, count in self._wishes.items()):
            self._offered.clear()
            await self._offered.wait()

    def _since_order(self, at_ns: int | None) -> float | None:
        if at_ns is None or self._ordered_ns is None:
            return None
        return round((at_ns - self._ordered_ns) / 1e6, 3)
