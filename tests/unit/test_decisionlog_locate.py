"""Entries found by their number, in healthy logs without reading them, in damaged ones all the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stage4.decisionlog import locate
from stage4.errors import Unavailable
from stage4.security.keyring import KeyRing, create_keyring
from stage4.testing.clock import ManualClock
from support.decision_logs import LogRoom, draft, offset_of
from support.log_archives import cut

ENTRIES = 400


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    return create_keyring(tmp_path_factory.mktemp("keys") / "keyring.json", ManualClock().now())


@pytest.fixture
def room(tmp_path: Path, ring: KeyRing) -> LogRoom:
    return LogRoom.create(tmp_path, entries=ENTRIES, ring=ring)


def test_every_entry_is_found_where_it_stands(room: LogRoom) -> None:
    lines = room.lines()
    offset = 0
    for seq, line in enumerate(lines):
        found = locate.find(room.path, seq)
        assert found is not None
        assert (found.part, found.seq, found.offset, found.line) == (room.path, seq, offset, line)
        offset += len(line) + 1
    assert locate.find(room.path, ENTRIES + 1) is None
    assert locate.find(room.path, ENTRIES + 100) is None


def test_an_entry_is_found_in_the_archive_that_its_number_says(room: LogRoom) -> None:
    lines = room.lines()
    first, second = cut(room.path, [100, 150], ["zst", "gz"])
    for seq, part, number in ((0, first, 1), (99, first, 100), (100, second, 1), (249, second, 150)):
        found = locate.find(room.path, seq)
        assert found is not None
        assert (found.part, found.line, found.number) == (part, lines[seq], number)
        assert found.offset == offset_of(lines[100 * (seq >= 100) :], number)
        assert locate.find(part, seq) == found
    live = locate.find(room.path, 250)
    assert live is not None
    assert (live.part, live.offset, live.line) == (room.path, 0, lines[250])
    # An archive under another's name is still found by what it holds.
    first.rename(first.with_name("runtime-0000000200.jsonl.zst"))
    moved = locate.find(room.path, 50)
    assert moved is not None
    assert moved.line == lines[50]


def test_an_archive_that_is_needed_and_broken_is_said(room: LogRoom) -> None:
    (first,) = cut(room.path, [100], ["zst"])
    first.write_bytes(first.read_bytes()[:-10])
    assert locate.find(room.path, 300) is not None
    with pytest.raises(Unavailable) as caught:
        locate.find(room.path, 99)
    assert caught.value.code == "input.archive_truncated"


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"torn",
        b'{"seq":5,"v":3}',
        b'{"event":"an old line"}',
        b"\xff\xfe" * 40_000,
        b'{"a":{"seq":9999,"signatures":{}}}',
        b'{"metadata":1,"seq":9007199254740991,"signatures":{"a":"b"}}',
        b'{"metadata":1,"seq":0,"signatures":{"a":"b"}}',
        b"[" * 70_000,
    ],
)
def test_lines_that_are_no_entries_do_not_hide_the_others(room: LogRoom, junk: bytes) -> None:
    lines = room.lines()
    broken = []
    for number, line in enumerate(lines):
        broken += [junk] * (number % 7 == 0 and number % 5 == 0) + [line]
    for form in (broken, [*broken, junk, junk], [junk] * 300 + lines, lines[:200] + [junk] * 300 + lines[200:]):
        room.put(form)
        for seq in range(0, len(lines), 37):
            found = locate.find(room.path, seq)
            assert found is not None
            assert found.line == lines[seq]


def test_entries_out_of_order_are_still_found(room: LogRoom) -> None:
    lines = room.lines()
    room.put(lines[300:] + lines[:300])
    for seq in (0, 1, 150, 299, 300, 350, 400):
        found = locate.find(room.path, seq)
        assert found is not None
        assert found.line == lines[seq]


def test_a_number_in_the_metadata_is_not_that_of_the_entry(room: LogRoom) -> None:
    room.log().append(draft(metadata={"seq": 3, "signatures": {"seq": 4, "signatures": {}}, "text": ',"seq":7,'}))
    last = room.lines()[-1]
    assert locate.seq_of(last) == ENTRIES + 1
    found = locate.find(room.path, ENTRIES + 1)
    assert found is not None
    assert found.line == last


def test_a_log_that_continues_version_2_is_searched_past_its_old_lines(tmp_path: Path, ring: KeyRing) -> None:
    path = tmp_path / "runtime.jsonl"
    path.write_bytes(b'{"event":"old","stage":"x"}\n' * 3000)
    room = LogRoom(path, ring, ManualClock())
    room.log().append_many([draft(number) for number in range(200)])
    lines = room.lines()
    for seq in (0, 1, 100, 200):
        found = locate.find(path, seq)
        assert found is not None
        assert found.line == lines[3000 + seq]


def test_the_beginning_for_a_number_that_is_missing_is_after_the_last_lower_one(room: LogRoom) -> None:
    lines = room.lines()
    room.put([*lines[:200], b"edited beyond reading", *lines[201:]])
    descriptor = os.open(room.path, os.O_RDONLY)
    try:
        end = room.path.stat().st_size
        assert locate.start_of(room.path, descriptor, end, 200) == offset_of(lines, 201)
        assert locate.start_of(room.path, descriptor, end, ENTRIES + 1) == end
        assert locate.count_lines(room.path, descriptor, offset_of(lines, 201)) == 200
        assert locate.first_seq(room.path, descriptor, end) == 0
    finally:
        os.close(descriptor)


def test_a_long_log_is_not_read_to_find_an_entry(room: LogRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    before, _, after = room.lines()[1].partition(b'"seq":1,')
    room.put([before + b'"seq":%d,' % seq + after for seq in range(50_000)])
    read = 0
    real = os.pread

    def counted(descriptor: int, length: int, offset: int) -> bytes:
        nonlocal read
        content = real(descriptor, length, offset)
        read += len(content)
        return content

    monkeypatch.setattr(os, "pread", counted)
    for seq in (0, 1, 7_919, 33_333, 49_999):
        read = 0
        found = locate.find(room.path, seq)
        assert found is not None
        assert found.line == before + b'"seq":%d,' % seq + after
        assert read < 3 << 20


def test_no_log_is_said(tmp_path: Path) -> None:
    for name in ("runtime.jsonl", "runtime.jsonl.gz"):
        with pytest.raises(Unavailable) as caught:
            locate.find(tmp_path / name, 1)
        assert caught.value.code == "files.missing"
