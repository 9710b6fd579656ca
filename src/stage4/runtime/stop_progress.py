"""
How far each stop has come in this scheduler: acknowledged, its orders cancelled, verified.

A gate that closes stops what would still leave. What stands at a venue already is another matter, with another
duration: the broker is asked to cancel it, and both are told side by side, because "the gate is closed" must never
be read as "nothing of ours works any more". It fails towards asking again: as long as an order works, or the
broker cannot say, it is asked once a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, Protocol

import msgspec

from stage4.errors import Stage4Error
from stage4.runtime.latch import LatchedStop
from stage4.runtime.state import OrderCancellation, StopProgress
from stage4.runtime.stop import ALL, scope_of

ASK_AGAIN = timedelta(seconds=1)
Stage = Literal["acknowledged", "orders_cancelled", "verified"]
Told = Callable[[str, Stage, StopProgress], None]
"""Hears the override file's name, how far its stop has come, and the facts. Must not block."""


class OrderBook(Protocol):
    """What a broker lets the kill switch do with orders that stand at a venue (`runtime.broker.Broker`)."""

    def working_orders(self, schedules: Sequence[str]) -> int: ...

    def cancel_orders(self, schedules: Sequence[str]) -> None: ...


class Covered(Protocol):
    """One schedule as a stop sees it."""

    @property
    def strategy(self) -> str: ...

    @property
    def tags(self) -> tuple[str, ...]: ...


class StopFollower:
    """Follows the stops of one running scheduler; `told` hears of each stage once."""

    def __init__(self, orders: OrderBook, schedules: Mapping[str, Covered], told: Told) -> None:
        self._orders = orders
        self._schedules = schedules
        self._told = told
        self._asked: dict[str, datetime] = {}
        self.progress: dict[str, StopProgress] = {}
        """By file name; only stops in force."""

    def follow(
        self,
        stops: Mapping[str, LatchedStop],
        closed_at: Mapping[str, datetime],
        in_flight: Mapping[str, int],
        now: datetime,
    ) -> None:
        """Bring `progress` up to the stops in force; call it after every look at the gate."""
        for name in self.progress.keys() - stops.keys():
            del self.progress[name], self._asked[name]
        for name, stop in stops.items():
            known = self.progress.get(name)
            if known is None or known.digest != stop.digest:
                self._begin(name, stop, closed_at.get(name, now), now)
            self._advance(name, in_flight, now)

    def working(self) -> tuple[int, str | None]:
        """How many orders of any schedule work now, and why that cannot be told (the number is none then)."""
        return self._count(tuple(self._schedules))

    def covered(self, file_name: str) -> tuple[str, ...]:
        """The schedules that the stop holds; a name that nobody can read counts as a stop of all."""
        scope = scope_of(file_name) or ALL
        return tuple(n for n, each in self._schedules.items() if scope.covers(n, each.strategy, each.tags))

    def _begin(self, name: str, stop: LatchedStop, closed_at: datetime, now: datetime) -> None:
        found, fault = self._count(self.covered(name))
        orders = OrderCancellation(found=found, working=found, fault=fault)
        self.progress[name] = StopProgress(digest=stop.digest, closed_at=closed_at, acknowledged_at=now, orders=orders)
        self._asked.pop(name, None)
        self._told(name, "acknowledged", self.progress[name])

    def _advance(self, name: str, in_flight: Mapping[str, int], now: datetime) -> None:
        before = self.progress[name]
        self._cancel(name, now)
        if self.progress[name].orders.settled and not before.orders.settled:
            self._told(name, "orders_cancelled", self.progress[name])
        if before.verified_at is None and not any(in_flight.get(schedule) for schedule in self.covered(name)):
            self.progress[name] = msgspec.structs.replace(self.progress[name], verified_at=now)
            self._told(name, "verified", self.progress[name])

    def _cancel(self, name: str, now: datetime) -> None:
        """Ask the broker, once even where it knows of no order, and again while something works."""
        asked, orders = self._asked.get(name), self.progress[name].orders
        if asked is not None and (orders.settled or now - asked < ASK_AGAIN):
            return
        self._asked[name] = now
        fault = None
        try:
            self._orders.cancel_orders(self.covered(name))
        except (Stage4Error, OSError) as error:
            fault = str(error)
        working, unknown = self._count(self.covered(name))
        orders = OrderCancellation(found=max(orders.found, working), working=working, fault=fault or unknown)
        self.progress[name] = msgspec.structs.replace(self.progress[name], orders=orders)

    def _count(self, schedules: Sequence[str]) -> tuple[int, str | None]:
        try:
            return self._orders.working_orders(schedules), None
        except (Stage4Error, OSError) as error:
            return 0, str(error)
