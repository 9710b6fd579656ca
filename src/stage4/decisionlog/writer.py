"""
Appends entries: one order, one chain, whatever the number of processes.

Lock → read the end → sign → one write → unlock → fdatasync → acknowledge. The lock spans read, sign and write,
so two writers never chain to the same entry; flushing outside the lock lets the kernel flush for several
writers at once. What is not acknowledged may be lost; what is acknowledged is on the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stage4 import files, ids
from stage4.clock import Clock, format_instant
from stage4.decisionlog import logfile, repair
from stage4.decisionlog.canonical import Malformed, parse_strict
from stage4.decisionlog.chain import Sealer, genesis_prev, leaf_digest
from stage4.decisionlog.entry import (
    GENESIS,
    KEY_ROTATION,
    LOG_CATEGORY,
    Draft,
    Entry,
    Place,
    Receipt,
    payload_of,
    read_payload,
)
from stage4.decisionlog.prefix import Prefix, is_v2
from stage4.errors import Unavailable
from stage4.security.keyring import Key, KeyRing, KeyState

LOG_MODE = 0o640


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of a log: what the next one chains to."""

    seq: int
    digest: str
    log_id: str


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where the next line goes: after `head`, at byte `size`, as line number `line`, under `key`."""

    head: Head
    key: Key
    size: int
    line: int


class DecisionLog:
    """The one decision log at `path`; safe to share between threads and to open in many processes.

    `origin` names in the genesis entry who began the log, for example the installation id. Every method raises
    Unavailable when the log, its lock (after `lock_timeout` seconds) or its key cannot be had.
    """

    def __init__(self, path: Path, keyring: KeyRing, clock: Clock, *, origin: str, lock_timeout: float = 2.0) -> None:
        self.path = path
        self._keyring = keyring
        self._clock = clock
        self._origin = origin
        self._lock_timeout = lock_timeout
        self._sealers: dict[tuple[str, str], Sealer] = {}
        # The end of the file as this process left it; valid while the file is the same and of the same size.
        self._left: tuple[int, int, _Spot] | None = None
        # The file, and how far its line numbers are ahead of its entry numbers, which no append changes.
        self._ahead: tuple[int, int] | None = None
        self._flush_failed = False

    def append(self, draft: Draft) -> Receipt:
        """Seal `draft` as the next entry; returns once it is on the disk."""
        return self.append_many((draft,))[0]

    def append_many(self, drafts: Sequence[Draft]) -> tuple[Receipt, ...]:
        """Seal all drafts next to each other with one lock, one write and one flush: all of them or none."""
        if not drafts:
            return ()
        if self._flush_failed:
            # After a failed flush the kernel may drop the pages and report success the next time.
            raise Unavailable("log.flush_failed", path=self.path, reason="an earlier flush failed")
        with self._open() as descriptor:
            with logfile.locked(self.path, descriptor, fcntl.LOCK_EX, self._lock_timeout, self._clock):
                spot = self._spot(descriptor)
                receipts, after = self._sealed(drafts, spot)
                self._write(descriptor, spot.size, b"".join(receipt.raw + b"\n" for receipt in receipts))
                self._remember(descriptor, after)
            self._flush(descriptor)
        return receipts

    def rehearse(self, draft: Draft) -> bytes:
        """The payload that `draft` would get as the next entry; nothing is written, nothing is signed."""
        head = self.head()
        if head is None:
            log_id = ids.short_id()
            head = Head(0, genesis_prev(log_id), log_id)
        place = Place(head.log_id, head.seq + 1, head.digest, self._keyring.active)
        return payload_of(draft, place, self._clock.now())

    def head(self) -> Head | None:
        """The last complete entry, authenticated; None where there is no log yet."""
        try:
            descriptor = logfile.open_log_file(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            with logfile.locked(self.path, descriptor, fcntl.LOCK_SH, self._lock_timeout, self._clock):
                end = logfile.read_end(descriptor, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)
        entry = self._authentic(end.line, end.offset)
        return Head(entry.seq, leaf_digest(end.line), entry.log_id)

    @contextlib.contextmanager
    def _open(self) -> Iterator[int]:
        while True:
            try:
                descriptor = logfile.open_log_file(self.path, os.O_RDWR | os.O_APPEND)
            except FileNotFoundError:
                self._begin()
                continue
            try:
                if logfile.is_still(self.path, descriptor):
                    yield descriptor
                    return
            finally:
                os.close(descriptor)

    def _begin(self) -> None:
        """Make the log with its genesis entry, which appears whole or not at all."""
        line = self._genesis_line(Prefix())
        try:
            begun = files.exclusive_write(self.path, line + b"\n", LOG_MODE)
        except OSError as error:
            raise Unavailable("log.append_failed", path=self.path, reason=files.reason(error)) from error
        if not begun and self.path.is_symlink() and not self.path.exists():
            # A name that leads nowhere exists for link() and is missing for open().
            raise Unavailable("files.missing", path=self.path)

    def _genesis_line(self, prefix: Prefix) -> bytes:
        log_id = ids.short_id()
        key = self._usable(self._keyring.active, log_id)
        facts: dict[str, object] = {
            "chain": "SHA-256",
            "created": format_instant(self._clock.now()),
            "key_fingerprint": key.fingerprint,
            "origin": self._origin,
        }
        if prefix.lines:
            facts["sealed_prefix"] = dict(prefix.seal())
        draft = Draft(GENESIS, LOG_CATEGORY, "log", "begun", metadata=facts)
        place = Place(log_id, 0, genesis_prev(log_id), key.id)
        return self._sealer(key, log_id).seal(payload_of(draft, place, self._clock.now()))

    def _spot(self, descriptor: int) -> _Spot:
        """Where to append, with an unfinished write of someone killed repaired first."""
        status = os.fstat(descriptor)
        if self._left is not None and self._left[:2] == (status.st_ino, status.st_size):
            return self._left[2]
        if status.st_size == 0:
            raise Unavailable("log.emptied", path=self.path)
        end = logfile.read_end(descriptor, status.st_size)
        if is_v2(end.line) and is_v2(end.fragment):
            return self._continue_v2(descriptor, end)
        entry = self._authentic(end.line, end.offset)
        spot = self._after(entry, end.line, end.end, self._line_number(descriptor, entry))
        return self._repaired(descriptor, spot, end.fragment) if end.fragment else spot

    def _continue_v2(self, descriptor: int, end: logfile.End) -> _Spot:
        """Seal a whole v2 file by the genesis entry of the log that goes on after it."""
        prefix = Prefix()
        for lines in logfile.lines_of(descriptor, end.end):
            for line in lines:
                if not prefix.accepts(line):
                    raise Unavailable("log.head_broken", path=self.path, offset=prefix.size)
                prefix.add(line)
        closing = b""
        if end.fragment:
            prefix.add(end.fragment)
            closing = b"\n"
        line = self._genesis_line(prefix)
        self._write(descriptor, end.end + len(end.fragment), closing + line + b"\n")
        entry = self._authentic(line, prefix.size)
        return self._after(entry, line, prefix.size + len(line) + 1, prefix.lines + 1)

    def _repaired(self, descriptor: int, spot: _Spot, fragment: bytes) -> _Spot:
        """Account for an unfinished write by a `recovery` entry; the fragment is kept, not lost."""
        finished = self._finished(spot, fragment)
        if finished is not None:
            draft = repair.finished_draft(fragment)
            receipts, after = self._sealed([draft], finished)
            self._write(descriptor, spot.size + len(fragment), b"\n" + receipts[0].raw + b"\n")
            return after
        try:
            kept = repair.keep_aside(self.path, fragment)
            receipts, after = self._sealed([repair.cut_draft(fragment, kept)], spot)
            repair.overwrite(self.path, spot.size, receipts[0].raw + b"\n")
        except OSError as error:
            raise Unavailable("log.append_failed", path=self.path, reason=files.reason(error)) from error
        return after

    def _finished(self, spot: _Spot, fragment: bytes) -> _Spot | None:
        """The spot after a fragment that lacks nothing but its LF: that entry was perhaps acknowledged."""
        try:
            entry = self._authentic(fragment, spot.size)
        except Unavailable:
            return None
        if (entry.seq, entry.prev) != (spot.head.seq + 1, spot.head.digest):
            return None
        return self._after(entry, fragment, spot.size + len(fragment) + 1, spot.line)

    def _sealed(self, drafts: Sequence[Draft], spot: _Spot) -> tuple[tuple[Receipt, ...], _Spot]:
        """The drafts as lines from `spot` on, and the spot after them."""
        head, size, line = spot.head, spot.size, spot.line
        sealer = self._sealer(spot.key, head.log_id)
        receipts = []
        for draft in drafts:
            now = draft.timestamp or self._clock.now()
            place = Place(head.log_id, head.seq + 1, head.digest, spot.key.id)
            raw = sealer.seal(payload_of(draft, place, now))
            head = Head(place.seq, leaf_digest(raw), head.log_id)
            receipts.append(Receipt(place.seq, head.digest, now, line, size, raw))
            size, line = size + len(raw) + 1, line + 1
        return tuple(receipts), _Spot(head, spot.key, size, line)

    def _after(self, entry: Entry, line: bytes, size: int, number: int) -> _Spot:
        """The spot after `entry`; the log itself, not the ring, says which key is in force."""
        next_key = entry.metadata.get("next_key_id") if entry.kind == KEY_ROTATION else entry.key_id
        key = self._usable(str(next_key), entry.log_id)
        return _Spot(Head(entry.seq, leaf_digest(line), entry.log_id), key, size, number + 1)

    def _authentic(self, line: bytes, offset: int) -> Entry:
        """The entry in `line` if its signature holds: nothing is ever chained to a line that does not verify."""
        try:
            entry = read_payload(_without_signature(line), 0, offset)
        except Malformed:
            raise Unavailable("log.head_broken", path=self.path, offset=offset) from None
        key = self._keyring.key(entry.key_id)
        if key is None or self._sealer(key, entry.log_id).open(line) is None:
            raise Unavailable("log.head_broken", path=self.path, offset=offset)
        return entry

    def _usable(self, key_id: str, log_id: str) -> Key:
        key = self._keyring.key(key_id)
        if key is None or key.state is not KeyState.ACTIVE or not key.may_sign(log_id):
            raise Unavailable("log.key_not_usable", key_id=key_id, path=self._keyring.path)
        return key

    def _sealer(self, key: Key, log_id: str) -> Sealer:
        sealer = self._sealers.get((key.id, log_id))
        if sealer is None:
            sealer = self._sealers[key.id, log_id] = Sealer(key, log_id)
        return sealer

    def _line_number(self, descriptor: int, entry: Entry) -> int:
        """The number of the line of `entry`, counted from the first v3 line of the file."""
        inode = os.fstat(descriptor).st_ino
        if self._ahead is None or self._ahead[0] != inode:
            self._ahead = (inode, self._lines_ahead(descriptor, entry))
        return entry.seq + self._ahead[1]

    def _lines_ahead(self, descriptor: int, entry: Entry) -> int:
        number = 0
        for lines in logfile.lines_of(descriptor, entry.offset):
            for line in lines:
                number += 1
                if not is_v2(line):
                    first = _sequence(line)
                    return number - (number - 1 if first is None else first)
        return number + 1 - entry.seq

    def _write(self, descriptor: int, size: int, content: bytes) -> None:
        """One write at the end; what could not be written whole is taken back."""
        self._left = None
        try:
            written, reason = os.write(descriptor, content), "the disk took only a part"
        except OSError as error:
            written, reason = 0, files.reason(error)
        if written != len(content):
            # Where even this fails, the next writer finds a torn tail and repairs it.
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            raise Unavailable("log.append_failed", path=self.path, reason=reason)

    def _remember(self, descriptor: int, after: _Spot) -> None:
        self._left = (os.fstat(descriptor).st_ino, after.size, after)

    def _flush(self, descriptor: int) -> None:
        try:
            os.fdatasync(descriptor)
        except OSError as error:
            self._flush_failed = True
            raise Unavailable("log.flush_failed", path=self.path, reason=files.reason(error)) from error


def _without_signature(line: bytes) -> object:
    members = parse_strict(line)
    if isinstance(members, dict):
        members.pop("signature", None)
    return members


def _sequence(line: bytes) -> int | None:
    try:
        members = parse_strict(line)
    except Malformed:
        return None
    seq = members.get("seq") if isinstance(members, dict) else None
    return seq if isinstance(seq, int) else None
