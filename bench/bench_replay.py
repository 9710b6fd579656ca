"""
How many recorded bars a second a replay carries through the three strategies and every alert rule.

Beside it runs the limit: reading the same bars from the same files and nothing else. Parts between the two are
measured too, so that it shows what the time goes into. Needs the recordings of March 2023; their folder is
`STAGE4_MARKET_DATA`.

    python bench/bench_replay.py [--repeat 3]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from stage4.config import Installation
from stage4.market.csv_replay import read_bars
from stage4.monitoring.detector import Detector
from stage4.monitoring.plan import plan_of
from stage4.runtime.replay import ReplayReport, default_settings, replay_all

FOLDER = Path(os.environ.get("STAGE4_MARKET_DATA", Path(__file__).parents[2] / "shared" / "data" / "market"))
VENUES = ("binance_us", "kraken")
PATHS = [FOLDER / f"{venue}_BTCUSDC_1m_2023-03-01_2023-03-14.csv.gz" for venue in VENUES]
BEGIN = datetime(2023, 1, 1, tzinfo=UTC)
AIM = 50_000
T = TypeVar("T")


def parsed() -> int:
    """Read every bar; how many there are."""
    return sum(
        1
        for path, venue in zip(PATHS, VENUES, strict=True)
        for _ in read_bars(
            path,
            venue=venue,
            symbol="BTCUSDC",
            since=BEGIN,
            until=BEGIN + timedelta(days=365),
            interval=timedelta(minutes=1),
        )
    )


def replayed() -> ReplayReport:
    """The whole fortnight, judged by every rule."""
    settings = default_settings(VENUES)
    return replay_all(PATHS, Detector(plan_of(Installation(Path(), settings))).observe, settings)


def without_rules() -> ReplayReport:
    """The whole fortnight, judged by nobody."""
    return replay_all(PATHS, lambda sample: (), default_settings(VENUES))


def best(work: Callable[[], T], repeat: int) -> tuple[float, list[T]]:
    """The shortest processor time of `repeat` runs in seconds, and all answers."""
    spans, answers = [], []
    for _ in range(repeat):
        begin = time.process_time()
        answers.append(work())
        spans.append(time.process_time() - begin)
    return min(spans), answers


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeat", type=int, default=3)
    repeat = parser.parse_args().repeat
    if not all(path.exists() for path in PATHS):
        print(f"the recordings of March 2023 are not at hand: {FOLDER} (set STAGE4_MARKET_DATA to their folder)")
        return 0
    limit, counts = best(parsed, repeat)
    bare, _ = best(without_rules, repeat)
    whole, reports = best(replayed, repeat)
    bars, digests = counts[0], {report.decisions for report in reports}
    print(f"{bars} bars, best of {repeat} runs, processor time")
    print(f"{'what':<52}{'bars/s':>10}{'share':>8}")
    for label, span in (
        ("parse the CSVs only (limit)", limit),
        ("replay: three strategies, desk, risk", bare),
        ("replay with every alert rule", whole),
    ):
        print(f"{label:<52}{bars / span:>10,.0f}{span / whole:>8.0%}")
    print(f"aim {AIM:,} bars/s: {'reached' if bars / whole >= AIM else 'not reached'}")
    print(f"digests of decisions in {repeat} runs: {len(digests)} different ({min(digests)[:16]}…)")
    return 0 if len(digests) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
