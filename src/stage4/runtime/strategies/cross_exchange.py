"""
Spread capture between two venues.

The spread is (primary - secondary) / middle; its median over the window is the basis, the deviation is spread - basis.
Enter at |deviation| >= entry (sell the rich venue, buy the cheap one), leave when it has fallen to exit or changed
sides. The rule is run over the whole window; its last state is what should be held now, so that a missed evaluation
loses nothing and a leg that was not filled is asked for again. Statistical arbitrage of one price in two places:
Makarov and Schoar, "Trading and arbitrage in cryptocurrency markets", Journal of Financial Economics 135 (2020).

The secondary venue is always a little behind. Captured is therefore counted with the second leg filled after that
delay: its price is taken on the line between this bar and the next one.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from stage4.runtime.signal import Evaluation, Signal, Snapshot, VenueWindow, hold, move_to

AVERAGED_TRIPS = 10
LEGS = 2
"""Signals of one evaluation that opens or closes the pair."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Both venues at the same instants, oldest first.

    `seen` are the spreads as ratios of the middle price, from the primary's bar `first` on; `places` are the bars of
    the secondary that were the newest then. `primary` and `delay_ms` are those of the newest instant.
    """

    windows: tuple[VenueWindow, VenueWindow]
    interval_ms: float
    first: int
    seen: list[float]
    places: list[int]

    @property
    def primary(self) -> float:
        return self.windows[0].close[-1]

    @property
    def delay_ms(self) -> float:
        """How far the secondary was behind the primary."""
        return max(0.0, self._delay_ms(len(self.seen) - 1) - self.windows[0].delay_ms)

    def traded(self, number: int) -> float:
        """The spread that two orders sent then would have got, the second leg filled after its delay."""
        secondary, place = self.windows[1], self.places[number]
        if place + 1 == len(secondary.close):
            return self.seen[number]
        price, close = self.windows[0].close[self.first + number], secondary.close[place]
        part = min(1.0, self._delay_ms(number) / self.interval_ms)
        late = close + part * (secondary.close[place + 1] - close)
        return 2 * (price - late) / (price + late)

    def _delay_ms(self, number: int) -> float:
        primary, secondary = self.windows
        return (primary.at[self.first + number] - secondary.at[self.places[number]]) * 1000.0 + secondary.delay_ms


@dataclass(frozen=True, slots=True)
class CrossExchange:
    """Trades one pair of venues; spreads as ratios of the price."""

    primary_exchange: str
    secondary_exchange: str
    spread_entry: float = 0.0008
    spread_exit: float = 0.0002
    max_secondary_delay_ms: float = 500.0

    @property
    def required_bars(self) -> int:
        return 30

    @property
    def window_bars(self) -> int:
        return 240

    def evaluate(self, snapshot: Snapshot) -> Evaluation:
        primary, secondary = snapshot.window(self.primary_exchange), snapshot.window(self.secondary_exchange)
        if not secondary.close or len(primary.close) < self.required_bars:
            return Evaluation((), {})
        pairs = paired(primary, secondary, snapshot.interval_seconds)
        if not pairs.seen:
            return Evaluation((), {})
        basis = statistics.median(pairs.seen)
        side, trips = self._walk(pairs, basis)
        metrics = {"stage4_secondary_delay_ms": pairs.delay_ms}
        if trips:
            captured = [
                side_of * (pairs.traded(entry) - pairs.traded(exit_))
                for side_of, entry, exit_ in trips[-AVERAGED_TRIPS:]
            ]
            metrics["stage4_spread_capture_bps"] = 1e4 * statistics.fmean(captured)
        return Evaluation(self._signals(snapshot, pairs, pairs.seen[-1] - basis, side), metrics)

    def _walk(self, pairs: Pairs, basis: float) -> tuple[int, list[tuple[int, int, int]]]:
        """The side held at the end (1: short the primary), and of each closed round trip its side, entry and exit."""
        side, entered, trips = 0, 0, []
        entry, leave = self.spread_entry, self.spread_exit
        for number, spread in enumerate(pairs.seen):
            deviation = spread - basis
            if side and side * deviation <= leave:
                trips.append((side, entered, number))
                side = 0
            if not side and (deviation >= entry or -deviation >= entry):
                side = 1 if deviation > 0 else -1
                entered = number
        return side, trips

    def _signals(self, snapshot: Snapshot, newest: Pairs, deviation: float, side: int) -> tuple[Signal, ...]:
        first, second = self.primary_exchange, self.secondary_exchange
        numbers = {"deviation_bps": 1e4 * deviation, "secondary_delay_ms": newest.delay_ms}
        flat = not any(snapshot.held.values())
        # One leg alone is no pair but a bet on the price: it is completed, or closed when the pair may not be opened.
        if side and snapshot.held.get(first, 0.0) * -side > 0 and snapshot.held.get(second, 0.0) * side > 0:
            return (hold(snapshot, first, reason="spread_open", confidence=1.0, **numbers),)
        late = bool(side) and newest.delay_ms > self.max_secondary_delay_ms
        reason = "secondary_late" if late else "spread_open" if side else "spread_closed"
        if flat and (late or not side):
            return (hold(snapshot, first, reason="secondary_late" if late else "inside_band", **numbers),)
        # Each leg may be half of the largest position, because the two together are what is at risk.
        leg = 0.0 if late else side * snapshot.max_position * snapshot.equity / (2 * newest.primary)
        confidence = min(1.0, abs(deviation) / (2 * self.spread_entry))
        return tuple(
            move_to(snapshot, venue, target, confidence=confidence, reason=reason, **numbers)
            for venue, target in ((first, -leg), (second, leg))
        )


def paired(primary: VenueWindow, secondary: VenueWindow, interval_seconds: float) -> Pairs:
    """Each primary bar with the newest secondary bar known by then; a gap shows as delay, not as a price."""
    times, closes = secondary.at, secondary.close
    # Where the secondary has gaps, its window reaches further back than the primary's.
    first = bisect_left(primary.at, times[0]) if times else len(primary.at)
    place = bisect_right(times, primary.at[first]) - 1 if first < len(primary.at) else 0
    ends = (*times[1:], math.inf)
    seen: list[float] = []
    places: list[int] = []
    for at, price in zip(primary.at[first:], primary.close[first:], strict=True):
        while ends[place] <= at:
            place += 1
        close = closes[place]
        seen.append(2 * (price - close) / (price + close))
        places.append(place)
    return Pairs((primary, secondary), 1000.0 * interval_seconds, first, seen, places)
