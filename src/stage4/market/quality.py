"""
Whether market data can be trusted: gaps and staleness.

Stale prices do not mean "no change", they mean "cannot tell": whoever values a position with them must say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from stage4.market.bar import Bar


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
