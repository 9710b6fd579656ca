"""Several writers, SIGKILL at any instant, a disk that is full: nothing acknowledged is lost, one chain remains."""

from __future__ import annotations

import contextlib
import fcntl
import json
import multiprocessing
import multiprocessing.connection
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from stage4.clock import SystemClock
from stage4.decisionlog import archive, archives
from stage4.decisionlog.chain import leaf_digest
from stage4.decisionlog.decompression import archive_blocks
from stage4.errors import ExitCode
from support.decision_logs import LogRoom, draft
from support.log_appender import append_and_archive
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


class Crowd:
    """Four processes that append and archive; whoever is killed is replaced."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.receipts: dict[int, str] = {}
        self._folder = folder
        self._chance = chance
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["support.log_appender"])
        self._writers: dict[Connection, BaseProcess] = {}
        for _ in range(4):
            self._start()

    def hear(self, count: int) -> None:
        """Wait for so many receipts."""
        while count > 0:
            for said in multiprocessing.connection.wait(list(self._writers), timeout=30):
                self._note(said.recv_bytes())  # type: ignore[union-attr]
                count -= 1

    def kill_one(self) -> None:
        """At whatever it is doing."""
        self._kill(self._chance.choice(list(self._writers)))
        self._start()

    def kill_all(self) -> None:
        for said in list(self._writers):
            self._kill(said)

    def _start(self) -> None:
        said, speaks = self._context.Pipe(duplex=False)
        arguments = (self._folder, self._chance.randrange(1 << 30), speaks)
        writer = self._context.Process(target=append_and_archive, args=arguments)
        writer.start()
        speaks.close()
        self._writers[said] = writer

    def _kill(self, said: Connection) -> None:
        writer = self._writers.pop(said)
        writer.kill()
        writer.join()
        assert writer.exitcode == -signal.SIGKILL
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._note(said.recv_bytes())
        said.close()
        writer.close()

    def _note(self, receipt: bytes) -> None:
        seq, digest = receipt.decode("ascii").split()
        assert int(seq) not in self.receipts
        self.receipts[int(seq)] = digest


@pytest.mark.timeout(0 if SOAK else 120)
def test_random_kills_lose_nothing_that_was_acknowledged(room: LogRoom) -> None:
    chance = random.Random(20261123)
    crowd = Crowd(room.path.parent, chance)
    torn: list[bytes] = []
    try:
        for number in range(kills(50)):
            crowd.hear(chance.randint(1, 40))
            crowd.kill_one()
            if chance.random() < 0.3:
                torn.append(b'{"torn":"%d"' % number + bytes(chance.randint(0, 5000)))
                tear(room.path, torn[-1])
    finally:
        crowd.kill_all()
    room.log().append(draft())
    archive.rotate(room.log())
    assert archive.unfinished(room.path) == ()
    verdict = room.verify()
    assert verdict.exit_code is ExitCode.DONE, verdict.findings
    lines = all_lines(room.path)
    facts = [json.loads(line) for line in lines]
    assert [entry["seq"] for entry in facts] == list(range(len(lines)))
    assert crowd.receipts.items() <= {seq: leaf_digest(line) for seq, line in enumerate(lines)}.items()
    kept = room.path.with_name("runtime.jsonl.torn").read_bytes()
    assert all(fragment in kept for fragment in torn)
    kinds = Counter(entry["kind"] for entry in facts)
    assert kinds["segment"] == len(archives.segments(room.path)) > 1
    assert 1 <= kinds["recovery"] <= len(torn) + kills(50)


def tear(path: Path, fragment: bytes) -> None:
    """What a kill inside a write leaves behind, which a fast disk seldom lets happen by itself."""
    while True:
        with path.open("ab") as target:
            fcntl.flock(target, fcntl.LOCK_EX)
            if path.stat().st_ino == os.fstat(target.fileno()).st_ino:
                target.write(fragment)
                return


def all_lines(path: Path) -> list[bytes]:
    """The lines of the archives and of the live log, without LF."""
    lines = []
    for segment in archives.segments(path):
        for block in archive_blocks(segment.copies[0]):
            lines += block.lines()
    return [*lines, *path.read_bytes().split(b"\n")[:-1]]


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
