"""A worker whose strategies misbehave in the ways that their kind is named after."""

from __future__ import annotations

import time
from dataclasses import dataclass

from stage4.runtime import strategies, worker
from stage4.runtime.signal import Evaluation, Signal, SignalKind, Snapshot, hold


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
        if self.act == "impersonate":
            return Evaluation((Signal(SignalKind.BUY, "somebody_else", "", "", "", 1.0, 1.0, ""),), {})
        return Evaluation((hold(snapshot, "alpha", reason="calm"),), {})


if __name__ == "__main__":
    strategies.STRATEGIES = {"wild": Wild}
    worker.main()
