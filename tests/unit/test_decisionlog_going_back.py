"""A log that was cut back, or begun once more, by somebody without its keys gets no entry from an honest writer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from stage4.decisionlog import archive, key_changes, logfile
from stage4.decisionlog.checkpoints import notary
from stage4.decisionlog.checkpoints.keys import KeyStore
from stage4.decisionlog.traces import checkpoint_path
from stage4.decisionlog.writer import DecisionLog
from stage4.errors import ExitCode, Unavailable, UsageError
from support import v2_logs
from support.decision_logs import LogRoom, draft

V2_LINES = v2_logs.lines(3)
TRACES = [
    "runtime.jsonl.checkpoint",
    "runtime.jsonl.checkpoint-places.json",
    "runtime.jsonl.torn",
    "runtime.jsonl.flush_failed",
    "runtime.manifest.jsonl",
    "runtime-0000000000.jsonl.gz",
]


@pytest.fixture
def room(tmp_path: Path) -> LogRoom:
    return LogRoom.create(tmp_path)


def refusal(log: DecisionLog, number: int = 9) -> str:
    with pytest.raises(Unavailable) as refused:
        log.append(draft(number))
    return refused.value.code


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("end", [b"\n", b""])
def test_old_lines_alone_begin_no_log_where_one_was(room: LogRoom, trace: str, end: bytes) -> None:
    room.log().append(draft())
    old = b"\n".join(V2_LINES) + end
    room.path.write_bytes(old)
    room.path.with_name(trace).write_bytes(b"")
    assert refusal(room.log()) == "log.began_before"
    assert room.path.read_bytes() == old
    room.path.with_name(trace).unlink()
    room.log().append(draft())
    assert [json.loads(line)["kind"] for line in room.lines()[3:]] == ["genesis", "incident_note"]


def test_the_checkpoint_keys_remember_where_the_log_lay(room: LogRoom, tmp_path: Path) -> None:
    room.log().append(draft())
    notary.make(room.log(), room.ring, room.clock)
    store = KeyStore.beside(room.ring.path, room.log_id())
    checkpoint_path(room.path).unlink()
    room.path.rename(tmp_path / "cut.jsonl")
    assert refusal(room.log()) == "log.vanished"
    with pytest.raises(Unavailable, match=r"log\.vanished"):
        room.log().rehearse(draft())
    with pytest.raises(Unavailable, match=r"log\.vanished"):
        key_changes.standing(room.log(), room.ring)
    v2_logs.put(room.path, V2_LINES)
    assert refusal(room.log()) == "log.began_before"
    other = LogRoom(tmp_path / "other.jsonl", room.ring, room.clock)
    assert other.log().append(draft()).seq == 1
    # The keys of another log, and what is no such file, say nothing of this one.
    facts = json.loads(store.path.read_text())
    store.path.write_text(json.dumps({name: value for name, value in facts.items() if name != "log"}))
    store.path.with_name("checkpoint-torn.json").write_bytes(b"{")
    assert store.load() is not None
    assert room.log().append(draft()).seq == 1


def test_a_log_that_is_begun_anew_on_purpose_begins(room: LogRoom, tmp_path: Path) -> None:
    room.log().append_many([draft(1), draft(2)])
    notary.make(room.log(), room.ring, room.clock)
    archive.rotate(room.log())
    kept = tmp_path / "kept"
    kept.mkdir()
    for path in [*room.path.parent.glob("runtime*"), *room.ring.path.parent.glob("checkpoint-*")]:
        path.rename(kept / path.name)
    assert room.log().append(draft(3)).seq == 1
    assert notary.make(room.log(), room.ring, room.clock) is not None
    assert room.verify().exit_code is ExitCode.DONE


@pytest.mark.parametrize("content", [b"{}", b'{"rotation": [], "team": "L2"}', b'{"schema": "x/1", "kind": "y"}'])
@pytest.mark.parametrize("end", [b"\n", b"", b"\n" + V2_LINES[0] + b"\n"])
def test_a_document_that_is_no_log_gets_no_entry(room: LogRoom, content: bytes, end: bytes) -> None:
    room.path.write_bytes(content + end)
    assert refusal(room.log()) == "log.not_a_log"
    assert room.path.read_bytes() == content + end


def test_an_old_line_that_is_too_long_is_not_sealed(room: LogRoom) -> None:
    room.path.write_bytes(V2_LINES[0] + b"\n" + b'{"kind":"' + b"x" * 70_000 + b'"}')
    assert refusal(room.log()) == "log.head_broken"


def test_an_old_line_after_new_ones_is_named_as_the_broken_end(room: LogRoom) -> None:
    room.log().append(draft())
    notary.make(room.log(), room.ring, room.clock)
    room.put([*room.lines(), V2_LINES[0]])
    assert refusal(room.log()) == "log.head_broken"


def test_the_note_of_another_log_is_not_replaced(room: LogRoom, tmp_path: Path) -> None:
    room.log().append(draft())
    notary.make(room.log(), room.ring, room.clock)
    note = checkpoint_path(room.path)
    other = LogRoom(tmp_path / "other.jsonl", room.ring, room.clock)
    other.log().append(draft())
    note.rename(checkpoint_path(other.path))
    before = other.path.read_bytes()
    for attempt in (
        lambda: notary.make(other.log(), room.ring, room.clock),
        lambda: notary.standing(other.path, room.ring, room.clock),
    ):
        with pytest.raises(Unavailable, match=r"checkpoint\.note_foreign"):
            attempt()
    assert other.path.read_bytes() == before
    assert not KeyStore.beside(room.ring.path, other.log_id()).path.exists()


@pytest.mark.parametrize("keep", [1, 2, 6, 10])
@pytest.mark.parametrize("same_file", [True, False])
def test_a_living_writer_gives_no_number_a_second_time(room: LogRoom, keep: int, same_file: bool) -> None:
    log = room.log()
    for number in range(10):
        log.append(draft(number))
    cut = b"".join(line + b"\n" for line in room.lines()[:keep])
    if not same_file:
        room.path.rename(room.path.with_name("whole"))
    room.path.write_bytes(cut)
    assert refusal(log) == "log.went_back"
    room.path.write_bytes(cut + b"torn")
    assert refusal(log) == "log.went_back"
    with pytest.raises(Unavailable, match=r"log\.went_back"), log.held():
        pass
    assert room.path.read_bytes() == cut + b"torn"
    assert room.log().append(draft()).seq == keep + 1


def test_a_living_writer_notices_that_others_went_on_from_an_older_copy(room: LogRoom) -> None:
    log = room.log()
    log.append_many([draft(number) for number in range(10)])
    room.put(room.lines()[:6])
    room.log().append_many([draft(number) for number in range(20)])
    assert refusal(log) == "log.went_back"


def test_a_living_writer_notices_old_lines_of_version_2_and_a_log_begun_once_more(room: LogRoom) -> None:
    v2_logs.put(room.path, V2_LINES)
    log = room.log()
    log.append(draft(1))
    room.put(V2_LINES)
    assert refusal(log) == "log.went_back"
    other = room.log()
    other.append_many([draft(number) for number in range(5)])
    assert refusal(log) == "log.went_back"
    room.path.rename(room.path.with_name("first"))
    assert refusal(log) == "log.went_back"
    assert not room.path.exists()


@pytest.mark.parametrize("fresh", [True, False])
def test_an_old_line_put_in_again_is_not_continued(room: LogRoom, fresh: bool) -> None:
    log = room.log()
    for number in range(10):
        log.append(draft(number))
    replayed = [*room.lines(), room.lines()[5]]
    room.put(replayed)
    assert refusal(room.log() if fresh else log) == "log.head_misplaced"
    room.put([room.lines()[5]])
    assert refusal(room.log()) == "log.head_misplaced"
    room.put([*replayed[:-1], replayed[0]])
    assert refusal(room.log()) == "log.head_misplaced"


def test_several_old_lines_put_in_again_are_not_continued_by_a_living_writer(room: LogRoom) -> None:
    log = room.log()
    for number in range(10):
        log.append(draft(number))
    room.put([*room.lines(), *room.lines()[5:8]])
    assert refusal(log) == "log.went_back"


def test_a_writer_goes_on_after_archives_repairs_and_other_processes(room: LogRoom) -> None:
    log, other = room.log(), room.log()
    log.append_many([draft(1), draft(2)])
    archive.rotate(other)
    assert log.append(draft(3)).seq == 4
    with room.path.open("ab") as file:
        file.write(b"torn")
    other.append(draft(4))
    assert log.append(draft(5)).seq == 7
    other.append_many([draft(6), draft(7)])
    key_changes.rotate(other, room.ring, room.clock, "every 90 days")
    notary.make(other, room.ring, room.clock)
    assert log.append(draft(8)).seq == 12
    archive.rotate(other)
    archive.rotate(other)
    assert room.log().append(draft(9)).seq == 14
    assert log.append(draft(10)).seq == 15
    assert room.verify().exit_code is ExitCode.DONE


@pytest.mark.parametrize("call", ["append", "head", "checkpoint"])
def test_a_tail_that_no_write_leaves_is_refused_in_bounded_memory(
    room: LogRoom, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    room.log().append(draft())
    size = room.path.stat().st_size
    with room.path.open("r+b") as file:
        file.truncate(size + (300 << 20))
    taken: list[int] = []
    pread = logfile.os.pread

    def counted(descriptor: int, count: int, offset: int) -> bytes:
        taken.append(count)
        return pread(descriptor, count, offset)

    monkeypatch.setattr(logfile.os, "pread", counted)
    calls: dict[str, Callable[[], object]] = {
        "append": lambda: room.log().append(draft()),
        "head": lambda: room.log().head(),
        "checkpoint": lambda: notary.make(room.log(), room.ring, room.clock),
    }
    with pytest.raises(Unavailable, match=r"log\.fragment_large"):
        calls[call]()
    assert sum(taken) == (16 << 20) + 1
    assert room.path.stat().st_size == size + (300 << 20)


def test_a_tail_of_many_pieces_is_kept_aside_whole(room: LogRoom) -> None:
    room.log().append(draft())
    fragment = bytes(range(11, 256)) * 20_000
    with room.path.open("ab") as file:
        file.write(fragment)
    room.log().append(draft())
    assert room.path.with_name("runtime.jsonl.torn").read_bytes() == fragment + b"\n"
    assert room.verify().exit_code is ExitCode.DONE


def test_a_last_line_longer_than_any_entry_is_none(room: LogRoom) -> None:
    room.log().append(draft())
    entry = room.lines()[-1]
    with room.path.open("ab") as file:
        file.write(b" " * (200_000 - len(entry)) + entry + b"\n")
    assert refusal(room.log()) == "log.head_broken"


def cut_last(room: LogRoom) -> None:
    room.put(room.lines()[:-1])


def test_a_living_writer_notices_another_entry_of_the_same_length_in_place_of_its_own(room: LogRoom) -> None:
    log = room.log()
    for number in range(5):
        log.append(draft(number))
    whole = room.path.read_bytes()
    cut_last(room)
    room.log().append(draft(9))
    assert room.path.stat().st_size == len(whole)
    forged = room.path.read_bytes()
    assert refusal(log) == "log.went_back"
    assert room.path.read_bytes() == forged


def test_another_entry_of_the_same_length_as_one_that_somebody_else_made_is_looked_at_anew(room: LogRoom) -> None:
    log, other = room.log(), room.log()
    log.append(draft(1))
    other.append(draft(2))
    with log.held():
        pass
    cut_last(room)
    room.log().append(draft(3))
    assert log.append(draft(4)).seq == 3
    assert room.verify().exit_code is ExitCode.DONE


@pytest.mark.parametrize("noticed", [True, False])
@pytest.mark.parametrize("archives", [1, 2])
def test_no_archive_makes_a_living_writer_forget_what_it_acknowledged(
    room: LogRoom, noticed: bool, archives: int
) -> None:
    log = room.log()
    for number in range(5):
        log.append(draft(number))
    cut_last(room)
    for number in range(3):
        room.log().append(draft(number, stage="L1.4"))
    if noticed:
        assert refusal(log) == "log.went_back"
    for _ in range(archives):
        archive.rotate(room.log())
        room.log().append(draft(7))
    assert refusal(log) == "log.went_back"
    assert room.verify().exit_code is ExitCode.DONE


def test_a_living_writer_that_missed_its_entry_stays_away_though_the_archive_is_gone(room: LogRoom) -> None:
    log = room.log()
    log.append_many([draft(number) for number in range(5)])
    cut_last(room)
    room.log().append_many([draft(number) for number in range(6, 9)])
    assert refusal(log) == "log.went_back"
    archive.rotate(room.log())
    for path in room.path.parent.glob("runtime-*"):
        path.unlink()
    assert refusal(log) == "log.went_back"


@pytest.mark.parametrize("gone", [True, False])
def test_an_archive_that_was_put_away_or_cannot_be_read_stops_no_living_writer(room: LogRoom, gone: bool) -> None:
    log, other = room.log(), room.log()
    log.append_many([draft(1), draft(2)])
    archive.rotate(other)
    other.append(draft(3))
    for path in room.path.parent.glob("runtime-*"):
        path.unlink() if gone else path.write_bytes(b"\x28\xb5\x2f\xfd damaged")
    assert log.append(draft(4)).seq == 5


@pytest.mark.parametrize(
    "name", ["runtime-0000000099.jsonl", "runtime-0000000099.jsonl.gz", "other-2026112600.log", "a-0123456789012345"]
)
def test_no_log_has_the_name_of_an_archive(room: LogRoom, name: str) -> None:
    room.log().append(draft())
    other = LogRoom(room.path.with_name(name), room.ring, room.clock)
    with pytest.raises(UsageError, match=r"log\.archive_name"):
        other.log()
    assert room.verify().exit_code is ExitCode.DONE


@pytest.mark.parametrize("name", ["runtime-2026.jsonl", "runtime-123456789.jsonl", "runtime-00000000001234567.jsonl"])
def test_a_log_whose_name_only_resembles_that_of_an_archive_begins(room: LogRoom, name: str) -> None:
    other = LogRoom(room.path.with_name(name), room.ring, room.clock)
    assert other.log().append(draft()).seq == 1


def test_the_manifest_of_a_log_of_another_suffix_is_no_trace(room: LogRoom) -> None:
    room.log().append_many([draft(1), draft(2)])
    archive.rotate(room.log())
    other = LogRoom(room.path.with_name("runtime.log"), room.ring, room.clock)
    assert other.log().append_many([draft(1), draft(2)])[-1].seq == 2
    archive.rotate(other.log())
    room.path.with_name("runtime-0000000000.log.zst").unlink()
    other.path.unlink()
    assert refusal(other.log()) == "log.vanished"
    assert room.verify().exit_code is ExitCode.DONE


def test_a_new_process_goes_on_with_no_log_that_ends_before_its_checkpoint(room: LogRoom) -> None:
    room.log().append_many([draft(1), draft(2), draft(3)])
    notary.make(room.log(), room.ring, room.clock)
    whole = room.path.read_bytes()
    assert room.log().append(draft(4)).seq == 5
    for keep in (1, 3, 4):
        room.path.write_bytes(b"".join(line + b"\n" for line in whole.splitlines()[:keep]))
        cut = room.path.read_bytes()
        for call in (room.log().append, room.log().rehearse):
            with pytest.raises(Unavailable) as refused:
                call(draft())
            assert (refused.value.code, refused.value.exit_code) == ("log.behind_note", ExitCode.CANNOT_TELL)
            assert refused.value.params == {
                "path": room.path,
                "seq": keep - 1,
                "trace": checkpoint_path(room.path),
                "size": 5,
            }
        with pytest.raises(Unavailable, match=r"log\.behind_note"):
            key_changes.standing(room.log(), room.ring)
        assert room.path.read_bytes() == cut
    room.path.write_bytes(whole)
    assert room.log().append(draft(5)).seq == 5


def test_a_log_cut_in_the_middle_of_its_checkpoint_gets_no_entry(room: LogRoom) -> None:
    room.log().append_many([draft(1), draft(2)])
    notary.make(room.log(), room.ring, room.clock)
    cut = room.path.read_bytes()[:-30]
    room.path.write_bytes(cut)
    assert refusal(room.log()) == "log.behind_note"
    assert room.path.read_bytes() == cut
    assert not room.path.with_name("runtime.jsonl.torn").exists()


@pytest.mark.parametrize(
    "note",
    [b"", b"\n", b"stage4-log/{log}", b"stage4-log/{log}\nmany\n", b"stage4-log/other\n99\n", b"\xff\n99\n", None],
)
def test_a_note_that_is_missing_unreadable_or_another_logs_changes_nothing(room: LogRoom, note: bytes | None) -> None:
    room.log().append(draft(1))
    if note is None:
        checkpoint_path(room.path).mkdir()
    else:
        checkpoint_path(room.path).write_bytes(note.replace(b"{log}", room.log_id().encode()))
    assert room.log().append(draft(2)).seq == 2


@pytest.mark.parametrize("rotations", [1, 2])
def test_a_new_process_goes_on_with_no_older_copy_of_the_live_file(room: LogRoom, rotations: int) -> None:
    copies = []
    for number in range(rotations):
        room.log().append_many([draft(number), draft(number)])
        copies.append(room.path.read_bytes())
        archive.rotate(room.log())
    newest = room.path.read_bytes()
    for copy in copies:
        room.path.write_bytes(copy)
        assert refusal(room.log()) == "log.behind_archive"
        with pytest.raises(Unavailable, match=r"log\.behind_archive"):
            room.log().rehearse(draft())
    room.path.write_bytes(newest)
    assert room.log().append(draft()).seq == 3 * rotations + 1


def test_an_archiving_that_was_killed_before_the_new_file_took_the_name_stops_nobody(room: LogRoom) -> None:
    room.log().append(draft(1))
    room.path.with_name("runtime-0000000000.jsonl").hardlink_to(room.path)
    assert room.log().append(draft(2)).seq == 2
    archive.rotate(room.log())
    assert room.verify().exit_code is ExitCode.DONE


def test_a_live_file_whose_first_line_is_damaged_is_not_taken_for_an_older_copy(room: LogRoom) -> None:
    room.log().append_many([draft(1), draft(2)])
    archive.rotate(room.log())
    room.log().append_many([draft(3), draft(4)])
    room.put([b"x" + room.lines()[0][1:], *room.lines()[1:]])
    assert room.log().append(draft(5)).seq == 6
