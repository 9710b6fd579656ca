"""
Positions, profit and loss, drawdown and the daily loss: pure arithmetic in quote currency.

* Positions are kept at average cost: what reduces a position realises, what turns it over realises all of it and
  opens anew at the price of the fill.
* Equity = capital + realised + unrealised - fees, and at the same time capital + cash flow + market value.
* Daily loss = -(realised + unrealised - fees since the day's start) / equity at the day's start, in per cent.
* Drawdown = (highest equity so far - equity) / highest equity so far, in per cent, never negative.
* An equity that is no finite number is no observation: it moves neither the highest equity nor the day's start, and
  as long as it lasts loss and drawdown are NaN, which passes no limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta

Key = tuple[str, str]
"""Venue and symbol."""


@dataclass(frozen=True, slots=True)
class Fill:
    """What the broker did: `quantity` positive for a purchase, in base currency; `fee` in quote currency."""

    at: datetime
    schedule: str
    venue: str
    symbol: str
    quantity: float
    price: float
    fee: float = 0.0


@dataclass(frozen=True, slots=True)
class Position:
    """A holding at average cost; negative quantities are short."""

    quantity: float = 0.0
    average_price: float = 0.0

    def filled(self, quantity: float, price: float) -> tuple[Position, float]:
        """The position after a fill, and the profit that the fill realised."""
        after = self.quantity + quantity
        if self.quantity * quantity >= 0:
            total = self.quantity * self.average_price + quantity * price
            return Position(after, total / after if after else 0.0), 0.0
        closed = -quantity if abs(quantity) <= abs(self.quantity) else self.quantity
        realised = closed * (price - self.average_price)
        if after * self.quantity > 0:
            return Position(after, self.average_price), realised
        return Position(after, price if after else 0.0), realised

    def unrealised(self, mark: float) -> float:
        """Profit if it were closed at `mark`."""
        return self.quantity * (mark - self.average_price)


@dataclass(frozen=True, slots=True)
class Book:
    """The positions of one schedule on its capital."""

    capital: float
    positions: Mapping[Key, Position] = field(default_factory=dict)
    realised: float = 0.0
    fees: float = 0.0

    def filled(self, fill: Fill) -> Book:
        """The book after `fill`."""
        key = (fill.venue, fill.symbol)
        position, realised = self.positions.get(key, Position()).filled(fill.quantity, fill.price)
        positions = {**self.positions, key: position}
        if position.quantity == 0:
            del positions[key]
        return replace(self, positions=positions, realised=self.realised + realised, fees=self.fees + fill.fee)

    def equity(self, marks: Mapping[Key, float]) -> float:
        """Capital and profit at the prices `marks`; a position without a price counts at its cost."""
        unrealised = sum(
            position.unrealised(marks.get(key, position.average_price)) for key, position in self.positions.items()
        )
        return self.capital + self.realised + unrealised - self.fees

    def net_exposure(self, marks: Mapping[Key, float]) -> float:
        """Market value, long minus short."""
        return sum(
            position.quantity * marks.get(key, position.average_price) for key, position in self.positions.items()
        )

    def gross_exposure(self, marks: Mapping[Key, float]) -> float:
        """Market value, long plus short."""
        return sum(
            abs(position.quantity) * marks.get(key, position.average_price) for key, position in self.positions.items()
        )

    def held(self, symbol: str) -> dict[str, float]:
        """Quantity of `symbol` by venue."""
        return {venue: position.quantity for (venue, held), position in self.positions.items() if held == symbol}


@dataclass(frozen=True, slots=True)
class EquityTrack:
    """What equity has been: its highest value, and its value at the start of the day.

    `equity` is the newest one, `told` the newest that was finite.
    """

    day: datetime
    day_start: float
    peak: float
    equity: float
    told: float

    @classmethod
    def begin(cls, equity: float, at: datetime, day_starts: time = time()) -> EquityTrack:
        """The first observation; one that is not finite leaves highest value and day's start to the next."""
        told = equity if math.isfinite(equity) else math.nan
        return cls(day_of(at, day_starts), told, told, equity, told)

    def observed(self, equity: float, at: datetime, day_starts: time = time()) -> EquityTrack:
        """After equity was seen at `at`; a new day starts from the last finite equity of the old one."""
        if math.isnan(self.told):
            return EquityTrack.begin(equity, at, day_starts)
        day = day_of(at, day_starts)
        start = self.told if day > self.day else self.day_start
        told = equity if math.isfinite(equity) else self.told
        return EquityTrack(max(day, self.day), start, max(self.peak, told), equity, told)

    @property
    def daily_loss_pct(self) -> float:
        """Per cent of the equity at the day's start; negative when the day is in profit, NaN when it cannot be told."""
        if not math.isfinite(self.equity):
            return math.nan
        return 100.0 * (self.day_start - self.equity) / self.day_start if self.day_start > 0 else 0.0

    @property
    def drawdown_pct(self) -> float:
        """Per cent below the highest equity, never negative; NaN when it cannot be told."""
        if not math.isfinite(self.equity):
            return math.nan
        return 100.0 * (self.peak - self.equity) / self.peak if self.peak > 0 else 0.0


def day_of(at: datetime, day_starts: time = time()) -> datetime:
    """The start of the trading day that `at` (UTC) belongs to."""
    start = datetime.combine(at.date(), day_starts, at.tzinfo)
    return start if at >= start else start - timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Account:
    """Equity and exposure of several books together, and the loss limit they share, in per cent a day."""

    name: str
    daily_loss_limit_pct: float
    track: EquityTrack
    net_exposure: float = 0.0
    gross_exposure: float = 0.0

    def observed(
        self, books: Iterable[Book], marks: Mapping[Key, float], at: datetime, day_starts: time = time()
    ) -> Account:
        """After the prices `marks` were seen at `at`."""
        members = tuple(books)
        return replace(
            self,
            track=self.track.observed(sum(book.equity(marks) for book in members), at, day_starts),
            net_exposure=sum(book.net_exposure(marks) for book in members),
            gross_exposure=sum(book.gross_exposure(marks) for book in members),
        )

    @property
    def loss_ratio(self) -> float:
        """Daily loss as a multiple of its limit; never negative, NaN when it cannot be told."""
        # In this order NaN stays NaN; the other way round it would be no loss.
        return max(self.track.daily_loss_pct / self.daily_loss_limit_pct, 0.0)

    @property
    def exposure_ratio(self) -> float:
        """Gross exposure as a ratio of equity."""
        return self.gross_exposure / self.track.equity if self.track.equity > 0 else 0.0


@dataclass(frozen=True, slots=True)
class RiskVerdict:
    """How much of a wish may be submitted; 0 with the reason when nothing may."""

    quantity: float
    reason: str = "within_limits"


def limit(
    wished: float,
    held: float,
    *,
    price: float,
    equity: float,
    max_position_pct: float,
    drawdown_pct: float,
    hard_drawdown_pct: float,
    loss_ratio: float,
) -> RiskVerdict:
    """Cut the signed quantity `wished` down to what the risk profile allows on top of `held`.

    What reduces a position is always allowed; beyond a loss limit nothing else is, and a loss or an equity that is
    not a number is beyond it.
    """
    after = held + wished
    reducing = abs(after) <= abs(held) and after * held >= 0
    if reducing:
        return RiskVerdict(wished)
    # Asked for what is within, so that a comparison with NaN, always false, blocks.
    within = ((loss_ratio <= 1.0, "daily_loss"), (drawdown_pct <= hard_drawdown_pct, "drawdown"))
    for kept, reason in within:
        if not kept:
            # Crossing zero is a reduction followed by an opening: only the first part is allowed.
            return RiskVerdict(-held if held * wished < 0 else 0.0, reason)
    largest = max_position_pct / 100.0 * (max(0.0, equity) if math.isfinite(equity) else 0.0) / price
    # A position that prices have grown beyond the limit need not shrink, but may not grow.
    allowed = max(-max(largest, -held), min(max(largest, held), after))
    return RiskVerdict(allowed - held, "within_limits" if allowed == after else "position_limit")
