"""A timer as a durable fact: when it is due, by which clock, and who may fire it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from stage4.clock import Clock
from stage4.incidents.effects import TimerKind

MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Timer:
    """One pending timer of one incident.

    A duration counts on the boot clock while the machine has not been restarted, because the wall clock may be set;
    after a restart only `due_at` is left. `fence` grows with every arming: an old firing cannot pass for a new one.
    """

    incident_id: str
    kind: TimerKind
    due_at: datetime
    boot_id: str
    due_boottime_ns: int
    fence: int


def armed(incident_id: str, kind: TimerKind, after: timedelta, fence: int, clock: Clock) -> Timer:
    """A timer that is due no earlier than `after` from now."""
    nanoseconds = (after // MICROSECOND) * 1000
    return Timer(incident_id, kind, clock.now() + after, clock.boot_id(), clock.boottime_ns() + nanoseconds, fence)
