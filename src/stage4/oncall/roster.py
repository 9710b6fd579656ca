"""Who is on duty at an instant, until when, and where nobody is."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from stage4.oncall.rotation import TIERS, Override, Plan, Shift, Tier
from stage4.oncall.rotation_file import read_plan


@dataclass(frozen=True, slots=True)
class Duty:
    """A person on duty; `until` is exclusive. `channels` (phone, slack, ...) is for notices, never for the log."""

    tier: Tier
    person_id: str
    since: datetime
    until: datetime
    by_override: bool = False
    channels: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Gap:
    """Nobody is on duty; `until` is exclusive."""

    tier: Tier
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Roster:
    """The on-call roster of one installation; every question takes the instant it is asked for."""

    plan: Plan

    @classmethod
    def load(cls, path: Path) -> Roster:
        """Read `ops/oncall_rotation.yaml`; raises as `rotation_file.read_plan` does."""
        return cls(read_plan(path))

    @property
    def slack_channel(self) -> str:
        """The channel of the desk, `#ops-trading` unless the file names another."""
        return self.plan.slack_channel

    @property
    def bridge(self) -> str | None:
        """The address of the emergency call (MS Teams or Zoom), if there is one."""
        return self.plan.bridge

    def on_duty(self, tier: Tier, at: datetime) -> Duty | None:
        """Who has the duty of `tier` at `at`; None when nobody has, so that the caller goes to the next rung."""
        shift = self._shift_at(tier, at)
        override = self._override_at(tier, at)
        if override is not None:
            person, since, until = override.person_id, override.since, override.until
        elif shift is not None:
            person, since, until = shift.person_id, shift.since, shift.until
        else:
            return None
        if person is None:
            return None
        edges = self._override_edges(tier)
        return Duty(
            tier=tier,
            person_id=person,
            since=max([since, *(edge for edge in edges if edge <= at)]),
            until=min([until, *(edge for edge in edges if edge > at)]),
            by_override=override is not None,
            channels=self.plan.contacts.get(person, {}),
        )

    def timeline(self, tier: Tier, since: datetime, until: datetime) -> Iterator[Duty | Gap]:
        """Duties and gaps of `tier` one after the other, without a hole, the first and last cut to the period."""
        at = since
        while at < until:
            duty = self.on_duty(tier, at)
            if duty is None:
                end = min(self._next_edge(tier, at) or until, until)
                yield Gap(tier, at, end)
            else:
                end = min(duty.until, until)
                yield Duty(tier, duty.person_id, max(duty.since, since), end, duty.by_override, duty.channels)
            at = end

    def next_on_duty(self, tier: Tier, at: datetime, until: datetime) -> Duty | None:
        """The next duty of another person that begins after `at` and before `until`."""
        now = self.on_duty(tier, at)
        for turn in self.timeline(tier, at, until):
            if isinstance(turn, Duty) and turn.since > at and (now is None or turn.person_id != now.person_id):
                return self.on_duty(tier, turn.since)
        return None

    def gaps(self, since: datetime, until: datetime) -> tuple[Gap, ...]:
        """Every stretch of the period in which a tier has nobody on duty, tier by tier."""
        found: list[Gap] = []
        for tier in TIERS:
            for turn in self.timeline(tier, since, until):
                if not isinstance(turn, Gap):
                    continue
                if found and found[-1].tier == tier and found[-1].until == turn.since:
                    found[-1] = Gap(tier, found[-1].since, turn.until)
                else:
                    found.append(turn)
        return tuple(found)

    def strangers(self, known: Container[str]) -> tuple[str, ...]:
        """The people of the rotation file who are not `known` (the ids of `ops/operators.yaml`), sorted."""
        named = {person for rotation in self.plan.rotations.values() for person in rotation.people}
        named |= {override.person_id for override in self.plan.overrides if override.person_id is not None}
        return tuple(sorted(person for person in named if person not in known))

    def _shift_at(self, tier: Tier, at: datetime) -> Shift | None:
        rotation = self.plan.rotations.get(tier)
        return None if rotation is None else rotation.shift_at(at)

    def _override_at(self, tier: Tier, at: datetime) -> Override | None:
        covering = [o for o in self.plan.overrides if o.tier == tier and o.since <= at < o.until]
        return covering[-1] if covering else None

    def _override_edges(self, tier: Tier) -> list[datetime]:
        return [edge for o in self.plan.overrides if o.tier == tier for edge in (o.since, o.until)]

    def _next_edge(self, tier: Tier, at: datetime) -> datetime | None:
        """When something may change after a moment without duty: an override's edge, or a hand-off."""
        edges = self._override_edges(tier)
        rotation = self.plan.rotations.get(tier)
        if rotation is not None:
            shift = rotation.shift_at(at)
            edges.append(rotation.begins_at if shift is None else shift.until)
        return min((edge for edge in edges if edge > at), default=None)
