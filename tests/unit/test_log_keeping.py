"""What the service does for the log by itself: checkpoints when due, pushed outside, failures said once and retried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stage4.app import log_keeping
from stage4.app.log_keeping import LogKeeper
from stage4.config import load
from stage4.decisionlog.checkpoints import notary
from stage4.errors import ExitCode
from stage4.security.keyring import create_keyring
from stage4.testing.clock import ManualClock
from support.checkpoint_chain import chain_of
from support.decision_logs import LogRoom, draft

CORE = Path(__file__).parents[2] / "config" / "core.yaml"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def room(tmp_path: Path, clock: ManualClock) -> LogRoom:
    """An installation whose log has three entries, and whose checkpoints are due after 10 entries or 15 minutes."""
    (tmp_path / "config").mkdir()
    core = CORE.read_text().replace("every_entries: 1000", "every_entries: 10")
    (tmp_path / "config/core.yaml").write_text(core)
    ring = create_keyring(tmp_path / "secrets/decision_log/keyring.json", clock.now())
    room = LogRoom(tmp_path / "audit/decision_logs/runtime.jsonl", ring, clock)
    room.log().append_many([draft(1), draft(2)])
    return room


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    codes: list[str] = []
    monkeypatch.setattr(log_keeping, "tell", lambda code, _params, **_: codes.append(code))
    return codes


def keeper_of(room: LogRoom, clock: ManualClock) -> LogKeeper:
    return LogKeeper(load(root_of(room)), clock, {})


def root_of(room: LogRoom) -> Path:
    return room.path.parents[2]


def look(keeper: LogKeeper, clock: ManualClock, **span: Any) -> None:
    """Look after `span`, and again once the pushes that this began are done."""
    clock.advance(**span)
    keeper.look()
    keeper._delivery._pool.submit(lambda: None).result()
    keeper.look()


def outside(room: LogRoom) -> list[str]:
    folder = root_of(room) / "var/checkpoints-outside" / room.log_id()
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_what_waits_when_the_service_starts_is_covered_at_once(
    room: LogRoom, clock: ManualClock, told: list[str]
) -> None:
    keeper = keeper_of(room, clock)
    look(keeper, clock)
    assert chain_of(room) == [4]
    assert outside(room) == ["4.checkpoint", "pin"]
    look(keeper, clock, hours=1)
    keeper.close()
    assert chain_of(room) == [4]
    assert told == ["checkpoint.made"]


def test_later_entries_wait_for_their_number_or_their_minutes(
    room: LogRoom, clock: ManualClock, told: list[str]
) -> None:
    keeper = keeper_of(room, clock)
    look(keeper, clock)
    room.log().append(draft())
    look(keeper, clock, minutes=1)
    look(keeper, clock, minutes=14.9)
    assert chain_of(room) == [4]
    look(keeper, clock, minutes=0.2)
    assert chain_of(room) == [4, 6]
    room.log().append_many([draft(each) for each in range(9)])
    look(keeper, clock, seconds=1)
    assert chain_of(room) == [4, 6]
    room.log().append(draft())
    look(keeper, clock, seconds=1)
    keeper.close()
    assert chain_of(room) == [4, 6, 17]
    assert outside(room) == ["17.checkpoint", "4.checkpoint", "6.checkpoint", "pin"]


def test_a_place_that_fails_is_said_once_and_gets_the_note_later(
    room: LogRoom, clock: ManualClock, told: list[str]
) -> None:
    blocked = root_of(room) / "var"
    blocked.write_bytes(b"")
    keeper = keeper_of(room, clock)
    for _ in range(3):
        look(keeper, clock, minutes=1)
    assert told == ["checkpoint.made", "checkpoint.place_failed"]
    blocked.unlink()
    look(keeper, clock, seconds=1)
    assert outside(room) == []
    look(keeper, clock, minutes=1)
    keeper.close()
    assert outside(room) == ["4.checkpoint", "pin"]


def test_a_checkpoint_that_cannot_be_made_is_said_once_and_tried_again(
    room: LogRoom, clock: ManualClock, told: list[str]
) -> None:
    lines = room.lines()
    keeper = keeper_of(room, clock)
    room.put([lines[0], lines[1].replace(b"uwaga", b"Uwaga"), lines[2]])
    for _ in range(3):
        look(keeper, clock, minutes=1)
    assert told == ["checkpoint.log_broken"]
    room.put(lines)
    look(keeper, clock, minutes=1)
    keeper.close()
    assert told == ["checkpoint.log_broken", "checkpoint.made"]


def test_a_log_that_became_shorter_than_its_checkpoint_is_said(
    room: LogRoom, clock: ManualClock, told: list[str]
) -> None:
    keeper = keeper_of(room, clock)
    look(keeper, clock)
    room.put(room.lines()[:2])
    look(keeper, clock, minutes=1)
    keeper.close()
    assert told == ["checkpoint.made", "log.behind_note"]


def test_no_log_is_no_failure(room: LogRoom, clock: ManualClock, told: list[str]) -> None:
    room.path.unlink()
    keeper = keeper_of(room, clock)
    look(keeper, clock)
    keeper.close()
    assert told == []
    assert not room.path.exists()


def test_its_thread_ends_when_the_service_does(
    room: LogRoom, clock: ManualClock, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_keeping, "LOOK_SECONDS", 0.001)
    keeper = keeper_of(room, clock)
    running = keeper.start()
    while notary.newest_note(room.path) is None:
        assert not running.done()
    keeper.close()
    assert running.exception() is None


def test_a_log_above_the_limit_is_archived(room: LogRoom, clock: ManualClock, told: list[str]) -> None:
    core = root_of(room) / "config/core.yaml"
    core.write_text(
        core.read_text().replace("  decision_log:\n    path", "  decision_log:\n    archive_over_mb: 1\n    path")
    )
    keeper = keeper_of(room, clock)
    look(keeper, clock)
    assert "archive.cut" not in told
    room.log().append_many([draft(number, metadata={"text": "x" * 60_000}) for number in range(20)])
    look(keeper, clock)
    keeper.close()
    assert told.count("archive.cut") == 1
    assert room.path.with_name("runtime-0000000000.jsonl.zst").exists()
    assert room.path.stat().st_size < 10_000
    assert room.verify().exit_code is ExitCode.DONE
