"""Cutting the log off into archives: what is in them, what a crash at any point leaves, what is refused."""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from stage4.decisionlog import archive, archives
from stage4.decisionlog.archive import Codec, rotate
from stage4.decisionlog.chain import leaf_digest
from stage4.decisionlog.reading import entries
from stage4.errors import Conflict, ExitCode, Unavailable, UsageError
from support.decision_logs import LogRoom, draft

FIRST = "runtime-0000000000.jsonl"


@pytest.fixture
def room(tmp_path: Path) -> LogRoom:
    return LogRoom.create(tmp_path / "log", 40)


def names(room: LogRoom) -> list[str]:
    return sorted(path.name for path in room.path.parent.iterdir() if path.is_file())


def whole(room: LogRoom, last_seq: int) -> None:
    """Every entry is there once, in one chain, and the verifier says so."""
    assert [entry.seq for entry in entries(room.path)] == list(range(last_seq + 1))
    verdict = room.verify()
    assert (verdict.exit_code, verdict.entries, verdict.findings) == (ExitCode.DONE, last_seq + 1, ())


@pytest.mark.parametrize("codec", ["zst", "gz"])
def test_a_log_goes_on_in_a_new_file_that_names_what_was_cut_off(room: LogRoom, codec: Codec) -> None:
    before = room.path.read_bytes()
    log = room.log()
    rotated = rotate(log, compression=codec)
    assert names(room) == [f"{FIRST}.{codec}", "runtime.jsonl", "runtime.manifest.jsonl"]
    packed = room.path.with_name(f"{FIRST}.{codec}")
    content = packed.read_bytes()
    unpacked = gzip.decompress(content) if codec == "gz" else zstandard.ZstdDecompressor().decompress(content)
    assert unpacked == before
    first = json.loads(room.lines()[0])
    assert (first["seq"], first["kind"], first["status"]) == (41, "segment", "continued")
    assert first["prev"] == leaf_digest(before.splitlines()[-1])
    facts = {
        "bytes": len(before),
        "first_seq": 0,
        "last_seq": 40,
        "lines": 41,
        "sha256": hashlib.sha256(before).hexdigest(),
    }
    assert first["metadata"] == {"archive": FIRST, **facts}
    (listed,) = archives.read_manifest(archives.manifest_path(room.path)).listed
    assert rotated == archive.Rotated(FIRST, (listed,))
    assert (listed.file, listed.head) == (packed.name, first["prev"])
    assert {name: getattr(listed, name) for name in facts} == facts
    assert room.path.stat().st_mode & 0o777 == packed.stat().st_mode & 0o777 == 0o640
    assert log.append(draft(42)).line == 2
    whole(room, 42)


def test_every_writer_goes_on_after_the_cut_and_a_log_may_be_cut_many_times(room: LogRoom) -> None:
    writers = [room.log(), room.log()]
    for number in range(6):
        for writer in writers:
            writer.append(draft(number))
        rotate(writers[number % 2])
    assert len(archives.segments(room.path)) == 6
    assert room.log().append(draft()).seq == 59
    whole(room, 59)


def test_a_log_with_its_first_entry_only_is_not_cut(room: LogRoom) -> None:
    rotate(room.log())
    assert not archive.would_cut(room.path)
    assert rotate(room.log()) == archive.Rotated(None, ())
    assert len(room.lines()) == 1


def test_a_large_segment_is_compressed_in_frames(room: LogRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    before = room.path.read_bytes()
    monkeypatch.setattr(archive, "FRAME", 4096)
    heard: list[tuple[int, int]] = []
    rotate(room.log(), progress=lambda done, size: heard.append((done, size)))
    content = room.path.with_name(FIRST + ".zst").read_bytes()
    assert content.count(zstandard.FRAME_HEADER) == -(-len(before) // 4096) == len(heard)
    assert heard[-1] == (len(before), len(before))
    whole(room, 41)


def test_old_lines_of_version_2_are_archived_with_the_entries_that_seal_them(tmp_path: Path) -> None:
    room = LogRoom.create(tmp_path)
    room.put([b'{"kind": "old"}', b'{"kind": "older"}'])
    room.log().append(draft())
    rotate(room.log())
    assert json.loads(room.lines()[0])["metadata"]["lines"] == 4
    assert names(room)[0] == FIRST + ".zst"
    assert room.verify().exit_code is ExitCode.DONE
    assert room.log().append(draft()).seq == 3


def test_only_a_log_above_the_limit_is_cut(room: LogRoom) -> None:
    size = room.path.stat().st_size
    assert archive.rotate_if_larger(room.log(), 0) is None
    assert archive.rotate_if_larger(room.log(), size) is None
    assert archive.rotate_if_larger(room.log(), size - 1) is not None
    assert archive.rotate_if_larger(room.log(), size - 1) is None


def test_one_process_at_a_time_archives(room: LogRoom) -> None:
    folder = os.open(room.path.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with pytest.raises(Conflict, match=r"archive\.busy"):
        rotate(room.log())
    assert archive.rotate_if_larger(room.log(), 1) is None
    os.close(folder)
    assert rotate(room.log()).cut == FIRST


def test_a_segment_that_is_compressed_while_the_folder_is_listed_is_not_missed(
    room: LogRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.log().append_many([draft(1), draft(2)])
    archive.rotate(room.log())
    packed = room.path.with_name("runtime-0000000000.jsonl.zst")
    plain = packed.with_suffix("")
    packed.rename(plain)
    listed = Path.iterdir

    def listing(folder: Path) -> Iterator[Path]:
        names = list(listed(folder))
        if plain.exists():
            plain.rename(packed)
        return iter(names)

    monkeypatch.setattr(Path, "iterdir", listing)
    assert [segment.copies for segment in archives.segments(room.path)] == [(packed,)]


def test_a_log_that_is_not_there_and_one_that_vanished_are_not_archived(room: LogRoom, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"files\.missing"):
        rotate(LogRoom.create(tmp_path / "other").log())
    rotate(room.log())
    room.path.unlink()
    with pytest.raises(Unavailable, match=r"log\.vanished"):
        rotate(room.log())


def test_a_file_with_the_name_of_the_segment_is_not_replaced(room: LogRoom) -> None:
    stranger = room.path.with_name(FIRST)
    stranger.write_bytes(b"kept\n")
    with pytest.raises(Unavailable, match=r"archive\.in_the_way"):
        rotate(room.log())
    assert stranger.read_bytes() == b"kept\n"
    stranger.unlink()
    assert room.log().append(draft()).seq == 41
    whole(room, 41)


def test_a_manifest_that_was_lost_is_made_again(room: LogRoom) -> None:
    for _ in range(2):
        room.log().append(draft())
        rotate(room.log())
    manifest = archives.manifest_path(room.path)
    before = manifest.read_bytes()
    manifest.unlink()
    assert len(archive.unfinished(room.path)) == 2
    rotate(room.log(), cut=False)
    assert manifest.read_bytes() == before


def test_what_cannot_be_read_back_stays_as_it_was(room: LogRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_compressor", lambda _codec: (lambda piece: piece[:-1], bytes))
    assert [listed.file for listed in rotate(room.log()).finished] == [FIRST]
    whole(room, 41)
    monkeypatch.undo()
    rotate(room.log())
    assert names(room) == [FIRST + ".zst", "runtime.jsonl", "runtime.manifest.jsonl"]


def test_nobody_may_read_an_archive_who_could_not_read_the_log(room: LogRoom) -> None:
    room.path.chmod(0o600)
    rotate(room.log())
    for path in room.path.parent.glob("runtime*"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_log_behind_a_link_is_not_archived(room: LogRoom) -> None:
    link = room.path.with_name("link.jsonl")
    link.symlink_to(room.path)
    with pytest.raises(UsageError, match=r"archive\.link"):
        rotate(LogRoom(link, room.ring, room.clock).log())
    assert names(room) == ["link.jsonl", "runtime.jsonl"]


class Killed(BaseException):
    """The process is no more."""


CALLS = ("write", "link", "rename", "unlink", "fsync", "fdatasync", "utime")


@contextlib.contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, number: int, *, after: bool) -> Iterator[list[str]]:
    """Nothing reaches the disk from call `number` on; with `after`, that call is the last one that does."""
    made: list[str] = []

    def mortal(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def made_or_killed(*arguments: object, **options: object) -> object:
            made.append(name)
            if len(made) > number or (len(made) == number and not after):
                raise Killed
            result = call(*arguments, **options)
            if len(made) == number:
                raise Killed
            return result

        return made_or_killed

    with monkeypatch.context() as patched:
        for name in CALLS:
            patched.setattr(os, name, mortal(name, getattr(os, name)))
        yield made


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("codec", ["zst", "gz"])
def test_whatever_a_crash_leaves_verifies_and_the_next_call_finishes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: Codec, after: bool
) -> None:
    number, made = 0, ["begun"]
    while len(made) >= number:
        number += 1
        room = LogRoom.create(tmp_path / str(number), 12)
        with killed_at(monkeypatch, number, after=after) as made, contextlib.suppress(Killed):
            rotate(room.log(), compression=codec)
        cut = len(room.lines()) == 1
        whole(room, 13 if cut else 12)
        # Another writer comes first, and the next rotation may compress in another way.
        assert room.log().append(draft()).seq == (14 if cut else 13)
        rotate(room.log(), compression="gz" if number % 2 else "zst")
        assert archive.unfinished(room.path) == ()
        assert not [name for name in names(room) if name.startswith(".") or name.endswith(("0.jsonl", "3.jsonl"))]
        whole(room, 15 if cut else 14)
        assert room.log().append(draft()).seq == (16 if cut else 15)
    assert number > 20
    assert {"link", "rename", "unlink", "fsync"} <= set(made)
