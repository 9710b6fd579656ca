"""Strategies that fail, block or lie harm only themselves; killed workers come back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stage4.errors import Unavailable
from stage4.runtime.signal import Evaluation, Snapshot
from stage4.runtime.state import process_started
from stage4.runtime.strategies import StrategySpec
from stage4.runtime.worker import Request
from stage4.runtime.worker_pool import WorkerPool
from support.desks import snapshot, until, walk, window

WILD = (sys.executable, "-P", str(Path(__file__).parents[1] / "support" / "wild_worker.py"))
NEVER_READY = (sys.executable, "-c", "pass")


def shown() -> Snapshot:
    return snapshot(window("alpha", walk(1, 80)), window("beta", walk(2, 80)))


def wild(act: str) -> Request:
    return Request(StrategySpec("wild", {"act": act}), shown())


def with_pool(pool: WorkerPool, story: Callable[[WorkerPool], Awaitable[None]]) -> None:
    async def around() -> None:
        try:
            await story(pool)
        finally:
            await pool.close()

    asyncio.run(around())


def test_a_worker_answers_as_the_strategy_would_inline() -> None:
    spec = StrategySpec("mean_reversion", {"lookback": 30})

    async def story(pool: WorkerPool) -> None:
        assert await pool.evaluate(Request(spec, shown())) == spec.build().evaluate(shown())
        assert pool.restarts == 0

    with_pool(WorkerPool(time_limit_seconds=20), story)


def test_a_killed_worker_costs_at_most_one_evaluation_and_comes_back() -> None:
    async def story(pool: WorkerPool) -> None:
        await pool.start(["watched"])
        first = pool.pid("watched")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        with pytest.raises(Unavailable, match=r"runtime\.worker_died"):
            await pool.evaluate(wild("hold"))
        assert (await pool.evaluate(wild("hold"))).signals[0].reason == "calm"
        assert pool.pid("watched") != first
        assert pool.restarts == 1
        assert process_started(first) == 0

    with_pool(WorkerPool(time_limit_seconds=20, command=WILD), story)


@pytest.mark.parametrize(
    ("act", "code"),
    [
        ("raise", "runtime.worker_died"),
        ("block", "runtime.worker_late"),
        ("spin", "runtime.worker_late"),
        ("not_a_number", "runtime.nonsense"),
        ("impersonate", "runtime.nonsense"),
        ("hide_a_loss", "runtime.nonsense"),
        ("too_sure", "runtime.nonsense"),
        ("exit", "runtime.worker_died"),
    ],
)
def test_a_misbehaving_strategy_fails_its_evaluation_and_the_next_one_works(
    act: str, code: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async def story(pool: WorkerPool) -> None:
        await pool.start(["watched"])
        with pytest.raises(Unavailable, match=code):
            await pool.evaluate(wild(act))
        await until(lambda: pool.pid("watched") is not None)
        assert (await pool.evaluate(wild("hold"))).signals

    with_pool(WorkerPool(time_limit_seconds=1.0, command=WILD), story)


def test_a_blocked_strategy_makes_no_other_schedule_wait() -> None:
    async def story(pool: WorkerPool) -> None:
        await pool.start(["watched", "other"])
        blocked = asyncio.ensure_future(pool.evaluate(wild("block")))
        mine = Request(StrategySpec("wild", {}), snapshot_of("other"))
        answers: list[Evaluation] = []
        while not blocked.done() and len(answers) < 20:
            answers.append(await pool.evaluate(mine))
        assert len(answers) == 20
        assert not blocked.done()
        with pytest.raises(Unavailable, match=r"runtime\.worker_late"):
            await blocked

    with_pool(WorkerPool(time_limit_seconds=3.0, command=WILD), story)


ACTS = ("hold", "raise", "block", "spin", "not_a_number", "impersonate", "hide_a_loss", "too_sure", "exit")


@settings(max_examples=6, deadline=None)
@given(st.lists(st.sampled_from(ACTS), min_size=1, max_size=4))
def test_whatever_one_strategy_does_the_other_answers_as_if_it_were_alone(acts: list[str]) -> None:
    spec = StrategySpec("mean_reversion", {"lookback": 30})
    expected = spec.build().evaluate(snapshot_of("other"))
    during = 0

    async def story(pool: WorkerPool) -> None:
        nonlocal during
        await pool.start(["watched", "other"])
        well_behaved = pool.pid("other")

        async def misbehave() -> None:
            for act in acts:
                if act == "hold":
                    assert (await pool.evaluate(wild(act))).signals[0].reason == "calm"
                else:
                    with pytest.raises(Unavailable):
                        await pool.evaluate(wild(act))
                await until(lambda: pool.pid("watched") is not None)

        wild_one = asyncio.ensure_future(misbehave())
        while not wild_one.done():
            assert await pool.evaluate(Request(spec, snapshot_of("other"))) == expected
            during += 1
        await wild_one
        assert pool.pid("other") == well_behaved

    with_pool(WorkerPool(time_limit_seconds=1.0, command=WILD), story)
    assert during >= len(acts)


def snapshot_of(schedule: str) -> Snapshot:
    base = shown()
    return Snapshot(
        schedule, base.strategy, base.symbol, base.at, 60.0, base.equity, base.max_position, base.windows, base.held
    )


def test_a_worker_that_cannot_start_is_unavailable() -> None:
    async def story(pool: WorkerPool) -> None:
        with pytest.raises(Unavailable, match=r"runtime\.worker_died"):
            await pool.start(["watched"])

    with_pool(WorkerPool(command=NEVER_READY), story)


def test_closing_the_pool_leaves_no_process_behind() -> None:
    pids: list[int | None] = []

    async def story(pool: WorkerPool) -> None:
        await pool.start(["one", "two"])
        pids.extend([pool.pid("one"), pool.pid("two")])

    with_pool(WorkerPool(command=WILD), story)
    assert [process_started(pid) for pid in pids if pid is not None] == [0, 0]


PARENT = """
import asyncio, sys
sys.path.insert(0, {tests!r})
from support.desks import snapshot, walk, window
from stage4.runtime.strategies import StrategySpec
from stage4.runtime.worker import Request
from stage4.runtime.worker_pool import WorkerPool

async def story():
    pool = WorkerPool(time_limit_seconds=60, command={command!r})
    await pool.start(["watched"])
    print(pool.pid("watched"), flush=True)
    shown = snapshot(window("alpha", walk(1, 80)))
    await pool.evaluate(Request(StrategySpec("wild", {{"act": "spin"}}), shown))

asyncio.run(story())
"""


def test_a_worker_ends_when_its_parent_is_killed_even_in_an_endless_evaluation() -> None:
    program = PARENT.format(tests=str(Path(__file__).parents[1]), command=WILD)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert process_started(worker) > 0
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 10
    while process_started(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process_started(worker) == 0
