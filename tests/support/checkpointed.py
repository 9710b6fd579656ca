"""A log with checkpoints, made line by line in memory by somebody who holds every key: an engine, or a thief."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

from stage4.decisionlog.canonical import parse_strict
from stage4.decisionlog.chain import Sealer, genesis_prev, leaf_digest
from stage4.decisionlog.checkpoints.facts import CheckpointFacts, forward_name, origin_of
from stage4.decisionlog.checkpoints.note import Checkpoint, Note, SignerKey, VerifierKey
from stage4.decisionlog.checkpoints.tree import Frontier, leaf
from stage4.decisionlog.entry import GENESIS, LOG_CATEGORY, Draft, Entry, Place, payload_of, read_payload
from stage4.decisionlog.verification.blame import Blame
from stage4.decisionlog.verification.trail import Given, Trail, TrailVerdict
from stage4.security.keyring import Key, KeyRing, create_keyring
from stage4.testing.clock import ManualClock
from support.decision_logs import draft

LOG_ID = "AAAAAAAAAAAAAAAAAAAAAA"


def note(origin: str, size: int, root: bytes, *signers: SignerKey) -> Note:
    """A checkpoint note with the signatures of `signers`."""
    text = Checkpoint(origin, size, root).text
    return Note(text, tuple(signer.sign(text) for signer in signers))


@dataclass
class CheckpointedLog:
    """Lines in memory; `seeds` names the chain of forward keys, `stable` the other key, `notes` all notes made."""

    ring: KeyRing
    log_id: str = LOG_ID
    seeds: str = "honest"
    lines: list[bytes] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    stable: SignerKey | None = None
    clock: ManualClock = field(default_factory=ManualClock)
    key: Key | None = None

    @classmethod
    def create(cls, folder: Path, entries: int = 0, every: int = 0, log_id: str = LOG_ID) -> CheckpointedLog:
        """A log of `entries` entries, of which every `every`-th is a checkpoint."""
        log = cls(create_keyring(folder / "secrets" / "keyring.json", ManualClock().now()), log_id)
        log.extend(entries, every)
        return log

    def extend(self, to: int, every: int = 0) -> None:
        """Append until there are `to` entries."""
        while len(self.lines) < to:
            if every and (len(self.lines) + 1) % every == 0:
                self.checkpoint()
            else:
                self.append()

    def append(self, entry: Draft | None = None) -> None:
        """The next entry; the first one is the genesis entry."""
        seq = len(self.lines)
        prev = leaf_digest(self.lines[-1]) if seq else genesis_prev(self.log_id)
        facts = {"chain": "SHA-256", "created": "2026-11-23T09:42:01Z", "key_fingerprint": "x", "origin": "tests"}
        entry = entry or (draft(seq) if seq else Draft(GENESIS, LOG_CATEGORY, "log", "begun", metadata=facts))
        key = self.key or self.ring.active_key()
        payload = payload_of(entry, Place(self.log_id, seq, prev, key.id), self.clock.now())
        self.lines.append(Sealer(key, self.log_id).seal(payload))

    def facts(self, **changes: object) -> CheckpointFacts:
        """What the next checkpoint entry has to say, with `changes`."""
        number = len(self.notes)
        facts = CheckpointFacts(
            number,
            self.forward(number).verifier,
            self.forward(number + 1).verifier,
            self.stable_key.verifier,
            self.notes[-1] if self.notes else None,
            self.tree().nodes,
        )
        return replace(facts, **changes)  # type: ignore[arg-type]

    def checkpoint(self, *signers: SignerKey, **changes: object) -> Note:
        """A checkpoint entry and its note, signed by `signers` instead of the right keys if there are any."""
        self.append(self.facts(**changes).draft())
        number = len(self.notes)
        made = self.note(len(self.lines), *(signers or (self.forward(number), self.stable_key)))
        self.notes.append(made)
        return made

    def note(self, size: int, *signers: SignerKey) -> Note:
        """A note over the first `size` lines."""
        return note(origin_of(self.log_id), size, self.tree(size).root(), *signers)

    def forward(self, number: int) -> SignerKey:
        """Forward key `number` of the chain."""
        return SignerKey(forward_name(self.log_id), hashlib.sha256(f"{self.seeds} {number}".encode()).digest())

    @property
    def stable_key(self) -> SignerKey:
        return self.stable or SignerKey(origin_of(self.log_id), hashlib.sha256(b"stable").digest())

    @property
    def pins(self) -> tuple[VerifierKey, VerifierKey]:
        """What the auditor keeps: forward key 0 and the stable key."""
        return self.forward(0).verifier, self.stable_key.verifier

    def tree(self, size: int | None = None) -> Frontier:
        """The tree over the first `size` lines, or all."""
        tree = Frontier()
        for line in self.lines[:size]:
            tree.add(leaf(line))
        return tree

    def cut(self, size: int) -> CheckpointedLog:
        """A copy of the first `size` lines; it remembers the notes over them and can go on."""
        twin = copy.copy(self)
        twin.lines = self.lines[:size]
        twin.notes = [each for each in self.notes if Checkpoint.of(each).size <= size]
        return twin

    def write(self, path: Path) -> Path:
        path.write_bytes(b"".join(line + b"\n" for line in self.lines))
        return path

    def entry(self, seq: int) -> Entry:
        """The entry in line `seq`."""
        return entry_of(self.lines[seq], seq)


def entry_of(line: bytes, index: int) -> Entry:
    members = parse_strict(line)
    assert isinstance(members, dict)
    del members["signature"]
    return read_payload(members, index + 1, 0)


def given(*notes: Note | bytes, source: str = "outside") -> tuple[Given, ...]:
    return tuple(Given(source, each if isinstance(each, bytes) else each.encode()) for each in notes)


def follow(
    log: CheckpointedLog, trail: Trail, *, broken_from: int | None = None
) -> tuple[TrailVerdict, list[tuple[int, Blame]]]:
    """Walk `log` past `trail`, which loses its tree at `broken_from`; the blames with the line index they stand at."""
    tree: Frontier | None = Frontier()
    blames: list[tuple[int, Blame]] = []
    for index, line in enumerate(log.lines):
        hashed = leaf(line)
        if broken_from is not None and index >= broken_from:
            tree = None
        if tree is not None:
            tree.add(hashed)
        blames += [(index, blame) for blame in trail.placed(entry_of(line, index), hashed, tree, True)]
    length = len(log.lines)
    verdict = trail.finish(length, length - 1 if length else None, tree is not None)
    return verdict, blames + [(length, blame) for blame in verdict.blames]
