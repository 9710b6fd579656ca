"""
Makes checkpoints: an entry in the log, a note beside it, and the key that signed the note destroyed.

    1  the next key is put beside the present one                        (keys on the disk)
    2  the entry that names both is appended                             (log on the disk)
    3  the note over everything up to that entry is signed and written   (`<log>.checkpoint` on the disk)
    4  the present key is destroyed, the next one comes into force       (keys on the disk)

All of it happens under the lock of the log, and a crash anywhere is finished by the next call: before 2 the keys are
used as they are; after 2 the same note is signed again, because Ed25519 signs the same bytes the same way; after 4 a
note that is missing beside the log is written again from the keys' file. What fits neither the keys nor the log, for
example an older copy of one of them, is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from stage4 import files
from stage4.clock import Clock
from stage4.decisionlog.checkpoints.facts import CheckpointFacts, origin_of
from stage4.decisionlog.checkpoints.growth import Growth, Sealed
from stage4.decisionlog.checkpoints.keys import CheckpointKeys, KeyStore
from stage4.decisionlog.checkpoints.note import Checkpoint, Note, NoteError
from stage4.decisionlog.checkpoints.spelling import ORIGIN
from stage4.decisionlog.spot import Scribe
from stage4.decisionlog.traces import NOTE_LIMIT, checkpoint_path, require_not_behind
from stage4.decisionlog.writer import DecisionLog, Held
from stage4.errors import Unavailable
from stage4.security.keyring import KeyRing

_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Made:
    """A checkpoint that is on the disk. `pin` is what an auditor keeps elsewhere: two verifier keys, one a line.

    `resumed`: an earlier call appended its entry and did not come to the end.
    """

    number: int
    log_id: str
    checkpoint: Checkpoint
    note: Note
    pin: str
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """What a log and its checkpoints have come to: `number` would be the next one, `new` entries wait for it."""

    log_id: str
    number: int
    covered: int
    new: int


def due(
    head_seq: int,
    covered: int,
    oldest_uncovered_at: datetime | None,
    now: datetime,
    every_entries: int,
    every_minutes: float,
) -> bool:
    """Whether a checkpoint should be made of a log whose last entry is `head_seq` and whose newest covers `covered`."""
    uncovered = head_seq + 1 - covered
    if uncovered <= 0:
        return False
    waited = oldest_uncovered_at is not None and now - oldest_uncovered_at >= timedelta(minutes=every_minutes)
    return uncovered >= every_entries or waited


def make(log: DecisionLog, keyring: KeyRing, clock: Clock) -> Made | None:
    """Make the next checkpoint, or finish one; None where nothing is new since the last.

    Raises Unavailable where log, keys or disk fail, `checkpoint.log_moving` where others changed the log each time that
    it was read, other `checkpoint.*` where they do not fit each other.
    """
    for _ in range(_ATTEMPTS):
        growth = Growth.of(log.path, _scribe(log.path, keyring, clock))
        with log.held() as held:
            # A rotation, or a write that was taken back, makes what was read void.
            caught_up = growth.catch_up(held.descriptor, held.size)
            if caught_up and (growth.head, growth.size) == (held.head.digest, held.head.seq + 1):
                return _Notary(held, growth, KeyStore.beside(keyring.path, held.head.log_id)).make()
    raise Unavailable("checkpoint.log_moving", path=log.path)


def standing(path: Path, keyring: KeyRing, clock: Clock) -> Standing:
    """What `make` would find, with the refusals of `make`; nothing is written and no lock is taken."""
    for _ in range(_ATTEMPTS):
        growth = Growth.of(path, _scribe(path, keyring, clock))
        try:
            return _standing(growth, path, keyring)
        except Unavailable:
            # Somebody may have made a checkpoint between the reading of the log and of the keys.
            if Growth.of(path, _scribe(path, keyring, clock)).head == growth.head:
                raise
    raise Unavailable("checkpoint.log_moving", path=path)


def _standing(growth: Growth, path: Path, keyring: KeyRing) -> Standing:
    log_id, last = growth.log_id, growth.last
    _require_own_note(path, log_id)
    require_not_behind(path, log_id, growth.size - 1)
    store = KeyStore.beside(keyring.path, log_id)
    keys = store.load()
    if keys is None:
        if last is not None:
            raise Unavailable("checkpoint.keys_missing", path=store.path)
        return Standing(log_id, 0, 0, growth.size)
    if last is not None and last.facts.number == keys.number:
        # The entry of a checkpoint that was not finished.
        _require_named(keys, last, store.path)
        covered = 0 if keys.note is None else Checkpoint.of(keys.note).size
    else:
        _require_fit(keys, last, store.path, path, log_id)
        covered = growth.covered
    return Standing(log_id, keys.number, covered, growth.size - covered)


def newest_note(log: Path) -> Note | None:
    """The note beside the log, its signatures unjudged; None where there is none that can be read."""
    try:
        return Note.parse(files.read_limited(checkpoint_path(log), NOTE_LIMIT))
    except (Unavailable, NoteError):
        return None


def pin_of(keyring: KeyRing, log_id: str) -> str | None:
    """What an auditor keeps elsewhere; None before the first checkpoint."""
    keys = KeyStore.beside(keyring.path, log_id).load()
    return None if keys is None or keys.note is None else keys.pin()


class _Notary:
    """One call of `make`, under the lock."""

    def __init__(self, held: Held, growth: Growth, store: KeyStore) -> None:
        self._held = held
        self._growth = growth
        self._store = store
        self._log_id = held.head.log_id

    def make(self) -> Made | None:
        _require_own_note(self._held.path, self._log_id)
        last = self._growth.last
        keys = self._store.load()
        if keys is None:
            if last is not None:
                raise Unavailable("checkpoint.keys_missing", path=self._store.path)
            keys = self._store.create(self._log_id)
        self._store.clean()
        keys, made = replace(keys, log=str(self._held.path.resolve())), None
        if last is not None and last.facts.number == keys.number:
            keys, made = self._finish(keys, last, resumed=True)
        _require_fit(keys, last, self._store.path, self._held.path, self._log_id)
        self._restore_note(keys)
        if keys.note is not None and Checkpoint.of(keys.note).size == self._growth.size:
            return made
        return self._seal(keys)

    def _seal(self, keys: CheckpointKeys) -> Made:
        if keys.following is None:
            keys = keys.begun()
            self._store.save(keys)
        assert keys.following is not None
        facts = CheckpointFacts(
            keys.number,
            keys.forward.verifier,
            keys.following.verifier,
            keys.stable.verifier,
            keys.note,
            self._growth.tree.nodes,
        )
        receipt = self._held.append(facts.draft())
        return self._finish(keys, Sealed(receipt.seq, facts, receipt.raw), resumed=False)[1]

    def _finish(self, keys: CheckpointKeys, sealed: Sealed, *, resumed: bool) -> tuple[CheckpointKeys, Made]:
        """Steps 3 and 4 for an entry that is in the log."""
        _require_named(keys, sealed, self._store.path)
        checkpoint = Checkpoint(origin_of(self._log_id), sealed.seq + 1, sealed.tree().root())
        signatures = (keys.forward.sign(checkpoint.text), keys.stable.sign(checkpoint.text))
        note = Note(checkpoint.text, signatures)
        files.atomic_write(checkpoint_path(self._held.path), note.encode())
        made = Made(keys.number, self._log_id, checkpoint, note, keys.pin(), resumed)
        keys = keys.signed(note)
        self._store.save(keys)
        return keys, made

    def _restore_note(self, keys: CheckpointKeys) -> None:
        if keys.note is not None and newest_note(self._held.path) != keys.note:
            files.atomic_write(checkpoint_path(self._held.path), keys.note.encode())


def _require_named(keys: CheckpointKeys, sealed: Sealed, path: Path) -> None:
    """Raise Unavailable unless the entry of the checkpoint under way names the keys that stand in `path`."""
    named = (sealed.facts.key, sealed.facts.next_key, sealed.facts.stable_key)
    following = keys.following.verifier if keys.following else None
    if named != (keys.forward.verifier, following, keys.stable.verifier):
        raise Unavailable("checkpoint.keys_differ", path=path, number=keys.number)


def _require_fit(keys: CheckpointKeys, last: Sealed | None, path: Path, log: Path, log_id: str) -> None:
    """Raise Unavailable unless the keys in `path` are those that the last checkpoint entry of `log` announced."""
    expected = 0 if last is None else last.facts.number + 1
    facts = {"path": path, "number": keys.number, "expected": expected}
    if keys.number > expected:
        raise Unavailable("checkpoint.log_went_back", **facts)
    if keys.number < expected:
        raise Unavailable("checkpoint.keys_went_back", **facts)
    if keys.log_id != log_id:
        raise Unavailable("checkpoint.keys_malformed", path=path)
    announced = None if last is None else (last.facts.next_key, last.facts.stable_key)
    if announced not in (None, (keys.forward.verifier, keys.stable.verifier)):
        raise Unavailable("checkpoint.keys_differ", path=path, number=keys.number)
    if last is not None and keys.note is not None:
        signed = Checkpoint.of(keys.note)
        # Whoever has the key of the entries can write this entry anew, and not what was signed.
        if signed != Checkpoint(signed.origin, last.seq + 1, last.tree().root()):
            raise Unavailable("checkpoint.log_differs", path=log, size=signed.size)


def _require_own_note(log: Path, log_id: str) -> None:
    """Raise Unavailable where the note beside the log is another log's: it proves what lay here before."""
    note, own = newest_note(log), origin_of(log_id)
    origin = note.text.partition("\n")[0] if note else own
    if origin != own and origin.startswith(ORIGIN):
        raise Unavailable("checkpoint.note_foreign", path=checkpoint_path(log), origin=origin, expected=own)


def _scribe(path: Path, keyring: KeyRing, clock: Clock) -> Scribe:
    return Scribe(path, keyring, clock, origin="")
