"""
Verifies a log file, also while it is being written.

The end is fixed under a shared lock, so a write under way is never taken for a torn one; what stands before that
end does not change any more, and is read without the lock.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from stage4.clock import Clock
from stage4.decisionlog import logfile
from stage4.decisionlog.verification.verdict import Verdict
from stage4.errors import Unavailable
from stage4.security.keyring import KeyRing


def verify(path: Path, keyring: KeyRing | None, clock: Clock, *, lock_timeout: float = 2.0) -> Verdict:
    """Judge every line of the log at `path` with the keys of `keyring` (None: only the chain can be judged).

    Memory does not grow with the log. Raises UsageError for a directory, Unavailable where the file or its lock
    cannot be had.
    """
    from stage4.decisionlog.verification.walk import Walk

    try:
        descriptor = logfile.open_log_file(path, os.O_RDONLY)
    except FileNotFoundError as error:
        raise Unavailable("files.missing", path=path) from error
    try:
        with logfile.locked(path, descriptor, fcntl.LOCK_SH, lock_timeout, clock):
            end = logfile.read_end(descriptor, os.fstat(descriptor).st_size)
        walk = Walk(keyring)
        for lines in logfile.lines_of(descriptor, end.end):
            walk.feed(lines)
        return walk.finish(end)
    finally:
        os.close(descriptor)
