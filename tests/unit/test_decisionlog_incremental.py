"""Verification from a checkpoint that the auditor kept: only what came after it is read, and nothing less is found."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from stage4.clock import format_instant
from stage4.decisionlog import archive
from stage4.decisionlog.checkpoints import notary
from stage4.decisionlog.checkpoints.facts import origin_of
from stage4.decisionlog.checkpoints.note import Checkpoint, Note, SignerKey, VerifierKey
from stage4.decisionlog.entry import GENESIS, KEY_ROTATION, LOG_CATEGORY, Draft
from stage4.decisionlog.prefix import Prefix
from stage4.decisionlog.verification import incremental
from stage4.decisionlog.verification.incremental import Kept
from stage4.decisionlog.verification.trail import Trail
from stage4.decisionlog.verification.verdict import Completeness, Coverage, Mode, Verdict
from stage4.decisionlog.verification.verifier import verify
from stage4.decisionlog.verification.walk import Task
from stage4.errors import ExitCode, UsageError
from stage4.security.keyring import Key, KeyRing, new_key
from support.checkpointed import LOG_ID, CheckpointedLog, given, note
from support.decision_logs import LogRoom, draft

OTHER_ID = "BBBBBBBBBBBBBBBBBBBBBB"


@pytest.fixture
def log(tmp_path: Path) -> CheckpointedLog:
    """Forty entries; every tenth one is a checkpoint."""
    return CheckpointedLog.create(tmp_path, 40, 10)


def kept(made: Note) -> Kept:
    return Kept("kept", made, Checkpoint.of(made))


def after(log: CheckpointedLog, path: Path, made: Note, trail: Trail | None = None) -> Verdict:
    """The verdict on `log` from the checkpoint `made` on."""
    task = Task(trail or Trail())
    return incremental.verify_after(kept(made), log.write(path), log.ring, log.clock, task)


def found(verdict: Verdict) -> list[tuple[str, str, int, int | None]]:
    """Class, code, line and entry number of each finding."""
    return [(each.fault.value, each.code.partition(".")[2], each.line, each.seq) for each in verdict.findings]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runtime.jsonl"


def test_only_what_came_after_the_kept_checkpoint_is_read(log: CheckpointedLog, path: Path) -> None:
    trail = Trail(given(log.notes[3]))
    verdict = after(log, path, log.notes[1], trail)
    whole = verify(path, log.ring, log.clock)
    assert verdict.findings == ()
    assert (verdict.mode, verdict.first_read, verdict.first_seq, verdict.entries) == (Mode.INCREMENTAL, 19, 19, 21)
    assert (verdict.last_seq, verdict.head, verdict.root) == (39, whole.head, whole.root)
    assert verdict.completeness == Completeness(Coverage.COVERED, covered=40, uncovered=0, checkpoints=3, own=True)
    assert verdict.exit_code is ExitCode.DONE
    assert trail.newest == log.notes[3]
    assert [(each.first_line, each.last_line) for each in verdict.islands] == [(20, 40)]


def test_nothing_new_is_still_an_answer(log: CheckpointedLog, path: Path) -> None:
    verdict = after(log, path, log.notes[3])
    assert (verdict.findings, verdict.entries, verdict.last_seq) == ((), 1, 39)
    assert verdict.completeness.covered == 40


def test_older_lines_are_not_even_looked_at(log: CheckpointedLog, path: Path) -> None:
    log.lines[5] = log.lines[5].replace(b"recorded", b"retorted")
    verdict = after(log, path, log.notes[1])
    assert (verdict.mode, verdict.findings) == (Mode.INCREMENTAL, ())
    assert verify(path, log.ring, log.clock).exit_code is ExitCode.NO


def test_a_new_line_that_was_edited_is_found_with_its_line_number_and_offset(log: CheckpointedLog, path: Path) -> None:
    log.lines[30] = log.lines[30].replace(b"recorded", b"retorted")
    verdict = after(log, path, log.notes[1])
    assert found(verdict) == [("edit", "edit", 31, 30)]
    assert verdict.findings[0].offset == sum(len(line) + 1 for line in log.lines[:30])


@pytest.mark.parametrize("index", [19, 20, 21, 39])
def test_every_edit_from_the_kept_checkpoint_on_is_found(log: CheckpointedLog, path: Path, index: int) -> None:
    log.lines[index] = log.lines[index].replace(b'"v":3', b'"v":4')
    assert after(log, path, log.notes[1]).exit_code is ExitCode.NO


def test_a_line_inserted_right_after_the_kept_checkpoint_is_found(log: CheckpointedLog, path: Path) -> None:
    log.lines.insert(20, b'{"v":3}')
    assert [each[:2] for each in found(after(log, path, log.notes[1]))] == [("format", "format_signature")]


def test_a_log_cut_before_the_kept_checkpoint_is_truncated(log: CheckpointedLog, path: Path) -> None:
    for length in (1, 9, 12, 19, 20, 39):
        verdict = after(log.cut(length), path, log.notes[3])
        assert [each[:2] for each in found(verdict)] == [("truncation", "truncated")]
        assert verdict.findings[0].params["n"] == 40 - length
        assert verdict.mode is Mode.FULL


def test_a_log_cut_after_the_kept_checkpoint_needs_a_newer_note(log: CheckpointedLog, path: Path) -> None:
    assert after(log.cut(33), path, log.notes[1]).completeness.uncovered == 13
    verdict = after(log.cut(33), path, log.notes[1], Trail(given(log.notes[3])))
    assert [each[:2] for each in found(verdict)] == [("truncation", "truncated")]


def test_another_history_is_a_rollback(log: CheckpointedLog, path: Path) -> None:
    other = log.cut(5)
    other.append(Draft("incident_note", "stage4_incident", "L1", "another"))
    other.extend(40, 10)
    verdict = after(other, path, log.notes[1])
    assert [each[:2] for each in found(verdict)] == [("rollback", "rollback")]
    assert verdict.mode is Mode.FULL


def test_another_chain_of_keys_after_the_kept_checkpoint_is_found(log: CheckpointedLog, path: Path) -> None:
    other = log.cut(25)
    other.seeds = "of a thief"
    other.extend(40, 10)
    assert [each[:2] for each in found(after(other, path, log.notes[1]))] == [("checkpoint", "entry_key")]


def test_a_size_without_a_checkpoint_entry_has_the_whole_log_read(log: CheckpointedLog, path: Path) -> None:
    verdict = after(log, path, log.note(25, log.stable_key))
    assert (verdict.mode, verdict.findings, verdict.entries) == (Mode.FULL, (), 40)
    assert after(log, path, log.note(0, log.stable_key)).mode is Mode.FULL
    wrong = note(origin_of(LOG_ID), 25, bytes(32), log.stable_key)
    assert [each[:2] for each in found(after(log, path, wrong))] == [("rollback", "rollback")]


def test_a_checkpoint_of_another_log_is_refused(log: CheckpointedLog, path: Path, tmp_path: Path) -> None:
    other = CheckpointedLog.create(tmp_path / "other", 20, 10, log_id=OTHER_ID)
    assert [each[:2] for each in found(after(log, path, other.notes[1]))] == [("checkpoint", "note_foreign")]


def test_without_secrets_new_entries_up_to_the_newest_checkpoint_are_proven(log: CheckpointedLog, path: Path) -> None:
    log.extend(43)
    log.write(path)

    def verdict(*notes: Note) -> Verdict:
        return incremental.verify_after(kept(log.notes[1]), path, None, log.clock, Task(Trail(given(*notes))))

    assert found(verdict(log.notes[3])) == [("unverifiable", "unverifiable", 41, 40)]
    assert found(verdict()) == [("unverifiable", "unverifiable", 31, 30)]
    log.cut(40).write(path)
    assert verdict(log.notes[3]).exit_code is ExitCode.DONE


def test_what_was_verified_is_kept_for_the_next_time(log: CheckpointedLog, path: Path, tmp_path: Path) -> None:
    file = tmp_path / "kept.checkpoint"
    trail = Trail(given(log.notes[3]))
    verdict = verify(log.write(path), log.ring, log.clock, trail=trail)
    assert incremental.save(file, verdict, trail)
    assert incremental.load(file, log.pins).note == log.notes[3]
    log.extend(55, 10)
    trail = Trail()
    task = Task(trail)
    verdict = incremental.verify_after(incremental.load(file, ()), log.write(path), log.ring, log.clock, task)
    assert incremental.save(file, verdict, trail)
    # The note of the last checkpoint is not in the log yet and was not given, so nothing newer is known.
    assert incremental.load(file, ()).note == log.notes[3]
    log.lines[50] = log.lines[50].replace(b"recorded", b"retorted")
    trail = Trail(given(log.notes[4]))
    assert not incremental.save(file, verify(log.write(path), log.ring, log.clock, trail=trail), trail)
    assert incremental.load(file, ()).note == log.notes[3]


def test_nothing_is_kept_where_no_checkpoint_fits(tmp_path: Path, path: Path) -> None:
    log = CheckpointedLog.create(tmp_path, 5)
    trail = Trail()
    assert not incremental.save(tmp_path / "kept", verify(log.write(path), log.ring, log.clock, trail=trail), trail)


@pytest.mark.parametrize(
    ("content", "pins", "code"),
    [
        (b"nonsense", 0, "completeness.kept_malformed"),
        (b"stage4-log/x\nabc\nabc\n\n", 0, "completeness.kept_malformed"),
        (None, 2, "completeness.kept_unsigned"),
    ],
)
def test_a_file_that_is_no_checkpoint_or_not_signed_by_the_pins_is_refused(
    log: CheckpointedLog, tmp_path: Path, content: bytes | None, pins: int, code: str
) -> None:
    stranger = SignerKey(origin_of(LOG_ID), b"x" * 32)
    file = tmp_path / "kept"
    file.write_bytes(content if content is not None else log.note(40, stranger).encode())
    with pytest.raises(UsageError) as raised:
        incremental.load(file, log.pins[:pins])
    assert raised.value.code == code


def test_pins_of_another_log_do_not_fit_the_kept_checkpoint(log: CheckpointedLog, tmp_path: Path) -> None:
    file = tmp_path / "kept"
    file.write_bytes(log.notes[3].encode())
    with pytest.raises(UsageError):
        incremental.load(file, [VerifierKey(origin_of(OTHER_ID), bytes(32))])
    # Only the first forward key can be pinned, and that one signed only the first checkpoint.
    assert incremental.load(file, log.pins[:1]).note == log.notes[3]


def archived(tmp_path: Path) -> tuple[LogRoom, list[Note]]:
    """A log of three archives and a live file, with the notes of its checkpoints, one in each file."""
    room = LogRoom.create(tmp_path, 9)
    log, notes = room.log(), []
    for number in range(4):
        made = notary.make(log, room.ring, room.clock)
        assert made is not None
        notes.append(made.note)
        log.append_many([draft(n) for n in range(5)])
        if number < 3:
            archive.rotate(log)
    return room, notes


def test_the_kept_checkpoint_may_stand_in_an_archive(tmp_path: Path) -> None:
    room, notes = archived(tmp_path)
    for index, made in enumerate(notes):
        verdict = incremental.verify_after(kept(made), room.path, room.ring, room.clock, Task(Trail(given(notes[-1]))))
        assert (verdict.mode, verdict.findings) == (Mode.INCREMENTAL, ())
        assert len(verdict.parts) == 4 - index
        assert verdict.root == room.verify().root
        assert verdict.completeness.covered == Checkpoint.of(notes[-1]).size


def test_an_edit_after_the_kept_checkpoint_is_found_in_its_own_file(tmp_path: Path) -> None:
    room, notes = archived(tmp_path)
    lines = room.lines()
    lines[2] = lines[2].replace(b"recorded", b"retorted")
    room.put(lines)
    verdict = incremental.verify_after(kept(notes[1]), room.path, room.ring, room.clock, Task())
    assert [(each.fault.value, each.line, each.part) for each in verdict.findings] == [("edit", 3, "runtime.jsonl")]


def test_a_rotation_since_then_has_the_whole_log_read_so_that_no_key_comes_back(tmp_path: Path) -> None:
    log = CheckpointedLog.create(tmp_path, 5)
    path, ring_path = tmp_path / "runtime.jsonl", log.ring.path
    first = log.ring.active_key()
    document = json.loads(ring_path.read_text())
    document["keys"].append(new_key(ring_path, "second", "HMAC-SHA256", log.clock.now()))
    ring_path.write_text(json.dumps(document))
    log.ring = KeyRing.load(ring_path, {})
    second = log.ring.keys["second"]

    def rotate(to: Key) -> None:
        facts = {"next_key_id": to.id, "next_fingerprint": to.fingerprint}
        log.append(Draft(KEY_ROTATION, LOG_CATEGORY, "log", "rotated", metadata=facts))
        log.key = to

    log.key = first
    rotate(second)
    log.append()
    log.checkpoint()
    kept_note = kept(log.notes[0])
    log.append()
    trail = Trail()
    verdict = incremental.verify_after(kept_note, log.write(path), log.ring, log.clock, Task(trail))
    assert (verdict.mode, verdict.exit_code) == (Mode.INCREMENTAL, 0)
    rotate(first)
    log.append()
    verdict = incremental.verify_after(kept_note, log.write(path), log.ring, log.clock, Task(Trail()))
    assert verdict.mode is Mode.FULL
    assert [each.code for each in verdict.findings] == ["log.rotation_back", "log.key_outlived"]


def test_an_older_note_that_says_otherwise_has_the_whole_log_read(log: CheckpointedLog, path: Path) -> None:
    forged = given(note(origin_of(LOG_ID), 10, bytes(32), SignerKey(origin_of(LOG_ID), bytes(32))))
    verdict = after(log, path, log.notes[1], Trail(forged))
    assert (verdict.mode, verdict.exit_code) == (Mode.FULL, 1)
    for honest in (log.notes[0], log.notes[1]):
        verdict = after(log, path, log.notes[1], Trail(given(honest)))
        assert (verdict.mode, verdict.exit_code) == (Mode.FULL if honest is log.notes[0] else Mode.INCREMENTAL, 0)


def test_a_revocation_since_then_has_the_whole_log_read(log: CheckpointedLog, path: Path) -> None:
    document = json.loads(log.ring.path.read_text())
    document["keys"].append(new_key(log.ring.path, "second", "HMAC-SHA256", log.clock.now()))
    document["active"] = "second"

    def revoke(at: datetime) -> None:
        document["keys"][0] |= {"state": "revoked", "revoked": format_instant(at)}
        log.ring.path.write_text(json.dumps(document))
        log.ring = KeyRing.load(log.ring.path, {})

    revoke(log.clock.now() - timedelta(days=1))
    assert after(log, path, log.notes[1]).mode is Mode.INCREMENTAL
    revoke(log.clock.now() + timedelta(days=1))
    verdict = after(log, path, log.notes[1])
    assert (verdict.mode, {each.code for each in verdict.findings}) == (Mode.FULL, {"completeness.revoked_unlogged"})


def test_a_kept_checkpoint_whose_signature_is_false_is_refused(log: CheckpointedLog, tmp_path: Path) -> None:
    file = tmp_path / "kept"
    forged = Note(log.notes[3].text, (log.notes[0].signatures[0],))
    file.write_bytes(forged.encode())
    with pytest.raises(UsageError, match=r"completeness\.kept_unsigned"):
        incremental.load(file, log.pins[:1])


def test_lines_of_version_2_before_the_log_are_counted(tmp_path: Path) -> None:
    log = CheckpointedLog.create(tmp_path)
    old = b'{"timestamp":"2026-01-01T00:00:00Z","stage":"L1","status":"old"}\n'
    prefix = Prefix()
    for _ in range(3):
        prefix.add(old[:-1])
    log.append(Draft(GENESIS, LOG_CATEGORY, "log", "begun", metadata={"sealed_prefix": dict(prefix.seal())}))
    log.extend(20, 10)
    path = log.write(tmp_path / "runtime.jsonl")
    path.write_bytes(old * 3 + path.read_bytes())
    verdict = incremental.verify_after(kept(log.notes[0]), path, log.ring, log.clock, Task())
    assert (verdict.mode, verdict.findings) == (Mode.INCREMENTAL, ())
    assert [(each.first_line, each.last_line) for each in verdict.islands] == [(13, 23)]
