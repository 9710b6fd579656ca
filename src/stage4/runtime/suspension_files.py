"""The suspensions of an installation: one file each in `var/runtime/suspensions`; a file that is there holds."""

from __future__ import annotations

import os
from pathlib import Path

from stage4 import files
from stage4.errors import Stage4Error, Unavailable
from stage4.runtime.state import decode, encode
from stage4.runtime.suspension import UNREADABLE, Kind, Suspension, SuspensionDocument, named

SUSPENSIONS = Path("var/runtime/suspensions")
LIMIT = 64 * 1024
MOST = 1_000
"""More names than that are nobody's suspensions: they are not read ten times a second, and every schedule is held."""
ATTEMPTS = 3


def read_all(root: Path) -> tuple[Suspension, ...]:
    """Everything that stands there, by name; a directory that cannot be listed suspends every schedule.

    Without a directory nothing was ever suspended.
    """
    directory = root / SUSPENSIONS
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return ()
    except OSError:
        return (UNREADABLE,)
    if len(names) > MOST:
        return (UNREADABLE,)
    return tuple(_read(directory / name, *who) for name in names if (who := named(name)) is not None)


def place(root: Path, suspension: Suspension) -> Suspension | None:
    """Put it in force, durably. What stands already and lasts as long is kept and given back; a shorter one gives way.

    Raises Unavailable `files.cannot_write`, UsageError `schedule.bad_name`.
    """
    assert suspension.document is not None
    path = root / SUSPENSIONS / suspension.file_name
    content = encode(suspension.document)
    for _ in range(ATTEMPTS):
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if files.exclusive_write(path, content):
                return None
        except OSError as error:
            raise Unavailable("files.cannot_write", path=path, reason=files.reason(error)) from error
        standing = _read(path, suspension.kind, suspension.name)
        # What was lifted in between holds nothing.
        if standing.fault != "files.missing" or os.path.lexists(path):
            break
    else:
        raise Unavailable("files.cannot_write", path=path, reason="files.missing")
    if not suspension.outlasts(standing):
        return standing
    files.atomic_write(path, content, 0o600)
    return None


def lift(root: Path, suspension: Suspension) -> None:
    """Take it away, durably; one that has gone already is no error. Raises Unavailable `files.cannot_write`."""
    path = root / SUSPENSIONS / suspension.file_name
    try:
        path.unlink(missing_ok=True)
        files.fsync_dir(path.parent)
    except OSError as error:
        raise Unavailable("files.cannot_write", path=path, reason=files.reason(error)) from error


def _read(path: Path, kind: Kind, name: str) -> Suspension:
    try:
        document = decode(files.read_limited(path, LIMIT), SuspensionDocument, path)
    except Stage4Error as error:
        return Suspension(kind, name, None, error.code, path.name)
    return Suspension(kind, name, document, None, path.name)
