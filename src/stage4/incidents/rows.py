"""What stands in a row beside the incident itself: the timeline, notices on their way, decisions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from stage4.decisionlog.entry import Draft
from stage4.incidents.incident import Scalar
from stage4.incidents.intake import Alert
from stage4.notify import Notice

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def micros(at: datetime) -> int:
    """Whole microseconds since 1970, without a float on the way."""
    return (at - EPOCH) // MICROSECOND


def instant(value: int) -> datetime:
    return EPOCH + value * MICROSECOND


@dataclass(frozen=True, slots=True)
class Told:
    """The last word about an alert under one start, by any path, and the incident it belongs to."""

    alert: Alert
    incident_id: str | None
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the timeline."""

    incident_id: str
    at: datetime
    kind: str
    person: str | None
    params: dict[str, Scalar]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One notice on its way over one notifier. `fence` tells a late answer from the current attempt."""

    notifier: str
    notice: Notice
    attempts: int
    fence: int
    state: str = "pending"
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision; `seq` is its place in the log, None while it is unlogged."""

    id: str
    incident_id: str
    at: datetime
    draft: Draft
    seq: int | None = None
