"""What a log leaves beside itself: where it lies without the log, the log did not begin, it vanished."""

from __future__ import annotations

import os
from pathlib import Path

from stage4.decisionlog import archives, repair
from stage4.errors import Unavailable


def checkpoint_path(log: Path) -> Path:
    """The newest checkpoint of the log."""
    return log.with_name(log.name + ".checkpoint")


def places_path(log: Path) -> Path:
    """Which place outside took which checkpoint of the log."""
    return log.with_name(log.name + ".checkpoint-places.json")


def find(log: Path, keyring: Path | None = None) -> Path | None:
    """One thing that only a log of version 3 leaves, beside it or beside its key ring; None where there is none."""
    return _beside(log) or (_beside_ring(log, keyring) if keyring else None)


def _beside_ring(log: Path, keyring: Path) -> Path | None:
    # Loaded here, because who appends to a log that is there does not need it.
    from stage4.decisionlog.checkpoints.keys import KeyStore

    store = KeyStore.used_at(keyring, log)
    return store.path if store else None


def _beside(log: Path) -> Path | None:
    if not log.parent.exists():
        return None
    beside = (checkpoint_path, places_path, archives.manifest_path, repair.aside_path, repair.marker_path)
    for path in (name(log) for name in beside):
        if os.path.lexists(path) and (path != archives.manifest_path(log) or archives.may_list(log)):
            return path
    return next((segment.copies[0] for segment in archives.segments(log)), None)


def absent(log: Path) -> Unavailable:
    """What there is to say of a log that is not there: that it vanished, or only that there is no such file."""
    trace = find(log)
    if trace is None:
        return Unavailable("files.missing", path=log)
    return Unavailable("log.vanished", path=log, trace=trace)
