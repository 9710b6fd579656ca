"""
What is stopped in an installation, by whom, why and since when, and what its scheduler says of it.

Read from the override directory, the gate's memory and the scheduler's last word; settings, keys, database and network
are not needed. What cannot be read counts as a stop of everything, as the gate counts it, and is said to be that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from stage4.clock import Clock, format_instant
from stage4.errors import Stage4Error
from stage4.runtime import enable, kill
from stage4.runtime.latch import GATE_FILE, Latch, LatchedStop, read_latch
from stage4.runtime.state import STATE_FILE, RuntimeState, StopProgress, read_state
from stage4.runtime.stop import ALL, OVERRIDES, Scope, StopDocument, read_stop, scope_of
from stage4.runtime.stop_report import in_force, orders_state
from stage4.runtime.stop_report import progress as told_progress
from stage4.runtime.stop_report import scope as told_scope

FRESH = timedelta(seconds=3)
"""A scheduler beats twice a second; one whose last beat is older does not answer."""

Answer = Literal["answers", "hung", "ended", "absent"]


@dataclass(frozen=True, slots=True)
class StopShown:
    """One stop in force.

    `stands`: its file lies there; `latched`: the gate's memory has it; `document`: what the file says, None where it
    says nothing readable; `progress`: the scheduler's word on it, None where it does not honour it (yet).
    """

    file_name: str
    scope: Scope
    digest: str
    stands: bool
    latched: LatchedStop | None
    fault: str | None
    document: StopDocument | None
    progress: StopProgress | None

    @property
    def since(self) -> datetime | None:
        """When it was asked for, or else when the gate first saw it."""
        if self.document is not None:
            return self.document.timestamp
        return None if self.latched is None else self.latched.since


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything in force; `faults` are catalogue codes of what stops everything without a file."""

    stops: tuple[StopShown, ...]
    faults: tuple[str, ...]
    waiting_orders: tuple[str, ...]
    answer: Answer
    state: RuntimeState | None

    @property
    def stops_all(self) -> bool:
        """Whether nothing may leave."""
        return bool(self.faults) or any(stop.file_name == ALL.file_name for stop in self.stops)


def gather(root: Path, clock: Clock) -> Overview:
    """What is in force in the installation at `root` now."""
    directory, faults = root / OVERRIDES, []
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        names = []
        faults.append("gate.directory_missing")
    latch: Latch | None = None
    try:
        latch = read_latch(root / GATE_FILE)
    except Stage4Error:
        faults.append("gate.latch_damaged" if (root / GATE_FILE).exists() else "gate.latch_missing")
    answer, state = last_word(root, clock)
    latched = {} if latch is None else dict(latch.stops)
    standing = {name for name in names if scope_of(name) is not None}
    stops = tuple(
        _shown(directory, name, latch, state if answer == "answers" else None)
        for name in sorted(standing | latched.keys(), key=lambda name: (name != ALL.file_name, name))
    )
    orders = tuple(path.name for path in enable.pending_orders(root))
    return Overview(stops, tuple(faults), orders, answer, state)


def last_word(root: Path, clock: Clock) -> tuple[Answer, RuntimeState | None]:
    """What the scheduler said last, and whether it still answers."""
    try:
        state = read_state(root / STATE_FILE)
    except Stage4Error:
        return "absent", None
    if not kill.runs(state, clock):
        return "ended", state
    age = timedelta(microseconds=(clock.boottime_ns() - state.heartbeat_ns) / 1000)
    return ("answers" if age <= FRESH else "hung"), state


def _shown(directory: Path, name: str, latch: Latch | None, state: RuntimeState | None) -> StopShown:
    installation_id = "" if latch is None else latch.installation_id
    standing = read_stop(directory, name, installation_id)
    latched = None if latch is None else latch.stops.get(name)
    fault = standing.fault if standing is not None else latched.fault if latched is not None else None
    if standing is None and fault is None:
        fault = "gate.stop_vanished"
    if fault == "gate.stop_foreign" and latch is None:
        fault = None  # without the memory nobody knows whose file it is
    digest = (standing.digest if standing is not None else "") or (latched.digest if latched is not None else "")
    progress = None if state is None else state.progress.get(name)
    return StopShown(
        file_name=name,
        scope=scope_of(name) or ALL,
        digest=digest,
        stands=standing is not None,
        latched=latched,
        fault=fault,
        document=None if standing is None else standing.document,
        progress=progress if progress is not None and digest in ("", progress.digest) else None,
    )


def document(root: Path, shown: Overview) -> dict[str, object]:
    """The document `stage4.override/1`."""
    return {
        "schema": "stage4.override/1",
        "root": str(root),
        "stops_all": shown.stops_all,
        "faults": list(shown.faults),
        "stops": [_stop(stop) for stop in shown.stops],
        "waiting_orders": list(shown.waiting_orders),
        "scheduler": {"answer": shown.answer, **_scheduler(shown.state)},
    }


def _stop(stop: StopShown) -> dict[str, object]:
    return {
        "file": stop.file_name,
        "scope": told_scope(stop.scope),
        "sha256": stop.digest,
        "stands": stop.stands,
        "latched": stop.latched is not None,
        "fault": stop.fault,
        "since": None if stop.since is None else format_instant(stop.since),
        "in_force": None if stop.document is None else in_force(stop.document),
        "scheduler": None if stop.progress is None else told_progress(stop.progress),
    }


def _scheduler(state: RuntimeState | None) -> dict[str, object]:
    if state is None:
        return {}
    return {
        "state": state.state.value,
        "pid": state.pid,
        "at": format_instant(state.at),
        "in_flight": state.in_flight,
        "working_orders": state.working_orders,
        "signals_after_stop": state.signals_after_stop,
        "hears": state.hears,
        "alarms": list(state.alarms),
    }


Line = tuple[str, dict[str, object]]


def lines(shown: Overview, now: datetime) -> Iterator[Line]:
    """The same for people, as catalogue codes with their parameters."""
    if not shown.stops and not shown.faults:
        yield "override.nothing", {}
    for fault in shown.faults:
        yield fault, {}
    for stop in shown.stops:
        yield f"override.scope_{stop.scope.kind.value}", {"name": stop.scope.name, "file": stop.file_name}
        yield from _of_stop(stop, now)
    for order in shown.waiting_orders:
        yield "override.order_waits", {"order": order}
    state = shown.state
    yield (
        f"override.scheduler_{shown.answer}",
        {} if state is None else {"pid": state.pid, "state": state.state.value, "at": state.at, "n": state.in_flight},
    )
    if state is not None and shown.answer == "answers" and not state.hears:
        yield "override.only_looks", {}


def _of_stop(stop: StopShown, now: datetime) -> Iterator[Line]:
    if stop.document is not None:
        said = stop.document
        yield "override.who", {"person": said.requested_by or "?", "at": said.timestamp, "reason": said.reason or "-"}
        if said.ticket:
            yield "override.ticket", {"ticket": said.ticket}
        if said.expires_at is not None:
            yield "override.expired" if said.expires_at <= now else "override.expires", {"at": said.expires_at}
    elif stop.since is not None:
        yield "override.seen", {"at": stop.since}
    if stop.fault is not None:
        yield "override.fault", {"fault": stop.fault}
    if stop.latched is None:
        yield "override.not_latched", {}
    if stop.progress is None:
        yield "override.not_honoured", {}
        return
    come = stop.progress
    yield "override.gate_closed", {"at": come.closed_at}
    if come.verified_at is not None:
        yield "override.verified", {"at": come.verified_at}
    orders = come.orders
    yield f"override.orders_{orders_state(orders)}", {"n": orders.working or orders.found, "reason": orders.fault or ""}
