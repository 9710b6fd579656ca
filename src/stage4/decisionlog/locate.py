"""
Finds an entry by its number without reading the log: every line states its number, and numbers only grow.

That holds for a log that nobody touched. Where a line does not say what the search expects, the file is read from
its beginning instead, so a damaged log costs time and no answer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stage4.decisionlog import archives, traces
from stage4.decisionlog.blocks import Block, line_after, line_end_before, plain_blocks, read_at
from stage4.decisionlog.canonical import MAX_LINE, Malformed, parse_strict
from stage4.decisionlog.decompression import archive_blocks
from stage4.decisionlog.entry import read_payload
from stage4.decisionlog.logfile import length
from stage4.decisionlog.prefix import is_v2

_MARK = b',"seq":'
_NUMBER = re.compile(rb',"seq":([0-9]{1,16}),"signatures":\{')
_NEAR = 1 << 15
_BEFORE_ALL = -1


@dataclass(frozen=True, slots=True)
class Located:
    """Entry `seq` as it stands in the file `part`: its line without LF and the (uncompressed) byte where it begins.

    `number` is that of the line, from 1, where finding it meant counting; see `count_lines`.
    """

    part: Path
    seq: int
    offset: int
    line: bytes
    number: int | None


def find(path: Path, seq: int, keyring: Path | None = None) -> Located | None:
    """Entry number `seq` of the log at `path` and its archives, or of one archive; None where it is not there.

    Raises Unavailable where the log or an archive that may hold the entry cannot be read: `log.vanished` where what
    lies beside it, or beside the ring at `keyring`, shows that a log was there.
    """
    compression = archives.compression_of(path)
    if compression:
        return _in_archive(path, seq)
    try:
        descriptor, before = archives.opened(path)
    except FileNotFoundError as error:
        raise traces.absent(path, keyring) from error
    try:
        end = line_end_before(path, descriptor, 0, os.fstat(descriptor).st_size)
        searched = _search(path, descriptor, end, seq)
        offset = searched.exact
        if offset is None and searched.is_odd:
            offset = _scanned(path, descriptor, end, seq)
        if offset is None and not searched.is_next:
            # The name says which segment it is; the others are asked only where that one does not keep its word.
            likely = [segment for segment in before if segment.first_seq <= seq][-1:]
            for segment in (*likely, *(other for other in before if other not in likely)):
                found = _in_archive(segment.copies[0], seq)
                if found is not None:
                    return found
            if not searched.is_odd:
                offset = _scanned(path, descriptor, end, seq)
        return None if offset is None else _located(path, descriptor, offset, end, seq)
    finally:
        os.close(descriptor)


def seq_of(line: bytes) -> int | None:
    """The number that a line states for itself, -1 for a line of a v2 prefix, None where it states none."""
    found = _NUMBER.match(line, line.rfind(_MARK)) if _MARK in line else None
    if found is not None:
        return int(found[1])
    if len(line) > MAX_LINE:
        return None
    if is_v2(line):
        return _BEFORE_ALL
    try:
        members = parse_strict(line)
    except Malformed:
        return None
    seq = members.get("seq") if isinstance(members, dict) else None
    return seq if type(seq) is int else None


def _is_entry(line: bytes, seq: int) -> bool:
    """Whether a line is an entry of this number in form; nothing is authenticated."""
    try:
        members = parse_strict(line)
        if not isinstance(members, dict) or members.pop("signature", None) is None:
            return False
        return read_payload(members, 0, 0).seq == seq
    except Malformed:
        return False


def count_lines(path: Path, descriptor: int, offset: int) -> int:
    """The lines before byte `offset`; reads all of them."""
    blocks = plain_blocks(path, descriptor, 0, offset)
    return sum(1 if block.rest else block.read().count(b"\n") for block in blocks)


def start_of(path: Path, descriptor: int, end: int, seq: int) -> int:
    """The byte where entry `seq` begins in the first `end` bytes of a plain file.

    Where it is not there, the byte after the last line with a lower number. Nothing is authenticated: whoever goes
    on from here must know the entry that stands there.
    """
    searched = _search(path, descriptor, end, seq)
    if searched.exact is None and searched.is_odd:
        searched.exact = _scanned(path, descriptor, end, seq)
    return searched.bound if searched.exact is None else searched.exact


def first_seq(path: Path, descriptor: int, end: int) -> int | None:
    """The number that the first line of a plain file states, -1 for a line of a v2 prefix; None where none does."""
    return first_number(plain_blocks(path, descriptor, 0, end, size=_NEAR))


def first_number(blocks: Iterable[Block]) -> int | None:
    """The number that the first line of `blocks` states, as `first_seq` tells it."""
    lines = (line for block in blocks for line in block.lines())
    return next((number for line in lines if (number := seq_of(line)) is not None), None)


def skip_to(blocks: Generator[Block, None, bytes], seq: int) -> Generator[Block, None, tuple[int, bytes]]:
    """The blocks from the first entry on whose number is not below `seq`.

    Returns how many lines were left out, and what `blocks` returned.
    """
    passed = 0
    while True:
        try:
            block = next(blocks)
        except StopIteration as end:
            return passed, end.value
        skipped = 0
        for line in block.lines():
            number = seq_of(line)
            if number is not None and number >= seq:
                break
            skipped += length(line) + 1
            passed += 1
        if skipped < block.size:
            yield Block(block.part, block.offset + skipped, block.read()[skipped:]) if skipped else block
            return passed, (yield from blocks)


@dataclass(slots=True)
class _Searched:
    """`exact` is where the entry begins, `bound` the byte after the last line before it with a lower number.

    `is_next`: it would be the next entry of the file. `is_odd`: it should stand in the file, and does not.
    """

    exact: int | None
    bound: int
    is_next: bool
    is_odd: bool


def _search(path: Path, descriptor: int, end: int, seq: int) -> _Searched:
    low, high = 0, end
    while high - low > _NEAR:
        middle = (low + high) // 2
        numbered = _first_number(path, descriptor, middle, high)
        if numbered is None or numbered[1] >= seq:
            high = middle
        else:
            low = numbered[0]
    last = _BEFORE_ALL if low == 0 else None
    for offset, line in _lines(path, descriptor, low, end):
        number = seq_of(line)
        if number is None:
            continue
        if number >= seq:
            exact = offset if number == seq and _is_entry(line, seq) else None
            return _Searched(exact, low, False, exact is None and low > 0)
        low, last = offset + length(line) + 1, number
    if last is None:
        last = _last_number(path, descriptor, low)
    first = first_seq(path, descriptor, end)
    is_next = last == seq - 1 and (first is None or first <= last)
    return _Searched(None, low, is_next, not is_next)


def _last_number(path: Path, descriptor: int, end: int) -> int | None:
    """The number that the line before byte `end` states."""
    begin = line_end_before(path, descriptor, max(0, end - MAX_LINE - 1), end - 1)
    return seq_of(read_at(path, descriptor, begin, end - 1 - begin))


def _first_number(path: Path, descriptor: int, start: int, end: int) -> tuple[int, int] | None:
    """The first line that begins after byte `start` and before byte `end` and states a number: its end, and that."""
    after = line_after(path, descriptor, start, end)
    for offset, line in _lines(path, descriptor, after, end):
        number = seq_of(line)
        if number is not None:
            return offset + length(line) + 1, number
    return None


def _scanned(path: Path, descriptor: int, end: int, seq: int) -> int | None:
    """Where entry `seq` begins, by reading all lines."""
    found = _in_blocks(plain_blocks(path, descriptor, 0, end), seq)
    return None if found is None else found[0]


def _in_archive(path: Path, seq: int) -> Located | None:
    found = _in_blocks(archive_blocks(path), seq)
    return None if found is None else Located(path, seq, *found)


def _in_blocks(blocks: Iterable[Block], seq: int) -> tuple[int, bytes, int] | None:
    """Where entry `seq` begins, its line, and the number of that."""
    digits = b"%d" % seq
    passed = 0
    for block in blocks:
        # Most blocks are passed over by one search of their bytes.
        if digits in block.read():
            offset = block.offset
            for number, line in enumerate(block.lines(), passed + 1):
                if digits in line and seq_of(line) == seq and _is_entry(line, seq):
                    return offset, line, number
                offset += length(line) + 1
        passed += block.read().count(b"\n") or 1
    return None


def _located(path: Path, descriptor: int, offset: int, end: int, seq: int) -> Located:
    after = line_after(path, descriptor, offset, end)
    return Located(path, seq, offset, read_at(path, descriptor, offset, after - offset - 1), None)


def _lines(path: Path, descriptor: int, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    for block in plain_blocks(path, descriptor, start, end, size=_NEAR):
        offset = block.offset
        for line in block.lines():
            yield offset, line
            offset += length(line) + 1
