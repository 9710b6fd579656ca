"""
Verifies only what came after a checkpoint that the caller keeps himself.

The checkpoint entry of that size states the tree over everything before it. Where this tree, with the entry's own
leaf, has the root that the caller kept, the entry is the one he saw then: the chain goes on from it, the next key is
the one it names, and every later root is of a tree that begins with the one he kept. The lines before it are not
read, and the verdict says so. Where the entry is not there or does not fit, the whole log is read instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stage4 import files
from stage4.clock import Clock, parse_instant
from stage4.decisionlog import locate
from stage4.decisionlog.checkpoints.facts import FORWARD, CheckpointFacts, origin_of
from stage4.decisionlog.checkpoints.note import Checkpoint, Note, NoteError, VerifierKey
from stage4.decisionlog.checkpoints.tree import leaf
from stage4.decisionlog.reading import entry_of
from stage4.decisionlog.verification.input import Input, open_input
from stage4.decisionlog.verification.trail import Given, Trail
from stage4.decisionlog.verification.verdict import Coverage, Integrity, Verdict
from stage4.decisionlog.verification.verifier import Progress, verify_input
from stage4.decisionlog.verification.walk import Start, Task
from stage4.errors import UsageError
from stage4.security.keyring import KeyRing, KeyState

_MODE = 0o644
_LIMIT = 16 * 1024


@dataclass(frozen=True, slots=True)
class Kept:
    """The checkpoint up to which the caller has verified the log before; `source` names the file for people."""

    source: str
    note: Note
    checkpoint: Checkpoint


def load(path: Path, pins: Sequence[VerifierKey]) -> Kept:
    """The checkpoint in the file at `path`; where keys of its log are pinned, one of them must have signed it.

    Only the first forward key can be pinned ahead, so that is usually the stable one. Raises Unavailable `files.*`,
    UsageError `completeness.kept_malformed` and `completeness.kept_unsigned`.
    """
    try:
        note = Note.parse(files.read_limited(path, _LIMIT))
        checkpoint = Checkpoint.of(note)
    except NoteError as error:
        raise UsageError("completeness.kept_malformed", path=path) from error
    if pins:
        own = [pin for pin in pins if pin.name in (checkpoint.origin, checkpoint.origin + FORWARD)]
        try:
            signed = bool(note.signed_by(own))
        except NoteError:
            raise UsageError("completeness.kept_unsigned", path=path) from None
        # The forward key of a later checkpoint is nowhere but in the log, so it cannot be asked of him who has only
        # the first one.
        if not own or (not signed and any(pin.name == checkpoint.origin for pin in own)):
            raise UsageError("completeness.kept_unsigned", path=path)
    return Kept(str(path), note, checkpoint)


def save(path: Path, verdict: Verdict, trail: Trail) -> bool:
    """Keep the newest checkpoint that fits, for the next time; False, and nothing is done, where anything was wrong.

    Raises Unavailable where the file cannot be written.
    """
    sound = verdict.integrity is Integrity.INTACT and verdict.completeness.coverage is Coverage.COVERED
    if not sound or trail.newest is None:
        return False
    files.atomic_write(path, trail.newest.encode(), _MODE)
    return True


def verify_after(
    kept: Kept,
    path: Path,
    keyring: KeyRing | None,
    clock: Clock,
    task: Task,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    lock_timeout: float = 2.0,
) -> Verdict:
    """Judge the log at `path` from the last entry that `kept` covers on.

    All of it is judged where that entry differs, where another note of the older entries says something else, where a
    key was revoked since, and where keys were rotated since: whether a key comes back that the log had left, only the
    older entries tell.

    The verdict's `mode` tells which it was. Raises as `verify` does.
    """
    disputed = task.trail.disputes(kept.checkpoint)
    task.trail.add(Given(kept.source, kept.note.encode(), trusted=True))
    state = task.trail.state()
    ring = None if keyring is None else keyring.path
    found = None if disputed else _entry(path, kept.checkpoint, keyring)
    if found is not None:
        start, number = found
        task.trail.begin_with(number)
        with open_input(path, clock, lock_timeout=lock_timeout, from_seq=start.seq + 1, keyring=ring) as source:
            after = replace(task, start=replace(start, lines=_lines_before(source, start.seq + 1)))
            verdict = verify_input(source, keyring, clock, after, workers=workers, progress=progress)
        if not task.trail.keys_changed:
            return verdict
        # A key that was left must never come back, and which keys were left stands in the older entries.
        task.trail.restore(state)
    with open_input(path, clock, lock_timeout=lock_timeout, keyring=ring) as source:
        return verify_input(source, keyring, clock, task, workers=workers, progress=progress)


def _entry(path: Path, checkpoint: Checkpoint, keyring: KeyRing | None) -> tuple[Start, int] | None:
    """Where the walk begins, and the number of that checkpoint.

    None where its entry is not the one that was seen, or is older than the revocation of a key.
    """
    if checkpoint.size == 0:
        return None
    located = locate.find(path, checkpoint.size - 1, None if keyring is None else keyring.path)
    entry = None if located is None else entry_of(located.line, 0, 0)
    if located is None or entry is None or origin_of(entry.log_id) != checkpoint.origin:
        return None
    if keyring is not None and not _knew_of_all_revocations(entry.timestamp, keyring):
        return None
    try:
        facts = CheckpointFacts.read(entry)
        tree = facts.tree(entry.seq)
    except (NoteError, ValueError):
        return None
    with_entry = tree.copy()
    with_entry.add(leaf(located.line))
    if with_entry.size != checkpoint.size or with_entry.root() != checkpoint.root:
        return None
    return Start(entry.log_id, entry.seq - 1, entry.prev, entry.key_id, tree, 0), facts.number


def _knew_of_all_revocations(timestamp: str, keyring: KeyRing) -> bool:
    """Whether every revoked key was so before the checkpoint was made, so that whoever kept it had judged its uses."""
    revoked = [key.revoked for key in keyring.keys.values() if key.state is KeyState.REVOKED]
    try:
        at = parse_instant(timestamp)
    except UsageError:
        return not revoked
    return all(each is not None and each < at for each in revoked)


def _lines_before(source: Input, seq: int) -> int:
    """How many lines of the first part stand before entry `seq`: one an entry, unless lines of version 2 come first."""
    first = source.first_number()
    return source.lines_left_out() if first is None or first < 0 else seq - first
