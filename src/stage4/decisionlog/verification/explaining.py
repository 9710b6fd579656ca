"""
One entry judged where it stands: its signature, its links to both sides, and the checkpoint that covers it.

It answers what somebody asks who points at one line. It is no verification: whether the rest of the log holds, and
whether a checkpoint's keys are the pinned ones, only the verifier and the pin say.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from stage4.clock import Clock
from stage4.decisionlog import locate, logfile
from stage4.decisionlog.canonical import Malformed, canonical, parse_strict
from stage4.decisionlog.chain import Sealer, genesis_prev, leaf_digest
from stage4.decisionlog.checkpoints.facts import MARK, CheckpointFacts, origin_of
from stage4.decisionlog.checkpoints.growth import Sealed
from stage4.decisionlog.checkpoints.notary import newest_note
from stage4.decisionlog.checkpoints.note import Checkpoint, Note, NoteError, VerifierKey
from stage4.decisionlog.entry import CHECKPOINT, KEY_ROTATION, Entry
from stage4.decisionlog.locate import Located
from stage4.decisionlog.reading import entry_of, newest
from stage4.decisionlog.verification.input import open_input
from stage4.errors import ExitCode, Unavailable
from stage4.security.keyring import Key, KeyRing, KeyState


class Answer(Enum):
    """Whether something holds at this place; `none`: there is nothing that could."""

    HOLDS = "holds"
    FAILS = "fails"
    UNKNOWN = "unknown"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Judged:
    """One question about the entry; `code` and `params` are the sentence that answers it."""

    question: str
    answer: Answer
    code: str
    params: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Covering:
    """The first checkpoint whose tree has the entry; `note` is None where it has not been written, or is gone.

    `signers` are those of the keys that its entry names which signed the note. `code` is the sentence.
    """

    number: int
    seq: int
    size: int
    timestamp: str
    note: Note | None
    signers: tuple[VerifierKey, ...]
    answer: Answer
    code: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that is known of one entry; `line_number` counts from 1 in its file, `leaf` is its hash in base64.

    `entry` is None where the line states the number and is no entry of version 3.
    """

    located: Located
    line_number: int
    entry: Entry | None
    key: Key | None
    leaf: str
    judged: tuple[Judged, ...]
    covering: Covering | None

    @property
    def exit_code(self) -> ExitCode:
        """1 where something at this place does not hold, 3 where it cannot be told, 0 otherwise."""
        answers = {each.answer for each in self.judged} | ({self.covering.answer} if self.covering else set())
        if Answer.FAILS in answers:
            return ExitCode.NO
        return ExitCode.CANNOT_TELL if Answer.UNKNOWN in answers else ExitCode.DONE


def explain(path: Path, seq: int, keyring: KeyRing | None, clock: Clock) -> Explanation | None:
    """Entry `seq` of the log at `path` and its archives; None where it is not there. Raises Unavailable."""
    located = locate.find(path, seq, None if keyring is None else keyring.path)
    if located is None:
        return None
    line_number = located.number or _line_number(located)
    entry = entry_of(located.line, line_number, located.offset)
    leaf = leaf_digest(located.line)
    key = None if entry is None or keyring is None else keyring.key(entry.key_id)
    judged: tuple[Judged, ...]
    if entry is None:
        judged = (Judged("format", Answer.FAILS, "logview.explain_no_entry"),)
    else:
        judged = (
            _signature(located.line, entry, keyring, key),
            *_previous(path, entry),
            _next(path, entry, leaf),
        )
    return Explanation(located, line_number, entry, key, leaf, judged, _covering(path, seq, clock))


def _line_number(located: Located) -> int:
    descriptor = logfile.open_log_file(located.part, os.O_RDONLY)
    try:
        return locate.count_lines(located.part, descriptor, located.offset) + 1
    finally:
        os.close(descriptor)


def _signature(line: bytes, entry: Entry, keyring: KeyRing | None, key: Key | None) -> Judged:
    def judged(answer: Answer, code: str, **params: object) -> Judged:
        return Judged("signature", answer, code, {"key_id": entry.key_id, **params})

    if keyring is None:
        return judged(Answer.UNKNOWN, "logview.explain_no_ring")
    if key is None:
        return judged(Answer.FAILS, "logview.explain_key_unlisted")
    if not entry.log_id.isascii() or not key.may_sign(entry.log_id):
        return judged(Answer.FAILS, "logview.explain_key_foreign", log_id=entry.log_id)
    try:
        payload = Sealer(key, entry.log_id).open(line)
    except Unavailable as error:
        return judged(Answer.UNKNOWN, "logview.explain_key_unavailable", reason=error.params.get("reason", error.code))
    if payload is None:
        return judged(Answer.FAILS, "logview.explain_signature_fails")
    if not _is_canonical(payload):
        return judged(Answer.FAILS, "logview.explain_spelling")
    if key.state is KeyState.REVOKED:
        return judged(Answer.UNKNOWN, "logview.explain_key_revoked")
    return judged(Answer.HOLDS, "logview.explain_signature_holds")


def _is_canonical(payload: bytes) -> bool:
    try:
        return canonical(parse_strict(payload)) == payload
    except Malformed:
        return False


def _previous(path: Path, entry: Entry) -> Iterator[Judged]:
    """The link to the predecessor, and whether the key is the one that the predecessor leaves in force."""
    if entry.seq == 0:
        holds = entry.log_id.isascii() and entry.prev == genesis_prev(entry.log_id)
        code = "logview.explain_genesis" if holds else "logview.explain_genesis_differs"
        yield Judged("previous", Answer.HOLDS if holds else Answer.FAILS, code, {"log_id": entry.log_id})
        return
    found = _found(path, entry.seq - 1)
    if not isinstance(found, Located):
        params = {"seq": entry.seq - 1, "reason": found}
        yield Judged("previous", Answer.UNKNOWN, "logview.explain_previous_missing", params)
        return
    params = {"seq": found.seq, "path": found.part.name, "offset": found.offset, "digest": leaf_digest(found.line)}
    if entry.prev != params["digest"]:
        yield Judged("previous", Answer.FAILS, "logview.explain_previous_differs", {**params, "prev": entry.prev})
        return
    yield Judged("previous", Answer.HOLDS, "logview.explain_previous_holds", params)
    before = entry_of(found.line, 0, found.offset)
    expected = None if before is None else before.key_id
    if before is not None and before.kind == KEY_ROTATION:
        expected = str(before.metadata.get("next_key_id"))
    if expected is not None and expected != entry.key_id:
        facts = {"key_id": entry.key_id, "expected": expected}
        yield Judged("key", Answer.FAILS, "logview.explain_key_changed", facts)


def _next(path: Path, entry: Entry, leaf: str) -> Judged:
    found = _found(path, entry.seq + 1)
    params: dict[str, object] = {"seq": entry.seq + 1}
    if isinstance(found, Located):
        after = entry_of(found.line, 0, found.offset)
        if after is not None and after.prev == leaf:
            return Judged("next", Answer.HOLDS, "logview.explain_next_holds", params)
        return Judged("next", Answer.FAILS, "logview.explain_next_differs", params)
    last = newest(path, 1)
    if found is None and last and last[0].seq <= entry.seq:
        return Judged("next", Answer.NONE, "logview.explain_newest")
    return Judged("next", Answer.UNKNOWN, "logview.explain_next_missing", {**params, "reason": found})


def _found(path: Path, seq: int) -> Located | str | None:
    """A neighbour, None where it is not there, or why that cannot be told."""
    try:
        return locate.find(path, seq)
    except Unavailable as error:
        return str(error.params.get("reason", error.code))


def _covering(path: Path, seq: int, clock: Clock) -> Covering | None:
    """The first checkpoint that covers entry `seq`; its note is in the entry of the next one, or beside the log."""
    first: tuple[Entry, Sealed] | None = None
    for entry, line in _checkpoints(path, seq, clock):
        try:
            facts = CheckpointFacts.read(entry)
        except NoteError:
            continue
        if first is None:
            first = entry, Sealed(entry.seq, facts, line)
        elif facts.number == first[1].facts.number + 1:
            return _judged_cover(*first, facts.previous)
    return None if first is None else _judged_cover(*first, newest_note(path))


def _judged_cover(entry: Entry, sealed: Sealed, note: Note | None) -> Covering:
    """Whether the note holds: signed by the key that the entry names, over the tree that ends with the entry."""
    facts, size = sealed.facts, entry.seq + 1
    signers: tuple[VerifierKey, ...] = ()
    answer, code = Answer.FAILS, "logview.explain_cover_unsigned"
    try:
        if note is None or Checkpoint.of(note).size != size:
            note, answer, code = None, Answer.UNKNOWN, "logview.explain_cover_no_note"
        else:
            signers = note.signed_by((facts.key, facts.stable_key))
            if Checkpoint.of(note) != Checkpoint(origin_of(entry.log_id), size, sealed.tree().root()):
                code = "logview.explain_cover_differs"
            elif facts.key in signers:
                answer, code = Answer.HOLDS, "logview.explain_covered"
    except NoteError:
        pass
    return Covering(facts.number, entry.seq, size, entry.timestamp, note, signers, answer, code)


def _checkpoints(path: Path, first: int, clock: Clock) -> Iterator[tuple[Entry, bytes]]:
    """The checkpoint entries from entry `first` on with their lines; lines of other kinds are not parsed."""
    with open_input(path, clock, from_seq=first) as source:
        for block in source.blocks():
            if MARK not in block.read():
                continue
            for line in block.lines():
                entry = entry_of(line, 0, 0) if MARK in line else None
                if entry is not None and entry.kind == CHECKPOINT and entry.seq >= first:
                    yield entry, line
