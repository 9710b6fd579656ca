"""
Figures of a load run: histograms, percentiles with what supports them, and the slots that never ran; pure.

Spans are whole nanoseconds, figures milliseconds. Histograms are HdrHistograms in microseconds with three
significant digits (G. Tene); they can be added, and the sum is that of all samples together.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from stage4.runtime.loadtest_bounds import ranks, share_beyond
from stage4.runtime.loadtest_hiccup import Stall, attributed_ns

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99_9": 99.9}
SAMPLES_BEYOND = 10
LARGEST_US = 3_600_000_000
DIGITS = 3
_STEPS = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class Spans:
    """Spans of one figure and one schedule with the intended instants they began at; nanoseconds."""

    intended: tuple[int, ...]
    spans: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.spans)

    def without(self, stalls: Sequence[Stall]) -> tuple[int, ...]:
        """The same spans without what coincides with stalls of the host."""
        pairs = zip(self.intended, self.spans, strict=True)
        return tuple(span - attributed_ns(begin, span, stalls) for begin, span in pairs)


def with_missed(
    slots: Sequence[int], intended: Sequence[int], spans: Sequence[int], cadence_ns: int, end: int
) -> Spans:
    """The spans of all slots, those included that a late one made the schedule miss; slots before `end` count.

    `slots` are those that were dispatched, ascending. One that came due while its schedule was still held up, and
    was therefore never dispatched, waited from its own intended instant on, one cadence later than the slot before
    it; leaving it out would let a stall hide the slots that it swallowed (coordinated omission).
    """
    found: list[tuple[int, int]] = []
    following = (*slots[1:], end)[: len(slots)]
    for slot, begin, span, after in zip(slots, intended, spans, following, strict=True):
        waited = max(0, min((span - 1) // cadence_ns, after - 1 - slot))
        found.extend((begin + late * cadence_ns, span - late * cadence_ns) for late in range(waited + 1))
    return Spans(tuple(begin for begin, _ in found), tuple(span for _, span in found))


def histogram(spans: Iterable[int]) -> Any:
    """An HdrHistogram of `spans`, from one microsecond to one hour."""
    from hdrh.histogram import HdrHistogram

    made = HdrHistogram(1, LARGEST_US, 3)
    for span in spans:
        made.record_value(min(max(1, span // 1000), LARGEST_US))
    return made


def merged(histograms: Iterable[Any]) -> Any:
    """Their sum, as if one histogram had seen all samples."""
    whole = histogram(())
    for one in histograms:
        whole.add(one)
    return whole


def supported(count: int, percentile: float) -> bool:
    """Whether `count` samples leave at least ten beyond `percentile` (0 to 100)."""
    return count * (100.0 - percentile) / 100.0 >= SAMPLES_BEYOND - 1e-9


def distribution(*groups: Sequence[int]) -> dict[str, object]:
    """Count, mean, extremes, percentiles and their bounds over all `groups` of spans, in milliseconds.

    A percentile with fewer than ten samples beyond it is null and listed as unsupported. `bounds_95` holds the exact
    two-sided bounds of each percentile, null where no sample is one. `share_beyond_max_95` is the share of slots
    that may lie beyond the largest one.
    """
    ordered = sorted(chain.from_iterable(groups))
    count = len(ordered)
    if not count:
        return {"samples": 0}
    whole = merged(histogram(group) for group in groups)
    values = {
        name: round(whole.get_value_at_percentile(percentile) / 1000.0, DIGITS)
        if supported(count, percentile)
        else None
        for name, percentile in PERCENTILES.items()
    }
    return {
        "samples": count,
        "min": milliseconds(ordered[0]),
        "mean": milliseconds(sum(ordered) / count),
        **values,
        "max": milliseconds(ordered[-1]),
        "unsupported": [name for name, value in values.items() if value is None],
        "bounds_95": {name: _bounds(ordered, percentile) for name, percentile in PERCENTILES.items()},
        "share_beyond_max_95": round(share_beyond(count, 0), 6),
    }


def _bounds(ordered: Sequence[int], percentile: float) -> list[float | None]:
    places = ranks(len(ordered), percentile / 100.0)
    return [None if place is None else milliseconds(ordered[place - 1]) for place in places]


def buckets(spans: Sequence[int]) -> list[list[float]]:
    """[Upper edge in milliseconds, samples up to it and beyond the edge before], edges in steps of 1, 2 and 5."""
    if not spans:
        return []
    edges = [step * 10**power for power in range(3, 14) for step in _STEPS]  # nanoseconds, from 1 µs
    low, high = min(spans), max(spans)
    first = max((place for place, edge in enumerate(edges) if edge < low), default=-1) + 1
    counts: list[list[float]] = []
    before = 0
    ordered = sorted(spans)
    for edge in edges[first:]:
        upto = bisect_right(ordered, edge)
        counts.append([edge / 1e6, upto - before])
        before = upto
        if edge >= high:
            break
    return counts


def milliseconds(nanoseconds: float) -> float:
    """Nanoseconds in milliseconds, to the microsecond."""
    return round(nanoseconds / 1e6, DIGITS)
