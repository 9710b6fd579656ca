"""The trail of checkpoints: which notes fit the log, how far they vouch for it, and what speaks against them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stage4 import words
from stage4.decisionlog.checkpoints.facts import origin_of
from stage4.decisionlog.checkpoints.note import Checkpoint, Note, SignerKey
from stage4.decisionlog.entry import CHECKPOINT, LOG_CATEGORY, Draft
from stage4.decisionlog.verification.trail import Given, Trail
from stage4.decisionlog.verification.verdict import Completeness, Coverage, Fault
from stage4.decisionlog.verification.verifier import verify
from stage4.errors import ExitCode
from support.checkpointed import LOG_ID, CheckpointedLog, follow, given, note

OTHER_ID = "BBBBBBBBBBBBBBBBBBBBBB"


@pytest.fixture
def log(tmp_path: Path) -> CheckpointedLog:
    """Sixty entries; the last one of every fifteen is a checkpoint."""
    return CheckpointedLog.create(tmp_path, 60, 15)


def codes(log: CheckpointedLog, trail: Trail) -> list[tuple[int, str, str]]:
    """Line index (the log's length for its end), class and code of each blame, every one of which has its words."""
    blames = follow(log, trail)[1]
    assert all(words.text(blame.code, "pl", **blame.params) for _, blame in blames)
    return [(index, blame.fault.value, blame.code.partition(".")[2]) for index, blame in blames]


def test_the_newest_note_covers_every_entry_up_to_its_checkpoint(log: CheckpointedLog) -> None:
    log.extend(70)
    trail = Trail(given(log.notes[-1]), log.pins)
    verdict, blames = follow(log, trail)
    assert blames == []
    assert verdict.completeness == Completeness(Coverage.COVERED, covered=60, uncovered=10, checkpoints=4, pinned=True)
    assert verdict.proven_below == 60
    assert trail.newest == log.notes[-1]


def test_without_a_given_note_the_last_one_inside_the_log_covers(log: CheckpointedLog) -> None:
    trail = Trail((), log.pins)
    verdict, blames = follow(log, trail)
    assert blames == []
    assert verdict.completeness == Completeness(Coverage.COVERED, covered=45, uncovered=15, checkpoints=3, pinned=True)
    assert trail.newest == log.notes[2]


def test_without_pins_the_first_key_is_taken_on_trust(log: CheckpointedLog) -> None:
    verdict, blames = follow(log, Trail(given(log.notes[-1])))
    assert blames == []
    assert verdict.completeness == Completeness(Coverage.COVERED, covered=60, uncovered=0, checkpoints=4)
    assert verdict.proven_below == 0


def test_without_a_checkpoint_nothing_is_known(tmp_path: Path) -> None:
    verdict, blames = follow(CheckpointedLog.create(tmp_path, 7), Trail())
    assert blames == []
    assert verdict.completeness == Completeness(Coverage.UNKNOWN, covered=0, uncovered=7)


def test_older_notes_and_a_note_of_no_entries_fit_too(log: CheckpointedLog) -> None:
    nothing = log.note(0, log.stable_key)
    verdict, blames = follow(log, Trail(given(*log.notes, nothing), log.pins))
    assert blames == []
    assert verdict.completeness.checkpoints == 4


def test_a_pinned_later_key_proves_from_its_own_checkpoint_on(log: CheckpointedLog) -> None:
    verdict, blames = follow(log, Trail(given(log.notes[-1]), [log.forward(2).verifier]))
    assert blames == []
    assert verdict.proven_below == 60
    assert follow(log.cut(44), Trail((), [log.forward(2).verifier]))[0].proven_below == 0


@pytest.mark.parametrize("pinned", [True, False])
def test_every_cut_is_found_with_a_note_kept_elsewhere(log: CheckpointedLog, pinned: bool) -> None:
    for length in range(60):
        cut, pins = log.cut(length), log.pins if pinned else ()
        verdict, blames = follow(cut, Trail(given(log.notes[-1]), pins))
        [(place, blame)] = blames
        assert place == length
        if pinned or length >= 15:
            assert (blame.fault, blame.params["n"]) == (Fault.TRUNCATION, 60 - length)
            assert verdict.completeness.coverage is Coverage.TRUNCATED
        else:
            # Nothing that is left names a key of the note, so all that can be said is what it claims.
            assert (blame.code, blame.params["n"]) == ("completeness.note_ahead", 60 - length)
            assert verdict.completeness.coverage is Coverage.CONTRADICTED
        assert verdict.completeness.covered == max(0, length // 15 - 1) * 15
        assert verdict.completeness.uncovered == length - verdict.completeness.covered


def test_a_cut_without_any_note_leaves_entries_that_nobody_covers(log: CheckpointedLog) -> None:
    for length in range(60):
        verdict, blames = follow(log.cut(length), Trail())
        covered = max(0, length // 15 - 1) * 15
        assert blames == []
        assert verdict.completeness == Completeness(
            Coverage.COVERED if covered else Coverage.UNKNOWN, covered, length - covered, covered // 15
        )


def test_rewritten_entries_contradict_the_note_kept_elsewhere(log: CheckpointedLog) -> None:
    other = log.cut(50)
    other.append(Draft("incident_note", "stage4_incident", "L1", "another"))
    other.extend(70)
    assert codes(other, Trail(given(log.notes[3]), log.pins)) == [(70, "rollback", "rollback")]


def test_a_note_carried_inside_that_saw_other_entries_is_a_rollback(log: CheckpointedLog) -> None:
    other = log.cut(20)
    other.append(Draft("incident_note", "stage4_incident", "L1", "another"))
    other.extend(29)
    other.checkpoint()
    other.extend(44)
    other.checkpoint(previous=log.notes[1])
    assert codes(other, Trail()) == [(44, "rollback", "carried_root")]


def test_a_broken_tree_is_compared_up_to_the_break_and_no_further(log: CheckpointedLog) -> None:
    verdict, blames = follow(log, Trail(given(*log.notes), log.pins), broken_from=40)
    assert blames == []
    assert verdict.completeness == Completeness(Coverage.COVERED, covered=30, uncovered=30, checkpoints=2, pinned=True)


def foreign(log: CheckpointedLog) -> SignerKey:
    return SignerKey(origin_of(OTHER_ID), b"x" * 32)


NOTES: dict[str, tuple[str, Callable[[CheckpointedLog], bytes]]] = {
    "no note": ("note_malformed", lambda log: b"nonsense"),
    "another log": ("note_foreign", lambda log: note(origin_of(OTHER_ID), 60, bytes(32), foreign(log)).encode()),
    "another key": ("note_unknown", lambda log: log.note(60, SignerKey(origin_of(LOG_ID), b"x" * 32)).encode()),
    "an old key": ("note_unknown", lambda log: log.note(60, log.forward(1)).encode()),
    "another key, ahead": (
        "note_ahead",
        lambda log: note(origin_of(LOG_ID), 90, bytes(32), SignerKey(origin_of(LOG_ID), b"x" * 32)).encode(),
    ),
    "the stable key alone": ("note_forward", lambda log: log.note(60, log.stable_key).encode()),
    "a false signature": (
        "note_signature",
        lambda log: Note(log.note(59, log.stable_key).text, log.notes[3].signatures).encode(),
    ),
    "a false stable signature": (
        "note_signature",
        lambda log: Note(
            log.notes[3].text, (log.notes[3].signatures[0], log.note(59, log.stable_key).signatures[0])
        ).encode(),
    ),
}


@pytest.mark.parametrize("kind", NOTES)
@pytest.mark.parametrize("pinned", [True, False])
def test_a_given_note_that_cannot_be_trusted_is_never_passed_over(
    log: CheckpointedLog, kind: str, pinned: bool
) -> None:
    code, made = NOTES[kind]
    trail = Trail([Given("outside", made(log))], log.pins if pinned else ())
    assert codes(log, trail) == [(60, "checkpoint", code)]


def test_a_note_of_the_stable_key_alone_accuses_but_does_not_vouch(log: CheckpointedLog) -> None:
    log.extend(66)
    verdict, blames = follow(log, Trail(given(log.note(63, log.stable_key)), log.pins))
    assert blames == []
    assert verdict.completeness.covered == 45
    ahead = note(origin_of(LOG_ID), 67, bytes(32), log.stable_key)
    assert codes(log, Trail(given(ahead), log.pins)) == [(66, "truncation", "truncated")]


def test_a_note_ahead_of_a_log_cut_before_its_first_checkpoint_is_judged_by_known_keys(log: CheckpointedLog) -> None:
    short, stranger = log.cut(9), SignerKey(origin_of(LOG_ID), b"x" * 32)
    assert codes(short, Trail(given(log.notes[0]))) == [(9, "checkpoint", "note_ahead")]
    assert codes(short, Trail(given(log.notes[0]), (), [log.stable_key.verifier])) == [(9, "truncation", "truncated")]
    # A false key excuses nothing, and neither does one that is named after another log.
    assert codes(short, Trail(given(log.notes[0]), (), [stranger.verifier])) == [(9, "checkpoint", "note_ahead")]
    forged = Note(log.notes[0].text, (log.note(9, log.stable_key).signatures[0],))
    assert codes(short, Trail(given(forged), (), [log.stable_key.verifier])) == [(9, "checkpoint", "note_signature")]


def test_known_keys_vouch_for_nothing_and_excuse_nothing_that_is_there(log: CheckpointedLog) -> None:
    stranger = SignerKey(origin_of(LOG_ID), b"x" * 32)
    known = (stranger.verifier, *log.pins)
    strange = log.note(60, stranger)
    assert codes(log, Trail(given(strange), (), known)) == [(60, "checkpoint", "note_unknown")]
    verdict, blames = follow(log, Trail(given(log.notes[3]), (), known))
    assert (blames, verdict.proven_below, verdict.completeness.pinned) == ([], 0, False)


def test_who_has_a_pin_knows_that_there_was_a_checkpoint(log: CheckpointedLog) -> None:
    short, first, stable = log.cut(9), log.pins[:1], log.pins[1:]
    for pins in (first, stable, log.pins):
        assert codes(short, Trail((), pins)) == [(9, "checkpoint", "pin_unused")]
        assert codes(log.cut(0), Trail((), pins)) == [(0, "checkpoint", "pin_unused")]
    assert codes(log, Trail((), stable)) == []


def test_the_same_note_from_two_places_is_one_note(log: CheckpointedLog) -> None:
    twice = (*given(log.notes[3], source="beside"), *given(log.notes[3], source="outside"))
    verdict, blames = follow(log.cut(50), Trail(twice, log.pins))
    assert [blame.params["source"] for _, blame in blames] == ["beside, outside"]
    assert verdict.completeness.coverage is Coverage.TRUNCATED
    # Whoever vouches for it at one of the places vouches for it.
    strange = log.note(52, SignerKey(origin_of(LOG_ID), b"x" * 32)).encode()
    for order in (False, True), (True, False):
        trail = Trail([Given("mine", strange, trusted) for trusted in order])
        assert follow(log, trail)[1] == []


def test_a_note_that_the_caller_vouches_for_needs_no_known_signature(log: CheckpointedLog) -> None:
    stranger = SignerKey(origin_of(LOG_ID), b"x" * 32)

    def trusted(size: int, root: bytes | None = None) -> Trail:
        made = note(origin_of(LOG_ID), size, root or log.tree(size).root(), stranger)
        return Trail([Given("mine", made.encode(), trusted=True)])

    verdict, blames = follow(log, trusted(52))
    assert blames == []
    assert verdict.completeness == Completeness(Coverage.COVERED, covered=52, uncovered=8, checkpoints=4, own=True)
    assert codes(log, trusted(52, bytes(32))) == [(60, "rollback", "rollback")]
    assert codes(log.cut(51), trusted(52)) == [(51, "truncation", "truncated")]


ENTRIES: dict[str, tuple[str, Callable[[CheckpointedLog], object]]] = {
    "another key than announced": (
        "entry_key",
        lambda log: log.checkpoint(key=log.forward(9).verifier),
    ),
    "a number left out": ("entry_number", lambda log: log.checkpoint(number=5)),
    "a number twice": ("entry_number", lambda log: log.checkpoint(number=3)),
    "another stable key": (
        "entry_stable",
        lambda log: log.checkpoint(stable_key=SignerKey(origin_of(LOG_ID), b"x" * 32).verifier),
    ),
    "another tree": (
        "entry_frontier",
        lambda log: log.checkpoint(frontier=tuple(bytes(32) for _ in log.facts().frontier)),
    ),
    "an older note": ("carried_signature", lambda log: log.checkpoint(previous=log.notes[2])),
    "a note of the stable key": (
        "carried_signature",
        lambda log: log.checkpoint(previous=log.note(60, log.stable_key)),
    ),
    "a note with a false signature": (
        "carried_signature",
        lambda log: log.checkpoint(previous=Note(log.notes[3].text, log.notes[2].signatures)),
    ),
    "a note with a false stable signature": (
        "carried_signature",
        lambda log: log.checkpoint(
            previous=Note(log.notes[3].text, (log.notes[3].signatures[0], log.notes[2].signatures[1]))
        ),
    ),
    "a note of another size": (
        "carried_size",
        lambda log: log.checkpoint(previous=log.note(58, log.forward(3), log.stable_key)),
    ),
    "no note": ("entry_malformed", lambda log: log.checkpoint(previous=None)),
    "nothing at all": ("entry_malformed", lambda log: log.append(Draft(CHECKPOINT, LOG_CATEGORY, "log", "sealed"))),
}


@pytest.mark.parametrize("kind", ENTRIES)
def test_a_faulty_checkpoint_entry_is_found_where_it_stands(log: CheckpointedLog, kind: str) -> None:
    code, make = ENTRIES[kind]
    made = make(log)
    log.extend(65)
    log.checkpoint()
    assert codes(log, Trail((), log.pins)) == [(60, "checkpoint", code)]
    # Nothing after the fault vouches for anything, whoever signed it.
    if isinstance(made, Note):
        verdict = follow(log, Trail(given(made, log.notes[-1])))[0]
        assert verdict.completeness.covered <= 60
        assert verdict.completeness.coverage is Coverage.CONTRADICTED


def test_a_first_checkpoint_that_is_not_number_zero_has_lost_the_ones_before(tmp_path: Path) -> None:
    log = CheckpointedLog.create(tmp_path, 10)
    log.checkpoint(number=1, previous=log.note(5, log.forward(0)))
    assert codes(log, Trail()) == [(10, "checkpoint", "entry_number")]


def test_pins_of_another_log_or_another_chain_are_not_taken_for_this_one(log: CheckpointedLog, tmp_path: Path) -> None:
    other = CheckpointedLog.create(tmp_path / "other", 1, log_id=OTHER_ID)
    assert codes(log, Trail((), other.pins)) == [(60, "checkpoint", "pin_foreign")]
    other = CheckpointedLog(log.ring, seeds="of a thief")
    other.extend(60, 15)
    assert codes(other, Trail((), log.pins)) == [(60, "checkpoint", "pin_unused")]
    assert codes(other, Trail((), log.pins[1:])) == []
    stranger = CheckpointedLog(log.ring, stable=SignerKey(origin_of(LOG_ID), b"x" * 32))
    stranger.extend(60, 15)
    assert codes(stranger, Trail((), log.pins)) == [(14, "checkpoint", "entry_stable")]


def test_a_log_without_checkpoints_does_not_satisfy_pins(tmp_path: Path) -> None:
    log = CheckpointedLog.create(tmp_path, 10)
    assert codes(log, Trail((), log.pins)) == [(10, "checkpoint", "pin_unused")]


def test_only_sizes_of_given_notes_are_asked_for(log: CheckpointedLog) -> None:
    trail = Trail(given(*log.notes[:2], b"nonsense"))
    assert trail.sizes() == {Checkpoint.of(each).size for each in log.notes[:2]}


def test_the_verifier_finds_every_cut_and_counts_what_nobody_covers(log: CheckpointedLog, tmp_path: Path) -> None:
    path = tmp_path / "runtime.jsonl"
    for length in range(1, 60):
        log.cut(length).write(path)
        bare = verify(path, log.ring, log.clock)
        covered = max(0, length // 15 - 1) * 15
        assert (bare.exit_code, bare.completeness.covered) == (ExitCode.DONE, covered)
        assert bare.completeness.uncovered == length - covered
        noted = verify(path, log.ring, log.clock, trail=Trail(given(log.notes[3]), log.pins))
        assert noted.exit_code is ExitCode.NO
        assert noted.faults == {Fault.TRUNCATION: 1}
        assert (noted.findings[0].line, noted.findings[0].seq) == (length, length - 1)


def test_a_cut_within_a_line_is_torn_and_truncated(log: CheckpointedLog, tmp_path: Path) -> None:
    path = log.cut(40).write(tmp_path / "runtime.jsonl")
    path.write_bytes(path.read_bytes()[:-10])
    verdict = verify(path, log.ring, log.clock, trail=Trail(given(log.notes[3]), log.pins))
    assert verdict.faults == {Fault.TORN: 1, Fault.TRUNCATION: 1}
    assert verdict.findings[0].params["n"] == 21


def test_pinned_keys_prove_the_log_without_any_secret(log: CheckpointedLog, tmp_path: Path) -> None:
    path = log.write(tmp_path / "runtime.jsonl")
    verdict = verify(path, None, log.clock, trail=Trail(given(log.notes[3]), log.pins))
    assert (verdict.exit_code, verdict.entries, verdict.findings) == (ExitCode.DONE, 60, ())
    # Without pins the same note proves nothing to somebody who cannot judge the entries.
    unpinned = verify(path, None, log.clock, trail=Trail(given(log.notes[3])))
    assert (unpinned.exit_code, unpinned.findings[0].seq) == (ExitCode.CANNOT_TELL, 0)


@pytest.mark.parametrize(("length", "proven"), [(60, 45), (61, 60), (75, 60), (44, 15), (50, 30)])
def test_what_pinned_keys_do_not_prove_begins_at_its_first_entry(
    log: CheckpointedLog, tmp_path: Path, length: int, proven: int
) -> None:
    log.extend(length, 15)
    path = log.cut(length).write(tmp_path / "runtime.jsonl")
    notes = given(log.notes[3]) if length > 60 else ()
    verdict = verify(path, None, log.clock, trail=Trail(notes, log.pins))
    assert verdict.exit_code is ExitCode.CANNOT_TELL
    [finding] = verdict.findings
    assert (finding.fault, finding.seq, finding.line) == (Fault.UNVERIFIABLE, proven, proven + 1)
    assert finding.offset == sum(len(line) + 1 for line in log.lines[:proven])
    assert verdict.entries == proven


def test_an_edit_below_a_pinned_checkpoint_is_no_less_found_without_secrets(
    log: CheckpointedLog, tmp_path: Path
) -> None:
    for index in (0, 7, 14, 15, 44, 59):
        broken = log.cut(60)
        broken.lines[index] = broken.lines[index].replace(b"2026-", b"2025-")
        verdict = verify(
            broken.write(tmp_path / "runtime.jsonl"), None, log.clock, trail=Trail(given(log.notes[3]), log.pins)
        )
        assert verdict.exit_code is ExitCode.NO
