"""However a log is cut into files, chunks and blocks: the same lines."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from stage4.decisionlog import blocks, locate, logfile
from stage4.decisionlog.blocks import Block
from stage4.decisionlog.canonical import MAX_LINE
from stage4.decisionlog.decompression import decompressed
from stage4.decisionlog.reading import entries, newest
from support.decision_logs import LogRoom
from support.log_archives import archive, joined, packed, read

FORMS = st.sampled_from(["", "zst", "gz"])
lengths = st.integers(0, 40) | st.integers(0, 3000) | st.integers(MAX_LINE - 2, MAX_LINE + 200)


def _log() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return LogRoom.create(Path(folder), entries=40).lines()


LINES = _log()
cuts = st.lists(st.integers(1, len(LINES) - 1), max_size=5, unique=True).map(sorted)


def seen(found: list[Block]) -> list[tuple[int, int]]:
    """Beginning and length of each line."""
    places = []
    for block in found:
        offset = block.offset
        for line in block.lines():
            places.append((offset, logfile.length(line)))
            offset += logfile.length(line) + 1
        assert offset == block.offset + block.size
    return places


@settings(max_examples=60)
@given(st.lists(lengths, max_size=12), lengths, st.integers(1, 3000), st.integers(100, 70_000))
def test_a_stream_and_a_file_give_the_same_lines_whatever_the_sizes(
    sizes: list[int], rest: int, size: int, step: int
) -> None:
    lines, fragment = [b"x" * length for length in sizes], b"y" * rest
    content = joined(lines) + fragment
    offsets = [sum(len(line) + 1 for line in lines[:number]) for number in range(len(lines))]
    expected = [(offset, len(line)) for offset, line in zip(offsets, lines, strict=True)]
    left: list[bytes] = []

    def streamed() -> list[Block]:
        found = []
        passing = blocks.stream_blocks((content[at : at + step] for at in range(0, len(content), step)), size=size)
        while True:
            try:
                found.append(next(passing))
            except StopIteration as end:
                left.append(end.value)
                return found

    assert seen(streamed()) == expected
    assert logfile.length(left[0]) == len(fragment)
    with tempfile.TemporaryFile() as source:
        source.write(content)
        source.flush()
        path, descriptor = Path("-"), source.fileno()
        end = blocks.line_end_before(path, descriptor, 0, len(content))
        assert end == len(content) - len(fragment)
        assert seen(list(blocks.plain_blocks(path, descriptor, 0, end, size=size))) == expected
        backwards = [(offset, logfile.length(line)) for offset, line in blocks.lines_backwards(path, descriptor, end)]
        assert backwards == expected[::-1]


@given(st.lists(st.binary(max_size=2000), min_size=1, max_size=4), st.sampled_from(["zst", "gz"]), st.integers(1, 500))
def test_an_archive_of_any_members_read_in_any_steps_is_what_was_packed(
    members: list[bytes], form: str, step: int
) -> None:
    content = b"".join(packed(member, form) for member in members)
    place = 0

    def read_some(count: int) -> bytes:
        nonlocal place
        begin, place = place, place + min(count, step)
        return content[begin:place]

    assert b"".join(decompressed(read_some, "zst" if form == "zst" else "gz")) == b"".join(members)


@given(cuts, st.data())
def test_a_log_in_any_segments_reads_as_one(borders: list[int], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runtime.jsonl"
        for begin, end in zip([0, *borders], borders, strict=False):
            archive(path, LINES[begin:end], data.draw(FORMS))
        path.write_bytes(joined(LINES[borders[-1] if borders else 0 :]))
        assert read(path) == (LINES, [])
        assert [entry.seq for entry in entries(path)] == list(range(len(LINES)))
        number = data.draw(st.integers(0, len(LINES)))
        assert read(path, from_seq=number) == (LINES[number:], [])
        assert [entry.seq for entry in entries(path, from_seq=number)] == list(range(number, len(LINES)))
        assert [entry.seq for entry in newest(path, number)] == list(range(len(LINES) - number, len(LINES)))
        found = locate.find(path, number)
        assert (found.line if found else None) == (LINES[number] if number < len(LINES) else None)
