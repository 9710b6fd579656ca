"""
What a checkpoint entry says, written and read in one place.

A checkpoint entry names the key that signs its checkpoint, the key of the next one, and the stable key; it carries
the whole note of the checkpoint before it and the frontier of the tree over all entries before itself. The note of
checkpoint i covers the entry that names key i + 1, so trust in the first key leads to every later one.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from stage4.decisionlog.checkpoints.note import Checkpoint, Note, NoteError, VerifierKey
from stage4.decisionlog.checkpoints.spelling import ORIGIN, base64_bytes
from stage4.decisionlog.checkpoints.tree import HASH, Frontier
from stage4.decisionlog.entry import CHECKPOINT, LOG_CATEGORY, Draft, Entry

FORWARD = "/forward"
# Stands in the line of every checkpoint entry, and perhaps in others.
MARK = f'"kind":"{CHECKPOINT}"'.encode()
_MEMBERS = frozenset({"number", "key", "next_key", "stable_key", "previous", "frontier"})


def origin_of(log_id: str) -> str:
    """The name of a log in its checkpoints, which is its stable key's name too."""
    return ORIGIN + log_id


def forward_name(log_id: str) -> str:
    """The name of the forward keys of a log."""
    return origin_of(log_id) + FORWARD


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """The metadata of checkpoint entry `number` (from 0); `frontier` is the tree over the entries before it."""

    number: int
    key: VerifierKey
    next_key: VerifierKey
    stable_key: VerifierKey
    previous: Note | None
    frontier: tuple[bytes, ...]

    def draft(self) -> Draft:
        """The entry to append."""
        return Draft(CHECKPOINT, LOG_CATEGORY, "log", "sealed", metadata=self._metadata())

    def tree(self, seq: int) -> Frontier:
        """The tree over the entries 0 to `seq - 1`, where `seq` is this entry's own; raises ValueError."""
        return Frontier.resumed(seq, self.frontier)

    @classmethod
    def read(cls, entry: Entry) -> CheckpointFacts:
        """What `entry` says; raises NoteError `entry`, or for a bad key or note within it that one's reason.

        Strict: names fit the log, sizes fit the places, every text is spelt the only way. No signature is judged.
        """
        said: Mapping[str, object] = entry.metadata
        number, frontier, previous = said.get("number"), said.get("frontier"), said.get("previous")
        if entry.kind != CHECKPOINT or entry.category != LOG_CATEGORY or said.keys() != _MEMBERS:
            raise NoteError("entry")
        if type(number) is not int or number < 0 or (number == 0) is not (previous is None):
            raise NoteError("entry")
        if not isinstance(frontier, list) or len(frontier) != entry.seq.bit_count():
            raise NoteError("entry")
        facts = cls(
            number,
            _key(said["key"], forward_name(entry.log_id)),
            _key(said["next_key"], forward_name(entry.log_id)),
            _key(said["stable_key"], origin_of(entry.log_id)),
            None if previous is None else _note(previous, entry),
            tuple(_hash(node) for node in frontier),
        )
        if len({facts.key.public, facts.next_key.public, facts.stable_key.public}) != 3:
            raise NoteError("entry")
        return facts

    def _metadata(self) -> Mapping[str, object]:
        return {
            "number": self.number,
            "key": str(self.key),
            "next_key": str(self.next_key),
            "stable_key": str(self.stable_key),
            "previous": None if self.previous is None else self.previous.encode().decode(),
            "frontier": [base64.b64encode(node).decode() for node in self.frontier],
        }


def _key(text: object, name: str) -> VerifierKey:
    if not isinstance(text, str):
        raise NoteError("entry")
    key = VerifierKey.parse(text)
    if key.name != name or str(key) != text:
        raise NoteError("entry")
    return key


def _note(text: object, entry: Entry) -> Note:
    if not isinstance(text, str):
        raise NoteError("entry")
    note = Note.parse(text.encode())
    checkpoint = Checkpoint.of(note)
    if note.encode() != text.encode() or checkpoint.origin != origin_of(entry.log_id):
        raise NoteError("entry")
    if not 0 < checkpoint.size <= entry.seq:
        raise NoteError("entry")
    return note


def _hash(text: object) -> bytes:
    try:
        raw = base64_bytes(text)
    except ValueError:
        raise NoteError("entry") from None
    if len(raw) != HASH:
        raise NoteError("entry")
    return raw
