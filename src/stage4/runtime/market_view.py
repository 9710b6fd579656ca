"""What the desk knows of the market: the newest bars of each venue, and what staged faults do to them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta

from stage4.market.bar import HIGHEST_PRICE, LOWEST_PRICE, Bar
from stage4.market.quality import QualityMeter, is_stale
from stage4.runtime.risk import Key
from stage4.runtime.signal import VenueWindow


class MarketView:
    """Keeps `length` bars of each venue, in the order of `venues`."""

    def __init__(self, venues: tuple[str, ...], symbol: str, interval: timedelta, length: int) -> None:
        self.venues = venues
        self.symbol = symbol
        self.interval = interval
        self.marks: dict[Key, float] = {}
        """The last price by venue and symbol."""
        self.quality = {venue: QualityMeter(venue, symbol, interval) for venue in venues}
        """What each feed has been worth so far, as it came and without staged faults."""
        self._at: dict[str, deque[float]] = {venue: deque(maxlen=length) for venue in venues}
        self._close: dict[str, deque[float]] = {venue: deque(maxlen=length) for venue in venues}
        self._delays = dict.fromkeys(venues, 0.0)
        self._last: dict[str, datetime] = {}
        self._raw: dict[str, float] = {}
        self._ratio = dict.fromkeys(venues, 1.0)

    def gap(self, factor: float) -> None:
        """From the next bars on, every price is multiplied by `factor`."""
        for venue in self.venues:
            self._ratio[venue] *= factor

    def take(self, bars: Iterable[Bar], volatility_factor: float = 1.0) -> int:
        """Add bars, each price change multiplied by `volatility_factor` on the log scale; how many were taken.

        A price that a fault would carry beyond the bounds of a bar stops there. A bar that is not newer
        than the last one of its venue is left out.
        """
        taken = 0
        for bar in bars:
            meter = self.quality.get(bar.venue)
            if meter is None:
                continue
            meter.take(bar)
            last = self._last.get(bar.venue)
            if last is not None and bar.at <= last:
                continue
            previous = self._raw.get(bar.venue, bar.close)
            # With factor 1 the ratio is not touched, so that prices without a fault are the feed's own.
            if volatility_factor != 1.0:
                self._ratio[bar.venue] *= _power(bar.close / previous, volatility_factor - 1.0)
            close = bar.close * self._ratio[bar.venue]
            if not LOWEST_PRICE <= close <= HIGHEST_PRICE:
                close = min(max(close, LOWEST_PRICE), HIGHEST_PRICE)
                self._ratio[bar.venue] = close / bar.close
            self._raw[bar.venue] = bar.close
            self._last[bar.venue] = bar.at
            self._delays[bar.venue] = bar.delay_ms
            self._at[bar.venue].append(bar.at.timestamp())
            self._close[bar.venue].append(close)
            self.marks[bar.venue, self.symbol] = close
            taken += 1
        return taken

    def windows(self, length: int) -> tuple[VenueWindow, ...]:
        """The last `length` bars of each venue."""
        return tuple(self._window(venue, length) for venue in self.venues)

    def primary_bars(self) -> int:
        """How many bars of the primary venue are known, at most the length kept."""
        return len(self._at[self.venues[0]])

    def stale_venues(self, market_now: datetime, allowed: timedelta) -> frozenset[str]:
        """Venues whose next bar is overdue by more than `allowed`."""
        return frozenset(
            venue for venue in self.venues if is_stale(self._last.get(venue), market_now, self.interval, allowed)
        )

    def _window(self, venue: str, length: int) -> VenueWindow:
        at, close = tuple(self._at[venue])[-length:], tuple(self._close[venue])[-length:]
        return VenueWindow(venue, at, close, self._delays[venue])


def _power(ratio: float, exponent: float) -> float:
    """`ratio` to the power of `exponent`, at most a step from one end of the bounds of a price to the other."""
    widest = math.log(HIGHEST_PRICE) - math.log(LOWEST_PRICE)
    return math.exp(min(max(exponent * math.log(ratio), -widest), widest))
