"""Who is on duty: turns by the clock on the wall, overrides, gaps, and nobody."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from stage4.oncall import TIERS, Duty, Gap, Roster, Tier
from stage4.oncall.demo import demo_rotation_yaml
from stage4.oncall.rotation import Override, Plan, Rotation, instant_of
from stage4.security import demo_people

WARSAW = ZoneInfo("Europe/Warsaw")
HOUR = timedelta(hours=1)


def warsaw(text: str) -> datetime:
    """The instant at which the clock in Warsaw shows `text` (before a change back: the first time)."""
    return datetime.fromisoformat(text).replace(tzinfo=WARSAW).astimezone(UTC)


def rotation(
    *people: str, hand_offs: tuple[str, ...] = ("08:00",), starts: str = "2026-01-05", **more: object
) -> Rotation:
    times = tuple(time.fromisoformat(text) for text in hand_offs)
    return Rotation(people, WARSAW, date.fromisoformat(starts), times, **more)  # type: ignore[arg-type]


def roster(l2: Rotation, *overrides: tuple[str, str, str | None], tier: Tier = "l2") -> Roster:
    listed = tuple(Override(tier, person, warsaw(since), warsaw(until)) for since, until, person in overrides)
    contacts = {"ewa": {"phone": "+48 1"}}
    return Roster(Plan({tier: l2}, listed, contacts, "#ops-trading", None))


def person(found: Duty | None) -> str | None:
    return None if found is None else found.person_id


def test_people_take_turns_at_the_hand_over() -> None:
    who = roster(rotation("marek", "ewa", every_days=7))
    assert person(who.on_duty("l2", warsaw("2026-01-05 08:00"))) == "marek"
    assert person(who.on_duty("l2", warsaw("2026-01-12 07:59:59"))) == "marek"
    assert person(who.on_duty("l2", warsaw("2026-01-12 08:00"))) == "ewa"
    assert person(who.on_duty("l2", warsaw("2026-01-19 08:00"))) == "marek"


def test_a_duty_says_until_when_and_how_to_reach_the_person() -> None:
    duty = roster(rotation("marek", "ewa")).on_duty("l2", warsaw("2026-01-06 12:00"))
    assert duty == Duty(
        "l2", "ewa", warsaw("2026-01-06 08:00"), warsaw("2026-01-07 08:00"), channels={"phone": "+48 1"}
    )
    assert "+48" not in repr(duty)


def test_several_hand_overs_a_day_keep_their_order_over_midnight() -> None:
    who = roster(rotation("a", "b", "c", hand_offs=("06:00", "14:00", "22:00")))
    shown = [
        person(who.on_duty("l2", warsaw(f"2026-01-06 {at}"))) for at in ("00:00", "05:59", "06:00", "14:00", "22:00")
    ]
    assert shown == ["c", "c", "a", "b", "c"]


def test_nobody_is_on_duty_before_the_start_after_the_end_or_in_a_tier_left_out() -> None:
    who = roster(rotation("marek", ends=date(2026, 2, 1)))
    assert who.on_duty("l2", warsaw("2026-01-05 07:59")) is None
    last = who.on_duty("l2", warsaw("2026-02-01 07:59"))
    assert last is not None
    assert last.until == warsaw("2026-02-01 08:00")
    assert who.on_duty("l2", warsaw("2026-02-01 08:00")) is None
    assert who.on_duty("l1", warsaw("2026-01-20 08:00")) is None


def test_the_last_turn_ends_with_the_rotation_even_in_its_middle() -> None:
    who = roster(rotation("marek", "ewa", every_days=7, ends=date(2026, 1, 15)))
    duty = who.on_duty("l2", warsaw("2026-01-14 12:00"))
    assert duty is not None
    assert (duty.person_id, duty.until) == ("ewa", warsaw("2026-01-15 08:00"))


def test_the_hand_over_stays_at_eight_on_the_wall_when_summer_time_begins() -> None:
    who = roster(rotation("marek", "ewa", starts="2027-03-27"))
    assert warsaw("2027-03-28 08:00") == datetime(2027, 3, 28, 6, tzinfo=UTC)
    assert person(who.on_duty("l2", datetime(2027, 3, 28, 5, 59, tzinfo=UTC))) == "marek"
    assert person(who.on_duty("l2", datetime(2027, 3, 28, 6, 0, tzinfo=UTC))) == "ewa"
    short = who.on_duty("l2", warsaw("2027-03-27 12:00"))
    assert short is not None
    assert short.until - short.since == 23 * HOUR


def test_the_hand_over_stays_at_eight_on_the_wall_when_summer_time_ends() -> None:
    who = roster(rotation("marek", "ewa", starts="2026-10-24"))
    long = who.on_duty("l2", warsaw("2026-10-24 12:00"))
    assert long is not None
    assert long.until == datetime(2026, 10, 25, 7, tzinfo=UTC)
    assert long.until - long.since == 25 * HOUR


def test_a_skipped_hand_over_time_is_read_with_the_offset_before_the_change() -> None:
    skipped = instant_of(date(2027, 3, 28), time(2, 30), WARSAW)
    assert skipped == datetime(2027, 3, 28, 1, 30, tzinfo=UTC)  # 03:30 summer time
    who = roster(rotation("marek", "ewa", hand_offs=("02:30",), starts="2027-03-27"))
    assert person(who.on_duty("l2", skipped - timedelta(seconds=1))) == "marek"
    assert person(who.on_duty("l2", skipped)) == "ewa"


def test_a_repeated_hand_over_time_counts_the_first_time_only() -> None:
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # 02:30 summer time
    who = roster(rotation("marek", "ewa", hand_offs=("02:30",), starts="2026-10-24"))
    assert person(who.on_duty("l2", first - timedelta(seconds=1))) == "marek"
    for later in (timedelta(0), timedelta(minutes=59), HOUR, 2 * HOUR):
        assert person(who.on_duty("l2", first + later)) == "ewa"


def test_hand_overs_that_the_change_puts_in_the_wrong_order_leave_no_hole() -> None:
    who = roster(rotation("a", "b", "c", hand_offs=("02:00", "02:30", "03:00"), starts="2027-03-28"))
    change = datetime(2027, 3, 28, 1, tzinfo=UTC)
    assert who.on_duty("l2", change - timedelta(seconds=1)) is None
    assert person(who.on_duty("l2", change)) == "c"
    assert person(who.on_duty("l2", change + HOUR)) == "c"


def test_a_day_that_a_zone_skips_leaves_no_hole() -> None:
    apia = ZoneInfo("Pacific/Apia")
    daily = Rotation(("a",), apia, date(2011, 12, 28), (time(4, 13),))
    at = daily.begins_at
    while at < datetime(2012, 1, 3, tzinfo=UTC):
        shift = daily.shift_at(at)
        assert shift is not None
        assert shift.since <= at < shift.until
        at += timedelta(minutes=30)


def test_an_override_replaces_the_turn_and_both_neighbours_end_at_its_edges() -> None:
    who = roster(rotation("marek", every_days=7), ("2026-01-07 10:00", "2026-01-07 18:00", "ewa"))
    before, during, after = (who.on_duty("l2", warsaw(f"2026-01-07 {at}")) for at in ("09:59", "10:00", "18:00"))
    assert before is not None
    assert during is not None
    assert after is not None
    assert (before.person_id, before.until, before.by_override) == ("marek", warsaw("2026-01-07 10:00"), False)
    assert (during.person_id, during.since, during.until) == (
        "ewa",
        warsaw("2026-01-07 10:00"),
        warsaw("2026-01-07 18:00"),
    )
    assert during.by_override
    assert (after.person_id, after.since) == ("marek", warsaw("2026-01-07 18:00"))


def test_the_later_of_two_overrides_in_the_file_counts() -> None:
    who = roster(
        rotation("marek"),
        ("2026-01-07 08:00", "2026-01-09 08:00", "ewa"),
        ("2026-01-08 10:00", "2026-01-08 12:00", "zofia"),
    )
    assert person(who.on_duty("l2", warsaw("2026-01-08 09:00"))) == "ewa"
    assert person(who.on_duty("l2", warsaw("2026-01-08 11:00"))) == "zofia"
    assert person(who.on_duty("l2", warsaw("2026-01-08 12:00"))) == "ewa"


def test_an_override_fills_a_duty_that_no_rotation_has() -> None:
    who = roster(rotation("marek", starts="2026-06-01"), ("2026-01-07 08:00", "2026-01-08 08:00", "ewa"))
    assert person(who.on_duty("l2", warsaw("2026-01-07 12:00"))) == "ewa"
    assert who.on_duty("l2", warsaw("2026-01-08 08:00")) is None


def test_an_override_to_nobody_is_a_gap() -> None:
    who = roster(rotation("marek"), ("2026-01-07 10:00", "2026-01-07 11:00", None))
    assert who.on_duty("l2", warsaw("2026-01-07 10:30")) is None
    gap = Gap("l2", warsaw("2026-01-07 10:00"), warsaw("2026-01-07 11:00"))
    found = who.gaps(warsaw("2026-01-06 00:00"), warsaw("2026-01-09 00:00"))
    assert [found_gap for found_gap in found if found_gap.tier == "l2"] == [gap]


def test_gaps_are_cut_to_the_period_joined_and_told_for_every_tier() -> None:
    since, until = warsaw("2026-01-01 00:00"), warsaw("2026-01-10 00:00")
    who = roster(
        rotation("marek", ends=date(2026, 1, 8)),
        ("2026-01-08 07:00", "2026-01-08 09:00", None),
    )
    whole = [Gap(tier, since, until) for tier in TIERS if tier != "l2"]
    own = [Gap("l2", since, warsaw("2026-01-05 08:00")), Gap("l2", warsaw("2026-01-08 07:00"), until)]
    assert sorted(who.gaps(since, until), key=str) == sorted(whole + own, key=str)


def test_the_next_on_duty_is_the_next_other_person() -> None:
    who = roster(rotation("marek", "marek", "ewa"))
    at = warsaw("2026-01-05 09:00")
    following = who.next_on_duty("l2", at, at + timedelta(days=7))
    assert following is not None
    assert (following.person_id, following.since) == ("ewa", warsaw("2026-01-07 08:00"))
    assert who.next_on_duty("l2", at, at + timedelta(days=1)) is None
    assert roster(rotation("marek")).next_on_duty("l2", at, at + timedelta(days=30)) is None


def test_people_without_an_entry_among_the_operators_are_named() -> None:
    who = roster(rotation("marek", "ghost"), ("2026-01-07 10:00", "2026-01-07 11:00", "shadow"))
    assert who.strangers({"marek"}) == ("ghost", "shadow")
    assert who.strangers({"marek", "ghost", "shadow"}) == ()


@pytest.mark.parametrize(
    "now",
    [
        datetime(2026, 11, 23, 0, 0, tzinfo=UTC),
        datetime(2027, 3, 28, 23, 59, tzinfo=UTC),
        datetime(2028, 2, 29, tzinfo=UTC),
    ],
)
def test_the_demo_rotation_has_everybody_on_duty_and_a_deputy_who_is_not_the_primary(
    tmp_path: Path, now: datetime
) -> None:
    path = tmp_path / "oncall_rotation.yaml"
    path.write_text(demo_rotation_yaml(now), encoding="utf-8")
    who = Roster.load(path)
    assert who.gaps(now, now + timedelta(days=366)) == ()
    assert who.strangers(demo_people.IDS) == ()
    l2, deputy, manager = (who.on_duty(tier, now) for tier in ("l2", "l2_deputy", "incident_manager"))
    assert (person(l2), person(deputy), person(manager)) == ("l2-marek", "l2-ewa", "im-zofia")
    assert l2 is not None
    assert l2.channels["phone"]
    assert who.slack_channel == "#ops-trading"
    assert who.bridge
