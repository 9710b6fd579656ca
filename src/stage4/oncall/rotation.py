"""
The arithmetic of rotations: local dates and times in, instants out.

Hand-offs happen at a time on the wall, so shifts are 23 or 25 hours long when the clocks change. A time that
the change skips or repeats is read as RFC 5545 §3.3.5 (calendars) reads it: a skipped 02:30 is 03:30 summer
time, a repeated 02:30 is the first of the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Literal, get_args
from zoneinfo import ZoneInfo

Tier = Literal["l1", "l2", "l2_deputy", "incident_manager"]
TIERS: Final[tuple[Tier, ...]] = get_args(Tier)


def instant_of(day: date, at: time, zone: ZoneInfo) -> datetime:
    """The instant, in UTC, at which the clocks of `zone` show `at` on `day`."""
    # fold=0 is RFC 5545's rule: the offset before the gap, the first of the repeated times.
    return datetime.combine(day, at.replace(fold=0), zone).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Shift:
    """One turn of one person; `until` is exclusive."""

    person_id: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Rotation:
    """
    People taking turns: the first from `starts` at the first of `hand_offs`, then one after the other.

    With `every_days` above 1 there is one hand-off time. The last turn ends where `ends` begins, at the first
    of `hand_offs`; without `ends` it goes on for ever.
    """

    people: tuple[str, ...]
    zone: ZoneInfo
    starts: date
    hand_offs: tuple[time, ...]  # ascending
    every_days: int = 1
    ends: date | None = None

    @property
    def begins_at(self) -> datetime:
        """The first hand-off."""
        return instant_of(self.starts, self.hand_offs[0], self.zone)

    @property
    def ends_at(self) -> datetime | None:
        """The end of the last turn, None for a rotation without end."""
        return None if self.ends is None else instant_of(self.ends, self.hand_offs[0], self.zone)

    def shift_at(self, at: datetime) -> Shift | None:
        """Whose turn it is at `at`, or None before the first and after the last turn."""
        end = self.ends_at
        if at < self.begins_at or (end is not None and at >= end):
            return None
        hand_offs = list(self._hand_offs_around(at))
        # Where a clock change puts two hand-offs in the wrong order, the later turn counts.
        turn, since = max((turn, instant) for turn, instant in hand_offs if turn >= 0 and instant <= at)
        until = min(instant for later, instant in hand_offs if later > turn and instant > at)
        person = self.people[turn % len(self.people)]
        return Shift(person, since, until if end is None else min(until, end))

    def _hand_offs_around(self, at: datetime) -> Iterator[tuple[int, datetime]]:
        """Turns and their instants, from well before `at` to well after it."""
        day = at.astimezone(self.zone).date()
        nearest = (day - self.starts).days // self.every_days
        # Two days either side, because a zone may skip a whole one (Apia, 30 December 2011).
        for step in range(nearest - 2, nearest + 4):
            handed_on = self.starts + timedelta(days=step * self.every_days)
            for index, hand_off in enumerate(self.hand_offs):
                yield step * len(self.hand_offs) + index, instant_of(handed_on, hand_off, self.zone)


@dataclass(frozen=True, slots=True)
class Override:
    """Another person, or nobody (None), has the duty of `tier` from `since` until before `until`."""

    tier: Tier
    person_id: str | None
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rotation file says; of two overrides that overlap, the later one in the file counts."""

    rotations: Mapping[Tier, Rotation]
    overrides: tuple[Override, ...]
    contacts: Mapping[str, Mapping[str, str]] = field(repr=False)
    slack_channel: str
    bridge: str | None
