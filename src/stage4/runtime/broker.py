"""
What a broker is to the desk, and the paper broker: fills at the last price, charges a fee, counts every submission.

A desk's own broker implements `Broker`. Its part in a stop is the cancel hook: `cancel_orders` asks the venue to
cancel and returns at once, `working_orders` says how many still stand, so that the scheduler can tell both states
apart: gate closed, orders cancelled (Delegated Regulation (EU) 2017/589, article 12, asks for the second at once).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from stage4.runtime.risk import Fill
from stage4.runtime.signal import Signal

FEE_RATIO = 0.00002
"""Of the notional, for each fill: the rebate tier of a market maker, small enough not to drown a spread."""


class Broker(Protocol):
    """The way of a signal to a venue. Called on the event loop: every method returns at once.

    Whether anything may be submitted is the gate's question, asked before; cancelling is always allowed.
    """

    def submit(self, signal: Signal, quantity: float, price: float, at: datetime) -> Fill | None:
        """Trade the signed `quantity` at `price`; None when the venue refuses or the order now works."""

    def working_orders(self, schedules: Sequence[str]) -> int:
        """How many orders of these schedules stand unexecuted at a venue; raises Unavailable when it cannot tell."""

    def cancel_orders(self, schedules: Sequence[str]) -> None:
        """Ask the venue to cancel every such order, without waiting for its answer.

        Called once for each stop, with no order working too, and again each second while one works; so a repetition
        must do no harm. Raises Unavailable when the venue cannot be asked.
        """


class PaperBroker:
    """Accepts what it is given; whether it may be given anything is the gate's question."""

    def __init__(self, *, refuses: Callable[[], bool] = lambda: False) -> None:
        self._refuses = refuses
        self.submissions = 0
        """Signals that were submitted, filled or not."""
        self.submissions_by_schedule: dict[str, int] = {}

    def submit(self, signal: Signal, quantity: float, price: float, at: datetime) -> Fill | None:
        """Trade the signed `quantity` at `price`; None when the venue refuses."""
        self.submissions += 1
        self.submissions_by_schedule[signal.schedule] = self.submissions_by_schedule.get(signal.schedule, 0) + 1
        if self._refuses():
            return None
        fee = abs(quantity) * price * FEE_RATIO
        return Fill(at, signal.schedule, signal.venue, signal.symbol, quantity, price, fee)

    def working_orders(self, schedules: Sequence[str]) -> int:
        """Always none: what is submitted is filled or refused at once."""
        return 0

    def cancel_orders(self, schedules: Sequence[str]) -> None:
        """Nothing to cancel, since nothing works."""
