"""
The only reader of the clock.

Everything else receives a `Clock` or an instant, so that every story can be replayed and fast-forwarded.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from stage4.errors import UsageError

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Clock(Protocol):
    """Wall time for people and calendars, monotonic time for waiting, boot time for timers across suspend."""

    def now(self) -> datetime:
        """The instant, aware, UTC."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back; meaningful within this process only."""

    def boottime_ns(self) -> int:
        """Nanoseconds since boot, suspend included; comparable between processes of one `boot_id`."""

    def boot_id(self) -> str:
        """Names this boot of the machine."""

    def sleep(self, seconds: float) -> None:
        """Wait at least `seconds`."""


class SystemClock:
    """The real clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def boottime_ns(self) -> int:
        clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        return time.clock_gettime_ns(clock)

    def boot_id(self) -> str:
        try:
            return _BOOT_ID.read_text(encoding="ascii").strip()
        except OSError:
            # Without a boot id no two readings may be compared, so every process gets its own.
            return f"unknown-{time.time_ns()}"

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def parse_duration(text: str) -> timedelta:
    """`10m`, `5s`, `1h30m`, `250ms`, `2d` as a positive duration; raises UsageError `clock.bad_duration`."""
    stripped = text.strip()
    matches = list(_PART.finditer(stripped))
    if not matches or "".join(match.group(0) for match in matches) != stripped:
        raise UsageError("clock.bad_duration", text=text)
    seconds = sum(float(match.group(1)) * _UNITS[match.group(2)] for match in matches)
    if not 0 < seconds <= 366 * 86400:
        raise UsageError("clock.bad_duration", text=text)
    return timedelta(seconds=seconds)


def format_duration(span: timedelta) -> str:
    """The shortest form that `parse_duration` reads back: `1h30m`, `5s`, `250ms`, `0s`."""
    milliseconds = round(span / timedelta(milliseconds=1))
    sign, milliseconds = ("-", -milliseconds) if milliseconds < 0 else ("", milliseconds)
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return sign + ("".join(parts) or "0s")


def parse_instant(text: str) -> datetime:
    """An RFC 3339 instant with `Z` or an offset, as aware UTC; raises UsageError `clock.bad_instant`."""
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError("clock.bad_instant", text=text) from None
    if instant.tzinfo is None:
        raise UsageError("clock.bad_instant", text=text)
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise UsageError("clock.bad_instant", text=text) from None


def format_instant(instant: datetime) -> str:
    """RFC 3339 in UTC with `Z`; six decimals when the instant has a fraction of a second."""
    utc = instant if instant.tzinfo is UTC else instant.astimezone(UTC)
    spec = "microseconds" if utc.microsecond else "seconds"
    return utc.isoformat(timespec=spec).removesuffix("+00:00") + "Z"
