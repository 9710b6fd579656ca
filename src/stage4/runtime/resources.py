"""What the running environment uses of the machine, its children included, against `runtime.resource_limits`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stage4.clock import Clock
from stage4.config.settings import ResourceLimits
from stage4.runtime.loadtest_resources import MEGABYTE, NOTHING, ResourceUse, judge_resources, totals
from stage4.runtime.state import ResourceState

if TYPE_CHECKING:
    from stage4.runtime.loadtest_resources import Totals

DIGITS = 3


@dataclass(frozen=True, slots=True)
class _Reading:
    at_ns: int
    totals: Totals


def use_between(before: Totals, after: Totals, seconds: float, processors: int) -> ResourceUse:
    """The use over `seconds` between two readings; pure.

    A process that has ended takes its counts along, so a difference may fall below zero and counts as none.
    """
    span = max(seconds, 1e-9)
    return ResourceUse(
        samples=2,
        cpu_percent=max(0.0, 100.0 * (after.cpu_seconds - before.cpu_seconds) / (span * processors)),
        memory_mb=after.memory / MEGABYTE,
        io_read_mb_s=max(0.0, (after.read - before.read) / MEGABYTE / span),
        io_write_mb_s=max(0.0, (after.written - before.written) / MEGABYTE / span),
        context_switches=max(0, after.switches - before.switches),
        involuntary_switches=max(0, after.involuntary - before.involuntary),
        steal_percent=0.0,
        host_cpu_percent=0.0,
    )


def largest_share(use: ResourceUse, limits: ResourceLimits) -> float:
    """The largest part of a limit that is used; 1 is the limit."""
    return max(
        use.cpu_percent / limits.cpu_percent,
        use.memory_mb / limits.memory_mb,
        use.io_read_mb_s / limits.io_read_mb_s,
        use.io_write_mb_s / limits.io_write_mb_s,
    )


def judged(use: ResourceUse, limits: ResourceLimits, seconds: float) -> ResourceState:
    """`use` with its verdict, as `state.json` says it; pure."""
    verdict = judge_resources(use, limits)
    return ResourceState(
        status=verdict.status,
        reasons=verdict.reasons,
        largest_share=round(largest_share(use, limits), DIGITS),
        cpu_percent=round(use.cpu_percent, DIGITS),
        memory_mb=round(use.memory_mb, DIGITS),
        io_read_mb_s=round(use.io_read_mb_s, DIGITS),
        io_write_mb_s=round(use.io_write_mb_s, DIGITS),
        seconds=round(seconds, DIGITS),
    )


class ResourceWatch:
    """Reads the processes when it is asked, about 2 ms in a thread of the caller's."""

    def __init__(self, limits: ResourceLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._before: _Reading | None = None

    def look(self) -> ResourceState:
        """The use since the last look; at the first, and where nothing can be read, `warning` with `not_measured`."""
        import psutil

        before, self._before = self._before, None
        try:
            own = psutil.Process()
            # The counts of each look stand alone, so that processes that ended are not added up for ever.
            used = totals([own, *own.children(recursive=True)], {})
        except (psutil.Error, OSError):
            # Telemetry: a host that has no descriptor left to measure with must not end what is measured.
            return judged(NOTHING, self._limits, 0.0)
        self._before = _Reading(self._clock.monotonic_ns(), used)
        if before is None:
            return judged(NOTHING, self._limits, 0.0)
        seconds = (self._before.at_ns - before.at_ns) / 1e9
        use = use_between(before.totals, self._before.totals, seconds, psutil.cpu_count() or 1)
        return judged(use, self._limits, seconds)
