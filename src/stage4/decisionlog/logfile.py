"""
The log as a file: its lock, its end, its lines.

The lock is `flock` on the log itself, so it ends with its process. It works on local file systems only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stage4 import files
from stage4.clock import Clock
from stage4.decisionlog.canonical import MAX_LINE
from stage4.errors import Unavailable, UsageError

# Whoever holds the lock is done after the time of one append: first let others run, then wait that long, then longer.
_YIELDS = 10
_TRIES = 64
_FIRST_WAIT_S = 0.00005
_LONGEST_WAIT_S = 0.002
_CHUNK = 1 << 20
_FIRST_STEP = 1024
# A write is far smaller: what is longer is no write that a crash cut short.
LONGEST_FRAGMENT = 16 << 20


@dataclass(frozen=True, slots=True)
class End:
    """The end of the log: its last complete line (without LF) and what stands after it.

    `offset` is where that line begins, `end` the byte after its LF. `fragment` is a write that did not finish.
    """

    line: bytes
    offset: int
    end: int
    fragment: bytes


def open_log_file(path: Path, flags: int) -> int:
    """A descriptor of the log.

    Raises FileNotFoundError, UsageError for anything but a regular file,
    Unavailable otherwise.
    """
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except IsADirectoryError:
        raise UsageError("log.not_a_file", path=path) from None
    except OSError as error:
        raise Unavailable("files.unreadable", path=path, reason=files.reason(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UsageError("log.not_a_file", path=path)
    return descriptor


def lock(path: Path, descriptor: int, operation: int, timeout: float, clock: Clock) -> None:
    """Take LOCK_EX or LOCK_SH on the log; raises Unavailable `log.busy` after `timeout` seconds."""
    operation |= fcntl.LOCK_NB
    tries, deadline = 0, None
    while True:
        try:
            fcntl.flock(descriptor, operation)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise Unavailable("log.no_lock", path=path, reason=files.reason(error)) from error
        else:
            return
        tries += 1
        if tries <= _YIELDS:
            os.sched_yield()
            continue
        now = clock.monotonic_ns()
        deadline = deadline or now + round(timeout * 1e9)
        if now >= deadline:
            raise Unavailable("log.busy", path=path, seconds=timeout)
        clock.sleep(min(_FIRST_WAIT_S * 2 ** (tries // _TRIES), _LONGEST_WAIT_S))


@contextlib.contextmanager
def locked(path: Path, descriptor: int, operation: int, timeout: float, clock: Clock) -> Iterator[None]:
    """Hold LOCK_EX or LOCK_SH on the log for the block; raises Unavailable `log.busy` after `timeout` seconds."""
    lock(path, descriptor, operation, timeout, clock)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def identity(descriptor: int) -> tuple[int, int]:
    """Which file is open: its device and its number there."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def size_if_still(name: str, file: tuple[int, int]) -> int | None:
    """The size of the file at `name` if it is still `file`, told by one question to the disk; None otherwise."""
    try:
        status = os.stat(name)
    except OSError:
        return None
    return status.st_size if (status.st_dev, status.st_ino) == file else None


def is_still(path: Path, descriptor: int) -> bool:
    """Whether `path` still names the open file."""
    try:
        named = path.stat()
    except OSError:
        return False
    held = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)


def add(path: Path, descriptor: int, size: int, content: bytes) -> None:
    """One write after byte `size`, under the lock; what could not be written whole is taken back.

    Raises Unavailable `log.append_failed`.
    """
    try:
        written, reason = os.write(descriptor, content), "the disk took only a part"
    except OSError as error:
        written, reason = 0, files.reason(error)
    if written != len(content):
        # Where even this fails, the next writer finds a torn tail and repairs it.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
        raise Unavailable("log.append_failed", path=path, reason=reason)


def read_end(path: Path, descriptor: int, size: int) -> End:
    """The last complete line of the first `size` bytes; an `End` with an empty line where there is none.

    Of a line over MAX_LINE the last MAX_LINE + 1 bytes. Raises Unavailable `log.fragment_large` where more than
    LONGEST_FRAGMENT bytes stand after the last LF, so that neither time nor memory depends on how many there are.
    """
    fragment, whole = _since_feed(descriptor, size, LONGEST_FRAGMENT + 1)
    if len(fragment) > LONGEST_FRAGMENT:
        raise Unavailable("log.fragment_large", path=path, mebibytes=LONGEST_FRAGMENT >> 20)
    if not whole:
        return End(b"", 0, 0, fragment)
    end = size - len(fragment)
    line = line_before(descriptor, end)
    return End(line, end - 1 - len(line), end, fragment)


def line_before(descriptor: int, end: int) -> bytes:
    """The line (without LF) whose LF is the byte before `end`; of one over MAX_LINE the last MAX_LINE + 1 bytes."""
    return _since_feed(descriptor, end - 1, MAX_LINE + 1)[0]


def _since_feed(descriptor: int, end: int, most: int) -> tuple[bytes, bool]:
    """The bytes after the last LF before byte `end`, at `most` so many, and whether there is such a LF."""
    start, pieces, step = end, list[bytes](), _FIRST_STEP
    while start > max(0, end - most):
        step = min(start - max(0, end - most), step * 4, _CHUNK)
        start -= step
        piece = os.pread(descriptor, step, start)
        found = piece.rfind(b"\n")
        pieces.append(piece[found + 1 :])
        if found >= 0:
            return b"".join(reversed(pieces)), True
    return b"".join(reversed(pieces)), False


def lines_of(descriptor: int, end: int) -> Iterator[list[bytes]]:
    """The lines (without LF) up to byte `end`, which follows a LF, in lists of about a megabyte.

    A line over MAX_LINE may come as a `LongLine`, which knows its whole length, so that memory stays bounded.
    """
    position, carry = 0, b""
    while position < end:
        chunk = os.pread(descriptor, min(_CHUNK, end - position), position)
        if not chunk:
            return
        position += len(chunk)
        lines = (carry + chunk).split(b"\n")
        carry = lines.pop()
        while len(carry) > MAX_LINE:
            rest, position = _skip_line(descriptor, position, end)
            lines.append(LongLine(carry, rest))
            carry = b""
        yield lines


class LongLine(bytes):
    """The beginning of a line that is too long to be an entry; `size` is its whole length without LF."""

    size: int

    def __new__(cls, beginning: bytes, rest: int) -> LongLine:
        line = super().__new__(cls, beginning[: MAX_LINE + 1])
        line.size = len(beginning) + rest
        return line


def length(line: bytes) -> int:
    """The bytes of a line in the file, without LF."""
    return line.size if isinstance(line, LongLine) else len(line)


def _skip_line(descriptor: int, position: int, end: int) -> tuple[int, int]:
    """How many bytes the line goes on after `position`, and the position after its LF."""
    begun = position
    while position < end:
        chunk = os.pread(descriptor, min(_CHUNK, end - position), position)
        found = chunk.find(b"\n")
        if found >= 0:
            return position + found - begun, position + found + 1
        if not chunk:
            break
        position += len(chunk)
    return position - begun, position
