"""The log between threads and processes: turns, holding, forks; what vanished or was not confirmed."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stage4.clock import SystemClock
from stage4.errors import ExitCode, Unavailable, UsageError
from stage4.testing.clock import ManualClock
from support import v2_logs
from support.decision_logs import LogRoom, draft

TESTS_ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}


@pytest.fixture
def room(tmp_path: Path) -> LogRoom:
    return LogRoom.create(tmp_path)


def test_threads_share_one_log(tmp_path: Path) -> None:
    room = LogRoom.create(tmp_path, clock=SystemClock())
    log = room.log(lock_timeout=30)
    log.append(draft())
    threads = [threading.Thread(target=lambda: [log.append(draft(n)) for n in range(25)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    verdict = room.verify()
    assert (verdict.exit_code, verdict.entries) == (ExitCode.DONE, 102)


def test_threads_that_wait_are_taken_along_by_the_one_that_appends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = LogRoom.create(tmp_path, 1, clock=SystemClock())
    log, flushes, flushing, waiting = room.log(lock_timeout=30), [], threading.Event(), threading.Event()

    def slow(_descriptor: int) -> None:
        flushes.append(1)
        flushing.set()
        assert waiting.wait(30)

    monkeypatch.setattr(os, "fdatasync", slow)
    refused: list[str] = []

    def refuse() -> None:
        with pytest.raises(UsageError) as caught:
            log.append_many([draft(8), draft(9, metadata={"a": "x" * 65_200})])
        refused.append(caught.value.code)

    first = threading.Thread(target=lambda: log.append(draft(1)))
    first.start()
    assert flushing.wait(30)
    others = [threading.Thread(target=lambda n=n: log.append_many([draft(n), draft(n)])) for n in range(2, 7)]
    others.append(threading.Thread(target=refuse))
    for thread in others:
        thread.start()
    while len(log._turns._waiting) < len(others):
        threading.Event().wait(0.001)
    waiting.set()
    for thread in (first, *others):
        thread.join()
    assert (len(flushes), refused) == (2, ["log.draft_refused"])
    numbers = [json.loads(line)["metadata"].get("number") for line in room.lines()[3:]]
    assert numbers == [n for n in range(2, 7) for _ in range(2)]
    assert room.verify().exit_code is ExitCode.DONE


def test_a_thread_that_waits_too_long_gives_up_and_nothing_is_written_for_it(tmp_path: Path) -> None:
    room = LogRoom.create(tmp_path, 1, clock=SystemClock())
    log = room.log(lock_timeout=0.05)
    with log.held():
        caught: list[str] = []

        def late() -> None:
            with pytest.raises(Unavailable) as error:
                log.append(draft(2))
            caught.append(error.value.code)

        thread = threading.Thread(target=late)
        thread.start()
        thread.join()
    assert caught == ["log.busy"]
    assert log.append(draft(3)).seq == 2


def test_a_log_that_is_held_is_appended_to_by_its_holder_only(room: LogRoom) -> None:
    log, other = room.log(), room.log()
    log.append(draft(1))
    with log.held() as held:
        assert (held.head.seq, held.size, held.lines) == (1, room.path.stat().st_size, 2)
        receipt = held.append(draft(2))
        following = held.sealed(draft(3))
        assert (held.head.seq, held.head.digest, held.size) == (2, receipt.digest, room.path.stat().st_size)
        assert (following.seq, json.loads(following.raw)["prev"]) == (3, receipt.digest)
        with pytest.raises(Unavailable, match=r"log\.busy"):
            other.append(draft(4))
    assert other.append(draft(4)).seq == 3
    assert log.append(draft(5)).seq == 4
    assert room.verify().exit_code is ExitCode.DONE


def test_a_log_that_was_replaced_while_its_writer_waited_for_the_lock_is_opened_anew(room: LogRoom) -> None:
    room.log().append(draft(1))

    class Clock(ManualClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if not replaced.exists():
                replaced.write_bytes(room.path.read_bytes())
                (room.path.with_name("new")).write_bytes(room.path.read_bytes())
                room.path.with_name("new").rename(room.path)
                fcntl.flock(holder, fcntl.LOCK_UN)

    replaced = room.path.with_name("old")
    with room.path.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        waiting = LogRoom(room.path, room.ring, Clock()).log()
        assert waiting.append(draft(2)).seq == 2
        assert len(holder.read().splitlines()) == 2
    assert len(room.lines()) == 3


def test_a_child_process_appends_to_the_log_that_its_parent_has_open(tmp_path: Path) -> None:
    room = LogRoom.create(tmp_path, 1, clock=SystemClock())
    program = """
import os, sys
from pathlib import Path
from support import log_appender
log = log_appender.opened(Path(sys.argv[1]))
log.append(log_appender.draft(1))
with log.held():
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
children = []
for _ in range(3):
    child = os.fork()
    if not child:
        for n in range(40):
            log.append(log_appender.draft(n))
        os._exit(0)
    children.append(child)
for n in range(40):
    log.append(log_appender.draft(n))
sys.exit(sum(os.waitpid(child, 0)[1] for child in children))
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], env=TESTS_ENV, timeout=60, check=True)
    verdict = room.verify()
    assert (verdict.exit_code, verdict.entries) == (ExitCode.DONE, 163)


@pytest.mark.parametrize("trace", ["runtime.jsonl.checkpoint", "runtime.manifest.jsonl", "runtime-0000000000.jsonl.gz"])
def test_a_log_that_vanished_is_not_begun_anew(room: LogRoom, trace: str) -> None:
    room.log().append(draft())
    room.path.with_name(trace).write_bytes(b"")
    room.path.rename(room.path.with_name("elsewhere"))
    with pytest.raises(Unavailable, match=r"log\.vanished"):
        room.log().append(draft())
    assert not room.path.exists()
    room.path.with_name("elsewhere").rename(room.path)
    assert room.log().append(draft()).seq == 2


def failing(_descriptor: int) -> None:
    raise OSError(errno.EIO, "Input/output error")


def test_what_the_disk_did_not_confirm_is_not_acknowledged_and_the_next_writer_says_so(
    room: LogRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = room.log()
    log.append(draft(1))
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", failing)
        with pytest.raises(Unavailable, match=r"log\.flush_failed"):
            log.append_many([draft(2), draft(3)])
    for attempt in (lambda: log.append(draft(4)), lambda: log.held().__enter__()):
        with pytest.raises(Unavailable, match=r"log\.flush_failed"):
            attempt()
    other = room.log()
    assert other.append(draft(5)).seq == 5
    unconfirmed = json.loads(room.lines()[4])
    assert (unconfirmed["kind"], unconfirmed["metadata"]) == ("flush_failed", {"unconfirmed": [[2, 3]]})
    assert other.append(draft(6)).seq == 6
    assert room.log().append(draft(7)).seq == 7
    assert not room.path.with_name("runtime.jsonl.flush_failed").exists()
    assert room.verify().exit_code is ExitCode.DONE


def test_a_marker_that_is_torn_or_cannot_be_confirmed_either_is_not_lost(
    room: LogRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.log().append(draft(1))
    marker = room.path.with_name("runtime.jsonl.flush_failed")
    marker.write_bytes(b"1 1\n7 \n")
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", failing)
        with pytest.raises(Unavailable, match=r"log\.flush_failed"):
            room.log().append(draft(2))
    assert marker.read_bytes() == b"1 1\n7 \n2 2\n"
    room.log().append(draft(3))
    assert json.loads(room.lines()[-2])["metadata"] == {"unconfirmed": [[1, 1], [2, 2]]}
    assert not marker.exists()


@pytest.mark.parametrize("name", ["runtime.jsonl.flush_failed", "runtime.jsonl.torn"])
@pytest.mark.parametrize("kind", ["pipe", "directory", "link"])
def test_what_is_no_file_beside_the_log_is_named_and_holds_nobody_up(room: LogRoom, name: str, kind: str) -> None:
    room.log().append(draft(1))
    torn = room.path.read_bytes() + b"torn"
    room.path.write_bytes(torn)
    beside = room.path.with_name(name)
    match kind:
        case "pipe":
            os.mkfifo(beside)
        case "directory":
            beside.mkdir()
        case "link":
            beside.symlink_to(room.path.with_name("elsewhere"))
    with pytest.raises(Unavailable, match=r"log\.beside_not_a_file"):
        room.log().append(draft(2))
    assert room.path.read_bytes().startswith(torn[:-4])
    assert not room.path.with_name("elsewhere").exists()
    beside.rmdir() if kind == "directory" else beside.unlink()
    room.log().append(draft(2))
    assert room.verify().exit_code is ExitCode.DONE


def test_a_marker_that_is_no_file_does_not_hide_that_the_disk_confirmed_nothing(
    room: LogRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = room.log()
    log.append(draft(1))
    os.mkfifo(room.path.with_name("runtime.jsonl.flush_failed"))
    monkeypatch.setattr(os, "fdatasync", failing)
    with pytest.raises(Unavailable, match=r"log\.flush_failed"):
        log.append(draft(2))


def test_a_marker_with_numbers_that_no_entry_has_keeps_nobody_from_appending(room: LogRoom) -> None:
    room.log().append(draft(1))
    room.path.with_name("runtime.jsonl.flush_failed").write_bytes(
        b"9007199254740991 9007199254740991\n1 9007199254740992\n9999999999999999 1\n2 1\n"
    )
    room.log().append(draft(2))
    top = 9_007_199_254_740_991
    assert json.loads(room.lines()[-2])["metadata"] == {"unconfirmed": [[top, top]]}


def test_a_genesis_entry_after_old_lines_that_the_disk_did_not_confirm_is_not_built_upon(
    room: LogRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    v2_logs.put(room.path, v2_logs.lines(2))
    log = room.log()
    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", failing)
        with pytest.raises(Unavailable, match=r"log\.flush_failed"):
            log.append(draft(1))
    with pytest.raises(Unavailable, match=r"log\.flush_failed"):
        log.append(draft(2))
    assert len(room.lines()) == 3
    assert room.log().append(draft(3)).seq == 1
    assert room.verify().exit_code is ExitCode.DONE
