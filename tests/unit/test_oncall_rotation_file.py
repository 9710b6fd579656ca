"""The rotation file: what it may say, and how a mistake in it is named."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from stage4 import words
from stage4.errors import Unavailable, UsageError
from stage4.oncall import Roster
from stage4.oncall.rotation_file import read_plan

GOOD = """\
schema: stage4.oncall_rotation/1
time_zone: Europe/Warsaw
bridge: https://teams.microsoft.com/l/meetup-join/x
contacts:
  l2-marek: {phone: "+48 600 000 002", slack: "@marek"}
tiers:
  l1:
    people: [l1-anna, l1-piotr]
    starts: 2026-01-05
    hand_off: ["06:00", 18:00]
  l2:
    people: [l2-marek]
    starts: "2026-01-05"
    hand_off: 08:00
    every_days: 7
    ends: 2026-12-31
overrides:
  - tier: l2
    person: l2-ewa
    from: 2026-12-24 08:00
    until: 2026-12-27T08:00:00Z
  - {tier: l1, person: nobody, from: 2026-12-24 08:00:00, until: "2026-12-24 09:00"}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "oncall_rotation.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_as_documented_is_read(tmp_path: Path) -> None:
    plan = read_plan(write(tmp_path, GOOD))
    assert plan.slack_channel == "#ops-trading"
    assert plan.bridge == "https://teams.microsoft.com/l/meetup-join/x"
    assert [str(hand_off) for hand_off in plan.rotations["l1"].hand_offs] == ["06:00:00", "18:00:00"]
    assert plan.rotations["l2"].every_days == 7
    first, second = plan.overrides
    assert (first.person_id, second.person_id) == ("l2-ewa", None)
    assert first.since == datetime(2026, 12, 24, 7, tzinfo=UTC)
    assert first.until == datetime(2026, 12, 27, 8, tzinfo=UTC)
    assert second.since == datetime(2026, 12, 24, 7, tzinfo=UTC)
    assert plan.contacts["l2-marek"] == {"phone": "+48 600 000 002", "slack": "@marek"}
    assert "+48" not in repr(plan)


def test_the_file_in_the_documentation_of_its_reader_is_read(tmp_path: Path) -> None:
    from stage4.oncall import rotation_file

    assert rotation_file.__doc__ is not None
    example = rotation_file.__doc__.split("```")[1].removeprefix("yaml\n")
    roster = Roster.load(write(tmp_path, example))
    duty = roster.on_duty("l2", datetime(2026, 12, 25, 12, tzinfo=UTC))
    assert duty is not None
    assert duty.person_id == "l2-ewa"


@pytest.mark.parametrize(
    ("old", "new", "code", "line", "key"),
    [
        ("stage4.oncall_rotation/1", "stage4.oncall_rotation/9", "oncall.wrong", 1, "schema"),
        ("Europe/Warsaw", "Europe/Nowhere", "oncall.wrong", 2, "time_zone"),
        ("Europe/Warsaw", "../../etc/passwd", "oncall.wrong", 2, "time_zone"),
        ("https://teams", "file://teams", "oncall.wrong", 3, "bridge"),
        ('"+48 600 000 002"', "48600000002", "oncall.wrong", 5, "contacts.l2-marek.phone"),
        ("  l1:\n", "  l3:\n", "oncall.unknown_key", 7, "tiers.l3"),
        ("[l1-anna, l1-piotr]", "[]", "oncall.wrong", 8, "tiers.l1.people"),
        ("[l1-anna, l1-piotr]", "[l1-anna, 7]", "oncall.wrong", 8, "tiers.l1.people.1"),
        (
            "starts: 2026-01-05\n    hand_off: [",
            "starts: monday\n    hand_off: [",
            "oncall.wrong",
            9,
            "tiers.l1.starts",
        ),
        ('"06:00", 18:00', '"18:00", "06:00"', "oncall.wrong", 10, "tiers.l1.hand_off"),
        ('"06:00", 18:00', '"06:00", "6pm"', "oncall.wrong", 10, "tiers.l1.hand_off"),
        ('"06:00", 18:00', '"06:00", 24:00', "oncall.wrong", 10, "tiers.l1.hand_off"),
        ('"06:00", 18:00', "", "oncall.wrong", 10, "tiers.l1.hand_off"),
        ("hand_off: 08:00", "hand_of: 08:00", "oncall.unknown_key", 14, "tiers.l2.hand_of"),
        ("every_days: 7", "every_days: 0", "oncall.wrong", 15, "tiers.l2.every_days"),
        ("every_days: 7", "every_days: true", "oncall.wrong", 15, "tiers.l2.every_days"),
        ("ends: 2026-12-31", "ends: 2026-01-05", "oncall.ends_first", 16, "tiers.l2.ends"),
        ("- tier: l2", "- tier: boss", "oncall.wrong", 18, "overrides.0.tier"),
        ("person: l2-ewa", "person:", "oncall.wrong", 19, "overrides.0.person"),
        ("from: 2026-12-24 08:00\n", "from: noon\n", "oncall.wrong", 20, "overrides.0.from"),
        ("2026-12-27T08:00:00Z", "2026-12-24 08:00", "oncall.ends_first", 21, "overrides.0.until"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_key(
    tmp_path: Path, old: str, new: str, code: str, line: int, key: str
) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(UsageError) as caught:
        read_plan(path)
    assert caught.value.code == code
    assert caught.value.params["path"] == path
    assert (caught.value.params["line"], caught.value.params["key"]) == (line, key)
    for lang in words.languages:
        assert str(line) in words.text(code, lang, **caught.value.params)


@pytest.mark.parametrize("text", ["", "[]", "7", "schema: stage4.oncall_rotation/1\ntime_zone: Europe/Warsaw\n"])
def test_a_document_of_another_shape_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"oncall\.wrong"):
        read_plan(write(tmp_path, text))


def test_several_hand_overs_a_day_go_with_daily_turns_only(tmp_path: Path) -> None:
    text = GOOD.replace("hand_off: 08:00", 'hand_off: ["06:00", "18:00"]')
    with pytest.raises(UsageError, match=r"oncall\.wrong.*tiers\.l2\.every_days"):
        read_plan(write(tmp_path, text))


def test_an_absent_file_cannot_be_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"files\.missing"):
        Roster.load(tmp_path / "absent.yaml")
