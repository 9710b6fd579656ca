"""
Volatility targeting.

Realised volatility is the square root of the mean squared log return, scaled to a year (realised variance, Andersen
and Bollerslev, International Economic Review 39, 1998; no mean is subtracted, as it cannot be told from noise at this
horizon). The allocation is target / realised (Moreira and Muir, "Volatility-managed portfolios", Journal of Finance
72, 2017), within the largest position allowed, and is rebalanced when it is off by more than the threshold. The
target is the strategy's own or the risk profile's, whichever is lower.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from stage4.runtime.signal import Evaluation, Snapshot, hold, move_to

YEAR_SECONDS = 365.0 * 86400.0
FLOOR_VOLATILITY = 0.01
"""Per year. Below it the market is taken to be asleep, not safe: the allocation is not raised further."""


@dataclass(frozen=True, slots=True)
class VolatilityTarget:
    """Holds the primary venue long; volatility per year, threshold as a ratio of the target allocation."""

    lookback: int = 60
    target_volatility: float = 0.1
    rebalance_threshold: float = 0.05
    max_leverage: float = 2.0

    @property
    def required_bars(self) -> int:
        return self.lookback + 1

    @property
    def window_bars(self) -> int:
        return self.lookback + 1

    def evaluate(self, snapshot: Snapshot) -> Evaluation:
        window = snapshot.primary()
        if len(window.close) < self.required_bars or snapshot.equity <= 0:
            return Evaluation((), {})
        realised = realised_volatility(window.at[-self.required_bars :], window.close[-self.required_bars :])
        ceiling = min(self.max_leverage, snapshot.max_position)
        aim = min(self.target_volatility, snapshot.target_volatility)
        target = min(ceiling, aim / max(realised, FLOOR_VOLATILITY))
        price = window.close[-1]
        held = snapshot.held.get(window.venue, 0.0)
        if target <= 0:
            nothing = move_to(snapshot, window.venue, 0.0, confidence=1.0, reason="no_allocation")
            return Evaluation((nothing,), {})
        error = abs(target - held * price / snapshot.equity) / target
        # Before the first purchase there is no allocation that could be wrong.
        metrics = {"stage4_allocation_error_pct": 100.0 * error} if held else {}
        numbers = {"realised_volatility": realised, "target_allocation": target}
        confidence = min(1.0, error / (2 * self.rebalance_threshold))
        if error > self.rebalance_threshold:
            goal = target * snapshot.equity / price
            signal = move_to(snapshot, window.venue, goal, confidence=confidence, reason="rebalance", **numbers)
        else:
            signal = hold(snapshot, window.venue, confidence=confidence, reason="on_target", **numbers)
        return Evaluation((signal,), metrics)


def realised_volatility(at: tuple[float, ...], close: tuple[float, ...]) -> float:
    """Volatility per year of prices `close` at the instants `at` (seconds); gaps count with their real length."""
    squares = math.fsum(math.log(after / before) ** 2 for before, after in itertools.pairwise(close))
    span = at[-1] - at[0]
    return math.sqrt(squares / span * YEAR_SECONDS) if span > 0 else 0.0
