"""
Mean reversion on a rolling z-score.

With p the log close, m and s the mean and the sample standard deviation of the last n values, z = (p - m) / s. Enter
against the deviation at |z| >= entry, leave at |z| <= exit; in between keep what is held (hysteresis). After
Avellaneda and Lee, "Statistical arbitrage in the US equities market", Quantitative Finance 10 (2010), section 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from stage4.runtime.signal import Evaluation, Snapshot, hold, move_to

AVERAGED_BARS = 10


@dataclass(frozen=True, slots=True)
class MeanReversion:
    """Trades the primary venue; `lookback` in bars, entry and exit in standard deviations."""

    lookback: int = 60
    entry_zscore: float = 1.8
    exit_zscore: float = 0.4

    @property
    def required_bars(self) -> int:
        return self.lookback

    @property
    def window_bars(self) -> int:
        return self.lookback + AVERAGED_BARS

    def evaluate(self, snapshot: Snapshot) -> Evaluation:
        window = snapshot.primary()
        if len(window.close) < self.required_bars:
            return Evaluation((), {})
        scores = zscores([math.log(price) for price in window.close], self.lookback)[-AVERAGED_BARS:]
        score = scores[-1]
        metrics = {"stage4_avg_abs_zscore": math.fsum(map(abs, scores)) / len(scores)}
        held = snapshot.held.get(window.venue, 0.0)
        full = snapshot.max_position * snapshot.equity / window.close[-1]
        confidence = min(1.0, abs(score) / (2 * self.entry_zscore))
        if abs(score) <= self.exit_zscore and held:
            signal = move_to(snapshot, window.venue, 0.0, confidence=confidence, reason="reverted", zscore=score)
        elif score >= self.entry_zscore and held >= 0:
            signal = move_to(snapshot, window.venue, -full, confidence=confidence, reason="rich", zscore=score)
        elif score <= -self.entry_zscore and held <= 0:
            signal = move_to(snapshot, window.venue, full, confidence=confidence, reason="cheap", zscore=score)
        else:
            signal = hold(snapshot, window.venue, confidence=confidence, reason="inside_band", zscore=score)
        return Evaluation((signal,), metrics)


def zscores(values: list[float], lookback: int) -> list[float]:
    """The z-score of each value against the `lookback` values that end with it; 0 where they are all equal.

    Rolling sums make it linear in the number of values; they are taken around the last value, because
    log prices are large compared with their differences.
    """
    origin = values[-1]
    centred = [value - origin for value in values]
    total = math.fsum(centred[: lookback - 1])
    squares = math.fsum(value * value for value in centred[: lookback - 1])
    scores = []
    for newest in range(lookback - 1, len(centred)):
        value = centred[newest]
        total += value
        squares += value * value
        variance = (squares - total * total / lookback) / (lookback - 1)
        # Sums of squares of equal prices leave rounding of about 1e-17 times their size.
        floor = 1e-13 * squares / lookback + 1e-24
        scores.append((value - total / lookback) / math.sqrt(variance) if variance > floor else 0.0)
        oldest = centred[newest - lookback + 1]
        total -= oldest
        squares -= oldest * oldest
    return scores
