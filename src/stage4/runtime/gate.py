"""
The gate: the last question before a signal leaves.

It fails closed. It opens only when, at this very moment, the override directory is the one it knows and none of the
override files that cover the signal exists; every other answer of the operating system is a stop. A stop seen once
is remembered in `gate.json` and holds until two people's order releases it: a file removed by hand, an expiry, a
restart or a lost memory never re-enable. Asked from one thread.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stage4 import files
from stage4.clock import Clock
from stage4.errors import Stage4Error, Unavailable, UsageError
from stage4.runtime import enable
from stage4.runtime.latch import GATE_FILE, UNPLACED, UNREADABLE, Latch, LatchedStop, locked, read_latch, write_latch
from stage4.runtime.stop import (
    ALL,
    CONSUMED,
    ORDER_PREFIX,
    OVERRIDES,
    STEM,
    Scope,
    ScopeKind,
    StopFacts,
    read_stop,
    scope_of,
)

if TYPE_CHECKING:
    from stage4.security.people import People

FILELESS = frozenset(
    {
        "gate.latch_missing",
        "gate.latch_damaged",
        "gate.latch_foreign",
        "gate.directory_missing",
        "gate.directory_replaced",
        UNPLACED,
    }
)
"""Faults of stops that have no override file."""


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """Whether the signal may leave; `reason_code` is a catalogue code, `stop` what holds it back."""

    open: bool
    reason_code: str
    stop: LatchedStop | None = None


OPEN = GateVerdict(True, "gate.open")
ENDED = GateVerdict(False, "gate.ended")
UNSEEN = GateVerdict(False, "gate.unseen")


@dataclass(frozen=True, slots=True)
class OrderOutcome:
    """What became of an enable order; `waiting` for a second signature or for a readable list of people."""

    path: Path
    nonce: str
    outcome: Literal["accepted", "refused", "waiting"]
    reason_code: str
    stop: LatchedStop | None = None
    signers: tuple[str, ...] = ()


class Gate:
    """The gate of the installation at `root`. Makes nothing: a missing directory or memory keeps it closed."""

    def __init__(self, root: Path, installation_id: str, clock: Clock) -> None:
        self._root = root
        self._directory = root / OVERRIDES
        self._memory = root / GATE_FILE
        self._installation_id = installation_id
        self._clock = clock
        self._descriptor = -1
        self._identity: tuple[int, int] | None = None
        self._names: dict[tuple[str, str, tuple[str, ...]], tuple[str, ...]] = {}
        self._memory_seen: tuple[int, int] | None = None
        self._unwritten = False
        self._vanished: frozenset[str] = frozenset()
        self._unrecognised = False
        self._latch = Latch(installation_id=installation_id, updated_at=clock.now())
        self._ended = False
        self._distrusted = False
        self._closed_at: dict[str, datetime] = {}
        self._open_directory()
        self.refresh()

    def close(self) -> None:
        """Give back the directory's descriptor; from then on nothing leaves."""
        self._ended = True
        self._close_descriptor()

    @property
    def directory(self) -> Path:
        """Where the override files lie."""
        return self._directory

    @property
    def stops(self) -> Mapping[str, LatchedStop]:
        """The stops in force by file name."""
        return self._latch.stops

    @property
    def closed_at(self) -> Mapping[str, datetime]:
        """Since when nothing leaves under each stop in force, by file name; before the memory of it is durable."""
        return self._closed_at

    @property
    def digests(self) -> dict[str, str]:
        """The digest of each stop in force by file name, as the scheduler's state repeats it."""
        return {name: stop.digest for name, stop in self._latch.stops.items()}

    @property
    def wide(self) -> LatchedStop | None:
        """The stop of everything, where one is in force."""
        return self._latch.stops.get(ALL.file_name)

    @property
    def alarms(self) -> tuple[str, ...]:
        """Catalogue codes of what somebody must look at, sorted."""
        codes = {stop.fault for stop in self._latch.stops.values() if stop.fault is not None}
        codes.update(self._reason(stop) for stop in self._latch.stops.values() if stop.file_name in self._vanished)
        if self._unwritten:
            codes.add("gate.latch_unwritten")
        if self._unrecognised:
            codes.add("gate.name_unrecognised")
        return tuple(sorted(codes))

    def permits(self, *, schedule: str, strategy: str, tags: Sequence[str] = ()) -> GateVerdict:
        """Whether a signal of this schedule may leave now; asked before every submission."""
        if self._ended:
            return ENDED
        if self._distrusted:
            return UNSEEN
        key = (schedule, strategy, tuple(tags))
        names = self._names.get(key)
        if names is None:
            names = self._names[key] = _names_covering(*key)
        if self._latch.stops:
            for name in names:
                if (stop := self._latch.stops.get(name)) is not None:
                    return GateVerdict(False, self._reason(stop), stop)
        if (fault := self._directory_fault()) is not None:
            return self._closed_by(self._remember(ALL.file_name, "", fault))
        for name in names:
            try:
                os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError:
                return self._closed_by(self._remember(name, "", UNREADABLE))
            return self._closed_by(self._take(name))
        return OPEN

    def distrust(self) -> None:
        """Let nothing leave until the next `refresh`: something may have happened that nobody heard of."""
        self._distrusted = True

    def refresh(self) -> None:
        """Look at the whole directory and at the memory: new stops, vanished ones, lost memory.

        Call it about every second and before telling others the state.
        """
        self._recall()
        if (fault := self._directory_fault()) is not None:
            self._remember(ALL.file_name, "", fault)
            self._open_directory()
        present = set()
        self._unrecognised = False
        for name in self._list_directory():
            if scope_of(name) is not None:
                present.add(name)
                self._take(name)
            elif name.startswith(STEM):
                self._unrecognised = True
        self._vanished = frozenset(
            name
            for name, stop in self._latch.stops.items()
            if name not in present and stop.fault not in FILELESS and stop.released_by is None
        )
        self._finish_releases()
        if self._unwritten:
            self._store()
        self._distrusted = False

    def apply_orders(self, people: People) -> tuple[OrderOutcome, ...]:
        """Verify the orders that lie before the gate and carry out the good ones, each to the end or not at all."""
        return tuple(self._apply(path, people) for path in enable.pending_orders(self._root))

    # What is remembered ------------------------------------------------------------------------------------------

    def _reason(self, stop: LatchedStop) -> str:
        if stop.file_name in self._vanished:
            return "gate.stop_vanished"
        return stop.fault or "gate.stopped"

    def _closed_by(self, stop: LatchedStop) -> GateVerdict:
        return GateVerdict(False, self._reason(stop), stop)

    def _take(self, name: str) -> LatchedStop:
        """Remember the override file `name` as it stands."""
        found = read_stop(self._directory, name, self._installation_id)
        if found is None:
            # It was there a moment ago: a stop that vanished is a stop.
            found = StopFacts(name, scope_of(name) or ALL, "", "gate.stop_vanished")
        return self._remember(name, found.digest, found.fault)

    def _remember(self, name: str, digest: str, fault: str | None) -> LatchedStop:
        before = self._latch
        self._latch = before.with_stop(name, digest, fault, self._clock.now())
        if self._latch is not before:
            self._note_closed()
            self._store()
        return self._latch.stops[name]

    def _note_closed(self) -> None:
        now, known = self._clock.now(), self._closed_at
        self._closed_at = {name: known.get(name, now) for name in self._latch.stops}

    def _recall(self) -> None:
        """Read the memory where somebody else wrote it; a lost one is a stop of all, and written anew."""
        try:
            seen = self._memory_identity()
            if seen == self._memory_seen:
                return
            stored = read_latch(self._memory)
        except (OSError, Unavailable):
            self._write_anew("gate.latch_missing")
            return
        except Stage4Error:
            self._write_anew("gate.latch_damaged")
            return
        if stored.installation_id != self._installation_id:
            self._write_anew("gate.latch_foreign")
            return
        self._latch = self._latch.joined(stored, self._clock.now())
        self._note_closed()
        self._memory_seen = seen
        # Where both know a stop by another digest ours holds, and the people who will sign must read the same.
        self._unwritten = self._unwritten or self._latch.stops != stored.stops

    def _write_anew(self, fault: str) -> None:
        """The memory on disk is no good: keep it aside for people, stop all, and write what is known here."""
        with contextlib.suppress(OSError):
            self._memory.rename(self._memory.with_suffix(".damaged"))
        self._unwritten = True
        self._remember(ALL.file_name, "", fault)

    def _store(self) -> bool:
        """Write the memory, with what the stopping command added since; False, and tried again, when it fails."""
        self._unwritten = True
        with locked(self._memory) as held:
            if not held:
                return False
            with contextlib.suppress(Stage4Error):
                stored = read_latch(self._memory)
                if stored.installation_id == self._installation_id and self._memory_identity() != self._memory_seen:
                    self._latch = self._latch.joined(stored, self._clock.now())
                    self._note_closed()
            try:
                write_latch(self._memory, self._latch)
                self._memory_seen = self._memory_identity()
            except (Stage4Error, OSError):
                return False
        self._unwritten = False
        return True

    def _memory_identity(self) -> tuple[int, int]:
        facts = os.stat(self._memory, follow_symlinks=False)
        return facts.st_ino, facts.st_mtime_ns

    # The directory -----------------------------------------------------------------------------------------------

    def _open_directory(self) -> None:
        self._close_descriptor()
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        with contextlib.suppress(OSError):
            self._descriptor = os.open(self._directory, flags)
            facts = os.fstat(self._descriptor)
            self._identity = (facts.st_dev, facts.st_ino)

    def _close_descriptor(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
        self._identity = None

    def _directory_fault(self) -> str | None:
        try:
            facts = os.stat(self._directory, follow_symlinks=False)
        except OSError:
            return "gate.directory_missing"
        if self._identity is None:
            return "gate.directory_missing"
        return None if (facts.st_dev, facts.st_ino) == self._identity else "gate.directory_replaced"

    def _list_directory(self) -> list[str]:
        if self._descriptor < 0:
            return []
        try:
            return sorted(os.listdir(self._descriptor))
        except OSError:
            self._remember(ALL.file_name, "", "gate.directory_missing")
            return []

    # Releasing ---------------------------------------------------------------------------------------------------

    def _apply(self, path: Path, people: People) -> OrderOutcome:
        nonce = path.stem.removeprefix(ORDER_PREFIX)
        try:
            order = enable.read_order(path)
        except Unavailable as error:
            return OrderOutcome(path, nonce, "waiting", error.code)
        except Stage4Error as error:
            return self._refuse(path, nonce, error.code, ())
        statement, signers = order.statement, enable.signers_of(order)
        stop = self._latch.stops.get(statement.stop)
        if statement.nonce in self._latch.consumed and stop is None and not self._kept(statement.nonce).exists():
            # The crash came between the release and the keeping of its order.
            self._keep(path, statement.nonce)
            return OrderOutcome(path, statement.nonce, "accepted", "gate.order_accepted", None, signers)
        if len(signers) < 2:
            return OrderOutcome(path, statement.nonce, "waiting", "gate.order_waiting", stop, signers)
        try:
            enable.verify_order(order, self._latch, people, self._clock.now())
        except OverflowError:
            return self._refuse(path, statement.nonce, "gate.bad_document", signers)
        except Stage4Error as error:
            return self._refuse(path, statement.nonce, error.code, signers)
        before = self._latch
        self._latch = before.releasing(statement.stop, statement.nonce, self._clock.now())
        if not self._store():
            self._latch = before
            return OrderOutcome(path, statement.nonce, "waiting", "gate.latch_unwritten", stop, signers)
        if not self._finish_release(self._latch.stops[statement.stop], statement.nonce):
            return OrderOutcome(path, statement.nonce, "waiting", "gate.order_unfinished", stop, signers)
        self._keep(path, statement.nonce)
        return OrderOutcome(path, statement.nonce, "accepted", "gate.order_accepted", stop, signers)

    def _finish_releases(self) -> None:
        for stop in tuple(self._latch.stops.values()):
            if stop.released_by is not None:
                self._finish_release(stop, stop.released_by)

    def _finish_release(self, stop: LatchedStop, nonce: str) -> bool:
        """Take the override file away and forget the stop; False when another stop stands there, or nothing moves.

        May be repeated from any point: the memory says `released_by` until the stop is forgotten.
        """
        standing = read_stop(self._directory, stop.file_name, self._installation_id)
        if standing is not None and not (_same(standing, stop) and self._move_aside(stop, nonce)):
            self._take(stop.file_name)
            return False
        before = self._latch
        self._latch = before.without(stop.file_name, self._clock.now())
        self._note_closed()
        if not self._store():
            self._latch = before
            return False
        return True

    def _move_aside(self, stop: LatchedStop, nonce: str) -> bool:
        """Keep the override file as evidence; put it back when it turns out to be another one."""
        source = self._directory / stop.file_name
        kept = self._directory / CONSUMED / f"stop_{nonce}.json"
        try:
            kept.parent.mkdir(mode=0o700, exist_ok=True)
            source.rename(kept)
            moved = read_stop(kept.parent, kept.name, self._installation_id)
            if moved is None or not _same(moved, stop):
                kept.rename(source)
                return False
            files.fsync_dir(kept.parent)
            files.fsync_dir(self._directory)
        except OSError:
            return False
        return True

    def _refuse(self, path: Path, nonce: str, code: str, signers: tuple[str, ...]) -> OrderOutcome:
        self._move_order(path, self._directory / enable.REFUSED / path.name)
        return OrderOutcome(path, nonce, "refused", code, None, signers)

    def _kept(self, nonce: str) -> Path:
        return self._directory / CONSUMED / f"{ORDER_PREFIX}{nonce}.json"

    def _keep(self, path: Path, nonce: str) -> None:
        self._move_order(path, self._kept(nonce))

    def _move_order(self, path: Path, target: Path) -> None:
        with contextlib.suppress(OSError):
            target.parent.mkdir(mode=0o700, exist_ok=True)
            path.rename(target)


def _same(standing: StopFacts, stop: LatchedStop) -> bool:
    if not standing.digest:
        return stop.fault == UNREADABLE
    return standing.digest == stop.digest


def _names_covering(schedule: str, strategy: str, tags: Sequence[str]) -> tuple[str, ...]:
    """The override files that stop this signal; a name that no file can carry has none."""
    scopes = [
        ALL,
        Scope(ScopeKind.STRATEGY, strategy),
        Scope(ScopeKind.SCHEDULE, schedule),
        *(Scope(ScopeKind.TAG, tag) for tag in tags),
    ]
    names = []
    for scope in scopes:
        with contextlib.suppress(UsageError):
            names.append(scope.file_name)
    return tuple(names)
