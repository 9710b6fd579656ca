"""
When a schedule fires: arithmetic on absolute instants, and nothing else.

The k-th slot of a schedule is due at `anchor + phase + k * cadence` on the monotonic clock. No instant is ever
computed from the previous one, so lateness cannot accumulate and a step of the wall clock cannot move a slot.
All instants and spans are whole nanoseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time
from enum import StrEnum
from typing import NamedTuple

from stage4.config.settings import ScheduleSettings

NANOSECONDS = 1_000_000_000


class DriftPolicy(StrEnum):
    """What happens to a slot that is dispatched later than `max_drift`."""

    RUN = "run"
    """Run it anyway; slots it has overtaken are missed."""
    SKIP = "skip"
    """Miss it too and wait for the next slot of the grid."""
    HALT = "halt"
    """Suspend the schedule: a strategy that must not act on old prices at all."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The grid of one schedule, and how late it may be."""

    cadence_ns: int
    max_drift_ns: int
    phase_ns: int = 0
    policy: DriftPolicy = DriftPolicy.RUN

    def __post_init__(self) -> None:
        if self.cadence_ns <= 0 or self.max_drift_ns < 0 or self.phase_ns < 0:
            raise ValueError("cadence must be positive; drift and phase must not be negative")

    @classmethod
    def from_seconds(
        cls, cadence: float, *, max_drift: float, phase: float = 0.0, policy: DriftPolicy = DriftPolicy.RUN
    ) -> Timing:
        """The same in seconds, rounded to nanoseconds once."""
        spans = (round(seconds * NANOSECONDS) for seconds in (cadence, max_drift, phase))
        cadence_ns, max_drift_ns, phase_ns = spans
        return cls(cadence_ns=cadence_ns, max_drift_ns=max_drift_ns, phase_ns=phase_ns, policy=policy)

    @classmethod
    def of(cls, settings: ScheduleSettings) -> Timing:
        """The grid that the settings of a schedule ask for."""
        return cls.from_seconds(
            settings.cadence_seconds, max_drift=settings.max_drift_seconds, policy=DriftPolicy(settings.drift_policy)
        )

    def deadline(self, anchor_ns: int, slot: int) -> int:
        """The instant at which slot `slot` is due."""
        return anchor_ns + self.phase_ns + slot * self.cadence_ns

    def latest_slot(self, anchor_ns: int, now_ns: int) -> int:
        """The newest slot that is due at `now_ns`; -1 before the first."""
        return max(-1, (now_ns - anchor_ns - self.phase_ns) // self.cadence_ns)


class Ruling(NamedTuple):
    """What to do with a slot that is due: run it or not, what was missed, where the grid goes on."""

    run: bool
    missed: int
    next_slot: int
    halt: bool = False


def rule(timing: Timing, anchor_ns: int, slot: int, now_ns: int, *, busy: bool) -> Ruling:
    """Judge slot `slot` at `now_ns`, not before its deadline.

    Slots that came due in the meantime are missed, never run in a burst; a slot that finds the previous
    evaluation of its schedule still at work (`busy`) is missed too.
    """
    lateness = now_ns - timing.deadline(anchor_ns, slot)
    if lateness < 0:
        raise ValueError("a slot is never judged before it is due")
    latest = timing.latest_slot(anchor_ns, now_ns)
    overtaken, following = latest - slot, latest + 1
    if busy:
        return Ruling(run=False, missed=overtaken + 1, next_slot=following)
    if lateness <= timing.max_drift_ns or timing.policy is DriftPolicy.RUN:
        return Ruling(run=True, missed=overtaken, next_slot=following)
    return Ruling(run=False, missed=overtaken + 1, next_slot=following, halt=timing.policy is DriftPolicy.HALT)


def staggered(timings: Sequence[Timing]) -> tuple[Timing, ...]:
    """The same grids with phases spread over each cadence, so that equal cadences do not fire in one burst."""
    sharing: dict[int, int] = {}
    for timing in timings:
        sharing[timing.cadence_ns] = sharing.get(timing.cadence_ns, 0) + 1
    placed: dict[int, int] = {}
    spread = []
    for timing in timings:
        place = placed.get(timing.cadence_ns, 0)
        placed[timing.cadence_ns] = place + 1
        phase = timing.cadence_ns * place // sharing[timing.cadence_ns]
        spread.append(replace(timing, phase_ns=timing.phase_ns + phase))
    return tuple(spread)


def window_open(windows: Sequence[str], now: datetime) -> bool:
    """Whether `now` (UTC) lies in one of the windows `HH:MM-HH:MM`; without windows it always does.

    A window that ends before it begins runs over midnight; the end is not part of it.
    """
    if not windows:
        return True
    moment = now.time()
    for window in windows:
        begin, end = (time.fromisoformat(edge) for edge in window.split("-"))
        inside = begin <= moment < end if begin < end else moment >= begin or moment < end
        if inside:
            return True
    return False
