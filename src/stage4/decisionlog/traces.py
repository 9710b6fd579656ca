"""What a log leaves beside itself: where it lies without the log, the log did not begin, it vanished."""

from __future__ import annotations

import os
from pathlib import Path

from stage4 import files
from stage4.decisionlog import archives, repair
from stage4.decisionlog.checkpoints.spelling import ORIGIN, whole_number
from stage4.errors import Stage4Error, Unavailable, UsageError

# The most bytes of a file with a note that are read.
NOTE_LIMIT = 64 * 1024


def checkpoint_path(log: Path) -> Path:
    """The newest checkpoint of the log."""
    return log.with_name(log.name + ".checkpoint")


def require_not_behind(log: Path, log_id: str, seq: int) -> None:
    """Raise Unavailable where the note beside the log knows of entries after `seq`, which is its last one."""
    noted = _noted(log)
    if noted is not None and noted[0] == log_id and noted[1] > seq + 1:
        raise Unavailable("log.behind_note", path=log, seq=seq, trace=checkpoint_path(log), size=noted[1])


def _noted(log: Path) -> tuple[str, int] | None:
    """What the note beside the log says first: the log id and how many entries there were; its signatures unjudged.

    None where there is no such note, or none that can be read.
    """
    try:
        lines = files.read_limited(checkpoint_path(log), NOTE_LIMIT).split(b"\n", 2)
        return lines[0].decode("ascii").removeprefix(ORIGIN), whole_number(lines[1].decode("ascii"))
    except (Unavailable, ValueError, IndexError):
        return None


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


def absent(log: Path, keyring: Path | None = None) -> Unavailable:
    """What there is to say of a log that is not there: that it vanished, or only that there is no such file."""
    trace = find(log, keyring)
    if trace is None:
        return Unavailable("files.missing", path=log)
    return Unavailable("log.vanished", path=log, trace=trace)


def absent_from(folder: Path, keyring: Path | None = None) -> Stage4Error:
    """The same of a folder that holds no log: a checkpoint beside, or the key ring, may know one that lay there."""
    for note in sorted(folder.glob("*.jsonl.checkpoint")):
        return absent(note.with_suffix(""))
    if keyring is not None:
        from stage4.decisionlog.checkpoints.keys import KeyStore

        place = folder.resolve()
        for store, log in KeyStore.used(keyring):
            if log.parent == place:
                return Unavailable("log.vanished", path=log, trace=store.path)
    return UsageError("input.no_log", path=folder)
