"""A process that does nothing, and a last word that names it: a scheduler that hangs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stage4.clock import Clock
from stage4.runtime.state import STATE_FILE, RuntimeState, SchedulerState, process_started, write_state


def state_of(pid: int, clock: Clock, **changed: object) -> RuntimeState:
    """What the process `pid` would say of itself now."""
    members = {
        "installation_id": "inst-1",
        "state": SchedulerState.ENABLED,
        "pid": pid,
        "process_started": process_started(pid),
        "boot_id": clock.boot_id(),
        "heartbeat_ns": clock.boottime_ns(),
        "at": clock.now(),
    }
    return RuntimeState(**{**members, **changed})  # type: ignore[arg-type]


@contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def hung(root: Path, clock: Clock) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has given its word once, and never again."""
    with sleeper() as process:
        write_state(root / STATE_FILE, state_of(process.pid, clock))
        yield process
