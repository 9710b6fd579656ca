"""One environment on one installation: a lock that ends with its holder, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from stage4 import files
from stage4.errors import Refused, Unavailable

LOCK_FILE = Path("var/run/environment.lock")


def sole_environment(path: Path) -> contextlib.AbstractContextManager[None]:
    """Hold the lock at `path`; raises Refused `runtime.already_running` with the pid of the holder."""
    return sole_holder(path, "runtime.already_running")


@contextlib.contextmanager
def sole_holder(path: Path, refusal: str) -> Iterator[None]:
    """Hold the lock at `path`; raises Refused with the code `refusal` and the pid of the holder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable("files.cannot_write", path=path, reason=files.reason(error)) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            raise Refused(refusal, pid=holder or "?") from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode("ascii"))
        yield
    finally:
        # Closing gives the lock back; the file stays, because removing it would let two holders exist.
        os.close(descriptor)
