"""
The gate: what a question costs, and how soon a stop is obeyed.

A child process plays the scheduler and asks before every signal; this process stops it through the product's own
`request_stop`. Then a whole scheduler, its strategies at work in their processes, is stopped and enabled again and
again, and beside it, in the same run, a bot that polls for its stop file. Counted is from the moment the override file
has its name. Prints a table with the limits beside. BENCH_TRIALS sets the number of trials (100).
"""

from __future__ import annotations

import gc
import os
import random
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from stage4.clock import SystemClock
from stage4.runtime.gate import Gate
from stage4.runtime.latch import GATE_FILE, create_latch
from stage4.runtime.stop import ALL, OVERRIDES, request_stop

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.kill_trials import trials

TRIALS = int(os.environ.get("BENCH_TRIALS", "100"))
QUESTIONS = 50_000
LOADS = (("idle", 0.5), ("about 50 % load", 0.0015))
"""Cadence of the whole scheduler's six schedules, seconds."""
POLLS = ((0.1, 50), (1.0, 20))
"""Seconds between two looks of a polling bot, and how many trials it gets at most."""
RECORD = struct.Struct("qqq")
CLOCK = SystemClock()


def make_root(parent: Path, name: str) -> Path:
    root = parent / name
    (root / OVERRIDES).mkdir(parents=True)
    create_latch(root / GATE_FILE, "bench", CLOCK.now())
    return root


def ask(gate: Gate) -> bool:
    return gate.permits(schedule="cross_exchange_watch", strategy="core_cross_exchange", tags=("arbitrage",)).open


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def row(what: str, values: Sequence[float], limit: str) -> tuple[str, str, str, str]:
    return what, f"{percentile(values, 0.5):.2f}", f"{percentile(values, 0.99):.2f}", limit


def cost_of(question: Callable[[], object]) -> list[float]:
    """Nanoseconds a call, in batches of 100."""
    costs = []
    for _ in range(QUESTIONS // 100):
        began = time.perf_counter_ns()
        for _ in range(100):
            question()
        costs.append((time.perf_counter_ns() - began) / 100)
    return costs


def missing(path: str) -> None:
    try:
        os.stat(path)
    except FileNotFoundError:
        return


def play_scheduler(root: Path, busy_ms: float, idle_ms: float, report: int) -> None:
    """Ask until refused; report when the refused question was put and answered, and when the last open one was put."""
    gate, last_open_ns = Gate(root, "bench", CLOCK), 0
    os.write(report, b"r")
    while True:
        until_ns = time.monotonic_ns() + int(busy_ms * 1e6)
        while time.monotonic_ns() < until_ns:
            pass
        began_ns = time.monotonic_ns()
        if not ask(gate):
            os.write(report, RECORD.pack(began_ns, time.monotonic_ns(), last_open_ns))
            return
        last_open_ns = began_ns
        time.sleep(idle_ms / 1e3)


def trial(root: Path, busy_ms: float, idle_ms: float, chance: random.Random) -> tuple[float, float, float, bool]:
    """File to first refused question, file to its answer, request_stop (ms); whether a later question passed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        play_scheduler(root, busy_ms, idle_ms, writing)
        os._exit(0)
    os.read(reading, 1)
    time.sleep(0.01 + chance.random() * 0.02)
    named_ns: list[int] = []
    link = os.link

    def timed_link(*arguments: str, **options: bool) -> None:
        link(*arguments, **options)
        named_ns.append(time.monotonic_ns())

    os.link = timed_link  # type: ignore[assignment]
    began_ns = time.monotonic_ns()
    request_stop(root, reason="bench", clock=CLOCK)
    asked_ms = (time.monotonic_ns() - began_ns) / 1e6
    os.link = link
    refused_ns, answered_ns, last_open_ns = RECORD.unpack(os.read(reading, RECORD.size))
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)
    refused_ms, answered_ms = ((instant - named_ns[0]) / 1e6 for instant in (refused_ns, answered_ns))
    # A question put before the file had its name may find it while being answered.
    return max(0.0, refused_ms), max(0.0, answered_ms), asked_ms, last_open_ns > named_ns[0]


def whole_scheduler(parent: Path) -> tuple[list[tuple[str, str, str, str]], int]:
    """Rows of a real scheduler at each load, and how many signals it let through after the file."""
    rows: list[tuple[str, str, str, str]] = []
    leaked = 0
    for place, (label, cadence) in enumerate(LOADS):
        with trials(parent / f"whole-{place}", cadence) as running:
            used = running.load(2.0)
            done = [running.trial() for _ in range(TRIALS)]
        leaked += sum(trial.after + trial.after_confirmed for trial in done)
        what = f"file -> gate closed, whole scheduler, {label} (ms)"
        rows.append(row(what, [max(0.0, t.closed_ms) for t in done], f"aim 1, 5; processors used {used:.0%}"))
        rows.append(
            row("  ... and the caller has its confirmation", [t.confirmed_ms for t in done], "reads each 20 ms")
        )
        stopped = sum(trial.before for trial in done)
        passing = sum(trial.in_passing for trial in done)
        rows.append(
            (
                f"  ... signals after the file, {TRIALS} trials",
                str(sum(trial.after for trial in done)),
                "",
                f"{stopped} before, {passing} handed over in passing",
            )
        )
    return rows, leaked


def play_poller(directory: Path, seconds: float, report: int) -> None:
    """A bot that signals every millisecond and looks for its stop file every `seconds`; reports when it saw it, and
    how many signals it gave after the file was there."""
    path, looked_ns, times = directory / ALL.file_name, time.monotonic_ns(), []
    os.write(report, b"r")
    while True:
        now_ns = time.monotonic_ns()
        if now_ns - looked_ns >= seconds * 1e9:
            looked_ns = now_ns
            if path.exists():
                break
        times.append(time.monotonic_ns())
        time.sleep(0.001)
    seen_ns = time.monotonic_ns()
    # The file tells itself when it got its name: both clocks are of this machine.
    named_ns = seen_ns - (time.time_ns() - path.stat().st_ctime_ns)
    os.write(report, RECORD.pack(seen_ns, named_ns, sum(at > named_ns for at in times)))


def polling_bot(parent: Path, seconds: float, number: int, chance: random.Random) -> tuple[list[float], int]:
    """Milliseconds from the file to the closed flag, and signals after the file, over `number` trials."""
    closed, after = [], 0
    for place in range(number):
        root = make_root(parent, f"poll-{seconds}-{place}")
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            play_poller(root / OVERRIDES, seconds, writing)
            os._exit(0)
        os.read(reading, 1)
        time.sleep(chance.uniform(0.0, seconds))
        request_stop(root, reason="bench", clock=CLOCK)
        seen_ns, named_ns, signals = RECORD.unpack(os.read(reading, RECORD.size))
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)
        closed.append((seen_ns - named_ns) / 1e6)
        after += signals
    return closed, after


def main() -> int:
    chance = random.Random(20261123)
    rows: list[tuple[str, str, str, str]] = []
    leaked = 0
    with tempfile.TemporaryDirectory() as scratch:
        parent = Path(scratch)
        gate = Gate(make_root(parent, "cost"), "bench", CLOCK)
        path = str(parent / "cost" / OVERRIDES / "multi_strategy_disable.json")
        gc.disable()
        one_stat = percentile(cost_of(lambda: missing(path)), 0.5)
        questions = cost_of(lambda: ask(gate))
        gc.enable()
        stats = f"one os.stat here {one_stat / 1000:.2f}, on a quiet machine 0.81; five are made"
        rows.append(row("permits(), gate open, 4 names (µs)", [cost / 1000 for cost in questions], stats))
        loads = (
            ("idle, asks each 1 ms", 0.0, 1.0, "aim p50 1, p99 5; bots poll 1,000 to 10,000"),
            ("50 % load in 5 ms slices", 5.0, 5.0, "stat at submit on a quiet machine: p50 9.3, p99 10.4"),
        )
        requests: list[float] = []
        for place, (label, busy_ms, idle_ms, limit) in enumerate(loads):
            trials = [
                trial(make_root(parent, f"{place}-{number}"), busy_ms, idle_ms, chance) for number in range(TRIALS)
            ]
            refused, answered, requested, after = zip(*trials, strict=True)
            requests.extend(requested)
            leaked += sum(after)
            rows.append(row(f"file -> first refused question, {label} (ms)", refused, limit))
            rows.append(row("  ... and its answer, memory durable (ms)", answered, "one fsync more"))
        whole, let_through = whole_scheduler(parent)
        rows.extend(whole)
        for seconds, most in POLLS:
            number = min(TRIALS, most)
            closed, after = polling_bot(parent, seconds, number, chance)
            rows.append(row(f"file -> flag closed, a bot that polls each {seconds:g} s (ms)", closed, "peer"))
            rows.append((f"  ... signals after the file, {number} trials", str(after), "", "one signal a millisecond"))
        published = "one file, tmp + fsync + rename + fsync: p50 0.43, p99 1.15; two are written"
        rows.append(row("request_stop, file and memory durable (ms)", requests, published))
    print(f"{'what':<68}{'p50':>8}{'p99':>8}  peer or limit")
    for what, middle, high, limit in rows:
        print(f"{what:<68}{middle:>8}{high:>8}  {limit}")
    leaked += let_through
    print(f"signals let through after the file: {leaked} in {(2 + len(LOADS)) * TRIALS} trials (must be 0)")
    return 1 if leaked else 0


if __name__ == "__main__":
    sys.exit(main())
