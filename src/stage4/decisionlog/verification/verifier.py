"""
Verifies a log, also while it is being written.

Every line is judged, in blocks: what is plainly sound in bulk and, for a large log, by worker processes; the rest one
by one. The findings do not depend on who judged a line.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from stage4.clock import Clock
from stage4.decisionlog.verification.verdict import Verdict
from stage4.security.keyring import KeyRing

if TYPE_CHECKING:
    from stage4.decisionlog.blocks import Block
    from stage4.decisionlog.filter import Filter
    from stage4.decisionlog.verification.input import Input
    from stage4.decisionlog.verification.run import Judge, Stretch
    from stage4.decisionlog.verification.trail import Trail
    from stage4.decisionlog.verification.v2 import V2Judge
    from stage4.decisionlog.verification.walk import Task, Walk

Progress = Callable[[int, int | None], None]
_STEP_NS = 100_000_000
# Blocks that this process judges by itself before it starts others.
_ALONE = 3


def verify(
    path: Path | None,
    keyring: KeyRing | None,
    clock: Clock,
    *,
    workers: int = 1,
    trail: Trail | None = None,
    v2: V2Judge | None = None,
    wanted: Filter | None = None,
    partial: bool = False,
    progress: Progress | None = None,
    lock_timeout: float = 2.0,
) -> Verdict:
    """Judge every line of the log at `path` (None: standard input) with the keys of `keyring`.

    Without a ring only the chain can be judged. `trail` knows the checkpoints kept elsewhere; `v2` judges entries of
    version 2. `wanted` says which entries to count, and `partial` allows that entries are missing before the
    first one. `progress` is told the bytes done and their total,
    where that is known, at most ten times a second. More than one of `workers` forks, so only a process without
    threads may ask for it.

    Memory does not grow with the log. Raises UsageError and Unavailable as `open_input` and its blocks do, and
    Unavailable `log.worker_lost`.
    """
    from stage4.decisionlog.verification.input import open_input
    from stage4.decisionlog.verification.trail import Trail
    from stage4.decisionlog.verification.walk import Task

    task = Task(trail or Trail(), v2, wanted, partial)
    ring = None if keyring is None else keyring.path
    with open_input(path, clock, lock_timeout=lock_timeout, keyring=ring) as source:
        return verify_input(source, keyring, clock, task, workers=workers, progress=progress)


def verify_input(
    source: Input,
    keyring: KeyRing | None,
    clock: Clock,
    task: Task,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> Verdict:
    """Judge every line of an open input; raises as `verify` does."""
    from stage4.decisionlog.verification.examine import Examiner
    from stage4.decisionlog.verification.run import BulkJudge, one_by_one
    from stage4.decisionlog.verification.walk import Walk

    examiner = Examiner(keyring)
    judge: Judge = one_by_one
    if keyring is None:
        workers = 1
    else:
        judge = BulkJudge(examiner, frozenset(size - 1 for size in task.trail.sizes()), task.wanted)
    walk = Walk(examiner, judge, source.parts, task)
    with contextlib.ExitStack() as held:
        for block, stretches in _watched(_judged(source, walk, judge, workers, held), source, clock, progress):
            walk.take(block, stretches)
    return walk.finish(source.fragment, source.problems)


def _judged(
    source: Input, walk: Walk, judge: Judge, workers: int, held: contextlib.ExitStack
) -> Iterator[tuple[Block, Sequence[Stretch] | None]]:
    """Every block, with its stretches where a worker judged it."""
    from stage4.decisionlog.verification.parallel import Workers

    blocks = source.blocks()
    for number, block in enumerate(blocks):
        if workers > 1 and number >= _ALONE and walk.is_under_way:
            yield from held.enter_context(Workers(judge, workers, block)).judged(chain((block,), blocks))
            return
        yield block, None


def _watched(
    judged: Iterator[tuple[Block, Sequence[Stretch] | None]], source: Input, clock: Clock, progress: Progress | None
) -> Iterator[tuple[Block, Sequence[Stretch] | None]]:
    """The same blocks, while `progress` hears of those that are done."""
    if progress is None:
        yield from judged
        return
    done, total, told = 0, source.size, clock.monotonic_ns()
    for block, stretches in judged:
        yield block, stretches
        done += block.size
        if clock.monotonic_ns() - told >= _STEP_NS:
            told = clock.monotonic_ns()
            progress(done, total)
