"""What every timer promises."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import pytest

from stage4.clock import Clock, SystemClock
from stage4.runtime.timer import CallAtTimer, Timer, TimerfdTimer, system_timer

TimerMaker = Callable[[asyncio.AbstractEventLoop, Clock], Timer]
MAKERS: list[TimerMaker] = [CallAtTimer]
if sys.platform == "linux":
    MAKERS.append(lambda loop, clock: TimerfdTimer(loop))


@pytest.mark.parametrize("maker", MAKERS)
def test_a_wake_up_comes_once_and_never_before_its_deadline(maker: TimerMaker) -> None:
    clock = SystemClock()

    async def story() -> list[int]:
        timer = maker(asyncio.get_running_loop(), clock)
        lateness = []
        for microseconds in (0, 1, 100, 900, 1100, 3000, 10_000):
            woken = asyncio.Event()
            deadline = clock.monotonic_ns() + microseconds * 1000
            timer.arm(deadline, woken.set)
            await asyncio.wait_for(woken.wait(), 5)
            lateness.append(clock.monotonic_ns() - deadline)
        timer.close()
        return lateness

    assert min(asyncio.run(story())) >= 0


@pytest.mark.parametrize("maker", MAKERS)
def test_arming_again_replaces_the_pending_wake_up(maker: TimerMaker) -> None:
    clock = SystemClock()

    async def story() -> list[str]:
        timer = maker(asyncio.get_running_loop(), clock)
        heard: list[str] = []
        second = asyncio.Event()
        timer.arm(clock.monotonic_ns() + 2_000_000, lambda: heard.append("first"))
        timer.arm(clock.monotonic_ns() + 5_000_000, second.set)
        await asyncio.wait_for(second.wait(), 5)
        timer.close()
        return heard

    assert asyncio.run(story()) == []


@pytest.mark.parametrize("maker", MAKERS)
def test_a_closed_timer_wakes_nobody(maker: TimerMaker) -> None:
    clock = SystemClock()

    async def story() -> list[str]:
        heard: list[str] = []
        timer = maker(asyncio.get_running_loop(), clock)
        timer.arm(clock.monotonic_ns() + 1_000_000, lambda: heard.append("late"))
        timer.close()
        other = asyncio.Event()
        asyncio.get_running_loop().call_later(0.005, other.set)
        await other.wait()
        return heard

    assert asyncio.run(story()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="timerfd is of Linux")
def test_linux_gets_the_exact_timer() -> None:
    async def story() -> Timer:
        timer = system_timer(asyncio.get_running_loop(), SystemClock())
        timer.close()
        return timer

    assert isinstance(asyncio.run(story()), TimerfdTimer)
