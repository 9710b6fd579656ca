"""
Stopping: the override file, and the scheduler's answer to it.

Stopping needs no key, no second person, no database, no log and no network: one file in one directory is the stop.
It fails towards stopped. Where the file cannot be written whole (full disk, no hard links) a part of it, or an
empty one, still stops, because the gate asks only whether the name exists. Where no file can be made at all the gate's
memory takes the stop, if it can: a running scheduler reads it ten times a second, the next one at its start.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote

import msgspec

from stage4 import files, ids
from stage4.clock import Clock
from stage4.errors import Stage4Error, Unavailable, UsageError
from stage4.runtime import state as runtime_state
from stage4.runtime.latch import GATE_FILE, UNPLACED, UNREADABLE, latch_stop, latched_installation
from stage4.runtime.state import STATE_FILE, Instant, RuntimeState, SchedulerState

OVERRIDES = Path("var/runtime/overrides")
CONSUMED = "consumed"
ORDER_PREFIX = "enable_"
SCHEMA: Literal["stage4.scheduler.override"] = "stage4.scheduler.override"
STEM = "multi_strategy_disable"
LIMIT = 64 * 1024
POLL_SECONDS = 0.02


class ScopeKind(StrEnum):
    ALL = "all"
    STRATEGY = "strategy"
    SCHEDULE = "schedule"
    TAG = "tag"


class Scope(msgspec.Struct, frozen=True):
    """What a stop covers: everything, or one strategy, schedule or tag by `name`."""

    kind: ScopeKind
    name: str = ""

    @property
    def file_name(self) -> str:
        """The name of the override file; raises UsageError `stop.bad_scope` where no file can carry it."""
        if self.kind is ScopeKind.ALL:
            return f"{STEM}.json"
        file_name = f"{STEM}.{self.kind}.{quote(self.name, safe='')}.json"
        if not self.name or len(file_name) > 200:
            raise UsageError("stop.bad_scope", kind=self.kind.value, name=self.name)
        return file_name

    def covers(self, schedule: str, strategy: str, tags: Sequence[str]) -> bool:
        """Whether signals of this schedule are stopped."""
        match self.kind:
            case ScopeKind.ALL:
                return True
            case ScopeKind.STRATEGY:
                return strategy == self.name
            case ScopeKind.SCHEDULE:
                return schedule == self.name
            case ScopeKind.TAG:
                return self.name in tags


ALL = Scope(ScopeKind.ALL)


def scope_of(file_name: str) -> Scope | None:
    """The scope that an override file's name means, or None for any other name."""
    if file_name == ALL.file_name:
        return ALL
    stem, _, rest = file_name.partition(".")
    kind, _, rest = rest.partition(".")
    name, dot, suffix = rest.rpartition(".")
    if stem != STEM or kind not in ("strategy", "schedule", "tag") or not name or (dot, suffix) != (".", "json"):
        return None
    return Scope(ScopeKind(kind), unquote(name))


class StopDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The override file; `id` makes every stop's digest its own, so that no order fits two stops."""

    schema: Literal["stage4.scheduler.override"] = SCHEMA
    schema_version: Literal["1.0"] = "1.0"
    id: str
    installation_id: str | None
    timestamp: Instant
    action: Literal["disable_multi_strategy"] = "disable_multi_strategy"
    component: str
    scope: Scope
    reason: str
    ticket: str | None = None
    requested_by: str | None = None
    expires_at: Instant | None = None


@dataclass(frozen=True, slots=True)
class StopFacts:
    """One override file as found. `fault` is the catalogue code of what is wrong with it, None for a good one.

    `digest` is the SHA-256 of its bytes in hexadecimal, "" when they cannot be read.
    """

    file_name: str
    scope: Scope
    digest: str
    fault: str | None = None
    document: StopDocument | None = None


def judge_stop(file_name: str, content: bytes, installation_id: str) -> StopFacts:
    """What `content` under `file_name` says. Whatever it says, it stops; the name alone decides the scope."""
    scope = scope_of(file_name) or ALL
    digest = hashlib.sha256(content).hexdigest()
    if not content:
        return StopFacts(file_name, scope, digest, "gate.stop_empty")
    if len(content) > LIMIT:
        return StopFacts(file_name, scope, digest, "gate.stop_malformed")
    try:
        document = runtime_state.decode(content, StopDocument, file_name)
    except UsageError:
        return StopFacts(file_name, scope, digest, "gate.stop_malformed")
    fault = None
    if document.installation_id != installation_id:
        fault = "gate.stop_foreign"
    elif document.scope != scope:
        fault = "gate.stop_renamed"
    return StopFacts(file_name, scope, digest, fault, document)


def read_stop(directory: Path, file_name: str, installation_id: str) -> StopFacts | None:
    """The override file as it stands, or None where there is none.

    Links are not followed and a pipe is not waited for: such a file stops, and counts as unreadable.
    """
    unreadable = StopFacts(file_name, scope_of(file_name) or ALL, "", UNREADABLE)
    try:
        descriptor = os.open(directory / file_name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:
        return unreadable
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return unreadable
        content = b""
        while len(content) <= LIMIT and (piece := os.read(descriptor, LIMIT + 1 - len(content))):
            content += piece
    except OSError:
        return unreadable
    finally:
        os.close(descriptor)
    return judge_stop(file_name, content, installation_id)


@dataclass(frozen=True, slots=True)
class StopReceipt:
    """What a request to stop left behind.

    `already`: the stop stood before; `latched`: the gate's memory has it too, so that removing the file by hand
    does not re-enable even where no scheduler has seen it; `partial`: the operating system's reason why the file
    is not whole (it stops nevertheless); not `placed`: there is no file, only the memory stops.
    """

    path: Path
    facts: StopFacts
    already: bool
    latched: bool
    partial: str | None = None
    placed: bool = True


def request_stop(
    root: Path,
    *,
    scope: Scope = ALL,
    reason: str,
    ticket: str | None = None,
    requested_by: str | None = None,
    component: str = "multi_strategy",
    expires_at: datetime | None = None,
    clock: Clock,
) -> StopReceipt:
    """Put the override file of `scope` in place, or find the one that stands.

    Whoever stops wants it stopped: enable orders that nobody has carried out yet are void from then on. An expiry
    only informs: nothing re-enables by itself. Raises Unavailable `stop.cannot_write` when not even an empty file
    can be made and the gate's memory does not take the stop either.
    """
    now = clock.now()
    path = root / OVERRIDES / scope.file_name
    installation_id = latched_installation(root / GATE_FILE)
    document = StopDocument(
        id=ids.short_id(),
        installation_id=installation_id,
        timestamp=now,
        component=component,
        scope=scope,
        reason=reason,
        ticket=ticket,
        requested_by=requested_by,
        expires_at=expires_at,
    )
    content = runtime_state.encode(document)
    while True:
        _void_orders(path.parent)
        try:
            created, partial = _place(path, content)
        except Unavailable as error:
            # Without a file there are no bytes to name it by: whatever stops this scope in the memory is the stop.
            unplaced = StopFacts(path.name, scope, "", UNPLACED, document)
            return _remember_only(root, path, unplaced, error, clock)
        facts = read_stop(path.parent, path.name, installation_id or "")
        if facts is not None:
            break  # otherwise the scheduler carried out an enable order in between: this is a new stop
    latched = latch_stop(root / GATE_FILE, facts.file_name, facts.digest, facts.fault, clock)
    return StopReceipt(path, facts, already=not created, latched=latched, partial=partial if created else None)


def _remember_only(root: Path, path: Path, facts: StopFacts, error: Unavailable, clock: Clock) -> StopReceipt:
    """The stop in the gate's memory alone; raises `error` where that is not possible either."""
    if not latch_stop(root / GATE_FILE, facts.file_name, facts.digest, facts.fault, clock):
        raise error
    return StopReceipt(path, facts, already=False, latched=True, partial=str(error.params["reason"]), placed=False)


def _void_orders(directory: Path) -> None:
    """Set pending enable orders aside, as far as the disk lets us: a stop never fails for them."""
    aside = directory / CONSUMED
    with contextlib.suppress(OSError):
        for order in sorted(directory.glob(f"{ORDER_PREFIX}*.json")):
            aside.mkdir(mode=0o700, exist_ok=True)
            order.rename(aside / f"void_{order.name}")


def _place(path: Path, content: bytes) -> tuple[bool, str | None]:
    """(Made it, why it is not whole); temp, fsync, link, and on failure as much of a new file as can be had."""
    try:
        return files.exclusive_write(path, content, 0o600), None
    except OSError as error:
        trouble = error
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        # Either it stood before, or it was linked and only the directory's fsync failed.
        return False, files.reason(trouble)
    except OSError as error:
        raise Unavailable("stop.cannot_write", path=path, reason=files.reason(error)) from error
    try:
        with contextlib.suppress(OSError):
            if trouble.errno != errno.ENOSPC:
                files.write_all(descriptor, content)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return True, files.reason(trouble)


Answer = Literal["disabled", "stopping", "enabled", "silent", "absent"]


@dataclass(frozen=True, slots=True)
class Word:
    """The scheduler's answer and the state it stands in.

    `disabled`: honours the stop, nothing in flight; `stopping`: honours it, something still in flight; `enabled`:
    lives and does not honour it; `silent`: wrote a state once and does not answer; `absent`: never wrote one.
    """

    answer: Answer
    state: RuntimeState | None
    waited_ms: float


def judge_word(state: RuntimeState, facts: StopFacts) -> Answer:
    """What a living scheduler's `state` says about the stop `facts`; pure."""
    if facts.scope.kind is ScopeKind.ALL:
        if state.override_digest is None or facts.digest not in ("", state.override_digest):
            return "enabled"
        settled = state.state is SchedulerState.DISABLED and state.in_flight == 0
    else:
        if state.state is SchedulerState.DISABLED and state.in_flight == 0:
            return "disabled"  # a wider stop holds the part too
        honoured = state.stops.get(facts.file_name)
        if honoured is None or facts.digest not in ("", honoured):
            return "enabled"
        settled = not any(
            schedule.in_flight
            for name, schedule in state.schedules.items()
            if facts.scope.covers(name, schedule.strategy, schedule.tags)
        )
    return "disabled" if settled else "stopping"


def wait_for_word(root: Path, facts: StopFacts, *, timeout: timedelta, since_ns: int, clock: Clock) -> Word:
    """Wait until a scheduler says `disabled` after `since_ns` (boot time), at most `timeout`."""
    return wait_for(root, lambda state: judge_word(state, facts), "disabled", timeout, since_ns, clock)


def wait_until_enabled(
    root: Path, file_name: str, digest: str, *, timeout: timedelta, since_ns: int, clock: Clock
) -> Word:
    """Wait until a scheduler no longer honours the stop `digest`; another stop keeps the answer `disabled`."""

    def judge(state: RuntimeState) -> Answer:
        if state.stops.get(file_name) == digest or state.state is not SchedulerState.ENABLED:
            return "disabled"
        return "enabled"

    return wait_for(root, judge, "enabled", timeout, since_ns, clock)


def wait_for(
    root: Path,
    judge: Callable[[RuntimeState], Answer],
    wanted: Answer,
    timeout: timedelta,
    since_ns: int,
    clock: Clock,
) -> Word:
    """Read the scheduler's state until `judge` finds `wanted`; the last answer when the time is over."""
    began = clock.monotonic_ns()
    while True:
        word = _answer(root / STATE_FILE, judge, since_ns, clock)
        waited_ns = clock.monotonic_ns() - began
        if word[0] == wanted or waited_ns >= timeout / timedelta(microseconds=1) * 1000:
            return Word(*word, waited_ms=round(waited_ns / 1e6, 3))
        clock.sleep(POLL_SECONDS)


def _answer(
    path: Path, judge: Callable[[RuntimeState], Answer], since_ns: int, clock: Clock
) -> tuple[Answer, RuntimeState | None]:
    try:
        state = runtime_state.read_state(path)
    except Stage4Error:
        return ("silent" if path.exists() else "absent"), None
    if not runtime_state.answers_since(state, since_ns, clock):
        return "silent", state
    return judge(state), state
