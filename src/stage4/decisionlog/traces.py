"""What a log leaves beside itself: where it lies without the log, the log did not begin, it vanished."""

from __future__ import annotations

from pathlib import Path

from stage4.decisionlog import archives
from stage4.errors import Unavailable


def checkpoint_path(log: Path) -> Path:
    """The newest checkpoint of the log."""
    return log.with_name(log.name + ".checkpoint")


def find(log: Path) -> Path | None:
    """One thing that only a log leaves; None where there is no sign that a log was here."""
    if not log.parent.exists():
        return None
    for path in (checkpoint_path(log), archives.manifest_path(log)):
        if path.exists():
            return path
    return next((segment.copies[0] for segment in archives.segments(log)), None)


def absent(log: Path) -> Unavailable:
    """What there is to say of a log that is not there: that it vanished, or only that there is no such file."""
    trace = find(log)
    if trace is None:
        return Unavailable("files.missing", path=log)
    return Unavailable("log.vanished", path=log, trace=trace)
