"""Suspensions: whom they hold and for how long, on the disk and in the scheduler; what cannot be read holds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from stage4 import files
from stage4.config.settings import ScheduleSettings
from stage4.errors import UsageError
from stage4.runtime.schedule import Timing
from stage4.runtime.scheduler import Fire, Scheduler, SuspensionReason
from stage4.runtime.suspension import Kind, Suspension, SuspensionDocument, holding, named
from stage4.runtime.suspension_files import SUSPENSIONS, lift, place, read_all
from stage4.runtime.suspension_keeper import SuspensionKeeper
from stage4.testing.clock import ManualClock

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def suspension(
    kind: Kind = "schedule",
    name: str = "one",
    *,
    until: datetime | None = None,
    cause: SuspensionReason = SuspensionReason.REQUEST,
) -> Suspension:
    document = SuspensionDocument(cause=cause, reason="drill", requested_by="l2-marek", since=NOW, expires_at=until)
    return Suspension(kind, name, document)


def test_a_suspension_holds_its_schedule_or_the_schedules_of_its_tag() -> None:
    both = (suspension("schedule", "one"), suspension("tag", "slow"))
    assert holding(both, "one", (), NOW) == both[:1]
    assert holding(both, "two", ("slow",), NOW) == both[1:]
    assert holding(both, "two", ("fast",), NOW) == ()


def test_a_request_ends_at_its_expiry_and_not_before() -> None:
    short = suspension(until=NOW + HOUR)
    assert short.in_force(NOW + HOUR - timedelta(microseconds=1))
    assert not short.in_force(NOW + HOUR)


@pytest.mark.parametrize("cause", [SuspensionReason.FAILURES, SuspensionReason.DRIFT])
def test_what_the_scheduler_suspended_never_ends_by_itself(cause: SuspensionReason) -> None:
    assert suspension("own", until=NOW - HOUR, cause=cause).in_force(NOW)
    assert suspension("schedule", until=NOW - HOUR, cause=cause).in_force(NOW)
    assert suspension("own", until=NOW - HOUR, cause=SuspensionReason.REQUEST).in_force(NOW)


@pytest.mark.parametrize("name", ["mean/reversion", "..", "ż ó", "a.b", "x%2Fy"])
def test_a_name_survives_its_file_name(name: str) -> None:
    for kind in ("schedule", "tag", "own"):
        file_name = suspension(kind, name).file_name
        assert "/" not in file_name
        assert named(file_name) == (kind, name)


def test_other_names_in_the_directory_mean_nothing() -> None:
    assert [named(name) for name in ("README", "schedule..json", ".schedule.one.json", "all.x.json")] == [None] * 4


@pytest.mark.parametrize("name", ["", "n" * 200])
def test_a_name_that_no_file_can_carry_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"schedule\.bad_name"):
        _ = suspension(name=name).file_name


def test_what_is_placed_is_read_again_and_what_is_lifted_is_gone(tmp_path: Path) -> None:
    assert read_all(tmp_path) == ()
    wanted = suspension(until=NOW + HOUR)
    assert place(tmp_path, wanted) is None
    assert read_all(tmp_path) == (wanted,)
    assert (tmp_path / SUSPENSIONS / wanted.file_name).stat().st_mode & 0o777 == 0o600
    lift(tmp_path, wanted)
    lift(tmp_path, wanted)
    assert read_all(tmp_path) == ()


def test_a_longer_suspension_replaces_a_shorter_one_and_never_the_other_way(tmp_path: Path) -> None:
    short, long, endless = suspension(until=NOW + HOUR), suspension(until=NOW + 2 * HOUR), suspension()
    assert place(tmp_path, long) is None
    assert place(tmp_path, short) == long
    assert place(tmp_path, endless) is None
    assert place(tmp_path, long) == endless
    assert read_all(tmp_path) == (endless,)


WITHOUT_OFFSET = b"""{"cause": "request", "reason": "x", "requested_by": "y", "since": "2026-11-23T08:00:00",
    "expires_at": "2026-11-23T09:30:00"}"""


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"schema": "stage4.other/1"}', b"\xff", b"x" * 100_000, WITHOUT_OFFSET]
)
def test_a_file_that_cannot_be_read_holds_without_an_end(tmp_path: Path, content: bytes) -> None:
    directory = tmp_path / SUSPENSIONS
    directory.mkdir(parents=True)
    (directory / "schedule.one.json").write_bytes(content)
    (found,) = read_all(tmp_path)
    assert found.fault
    assert holding((found,), "one", (), NOW + 1000 * HOUR) == (found,)
    assert place(tmp_path, suspension(until=NOW + HOUR)) == found, "nothing shorter replaces it"


def test_a_directory_that_cannot_be_listed_suspends_every_schedule(tmp_path: Path) -> None:
    (tmp_path / SUSPENSIONS).parent.mkdir(parents=True)
    (tmp_path / SUSPENSIONS).write_bytes(b"no directory")
    assert len(holding(read_all(tmp_path), "any", (), NOW)) == 1


class Desk:
    """A scheduler that does not run, with its keeper."""

    def __init__(self, root: Path) -> None:
        self.clock = ManualClock(NOW)
        self.changes: list[tuple[str, str | None]] = []
        self.events: list[str] = []
        self.scheduler = Scheduler(self.clock, observer=self)
        schedules = {"one": ("slow",), "two": ("slow", "big")}
        for name in schedules:
            self.scheduler.add(name, Timing.from_seconds(1, max_drift=1), lambda fire: None)
        self.keeper = SuspensionKeeper(
            root,
            self.scheduler,
            {
                name: ScheduleSettings(strategy="any", cadence_seconds=1, risk_profile="balanced", tags=tags)
                for name, tags in schedules.items()
            },
            self.clock,
            changed=lambda name, by: self.changes.append((name, None if by is None else by.file_name)),
            events=self._tell,
        )

    def _tell(self, code: str, params: Mapping[str, object]) -> None:
        self.events.append(code)

    def fired(self, fire: Fire) -> None: ...

    def missed(self, schedule: str, slots: int) -> None: ...

    def failed(self, schedule: str, error: BaseException, in_a_row: int) -> None: ...

    def suspended(self, schedule: str, reason: SuspensionReason) -> None:
        self.keeper.suspended(schedule, reason, "ZeroDivisionError")

    def follow(self) -> list[str]:
        """The names that are suspended after a look."""
        asyncio.run(self.keeper.follow())
        return [name for name in ("one", "two") if self.scheduler.suspension(name) is not None]


def test_the_scheduler_does_what_stands_in_the_directory(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.follow() == []
    place(tmp_path, suspension("tag", "slow"))
    place(tmp_path, suspension("schedule", "one"))
    assert desk.follow() == ["one", "two"]
    lift(tmp_path, suspension("tag", "slow"))
    assert desk.follow() == ["one"]
    assert desk.changes == [("one", "schedule.one.json"), ("two", "tag.slow.json"), ("two", None)]


def test_a_request_that_expires_lets_the_schedule_go_on(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    place(tmp_path, suspension("schedule", "one", until=NOW + HOUR))
    assert desk.follow() == ["one"]
    desk.clock.advance(hours=1)
    assert desk.follow() == []


def test_failures_survive_a_restart_and_the_expiry_of_a_request_beside_them(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    place(tmp_path, suspension("schedule", "one", until=NOW + HOUR))
    desk.scheduler.suspend("one", SuspensionReason.FAILURES)
    assert desk.follow() == ["one"]
    desk.clock.advance(hours=2)
    assert desk.follow() == ["one"]
    after = Desk(tmp_path)
    after.clock.advance(hours=2)
    assert after.follow() == ["one"]
    assert after.scheduler.suspension("one") is SuspensionReason.FAILURES
    (own,) = (each for each in read_all(tmp_path) if each.kind == "own")
    assert own.document is not None
    assert (own.document.reason, own.document.requested_by) == ("ZeroDivisionError", "scheduler")
    lift(tmp_path, own)
    assert after.follow() == []


def test_failures_that_cannot_be_written_are_held_in_memory_and_told_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    directory = tmp_path / SUSPENSIONS
    directory.parent.parent.mkdir(parents=True)
    directory.parent.symlink_to(tmp_path / "nowhere")
    desk.scheduler.suspend("one", SuspensionReason.FAILURES)
    assert [desk.follow(), desk.follow()] == [["one"], ["one"]]
    assert desk.events == ["schedule.own_unwritten"]
    directory.parent.unlink()
    assert desk.follow() == ["one"]
    assert [each.file_name for each in read_all(tmp_path)] == ["own.one.json"]


def test_a_directory_that_vanishes_resumes_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    place(tmp_path, suspension("schedule", "one"))
    assert desk.follow() == ["one"]
    (tmp_path / SUSPENSIONS).rename(tmp_path / "elsewhere")
    assert desk.follow() == ["one"]
    place(tmp_path, suspension("schedule", "two"))
    assert desk.follow() == ["one", "two"]
    own = tmp_path / SUSPENSIONS / "own.one.json"
    lift(tmp_path, next(each for each in read_all(tmp_path) if each.kind == "own"))
    assert not own.exists()
    assert desk.follow() == ["two"]


def test_a_file_under_another_spelling_of_the_name_is_lifted_too(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert place(tmp_path, suspension("schedule", "one")) is None
    directory = tmp_path / SUSPENSIONS
    (directory / "schedule.one.json").rename(directory / "schedule.%6Fne.json")
    assert desk.follow() == ["one"]
    (found,) = read_all(tmp_path)
    lift(tmp_path, found)
    assert desk.follow() == []


def test_a_tag_that_is_a_star_is_a_tag_like_others(tmp_path: Path) -> None:
    place(tmp_path, suspension("tag", "*"))
    assert Desk(tmp_path).follow() == []


def test_more_names_than_anybody_suspends_hold_every_schedule(tmp_path: Path) -> None:
    directory = tmp_path / SUSPENSIONS
    directory.mkdir(parents=True)
    for number in range(1_001):
        (directory / f"schedule.none-{number}.json").touch()
    assert Desk(tmp_path).follow() == ["one", "two"]


def test_what_is_lifted_while_another_is_placed_does_not_count_as_standing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = suspension("own", "one", cause=SuspensionReason.FAILURES)
    place(tmp_path, wanted)
    write = files.exclusive_write

    def lifted_in_between(path: Path, content: bytes) -> bool:
        monkeypatch.undo()
        written = write(path, content)
        path.unlink()
        return written

    monkeypatch.setattr(files, "exclusive_write", lifted_in_between)
    assert place(tmp_path, wanted) is None
    assert [each.file_name for each in read_all(tmp_path)] == ["own.one.json"]


def test_failures_count_also_where_a_request_came_before_them(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    place(tmp_path, suspension("schedule", "one", until=NOW + HOUR))
    assert desk.follow() == ["one"]
    desk.scheduler.suspend("one", SuspensionReason.FAILURES)
    assert desk.follow() == ["one"]
    desk.clock.advance(hours=2)
    assert desk.follow() == ["one"]
    assert [each.kind for each in read_all(tmp_path)] == ["own", "schedule"]


def test_a_document_reads_as_it_was_written() -> None:
    document = suspension(until=NOW + HOUR).document
    assert msgspec.json.decode(msgspec.json.encode(document), type=SuspensionDocument) == document
