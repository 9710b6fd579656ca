"""
A worker with strategies that misbehave.

`wild` does what its parameter says. With `--break-mean-reversion` that strategy fails, with `--block-mean-reversion` it
never answers; the others are the real ones.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from stage4.runtime import strategies, worker
from stage4.runtime.signal import Evaluation, Signal, SignalKind, Snapshot, hold
from stage4.runtime.strategies.mean_reversion import MeanReversion


@dataclass(frozen=True, slots=True)
class Wild:
    """Does `act` and then holds."""

    act: str = "hold"
    required_bars: int = 1
    window_bars: int = 1

    def evaluate(self, snapshot: Snapshot) -> Evaluation:
        if self.act == "raise":
            raise ZeroDivisionError
        if self.act == "block":
            time.sleep(60)
        if self.act == "spin":
            while True:
                pass
        if self.act == "not_a_number":
            return Evaluation((), {"stage4_avg_abs_zscore": float("nan")})
        if self.act == "hide_a_loss":
            return Evaluation((), {"stage4_daily_loss_ratio": 0.0})
        if self.act == "too_sure":
            return Evaluation((hold(snapshot, "alpha", reason="calm", confidence=7.0),), {})
        if self.act == "exit":
            sys.exit(0)
        if self.act == "impersonate":
            return Evaluation((Signal(SignalKind.BUY, "somebody_else", "", "", "", 1.0, 1.0, ""),), {})
        return Evaluation((hold(snapshot, "alpha", reason="calm"),), {})


@dataclass(frozen=True, slots=True)
class Broken(MeanReversion):
    """Takes the parameters of the real one, and fails."""

    def evaluate(self, snapshot: Snapshot) -> Evaluation:
        raise ZeroDivisionError


@dataclass(frozen=True, slots=True)
class Blocking(MeanReversion):
    """Takes the parameters of the real one, and never answers."""

    def evaluate(self, snapshot: Snapshot) -> Evaluation:
        time.sleep(60)
        raise AssertionError("nobody waited so long")


if __name__ == "__main__":
    known = {**strategies.STRATEGIES, "wild": Wild}
    if "--break-mean-reversion" in sys.argv:
        sys.argv.remove("--break-mean-reversion")
        known["mean_reversion"] = Broken
    if "--block-mean-reversion" in sys.argv:
        sys.argv.remove("--block-mean-reversion")
        known["mean_reversion"] = Blocking
    strategies.STRATEGIES = known
    worker.main()
