"""A log that was about to go on after lines of version 2 and was torn there: nothing is lost, nothing begins twice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from stage4.decisionlog import repair
from stage4.decisionlog.writer import DecisionLog
from stage4.errors import ExitCode, Unavailable
from support import v2_logs
from support.decision_logs import LogRoom, draft

V2_LINES = v2_logs.lines(3)
OLD = b"".join(line + b"\n" for line in V2_LINES)
TORN_V2 = V2_LINES[1][: len(V2_LINES[1]) // 2]
TRACES = [
    "runtime.jsonl.checkpoint",
    "runtime.jsonl.checkpoint-places.json",
    "runtime.jsonl.torn",
    "runtime.jsonl.flush_failed",
    "runtime.manifest.jsonl",
    "runtime-0000000000.jsonl.gz",
]


@pytest.fixture
def room(tmp_path: Path) -> LogRoom:
    return LogRoom.create(tmp_path)


def refusal(log: DecisionLog) -> str:
    with pytest.raises(Unavailable) as refused:
        log.append(draft(9))
    return refused.value.code


def genesis_after_old_lines(room: LogRoom) -> bytes:
    """The line that begins the log after the old ones; the log is put back to those."""
    room.path.write_bytes(OLD)
    room.log().append(draft())
    genesis = room.lines()[len(V2_LINES)]
    room.path.write_bytes(OLD)
    return genesis


@pytest.mark.parametrize("cut", ["1", "half", "all but one", "all", "old line", "zeros"])
def test_a_beginning_after_old_lines_that_was_torn_is_begun_again(room: LogRoom, cut: str) -> None:
    genesis = genesis_after_old_lines(room)
    fragment = {
        "1": genesis[:1],
        "half": genesis[: len(genesis) // 2],
        "all but one": genesis[:-1],
        "all": genesis,
        "old line": TORN_V2,
        "zeros": bytes(5000),
    }[cut]
    room.path.write_bytes(OLD + fragment)
    assert room.log().append(draft()).seq == 2
    entries = [json.loads(line) for line in room.lines()[len(V2_LINES) :]]
    assert [entry["kind"] for entry in entries] == ["genesis", "recovery", "incident_note"]
    assert entries[0]["metadata"]["sealed_prefix"]["lines"] == len(V2_LINES)
    assert entries[1]["metadata"] == {
        "fragment_bytes": len(fragment),
        "fragment_sha256": hashlib.sha256(fragment).hexdigest(),
        "kept_at": 0,
        "kept_in": "runtime.jsonl.torn_before",
    }
    assert room.path.with_name("runtime.jsonl.torn_before").read_bytes() == fragment + b"\n"
    assert room.path.read_bytes().startswith(OLD)
    assert room.verify().exit_code is ExitCode.DONE


@pytest.mark.parametrize("written", [0, 1, 400, 800, 1200])
def test_a_beginning_that_is_torn_once_more_is_begun_again(
    room: LogRoom, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    genesis = genesis_after_old_lines(room)
    room.path.write_bytes(OLD + genesis[:500])

    def killed(log: Path, offset: int, content: bytes) -> None:
        with log.open("r+b") as file:
            file.seek(offset)
            file.write(content[:written])
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(repair, "overwrite", killed)
        with pytest.raises(KeyboardInterrupt):
            room.log().append(draft())
    room.log().append(draft())
    assert room.path.with_name("runtime.jsonl.torn_before").read_bytes().startswith(genesis[:500] + b"\n")
    assert room.path.read_bytes().startswith(OLD)
    assert room.verify().exit_code is ExitCode.DONE


@pytest.mark.parametrize("trace", TRACES)
def test_a_torn_end_of_old_lines_begins_no_log_where_one_was(room: LogRoom, trace: str) -> None:
    room.path.write_bytes(OLD + TORN_V2)
    room.path.with_name(trace).write_bytes(b"")
    assert refusal(room.log()) == "log.began_before"
    assert room.path.read_bytes() == OLD + TORN_V2


@pytest.mark.parametrize("cut", [-1, -40, -200])
def test_a_torn_entry_after_old_lines_that_is_no_beginning_is_not_begun_over(room: LogRoom, cut: int) -> None:
    genesis_after_old_lines(room)
    room.log().append_many([draft(1), draft(2)])
    content = OLD + room.lines()[-1][:cut]
    room.path.write_bytes(content)
    assert refusal(room.log()) == "log.head_misplaced"
    assert room.path.read_bytes() == content


def test_a_living_writer_begins_no_second_time_over_a_torn_end(room: LogRoom) -> None:
    room.path.write_bytes(OLD)
    log = room.log()
    log.append(draft())
    room.path.write_bytes(OLD + TORN_V2)
    assert refusal(log) == "log.went_back"


@pytest.mark.parametrize("content", [TORN_V2, b"{", b'{"a":1}\n{', b"\n{"])
def test_a_file_without_a_whole_old_line_is_not_begun(room: LogRoom, content: bytes) -> None:
    room.path.write_bytes(content)
    assert refusal(room.log()) in {"log.head_broken", "log.not_a_log"}
    assert room.path.read_bytes() == content
