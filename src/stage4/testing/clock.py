"""A clock that moves when it is told to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class ManualClock:
    """Starts at `start` and moves by `advance`; `sleep` advances, so that nothing waits."""

    def __init__(self, start: datetime = datetime(2026, 11, 23, 9, 0, tzinfo=UTC), boot_id: str = "boot-1") -> None:
        self._now = start
        self._elapsed_ns = 1_000_000_000
        self._boot_id = boot_id

    def now(self) -> datetime:
        return self._now

    def monotonic_ns(self) -> int:
        return self._elapsed_ns

    def boottime_ns(self) -> int:
        return self._elapsed_ns

    def boot_id(self) -> str:
        return self._boot_id

    def sleep(self, seconds: float) -> None:
        self.advance(seconds=seconds)

    def advance(self, *, hours: float = 0, minutes: float = 0, seconds: float = 0) -> datetime:
        """Move wall and monotonic time forward together; the new instant."""
        span = timedelta(hours=hours, minutes=minutes, seconds=seconds)
        if span < timedelta(0):
            raise ValueError("a clock only advances; use step_wall for a clock that was set back")
        self._now += span
        self._elapsed_ns += round(span / timedelta(microseconds=1)) * 1000
        return self._now

    def step_wall(self, span: timedelta) -> None:
        """Set the wall clock, as an administrator or NTP would; monotonic time does not move."""
        self._now += span

    def reboot(self, boot_id: str) -> None:
        """A new boot: monotonic time starts again, the wall clock goes on."""
        self._elapsed_ns = 0
        self._boot_id = boot_id
