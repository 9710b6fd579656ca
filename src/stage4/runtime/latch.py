"""
What the gate remembers: `var/runtime/gate.json`.

A stop that was seen once holds until an enable order releases it, whatever becomes of its file. The file has two
writers, the gate and the stopping command, which take turns under a lock; each adds, only the gate releases.
It fails towards stopped: a memory that is missing, damaged or foreign counts as a stop of all.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from stage4 import files
from stage4.clock import Clock, format_instant
from stage4.errors import Stage4Error, Unavailable
from stage4.runtime.state import Instant, decode, encode

GATE_FILE = Path("var/runtime/gate.json")
SCHEMA: Literal["stage4.gate/1"] = "stage4.gate/1"
UNREADABLE = "gate.stop_unreadable"
"""The fault of an override file that is there and cannot be read: it has no digest of its own."""
UNPLACED = "gate.stop_unplaced"
"""The fault of a stop whose override file could not be made: the memory alone has it."""
LIMIT = 16 << 20
_TRIES = 20
_BETWEEN_TRIES = 0.01


class LatchedStop(msgspec.Struct, frozen=True, kw_only=True):
    """A stop in force, in the words of the gate.

    `digest` is the SHA-256 that an enable order must name. `fault` is the catalogue code of what made the gate stop
    where no well-formed file did. `released_by` is the nonce of the order that is being carried out.
    """

    file_name: str
    digest: str
    since: Instant
    fault: str | None = None
    released_by: str | None = None


class Latch(msgspec.Struct, frozen=True, kw_only=True):
    """All stops in force by file name, and the nonces of the enable orders that were carried out."""

    schema: Literal["stage4.gate/1"] = SCHEMA
    installation_id: str
    updated_at: Instant
    stops: Mapping[str, LatchedStop] = {}
    consumed: tuple[str, ...] = ()

    def with_stop(self, file_name: str, digest: str, fault: str | None, now: datetime) -> Latch:
        """The stop `file_name` is in force; "" as digest where its content cannot be read.

        Unchanged when it is known already. Another content under the same name is another stop.
        """
        known = self.stops.get(file_name)
        if known is not None:
            same = digest == known.digest or (digest == "" and (fault == known.fault or fault != UNREADABLE))
            if same:
                return self
        marker = f"unreadable {self.installation_id} {file_name} {format_instant(now)}"
        stop = LatchedStop(
            file_name=file_name,
            digest=digest or hashlib.sha256(marker.encode()).hexdigest(),
            since=now,
            fault=fault,
        )
        return self._with({**self.stops, file_name: stop}, now)

    def releasing(self, file_name: str, nonce: str, now: datetime) -> Latch:
        """The order `nonce` is being carried out: from here on a crash finishes the release, not the stop."""
        stop = msgspec.structs.replace(self.stops[file_name], released_by=nonce)
        begun = self._with({**self.stops, file_name: stop}, now)
        return msgspec.structs.replace(begun, consumed=(*self.consumed, nonce))

    def held(self, file_name: str, now: datetime) -> Latch:
        """A release of the stop that a crash left unfinished is taken back, because somebody stopped again."""
        stop = self.stops[file_name]
        if stop.released_by is None:
            return self
        return self._with({**self.stops, file_name: msgspec.structs.replace(stop, released_by=None)}, now)

    def without(self, file_name: str, now: datetime) -> Latch:
        """The stop `file_name` is released."""
        return self._with({name: stop for name, stop in self.stops.items() if name != file_name}, now)

    def joined(self, other: Latch, now: datetime) -> Latch:
        """This memory with what `other` has beyond it, stops that this one has released excepted."""
        beyond = {name: stop for name, stop in other.stops.items() if stop.released_by not in self.consumed}
        stops = {**beyond, **self.stops}
        consumed = tuple(dict.fromkeys((*other.consumed, *self.consumed)))
        return msgspec.structs.replace(self._with(stops, now), consumed=consumed)

    def _with(self, stops: Mapping[str, LatchedStop], now: datetime) -> Latch:
        return msgspec.structs.replace(self, stops=stops, updated_at=now)


def create_latch(path: Path, installation_id: str, now: datetime) -> bool:
    """The first memory of a new installation, open; False when there is one already."""
    latch = Latch(installation_id=installation_id, updated_at=now)
    try:
        return files.exclusive_write(path, encode(latch), 0o600)
    except OSError as error:
        raise Unavailable("files.cannot_write", path=path, reason=files.reason(error)) from error


def read_latch(path: Path) -> Latch:
    """The memory as it stands; raises Unavailable `files.*`, UsageError `gate.bad_document`."""
    return decode(files.read_limited(path, LIMIT), Latch, path)


def write_latch(path: Path, latch: Latch) -> None:
    """Replace the memory durably; raises Unavailable `files.cannot_write`."""
    files.atomic_write(path, encode(latch), 0o600)


def latched_installation(path: Path) -> str | None:
    """The installation's id as the gate knows it, without reading any settings; None where it cannot be read."""
    try:
        return read_latch(path).installation_id
    except Stage4Error:
        return None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Try once to take the memory's lock; yields whether it was had. Death gives it back."""
    try:
        descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = True
    except OSError:
        held = False
    try:
        yield held
    finally:
        os.close(descriptor)


def latch_stop(path: Path, file_name: str, digest: str, fault: str | None, clock: Clock) -> bool:
    """Remember a stop on behalf of the gate, which may not be running; False when that was not possible."""
    for _ in range(_TRIES):
        with locked(path) as held:
            if held:
                try:
                    before = read_latch(path)
                    now = clock.now()
                    after = before.with_stop(file_name, digest, fault, now).held(file_name, now)
                    if after is not before:
                        write_latch(path, after)
                except Stage4Error:
                    return False
                return True
        clock.sleep(_BETWEEN_TRIES)
    return False
