"""
The gate: what a question costs, and how soon a stop is obeyed.

A child process plays the scheduler and asks before every signal; this process stops it through the product's own
`request_stop`. Counted is from the moment the override file has its name. Prints a table with the limits beside.
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
from stage4.runtime.stop import OVERRIDES, request_stop

TRIALS = int(os.environ.get("BENCH_TRIALS", "100"))
QUESTIONS = 50_000
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
        published = "one file, tmp + fsync + rename + fsync: p50 0.43, p99 1.15; two are written"
        rows.append(row("request_stop, file and memory durable (ms)", requests, published))
    print(f"{'what':<68}{'p50':>8}{'p99':>8}  peer or limit")
    for what, middle, high, limit in rows:
        print(f"{what:<68}{middle:>8}{high:>8}  {limit}")
    print(f"signals let through after the file: {leaked} of {2 * TRIALS} trials (must be 0)")
    return 1 if leaked else 0


if __name__ == "__main__":
    sys.exit(main())
