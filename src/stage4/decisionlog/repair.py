"""
The repair of a torn tail: the fragment is kept beside the log, and the repair is itself an entry.

The recovery entry is written over the fragment, so that at no instant the fragment is gone and not accounted
for; a kill in the middle leaves another torn tail, which is repaired the same way. A flush that failed is told by
a marker beside the log, because the writer that saw it may not append any more; the next one makes it an entry.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from pathlib import Path

from stage4 import files
from stage4.decisionlog.canonical import MAX_INTEGER
from stage4.decisionlog.entry import FLUSH_FAILED, LOG_CATEGORY, RECOVERY, Draft
from stage4.errors import Unavailable

_MARKER_LIMIT = 1 << 14
_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT
_NO_FILE = frozenset({errno.EISDIR, errno.ELOOP, errno.ENXIO})
_MARKED = re.compile(rb"[0-9]{1,16} [0-9]{1,16}")


def aside_path(log: Path) -> Path:
    """Where the fragments of torn writes are kept."""
    return log.with_name(log.name + ".torn")


def aside_before(log: Path) -> Path:
    """Where that is kept which was torn before the log began: unlike all else beside a log, no sign that it did."""
    return log.with_name(log.name + ".torn_before")


def keep_aside(path: Path, fragment: bytes) -> int:
    """Append `fragment` and a LF to the file `path`, durably; the offset where it begins.

    Raises OSError, and Unavailable `log.beside_not_a_file`.
    """
    descriptor = _opened(path, _APPENDING)
    try:
        offset = os.fstat(descriptor).st_size
        files.write_all(descriptor, fragment + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    files.fsync_dir(path.parent)
    return offset


def overwrite(log: Path, offset: int, content: bytes) -> None:
    """Put `content` at `offset` and end the file there; the caller holds the lock."""
    # A descriptor of its own: with O_APPEND the kernel ignores the offset.
    descriptor = os.open(log, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if os.pwrite(descriptor, content, offset) != len(content):
            raise OSError(0, "the disk took only a part")
        os.ftruncate(descriptor, offset + len(content))
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def cut_draft(fragment: bytes, kept_at: int, kept_in: Path) -> Draft:
    """The recovery entry for a fragment that was no whole entry, and is kept at that byte of that file."""
    return _draft(fragment, "cut", {"kept_at": kept_at, "kept_in": kept_in.name})


def finished_draft(fragment: bytes) -> Draft:
    """The recovery entry after an entry that lacked only its LF and was finished."""
    return _draft(fragment, "finished", {})


def _draft(fragment: bytes, status: str, facts: dict[str, object]) -> Draft:
    facts |= {"fragment_bytes": len(fragment), "fragment_sha256": hashlib.sha256(fragment).hexdigest()}
    return Draft(RECOVERY, LOG_CATEGORY, "log", status, metadata=facts)


def marker_path(log: Path) -> Path:
    """Where a writer whose flush failed says what it did not acknowledge."""
    return log.with_name(log.name + ".flush_failed")


def leave_marker(log: Path, first_seq: int, last_seq: int) -> None:
    """Say beside the log that these entries were written, but that the disk did not confirm them.

    Raises OSError, and Unavailable `log.beside_not_a_file`.
    """
    descriptor = _opened(marker_path(log), _APPENDING)
    try:
        files.write_all(descriptor, f"{first_seq} {last_seq}\n".encode("ascii"))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unconfirmed_draft(log: Path) -> Draft | None:
    """The entry that names what writers before could not confirm; None where nobody left a marker.

    Raises Unavailable where what lies in its place cannot be read.
    """
    path = marker_path(log)
    try:
        with open(_opened(path, os.O_RDONLY), "rb") as marker:
            lines = marker.read(_MARKER_LIMIT).splitlines()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable("files.unreadable", path=path, reason=files.reason(error)) from error
    # A marker may be torn itself: it was written to a disk that fails.
    ranges = [[int(number) for number in line.split()] for line in lines if _MARKED.fullmatch(line)]
    confirmable = [numbers for numbers in ranges if numbers[0] <= numbers[1] <= MAX_INTEGER]
    return Draft(FLUSH_FAILED, LOG_CATEGORY, "log", "unconfirmed", metadata={"unconfirmed": confirmable})


def _opened(path: Path, flags: int) -> int:
    """A descriptor of a regular file beside the log: a pipe would keep whoever holds the log's lock waiting for ever.

    Raises OSError, and Unavailable `log.beside_not_a_file` for a pipe, a directory, a link and the like.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o640)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise Unavailable("log.beside_not_a_file", path=path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Unavailable("log.beside_not_a_file", path=path)
    return descriptor
