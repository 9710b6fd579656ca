"""Worker processes of the verifier: they answer in order, and none of them outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from stage4.decisionlog.blocks import Block, Span
from stage4.decisionlog.verification.parallel import Workers
from stage4.decisionlog.verification.run import Slow, Stretch
from stage4.decisionlog.verification.verifier import verify
from stage4.errors import ExitCode, Unavailable
from support.decision_logs import LogRoom, draft

# Other threads of the test runner do nothing that a worker would wait for.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
SCRIPT = """
import signal, sys
from stage4.decisionlog.blocks import Block
from stage4.decisionlog.verification.parallel import Workers
def judge(lines):
    sys.stdout.write("judging\\n")
    sys.stdout.flush()
    signal.pause()
blocks = [Block(0, 0, b"line\\n")] * 4
with Workers(judge, 2, blocks[0]) as workers:
    print("begun", flush=True)
    list(workers.judged(blocks)) if sys.argv[1] == "SIGINT" else signal.pause()
"""


def counting(lines: Sequence[bytes]) -> list[Stretch]:
    return [Slow(int(line)) for line in lines]


def dying(_lines: Sequence[bytes]) -> list[Stretch]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def failing(_lines: Sequence[bytes]) -> list[Stretch]:
    raise Unavailable("files.unreadable", path="log", reason="EIO")


def wrong(_lines: Sequence[bytes]) -> list[Stretch]:
    raise ZeroDivisionError


def blocks(count: int, path: Path | None = None) -> Iterator[Block]:
    """`count` blocks of one line, which is the block's number; every second one in the file at `path`."""
    descriptor = None if path is None else os.open(path, os.O_RDWR | os.O_CREAT)
    for number in range(count):
        content = b"%08d\n" % number
        if path is None or descriptor is None or number % 2:
            yield Block(0, 9 * number, content)
        else:
            os.pwrite(descriptor, content, 9 * number)
            yield Block(0, 9 * number, Span(path, descriptor, 9 * number, 9))


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_answers_come_in_the_order_of_the_blocks_whoever_reads_them(tmp_path: Path) -> None:
    before = children()
    given = list(blocks(100, tmp_path / "log"))
    for inherited in given[:2]:
        with Workers(counting, 2, inherited) as workers:
            assert len(children() - before) == 2
            answers = list(workers.judged(given))
        assert [stretches for _, stretches in answers] == [[Slow(number)] for number in range(100)]
        assert [block for block, _ in answers] == given
        assert children() == before


def test_a_block_that_is_too_long_to_pass_on_is_left_to_the_caller() -> None:
    given = [Block(0, 0, b"7\n"), Block(0, 2, b"x" * 70_000, 10), Block(0, 70_013, b"1" * (2 << 20) + b"\n")]
    with Workers(counting, 2, given[0]) as workers:
        assert [stretches for _, stretches in workers.judged(given)] == [[Slow(7)], None, None]


def test_answers_that_fill_a_pipe_stop_nobody() -> None:
    given = [Block(0, 0, b"1\n" * 20_000)] * 12
    with Workers(counting, 2, given[0]) as workers:
        assert [len(stretches or ()) for _, stretches in workers.judged(given)] == [20_000] * 12


@pytest.mark.parametrize(
    ("judge", "code", "reason"),
    [
        (dying, "log.worker_lost", "SIGKILL"),
        (wrong, "log.worker_lost", "exit 70"),
        (failing, "files.unreadable", "EIO"),
    ],
)
def test_a_worker_that_ends_early_is_said_and_the_others_are_ended(judge: object, code: str, reason: str) -> None:
    before = children()
    given = list(blocks(20))
    with pytest.raises(Unavailable) as caught, Workers(judge, 2, given[0]) as workers:  # type: ignore[arg-type]
        list(workers.judged(given))
    assert (caught.value.code, caught.value.params["reason"]) == (code, reason)
    assert children() == before


@pytest.mark.parametrize(
    ("ended_by", "before"), [(signal.SIGINT, ["begun", "judging", "judging"]), (signal.SIGKILL, ["begun"])]
)
def test_neither_ctrl_c_nor_the_death_of_the_verifier_leaves_a_worker_behind(
    ended_by: signal.Signals, before: list[str]
) -> None:
    command = [sys.executable, "-c", SCRIPT, ended_by.name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert sorted(process.stdout.readline().strip() for _ in before) == before
        process.send_signal(ended_by)
        # The pipe ends only when every process that holds it has ended.
        assert process.stdout.read() == ""
        assert process.wait() == -ended_by


def test_a_large_log_is_verified_by_workers_and_told_about(tmp_path: Path) -> None:
    room = LogRoom.create(tmp_path, 1)
    for _ in range(4):
        room.log().append_many([draft(number, tags=("x" * 2000,)) for number in range(600)])
    told: list[tuple[int, int | None]] = []
    alone = verify(room.path, room.ring, room.clock)
    together = verify(room.path, room.ring, room.clock, workers=2, progress=lambda *done: told.append(done))
    assert together == alone
    assert (alone.exit_code, alone.entries) == (ExitCode.DONE, 2402)
    size = room.path.stat().st_size
    assert all(done <= size == total for done, total in told)
