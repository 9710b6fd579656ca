"""One bar, and what a feed promises. Prices are in quote currency, volume in base currency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

LOWEST_PRICE, HIGHEST_PRICE = 1e-9, 1e12
LARGEST_VOLUME = 1e15
"""Beyond these a number is a mistake of the source, and sums and ratios of such numbers would soon be none."""


@dataclass(frozen=True, slots=True)
class Bar:
    """Open, high, low, close and volume of one venue over one interval.

    `at` is the instant at which the bar was complete, not the one at which it began: nobody could know it
    earlier. `delay_ms` is how much later it reached us.
    """

    venue: str
    symbol: str
    at: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float
    delay_ms: float = 0.0


def prices_agree(opened: float, high: float, low: float, close: float, volume: float) -> bool:
    """Whether these can be the numbers of one bar: within the bounds above, open and close between low and high."""
    # Each is compared by itself: the smaller and the larger of two would hide one that is not a number.
    between = low <= opened <= high and low <= close <= high
    return between and low >= LOWEST_PRICE and high <= HIGHEST_PRICE and 0 <= volume <= LARGEST_VOLUME


@dataclass(frozen=True, slots=True)
class MarketClock:
    """Market time beside wall time: it was `market_begins` at the instant `begins` and runs `speed` times as fast."""

    begins: datetime
    market_begins: datetime
    speed: float = 1.0

    def at(self, now: datetime) -> datetime:
        """The market's instant when the wall clock shows `now`; never before the beginning."""
        return self.market_begins + max(timedelta(0), now - self.begins) * self.speed


class Feed(Protocol):
    """Where bars come from. A desk's own feed implements this and nothing else; `json_lines` is an example, and
    `stage4.testing.feed_contract` checks the promises.

    * `advance` returns every bar once, in the order of `at`; a bar is never returned before it is complete.
    * Missing bars stay missing: a feed never invents a price for a gap.
    * A recorded or synthetic feed asked at the same instants returns the same bars.
    * Every call returns at once: it is made on the scheduler's event loop, before every evaluation.
    * How it fails: by silence. A feed that has lost its source returns no bars and goes on; it does not raise, it
      does not repeat the last price, and it delivers again when the source is back. What is silent grows stale, and
      stale prices raise the alert. Only making a feed may raise, an Unavailable or a UsageError.
    """

    @property
    def venues(self) -> tuple[str, ...]:
        """The venues, the primary one first."""

    @property
    def symbol(self) -> str:
        """What is traded on all of them."""

    @property
    def interval(self) -> timedelta:
        """The span of one bar, in market time."""

    def market_time(self, now: datetime) -> datetime:
        """The market's instant when the wall clock shows `now`; differs from it in a replay."""

    def advance(self, now: datetime) -> Sequence[Bar]:
        """The bars that were completed since the last call."""
