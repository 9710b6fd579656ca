"""Whatever the rotation, the time line has no hole, no overlap, and agrees with the question asked directly."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from stage4.oncall import Gap, Roster
from stage4.oncall.rotation import Override, Plan, Rotation

# Warsaw and New York change by an hour, Lord Howe by half an hour, Apia once skipped a day, Kolkata stands still.
ZONES = ("Europe/Warsaw", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kolkata", "UTC")
DAYS = st.dates(date(2011, 12, 1), date(2027, 12, 31))
MINUTES = st.integers(0, 24 * 60 - 1).map(lambda n: time(n // 60, n % 60))
PEOPLE = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4).map(tuple)


@st.composite
def rotations(draw: st.DrawFn) -> Rotation:
    hand_offs = tuple(sorted(draw(st.sets(MINUTES, min_size=1, max_size=4))))
    every_days = draw(st.integers(1, 14)) if len(hand_offs) == 1 else 1
    starts = draw(DAYS)
    ends = draw(st.none() | st.integers(1, 40).map(lambda n: starts + timedelta(days=n)))
    return Rotation(draw(PEOPLE), ZoneInfo(draw(st.sampled_from(ZONES))), starts, hand_offs, every_days, ends)


@st.composite
def rosters(draw: st.DrawFn) -> Roster:
    rotation = draw(rotations())
    around = rotation.begins_at
    overrides = []
    for _ in range(draw(st.integers(0, 3))):
        since = around + timedelta(minutes=draw(st.integers(-2000, 40_000)))
        until = since + timedelta(minutes=draw(st.integers(1, 5000)))
        overrides.append(Override("l2", draw(st.none() | st.sampled_from("xyz")), since, until))
    return Roster(Plan({"l2": rotation}, tuple(overrides), {}, "#ops-trading", None))


@settings(deadline=None)
@given(roster=rosters(), offset=st.integers(-3000, 40_000), length=st.integers(1, 20_000))
def test_the_time_line_is_whole_and_true(roster: Roster, offset: int, length: int) -> None:
    since = roster.plan.rotations["l2"].begins_at + timedelta(minutes=offset)
    until = since + timedelta(minutes=length)
    at = since
    for turn in roster.timeline("l2", since, until):
        assert turn.since == at < turn.until
        for inside in (turn.since, turn.since + (turn.until - turn.since) / 2, turn.until - timedelta(seconds=1)):
            duty = roster.on_duty("l2", inside)
            if isinstance(turn, Gap):
                assert duty is None
            else:
                assert duty is not None
                assert (duty.person_id, duty.by_override) == (turn.person_id, turn.by_override)
                assert duty.since <= inside < duty.until
        at = turn.until
    assert at == until


@settings(deadline=None)
@given(rotation=rotations(), minutes=st.integers(0, 60_000))
def test_turns_go_round_in_their_order_and_never_back(rotation: Rotation, minutes: int) -> None:
    at = rotation.begins_at + timedelta(minutes=minutes)
    shift = rotation.shift_at(at)
    if shift is None:
        assert rotation.ends_at is not None
        assert at >= rotation.ends_at
        return
    assert shift.since <= at < shift.until
    assert shift.person_id in rotation.people
    following = rotation.shift_at(shift.until)
    if following is not None:
        assert following.since == shift.until


@settings(deadline=None)
@given(rotation=rotations(), day=st.integers(0, 400))
def test_a_hand_over_is_at_its_time_on_the_wall_wherever_that_time_exists(rotation: Rotation, day: int) -> None:
    at = datetime.combine(rotation.starts + timedelta(days=day), time(12), rotation.zone).astimezone(UTC)
    shift = rotation.shift_at(at)
    if shift is None:
        return
    local = shift.since.astimezone(rotation.zone)
    exists = local.replace(tzinfo=None).time() in rotation.hand_offs
    changed = local.utcoffset() != (shift.since - timedelta(hours=25)).astimezone(rotation.zone).utcoffset()
    assert exists or changed
