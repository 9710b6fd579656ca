"""What a verification reads: live logs with archives, single archives, folders, streams; and what is wrong there."""

from __future__ import annotations

import fcntl
import gzip
import io
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Literal

import pytest
import zstandard

from stage4.clock import SystemClock
from stage4.decisionlog import archives, blocks, logfile
from stage4.decisionlog.blocks import Block, Span
from stage4.decisionlog.canonical import MAX_LINE
from stage4.decisionlog.decompression import BrokenArchive, decompressed
from stage4.decisionlog.verification import input as reading
from stage4.decisionlog.verification.input import open_input
from stage4.errors import Unavailable, UsageError
from stage4.security.keyring import KeyRing, create_keyring
from stage4.testing.clock import ManualClock
from support.decision_logs import LogRoom
from support.log_archives import archive, codes, cut, joined, listed, packed, read, rotate

FORMS = ("", "zst", "gz")


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    return create_keyring(tmp_path_factory.mktemp("keys") / "keyring.json", ManualClock().now())


@pytest.fixture
def room(tmp_path: Path, ring: KeyRing) -> LogRoom:
    return LogRoom.create(tmp_path, entries=60, ring=ring)


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize("form", FORMS)
def test_one_file_alone_is_read_in_every_form(room: LogRoom, form: str) -> None:
    lines = room.lines()
    path = room.path.with_name("copy.jsonl" + (f".{form}" if form else ""))
    path.write_bytes(packed(joined(lines), form))
    assert read(path) == (lines, [])


@pytest.mark.parametrize("form", FORMS)
def test_a_live_log_is_read_with_its_archives_in_every_form(room: LogRoom, form: str) -> None:
    lines = room.lines()
    cut(room.path, [20, 25], [form, form])
    assert read(room.path) == (lines, [])


def test_an_archive_by_itself_is_read_alone(room: LogRoom) -> None:
    lines = room.lines()
    first, second = cut(room.path, [20, 25], ["", "zst"])
    assert read(first) == (lines[:20], [])
    assert read(second) == (lines[20:45], [])


def test_archives_of_many_members_are_read_to_their_end(room: LogRoom) -> None:
    lines = room.lines()
    content = joined(lines)
    skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    several = {
        "a.gz": gzip.compress(content[:1000]) + gzip.compress(content[1000:]) + bytes(512),
        "a.zst": zstandard.compress(content[:1000]) + skippable + zstandard.compress(content[1000:]),
    }
    for name, packed_twice in several.items():
        path = room.path.with_name(name)
        path.write_bytes(packed_twice)
        assert read(path) == (lines, [])


@pytest.mark.parametrize("form", FORMS)
def test_a_pipe_is_read_in_every_form_by_its_first_bytes(room: LogRoom, form: str) -> None:
    program = (
        "from stage4.clock import SystemClock\n"
        "from stage4.decisionlog.verification.input import open_input\n"
        "with open_input(None, SystemClock()) as source:\n"
        "    print(sum(len(block.lines()) for block in source.blocks()), len(source.problems), len(source.fragment))\n"
    )
    content = packed(joined(room.lines()) + b"torn", form)
    done = subprocess.run([sys.executable, "-c", program], input=content, capture_output=True, timeout=60, check=True)
    assert done.stdout.split() == [b"61", b"0", b"4"]


def test_a_short_or_empty_stream_is_no_riddle(monkeypatch: pytest.MonkeyPatch) -> None:
    for content, fragment in ((b"", b""), (b"{", b"{"), (b"\n", b"")):
        stdin(monkeypatch, content)
        with open_input(None, ManualClock()) as source:
            found = [line for block in source.blocks() for line in block.lines()]
            assert (found, source.fragment) == ([b""] if content == b"\n" else [], fragment)


def test_a_closed_standard_input_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with open_input(None, ManualClock()) as source, pytest.raises(Unavailable, match="no_stdin"):
        list(source.blocks())


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "runtime.jsonl"
    path.touch()
    assert read(path) == ([], [])


def test_a_missing_file_cannot_be_judged(tmp_path: Path) -> None:
    for name in ("runtime.jsonl", "runtime.jsonl.zst", "runtime.jsonl.gz"):
        with pytest.raises(Unavailable) as caught:
            open_input(tmp_path / name, ManualClock())
        assert caught.value.code == "files.missing"


def test_a_folder_is_read_as_its_one_log_whatever_else_lies_there(room: LogRoom) -> None:
    lines = room.lines()
    first, _ = cut(room.path, [20, 25], ["zst", "gz"])
    folder = room.path.parent
    archives.manifest_path(room.path).write_bytes(listed(first, lines[:20]))
    for name in ("runtime.jsonl.torn", "runtime.jsonl.checkpoint", "report.json", "notes.txt", ".runtime.jsonl.x"):
        (folder / name).write_bytes(b"something else\n")
    (folder / "old.jsonl").mkdir()
    assert read(folder) == (lines, [])


def test_a_folder_of_archives_is_read_and_its_live_log_is_missed(room: LogRoom) -> None:
    lines = room.lines()
    cut(room.path, [20, 25], ["zst", "gz"])
    room.path.unlink()
    found, problems = read(room.path.parent)
    assert (found, codes(problems)) == (lines[:45], [("live_missing", "runtime.jsonl")])


def test_a_folder_with_several_logs_or_none_is_a_question_back(room: LogRoom, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError) as none:
        open_input(tmp_path / "none", ManualClock())
    assert none.value.code == "input.no_log"
    archive(room.path.with_name("other.jsonl"), room.lines()[:3], "zst")
    with pytest.raises(UsageError) as several:
        open_input(room.path.parent, ManualClock())
    assert several.value.code == "input.several_logs"
    assert several.value.params["names"] == "other.jsonl, runtime.jsonl"


@pytest.mark.parametrize("form", ["zst", "gz"])
def test_a_truncated_archive_gives_its_whole_lines_and_a_problem(room: LogRoom, form: str) -> None:
    lines = room.lines()
    path = archive(room.path.with_name("x.jsonl"), lines, form)
    content = path.read_bytes()
    for size in range(0, len(content), max(1, len(content) // 40)):
        path.write_bytes(content[:size])
        found, problems = read(path)
        assert found == lines[: len(found)]
        assert codes(problems) == [("archive_truncated", path.name)]
        assert problems[0].offset == len(joined(found))


@pytest.mark.parametrize("form", ["zst", "gz"])
def test_a_flipped_bit_in_an_archive_never_goes_unseen(room: LogRoom, form: str) -> None:
    lines = room.lines()
    path = archive(room.path.with_name("x.jsonl"), lines, form)
    content = path.read_bytes()
    for place in range(0, len(content), max(1, len(content) // 60)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        found, problems = read(path)
        # The header of gzip holds a time and a name, which nothing checks.
        assert problems or found != lines or (form == "gz" and place < 10)


@pytest.mark.parametrize("form", ["zst", "gz"])
def test_what_follows_an_archive_is_a_problem_and_its_lines_count(room: LogRoom, form: str) -> None:
    lines = room.lines()
    path = archive(room.path.with_name("x.jsonl"), lines, form)
    path.write_bytes(path.read_bytes() + b"garbage")
    found, problems = read(path)
    assert (found, codes(problems)) == (lines, [("archive_garbage", path.name)])


@pytest.mark.parametrize("form", ["zst", "gz"])
def test_another_content_under_a_compressed_name_is_said(room: LogRoom, form: str) -> None:
    path = room.path.with_name(f"x.jsonl.{form}")
    path.write_bytes(joined(room.lines()))
    assert [code for code, _ in codes(read(path)[1])] == ["archive_foreign"]


@pytest.mark.parametrize("form", ["zst", "gz"])
def test_a_gigabyte_of_zeros_is_stopped_soon(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"bomb.jsonl.{form}"
    with path.open("wb") as target:
        if form == "zst":
            with zstandard.ZstdCompressor().stream_writer(target, closefd=False) as writer:
                for _ in range(1024):
                    writer.write(bytes(1 << 20))
        else:
            member = gzip.compress(bytes(16 << 20))
            target.write(member * 64)
    assert path.stat().st_size < 2 << 20
    found, problems = read(path)
    assert (found, codes(problems)) == ([], [("archive_bomb", path.name)])


@pytest.mark.parametrize("form", ["zst", "gz"])
def test_a_hard_limit_stops_any_archive(form: Literal["zst", "gz"]) -> None:
    content = os.urandom(3 << 20)
    with pytest.raises(BrokenArchive, match="archive_bomb"):
        list(decompressed(io.BytesIO(packed(content, form)).read, form, limit=2 << 20))
    assert b"".join(decompressed(io.BytesIO(packed(content, form)).read, form, limit=3 << 20)) == content


def test_a_broken_archive_does_not_hide_the_lines_after_it(room: LogRoom) -> None:
    lines = room.lines()
    first, second = cut(room.path, [20, 25], ["zst", ""])
    first.write_bytes(b"no archive")
    second.write_bytes(joined(lines[20:45])[:-1])
    found, problems = read(room.path)
    assert found == lines[20:44] + lines[45:]
    assert codes(problems) == [("archive_foreign", first.name), ("archive_unfinished", second.name)]
    assert problems[1].params["size"] == len(lines[44])


def test_a_line_longer_than_memory_allows_is_bounded_in_every_form(tmp_path: Path) -> None:
    size = 5 << 20
    content = b"first\n" + b"x" * size + b"\nlast\n" + b"y" * size
    for form in FORMS:
        path = tmp_path / ("long.jsonl" + (f".{form}" if form else ""))
        path.write_bytes(packed(content, form))
        with open_input(path, ManualClock()) as source:
            found = [line for block in source.blocks() for line in block.lines()]
            assert [logfile.length(line) for line in found] == [5, size, 4]
            assert len(found[1]) == MAX_LINE + 1
            assert (len(source.fragment), logfile.length(source.fragment)) == (MAX_LINE + 1, size)
            assert [block.offset + block.size for block in open_input(path, ManualClock()).blocks()][-1] == size + 12


def test_blocks_are_whole_lines_of_about_a_megabyte_that_another_process_can_read(tmp_path: Path) -> None:
    path = tmp_path / "runtime.jsonl"
    path.write_bytes(b"".join(b"%d %s\n" % (number, b"-" * (number % 2000)) for number in range(5000)))
    with open_input(path, ManualClock()) as source:
        found: list[Block] = list(source.blocks())
        assert b"".join(block.read() for block in found) == path.read_bytes()
        for block in found:
            assert isinstance(block.content, Span)
            assert block.content.length <= blocks.BLOCK
            assert block.read().endswith(b"\n")
        assert source.size == path.stat().st_size
        child = os.fork()
        if child == 0:
            os._exit(found[-1].lines()[-1] != path.read_bytes().splitlines()[-1])
        assert os.waitpid(child, 0)[1] == 0


def test_a_file_that_shrinks_while_it_is_read_cannot_be_judged(room: LogRoom) -> None:
    with open_input(room.path, ManualClock()) as source:
        os.truncate(room.path, 100)
        with pytest.raises(Unavailable, match="input.shrunk"):
            [block.lines() for block in source.blocks()]


def test_the_manifest_is_held_against_the_archives_but_never_needed(room: LogRoom) -> None:
    lines = room.lines()
    first, second, third = cut(room.path, [20, 20, 10], ["zst", "gz", ""])
    parts = (first, lines[:20]), (second, lines[20:40]), (third, lines[40:50])
    manifest = archives.manifest_path(room.path)
    manifest.write_bytes(b"".join(listed(path, kept) for path, kept in parts))
    assert read(room.path) == (lines, [])
    # The manifest may still name the plain file that has been compressed since.
    plain = archives.plain_name(first.name)
    manifest.write_bytes(listed(first, lines[:20], file=plain) + b"no JSON\n" + listed(third, lines[40:50], sha256="0"))
    problems = [("manifest_line", manifest.name), ("archive_differs", third.name)]
    assert (read(room.path)[0], codes(read(room.path)[1])) == (lines, problems)
    second.write_bytes(gzip.compress(joined(lines[20:39])))
    manifest.write_bytes(listed(second, lines[20:40]))
    assert codes(read(room.path)[1]) == [("archive_differs", second.name)]


def test_an_archive_that_the_manifest_lists_and_nobody_finds_is_said(room: LogRoom) -> None:
    lines = room.lines()
    first, _ = cut(room.path, [20, 20], ["zst", "zst"])
    archives.manifest_path(room.path).write_bytes(listed(first, lines[:20]))
    first.unlink()
    found, problems = read(room.path)
    assert (found, codes(problems)) == (lines[20:], [("archive_missing", first.name)])
    assert read(room.path, from_seq=30) == (lines[30:], [])


def test_a_manifest_that_cannot_be_read_is_a_problem_and_no_end(room: LogRoom) -> None:
    archives.manifest_path(room.path).mkdir()
    found, problems = read(room.path)
    assert (found, [code for code, _ in codes(problems)]) == (room.lines(), ["manifest_unreadable"])


def test_a_plain_archive_is_preferred_to_its_compressed_copy_and_compared(room: LogRoom) -> None:
    lines = room.lines()
    (plain,) = cut(room.path, [20], [""])
    copy = archive(room.path, lines[:20], "zst")
    assert read(room.path) == (lines, [])
    for content in (zstandard.compress(joined(lines[:19])), b"", b"no archive"):
        copy.write_bytes(content)
        found, problems = read(room.path)
        assert (found, codes(problems)) == (lines, [("copies_differ", plain.name)])


def test_a_rotation_cut_short_shows_no_line_twice(room: LogRoom) -> None:
    archives.segment_path(room.path, 0).hardlink_to(room.path)
    assert read(room.path) == (room.lines(), [])


def test_a_log_rotated_between_opening_and_listing_is_opened_again(
    room: LogRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, opened = room.lines(), 0
    real = logfile.open_log_file

    def open_then_rotate(path: Path, flags: int) -> int:
        nonlocal opened
        opened += 1
        descriptor = real(path, flags)
        if opened == 1:
            rotate(path)
        return descriptor

    monkeypatch.setattr(logfile, "open_log_file", open_then_rotate)
    assert read(room.path) == (lines, [])
    assert opened >= 2


def test_a_log_rotated_and_compressed_while_it_is_read_is_read_whole(room: LogRoom) -> None:
    lines = room.lines()
    (plain,) = cut(room.path, [20], [""])
    with open_input(room.path, ManualClock()) as source:
        passing = source.blocks()
        found = next(passing).lines()
        archive(room.path, lines[:20], "zst")
        plain.unlink()
        rotate(room.path)
        assert found + [line for block in passing for line in block.lines()] == lines


def test_a_plain_archive_compressed_before_it_is_opened_is_found_again(
    room: LogRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_OPEN_AT_ONCE", 0)
    lines = room.lines()
    first, second = cut(room.path, [20, 20], ["", ""])
    with open_input(room.path, ManualClock()) as source:
        archive(room.path, lines[:20], "gz")
        first.unlink()
        second.unlink()
        assert [line for block in source.blocks() for line in block.lines()] == lines[:20] + lines[40:]
        assert codes(source.problems) == [("archive_gone", second.name)]


def test_a_log_that_another_thread_rotates_all_the_time_is_always_whole(room: LogRoom) -> None:
    lines = room.lines()
    room.put(lines[:1])
    begun = threading.Event()

    def turn() -> None:
        for number in range(1, len(lines)):
            beside = room.path.with_name(".next")
            beside.write_bytes(joined(lines[number : number + 1]))
            with room.path.open("rb") as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                archives.segment_path(room.path, number - 1).hardlink_to(room.path)
                beside.rename(room.path)
            begun.set()

    turning = threading.Thread(target=turn)
    turning.start()
    begun.wait()
    seen = 1
    while seen < len(lines):
        alive = turning.is_alive()
        with open_input(room.path, SystemClock()) as source:
            found = [line for block in source.blocks() for line in block.lines()]
        assert found == lines[: len(found)]
        assert len(found) >= seen
        assert alive or len(found) == len(lines)
        seen = len(found)
    turning.join()


@pytest.mark.parametrize("form", FORMS)
def test_reading_from_an_entry_leaves_out_what_stands_before_it(room: LogRoom, form: str) -> None:
    lines = room.lines()
    paths = cut(room.path, [20, 25], [form, form])
    for number in (0, 1, 19, 20, 21, 44, 45, 46, 60):
        assert read(room.path, from_seq=number) == (lines[number:], [])
        with open_input(room.path, ManualClock(), from_seq=number) as source:
            list(source.blocks())
            begun = 0 if number < 20 else 20 if number < 45 else 45
            assert (len(source.parts), source.lines_left_out()) == (3 - (0, 20, 45).index(begun), number - begun)
    paths[0].unlink()
    assert read(room.path, from_seq=20) == (lines[20:], [])
    assert read(room.path, from_seq=61) == ([], [])


def test_a_plain_archive_that_is_compressed_while_it_is_read_is_held_against_the_manifest(room: LogRoom) -> None:
    lines = room.lines()
    (plain,) = cut(room.path, [20], [""])
    copy = archive(room.path, lines[:20], "zst")
    with open_input(room.path, ManualClock()) as source:
        plain.unlink()
        assert [line for block in source.blocks() for line in block.lines()] == lines
        assert source.problems == []
    plain.write_bytes(joined(lines[:20]))
    with open_input(room.path, ManualClock()) as source:
        copy.unlink()
        assert [line for block in source.blocks() for line in block.lines()] == lines
        assert source.problems == []


@pytest.mark.parametrize("form", FORMS)
def test_the_first_number_is_told_of_the_file_that_is_read(room: LogRoom, form: str) -> None:
    lines = room.lines()
    (path,) = cut(room.path, [20], [form])
    with open_input(room.path, ManualClock(), from_seq=5) as source:
        if not form:
            archive(room.path, lines[:20], "zst")
            path.unlink()
        rotate(room.path)
        assert source.first_number() == 0
        assert [line for block in source.blocks() for line in block.lines()] == lines[5:]
    with open_input(room.path, ManualClock(), from_seq=25) as source:
        assert source.first_number() == 20


def test_a_stream_is_read_from_an_entry_on(room: LogRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = room.lines()
    for number in (0, 30, 60, 61):
        stdin(monkeypatch, zstandard.compress(joined(lines)))
        assert read(None, from_seq=number) == (lines[number:], [])


def test_a_write_under_way_is_waited_for(room: LogRoom) -> None:
    with room.path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Unavailable) as caught:
            open_input(room.path, ManualClock(), lock_timeout=0.01)
    assert caught.value.code == "log.busy"
