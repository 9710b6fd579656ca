"""Entries read back: across archives, from a number on, backwards from the end, and as they come."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stage4.decisionlog import logfile
from stage4.decisionlog.entry import Entry
from stage4.decisionlog.reading import entries, follow, newest
from stage4.errors import Unavailable
from stage4.security.keyring import KeyRing, create_keyring
from stage4.testing.clock import ManualClock
from support.decision_logs import LogRoom, draft, offset_of
from support.log_archives import archive, cut, joined


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    return create_keyring(tmp_path_factory.mktemp("keys") / "keyring.json", ManualClock().now())


@pytest.fixture
def room(tmp_path: Path, ring: KeyRing) -> LogRoom:
    return LogRoom.create(tmp_path, entries=60, ring=ring)


class Story:
    """A clock that does the next act whenever somebody waits; the story is over after the last one."""

    def __init__(self, *acts: Callable[[], object]) -> None:
        self._clock = ManualClock()
        self._acts = list(acts)

    def sleep(self, seconds: float) -> None:
        if not self._acts:
            raise InterruptedError
        self._acts.pop(0)()

    def __getattr__(self, name: str) -> object:
        return getattr(self._clock, name)


def seqs(found: Iterator[Entry] | list[Entry]) -> list[int]:
    return [entry.seq for entry in found]


def followed(path: Path, *acts: Callable[[], object], after: int | None = None) -> list[int]:
    """What a follower gives until the acts are over."""
    found: list[int] = []
    with contextlib.suppress(InterruptedError):
        for entry in follow(path, Story(*acts), after=after):  # type: ignore[arg-type]
            found.append(entry.seq)
    return found


def turn_over(room: LogRoom, compression: str = "") -> None:
    """Rotate: the live file becomes an archive, and the next file begins with the next entry."""
    room.log().append(draft(kind="segment"))
    lines = room.lines()
    archive(room.path, lines[:-1], compression)
    beside = room.path.with_name(".next")
    beside.write_bytes(joined(lines[-1:]))
    beside.rename(room.path)


@pytest.mark.parametrize("form", ["", "zst", "gz"])
def test_entries_are_read_across_archives_with_their_places(room: LogRoom, form: str) -> None:
    lines = room.lines()
    cut(room.path, [20, 25], [form, form])
    found = list(entries(room.path))
    assert seqs(found) == list(range(61))
    for begin, end in ((0, 20), (20, 45), (45, 61)):
        part = lines[begin:end]
        for entry in found[begin:end]:
            assert entry.line == entry.seq - begin + 1
            assert entry.offset == offset_of(part, entry.line)


def test_entries_are_read_from_a_number_on(room: LogRoom) -> None:
    first, _ = cut(room.path, [20, 25], ["zst", "gz"])
    for number in (1, 19, 20, 21, 44, 45, 60, 61):
        assert seqs(entries(room.path, from_seq=number)) == list(range(number, 61))
    first.write_bytes(b"not needed")
    assert seqs(entries(room.path, from_seq=20)) == list(range(20, 61))
    with pytest.raises(Unavailable, match="archive_foreign"):
        list(entries(room.path, from_seq=19))


def test_category_and_incident_are_read_however_they_are_spelled(room: LogRoom) -> None:
    other = {"incident_id": 'INC-"ż'}
    room.log().append_many([draft(category="żółty"), draft(metadata=other), draft(category="żółty", metadata=other)])
    assert seqs(entries(room.path, category="żółty")) == [61, 63]
    assert seqs(entries(room.path, incident='INC-"ż')) == [62, 63]
    assert seqs(entries(room.path, category="żółty", incident='INC-"ż', from_seq=62)) == [63]
    assert seqs(entries(room.path, category="incident_note")) == []


def test_the_newest_entries_come_from_the_end_and_from_archives_where_needed(room: LogRoom) -> None:
    lines = room.lines()
    first, second = cut(room.path, [20, 25], ["zst", "gz"])
    for count in (1, 15, 16, 17, 41, 42, 61, 100):
        assert seqs(newest(room.path, count)) == list(range(max(0, 61 - count), 61))
    assert seqs(newest(room.path, 3, lambda entry: entry.seq % 10 == 0)) == [40, 50, 60]
    assert [entry.offset for entry in newest(room.path, 2)] == [offset_of(lines[45:], 15), offset_of(lines[45:], 16)]
    assert seqs(newest(second, 3)) == [42, 43, 44]
    first.write_bytes(b"not needed")
    second.write_bytes(b"not needed")
    assert seqs(newest(room.path, 16)) == list(range(45, 61))
    with pytest.raises(Unavailable):
        newest(room.path, 17)


def test_the_newest_entries_do_not_mind_lines_that_are_none(room: LogRoom) -> None:
    lines = room.lines()
    room.put([*lines, b"", b"torn", b"x" * 300_000, b"y" * 65_536, b"z" * 65_535])
    with room.path.open("ab") as target:
        target.write(b"under way" * 20_000)
    assert seqs(newest(room.path, 2)) == [59, 60]
    assert seqs(newest(room.path, 100)) == list(range(61))


def test_the_newest_entries_of_a_long_log_cost_no_reading_of_the_rest(
    room: LogRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.put(room.lines() * 200)
    real, read = os.pread, []

    def counted(descriptor: int, length: int, offset: int) -> bytes:
        read.append(length)
        return real(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", counted)
    assert len(newest(room.path, 50)) == 50
    assert sum(read) < room.path.stat().st_size // 20


def test_a_follower_gives_what_comes_and_only_that(room: LogRoom) -> None:
    log = room.log()

    def two() -> None:
        log.append_many([draft(), draft()])

    assert followed(room.path, two, lambda: None, two) == [61, 62, 63, 64]
    assert followed(room.path, two, after=62) == [63, 64, 65, 66]


def test_a_follower_waits_for_a_line_that_is_being_written(room: LogRoom) -> None:
    room.log().append(draft())
    *lines, last = room.lines()
    room.put(lines)

    def write(content: bytes) -> Callable[[], object]:
        def act() -> None:
            with room.path.open("ab") as target:
                target.write(content)

        return act

    assert followed(room.path, write(last[:100]), write(last[100:]), write(b"\n"), lambda: None) == [61]


def test_a_follower_goes_on_after_a_torn_write_was_repaired(room: LogRoom) -> None:
    def tear() -> None:
        with room.path.open("ab") as target:
            target.write(b'{"artefacts":{"none":null},"category"' + b"x" * 5000)

    # The recovery entry, then the new one.
    assert followed(room.path, tear, lambda: room.log().append(draft()), lambda: None) == [61, 62]


@pytest.mark.parametrize("form", ["", "zst"])
def test_a_follower_goes_on_in_the_next_file_and_misses_none_between(room: LogRoom, form: str) -> None:
    def twice() -> None:
        turn_over(room, form)
        room.log().append(draft())
        turn_over(room, form)

    def append() -> None:
        room.log().append(draft())

    assert followed(room.path, append, lambda: turn_over(room, form), append, twice, append) == list(range(61, 68))


def test_a_follower_does_not_show_a_write_that_is_taken_back(room: LogRoom) -> None:
    held = room.path.open("rb")

    def begin() -> None:
        fcntl.flock(held, fcntl.LOCK_EX)
        with room.path.open("ab") as target:
            target.write(room.lines()[-1].replace(b'"seq":60,', b'"seq":61,') + b"\n" + b"and a part")

    size = room.path.stat().st_size

    def take_back() -> None:
        os.truncate(room.path, size)
        held.close()

    # While the lock is held the follower tries again every time it waits.
    busy: list[Callable[[], object]] = [lambda: None] * 3
    assert followed(room.path, begin, *busy, take_back, lambda: room.log().append(draft()), lambda: None) == [61]


def test_a_follower_survives_a_log_that_became_shorter_and_says_when_it_is_gone(room: LogRoom) -> None:
    lines = room.lines()
    log = room.log()
    acts = [lambda: room.put(lines[:50]), lambda: room.put(lines), lambda: log.append(draft())]
    assert followed(room.path, *acts) == [61]
    with pytest.raises(Unavailable) as caught:
        list(follow(room.path, Story(room.path.unlink)))  # type: ignore[arg-type]
    assert caught.value.code == "files.missing"


def test_a_follower_begins_with_archives_where_it_is_asked_to(room: LogRoom) -> None:
    first, _ = cut(room.path, [20, 25], ["zst", "gz"])
    assert followed(room.path, after=-1) == list(range(61))
    assert followed(room.path, after=30) == list(range(31, 61))
    assert seqs(follow(first, ManualClock(), after=10)) == list(range(11, 20))


def test_a_log_rotated_while_it_is_opened_is_read_whole(room: LogRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    real, opened = logfile.open_log_file, []

    def open_then_rotate(path: Path, flags: int) -> int:
        descriptor = real(path, flags)
        opened.append(path)
        if len(opened) == 1:
            turn_over(room)
        return descriptor

    monkeypatch.setattr(logfile, "open_log_file", open_then_rotate)
    assert seqs(entries(room.path)) == list(range(62))


def test_an_archive_compressed_while_the_log_is_read_is_read_all_the_same(room: LogRoom) -> None:
    lines = room.lines()
    _, second = cut(room.path, [20, 25], ["", ""])
    reading = entries(room.path)
    assert next(reading).seq == 0
    archive(room.path, lines[20:45], "zst")
    second.unlink()
    assert seqs(reading) == list(range(1, 61))
