"""
Whether market data can be trusted: gaps, staleness, outliers, bars that come twice or out of order.

Stale prices do not mean "no change", they mean "cannot tell": whoever values a position with them must say so.

A move is an outlier when it lies beyond Tukey's outer fences (Exploratory Data Analysis, 1977, section 2E), three
interquartile ranges outside the quartiles of the last moves. Quartiles stand still where up to a quarter of the moves
are wrong. Moves are log returns over the square root of the bars they span; bars without a move say nothing about how
far prices move, and the range is never taken to be smaller than one basis point, because prices come in ticks (the
granularity of Brownlees and Gallo, Computational Statistics and Data Analysis 51, 2006). An outlier may be a wrong
price or a real jump: it is shown to a person and refuses nothing.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from stage4.market.bar import Bar

REMEMBERED_MOVES = 240
FEWEST_MOVES = 30
"""Moves without which no quartile means anything."""
FENCE = 3.0
SMALLEST_RANGE = 1e-4
KEPT_EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class Gap:
    """Bars that one venue does not have: `missing` of them between two that it has."""

    venue: str
    after: datetime
    before: datetime
    missing: int


def gaps(bars: Iterable[Bar], interval: timedelta) -> Iterator[Gap]:
    """The gaps in `bars`, which are in order for each venue."""
    last: dict[str, datetime] = {}
    for bar in bars:
        previous = last.get(bar.venue)
        if previous is not None:
            missing = round((bar.at - previous) / interval) - 1
            if missing > 0:
                yield Gap(bar.venue, previous, bar.at, missing)
        last[bar.venue] = bar.at


def is_stale(last: datetime | None, market_now: datetime, interval: timedelta, allowed: timedelta) -> bool:
    """Whether the next bar is overdue by more than `allowed`; without any bar there is nothing to trust."""
    return last is None or market_now - last > interval + allowed


@dataclass(frozen=True, slots=True)
class Outlier:
    """A move far outside the last ones: the log return of one bar in basis points, and how many interquartile ranges
    it lies outside the quartiles."""

    at: datetime
    move_bps: float
    ranges: float


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """From `risk_profiles.*.data_quality`: how old the newest bar and how long a gap may be."""

    max_staleness: timedelta = timedelta(seconds=30)
    max_gap: timedelta = timedelta(seconds=300)


class Trust(StrEnum):
    """The answer for one feed."""

    BAD = "bad"
    UNKNOWN = "unknown"
    GOOD = "good"


@dataclass(frozen=True, slots=True)
class FeedQuality:
    """What was seen of one feed up to `as_of`.

    `staleness` is how long its next bar is overdue then, None without any bar. A gap is as long as its missing bars;
    `longest` is the longest one, and the largest outliers come first. `twice` and `backwards` are bars that came
    again, or after a newer one; `unreadable` are rows that are no bar.
    """

    venue: str
    symbol: str
    interval: timedelta
    as_of: datetime | None
    bars: int = 0
    first: datetime | None = None
    last: datetime | None = None
    gaps: int = 0
    missing: int = 0
    longest: Gap | None = None
    staleness: timedelta | None = None
    outliers: int = 0
    largest: tuple[Outlier, ...] = ()
    twice: int = 0
    backwards: int = 0
    unreadable: int = 0
    without_volume: int = 0

    @property
    def longest_gap(self) -> timedelta:
        """How long the longest gap is."""
        return timedelta(0) if self.longest is None else self.longest.missing * self.interval

    def faults(self, limits: QualityLimits) -> tuple[str, ...]:
        """Why it cannot be trusted, as catalogue codes; none when it can."""
        found = {
            "market.fault_stale": self.staleness is not None and self.staleness > limits.max_staleness,
            "market.fault_gap": self.longest_gap > limits.max_gap,
            "market.fault_unreadable": self.unreadable > 0,
            "market.fault_backwards": self.backwards > 0,
            "market.fault_twice": self.twice > 0,
        }
        return tuple(code for code, is_so in found.items() if is_so)

    def trust(self, limits: QualityLimits) -> Trust:
        """Whether it can be trusted; of fewer than two bars nothing can be told."""
        if self.faults(limits):
            return Trust.BAD
        return Trust.GOOD if self.bars >= 2 else Trust.UNKNOWN


def worst_first(feeds: Iterable[FeedQuality], limits: QualityLimits) -> list[FeedQuality]:
    """The feeds in the order in which somebody in an incident wants to read them."""

    def badness(feed: FeedQuality) -> tuple[float, ...]:
        rank = list(Trust).index(feed.trust(limits))
        stale = (feed.staleness or timedelta(0)) / limits.max_staleness
        return (rank, -max(stale, feed.longest_gap / limits.max_gap), -feed.missing, -feed.outliers)

    return sorted(feeds, key=lambda feed: (badness(feed), feed.venue, feed.symbol))


class QualityMeter:
    """Watches the bars of one feed as they come, in constant memory."""

    def __init__(self, venue: str, symbol: str, interval: timedelta) -> None:
        self._venue, self._symbol, self._interval = venue, symbol, interval
        self._first: datetime | None = None
        self._last: Bar | None = None
        self._longest: Gap | None = None
        self._moves: deque[float] = deque()
        self._sorted: list[float] = []
        self._largest: list[Outlier] = []
        self._without_volume = self._backwards = 0
        self.bars = self.gaps = self.missing = self.outliers = self.twice = self.unreadable = 0

    def take(self, bar: Bar) -> None:
        """One more bar; one that is not newer than the last is counted and left out."""
        last = self._last
        if last is not None and bar.at <= last.at:
            if bar.at == last.at:
                self.twice += 1
            else:
                self._backwards += 1
            return
        self.bars += 1
        self._without_volume += bar.volume == 0
        if last is None:
            self._first = bar.at
        else:
            steps = max(1, round((bar.at - last.at) / self._interval))
            if steps > 1:
                self._note_gap(Gap(self._venue, last.at, bar.at, steps - 1))
            if bar.close != last.close:
                self._note_move(bar.at, math.log(bar.close) - math.log(last.close), math.sqrt(steps))
        self._last = bar

    def staleness(self, as_of: datetime) -> timedelta | None:
        """How long the next bar is overdue; None without any bar."""
        return None if self._last is None else max(timedelta(0), as_of - self._last.at - self._interval)

    @property
    def last(self) -> datetime | None:
        """When the newest bar was complete."""
        return None if self._last is None else self._last.at

    def seen(self, as_of: datetime | None) -> FeedQuality:
        """What was seen up to `as_of`."""
        return FeedQuality(
            venue=self._venue,
            symbol=self._symbol,
            interval=self._interval,
            as_of=as_of,
            bars=self.bars,
            first=self._first,
            last=self.last,
            gaps=self.gaps,
            missing=self.missing,
            longest=self._longest,
            staleness=None if as_of is None else self.staleness(as_of),
            outliers=self.outliers,
            largest=tuple(self._largest),
            twice=self.twice,
            backwards=self._backwards,
            unreadable=self.unreadable,
            without_volume=self._without_volume,
        )

    def _note_gap(self, gap: Gap) -> None:
        self.gaps += 1
        self.missing += gap.missing
        if self._longest is None or gap.missing > self._longest.missing:
            self._longest = gap

    def _note_move(self, at: datetime, move: float, scale: float) -> None:
        scaled = move / scale
        if len(self._sorted) >= FEWEST_MOVES:
            quarter = len(self._sorted) // 4
            low, high = self._sorted[quarter], self._sorted[-1 - quarter]
            ranges = max(scaled - high, low - scaled) / max(high - low, SMALLEST_RANGE)
            if ranges > FENCE:
                self.outliers += 1
                self._largest.append(Outlier(at, 1e4 * move, ranges))
                self._largest.sort(key=lambda outlier: (-outlier.ranges, outlier.at))
                del self._largest[KEPT_EXAMPLES:]
        self._moves.append(scaled)
        insort(self._sorted, scaled)
        if len(self._moves) > REMEMBERED_MOVES:
            del self._sorted[bisect_left(self._sorted, self._moves.popleft())]
