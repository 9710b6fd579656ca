"""A scheduler's word without a scheduler: a real gate that tells its state, in a thread of the test."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stage4.clock import SystemClock
from stage4.runtime.gate import Gate
from stage4.runtime.latch import GATE_FILE, read_latch
from stage4.runtime.state import STATE_FILE, RuntimeState, SchedulerState, ScheduleState, process_started, write_state


def state_of(root: Path, gate: Gate, *, in_flight: int = 0) -> RuntimeState:
    """What an environment with one schedule `s1` would say now, from this process."""
    clock = SystemClock()
    wide = gate.wide
    stopped = SchedulerState.STOPPING if in_flight else SchedulerState.DISABLED
    return RuntimeState(
        installation_id=read_latch(root / GATE_FILE).installation_id,
        state=SchedulerState.ENABLED if wide is None else stopped,
        pid=os.getpid(),
        process_started=process_started(os.getpid()),
        boot_id=clock.boot_id(),
        heartbeat_ns=clock.boottime_ns(),
        at=clock.now(),
        override_digest=None if wide is None else wide.digest,
        stops=gate.digests,
        in_flight=in_flight,
        schedules={"s1": ScheduleState(strategy="a1", tags=("t1",), in_flight=in_flight)},
    )


@contextmanager
def answering(root: Path, *, deaf: bool = False, in_flight: int = 0) -> Iterator[None]:
    """Tell the gate's state every 10 ms; a `deaf` one never looks at the directory again."""
    clock = SystemClock()
    gate = Gate(root, read_latch(root / GATE_FILE).installation_id, clock)
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(0.01):
            if not deaf:
                gate.refresh()
            write_state(root / STATE_FILE, state_of(root, gate, in_flight=in_flight))

    write_state(root / STATE_FILE, state_of(root, gate, in_flight=in_flight))
    thread = threading.Thread(target=tell)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        gate.close()
