"""
Judges blocks in worker processes, forked from this one, and gives the answers back in the order of the blocks.

A worker that has inherited a block's file reads it itself; the bytes of other blocks pass through shared memory, so
that a message is never longer than a pipe takes at once and nobody waits for each other in a circle. Workers end with
their pipe: neither Ctrl-C nor the death of this process leaves one behind.

Only for commands: a process with threads must not fork.
"""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import pickle
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO

from stage4.decisionlog.blocks import BLOCK, Block, Span
from stage4.decisionlog.verification.run import Judge, Stretch
from stage4.errors import Unavailable

# Blocks given to one worker before its first answer is taken.
_AHEAD = 3
# A block may end with a line that begins before its limit.
_SLOT = BLOCK + (1 << 17)


@dataclass(frozen=True, slots=True)
class _Slot:
    """The first `length` bytes of a part of the shared memory."""

    number: int
    length: int


@dataclass(frozen=True, slots=True)
class _Worker:
    pid: int
    tasks: BinaryIO
    answers: BinaryIO

    def close(self) -> None:
        """Close this process's ends of the pipes."""
        # What a worker that is gone did not take cannot be flushed.
        with contextlib.suppress(OSError):
            self.tasks.close()
        self.answers.close()


class Workers:
    """`count` processes that judge blocks by `judge`; `inherited` is a block of the file that they may read."""

    def __init__(self, judge: Judge, count: int, inherited: Block) -> None:
        content = inherited.content
        self._inherited = (content.path, content.descriptor) if isinstance(content, Span) else None
        self._memory = mmap.mmap(-1, count * _AHEAD * _SLOT)
        self._judge = judge
        self._workers: list[_Worker] = []
        try:
            for _ in range(count):
                self._workers.append(self._start())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def judged(self, blocks: Iterable[Block]) -> Iterator[tuple[Block, list[Stretch] | None]]:
        """Every block with its stretches, in order; None for a block that the caller has to judge."""
        under_way: deque[tuple[Block, _Worker | None]] = deque()
        for number, block in enumerate(blocks):
            if len(under_way) == len(self._workers) * _AHEAD:
                yield self._answer(*under_way.popleft())
            worker = self._workers[number % len(self._workers)]
            given = self._give(worker, block, number % (len(self._workers) * _AHEAD))
            under_way.append((block, worker if given else None))
        while under_way:
            yield self._answer(*under_way.popleft())

    def close(self) -> None:
        """End every worker, whatever it is doing, and wait until it is gone."""
        for worker in self._workers:
            worker.close()
            os.kill(worker.pid, signal.SIGKILL)
        for worker in self._workers:
            os.waitpid(worker.pid, 0)
        self._workers.clear()
        self._memory.close()

    def _give(self, worker: _Worker, block: Block, slot: int) -> bool:
        """Send a block to a worker; False where it fits no slot."""
        content = block.content
        task: Span | _Slot
        if isinstance(content, Span) and (content.path, content.descriptor) == self._inherited:
            task = content
        else:
            if block.rest or block.size > _SLOT:
                return False
            held = block.read()
            self._memory[slot * _SLOT : slot * _SLOT + len(held)] = held
            task = _Slot(slot, len(held))
        try:
            pickle.dump(task, worker.tasks)
            worker.tasks.flush()
        except BrokenPipeError:
            raise self._lost(worker) from None
        return True

    def _answer(self, block: Block, worker: _Worker | None) -> tuple[Block, list[Stretch] | None]:
        if worker is None:
            return block, None
        try:
            answer: list[Stretch] | Unavailable = pickle.load(worker.answers)
        except (EOFError, pickle.UnpicklingError):
            raise self._lost(worker) from None
        if isinstance(answer, Unavailable):
            raise answer
        return block, answer

    def _lost(self, worker: _Worker) -> Unavailable:
        _, status = os.waitpid(worker.pid, 0)
        self._workers.remove(worker)
        worker.close()
        ended = os.waitstatus_to_exitcode(status)
        reason = f"exit {ended}" if ended >= 0 else signal.Signals(-ended).name
        return Unavailable("log.worker_lost", reason=reason)

    def _start(self) -> _Worker:
        task_end, tasks = os.pipe()
        answers, answer_end = os.pipe()
        # Until the child ignores it, Ctrl-C is held back; it is for this process to act on.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            pid = os.fork()
            if pid == 0:
                self._work(task_end, answer_end, (tasks, answers), before)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(task_end)
        os.close(answer_end)
        return _Worker(pid, os.fdopen(tasks, "wb"), os.fdopen(answers, "rb"))

    def _work(self, tasks: int, answers: int, others: Iterable[int], mask: Iterable[int]) -> None:
        """The whole life of a worker; never returns."""
        status = 70
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, set(mask))
            # An end of a pipe that stays open here would hide the end of another worker.
            for end in others:
                os.close(end)
            for worker in self._workers:
                os.close(worker.tasks.fileno())
                os.close(worker.answers.fileno())
            # Nothing here makes cycles, and a collection would copy every page that it looks at.
            gc.disable()
            self._serve(os.fdopen(tasks, "rb"), os.fdopen(answers, "wb"))
            status = 0
        finally:
            os._exit(status)

    def _serve(self, tasks: BinaryIO, answers: BinaryIO) -> None:
        with contextlib.suppress(EOFError, BrokenPipeError):
            while True:
                task: Span | _Slot = pickle.load(tasks)
                try:
                    answer: list[Stretch] | Unavailable = self._judge(self._lines(task))
                except Unavailable as error:
                    answer = error
                pickle.dump(answer, answers)
                answers.flush()

    def _lines(self, task: Span | _Slot) -> list[bytes]:
        if isinstance(task, Span):
            content = task.read()
        else:
            begin = task.number * _SLOT
            content = self._memory[begin : begin + task.length]
        lines = content.split(b"\n")
        lines.pop()
        return lines
