"""A timer that moves a manual clock instead of waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from stage4.testing.clock import ManualClock


class SimulatedTimer:
    """Wakes at the deadline, plus what `late_us` says; runs `ended` when the clock has passed `until_ns`."""

    def __init__(
        self, clock: ManualClock, until_ns: int, ended: Callable[[], None], late_us: Callable[[], int] = lambda: 0
    ) -> None:
        self._clock = clock
        self._until_ns = until_ns
        self._ended = ended
        self._late_us = late_us

    def arm(self, deadline_ns: int, wake: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(self._expire, deadline_ns, wake)

    def _expire(self, deadline_ns: int, wake: Callable[[], None]) -> None:
        left_us = max(0, -(-(deadline_ns - self._clock.monotonic_ns()) // 1000))
        self._clock.advance(seconds=timedelta(microseconds=left_us + self._late_us()).total_seconds())
        if self._clock.monotonic_ns() > self._until_ns:
            self._ended()
        wake()

    def close(self) -> None:
        self._ended()
