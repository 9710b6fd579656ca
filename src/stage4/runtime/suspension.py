"""
Suspensions: schedules that do not fire for a while, by one schedule or one tag, with a reason and a person.

A suspension is no stop: an evaluation at work ends as it would have. What must not trade is disabled
(`stage4.runtime.stop`). A request may end by itself at its expiry; a suspension the scheduler made, after failures or
drift, never does. One that cannot be read covers what its name says, without an end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from urllib.parse import quote, unquote

import msgspec

from stage4.errors import UsageError
from stage4.runtime.scheduler import SuspensionReason
from stage4.runtime.state import Instant

SCHEMA: Literal["stage4.suspension/1"] = "stage4.suspension/1"
Kind = Literal["schedule", "tag", "own"]
"""`own` is the scheduler's word about a schedule; it has a file of its own, so that no request can shorten it."""
KINDS: tuple[Kind, ...] = ("schedule", "tag", "own")
EVERYTHING = ""
"""The name, which no file can carry, of the suspension that stands for a directory nobody can read."""


class SuspensionDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What a file in `var/runtime/suspensions` says; whom it covers stands in its name."""

    schema: Literal["stage4.suspension/1"] = SCHEMA
    cause: SuspensionReason
    reason: str
    requested_by: str
    since: Instant
    expires_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class Suspension:
    """One suspension; `document` None, with a `fault`, where it could not be read."""

    kind: Kind
    name: str
    document: SuspensionDocument | None
    fault: str | None = None
    stands_as: str = field(default="", compare=False)

    @property
    def file_name(self) -> str:
        """The file it stands in, or would; raises UsageError `schedule.bad_name` where no file can carry the name."""
        if self.stands_as:
            return self.stands_as
        file_name = f"{self.kind}.{quote(self.name, safe='')}.json"
        if not self.name or len(file_name) > 200:
            raise UsageError("schedule.bad_name", name=self.name)
        return file_name

    @property
    def cause(self) -> SuspensionReason:
        """Why; what cannot be read counts as a request."""
        return SuspensionReason.REQUEST if self.document is None else self.document.cause

    @property
    def expires_at(self) -> datetime | None:
        """When it ends by itself; None for never."""
        ends = self.document is not None and self.document.cause is SuspensionReason.REQUEST and self.kind != "own"
        return self.document.expires_at if ends and self.document is not None else None

    def in_force(self, now: datetime) -> bool:
        """Whether it holds at `now`."""
        return self.expires_at is None or now < self.expires_at

    def outlasts(self, other: Suspension) -> bool:
        """Whether it ends later than `other`."""
        if self.expires_at is None or other.expires_at is None:
            return self.expires_at is None and other.expires_at is not None
        return self.expires_at > other.expires_at

    def covers(self, schedule: str, tags: Sequence[str]) -> bool:
        """Whether it holds `schedule`, which has these tags."""
        if self.kind == "tag":
            return self.name in tags or self.name == EVERYTHING
        return self.name == schedule


UNREADABLE = Suspension("tag", EVERYTHING, None, "schedule.directory_unreadable", "suspensions")


def named(file_name: str) -> tuple[Kind, str] | None:
    """Whom a file of that name covers; None for any other name, such as that of a temporary file."""
    kind, _, rest = file_name.partition(".")
    name, _, suffix = rest.rpartition(".")
    found = [known for known in KINDS if known == kind]
    return (found[0], unquote(name)) if found and name and suffix == "json" else None


def holding(
    suspensions: Iterable[Suspension], schedule: str, tags: Sequence[str], now: datetime
) -> tuple[Suspension, ...]:
    """Those that hold `schedule` at `now`, those of the scheduler itself first."""
    held = [each for each in suspensions if each.covers(schedule, tags) and each.in_force(now)]
    return tuple(sorted(held, key=lambda each: (each.kind != "own", each.kind, each.name)))
