"""What a run used, summed over its processes: one that ended meanwhile takes nothing back."""

from __future__ import annotations

import subprocess
import sys

import psutil

from stage4.clock import SystemClock
from stage4.runtime.loadtest_resources import ResourceMeter, Totals, totals


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


def end(child: subprocess.Popen[bytes]) -> None:
    child.communicate(b"\n")


def test_a_process_that_ended_keeps_what_it_had_used_and_gives_back_its_memory() -> None:
    child = sleeper()
    watched, seen = [psutil.Process(child.pid)], dict[int, Totals]()
    before = totals(watched, seen)
    end(child)
    after = totals(watched, seen)
    assert before.memory > 0
    assert (after.cpu_seconds, after.switches, after.memory) == (before.cpu_seconds, before.switches, 0)


def test_a_child_that_stands_apart_is_not_part_of_what_is_measured() -> None:
    child = sleeper()
    try:
        with ResourceMeter(SystemClock()) as everything:
            pass
        with ResourceMeter(SystemClock(), apart=child.pid) as without:
            pass
    finally:
        end(child)
    assert without.use.samples == everything.use.samples == 2
    assert without.use.memory_mb < everything.use.memory_mb
