"""Lateness of one schedule over the last minute, and its jitter."""

from __future__ import annotations

from collections import deque

from stage4.runtime.schedule import NANOSECONDS

WINDOW_NS = 60 * NANOSECONDS
SAMPLES_FOR_P99 = 1000


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
