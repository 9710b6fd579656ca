"""
The repair of a torn tail: the fragment is kept beside the log, and the repair is itself an entry.

The recovery entry is written over the fragment, so that at no instant the fragment is gone and not accounted
for; a kill in the middle leaves another torn tail, which is repaired the same way.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from stage4 import files
from stage4.decisionlog.entry import LOG_CATEGORY, RECOVERY, Draft


def aside_path(log: Path) -> Path:
    """Where the fragments of torn writes are kept."""
    return log.with_name(log.name + ".torn")


def keep_aside(log: Path, fragment: bytes) -> int:
    """Append `fragment` and a LF to the file beside the log, durably; the offset where it begins."""
    path = aside_path(log)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
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
    descriptor = os.open(log, os.O_WRONLY | os.O_CLOEXEC)
    try:
        if os.pwrite(descriptor, content, offset) != len(content):
            raise OSError(0, "the disk took only a part")
        os.ftruncate(descriptor, offset + len(content))
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def cut_draft(fragment: bytes, kept_at: int) -> Draft:
    """The recovery entry for a fragment that was no whole entry."""
    return _draft(fragment, "cut", {"kept_at": kept_at})


def finished_draft(fragment: bytes) -> Draft:
    """The recovery entry after an entry that lacked only its LF and was finished."""
    return _draft(fragment, "finished", {})


def _draft(fragment: bytes, status: str, facts: dict[str, object]) -> Draft:
    facts |= {"fragment_bytes": len(fragment), "fragment_sha256": hashlib.sha256(fragment).hexdigest()}
    return Draft(RECOVERY, LOG_CATEGORY, "log", status, metadata=facts)
