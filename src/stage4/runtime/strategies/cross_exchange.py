"""
Spread capture between two venues.

The spread is (primary - secondary) / middle; its median over the window is the basis, the deviation is spread - basis.
Enter at |deviation| >= entry (sell the rich venue, buy the cheap one), leave when it has fallen to exit or changed
sides. The rule is run over the whole window; its last state is what should be held now, so that a missed evaluation
loses nothing. Statistical arbitrage of one price in two places: Makarov and Schoar, "Trading and arbitrage in
cryptocurrency markets", Journal of Financial Economics 135 (2020).

The secondary venue is always a little behind. Captured is therefore counted with the second leg filled after that
delay: its price is taken on the line between this bar and the next one.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from stage4.runtime.signal import Evaluation, Signal, Snapshot, VenueWindow, hold, move_to

AVERAGED_TRIPS = 10


@dataclass(frozen=True, slots=True)
class Pair:
    """Both prices at one instant; `late_price` is the secondary's after its delay."""

    primary: float
    secondary: float
    late_price: float
    delay_ms: float

    @property
    def spread(self) -> float:
        """As a ratio of the middle price, as seen."""
        return relative_spread(self.primary, self.secondary)

    @property
    def traded_spread(self) -> float:
        """The spread that two orders sent now would get."""
        return relative_spread(self.primary, self.late_price)


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
        if not pairs:
            return Evaluation((), {})
        basis = statistics.median(pair.spread for pair in pairs)
        side, captured = self._walk(pairs, basis)
        newest = pairs[-1]
        metrics = {"stage4_secondary_delay_ms": newest.delay_ms}
        if captured:
            recent = captured[-AVERAGED_TRIPS:]
            metrics["stage4_spread_capture_bps"] = 1e4 * statistics.fmean(recent)
        return Evaluation(self._signals(snapshot, newest, newest.spread - basis, side), metrics)

    def _walk(self, pairs: Sequence[Pair], basis: float) -> tuple[int, list[float]]:
        """The side held at the end (1: short the primary) and what each closed round trip captured, as ratios."""
        side, entered, captured = 0, 0.0, []
        for pair in pairs:
            deviation = pair.spread - basis
            if side and side * deviation <= self.spread_exit:
                captured.append(side * (entered - pair.traded_spread))
                side = 0
            if not side and abs(deviation) >= self.spread_entry:
                side = 1 if deviation > 0 else -1
                entered = pair.traded_spread
        return side, captured

    def _signals(self, snapshot: Snapshot, newest: Pair, deviation: float, side: int) -> tuple[Signal, ...]:
        first, second = self.primary_exchange, self.secondary_exchange
        numbers = {"deviation_bps": 1e4 * deviation, "secondary_delay_ms": newest.delay_ms}
        flat = not any(snapshot.held.values())
        if side and flat and newest.delay_ms > self.max_secondary_delay_ms:
            return (hold(snapshot, first, reason="secondary_late", **numbers),)
        # Each leg may be half of the largest position, because the two together are what is at risk.
        leg = side * snapshot.max_position * snapshot.equity / (2 * newest.primary)
        held = snapshot.held.get(first, 0.0)
        if side and held * -side > 0:
            return (hold(snapshot, first, reason="spread_open", confidence=1.0, **numbers),)
        if not side and flat:
            return (hold(snapshot, first, reason="inside_band", **numbers),)
        confidence = min(1.0, abs(deviation) / (2 * self.spread_entry))
        reason = "spread_open" if side else "spread_closed"
        return tuple(
            move_to(snapshot, venue, target, confidence=confidence, reason=reason, **numbers)
            for venue, target in ((first, -leg), (second, leg))
        )


def relative_spread(primary: float, secondary: float) -> float:
    """(primary - secondary) / middle."""
    return 2 * (primary - secondary) / (primary + secondary)


def paired(primary: VenueWindow, secondary: VenueWindow, interval_seconds: float) -> list[Pair]:
    """Each primary bar with the newest secondary bar known by then; a gap shows as delay, not as a price."""
    pairs: list[Pair] = []
    place = -1
    for at, price in zip(primary.at, primary.close, strict=True):
        while place + 1 < len(secondary.at) and secondary.at[place + 1] <= at:
            place += 1
        if place < 0:
            continue
        seen = secondary.close[place]
        delay_ms = (at - secondary.at[place]) * 1000.0 + secondary.delay_ms
        part = min(1.0, delay_ms / (1000.0 * interval_seconds))
        following = secondary.close[place + 1] if place + 1 < len(secondary.close) else seen
        pairs.append(Pair(price, seen, seen + part * (following - seen), max(0.0, delay_ms - primary.delay_ms)))
    return pairs
