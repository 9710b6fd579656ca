"""What a log is held against: command, closing and audit read the same notes and pins, wherever they were left."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stage4.app.incident_ports import VerifiedLog
from stage4.audit import collect_log
from stage4.audit.collect_tokens import Marker
from stage4.audit.controls import decision_log
from stage4.audit.evidence import LogFacts
from stage4.audit.finding import Outcome
from stage4.audit.kept_reports import KeptReports
from stage4.cli.verify_decision_log import main
from stage4.config import Installation, load
from stage4.decisionlog import archive, key_changes
from stage4.decisionlog.checkpoints import notary, places
from stage4.decisionlog.checkpoints.keys import KeyStore
from stage4.decisionlog.traces import checkpoint_path
from stage4.decisionlog.verification.anchors import Anchors, anchors_of, read_pins
from stage4.errors import Unavailable, UsageError
from stage4.security.keyring import KeyRing
from stage4.testing.clock import ManualClock
from support import audits
from support.checkpointed import CheckpointedLog
from support.decision_logs import LogRoom, draft
from support.log_rooms import installed_log

SETTING = "        - directory: var/checkpoints-outside\n"


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogRoom:
    """An installation whose log has ten entries; its checkpoints cover five and nine, and lie beside and outside."""
    room = installed_log(tmp_path, monkeypatch, 3)
    checkpoint(room)
    room.log().append_many([draft(each) for each in range(3)])
    checkpoint(room)
    room.log().append(draft())
    return room


def here() -> Installation:
    return load(Path.cwd())


def checkpoint(room: LogRoom) -> None:
    """Make a checkpoint, and leave it at the places of the settings."""
    made = notary.make(room.log(), ring(room), room.clock)
    assert made is not None
    parcel = places.parcel_of(made.note, made.pin)
    for pushed in places.push(places.configured(here(), {}), parcel, places.Memory.beside(room.path)):
        assert pushed.error is None


def ring(room: LogRoom) -> KeyRing:
    return KeyRing.load(room.ring.path, os.environ)


def outside(room: LogRoom) -> Path:
    return Path.cwd() / "var" / "checkpoints-outside" / room.log_id()


def anchors(room: LogRoom) -> Anchors:
    return anchors_of(room.path, here(), os.environ)


def command_passes(_room: LogRoom) -> bool:
    return main([]) == 0


def closing_passes(_room: LogRoom) -> bool:
    return VerifiedLog(here(), ManualClock(), os.environ).verify().intact


def audited() -> LogFacts:
    """What an audit sees of the log."""
    clock = ManualClock()
    kept = KeptReports.of(here(), os.environ, clock.now())
    return collect_log.collect(here(), os.environ, Marker(b"p" * 32), clock, kept)


def audit_passes(_room: LogRoom) -> bool:
    facts = audited()
    return facts.verdict is not None and facts.verdict.exit_code == 0


READERS = pytest.mark.parametrize("passes", [command_passes, closing_passes, audit_passes])


@READERS
def test_a_whole_log_passes_everywhere(room: LogRoom, passes: Callable[[LogRoom], bool]) -> None:
    assert passes(room)


@READERS
@pytest.mark.parametrize("left", ["beside", "outside", "both"])
def test_a_cut_log_passes_nowhere_whichever_note_is_left(
    room: LogRoom, passes: Callable[[LogRoom], bool], left: str
) -> None:
    if left == "beside":
        for note in outside(room).iterdir():
            note.unlink()
    if left == "outside":
        checkpoint_path(room.path).unlink()
    room.put(room.lines()[:7])
    assert not passes(room)


@READERS
def test_a_log_that_does_not_fit_the_pins_of_the_settings_passes_nowhere(
    room: LogRoom, passes: Callable[[LogRoom], bool], tmp_path: Path
) -> None:
    other = CheckpointedLog.create(tmp_path / "other")
    (tmp_path / "config" / "pin").write_text("\n".join(map(str, other.pins)))
    core = tmp_path / "config" / "core.yaml"
    text = core.read_text()
    assert SETTING in text
    core.write_text(text.replace(SETTING, f"{SETTING}      pin: config/pin\n"))
    assert not passes(room)


@READERS
def test_a_revoked_key_passes_everywhere_where_a_checkpoint_covers_its_entries(
    room: LogRoom, passes: Callable[[LogRoom], bool]
) -> None:
    now = ring(room)
    key_changes.revoke(
        room.log(),
        now,
        room.clock,
        now.active,
        "stolen",
        checkpoint=lambda ring: notary.make(room.log(), ring, room.clock),
    )
    assert passes(room)


def test_a_note_that_cannot_be_read_is_said_and_lets_nothing_close(
    room: LogRoom, capsys: pytest.CaptureFixture[str]
) -> None:
    beside = checkpoint_path(room.path)
    beside.unlink()
    beside.mkdir()
    assert [remark.code for remark in anchors(room).remarks] == ["verify.not_read"]
    verdict = VerifiedLog(here(), ManualClock(), os.environ).verify()
    assert (verdict.intact, len(verdict.findings)) == (False, 1)
    assert verdict.findings[0].startswith(f"files.unreadable (path={beside}, ")
    facts = audited()
    assert (facts.verdict, facts.problem and facts.problem.code) == (None, "files.unreadable")


def test_the_notes_and_pins_of_a_log_of_somebody_else_are_only_those_that_lie_beside_it(
    room: LogRoom, tmp_path: Path
) -> None:
    copy = tmp_path / "copy" / "runtime.jsonl"
    copy.parent.mkdir()
    copy.write_bytes(room.path.read_bytes())
    assert anchors_of(copy, here(), os.environ) == Anchors()
    assert anchors_of(copy, None, os.environ) == Anchors()
    checkpoint_path(copy).write_bytes(checkpoint_path(room.path).read_bytes())
    assert [given.source for given in anchors_of(copy, None, os.environ).given] == [str(checkpoint_path(copy))]
    # Nothing is expected of a stream or of a part of a log but what was named.
    assert anchors_of(None, here(), os.environ) == Anchors()
    assert anchors_of(room.path, here(), os.environ, partial=True).given == ()
    named = anchors_of(None, here(), os.environ, notes=[outside(room) / "5.checkpoint"])
    assert [given.source for given in named.given] == [str(outside(room) / "5.checkpoint")]


def test_a_named_note_that_is_not_there_is_an_error(room: LogRoom) -> None:
    with pytest.raises(Unavailable, match=r"files\.missing"):
        anchors_of(room.path, here(), os.environ, notes=[room.path.with_name("nowhere")])


def test_the_keys_of_the_notary_tell_that_a_log_was_cut_before_its_first_checkpoint(
    room: LogRoom, capsys: pytest.CaptureFixture[str]
) -> None:
    room.put(room.lines()[:3])
    assert main([]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["completeness"]["verdict"], document["classes"]) == ("truncated", {"truncation": 1})
    # Somebody without them can only say that the note is of a key that nobody knows.
    KeyStore.beside(room.ring.path, room.log_id()).path.unlink()
    assert main([]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["completeness"]["verdict"], document["classes"]) == ("contradicted", {"checkpoint": 1})


def test_the_keys_of_the_notary_vouch_for_nothing(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert json.loads(capsys.readouterr().out)["completeness"]["pinned"] is False


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff"])
def test_keys_of_the_notary_that_cannot_be_read_change_nothing(room: LogRoom, content: bytes) -> None:
    KeyStore.beside(room.ring.path, room.log_id()).path.write_bytes(content)
    found = anchors(room)
    assert (found.known, len(found.given)) == ((), 2)
    assert command_passes(room)


def test_a_note_that_lies_in_two_places_accuses_once_and_names_both(
    room: LogRoom, capsys: pytest.CaptureFixture[str]
) -> None:
    room.put(room.lines()[:7])
    assert main([]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["findings_total"] == 1
    source = document["findings"][0]["params"]["source"]
    assert source == f"{checkpoint_path(room.path)}, {outside(room) / '9.checkpoint'}"


@pytest.mark.parametrize("incremental", [True, False])
def test_a_log_that_vanished_is_no_missing_file(
    room: LogRoom, capsys: pytest.CaptureFixture[str], incremental: bool
) -> None:
    kept = outside(room) / "9.checkpoint"
    archive.rotate(room.log())
    room.path.unlink()
    assert main(["--from-checkpoint", str(kept)] if incremental else []) == 3
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["code"] == "log.vanished"
    assert "hint: " in said.err
    assert "`stage4 log verify" in said.err
    with pytest.raises(Unavailable, match=r"log\.vanished"):
        VerifiedLog(here(), ManualClock(), os.environ).verify()


def test_the_folder_of_a_log_that_vanished_is_known_by_its_first_archive(
    room: LogRoom, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.rotate(room.log())
    room.log().append(draft())
    checkpoint(room)
    place = outside(room)
    room.path.unlink()
    assert main([str(room.path.parent)]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["notes"], document["classes"]) == ([], {"archive": 1, "truncation": 1})
    truncation = next(found for found in document["findings"] if found["class"] == "truncation")
    assert str(place) in truncation["params"]["source"]


def test_where_no_entry_can_be_read_nothing_is_said_of_other_logs(
    room: LogRoom, capsys: pytest.CaptureFixture[str]
) -> None:
    room.path.write_bytes(b"rubbish\n")
    assert anchors(room).remarks == ()


def sweep(room: LogRoom) -> None:
    """Remove every file in the log's folder."""
    for path in room.path.parent.iterdir():
        path.unlink()


def forget(room: LogRoom) -> None:
    """Remove what remembers the log beside the key ring."""
    KeyStore.beside(room.ring.path, room.log_id()).path.unlink()


def place_at(folder: Path) -> None:
    """Leave the checkpoints in this directory only."""
    core = Path.cwd() / "config" / "core.yaml"
    core.write_text(core.read_text().replace(SETTING, f"        - directory: {folder}\n"))


def log_findings() -> list[tuple[str, str, str]]:
    """What control DLOG-03 says but a pass: outcome, code and subject."""
    evidence = audits.log()
    facts = audited()
    said = decision_log.verifies(replace(evidence, log=facts), audits.POLICY, audits.NOW)
    return [(each.outcome.value, each.code, each.subject) for each in said if each.outcome is not Outcome.PASS]


def closing_doubts() -> list[tuple[str, str]]:
    verdict = VerifiedLog(here(), ManualClock(), os.environ).verify()
    assert verdict.intact
    return [(each.code, each.place) for each in verdict.doubts]


RUNTIME = "audit/decision_logs/runtime.jsonl"


def test_a_folder_that_was_swept_is_known_by_the_key_ring(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    trace = KeyStore.beside(room.ring.path, room.log_id()).path
    note = outside(room) / "9.checkpoint"
    sweep(room)
    for argv in ([], [str(room.path)], [str(room.path.parent)], ["--from-checkpoint", str(note)]):
        assert main(argv) == 3
        error = json.loads(capsys.readouterr().out)["error"]
        assert (error["code"], error["params"]["trace"]) == ("log.vanished", str(trace))
    for path in (room.path, room.path.parent):
        assert main([str(path), "--keyring", str(room.ring.path)]) == 3
        assert json.loads(capsys.readouterr().out)["error"]["code"] == "log.vanished"
    with pytest.raises(Unavailable, match=r"log\.vanished"):
        VerifiedLog(here(), ManualClock(), os.environ).verify()
    with pytest.raises(Unavailable, match=r"log\.vanished"):
        archive.rotate(room.log())
    assert log_findings() == [("fail", "audit.log_vanished", RUNTIME)]


def test_a_folder_with_nothing_but_a_checkpoint_had_a_log(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    room.path.unlink()
    assert main([str(room.path.parent)]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "log.vanished"


def test_a_swept_log_that_nobody_here_remembers_is_known_by_the_notes_inside_the_installation(room: LogRoom) -> None:
    forget(room)
    sweep(room)
    assert log_findings() == [("fail", "audit.log_vanished", RUNTIME)]


def test_notes_in_a_directory_of_several_are_of_this_log_only_where_the_ring_has_its_keys(
    room: LogRoom, tmp_path: Path
) -> None:
    shared = tmp_path.parent / f"{tmp_path.name}-shared"
    place_at(shared)
    (tmp_path / "var" / "checkpoints-outside").rename(shared)
    keys = KeyStore.beside(room.ring.path, room.log_id()).path
    # As a ring that was moved with its installation: where the log lay it does not know.
    keys.write_text(keys.read_text().replace(str(room.path), "/elsewhere/runtime.jsonl"))
    sweep(room)
    assert log_findings() == [("fail", "audit.log_vanished", RUNTIME)]
    keys.unlink()
    unknown = [("warn", "audit.log_unknown", str(shared)), ("warn", "audit.log_absent", RUNTIME)]
    assert log_findings() == unknown


def test_where_nothing_is_left_anywhere_the_log_has_not_begun(room: LogRoom) -> None:
    for note in outside(room).iterdir():
        note.unlink()
    forget(room)
    sweep(room)
    assert log_findings() == [("warn", "audit.log_absent", RUNTIME)]


def test_a_log_that_was_replaced_is_said_by_the_audit_and_when_an_incident_closes(
    room: LogRoom, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (log_findings(), closing_doubts()) == ([], [])
    forget(room)
    place = outside(room).parent
    sweep(room)
    room.log().append(draft())
    assert log_findings() == [("warn", "audit.log_unknown", "var/checkpoints-outside")]
    assert closing_doubts() == [("closing.log_unknown", str(place))]
    # Its first note ends it, and several logs may leave theirs in one directory.
    checkpoint(room)
    assert (log_findings(), closing_doubts()) == ([], [])


def test_a_place_that_is_not_mounted_is_said_everywhere(
    room: LogRoom, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mount = tmp_path / "mount"
    place_at(mount)
    assert main([]) == 0
    assert [note["code"] for note in json.loads(capsys.readouterr().out)["notes"]] == ["verify.place_missing"]
    assert log_findings() == [("warn", "audit.log_place_missing", "mount")]
    assert closing_doubts() == [("closing.log_place_missing", str(mount))]
    mount.mkdir()
    assert (log_findings(), closing_doubts()) == ([], [])


def test_a_place_inside_the_installation_that_is_not_made_yet_is_nothing_to_say(room: LogRoom) -> None:
    for path in (*outside(room).iterdir(), outside(room), outside(room).parent):
        path.rmdir() if path.is_dir() else path.unlink()
    assert anchors(room).remarks == ()


def test_a_place_that_knows_only_other_logs_is_said(room: LogRoom, tmp_path: Path) -> None:
    known = room.log_id()
    CheckpointedLog.create(tmp_path / "new", 3).write(room.path)
    assert [(remark.code, remark.params["logs"]) for remark in anchors(room).remarks] == [("verify.other_logs", known)]


@pytest.mark.parametrize("log_id", [b"../../secrets", b"..", b"a\\u0000b", b"x" * 300])
def test_a_log_id_that_names_no_folder_leads_nowhere(room: LogRoom, log_id: bytes) -> None:
    room.put([line.replace(room.log_id().encode(), log_id) for line in room.lines()])
    found = anchors(room)
    assert ([given.source for given in found.given], found.known) == ([str(checkpoint_path(room.path))], ())


def test_a_reason_is_worded_for_people_in_their_language_and_in_the_document_in_english(
    room: LogRoom, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = checkpoint_path(room.path)
    beside.unlink()
    beside.mkdir()
    room.ring.path.rename(room.ring.path.with_name("elsewhere.json"))
    monkeypatch.setenv("STAGE4_LANG", "pl")
    assert main([]) == 3
    said = capsys.readouterr()
    notes = {note["code"]: note for note in json.loads(said.out)["notes"]}
    assert notes["verify.no_keyring"]["params"]["reason"] == f"file {room.ring.path} does not exist"
    assert f"nie ma pęku kluczy (nie ma pliku {room.ring.path})" in said.err
    assert "cannot read" in notes["verify.not_read"]["message"]
    assert "nie można odczytać" in said.err
    assert "cannot read" not in said.err


def test_the_next_step_of_an_unpinned_log_names_the_setting_that_ends_it(
    room: LogRoom, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([]) == 0
    assert "operations.decision_log.checkpoints.pin" in capsys.readouterr().err
    (Path.cwd() / "config" / "pin").write_text(notary.pin_of(ring(room), room.log_id()) or "")
    core = Path.cwd() / "config" / "core.yaml"
    core.write_text(core.read_text().replace(SETTING, f"{SETTING}      pin: config/pin\n"))
    assert main([]) == 0
    assert "What next" not in capsys.readouterr().err


@pytest.mark.parametrize(("content", "code", "error"), [(None, 3, "files.missing"), (b"{}", 2, "keyring.malformed")])
def test_a_key_ring_that_was_named_and_cannot_be_read_is_the_error(
    room: LogRoom, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes | None, code: int, error: str
) -> None:
    named = tmp_path / "named.json"
    if content is not None:
        named.write_bytes(content)
    assert main(["--keyring", str(named)]) == code
    assert json.loads(capsys.readouterr().out)["error"]["code"] == error


def test_pins_name_the_file_and_the_line_that_is_none(tmp_path: Path) -> None:
    log, path = CheckpointedLog.create(tmp_path), tmp_path / "pin"
    path.write_text(f"# kept by the auditor\n\n{log.pins[0]}\r\n  {log.pins[1]}\n")
    assert read_pins(path) == log.pins
    path.write_text(f"{log.pins[0]}\nnot a key\n")
    with pytest.raises(UsageError) as wrong:
        read_pins(path)
    assert (wrong.value.code, wrong.value.params) == ("verify.bad_pin", {"path": path, "line": 2})
    path.write_text("# nothing yet\n")
    with pytest.raises(UsageError, match=r"verify\.no_pin"):
        read_pins(path)
