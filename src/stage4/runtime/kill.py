"""
The last resort: end the scheduler's process by SIGKILL, and no other process.

A process is known by boot id, pid and start time, all three from its own last word in `state.json`. Its descriptor
(pidfd) is opened first and judged then, so that a number given to somebody else in between is never hit. Where the
system has no pidfd nothing is killed: a wrong process killed is worse than a person who has to do it by hand.

What a killed scheduler leaves: its workers and its telemetry end by themselves, the gate stays closed as far as a stop
is in place, and orders that work at a venue go on working, because nobody is left to cancel them.
"""

from __future__ import annotations

import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stage4 import files
from stage4.clock import Clock
from stage4.errors import Stage4Error
from stage4.runtime.state import STATE_FILE, RuntimeState, process_started, read_state

END_SECONDS = 5.0
Outcome = Literal["killed", "gone", "unknown", "refused", "survived"]


@dataclass(frozen=True, slots=True)
class Kill:
    """
    What became of it.

    `killed`: the process has ended; `gone`: the process of the last word had ended before; `unknown`: no readable last
    word, so nobody knows whom; `refused`: the system would not let us, for `reason`; `survived`: the signal was
    given and the process has not ended (it hangs in the kernel).
    """

    outcome: Outcome
    pid: int | None = None
    working_orders: int = 0
    """Orders that worked at a venue by the last word; they go on working."""
    reason: str | None = None


def runs(state: RuntimeState, clock: Clock) -> bool:
    """Whether the very process that wrote `state` still runs; a stopped one does."""
    return state.boot_id == clock.boot_id() and 0 < state.process_started == process_started(state.pid)


def kill_scheduler(root: Path, clock: Clock) -> Kill:
    """End the process that wrote the last word in the installation at `root`."""
    try:
        state = read_state(root / STATE_FILE)
    except Stage4Error as error:
        return Kill("unknown", reason=str(error))
    return kill_process(state, clock)


def kill_process(state: RuntimeState, clock: Clock) -> Kill:
    """End the process that wrote `state`, and wait at most five seconds until it has ended."""
    told = state.pid, state.working_orders
    if state.pid in (0, 1, os.getpid()):
        return Kill("refused", *told, "not a scheduler")
    if not hasattr(os, "pidfd_open"):
        return Kill("refused", *told, "no pidfd")
    try:
        descriptor = os.pidfd_open(state.pid)
    except ProcessLookupError:
        return Kill("gone", *told)
    except OSError as error:
        return Kill("refused", *told, files.reason(error))
    try:
        # Judged with the descriptor in hand: it goes on meaning this process, whatever its number means later.
        if not runs(state, clock):
            return Kill("gone", *told)
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        ended, _, _ = select.select([descriptor], [], [], END_SECONDS)
    except ProcessLookupError:
        return Kill("gone", *told)
    except OSError as error:
        return Kill("refused", *told, files.reason(error))
    finally:
        os.close(descriptor)
    return Kill("killed" if ended else "survived", *told)
