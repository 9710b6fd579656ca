"""Judges a proof with nothing but public keys: no log, no installation, no secret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stage4.decisionlog.checkpoints.facts import FORWARD, origin_of
from stage4.decisionlog.checkpoints.note import Checkpoint, Note, NoteError, VerifierKey
from stage4.decisionlog.checkpoints.proof import Consistency, Inclusion, ProofError, check_consistency, check_inclusion
from stage4.decisionlog.checkpoints.spelling import ORIGIN
from stage4.decisionlog.checkpoints.tree import leaf
from stage4.decisionlog.entry import Entry
from stage4.decisionlog.reading import entry_of
from stage4.errors import UsageError


@dataclass(frozen=True, slots=True)
class Proven:
    """What a proof proves: that the log had `size` entries, and one of them or its beginning.

    `key` is the pinned key that vouches for the checkpoint, `forward` whether it can sign nothing else any more. `own`:
    the auditor holds the same checkpoint himself, so that nobody else has to vouch for it.
    """

    log_id: str
    size: int
    key: VerifierKey
    forward: bool
    entry: Entry | None = None
    old: int | None = None
    own: bool = False

    @property
    def vouched(self) -> bool:
        """Whether more vouches than a key that is still there: whoever takes the machine over has that one too.

        The growth from a checkpoint that the auditor holds is proven by that checkpoint.
        """
        return self.forward or self.own or self.old is not None


def pins_of(text: str, source: object = "-") -> tuple[VerifierKey, ...]:
    """The keys that a pin file lists, one a line, `#` before a remark; raises UsageError `verify.bad_pin`.

    `source` names the file for people.
    """
    pins = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            pins.append(VerifierKey.parse(line))
        except NoteError:
            raise UsageError("verify.bad_pin", path=source, line=number) from None
    return tuple(pins)


def judge_inclusion(proof: Inclusion, line: bytes, pins: Sequence[VerifierKey], own: Note | None = None) -> Proven:
    """What `proof` proves of the log's line `line` (without LF), in the auditor's `own` checkpoint if he has it.

    Raises ProofError.
    """
    if proof.line is not None and proof.line != line:
        raise ProofError("entry")
    checkpoint = _checkpoint(proof.note)
    check_inclusion(proof.index, checkpoint.size, leaf(line), proof.hashes, checkpoint.root)
    entry = entry_of(line, 0, 0)
    if entry is None or entry.seq != proof.index or origin_of(entry.log_id) != checkpoint.origin:
        raise ProofError("place")
    if own is not None:
        _require_same(_checkpoint(own), checkpoint)
    return _proven(checkpoint, _vouching(proof.note, pins), entry=entry, own=own is not None)


def judge_consistency(proof: Consistency, old: Note, pins: Sequence[VerifierKey]) -> Proven:
    """What `proof` proves, beginning with the auditor's own checkpoint `old`; raises ProofError."""
    before, after = _checkpoint(old), _checkpoint(proof.note)
    if before.origin != after.origin:
        raise ProofError("origin")
    if before.size != proof.old:
        raise ProofError("old")
    _vouching(old, pins)
    check_consistency(before.size, after.size, proof.hashes, before.root, after.root)
    return _proven(after, _vouching(proof.note, pins), old=before.size)


def _require_same(own: Checkpoint, proven: Checkpoint) -> None:
    if own.origin != proven.origin:
        raise ProofError("origin")
    if own.size != proven.size:
        raise ProofError("own_size")
    if own.root != proven.root:
        raise ProofError("own_root")


def _checkpoint(note: Note) -> Checkpoint:
    try:
        return Checkpoint.of(note)
    except NoteError:
        raise ProofError("shape") from None


def _vouching(note: Note, pins: Sequence[VerifierKey]) -> VerifierKey:
    """The pinned key that signed the note, a forward one before the stable one; raises ProofError."""
    origin = Checkpoint.of(note).origin
    # A key vouches only for the log that it is named after.
    own = [pin for pin in pins if pin.name in (origin, origin + FORWARD)]
    try:
        held = note.signed_by(own)
    except NoteError:
        raise ProofError("signature") from None
    if not held:
        raise ProofError("key")
    return max(held, key=lambda key: key.name == origin + FORWARD)


def _proven(
    checkpoint: Checkpoint,
    key: VerifierKey,
    *,
    entry: Entry | None = None,
    old: int | None = None,
    own: bool = False,
) -> Proven:
    log_id = checkpoint.origin.removeprefix(ORIGIN)
    return Proven(log_id, checkpoint.size, key, key.name != checkpoint.origin, entry, old, own)
