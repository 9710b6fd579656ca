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
from dataclasses import dataclass

from stage4.runtime.signal import Evaluation, Signal, Snapshot, VenueWindow, hold, move_to

AVERAGED_TRIPS = 10


@dataclass(frozen=True, slots=True)
class Pairs:
    """Both venues at the same instants, oldest first: two spreads of each, as ratios of the middle price.

    `traded` is the spread that two orders sent then would have got, the second leg filled after its delay.
    `primary` and `delay_ms` are those of the newest instant.
    """

    seen: list[float]
    traded: list[float]
    primary: float
    delay_ms: float


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
        side, captured = self._walk(pairs, basis)
        metrics = {"stage4_secondary_delay_ms": pairs.delay_ms}
        if captured:
            recent = captured[-AVERAGED_TRIPS:]
            metrics["stage4_spread_capture_bps"] = 1e4 * statistics.fmean(recent)
        return Evaluation(self._signals(snapshot, pairs, pairs.seen[-1] - basis, side), metrics)

    def _walk(self, pairs: Pairs, basis: float) -> tuple[int, list[float]]:
        """The side held at the end (1: short the primary) and what each closed round trip captured, as ratios."""
        side, entered, captured = 0, 0.0, []
        entry, leave = self.spread_entry, self.spread_exit
        for spread, traded in zip(pairs.seen, pairs.traded, strict=True):
            deviation = spread - basis
            if side and side * deviation <= leave:
                captured.append(side * (entered - traded))
                side = 0
            if not side and (deviation >= entry or -deviation >= entry):
                side = 1 if deviation > 0 else -1
                entered = traded
        return side, captured

    def _signals(self, snapshot: Snapshot, newest: Pairs, deviation: float, side: int) -> tuple[Signal, ...]:
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


def paired(primary: VenueWindow, secondary: VenueWindow, interval_seconds: float) -> Pairs:
    """Each primary bar with the newest secondary bar known by then; a gap shows as delay, not as a price."""
    seen: list[float] = []
    traded: list[float] = []
    times, closes, own_delay = secondary.at, secondary.close, secondary.delay_ms
    last, interval_ms, delay_ms = len(times) - 1, 1000.0 * interval_seconds, 0.0
    place = -1
    for at, price in zip(primary.at, primary.close, strict=True):
        while place < last and times[place + 1] <= at:
            place += 1
        if place < 0:
            continue
        close = closes[place]
        delay_ms = (at - times[place]) * 1000.0 + own_delay
        spread = 2 * (price - close) / (price + close)
        seen.append(spread)
        if delay_ms == 0.0 or place == last:
            traded.append(spread)
            continue
        part = delay_ms / interval_ms if delay_ms < interval_ms else 1.0
        late = close + part * (closes[place + 1] - close)
        traded.append(2 * (price - late) / (price + late))
    newest = primary.close[-1] if primary.close else 0.0
    return Pairs(seen, traded, newest, max(0.0, delay_ms - primary.delay_ms))
