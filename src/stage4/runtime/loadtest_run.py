"""What a load run is asked for, what it notes, and what it hands over; plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from stage4.runtime.loadtest_hiccup import Stall
from stage4.runtime.loadtest_resources import ResourceUse
from stage4.runtime.scheduler import SuspensionReason

MOST_WORKERS = 8
"""More schedules than this are evaluated inline: the test measures the scheduler, not the machine's memory."""
PROBE_SLOTS = 3
"""About so many slots more are needed to stop the private copy under load."""

ProbeVerdict = Literal["pass", "fail", "cannot_tell"]


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What the kill-switch probe saw; milliseconds from the order to stop, writing the file durably included."""

    written_ms: float | None
    closed_ms: float | None
    submitted_before: int
    asked_after: int
    signals_after: int

    @property
    def verdict(self) -> ProbeVerdict:
        """`fail` for one signal after the file, or a gate that never closed; nothing asked is nothing shown."""
        if self.signals_after or (self.written_ms is not None and self.closed_ms is None):
            return "fail"
        return "pass" if self.submitted_before and self.asked_after else "cannot_tell"


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """`iterations` counted slots for each of `schedules` schedules, after `warmup` slots that are not counted."""

    iterations: int
    schedules: int
    cadence_seconds: float
    seed: int
    warmup: int = 5

    @property
    def inline(self) -> bool:
        """Whether strategies run inside the scheduler's process."""
        return self.schedules > MOST_WORKERS

    @property
    def seconds(self) -> float:
        """How long the run takes when nothing is late."""
        return (self.iterations + self.warmup + PROBE_SLOTS) * self.cadence_seconds


@dataclass(slots=True)
class ScheduleRecord:
    """What one schedule did in its counted slots; spans in nanoseconds, in the order of the slots.

    *Lateness*: intended instant to dispatch. *Service*: dispatch to the last signal submitted. *Latency*: intended
    instant to the last signal submitted. An evaluation that failed has all three, up to its failure: leaving it out
    would hide the worst ones.
    """

    name: str
    risk_profile: str
    slots: list[int] = field(default_factory=list)
    intended: list[int] = field(default_factory=list)
    lateness: list[int] = field(default_factory=list)
    service: list[int] = field(default_factory=list)
    latency: list[int] = field(default_factory=list)
    dispatched: int = 0
    failed: int = 0
    signals: int = 0
    suspended: SuspensionReason | None = None


@dataclass(slots=True)
class Progress:
    """How far a run is, for somebody who looks on from another thread."""

    expected: int = 0
    dispatched: int = 0
    missed: int = 0
    worst_ns: int = 0
    """The largest latency so far."""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """Everything measured in one run, not yet judged."""

    plan: LoadPlan
    schedules: tuple[ScheduleRecord, ...]
    submissions: int
    resources: ResourceUse
    stalls: tuple[Stall, ...] | None
    """Of the host, in the order of time; None where its meter failed."""
    seconds: float
    worker_restarts: int
    probe: ProbeResult
