"""The hiccup meter on a clock that now and then oversleeps, as a host does that was taken away."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stage4.runtime.loadtest_hiccup import NOTED_NS, Stall, attributed_ns, watch
from stage4.testing.clock import ManualClock

MS = 1_000_000


class Oversleeping(ManualClock):
    """Each sleep lasts so many microseconds longer than asked."""

    def __init__(self, *late_us: int) -> None:
        super().__init__()
        self._late = list(late_us)

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds + self._late.pop(0) / 1e6)

    def done(self) -> bool:
        return not self._late


def test_a_host_that_stands_still_for_200_ms_is_one_stall() -> None:
    clock = Oversleeping(0, 100, 200_000, 0, 0)
    began = clock.monotonic_ns()
    # Due at 2, 4 and 6 ms; the third wake-up comes at 206 ms, and the grid goes on from there at 208 ms.
    assert watch(clock, clock.done) == [(began + 6 * MS, began + 206 * MS)]
    assert clock.monotonic_ns() == began + 210 * MS


def test_being_a_little_late_is_no_stall() -> None:
    clock = Oversleeping(*[NOTED_NS // 1000] * 20)
    assert watch(clock, clock.done) == []


@given(st.lists(st.integers(0, 20_000), min_size=1, max_size=50))
def test_stalls_are_in_order_and_never_overlap(late_us: list[int]) -> None:
    clock = Oversleeping(*late_us)
    stalls = watch(clock, clock.done)
    edges = [instant for stall in stalls for instant in stall]
    assert edges == sorted(edges)
    assert len(stalls) == sum(late * 1000 > NOTED_NS for late in late_us)


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), max_size=20),
    st.integers(0, 1000),
    st.integers(0, 1000),
)
def test_what_is_attributed_is_every_moment_that_lies_in_a_stall(
    gaps_and_lengths: list[tuple[int, int]], begin: int, span: int
) -> None:
    stalls, at = [], 0
    for gap, length in gaps_and_lengths:
        stalls.append(Stall(at + gap, at + gap + length))
        at += gap + length
    counted = sum(
        any(stall.began_ns <= moment < stall.ended_ns for stall in stalls) for moment in range(begin, begin + span)
    )
    assert attributed_ns(begin, span, stalls) == counted
