"""
A thief takes the whole machine over: the log, its HMAC keys, today's checkpoint keys. What can he still change?

The auditor pinned two public keys when the log began. Yesterday's checkpoint is where the thief has to stop, as long
as the auditor has its note; without any note he still cannot change what the log itself shows to be covered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from stage4.decisionlog.checkpoints import notary
from stage4.decisionlog.checkpoints.facts import CheckpointFacts
from stage4.decisionlog.checkpoints.judging import pins_of
from stage4.decisionlog.checkpoints.keys import KeyStore
from stage4.decisionlog.checkpoints.note import Checkpoint, Note, SignerKey, VerifierKey
from stage4.decisionlog.entry import CHECKPOINT, Draft, Entry
from stage4.decisionlog.traces import checkpoint_path
from stage4.decisionlog.verification.trail import Given, Trail
from stage4.decisionlog.verification.verdict import Coverage, Verdict
from stage4.decisionlog.verification.verifier import verify
from stage4.errors import ExitCode
from stage4.security.keyring import KeyRing
from support.checkpointed import CheckpointedLog, entry_of
from support.decision_logs import LogRoom, draft

LIE = Draft("incident_note", "stage4_incident", "L1", "never happened")
# Entry 5 stands before the first checkpoint, 15 between the first and the second, 35 after the third and last.
COVERED, LATER, UNCOVERED = 5, 15, 35


@dataclass
class Thief(CheckpointedLog):
    """Writes the log anew with every secret that is on the machine; of the forward keys that is only today's."""

    today: int = 0
    todays_key: SignerKey | None = None

    def forward(self, number: int) -> SignerKey:
        """Today's key where it is that number; otherwise one that the thief made himself."""
        return self.todays_key if number == self.today and self.todays_key else super().forward(number)

    def retell(self, told: Sequence[bytes], change: Callable[[Entry], Draft | None]) -> None:
        """Seal every entry of `told` again, as `change` wants it; None leaves it out."""
        for index, line in enumerate(told):
            entry = change(entry_of(line, index))
            if entry is not None:
                self.append(entry)

    def as_before(self, entry: Entry) -> Draft:
        """The entry again; a checkpoint states the tree over what now stands before it."""
        again = Draft(
            entry.kind, entry.category, entry.stage, entry.status, entry.artefacts, entry.runtime_flags, entry.metadata
        )
        if entry.kind != CHECKPOINT:
            return again
        return replace(CheckpointFacts.read(entry), frontier=self.tree().nodes).draft()

    def lying(self, seq: int) -> Callable[[Entry], Draft | None]:
        return lambda entry: LIE if entry.seq == seq else self.as_before(entry)


@dataclass
class Break:
    """A machine after a break-in, and what the auditor has: pins, and the notes of the checkpoints until yesterday."""

    path: Path
    ring: KeyRing
    pins: tuple[VerifierKey, ...]
    notes: tuple[Note, ...]
    told: list[bytes]
    thief: Thief

    def seqs(self) -> list[int]:
        """Where the checkpoint entries stand."""
        return [Checkpoint.of(note).size - 1 for note in self.notes]

    def audit(self, *outside: Note, ring: KeyRing | None, beside: Note | None = None) -> Verdict:
        """The verdict on what the thief wrote; `outside` are notes that the auditor has, `beside` lies by the log."""
        given = [Given("outside", note.encode()) for note in outside]
        if beside is not None:
            given.append(Given("beside", beside.encode()))
        self.thief.write(self.path)
        return verify(self.path, ring, self.thief.clock, trail=Trail(given, self.pins))


@pytest.fixture
def scene(tmp_path: Path) -> Break:
    """Thirty entries with three checkpoints yesterday, eight entries today, and then the break-in."""
    room = LogRoom.create(tmp_path, 9)
    log, made = room.log(), []
    for _ in range(3):
        made.append(notary.make(log, room.ring, room.clock))
        log.append_many([draft(number) for number in range(9)])
    log.append_many([draft(number) for number in range(8)])
    taken = [each for each in made if each is not None]
    keys = KeyStore.beside(room.ring.path, room.log_id()).load()
    assert keys is not None
    assert len(taken) == keys.number == 3
    thief = Thief(
        room.ring, room.log_id(), "of the thief", stable=keys.stable, today=keys.number, todays_key=keys.forward
    )
    notes = tuple(each.note for each in taken)
    return Break(room.path, room.ring, pins_of(taken[0].pin), notes, room.lines(), thief)


def classes(verdict: Verdict) -> set[str]:
    return {f"{finding.fault.value}: {finding.code.partition('.')[2]}" for finding in verdict.findings}


def found(scene: Break, expected: str, beside: Note | None = None) -> None:
    """The auditor finds it without any note, with or without the HMAC keys, and with his note too."""
    for ring in (scene.ring, None):
        alone = scene.audit(ring=ring, beside=beside)
        assert expected in classes(alone)
        assert alone.exit_code is ExitCode.NO
        assert alone.completeness.coverage is Coverage.CONTRADICTED
        assert scene.audit(scene.notes[-1], ring=ring, beside=beside).exit_code is ExitCode.NO


def found_with_a_note(scene: Break, expected: str, beside: Note | None = None) -> Verdict:
    """Only the note that the auditor has tells; returns what he sees without it."""
    for ring in (scene.ring, None):
        verdict = scene.audit(scene.notes[-1], ring=ring, beside=beside)
        assert expected in classes(verdict)
        assert verdict.exit_code is ExitCode.NO
    return scene.audit(ring=scene.ring, beside=beside)


def test_an_honest_log_is_covered_as_far_as_yesterday(scene: Break) -> None:
    scene.thief.lines = scene.told
    verdict = scene.audit(scene.notes[-1], ring=scene.ring)
    assert (verdict.findings, verdict.completeness.covered, verdict.completeness.uncovered) == ((), 31, 16 + 1)
    assert checkpoint_path(scene.path).read_bytes() == scene.notes[-1].encode()


@pytest.mark.parametrize("seq", [COVERED, LATER])
def test_rewriting_and_keeping_the_notes(scene: Break, seq: int) -> None:
    scene.thief.retell(scene.told, scene.thief.lying(seq))
    found(scene, "rollback: carried_root")


def test_rewriting_and_keeping_the_checkpoint_entries_as_they_were(scene: Break) -> None:
    thief = scene.thief
    thief.retell(
        scene.told,
        lambda entry: (
            Draft(CHECKPOINT, entry.category, "log", "sealed", metadata=entry.metadata)
            if entry.kind == CHECKPOINT
            else thief.lying(COVERED)(entry)
        ),
    )
    found(scene, "checkpoint: entry_frontier")


def signed_anew(thief: Thief, seq: int, *signers: SignerKey) -> Callable[[Entry], Draft]:
    """Lie in entry `seq`, and sign every carried note again over what now stands there."""

    def change(entry: Entry) -> Draft:
        if entry.kind != CHECKPOINT:
            return LIE if entry.seq == seq else thief.as_before(entry)
        facts = CheckpointFacts.read(entry)
        previous = facts.previous
        if previous is not None:
            previous = thief.note(Checkpoint.of(previous).size, *signers)
        return replace(facts, previous=previous, frontier=thief.tree().nodes).draft()

    return change


def test_rewriting_and_signing_the_notes_with_the_keys_that_are_left(scene: Break) -> None:
    thief = scene.thief
    for signers in ([thief.forward(3), thief.stable_key], [thief.stable_key], [thief.forward(1), thief.stable_key]):
        thief.lines = []
        thief.retell(scene.told, signed_anew(thief, COVERED, *signers))
        found(scene, "checkpoint: carried_signature", beside=thief.note(31, *signers))


def test_rewriting_without_any_checkpoint(scene: Break) -> None:
    thief = scene.thief
    thief.retell(scene.told, lambda entry: None if entry.kind == CHECKPOINT else thief.lying(COVERED)(entry))
    found(scene, "checkpoint: pin_unused")
    found_with_a_note(scene, "rollback: rollback")


def test_a_chain_of_keys_of_his_own(scene: Break) -> None:
    scene.thief.todays_key = None
    scene.thief.extend(47, 10)
    found(scene, "checkpoint: pin_unused", beside=scene.thief.notes[-1])


def test_a_chain_of_his_own_that_begins_with_the_pinned_key(scene: Break) -> None:
    """The public key is no secret, but nothing that it did not sign counts."""
    thief = scene.thief
    thief.extend(9)
    thief.checkpoint(key=scene.pins[0])
    thief.extend(40)
    found(scene, "checkpoint: pin_unused")
    thief.checkpoint()
    found(scene, "checkpoint: carried_signature")


def test_going_on_from_the_first_checkpoint_with_keys_of_his_own(scene: Break) -> None:
    thief = scene.thief
    first, second = scene.seqs()[:2]
    thief.lines, thief.notes = scene.told[: first + 1], [scene.notes[0]]
    thief.append(LIE)
    thief.extend(30)
    thief.checkpoint()
    found(scene, "checkpoint: entry_key")
    # With the key that the first checkpoint named, whose secret is gone, the next note cannot be signed.
    thief.lines, thief.notes = thief.lines[:30], [scene.notes[0]]
    named = CheckpointFacts.read(entry_of(scene.told[second], second)).key
    thief.checkpoint(key=named)
    thief.extend(40)
    thief.checkpoint()
    found(scene, "checkpoint: carried_signature")


def test_going_on_from_an_older_checkpoint_with_todays_key(scene: Break) -> None:
    thief = scene.thief
    thief.lines, thief.notes = scene.told[: scene.seqs()[0] + 1], [scene.notes[0]]
    thief.append(LIE)
    thief.extend(40)
    key, following = thief.forward(3).verifier, thief.forward(4).verifier
    thief.checkpoint(number=3, key=key, next_key=following)
    found(scene, "checkpoint: entry_number")
    thief.lines, thief.notes = thief.lines[:40], [scene.notes[0]]
    thief.checkpoint(key=key, next_key=following)
    found(scene, "checkpoint: entry_key")


def test_a_stable_signature_over_a_rewritten_log_vouches_for_nothing(scene: Break) -> None:
    thief = scene.thief
    thief.lines = scene.told[: scene.seqs()[0] + 1]
    thief.append(LIE)
    thief.extend(47)
    alone = found_with_a_note(scene, "rollback: rollback", beside=thief.note(47, thief.stable_key))
    assert alone.completeness.covered == 0
    assert alone.exit_code is ExitCode.NO


def test_moving_a_checkpoint_entry(scene: Break) -> None:
    thief = scene.thief
    second = scene.seqs()[1]
    told = [*scene.told]
    told[second], told[second + 1] = told[second + 1], told[second]
    thief.retell(told, thief.as_before)
    found(scene, "checkpoint: carried_size")


def test_leaving_one_checkpoint_entry_out(scene: Break) -> None:
    thief = scene.thief
    second = scene.seqs()[1]
    thief.retell(scene.told, lambda entry: LIE if entry.seq == second else thief.as_before(entry))
    found(scene, "checkpoint: entry_number")


def test_another_log_under_the_same_name(scene: Break) -> None:
    scene.thief.log_id = "BBBBBBBBBBBBBBBBBBBBBB"
    scene.thief.stable = scene.thief.todays_key = None
    scene.thief.extend(47, 10)
    found(scene, "checkpoint: pin_foreign")
    found_with_a_note(scene, "checkpoint: note_foreign")


@pytest.mark.parametrize("going_on", [0, 40])
def test_cutting_back_to_an_older_checkpoint_with_its_note(scene: Break, going_on: int) -> None:
    """With the auditor's newer note that is found. Without one only fewer entries are covered than yesterday."""
    thief = scene.thief
    thief.lines = scene.told[: scene.seqs()[1] + 1]
    thief.extend(going_on)
    expected = "rollback: rollback" if going_on else "truncation: truncated"
    alone = found_with_a_note(scene, expected, beside=scene.notes[1])
    assert (alone.exit_code, alone.completeness.covered) == (ExitCode.DONE, scene.seqs()[1] + 1)


def test_what_he_can_do(scene: Break) -> None:
    """Rewrite what came after yesterday's checkpoint, and seal it: nobody had seen it, and today's key is his."""
    thief = scene.thief
    thief.retell(scene.told, thief.lying(UNCOVERED))
    thief.notes = [*scene.notes]
    made = thief.checkpoint()
    verdict = scene.audit(*scene.notes, ring=scene.ring, beside=made)
    assert (verdict.findings, verdict.exit_code) == ((), ExitCode.DONE)
    assert verdict.completeness.covered == len(thief.lines)
    # What yesterday's note covers is still what it was.
    assert thief.lines[: scene.seqs()[-1] + 1] == scene.told[: scene.seqs()[-1] + 1]
