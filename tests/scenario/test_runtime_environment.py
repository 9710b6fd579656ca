"""The environment as it runs: stops, faults, locks and a clean end, with real workers and real time."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from stage4.clock import SystemClock
from stage4.config import Installation
from stage4.config.settings import ResourceLimits
from stage4.errors import Refused, Stage4Error
from stage4.runtime import faults, state
from stage4.runtime.environment import Environment
from stage4.runtime.gate import OrderOutcome
from stage4.runtime.lateness import LatenessFigures
from stage4.runtime.run_lock import LOCK_FILE, sole_environment
from stage4.runtime.scheduler import SuspensionReason
from stage4.runtime.stop import OVERRIDES, request_stop
from stage4.runtime.suspension import Suspension, SuspensionDocument
from stage4.runtime.suspension_files import lift, place, read_all
from stage4.runtime.watch import Orders
from stage4.runtime.worker_pool import WorkerPool
from stage4.telemetry import catalogue
from stage4.telemetry.sample import Sample
from support.desks import Kept, installation, settings, until

CLOCK = SystemClock()
OVERRIDE = "var/runtime/overrides/multi_strategy_disable.json"
MEAN_REVERSION = "mean_reversion_intraday"
VOLATILITY = "volatility_target_daily"
LOOP = "stage4_loop_latency_seconds"


def during(
    made: Installation,
    story: Callable[[Environment, Kept], Awaitable[None]],
    *,
    workers: WorkerPool | None = None,
    expected: Sequence[str] = (),
    orders: Orders = lambda outcome: None,
) -> Kept:
    """Run an environment on `made` while `story` happens, then end it; its samples. It must tell what is `expected`."""
    sink = Kept()
    told: list[str] = []

    async def around() -> None:
        environment = Environment(
            made,
            clock=CLOCK,
            sink=sink,
            workers=workers,
            events=lambda code, params: told.append(code),
            orders=orders,
        )
        stop = asyncio.Event()
        running = asyncio.create_task(environment.run(stop))
        try:
            await until(lambda: running.done() or len(sink.samples) > 10, 20)
            await story(environment, sink)
        finally:
            stop.set()
            await running

    asyncio.run(around())
    assert told == list(expected)
    return sink


def said(made: Installation) -> state.RuntimeState | None:
    try:
        return state.read_state(made.path(state.STATE_FILE))
    except Stage4Error:
        return None


async def says(made: Installation, wanted: state.SchedulerState) -> state.RuntimeState:
    def so() -> bool:
        word = said(made)
        return word is not None and word.state is wanted

    await until(so)
    word = said(made)
    assert word is not None
    return word


def used(made: Installation) -> state.ResourceState | None:
    word = said(made)
    return None if word is None else word.resources


def latenesses(made: Installation) -> list[LatenessFigures]:
    word = said(made)
    return [] if word is None else [schedule.lateness for schedule in word.schedules.values()]


def test_a_running_environment_says_so_and_emits_every_metric_of_the_catalogue(tmp_path: Path) -> None:
    made = installation(tmp_path, clock=CLOCK)

    async def story(environment: Environment, sink: Kept) -> None:
        await until(lambda: environment.desk.broker.submissions > 0)
        word = await says(made, state.SchedulerState.ENABLED)
        assert state.answers_since(word, 0, CLOCK)
        assert word.schedules.keys() == environment.desk.schedules.keys()
        await until(lambda: all(each.count > 0 for each in latenesses(made)))
        assert all(0 < each.p50_ms <= each.max_ms for each in latenesses(made))
        await until(lambda: bool(sink.values("stage4_allocation_error_pct")))
        await until(lambda: bool(sink.values("stage4_resource_use_ratio")))
        await until(lambda: used(made) is not None)

    sink = during(made, story)
    emitted = {name for sample in sink.samples for name in sample.values}
    assert emitted == {metric.name for metric in catalogue.emitted_by_runtime()}
    assert [sample.seq for sample in sink.samples] == list(range(1, len(sink.samples) + 1))
    assert min(sink.values("stage4_lateness_seconds")) >= 0


def test_an_override_stops_every_signal_and_the_panels_go_on(tmp_path: Path) -> None:
    made = installation(tmp_path, clock=CLOCK)

    async def story(environment: Environment, sink: Kept) -> None:
        receipt = request_stop(made.root, reason="test", clock=CLOCK)
        submitted = environment.desk.broker.submissions
        word = await says(made, state.SchedulerState.DISABLED)
        assert word.override_digest == receipt.facts.digest
        seen = len(sink.samples)
        await until(lambda: len(sink.samples) > seen + 30)
        assert environment.desk.broker.submissions == submitted
        after = said(made)
        assert after is not None
        assert after.signals_after_stop == 0
        assert after.in_flight == 0

    sink = during(made, story)
    assert sink.values("stage4_gate_closed")[-1] == 1.0


@pytest.mark.parametrize("content", [b"", b"garbage", b'{"schema": "something.else/1"}', b"\xff" * 100])
def test_garbage_in_the_override_file_stops_as_well(tmp_path: Path, content: bytes) -> None:
    made = installation(tmp_path, clock=CLOCK)
    made.path(OVERRIDE).write_bytes(content)

    async def story(environment: Environment, sink: Kept) -> None:
        await says(made, state.SchedulerState.DISABLED)
        assert environment.desk.broker.submissions == 0

    during(made, story)


def test_a_refused_order_that_cannot_be_moved_away_is_told_once(tmp_path: Path) -> None:
    made = installation(tmp_path, settings())
    operators = made.path(made.settings.operations.operators_file)
    operators.parent.mkdir(parents=True, exist_ok=True)
    operators.write_text("schema: stage4.operators/1\npeople: {im-zofia: {name: Zofia, roles: [incident_manager]}}\n")
    refused: list[OrderOutcome] = []

    async def story(environment: Environment, sink: Kept) -> None:
        overrides = made.path(OVERRIDES)
        (overrides / "refused").write_text("in the way")
        (overrides / "enable_garbage.json").write_text("{")
        await until(lambda: bool(refused))
        seen = len(sink.samples)
        await until(lambda: len(sink.samples) > seen + 20, 20)

    during(made, story, orders=refused.append)
    assert [(outcome.outcome, outcome.nonce) for outcome in refused] == [("refused", "garbage")]


def test_a_latency_fault_delays_the_evaluations_themselves(tmp_path: Path) -> None:
    made = installation(tmp_path, clock=CLOCK)
    faults.stage(made, "latency", until=CLOCK.now() + timedelta(minutes=5), ms=300)

    async def story(environment: Environment, sink: Kept) -> None:
        await until(lambda: len(sink.values("stage4_loop_latency_seconds")) > 3)

    sink = during(made, story)
    assert min(sink.values("stage4_loop_latency_seconds")) >= 0.3
    # Three tenths of a second are six slots of this cadence.
    assert max(sink.values("stage4_missed_slots_total")) > 0


def test_a_no_signals_fault_lets_the_age_of_the_last_signal_grow(tmp_path: Path) -> None:
    made = installation(tmp_path, clock=CLOCK)
    faults.stage(made, "no_signals", until=CLOCK.now() + timedelta(minutes=5))

    async def story(environment: Environment, sink: Kept) -> None:
        await until(lambda: max(sink.values("stage4_signal_age_seconds"), default=0.0) > 1.0)
        assert environment.desk.broker.submissions == 0

    sink = during(made, story)
    assert set(sink.values("stage4_signals_total")) == {0.0}
    assert sink.values("stage4_avg_abs_zscore")


def test_a_recorded_stop_halts_the_age_of_the_last_signal(tmp_path: Path) -> None:
    made = installation(tmp_path, clock=CLOCK)
    faults.stage(made, "no_signals", until=CLOCK.now() + timedelta(minutes=5))
    request_stop(made.root, reason="test", clock=CLOCK)

    async def story(environment: Environment, sink: Kept) -> None:
        await until(lambda: len(sink.values("stage4_signal_age_seconds")) >= 3)

    assert set(during(made, story).values("stage4_signal_age_seconds")) == {0.0}


def test_outside_its_trading_windows_a_schedule_is_not_evaluated(tmp_path: Path) -> None:
    begin, end = (CLOCK.now() + timedelta(hours=hours) for hours in (2, 4))
    closed = f"{begin:%H:%M}-{end:%H:%M}"
    made = installation(tmp_path, settings(trading_windows=(closed,)), clock=CLOCK)

    async def story(environment: Environment, sink: Kept) -> None:
        await until(lambda: len(sink.values("stage4_signal_age_seconds")) >= 2)

    sink = during(made, story)
    of_schedules = [sample for sample in sink.samples if sample.schedule]
    assert all(sample.flags == {"window_closed": True} for sample in of_schedules)
    assert set(sink.values("stage4_signals_total")) == {0.0}
    assert set(sink.values("stage4_signal_age_seconds")) == {0.0}


def test_a_schedule_that_needs_more_bars_warms_up_first(tmp_path: Path) -> None:
    made = installation(tmp_path, settings(warmup_bars=100_000), clock=CLOCK)

    async def story(environment: Environment, sink: Kept) -> None:
        word = await says(made, state.SchedulerState.ENABLED)
        assert {schedule.state for schedule in word.schedules.values()} == {"warming_up"}

    sink = during(made, story)
    assert all(sample.flags == {"warming_up": True} for sample in sink.samples if sample.schedule)


def test_a_strategy_that_always_fails_is_suspended_alone_and_says_so(tmp_path: Path) -> None:
    made = installation(tmp_path, clock=CLOCK)
    wild = Path(__file__).parents[1] / "support" / "wild_worker.py"
    workers = WorkerPool(time_limit_seconds=20, command=(sys.executable, "-P", str(wild), "--break-mean-reversion"))

    async def story(environment: Environment, sink: Kept) -> None:
        await until(lambda: sink.values("stage4_schedule_suspended", MEAN_REVERSION)[-1:] == [1.0], 30)
        seen = len(sink.values("stage4_loop_latency_seconds", VOLATILITY))
        await until(lambda: len(sink.values("stage4_loop_latency_seconds", VOLATILITY)) > seen + 5)

    failures = ["runtime.evaluation_failed"] * 3
    sink = during(made, story, workers=workers, expected=[*failures, "runtime.schedule_suspended"])
    assert [each.file_name for each in read_all(made.root)] == [f"own.{MEAN_REVERSION}.json"]
    assert len(sink.values("stage4_loop_latency_seconds", MEAN_REVERSION)) == 3
    assert set(sink.values("stage4_schedule_suspended", VOLATILITY)) == {0.0}


def blocking(time_limit_seconds: float) -> WorkerPool:
    wild = Path(__file__).parents[1] / "support" / "wild_worker.py"
    command = (sys.executable, "-P", str(wild), "--block-mean-reversion")
    return WorkerPool(time_limit_seconds=time_limit_seconds, command=command)


def test_a_strategy_that_overruns_its_slice_makes_no_other_late_and_is_replaced(tmp_path: Path) -> None:
    made, workers = installation(tmp_path, clock=CLOCK), blocking(0.5)

    async def story(environment: Environment, sink: Kept) -> None:
        first = workers.pid(MEAN_REVERSION)
        await until(lambda: schedule_state(made, MEAN_REVERSION) == "suspended", 30)
        assert workers.pid(MEAN_REVERSION) != first
        await until(lambda: schedule_lateness(made, VOLATILITY).count > 20)
        assert schedule_lateness(made, VOLATILITY).p50_ms < 20, "three slices of 500 ms lie in between"
        assert schedule_state(made, VOLATILITY) == "enabled"

    failures = ["runtime.evaluation_failed"] * 3
    sink = during(made, story, workers=workers, expected=[*failures, "runtime.schedule_suspended"])
    assert workers.restarts >= 3, "the end of the environment may cut off one more"
    slices = sink.values(LOOP, MEAN_REVERSION)
    assert len(slices) == 3
    assert all(0.5 <= seconds < 2.0 for seconds in slices), "an evaluation that failed has a latency too"


def test_a_strategy_in_the_middle_of_its_slice_delays_no_stop(tmp_path: Path) -> None:
    made = installation(tmp_path, clock=CLOCK)
    ended: list[int] = []

    async def story(environment: Environment, sink: Kept) -> None:
        await until(lambda: bool(sink.values(LOOP, VOLATILITY)))
        request_stop(made.root, reason="test", clock=CLOCK)
        word = await says(made, state.SchedulerState.STOPPING)
        assert word.schedules[MEAN_REVERSION].in_flight == 1
        assert word.override_digest is not None, "the gate is closed while the strategy is still at work"
        ended.append(CLOCK.monotonic_ns())

    during(made, story, workers=blocking(30))
    assert (CLOCK.monotonic_ns() - ended[0]) / 1e9 < 10, "nobody waited for the slice"


def test_an_environment_beyond_a_resource_limit_says_which(tmp_path: Path) -> None:
    chosen = settings()
    runtime = msgspec.structs.replace(chosen.runtime, resource_limits=ResourceLimits(memory_mb=1.0, cpu_percent=100.0))
    made = installation(tmp_path, msgspec.structs.replace(chosen, runtime=runtime), clock=CLOCK)

    async def story(environment: Environment, sink: Kept) -> None:
        await until(lambda: used(made) is not None)
        found = used(made)
        assert found is not None
        assert (found.status, "memory_mb" in found.reasons) == ("error", True)
        assert found.memory_mb > 20, "the workers are counted"
        await until(lambda: sink.values("stage4_resource_use_ratio")[-1:] > [20.0])

    during(made, story, expected=["runtime.resources_error"])


class Full:
    """A sink that takes nothing."""

    def __init__(self) -> None:
        self.refused = 0

    def offer(self, sample: Sample) -> bool:
        self.refused += 1
        return False


def test_a_telemetry_that_takes_nothing_stops_nothing(tmp_path: Path) -> None:
    made = installation(tmp_path, clock=CLOCK)

    async def story() -> None:
        sink = Full()
        environment = Environment(made, clock=CLOCK, sink=sink)
        stop = asyncio.Event()
        running = asyncio.create_task(environment.run(stop))
        await until(lambda: environment.desk.broker.submissions > 0, 20)
        stop.set()
        await running
        assert sink.refused > 0

    asyncio.run(story())


def test_a_second_environment_on_one_installation_is_refused(tmp_path: Path) -> None:
    made = installation(tmp_path, clock=CLOCK)

    async def story(environment: Environment, sink: Kept) -> None:
        with pytest.raises(Refused, match=r"runtime\.already_running") as caught:
            await Environment(made, clock=CLOCK, sink=Kept()).run(asyncio.Event())
        assert caught.value.params["pid"] == str(os.getpid())

    during(made, story)
    with sole_environment(made.path(LOCK_FILE)):
        pass


PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from support.desks import Kept, installation
from stage4.clock import SystemClock
from stage4.runtime.environment import Environment, run_until_signalled
clock = SystemClock()
run_until_signalled(Environment(installation(Path({root!r}), clock=clock), clock=clock, sink=Kept()))
print("ended")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_environment_and_its_workers_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    program = PROGRAM.format(tests=str(Path(__file__).parents[1]), root=str(tmp_path))
    with subprocess.Popen([sys.executable, "-W", "error", "-c", program], stdout=subprocess.PIPE, text=True) as child:

        async def story() -> None:
            made = Installation(tmp_path, settings())
            word = await says(made, state.SchedulerState.ENABLED)
            assert word.pid == child.pid

        asyncio.run(story())
        child.send_signal(number)
        out, _ = child.communicate(timeout=20)
    assert (child.returncode, out) == (0, "ended\n")


def test_a_suspended_schedule_rests_and_goes_on_when_the_suspension_is_lifted(tmp_path: Path) -> None:
    made = installation(tmp_path, clock=CLOCK)
    document = SuspensionDocument(
        cause=SuspensionReason.REQUEST, reason="drill", requested_by="l2-marek", since=CLOCK.now()
    )
    resting = Suspension("schedule", VOLATILITY, document)

    async def story(environment: Environment, sink: Kept) -> None:
        place(made.root, resting)
        await until(lambda: schedule_state(made, VOLATILITY) == "suspended")
        evaluated, others = len(sink.values(LOOP, VOLATILITY)), len(sink.values(LOOP, MEAN_REVERSION))
        await until(lambda: len(sink.values(LOOP, MEAN_REVERSION)) > others + 5)
        assert len(sink.values(LOOP, VOLATILITY)) <= evaluated + 1, "one may have been at work"
        assert schedule_state(made, MEAN_REVERSION) == "enabled"
        lift(made.root, resting)
        await until(lambda: len(sink.values(LOOP, VOLATILITY)) > evaluated + 5)
        assert schedule_state(made, VOLATILITY) == "enabled"

    during(made, story, expected=["runtime.schedule_suspended", "runtime.schedule_resumed"])


def schedule_lateness(made: Installation, schedule: str) -> LatenessFigures:
    word = said(made)
    return LatenessFigures() if word is None else word.schedules[schedule].lateness


def schedule_state(made: Installation, schedule: str) -> str | None:
    word = said(made)
    return None if word is None else word.schedules[schedule].state
