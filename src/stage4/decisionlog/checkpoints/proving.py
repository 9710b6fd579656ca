"""Makes proofs from a log and its checkpoints, and refuses where the log is no longer what its checkpoints saw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from stage4.decisionlog.checkpoints import notary
from stage4.decisionlog.checkpoints.facts import MARK, CheckpointFacts
from stage4.decisionlog.checkpoints.lines import log_lines
from stage4.decisionlog.checkpoints.note import Checkpoint, Note, NoteError
from stage4.decisionlog.checkpoints.proof import (
    Consistency,
    Inclusion,
    ProofError,
    Roots,
    Span,
    check_consistency,
    check_inclusion,
    consistency_spans,
    inclusion_spans,
)
from stage4.decisionlog.checkpoints.tree import leaf
from stage4.decisionlog.entry import CHECKPOINT
from stage4.decisionlog.reading import entry_of
from stage4.errors import Conflict, Unavailable, UsageError

_NEAREST = 4


def prove_inclusion(path: Path, seq: int, size: int | None = None) -> Inclusion:
    """The proof that entry `seq` is in the log of the checkpoint of `size` entries (None: the newest).

    One pass over the log for the newest, two for another. Raises UsageError where there is no such entry or
    checkpoint, Unavailable where that checkpoint does not cover it, Conflict where the log is not what it saw.
    """
    note = _newest(path) if size is None else _of_size(_notes(path), size)
    checkpoint = Checkpoint.of(note)
    if size is not None and seq >= size:
        raise UsageError("checkpoint.not_in_size", seq=seq, size=size)
    if seq >= checkpoint.size:
        last = sum(map(len, log_lines(path))) - 1
        if seq > last:
            raise UsageError("checkpoint.no_such_entry", path=path, seq=seq, last=last)
        raise Unavailable("checkpoint.not_covered", seq=seq, size=checkpoint.size)
    line, hashes = _roots(path, inclusion_spans(seq, checkpoint.size), checkpoint.size, seq)
    try:
        check_inclusion(seq, checkpoint.size, leaf(line), hashes, checkpoint.root)
    except ProofError:
        raise Conflict("checkpoint.log_differs", path=path, size=checkpoint.size) from None
    return Inclusion(seq, hashes, note, line)


def prove_consistency(path: Path, old: int, new: int | None) -> Consistency:
    """The proof that the log of checkpoint size `old` begins that of size `new` (None: the newest); two passes.

    Raises UsageError where no checkpoint has such a size, Conflict where the log is not what its checkpoints saw.
    """
    notes = _notes(path)
    size = max(notes) if new is None else new
    before, after = _of_size(notes, old), _of_size(notes, size)
    if old > size:
        raise UsageError("checkpoint.sizes_turned", old=old, size=size)
    _, hashes = _roots(path, consistency_spans(old, size), size)
    try:
        check_consistency(old, size, hashes, Checkpoint.of(before).root, Checkpoint.of(after).root)
    except ProofError:
        raise Conflict("checkpoint.log_differs", path=path, size=size) from None
    return Consistency(old, hashes, after)


def _newest(path: Path) -> Note:
    note = notary.newest_note(path)
    if note is None:
        raise Unavailable("checkpoint.none_yet", path=path)
    return note


def _notes(path: Path) -> dict[int, Note]:
    """The notes of all checkpoints by their sizes: those that the log carries, and the newest one."""
    newest = _newest(path)
    notes = {}
    for lines in log_lines(path):
        for line in lines:
            previous = _previous(line) if MARK in line else None
            if previous is not None:
                notes[Checkpoint.of(previous).size] = previous
    return {**notes, Checkpoint.of(newest).size: newest}


def _of_size(notes: Mapping[int, Note], size: int) -> Note:
    if size not in notes:
        raise UsageError("checkpoint.no_such_size", size=size, nearest=_nearest(notes, size))
    return notes[size]


def _previous(line: bytes) -> Note | None:
    entry = entry_of(line, 0, 0)
    if entry is None or entry.kind != CHECKPOINT:
        return None
    try:
        return CheckpointFacts.read(entry).previous
    except NoteError:
        return None


def _roots(path: Path, spans: tuple[Span, ...], size: int, seq: int = -1) -> tuple[bytes, tuple[bytes, ...]]:
    """The line of entry `seq`, and the roots of `spans` in the tree over the first `size` entries."""
    roots, passed, wanted = Roots(spans), 0, b""
    for lines in log_lines(path):
        if passed <= seq < passed + len(lines):
            wanted = lines[seq - passed]
        roots.feed(passed, [leaf(line) for line in lines[: size - passed]])
        passed += len(lines)
        if passed >= size:
            break
    try:
        return wanted, roots.hashes()
    except ProofError:
        raise Conflict("checkpoint.log_differs", path=path, size=size) from None


def _nearest(sizes: Iterable[int], size: int) -> str:
    nearest = sorted(sizes, key=lambda each: abs(each - size))[:_NEAREST]
    return ", ".join(map(str, sorted(nearest)))
