"""
What an interrupted rotation leaves to the next run: `var/security/rotation.<bundle>.json`, and where the backups are.

The journal holds fingerprints of certificates and instants, nothing secret. It also is the lock's neighbour: one
rotation of an installation at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from stage4 import files
from stage4.clock import format_instant, parse_instant
from stage4.errors import Conflict, Stage4Error, Unavailable, UsageError

SCHEMA: Final = "stage4.rotation_journal/1"
CERTIFICATES: Final = ("ca", "server", "client")
_HOME: Final = Path("var/security")
_BUNDLE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LOOKED_AT: Final = 16
_STAMP: Final = "%Y%m%dT%H%M%SZ"


class Phase(StrEnum):
    """How far a rotation is; only before `INSTALLING` is the bundle untouched."""

    PREPARING = "preparing"
    INSTALLING = "installing"
    ROLLING_BACK = "rolling_back"


@dataclass(frozen=True, slots=True)
class Journal:
    """One rotation under way; `rows` are the registry's instants before it, by purpose, None for no row."""

    rotation_id: str
    bundle: str
    phase: Phase
    at: datetime
    backup: str  # the name of its directory
    old: Mapping[str, str]
    new: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, datetime | None] = field(default_factory=dict)


def journal_path(root: Path, bundle: str) -> Path:
    """Where the journal of `bundle` is while one of its rotations is under way."""
    return root / _HOME / f"rotation.{bundle}.json"


def backups_directory(root: Path) -> Path:
    """Where each rotation leaves the files that it replaced, in a directory `<UTC stamp>-<bundle>` of its own."""
    return root / _HOME / "backups"


def backup_file(root: Path, backup: str, role: str) -> Path:
    """The file of `role` in a backup."""
    return backups_directory(root) / backup / f"{role.replace('_', '-')}.pem"


def backed_up_keys(root: Path) -> list[Path]:
    """The private keys in the newest backups: they were in use until a moment ago, and are still to be kept secret."""
    try:
        backups = sorted(backups_directory(root).iterdir(), reverse=True)[:_LOOKED_AT]
    except OSError:
        return []
    return [path for backup in backups for path in sorted(backup.glob("*-key.pem"))]


def backup_instant(name: str, bundle: str) -> datetime | None:
    """When the backup of that name was taken, None where it is no backup of `bundle`."""
    match = re.fullmatch(rf"(\d{{8}}T\d{{6}}Z)-{re.escape(bundle)}(?:-\d+)?", name)
    if match is None:
        return None
    try:
        return datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


def require_bundle_name(bundle: str) -> None:
    """Raise UsageError `rotation.bad_bundle` for a name that no file could carry."""
    if _BUNDLE.fullmatch(bundle) is None:
        raise UsageError("rotation.bad_bundle", bundle=bundle)


def read_journal(root: Path, bundle: str) -> Journal | None:
    """The rotation under way, None where there is none; raises Unavailable `rotation.journal_unreadable`."""
    path = journal_path(root, bundle)
    if not os.path.lexists(path):
        return None
    try:
        facts: Any = files.read_json(path)
        old, new, rows = dict(facts["old"]), dict(facts["new"]), dict(facts["rows"])
        journal = Journal(
            rotation_id=str(facts["rotation_id"]),
            bundle=str(facts["bundle"]),
            phase=Phase(facts["phase"]),
            at=parse_instant(facts["at"]),
            backup=str(facts["backup"]),
            old=old,
            new=new,
            rows={purpose: None if at is None else parse_instant(at) for purpose, at in rows.items()},
        )
    except (Stage4Error, LookupError, TypeError, ValueError, AttributeError) as error:
        raise Unavailable("rotation.journal_unreadable", path=path) from error
    if journal.bundle != bundle or backup_instant(journal.backup, bundle) is None:
        raise Unavailable("rotation.journal_unreadable", path=path)
    return journal


def write_journal(root: Path, journal: Journal) -> None:
    """Replace the journal in one step, mode 0600."""
    document = {
        "schema": SCHEMA,
        "rotation_id": journal.rotation_id,
        "bundle": journal.bundle,
        "phase": journal.phase.value,
        "at": format_instant(journal.at),
        "backup": journal.backup,
        "old": dict(journal.old),
        "new": dict(journal.new),
        "rows": {purpose: None if at is None else format_instant(at) for purpose, at in journal.rows.items()},
    }
    files.write_json(journal_path(root, journal.bundle), document, 0o600)


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Nobody else changes rotations of this installation meanwhile; raises Conflict `rotation.busy`."""
    path = root / _HOME / "rotation.lock"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Unavailable("files.cannot_write", path=path, reason=files.reason(error)) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Conflict("rotation.busy", path=path) from error
        yield
    finally:
        os.close(descriptor)
