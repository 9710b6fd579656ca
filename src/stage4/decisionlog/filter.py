"""Which entries a caller wants to see or to count. A filter never decides what is judged: every line is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from stage4.clock import parse_instant
from stage4.errors import UsageError

if TYPE_CHECKING:
    from stage4.decisionlog.entry import Entry
    from stage4.decisionlog.verification.payload_codec import Payload

# The members of an entry that a filter may ask for by their value.
NAMES = ("category", "kind", "stage", "status")


@dataclass(frozen=True, slots=True)
class Filter:
    """Lets an entry through where it fits everything that is given.

    `said` holds values of members by name; `since` is inclusive, `until` exclusive.
    """

    said: Mapping[str, str] = field(default_factory=dict)
    incident: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def of(
        cls, asked: Mapping[str, str | None], since: datetime | None = None, until: datetime | None = None
    ) -> Filter:
        """The filter of a caller who may have said any of NAMES and `incident`."""
        said = {name: value for name in NAMES if (value := asked.get(name)) is not None}
        return cls(said, asked.get("incident"), since, until)

    def takes(self, entry: Entry | Payload) -> bool:
        """Whether an entry of version 3 is wanted."""
        return self.lets_through(lambda name: getattr(entry, name))

    def lets_through(self, member: Callable[[str], object]) -> bool:
        """Whether an entry with these members is wanted; what it lacks or spells wrongly fits no filter."""
        if any(member(name) != value for name, value in self.said.items()):
            return False
        if self.incident is not None:
            metadata = member("metadata")
            if not isinstance(metadata, Mapping) or metadata.get("incident_id") != self.incident:
                return False
        return (self.since is None and self.until is None) or self._in_time(member("timestamp"))

    def _in_time(self, timestamp: object) -> bool:
        if not isinstance(timestamp, str):
            return False
        try:
            instant = parse_instant(timestamp)
        except UsageError:
            return False
        return (self.since is None or self.since <= instant) and (self.until is None or instant < self.until)
