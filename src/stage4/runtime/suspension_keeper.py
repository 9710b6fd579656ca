"""
Keeps the running scheduler and `var/runtime/suspensions` of one mind.

What stands in the directory is suspended, what went from it is resumed. What the scheduler suspended by itself is
written there, so that a restart keeps it; until that has worked, the scheduler's memory holds it. A directory that
vanishes resumes nothing: what was held is written again, as the scheduler's own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from stage4.clock import Clock
from stage4.config.settings import ScheduleSettings
from stage4.errors import Unavailable
from stage4.runtime.scheduler import Scheduler, SuspensionReason
from stage4.runtime.suspension import Suspension, SuspensionDocument, holding
from stage4.runtime.suspension_files import SUSPENSIONS, place, read_all

REQUESTED_BY = "scheduler"
VANISHED = "directory_vanished"

Suspended = Callable[[str, Suspension | None], None]
"""Hears that a schedule was suspended, by what, or (None) resumed, after it happened. Must not block."""


class _Seen(NamedTuple):
    """One look at the directory."""

    standing: tuple[Suspension, ...]
    written: set[str]
    unwritten: Mapping[str, Suspension]
    fault: str


class SuspensionKeeper:
    """Of one scheduler and its `schedules`."""

    def __init__(
        self,
        root: Path,
        scheduler: Scheduler,
        schedules: Mapping[str, ScheduleSettings],
        clock: Clock,
        *,
        changed: Suspended,
        events: Callable[[str, Mapping[str, object]], None],
    ) -> None:
        self._root = root
        self._scheduler = scheduler
        self._schedules = schedules
        self._clock = clock
        self._changed = changed
        self._events = events
        self._unwritten: dict[str, Suspension] = {}
        self._told: str | None = None
        self._following = False

    @property
    def directory(self) -> Path:
        """Where the suspensions lie."""
        return self._root / SUSPENSIONS

    def suspended(self, schedule: str, reason: SuspensionReason, why: str) -> None:
        """The scheduler has suspended `schedule`; what it did because of a file is no news."""
        if self._following:
            return
        self._unwritten[schedule] = self._own(schedule, reason, why)
        self._changed(schedule, self._unwritten[schedule])

    async def follow(self) -> None:
        """Write what is not written yet, then do what the directory says; in a thread, because disks can be slow."""
        held = {
            name: self._own(name, reason, VANISHED)
            for name in self._schedules
            if (reason := self._scheduler.suspension(name)) is not None
        }
        self._apply(await asyncio.to_thread(self._write_and_read, dict(self._unwritten), held))

    def _own(self, schedule: str, reason: SuspensionReason, why: str) -> Suspension:
        document = SuspensionDocument(cause=reason, reason=why, requested_by=REQUESTED_BY, since=self._clock.now())
        return Suspension("own", schedule, document)

    def _write_and_read(self, unwritten: Mapping[str, Suspension], held: Mapping[str, Suspension]) -> _Seen:
        if not os.path.lexists(self.directory):
            unwritten = {**held, **unwritten}
        written, fault = set(), ""
        for name, suspension in unwritten.items():
            try:
                place(self._root, suspension)
                written.add(name)
            except Unavailable as error:
                fault = str(error)
        return _Seen(read_all(self._root), written, unwritten, fault)

    def _apply(self, seen: _Seen) -> None:
        standing, written, unwritten, fault = seen
        if fault and fault != self._told:
            self._events("schedule.own_unwritten", {"reason": fault})
        self._told = fault
        self._unwritten = {**unwritten, **self._unwritten}
        for name in written:
            self._unwritten.pop(name, None)
        now = self._clock.now()
        for name, settings in self._schedules.items():
            holds = holding(standing, name, settings.tags, now)
            suspended = self._scheduler.suspension(name) is not None
            if holds and not suspended:
                self._following = True
                try:
                    self._scheduler.suspend(name, holds[0].cause)
                finally:
                    self._following = False
                self._changed(name, holds[0])
            elif suspended and not holds and name not in self._unwritten:
                self._scheduler.resume(name)
                self._changed(name, None)
