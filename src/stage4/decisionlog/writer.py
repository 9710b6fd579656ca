"""
Appends entries: one order, one chain, whatever the number of processes and threads.

Lock → read the end → sign → one write → unlock → fdatasync → acknowledge. The lock spans read, sign and write,
so two writers never chain to the same entry; flushing outside the lock lets the kernel flush for several
processes at once. Threads of one process that append at the same time share one such round. What is not
acknowledged may be lost; what is acknowledged is on the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from stage4 import files, ids
from stage4.clock import Clock
from stage4.decisionlog import archives, logfile, repair
from stage4.decisionlog.chain import genesis_prev, leaf_digest
from stage4.decisionlog.ending import Ending, ends_so
from stage4.decisionlog.entry import Draft, Entry, Place, Prepared, Receipt, payload_of
from stage4.decisionlog.prefix import Prefix
from stage4.decisionlog.spot import Head, Scribe, Spot
from stage4.decisionlog.turns import Turn, Turns
from stage4.errors import Stage4Error, Unavailable, UsageError
from stage4.security.keyring import Key, KeyRing

LOG_MODE = 0o640


class DecisionLog:
    """The one decision log at `path`; safe to share between threads, to fork, and to open in many processes.

    `origin` names in the genesis entry who began the log, for example the installation id. Every method raises
    Unavailable when the log, its lock (after `lock_timeout` seconds) or its key cannot be had. A path with the name
    of an archive is refused with UsageError `log.archive_name`: it would be read as a part of another log.
    """

    def __init__(self, path: Path, keyring: KeyRing, clock: Clock, *, origin: str, lock_timeout: float = 2.0) -> None:
        if archives.is_segment_name(path.name):
            raise UsageError("log.archive_name", path=path)
        self.path = path
        self._clock = clock
        self._lock_timeout = lock_timeout
        self._scribe = Scribe(path, keyring, clock, origin)
        self._ending = Ending(self._scribe)
        self._flush_failed = False
        self._name = str(path)
        self._begin_alone()
        _living.add(self)

    @property
    def ring_path(self) -> Path:
        """Where the key ring lies; what lies beside that remembers the log."""
        return self._scribe.keyring.path

    def append(self, draft: Draft) -> Receipt:
        """Seal `draft` as the next entry; returns once it is on the disk."""
        return self.append_many((draft,))[0]

    def append_many(self, drafts: Sequence[Draft]) -> tuple[Receipt, ...]:
        """Seal all drafts next to each other with one lock, one write and one flush: all of them or none."""
        if not drafts:
            return ()
        turn = Turn([Prepared(draft) for draft in drafts])
        try:
            if self._leads(turn):
                self._commit(turn)
        finally:
            try:
                self._turns.leave(turn)
            except BaseException:
                # Interrupted: whoever does not leave keeps everybody waiting for ever.
                self._turns.leave(turn)
                raise
        if not turn.done:
            # Taken along by a thread that was interrupted, perhaps between its write and its answer.
            raise turn.error or Unavailable("log.perhaps_written", path=self.path)
        return turn.receipts

    @contextlib.contextmanager
    def held(self) -> Iterator[Held]:
        """The log locked for the block, its end repaired and known; inside it append through what you are given.

        Everybody else who appends waits, and gives up after the lock's time limit.
        """
        turn = Turn()
        try:
            self._leads(turn)
            try:
                self._require_flushing()
                descriptor, size = self._lock()
                yield Held(self, descriptor, self._spot(descriptor, size))
            finally:
                self._unlock()
        finally:
            try:
                self._turns.leave(turn)
            except BaseException:
                self._turns.leave(turn)
                raise

    def rehearse(self, draft: Draft) -> bytes:
        """The payload that `draft` would get as the next entry; nothing is written, nothing is signed."""
        last = self._last(whole=True)
        if last is None:
            self._require_none_before()
            log_id = ids.short_id()
            place = Place(log_id, 1, genesis_prev(log_id), self._scribe.keyring.active)
        else:
            spot = self._scribe.after(*last, 0, 0)
            place = Place(spot.head.log_id, spot.head.seq + 1, spot.head.digest, spot.key.id)
        return payload_of(draft, place, self._clock.now())

    def head(self) -> Head | None:
        """The last complete entry, authenticated; None where there is no log yet."""
        last = self._last()
        return None if last is None else Head(last[0].seq, leaf_digest(last[1]), last[0].log_id)

    def in_force(self) -> Spot | None:
        """The last entry and the key that the next one must be signed with; None where there is no log yet."""
        last = self._last(whole=True)
        return None if last is None else self._scribe.after(*last, 0, 0)

    def _last(self, *, whole: bool = False) -> tuple[Entry, bytes] | None:
        """The last complete entry, authenticated, and its line; `whole` refuses a log that an append would refuse."""
        while True:
            try:
                descriptor = logfile.open_log_file(self.path, os.O_RDONLY)
            except FileNotFoundError:
                return None
            try:
                with logfile.locked(self.path, descriptor, fcntl.LOCK_SH, self._lock_timeout, self._clock):
                    # A file that was cut off meanwhile ends before the log does.
                    end = logfile.read_end(self.path, descriptor, os.fstat(descriptor).st_size)
                    if logfile.is_still(self.path, descriptor):
                        entry = self._scribe.authentic(end.line, end.offset)
                        if whole:
                            self._ending.require_whole(descriptor, entry)
                        return entry, end.line
            finally:
                os.close(descriptor)

    def _begin_alone(self) -> None:
        """As a process that has not opened the file yet."""
        self._turns = Turns()
        self._descriptor: int | None = None
        self._file = (0, 0)
        self._close: Callable[[], object] = _nothing
        # The end of the open file as this process left it; valid while the file has this size and ends so.
        self._left: Spot | None = None

    def _after_fork(self) -> None:
        """In the child: the parent's lock and its queue are not ours, and a lock goes with a shared descriptor."""
        self._close()
        self._begin_alone()

    def _leads(self, turn: Turn) -> bool:
        """Whether this thread is to append itself; raises Unavailable `log.busy` after the lock's time limit."""
        try:
            return self._turns.leads(turn, self._lock_timeout)
        except TimeoutError:
            raise Unavailable("log.busy", path=self.path, seconds=self._lock_timeout) from None

    def _lock(self) -> tuple[int, int]:
        """The file open and locked, and still the one that the path names: its descriptor and its size."""
        while True:
            descriptor = self._open()
            logfile.lock(self.path, descriptor, fcntl.LOCK_EX, self._lock_timeout, self._clock)
            size = logfile.size_if_still(self._name, self._file)
            if size is not None:
                return descriptor, size
            self._close()
            self._descriptor = None

    def _unlock(self) -> None:
        if self._descriptor is not None:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            except OSError:
                # Where there are no locks, `_lock` has said so; a lock that stays would keep everybody out.
                self._close()
                self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            while True:
                try:
                    descriptor = logfile.open_log_file(self.path, os.O_RDWR | os.O_APPEND)
                    break
                except FileNotFoundError:
                    self._begin()
            self._close = weakref.finalize(self, os.close, descriptor)
            self._descriptor, self._file, self._left = descriptor, logfile.identity(descriptor), None
            self._ending.forget()
        return self._descriptor

    def _begin(self) -> None:
        """Make the log with its genesis entry, which appears whole or not at all."""
        self._require_none_before()
        line = self._scribe.genesis(Prefix())
        try:
            begun = files.exclusive_write(self.path, line + b"\n", LOG_MODE)
        except OSError as error:
            raise Unavailable("log.append_failed", path=self.path, reason=files.reason(error)) from error
        if not begun and self.path.is_symlink() and not self.path.exists():
            # A name that leads nowhere exists for link() and is missing for open().
            raise Unavailable("files.missing", path=self.path)

    def _require_none_before(self) -> None:
        try:
            self._ending.require_none_before("log.vanished")
        except Unavailable:
            # Another process may have begun it just now, and have come as far as that.
            if not self.path.exists():
                raise

    def _commit(self, turn: Turn) -> None:
        """Append what this thread and every waiting one ask for, with one write and one flush."""
        group = [turn, *self._turns.company()]
        try:
            self._append(group)
        except Stage4Error as error:
            for asked in group:
                asked.error = asked.error or error
        else:
            for asked in group:
                asked.done = asked.error is None

    def _append(self, group: Sequence[Turn]) -> None:
        self._require_flushing()
        lines: list[bytes] = []
        try:
            descriptor, size = self._lock()
            spot = before = self._spot(descriptor, size)
            for turn in group:
                try:
                    turn.receipts, spot = self._scribe.sealed(turn.drafts, spot)
                except Stage4Error as error:
                    turn.error = error
                else:
                    lines += [receipt.raw for receipt in turn.receipts]
            if lines:
                self._write(descriptor, before, lines, spot)
        finally:
            self._unlock()
        if lines:
            try:
                os.fdatasync(descriptor)
                self._ending.acknowledged(spot)
            except OSError as error:
                with contextlib.ExitStack() as stack:
                    # Locked, so that no other writer is turning the marker into an entry meanwhile.
                    with contextlib.suppress(Stage4Error):
                        lock = logfile.locked(self.path, descriptor, fcntl.LOCK_EX, self._lock_timeout, self._clock)
                        stack.enter_context(lock)
                    raise self._unconfirmed(before, spot, error) from error

    def _spot(self, descriptor: int, size: int) -> Spot:
        """Where to append; what others could not finish or confirm is accounted for by an entry first."""
        if self._left is not None and self._left.size == size and ends_so(descriptor, self._left):
            return self._left
        spot = self._ending.followed(descriptor, size, self._left)
        if spot is None:
            self._left = None
            try:
                spot = self._ending.find(descriptor, size)
            except Unavailable as error:
                self._flush_failed = error.code == "log.flush_failed"
                raise
            draft = repair.unconfirmed_draft(self.path)
            if draft is not None:
                spot = self._put(descriptor, spot, draft)[1]
                with contextlib.suppress(OSError):
                    repair.marker_path(self.path).unlink()
        self._left = spot
        return spot

    def _put(self, descriptor: int, spot: Spot, draft: Draft) -> tuple[Receipt, Spot]:
        """One entry, written and flushed under the lock."""
        self._require_flushing()
        (receipt,), after = self._scribe.sealed((Prepared(draft),), spot)
        self._write(descriptor, spot, [receipt.raw], after)
        try:
            os.fdatasync(descriptor)
        except OSError as error:
            raise self._unconfirmed(spot, after, error) from error
        self._ending.acknowledged(after)
        return receipt, after

    def _write(self, descriptor: int, before: Spot, lines: list[bytes], after: Spot) -> None:
        self._left = None
        logfile.add(self.path, descriptor, before.size, b"\n".join(lines) + b"\n")
        self._left = after

    def _require_flushing(self) -> None:
        if self._flush_failed:
            # After a failed flush the kernel may drop the pages and report success the next time.
            raise Unavailable("log.flush_failed", path=self.path, reason="an earlier flush failed")

    def _unconfirmed(self, before: Spot, after: Spot, error: OSError) -> Unavailable:
        """This writer appends no more; the next one reads from the marker what was not acknowledged."""
        self._flush_failed = True
        with contextlib.suppress(OSError, Unavailable):
            repair.leave_marker(self.path, before.head.seq + 1, after.head.seq)
        return Unavailable("log.flush_failed", path=self.path, reason=files.reason(error))


class Held:
    """The locked log, inside `DecisionLog.held()` only. `descriptor` is its open file."""

    def __init__(self, log: DecisionLog, descriptor: int, spot: Spot) -> None:
        self.path = log.path
        self.descriptor = descriptor
        self._log = log
        self._spot = spot

    @property
    def head(self) -> Head:
        """The last entry."""
        return self._spot.head

    @property
    def key(self) -> Key:
        """The key in force, which signs the next entry."""
        return self._spot.key

    @property
    def size(self) -> int:
        """The bytes of the file, which ends with a whole line."""
        return self._spot.size

    @property
    def lines(self) -> int:
        """How many lines the file has."""
        return self._spot.line - 1

    def append(self, draft: Draft) -> Receipt:
        """The next entry, on the disk when this returns; the lock is kept."""
        receipt, self._spot = self._log._put(self.descriptor, self._spot, draft)
        return receipt

    def sealed(self, draft: Draft) -> Receipt:
        """The next entry, not written: for the first line of a file that takes this one's place."""
        return self._log._scribe.sealed((Prepared(draft),), self._spot)[0][0]


_living: weakref.WeakSet[DecisionLog] = weakref.WeakSet()


def _after_fork() -> None:
    for log in list(_living):
        log._after_fork()


def _nothing() -> None:
    """Nothing is open."""


os.register_at_fork(after_in_child=_after_fork)
