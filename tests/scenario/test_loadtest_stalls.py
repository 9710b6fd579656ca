"""The load test finds what is really slow: a strategy that blocks, a host that stands still, a gate that leaks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from stage4.app.installing import create
from stage4.clock import SystemClock
from stage4.config.settings import Limits
from stage4.runtime.desk import Desk, DeskSchedule
from stage4.runtime.gate import OPEN, GateVerdict
from stage4.runtime.loadtest import Inline, run_load_test
from stage4.runtime.loadtest_probe import KillProbe
from stage4.runtime.loadtest_run import LoadPlan, ProbeResult
from stage4.runtime.loadtest_sla import judge_sla, latency_of, lateness_of, verdict_of
from stage4.runtime.signal import Evaluation, Signal, SignalKind
from stage4.runtime.worker import Request
from support import desks
from support.gates import make_site

MS = 1_000_000
STALL_SECONDS = 0.020
EVERY = 250


class Blocking(Inline):
    """Every 250th evaluation blocks the whole process for 20 ms, as a strategy that computes too long inline does."""

    def __init__(self, schedules: Sequence[DeskSchedule]) -> None:
        super().__init__(schedules)
        self.calls = self.stalls = 0

    async def evaluate(self, request: Request) -> Evaluation:
        self.calls += 1
        if self.calls % EVERY == 0:
            self.stalls += 1
            SystemClock().sleep(STALL_SECONDS)
        return await super().evaluate(request)


def test_a_stall_of_20_ms_shows_in_every_slot_that_it_delayed() -> None:
    made: list[Blocking] = []

    def blocking(schedules: Sequence[DeskSchedule]) -> Blocking:
        made.append(Blocking(schedules))
        return made[0]

    # A thousand fires a second: a stall of 20 ms delays about twenty slots, of which a closed loop would see one.
    plan = LoadPlan(iterations=100, schedules=10, cadence_seconds=0.01, seed=7)
    result = run_load_test(plan, desks.settings(), SystemClock(), evaluator=blocking)
    lateness = [span for record in result.schedules for span in lateness_of(record, plan).spans]
    latency = [span for record in result.schedules for span in latency_of(record, plan).spans]
    stalls = made[0].stalls
    assert stalls >= 4
    assert max(latency) >= 20 * MS
    assert max(lateness) >= 15 * MS
    assert sorted(latency)[-len(latency) // 100] >= 10 * MS, "the p99 shows it"
    assert sum(span >= 5 * MS for span in lateness) >= 10 * (stalls - 1)
    missed = plan.iterations * plan.schedules - sum(record.dispatched for record in result.schedules)
    assert sum(record.dispatched for record in result.schedules) <= len(latency) <= 1000
    assert missed > 0, "a slot that came due during the stall of its own schedule is missed, and counted"

    strict = {"loop_latency_seconds": Limits(warning=0.005, critical=0.015)}
    everywhere = dict.fromkeys(("conservative", "balanced", "aggressive"), strict)
    assert verdict_of(judge_sla(result, everywhere)) == "fail"
    assert verdict_of(judge_sla(result, everywhere), without_host=True) == "fail", "it is not the host's"


def test_a_host_that_stands_still_is_named_as_the_cause(tmp_path: Path) -> None:
    root = tmp_path / "desk"
    create(root, SystemClock(), installation_id="desk-1", language="en")
    command = [sys.executable, "-c", "from stage4.cli.load_test_scheduler import main; raise SystemExit(main())"]
    running = subprocess.Popen(
        [*command, "--root", str(root), "--iterations", "80", "--cadence", "50ms"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "STAGE4_LANG": "en"},
        start_new_session=True,
    )
    parent = psutil.Process(running.pid)
    until(lambda: meter_wakes(parent) > 200, "the meter did not begin")
    # To a process, a stopped group is what a host that gives its processor away looks like.
    os.killpg(running.pid, signal.SIGSTOP)
    time.sleep(0.4)
    os.killpg(running.pid, signal.SIGCONT)
    out, err = running.communicate(timeout=60)
    report = json.loads(out)
    assert report["host"]["longest_stall_ms"] >= 350, err
    assert report["max_latency_ms"] >= 300
    assert report["host"]["attributed_share_of_lateness"] > 0.5
    worst = max(
        (row for row in report["sla"]["rows"] if row["metric"] == "latency_ms"), key=lambda row: row["observed"]
    )
    assert worst["without_host"] < worst["observed"] - 250
    assert report["exit_code"] == running.returncode == 1, "late is late, whoever did it"


def meter_wakes(parent: psutil.Process) -> int:
    """How often the hiccup meter has slept so far; 0 while it does not run."""
    for child in parent.children():
        try:
            if "stage4.runtime.loadtest_hiccup" in child.cmdline():
                return int(child.num_ctx_switches().voluntary)
        except psutil.Error:
            continue
    return 0


def until(holds: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


class Leaky:
    """A gate that asks nobody."""

    def permits(self, *, schedule: str, strategy: str, tags: Sequence[str] = ()) -> GateVerdict:
        return OPEN


def probed(root: Path, gate: object = None, desk: Desk | None = None) -> ProbeResult:
    """What the probe of a small desk sees, with the real gate of `root` or another."""
    site = make_site(root, SystemClock())
    desk = desk or desks.desk()
    chosen = gate or site.gate()
    probe = KillProbe(root, chosen, desk, site.clock, 0.001)  # type: ignore[arg-type]

    async def drive() -> None:
        async def trade() -> None:
            while True:
                for schedule in desk.schedules.values():
                    probe.offer(schedule, desks.BEGINS)
                await asyncio.sleep(0.001)

        trading = asyncio.create_task(trade())
        try:
            await probe.run()
        finally:
            trading.cancel()

    asyncio.run(drive())
    return probe.result()


def test_the_probe_stops_trade_that_was_really_there(tmp_path: Path) -> None:
    found = probed(tmp_path)
    assert (found.verdict, found.signals_after) == ("pass", 0)
    assert found.submitted_before >= 3
    assert found.asked_after >= 3
    assert found.closed_ms is not None
    assert found.written_ms is not None


def test_a_desk_full_to_its_limits_can_still_be_probed(tmp_path: Path) -> None:
    desk = desks.desk()
    for schedule in desk.schedules.values():
        venue, symbol = desk.market.venues[0], desk.market.symbol
        price = desk.market.marks[venue, symbol]
        full = desk.books[schedule.name].equity(desk.market.marks) * schedule.profile.max_position_pct / 100.0 / price
        wish = Signal(SignalKind.BUY, schedule.name, schedule.settings.strategy, symbol, venue, full, 1.0, "test")
        assert desk.settle(schedule, Evaluation((wish,), {}), desks.BEGINS) == 1
    assert probed(tmp_path, desk=desk).verdict == "pass"


def test_a_gate_that_lets_signals_through_after_the_file_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stage4.runtime.loadtest_probe.PATIENCE_SECONDS", 0.3)
    found = probed(tmp_path, Leaky())
    assert found.verdict == "fail"
    assert found.signals_after >= 3
    assert found.closed_ms is None


def test_a_desk_that_never_traded_shows_nothing_about_its_switch(tmp_path: Path) -> None:
    assert probed(tmp_path, desks.Switch(desks.CLOSED)).verdict == "cannot_tell"
