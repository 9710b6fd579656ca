"""
What a strategy sees and what it answers.

A *signal* is whatever an evaluation returns, an explicit hold included; only buys and sells are submitted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from stage4.errors import Unavailable
from stage4.telemetry.catalogue import STRATEGY_METRICS


class SignalKind(StrEnum):
    """What the strategy wants."""

    BUY = "buy"
    SELL = "sell"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Signal:
    """One wish of one schedule; `quantity` in base currency, never negative; `confidence` between 0 and 1.

    `reason` is a short English word for machines and logs; `metadata` holds the numbers behind it.
    """

    kind: SignalKind
    schedule: str
    strategy: str
    symbol: str
    venue: str
    quantity: float
    confidence: float
    reason: str
    metadata: Mapping[str, float] = field(default_factory=dict)

    @property
    def actionable(self) -> bool:
        """Whether there is something to submit."""
        return self.kind is not SignalKind.HOLD

    @property
    def signed_quantity(self) -> float:
        """Positive to buy, negative to sell."""
        sign = {SignalKind.BUY: 1.0, SignalKind.SELL: -1.0, SignalKind.HOLD: 0.0}[self.kind]
        return sign * self.quantity


@dataclass(frozen=True, slots=True)
class VenueWindow:
    """The newest bars of one venue, oldest first: instants of completion (POSIX seconds) and closes."""

    venue: str
    at: tuple[float, ...]
    close: tuple[float, ...]
    delay_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that one evaluation may know.

    `equity` (quote currency) is the capital of the schedule; `max_position` is its largest position as a ratio of
    it, `target_volatility` the most volatility a year that its risk profile grants a strategy which aims at one;
    `held` is the position by venue in base currency.
    """

    schedule: str
    strategy: str
    symbol: str
    at: float
    interval_seconds: float
    equity: float
    max_position: float
    windows: tuple[VenueWindow, ...]
    held: Mapping[str, float]
    target_volatility: float = math.inf

    def window(self, venue: str) -> VenueWindow:
        """The bars of `venue`, possibly none."""
        return next((window for window in self.windows if window.venue == venue), VenueWindow(venue, (), ()))

    def primary(self) -> VenueWindow:
        """The bars of the first venue."""
        return self.windows[0] if self.windows else VenueWindow("", (), ())


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The answer to one snapshot; `metrics` maps full names of the metric catalogue to values."""

    signals: tuple[Signal, ...]
    metrics: Mapping[str, float]


def move_to(
    snapshot: Snapshot, venue: str, target: float, *, confidence: float, reason: str, **numbers: float
) -> Signal:
    """The signal that takes the position at `venue` to `target` (base currency); a hold when it is there."""
    change = target - snapshot.held.get(venue, 0.0)
    # Below a thousandth of a per cent of a position the difference is rounding, not a wish.
    if abs(change) <= 1e-5 * max(abs(target), abs(snapshot.held.get(venue, 0.0))) or change == 0.0:
        return hold(snapshot, venue, reason=reason, confidence=confidence, **numbers)
    kind = SignalKind.BUY if change > 0 else SignalKind.SELL
    return Signal(
        kind, snapshot.schedule, snapshot.strategy, snapshot.symbol, venue, abs(change), confidence, reason, numbers
    )


def hold(snapshot: Snapshot, venue: str, *, reason: str, confidence: float = 0.0, **numbers: float) -> Signal:
    """An explicit "leave it as it is"."""
    return Signal(
        SignalKind.HOLD, snapshot.schedule, snapshot.strategy, snapshot.symbol, venue, 0.0, confidence, reason, numbers
    )


def sound(evaluation: Evaluation, snapshot: Snapshot) -> Evaluation:
    """The same evaluation, if it can be what a strategy meant; raises Unavailable `runtime.nonsense`.

    A strategy speaks for its own schedule and about its own metrics only: one that could set the loss, the gate or the
    silence of signals could hide an alert from people, or raise one for somebody else.
    """
    for signal in evaluation.signals:
        numbers = (signal.quantity, signal.confidence, *signal.metadata.values())
        if signal.schedule != snapshot.schedule or not all(map(math.isfinite, numbers)):
            raise Unavailable("runtime.nonsense", schedule=snapshot.schedule)
        if signal.quantity < 0 or not 0 <= signal.confidence <= 1:
            raise Unavailable("runtime.nonsense", schedule=snapshot.schedule)
    if not evaluation.metrics.keys() <= STRATEGY_METRICS or not all(map(math.isfinite, evaluation.metrics.values())):
        raise Unavailable("runtime.nonsense", schedule=snapshot.schedule)
    return evaluation
