"""Lateness of one schedule: over the last minute, with its jitter, and as a histogram over the whole run."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from stage4.runtime.schedule import NANOSECONDS

WINDOW_NS = 60 * NANOSECONDS
SAMPLES_FOR_P99 = 1000

LONGEST_US = 3_600_000_000
"""A histogram counts what is later than an hour as an hour."""


@dataclass(frozen=True, slots=True)
class LatenessFigures:
    """Milliseconds, each within 1 per cent; `p99_ms` is None below 1,000 dispatches, which carry no p99."""

    count: int = 0
    p50_ms: float = 0.0
    p99_ms: float | None = None
    max_ms: float = 0.0


class LatenessHistogram:
    """Every dispatch since the run began, as an HDR histogram of microseconds."""

    def __init__(self) -> None:
        from hdrh.histogram import HdrHistogram

        self._counts = HdrHistogram(1, LONGEST_US, 2)

    def add(self, lateness_ns: int) -> None:
        """A dispatch that was `lateness_ns` late."""
        self._counts.record_value(min(max(lateness_ns // 1000, 1), LONGEST_US))

    def figures(self) -> LatenessFigures:
        """What was seen so far."""
        counts = self._counts
        number = int(counts.get_total_count())
        if not number:
            return LatenessFigures()
        p99 = counts.get_value_at_percentile(99.0) / 1000.0 if number >= SAMPLES_FOR_P99 else None
        return LatenessFigures(
            number, counts.get_value_at_percentile(50.0) / 1000.0, p99, counts.get_max_value() / 1000.0
        )


class LatenessWindow:
    """Remembers (instant, lateness) pairs of the last minute."""

    def __init__(self, window_ns: int = WINDOW_NS) -> None:
        self._window_ns = window_ns
        self._seen: deque[tuple[int, int]] = deque()

    def add(self, at_ns: int, lateness_ns: int) -> None:
        """A dispatch at `at_ns` that was `lateness_ns` late."""
        self._seen.append((at_ns, lateness_ns))
        while self._seen[0][0] < at_ns - self._window_ns:
            self._seen.popleft()

    def jitter_seconds(self) -> float:
        """p99 - p50 of the lateness; max - p50 below 1,000 samples, which carry no p99."""
        return jitter([lateness for _, lateness in self._seen]) / NANOSECONDS


def jitter(lateness: list[int]) -> int:
    """The same for any list, in its unit; 0 for an empty one."""
    if not lateness:
        return 0
    ordered = sorted(lateness)
    count = len(ordered)
    top = ordered[-1] if count < SAMPLES_FOR_P99 else ordered[-(-99 * count // 100) - 1]
    return top - ordered[(count - 1) // 2]
