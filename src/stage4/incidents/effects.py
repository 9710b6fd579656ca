"""What a change of an incident makes necessary, as values, carried out in the change's own transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Literal, TypeAlias

from stage4.incidents.incident import Scalar


class TimerKind(StrEnum):
    """The timers of one incident; at most one of each kind is pending."""

    L1_REPEAT = "l1_repeat"
    ESCALATE = "escalate"
    L2_REPEAT = "l2_repeat"
    L2_DEPUTY = "l2_deputy"
    L2_MANAGER = "l2_manager"
    MANAGER_REPEAT = "manager_repeat"
    ACK_REMINDER = "ack_reminder"
    ACK_LAPSE = "ack_lapse"
    NO_SIGNALS = "no_signals"


Rung: TypeAlias = Literal["l1", "l2", "l2_deputy", "incident_manager"]


@dataclass(frozen=True, slots=True)
class Duties:
    """Who is on duty at one instant: person ids by rung, None where nobody is, and the bridge's address."""

    people: Mapping[Rung, str | None]
    bridge: str = ""

    def on(self, rung: Rung) -> str | None:
        return self.people.get(rung)


@dataclass(frozen=True, slots=True)
class Arm:
    """Sets the timer of this kind, replacing a pending one. Never fires before `after` has passed."""

    kind: TimerKind
    after: timedelta


@dataclass(frozen=True, slots=True)
class Disarm:
    kind: TimerKind


@dataclass(frozen=True, slots=True)
class Page:
    """One notice to one person on a rung."""

    rung: Rung
    person: str
    code: str
    params: Mapping[str, Scalar] = field(default_factory=dict)
    urgent: bool = True


@dataclass(frozen=True, slots=True)
class Post:
    """One notice to the operations channel."""

    code: str
    params: Mapping[str, Scalar] = field(default_factory=dict)
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Recorded:
    """Something that happened: a line of the timeline and an entry of the decision log. `by` is a person id."""

    kind: str
    status: str
    by: str | None = None
    params: Mapping[str, Scalar] = field(default_factory=dict)


Effect: TypeAlias = Arm | Disarm | Page | Post | Recorded
