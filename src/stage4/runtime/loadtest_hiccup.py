"""
The hiccup meter: a bare timer in a process of its own, running beside a measurement.

It does nothing but wake up on an absolute grid and note when it was late. Where it was late the host (or another
program on it) took the processor away, and lateness of the measured program at the same moment is not its own doing.
An estimate: another processor may have been free at that moment, and a stall shorter than the grid can be missed.
"""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from stage4.clock import Clock, SystemClock

PERIOD_NS = 2_000_000
NOTED_NS = 500_000
"""A wake-up later than this is a stall."""
_END_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Stall:
    """The timer should have woken at `began_ns` and woke at `ended_ns` (monotonic clock of this machine)."""

    began_ns: int
    ended_ns: int

    @property
    def milliseconds(self) -> float:
        """How late it was."""
        return (self.ended_ns - self.began_ns) / 1e6


def attributed_ns(begin_ns: int, span_ns: int, stalls: Sequence[Stall]) -> int:
    """How much of a span from `begin_ns` on coincides with stalls of the host; nanoseconds, at most the span.

    `stalls` are in the order of time and do not overlap, as the meter notes them.
    """
    end_ns = begin_ns + span_ns
    overlap = 0
    for place in range(bisect_right(stalls, begin_ns, key=lambda stall: stall.ended_ns), len(stalls)):
        stall = stalls[place]
        if stall.began_ns >= end_ns:
            break
        overlap += min(end_ns, stall.ended_ns) - max(begin_ns, stall.began_ns)
    return overlap


class HiccupMeter:
    """Measures while the `with` block runs; `stalls` are there afterwards."""

    def __init__(self) -> None:
        self.stalls: tuple[Stall, ...] | None = None
        """None where the meter did not come to its end: then nobody knows what the host did."""
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The meter's own process; None before the block."""
        return None if self._child is None else self._child.pid

    def __enter__(self) -> HiccupMeter:
        command = [sys.executable, "-P", "-m", __name__]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/")
        assert self._child.stdout is not None
        self._child.stdout.readline()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._child is not None
        try:
            written, _ = self._child.communicate(timeout=_END_SECONDS)
            self.stalls = tuple(Stall(*pair) for pair in json.loads(written))
        except (subprocess.TimeoutExpired, ValueError):
            self._child.kill()
            self._child.communicate()


def watch(clock: Clock, ended: Callable[[], bool]) -> list[tuple[int, int]]:
    """Note stalls, as (due, woken) of the monotonic clock, until `ended`."""
    stalls: list[tuple[int, int]] = []
    due_ns = clock.monotonic_ns() + PERIOD_NS
    while not ended():
        if (left_ns := due_ns - clock.monotonic_ns()) > 0:
            clock.sleep(left_ns / 1e9)
        now_ns = clock.monotonic_ns()
        if now_ns - due_ns > NOTED_NS:
            stalls.append((due_ns, now_ns))
        due_ns += PERIOD_NS * (1 + max(0, now_ns - due_ns) // PERIOD_NS)
    return stalls


def main() -> None:
    """Entry of the meter's process: says that it watches, and writes its stalls when standard input is closed."""
    sys.stdout.write("watching\n")
    sys.stdout.flush()
    closed = select.poll()
    closed.register(sys.stdin.fileno(), select.POLLIN | select.POLLHUP)
    with contextlib.suppress(KeyboardInterrupt):
        json.dump(watch(SystemClock(), lambda: bool(closed.poll(0))), sys.stdout)


if __name__ == "__main__":
    main()
