"""
The scheduler's own word about itself: `var/runtime/state.json`.

Only the environment writes it; commands, the service and the audit read it. It travels by file and not over the
network, so that it is there in the worst hour. A word counts only while its writer lives: same boot, same process
(pid and start time), and a heartbeat younger than the question.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec

from stage4 import files
from stage4.clock import Clock
from stage4.errors import UsageError
from stage4.runtime.lateness import LatenessFigures

T = TypeVar("T")
SCHEMA: Literal["stage4.runtime_state/1"] = "stage4.runtime_state/1"
STATE_FILE = Path("var/runtime/state.json")
LIMIT = 1 << 20
Count = Annotated[int, msgspec.Meta(ge=0)]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""One that names its offset from UTC: another one compares with nothing, so a document that has it is malformed."""


class SchedulerState(StrEnum):
    """`disabled` only when a stop of all is in force and nothing is in flight; `stopping` in between."""

    ENABLED = "enabled"
    STOPPING = "stopping"
    DISABLED = "disabled"


class ScheduleState(msgspec.Struct, frozen=True):
    """One schedule; `in_flight` counts evaluations begun and not yet done, `signals` those submitted, `missed_slots`
    those that never ran; `lateness` is that of every dispatch since the scheduler began."""

    strategy: str
    tags: tuple[str, ...] = ()
    state: str = "enabled"
    in_flight: Count = 0
    signals: Count = 0
    missed_slots: Count = 0
    lateness: LatenessFigures = LatenessFigures()
    suspended: bool = False
    """Whether it is suspended, also where `state` names a stop, which is the graver word."""


class ResourceState(msgspec.Struct, frozen=True, kw_only=True):
    """What the environment and its children used over the last `seconds`, against `runtime.resource_limits`.

    `status` is `error` beyond a limit, `warning` beyond the headroom of one or where nothing was measured; `reasons`
    name the limits; `largest_share` is 1 at a limit. CPU in per cent of the whole machine, I/O in MB/s of the disk."""

    status: Literal["ok", "warning", "error"]
    reasons: tuple[str, ...] = ()
    largest_share: float = 0.0
    cpu_percent: float = 0.0
    memory_mb: float = 0.0
    io_read_mb_s: float = 0.0
    io_write_mb_s: float = 0.0
    seconds: float = 0.0


class OrderCancellation(msgspec.Struct, frozen=True):
    """Orders that stood at a venue when a stop came: `found` at most at once, `working` still; `fault` where the
    broker could not be asked, so that a zero is no answer."""

    found: Count = 0
    working: Count = 0
    fault: str | None = None

    @property
    def settled(self) -> bool:
        """Whether the broker said that no order works any more."""
        return self.working == 0 and self.fault is None


class StopProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far one stop has come: the gate closed at `closed_at`, its memory of it was written by `acknowledged_at`,
    nothing was in flight at `verified_at`; what became of the orders at the venue is told apart."""

    digest: str
    closed_at: Instant
    acknowledged_at: Instant
    verified_at: Instant | None = None
    orders: OrderCancellation = OrderCancellation()


class RuntimeState(msgspec.Struct, frozen=True, kw_only=True):
    """What the scheduler says of itself at `at`; `stops` maps each stop it honours to that stop's digest.

    `progress` tells how far each has come; `hears`: it is told of changes in the override directory at once, and does
    not only look."""

    schema: Literal["stage4.runtime_state/1"] = SCHEMA
    installation_id: str
    state: SchedulerState
    pid: Count
    process_started: Count
    boot_id: str
    heartbeat_ns: Count
    at: Instant
    override_digest: str | None = None
    stops: Mapping[str, str] = {}
    in_flight: Count = 0
    signals_submitted: Count = 0
    signals_after_stop: Count = 0
    working_orders: Count = 0
    progress: Mapping[str, StopProgress] = {}
    hears: bool = False
    schedules: Mapping[str, ScheduleState] = {}
    alarms: tuple[str, ...] = ()
    resources: ResourceState | None = None


def process_started(pid: int) -> int:
    """Start time of `pid` in clock ticks since boot (field 22 of /proc/PID/stat), 0 when it does not run.

    Tells a process from a later one with the same number.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    fields = stat.rpartition(")")[2].split()  # the name in parentheses may hold anything
    state, started = fields[0], fields[19]
    return 0 if state in ("Z", "X") else int(started)


def answers_since(state: RuntimeState, since_ns: int, clock: Clock) -> bool:
    """Whether a scheduler that still lives wrote `state` after the boot-time instant `since_ns`."""
    return (
        state.heartbeat_ns >= since_ns
        and state.boot_id == clock.boot_id()
        and process_started(state.pid) == state.process_started > 0
    )


def write_state(path: Path, state: RuntimeState) -> None:
    """Replace the state in one step; raises Unavailable `files.cannot_write`."""
    files.atomic_write(path, encode(state))


def read_state(path: Path) -> RuntimeState:
    """The scheduler's last word; raises Unavailable `files.*`, UsageError `gate.bad_document`."""
    return decode(files.read_limited(path, LIMIT), RuntimeState, path)


def decode(content: bytes, kind: type[T], subject: object) -> T:
    """`content` as the JSON of `kind`; raises UsageError `gate.bad_document` naming `subject`."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UsageError("gate.bad_document", path=subject, reason=str(error)) from error


def encode(document: msgspec.Struct) -> bytes:
    """`document` as JSON that people can read."""
    return msgspec.json.format(msgspec.json.encode(document)) + b"\n"
