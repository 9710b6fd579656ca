"""
Wake-ups at absolute instants of the monotonic clock, never early.

On Linux a timerfd with an absolute deadline is registered with the event loop: it has the resolution of the
kernel's high-resolution timers, where the loop's own timers are rounded to a millisecond. Elsewhere `call_at` is
used and armed again as long as the clock says that the deadline lies ahead.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

from stage4.clock import Clock
from stage4.runtime.schedule import NANOSECONDS

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_PR_SET_TIMERSLACK = 29


class Timer(Protocol):
    """One pending wake-up at a time.

    * `arm` replaces a wake-up that is still pending.
    * `wake` runs on the event loop, once, and MUST NOT run before the deadline.
    """

    def arm(self, deadline_ns: int, wake: Callable[[], None]) -> None:
        """Call `wake` as soon as the monotonic clock has reached `deadline_ns`."""

    def close(self) -> None:
        """Forget the pending wake-up and release what the timer holds."""


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


class TimerfdTimer:
    """A Linux timerfd on CLOCK_MONOTONIC, which is the clock behind `Clock.monotonic_ns`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._wake: Callable[[], None] | None = None
        self._descriptor = int(_libc().timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        # The default slack of 50 µs is half of our lateness; a refusal costs precision only.
        _libc().prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(1), 0, 0, 0)
        loop.add_reader(self._descriptor, self._expired)

    def arm(self, deadline_ns: int, wake: Callable[[], None]) -> None:
        self._wake = wake
        # An all-zero value would disarm the timer instead of firing at once.
        seconds, nanoseconds = divmod(max(1, deadline_ns), NANOSECONDS)
        spec = _Itimerspec(_Timespec(0, 0), _Timespec(seconds, nanoseconds))
        if _libc().timerfd_settime(self._descriptor, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def _expired(self) -> None:
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return  # armed again between the wake-up and this read
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    def close(self) -> None:
        self._wake = None
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)


class CallAtTimer:
    """The portable timer: the event loop's own, asked again until the deadline has really come."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self._loop = loop
        self._clock = clock
        self._pending: asyncio.TimerHandle | None = None

    def arm(self, deadline_ns: int, wake: Callable[[], None]) -> None:
        self.close()
        left = max(0, deadline_ns - self._clock.monotonic_ns())
        self._pending = self._loop.call_later(left / NANOSECONDS, self._expired, deadline_ns, wake)

    def _expired(self, deadline_ns: int, wake: Callable[[], None]) -> None:
        self._pending = None
        if self._clock.monotonic_ns() < deadline_ns:
            self.arm(deadline_ns, wake)
        else:
            wake()

    def close(self) -> None:
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None


def system_timer(loop: asyncio.AbstractEventLoop, clock: Clock) -> Timer:
    """The most exact timer of this machine."""
    if sys.platform == "linux" and hasattr(loop, "add_reader"):
        try:
            return TimerfdTimer(loop)
        except (OSError, AttributeError):
            return CallAtTimer(loop, clock)
    return CallAtTimer(loop, clock)
