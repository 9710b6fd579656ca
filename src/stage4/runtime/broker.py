"""The paper broker: fills at the last price, charges a fee, and counts every submission."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from stage4.runtime.risk import Fill
from stage4.runtime.signal import Signal

FEE_RATIO = 0.00002
"""Of the notional, for each fill: the rebate tier of a market maker, small enough not to drown a spread."""


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
