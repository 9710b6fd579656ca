"""
Follows the checkpoints through one log, and says how far they vouch for it.

Checkpoint entry i names the key of checkpoint i and of the next one, and carries the note of checkpoint i-1. So the
first key, pinned outside, leads to every later one: key i + 1 is believed only because the note of checkpoint i, signed
by key i, covers the entry that names it. Keys of earlier checkpoints are destroyed, so whoever takes the machine
over today can neither change what yesterday's note covers nor sign another note of that size.

The stable key is not destroyed. A note that only this key signed can accuse a log, never vouch for it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from stage4.decisionlog.checkpoints.facts import FORWARD, CheckpointFacts, forward_name, origin_of
from stage4.decisionlog.checkpoints.note import Checkpoint, Note, NoteError, VerifierKey
from stage4.decisionlog.checkpoints.tree import EMPTY_ROOT, Frontier
from stage4.decisionlog.entry import CHECKPOINT, KEY_REVOCATION, KEY_ROTATION, Entry
from stage4.decisionlog.verification.blame import Blame
from stage4.decisionlog.verification.revocation import Revocation
from stage4.decisionlog.verification.verdict import Completeness, Coverage, Fault

_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Given:
    """A note from outside the log's lines; `source` names for people where it was found.

    `trusted`: the caller vouches for it himself, whoever signed it.
    """

    source: str
    content: bytes
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class TrailVerdict:
    """What the checkpoints say of the log.

    `blames` belong to the last line. Entries below `proven_below` are proven by keys that were pinned outside,
    without any secret. `revocations` are the authentic `key_revocation` entries.
    """

    completeness: Completeness
    blames: tuple[Blame, ...]
    proven_below: int
    revocations: tuple[Revocation, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A checkpoint entry that was set in its place: its facts, and the tree with it.

    `chained`: a pinned key leads to the key of this checkpoint.
    """

    facts: CheckpointFacts
    size: int
    root: bytes
    chained: bool


@dataclass(frozen=True, slots=True)
class _Claim:
    """A given note that is one, and what it says."""

    source: str
    trusted: bool
    note: Note
    checkpoint: Checkpoint

    def joined(self, other: _Claim) -> _Claim:
        """With what is said of the same note from another place."""
        source = self.source if other.source == self.source else f"{self.source}, {other.source}"
        return replace(self, source=source, trusted=self.trusted or other.trusted)


class Trail:
    """Tell it every checkpoint entry in order and every entry that ends a tree of `sizes()`, then ask for the verdict.

    `given` are notes kept beside the log or elsewhere, `pins` the keys that the caller trusts; without pins the first
    key in the log is taken on trust. `known` keys are said to be of this log; by them a note that saw more entries than
    there are can be told to be genuine, which decides what the log is accused of, never whether it is.
    """

    def __init__(
        self, given: Sequence[Given] = (), pins: Sequence[VerifierKey] = (), known: Sequence[VerifierKey] = ()
    ) -> None:
        self._pins, self._known = tuple(pins), tuple(known)
        self._claims: list[_Claim] = []
        self._blames: list[Blame] = []
        self._log_id: str | None = None
        # The last checkpoint entry; None before the first one, and after a faulty one.
        self._last: Mark | None = None
        # False from the first fault on: what comes after it vouches for nothing and is held against nothing.
        self._sound = True
        self._contradicted = False
        self._first_number, self._chained, self._pin_used = 0, False, False
        self._stable: VerifierKey | None = None
        self._covered = self._proven = self._fitting = 0
        self._keys_changed = False
        self._newest: Note | None = None
        self._ends: dict[int, tuple[bytes | None, Mark | None]] = {}
        # With the size of the last checkpoint before each, whose note is known only later.
        self._revocations: list[tuple[Revocation, int]] = []
        for each in given:
            self.add(each)

    def add(self, given: Given) -> None:
        """One more note to hold the log against; the same note from two places is one note."""
        try:
            note = Note.parse(given.content)
            claim = _Claim(given.source, given.trusted, note, Checkpoint.of(note))
        except NoteError:
            self._blames.append(_checkpoint_blame("completeness.note_malformed", source=given.source))
            return
        for index, other in enumerate(self._claims):
            if other.note == note:
                self._claims[index] = other.joined(claim)
                return
        self._claims.append(claim)

    def begin_with(self, number: int) -> None:
        """The first checkpoint entry will be that `number`, of which the caller knows that it is the right one."""
        self._first_number, self._chained = number, True

    def sizes(self) -> frozenset[int]:
        """The tree sizes at which a given note has to be compared."""
        return frozenset(claim.checkpoint.size for claim in self._claims)

    @property
    def proven_below(self) -> int:
        """How many entries are proven by pinned keys so far."""
        return self._proven

    def disputes(self, own: Checkpoint) -> bool:
        """Whether a given note of a tree not larger than `own` says anything else than `own` does."""
        others = [claim.checkpoint for claim in self._claims if claim.checkpoint.size <= own.size]
        return any((each.size, each.root) != (own.size, own.root) for each in others)

    @property
    def keys_changed(self) -> bool:
        """Whether the key of the entries was rotated on the way."""
        return self._keys_changed

    def state(self) -> dict[str, object]:
        """Everything it knows, for `restore`."""
        return copy.deepcopy(vars(self))

    def restore(self, state: Mapping[str, object]) -> None:
        """Forget what came after `state` was asked for."""
        vars(self).update(state)

    @property
    def newest(self) -> Note | None:
        """The newest note that fits, so far."""
        return self._newest

    def placed(self, entry: Entry, leaf: bytes, frontier: Frontier | None, authentic: bool) -> tuple[Blame, ...]:
        """The next entry in its place, and what speaks against it.

        `leaf` is the entry's leaf hash and `frontier` the tree including it, None where the tree is broken.
        `authentic` is False for an entry that no secret was there to judge.
        """
        self._log_id = entry.log_id
        self._keys_changed = self._keys_changed or entry.kind == KEY_ROTATION
        blames: tuple[Blame, ...] = ()
        if entry.kind == CHECKPOINT:
            blames = tuple(self._checkpoint(entry, leaf, frontier))
            self._contradicted = self._contradicted or bool(blames)
            self._sound = self._sound and not blames and frontier is not None
        elif entry.kind == KEY_REVOCATION and authentic and len(self._revocations) < _KEPT:
            latest = 0 if self._last is None else self._last.size
            self._revocations.append((Revocation.of(entry, self._covered), latest))
        size = entry.seq + 1
        if any(claim.checkpoint.size == size for claim in self._claims):
            ending = self._last if self._last is not None and self._last.size == size else None
            self._ends[size] = (None if frontier is None else frontier.root(), ending)
        return blames

    def finish(self, entries: int, last_seq: int | None, intact: bool) -> TrailVerdict:
        """The verdict on a log of `entries` sound entries that ends with `last_seq`.

        `intact`: the tree is unbroken to the end.
        """
        length = 0 if last_seq is None else last_seq + 1
        claims = sorted(self._claims, key=lambda claim: claim.checkpoint.size)
        self._blames.extend(blame for claim in claims if (blame := self._claim_blame(claim, length)) is not None)
        if intact:
            self._blames.extend(self._judge_pins())
        total = max(length if intact else entries, self._covered)
        return TrailVerdict(
            Completeness(
                self._coverage(),
                self._covered,
                total - self._covered,
                self._fitting,
                pinned=self._pin_used and self._proven > 0,
                own=not self._pin_used and self._proven > 0,
            ),
            tuple(self._blames),
            self._proven,
            tuple(
                replace(each, vouched=latest) if each.vouched < latest <= self._covered else each
                for each, latest in self._revocations
            ),
        )

    def _checkpoint(self, entry: Entry, leaf: bytes, frontier: Frontier | None) -> Iterator[Blame]:
        """Judge a checkpoint entry and the note it carries; it becomes the last one where nothing speaks against it."""
        last, self._last = self._last, None
        if not self._sound:
            return
        try:
            facts = CheckpointFacts.read(entry)
            tree = facts.tree(entry.seq)
        except (NoteError, ValueError):
            yield _checkpoint_blame("completeness.entry_malformed")
            return
        if frontier is None:
            return
        tree.add(leaf)
        if tree.nodes != frontier.nodes:
            yield _checkpoint_blame("completeness.entry_frontier")
            return
        self._pin_used = self._pin_used or facts.key in self._pins
        chained = self._chained or facts.key in self._pins
        if last is not None:
            blame = _succession_blame(last, facts) or self._carried(last, facts.previous)
            if blame is not None:
                yield blame
                return
            chained = chained or last.chained
        elif facts.number != self._first_number:
            yield _checkpoint_blame("completeness.entry_number", number=facts.number, expected=self._first_number)
            return
        elif facts.stable_key not in self._pinned(facts.stable_key.name, or_else=facts.stable_key):
            yield _checkpoint_blame("completeness.entry_stable", number=facts.number)
            return
        self._stable = facts.stable_key
        self._last = Mark(facts, frontier.size, frontier.root(), chained)

    def _carried(self, last: Mark, note: Note | None) -> Blame | None:
        """The blame for the note of the checkpoint before, as the next entry carries it; None where it fits."""
        assert note is not None
        checkpoint = Checkpoint.of(note)
        try:
            held = note.signed_by((last.facts.key, last.facts.stable_key))
        except NoteError:
            held = ()
        if last.facts.key not in held:
            return _checkpoint_blame("completeness.carried_signature", number=last.facts.number)
        if checkpoint.size != last.size:
            return _checkpoint_blame("completeness.carried_size", number=last.facts.number, size=checkpoint.size)
        if checkpoint.root != last.root:
            return Blame(Fault.ROLLBACK, "completeness.carried_root", {"number": last.facts.number, "size": last.size})
        self._vouch(last.size, last.chained, note)
        return None

    def _vouch(self, size: int, chained: bool, note: Note) -> None:
        if size > self._covered:
            self._covered, self._newest = size, note
            self._fitting += 1
        if chained and size > self._proven:
            self._proven = size

    def _claim_blame(self, claim: _Claim, length: int) -> Blame | None:
        """Hold a given note against a log of `length` entries, once all of it was seen."""
        size = claim.checkpoint.size
        facts: dict[str, object] = {"source": claim.source, "size": size}
        if self._log_id is not None and claim.checkpoint.origin != origin_of(self._log_id):
            return _checkpoint_blame("completeness.note_foreign", source=claim.source, origin=claim.checkpoint.origin)
        root, ending = (EMPTY_ROOT, None) if size == 0 else self._ends.get(size, (None, None))
        unsigned = None if claim.trusted else self._unsigned(claim, ending, length)
        if unsigned is not None:
            return unsigned
        if size > length:
            return Blame(Fault.TRUNCATION, "completeness.truncated", {"n": size - length, **facts})
        if root is None:
            return None
        if root != claim.checkpoint.root:
            return Blame(Fault.ROLLBACK, "completeness.rollback", facts)
        if claim.trusted:
            self._vouch(size, True, claim.note)
        elif ending is not None:
            if ending.facts.key not in claim.note.signed_by((ending.facts.key,)):
                return _checkpoint_blame("completeness.note_forward", **facts)
            self._vouch(size, ending.chained, claim.note)
        return None

    def _unsigned(self, claim: _Claim, ending: Mark | None, length: int) -> Blame | None:
        """The blame for a note that no known key signed; which place in the log it is of comes afterwards."""
        size, origin = claim.checkpoint.size, claim.checkpoint.origin
        facts: dict[str, object] = {"source": claim.source, "size": size}
        keys = self._keys(origin, ending)
        if size > length:
            # Whatever they say of it, such a note remains an accusation, so a false key here excuses nothing.
            keys += tuple(key for key in self._known if key.name in (origin, origin + FORWARD))
        try:
            if claim.note.signed_by(keys):
                return None
        except NoteError:
            return _checkpoint_blame("completeness.note_signature", **facts)
        if size > length:
            return _checkpoint_blame("completeness.note_ahead", n=size - length, **facts)
        return _checkpoint_blame("completeness.note_unknown", **facts)

    def _keys(self, origin: str, ending: Mark | None) -> tuple[VerifierKey, ...]:
        """The keys whose signature of a note can be judged: that of its place, the next one, the stable ones."""
        keys = [*self._pinned(origin), *self._pinned(origin + FORWARD)]
        if self._stable is not None:
            keys.append(self._stable)
        for mark in (ending, self._last):
            if mark is not None:
                keys += [mark.facts.key, mark.facts.next_key]
        return tuple(keys)

    def _pinned(self, name: str, or_else: VerifierKey | None = None) -> tuple[VerifierKey, ...]:
        """The pins of that name; `or_else` where there is none."""
        pins = tuple(pin for pin in self._pins if pin.name == name)
        return pins or (() if or_else is None else (or_else,))

    def _judge_pins(self) -> Iterator[Blame]:
        """Whether the pinned keys are keys of this log; a log that makes no use of them is another one."""
        if not self._pins or self._proven or self._blames or self._contradicted:
            return
        names = {pin.name for pin in self._pins}
        if self._log_id is not None and names.isdisjoint((forward_name(self._log_id), origin_of(self._log_id))):
            yield _checkpoint_blame("completeness.pin_foreign", log_id=self._log_id)
        elif self._log_id is None or self._stable is None or forward_name(self._log_id) in names:
            # Whoever has a pin knows that there was a checkpoint.
            yield _checkpoint_blame("completeness.pin_unused")

    def _coverage(self) -> Coverage:
        faults = {blame.fault for blame in self._blames}
        if self._contradicted or faults & {Fault.CHECKPOINT, Fault.ROLLBACK}:
            return Coverage.CONTRADICTED
        if Fault.TRUNCATION in faults:
            return Coverage.TRUNCATED
        return Coverage.COVERED if self._covered else Coverage.UNKNOWN


def _succession_blame(last: Mark, facts: CheckpointFacts) -> Blame | None:
    """The blame for a checkpoint entry that is not the successor of `last`."""
    if facts.number != last.facts.number + 1:
        return _checkpoint_blame("completeness.entry_number", number=facts.number, expected=last.facts.number + 1)
    if facts.key != last.facts.next_key:
        return _checkpoint_blame("completeness.entry_key", number=facts.number)
    if facts.stable_key != last.facts.stable_key:
        return _checkpoint_blame("completeness.entry_stable", number=facts.number)
    return None


def _checkpoint_blame(code: str, **params: object) -> Blame:
    return Blame(Fault.CHECKPOINT, code, params)
