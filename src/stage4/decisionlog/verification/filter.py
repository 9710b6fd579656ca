"""Which entries a caller counts. A filter never decides what is judged: every line is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from stage4.clock import parse_instant
from stage4.errors import UsageError


@dataclass(frozen=True, slots=True)
class Filter:
    """Lets an entry through where it fits everything that is given; `since` is inclusive, `until` exclusive."""

    category: str | None = None
    kind: str | None = None
    incident: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def lets_through(self, kind: object, category: object, timestamp: object, metadata: object) -> bool:
        """Whether an entry with these members counts; what an entry lacks or spells wrongly fits no filter."""
        if self.category is not None and category != self.category:
            return False
        if self.kind is not None and kind != self.kind:
            return False
        if self.incident is not None and not (
            isinstance(metadata, Mapping) and metadata.get("incident_id") == self.incident
        ):
            return False
        return (self.since is None and self.until is None) or self._in_time(timestamp)

    def _in_time(self, timestamp: object) -> bool:
        if not isinstance(timestamp, str):
            return False
        try:
            instant = parse_instant(timestamp)
        except UsageError:
            return False
        return (self.since is None or self.since <= instant) and (self.until is None or instant < self.until)
