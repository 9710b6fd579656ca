"""How far a stop has come: the gate closed, the orders cancelled, nothing in flight; each told once, and apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from stage4.errors import Unavailable
from stage4.runtime.broker import PaperBroker
from stage4.runtime.latch import LatchedStop
from stage4.runtime.state import OrderCancellation, ScheduleState, StopProgress
from stage4.runtime.stop import ALL, Scope, ScopeKind
from stage4.runtime.stop_progress import StopFollower
from stage4.runtime.stop_report import orders_state
from stage4.testing.clock import ManualClock

NOW = ManualClock().now()
SCHEDULES = {
    "s1": ScheduleState(strategy="a1", tags=("t1",)),
    "s2": ScheduleState(strategy="a2", tags=("t1", "t2")),
    "s3": ScheduleState(strategy="a1"),
}


@dataclass
class Venue:
    """A broker whose orders go only after `slow` requests to cancel them; `broken`: it cannot be asked."""

    working: dict[str, int] = field(default_factory=dict)
    slow: int = 1
    broken: bool = False
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def working_orders(self, schedules: Sequence[str]) -> int:
        return sum(self.working.get(name, 0) for name in schedules)

    def cancel_orders(self, schedules: Sequence[str]) -> None:
        self.asked.append(tuple(schedules))
        if self.broken:
            raise Unavailable("files.unreadable", path="venue", reason="down")
        self.slow -= 1
        if self.slow <= 0:
            for name in schedules:
                self.working.pop(name, None)


class Story:
    def __init__(self, venue: Venue | PaperBroker) -> None:
        self.told: list[tuple[str, str]] = []
        self.follower = StopFollower(venue, SCHEDULES, lambda name, stage, _: self.told.append((name, stage)))

    def look(self, *names: str, in_flight: dict[str, int] | None = None, after: float = 0.0) -> StopProgress | None:
        """One look with these stops in force; the progress of the first."""
        now = NOW + timedelta(seconds=after)
        stops = {name: LatchedStop(file_name=name, digest="d", since=NOW) for name in names}
        self.follower.follow(stops, dict.fromkeys(names, NOW), in_flight or {}, now)
        return self.follower.progress.get(names[0]) if names else None


def test_a_broker_without_working_orders_is_asked_once_and_says_so() -> None:
    venue = Venue()
    story = Story(venue)
    for after in (0.0, 5.0):
        come = story.look(ALL.file_name, after=after)
    assert come is not None
    assert (orders_state(come.orders), come.orders.settled) == ("none", True)
    assert venue.asked == [("s1", "s2", "s3")]
    assert story.told == [(ALL.file_name, "acknowledged"), (ALL.file_name, "verified")]


def test_the_paper_broker_has_nothing_to_cancel() -> None:
    come = Story(PaperBroker()).look(ALL.file_name)
    assert come is not None
    assert come.orders == OrderCancellation(0, 0, None)


def test_gate_closed_and_orders_cancelled_are_two_states() -> None:
    venue = Venue({"s1": 2, "s2": 1}, slow=2)
    story = Story(venue)
    come = story.look(ALL.file_name)
    assert come is not None
    assert come.verified_at == NOW, "the gate is closed and nothing is in flight"
    assert (orders_state(come.orders), come.orders.found, come.orders.working) == ("cancelling", 3, 3)
    come = story.look(ALL.file_name, after=0.5)
    assert len(venue.asked) == 1, "asked again only after a second"
    come = story.look(ALL.file_name, after=1.0)
    assert come is not None
    assert (orders_state(come.orders), come.orders.found, come.orders.working) == ("cancelled", 3, 0)
    story.look(ALL.file_name, after=9.0)
    assert len(venue.asked) == 2
    assert [stage for _, stage in story.told] == ["acknowledged", "verified", "orders_cancelled"]


def test_a_venue_that_cannot_be_asked_is_not_known_and_asked_again() -> None:
    venue = Venue({"s1": 1}, broken=True)
    story = Story(venue)
    come = story.look(ALL.file_name)
    assert come is not None
    assert (orders_state(come.orders), come.orders.settled) == ("unknown", False)
    venue.broken = False
    come = story.look(ALL.file_name, after=1.0)
    assert come is not None
    assert orders_state(come.orders) == "cancelled"


def test_a_part_cancels_and_awaits_its_own_schedules_only() -> None:
    venue = Venue({"s1": 1, "s3": 1})
    tag, strategy = Scope(ScopeKind.TAG, "t2").file_name, Scope(ScopeKind.STRATEGY, "a1").file_name
    story = Story(venue)
    come = story.look(tag, in_flight={"s1": 1})
    assert come is not None
    assert come.verified_at == NOW, "what is in flight elsewhere does not hold it back"
    come = story.look(strategy, tag, in_flight={"s1": 1})
    assert come is not None
    assert come.verified_at is None
    come = story.look(strategy, tag, after=2.0)
    assert come is not None
    assert come.verified_at == NOW + timedelta(seconds=2)
    assert venue.asked == [("s2",), ("s1", "s3")]


def test_a_released_stop_is_forgotten_and_a_new_one_of_its_name_begins_anew() -> None:
    story = Story(Venue())
    story.look(ALL.file_name)
    assert story.look() is None
    assert story.follower.progress == {}
    story.look(ALL.file_name, after=3.0)
    assert [stage for _, stage in story.told] == ["acknowledged", "verified"] * 2
