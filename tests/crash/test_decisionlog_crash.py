"""Several writers, SIGKILL at any instant, a disk that is full: nothing acknowledged is lost, one chain remains."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stage4.clock import SystemClock
from stage4.decisionlog.chain import leaf_digest
from stage4.errors import ExitCode
from support.decision_logs import LogRoom, draft
from support.soak import SOAK, kills

TESTS = Path(__file__).parents[1]
APPENDER = TESTS / "support" / "log_appender.py"


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts an appender; whatever still runs after the test is ended."""
    started: list[subprocess.Popen[str]] = []

    def appender(room: LogRoom, count: int, file_limit: int = 0) -> subprocess.Popen[str]:
        writer = subprocess.Popen(
            [sys.executable, str(APPENDER), str(room.path.parent), str(count), str(file_limit)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )
        started.append(writer)
        return writer

    yield appender
    for writer in started:
        writer.kill()
        writer.wait()
        if writer.stdout is not None:
            writer.stdout.close()


@pytest.fixture
def room(tmp_path: Path) -> LogRoom:
    return LogRoom.create(tmp_path, 1, clock=SystemClock())


def acknowledged(said: str) -> dict[int, str]:
    """Entry number and digest of each whole line that an appender printed."""
    lines = said.split("\n")[:-1]
    return {int(seq): digest for seq, digest in (line.split() for line in lines if " " in line)}


def written(room: LogRoom) -> dict[int, str]:
    return {json.loads(line)["seq"]: leaf_digest(line) for line in room.lines()}


def test_four_processes_append_to_one_chain(tmp_path: Path, start: Start) -> None:
    room = LogRoom.create(tmp_path, clock=SystemClock())
    writers = [start(room, 60) for _ in range(4)]
    said = [acknowledged(writer.communicate(timeout=60)[0]) for writer in writers]
    assert [len(receipts) for receipts in said] == [60] * 4
    verdict = room.verify()
    assert (verdict.exit_code, verdict.entries) == (ExitCode.DONE, 241)
    assert {seq: digest for receipts in said for seq, digest in receipts.items()}.items() <= written(room).items()


def test_a_log_that_is_being_written_never_raises_a_false_alarm(room: LogRoom, start: Start) -> None:
    writers = [start(room, 150) for _ in range(2)]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        verdict = room.verify()
        assert verdict.exit_code is ExitCode.DONE, verdict.findings
        seen.add(verdict.entries)
    for writer in writers:
        writer.communicate()
    assert len(seen) > 1
    assert room.verify().entries == 302


@pytest.mark.timeout(0 if SOAK else 120)
def test_random_kills_lose_nothing_that_was_acknowledged(room: LogRoom, start: Start) -> None:
    chance = random.Random(20261123)
    receipts: dict[int, str] = {}
    for _ in range(kills(20)):
        writer = start(room, 0)
        assert writer.stdout is not None
        heard = "".join(writer.stdout.readline() for _ in range(chance.randint(1, 12)))
        writer.kill()
        receipts |= acknowledged(heard + writer.communicate()[0])
        if chance.random() < 0.5:
            tear(room, chance)
    room.log().append(draft())
    verdict = room.verify()
    assert verdict.exit_code is ExitCode.DONE, verdict.findings
    assert len(receipts) >= kills(20)
    assert receipts.items() <= written(room).items()
    assert any(json.loads(line)["kind"] == "recovery" for line in room.lines())


def tear(room: LogRoom, chance: random.Random) -> None:
    """What a kill inside a write leaves behind, which a fast disk seldom lets happen by itself."""
    line = room.lines()[-1]
    with room.path.open("ab") as target:
        target.write(line[: chance.randint(1, len(line) - 1)])


@pytest.mark.parametrize("room_for", [3000, 20_000])
def test_a_full_disk_refuses_and_leaves_a_whole_log(room: LogRoom, start: Start, room_for: int) -> None:
    writer = start(room, 0, room.path.stat().st_size + room_for)
    said = writer.communicate(timeout=30)[0]
    assert writer.returncode == ExitCode.CANNOT_TELL
    assert said.endswith("log.append_failed\n")
    assert room.verify().exit_code is ExitCode.DONE
    assert acknowledged(said).items() <= written(room).items()
    assert len(room.lines()) == 2 + len(acknowledged(said))
    assert room.log().append(draft()).seq == len(room.lines()) - 1


def test_a_full_disk_leaves_no_half_begun_log(tmp_path: Path, start: Start) -> None:
    room = LogRoom.create(tmp_path, clock=SystemClock())
    writer = start(room, 1, 100)
    assert writer.communicate(timeout=30)[0] == "log.append_failed\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["secrets"]


def test_a_torn_tail_on_a_full_disk_waits_for_the_next_writer(tmp_path: Path, start: Start) -> None:
    room = LogRoom.create(tmp_path, 20, clock=SystemClock())
    whole = room.path.read_bytes()
    room.path.write_bytes(whole + b'{"artefacts":{"none"')
    writer = start(room, 1, len(whole) + 30)
    assert writer.communicate(timeout=30)[0] == "log.append_failed\n"
    assert room.path.read_bytes().startswith(whole)
    assert room.log().append(draft()).seq == 22
    assert room.verify().exit_code is ExitCode.DONE
