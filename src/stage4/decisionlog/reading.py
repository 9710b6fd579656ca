"""Reads entries back for people and engines. Reading is not verifying: ask the verifier whether they are genuine."""

from __future__ import annotations

import fcntl
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from stage4.clock import Clock
from stage4.decisionlog import archives, locate, logfile
from stage4.decisionlog.archives import Segment
from stage4.decisionlog.blocks import Block, line_end_before, lines_backwards, plain_blocks
from stage4.decisionlog.canonical import MAX_LINE, Malformed, parse_strict
from stage4.decisionlog.decompression import archive_blocks
from stage4.decisionlog.entry import Entry, read_payload
from stage4.errors import Unavailable

_LOCK_S = 0.1


def entries(
    path: Path,
    *,
    category: str | None = None,
    incident: str | None = None,
    holding: str | None = None,
    from_seq: int = 0,
) -> Iterator[Entry]:
    """The version 3 entries of the log and its archives in their order, or of one archive, from `from_seq` on.

    Of them those of `category` and `incident` where one is given; an entry belongs to an incident when its metadata
    say so under `incident_id`. With `holding` what has that text in no value may be left out, which is many times
    faster. Lines that are no entry are passed over, as is a write under way. `line` and `offset`
    of an entry count in its own file; `line` is 0 in a file that was not read from its beginning. Raises Unavailable
    where the log or an archive that is needed cannot be read.
    """
    asked = [text for text in (category, incident, holding) if text is not None]
    for entry in _read(path, from_seq, [text.encode("utf-8", "replace") for text in asked]):
        if category is not None and entry.category != category:
            continue
        if incident is None or entry.metadata.get("incident_id") == incident:
            yield entry


def newest(path: Path, count: int, wanted: Callable[[Entry], bool] = lambda _: True) -> list[Entry]:
    """The last `count` entries that are `wanted`, the oldest of them first, read from the end backwards.

    Archives are opened only where the live file does not have so many. `line` is 0 in entries of the live file,
    because their lines are not counted. Raises Unavailable as `entries` does.
    """
    found: list[Entry] = []
    descriptor, before = _opened(path)
    try:
        if descriptor is not None:
            end = line_end_before(path, descriptor, 0, os.fstat(descriptor).st_size)
            for offset, line in lines_backwards(path, descriptor, end):
                if len(found) == count:
                    return found[::-1]
                entry = entry_of(line, 0, offset)
                if entry is not None and wanted(entry):
                    found.append(entry)
    finally:
        if descriptor is not None:
            os.close(descriptor)
    for segment in reversed(before):
        if len(found) == count:
            break
        kept = deque(filter(wanted, _in_blocks(archive_blocks(segment.copies[0]), number=1)), maxlen=count - len(found))
        found.extend(reversed(kept))
    return found[::-1]


def follow(path: Path, clock: Clock, *, after: int | None = None, every: float = 0.2) -> Iterator[Entry]:
    """The entries with a number above `after` (None: the last one there is), as they are appended; never ends.

    Looks every `every` seconds. Goes on in the next file when the log is rotated, and gives an entry only when its
    line is whole. Raises Unavailable as `entries` does, also when the log goes away.
    """
    if after is None:
        last = newest(path, 1)
        after = last[0].seq if last else -1
    while True:
        descriptor, before = _opened(path)
        if descriptor is None:
            yield from entries(path, from_seq=after + 1)
            return
        try:
            end = _end_now(path, descriptor, 0, clock)
            before = archives.needed(before, locate.first_seq(path, descriptor, end), after + 1)
            for segment in before:
                for entry in _in_blocks(archive_blocks(segment.copies[0]), from_seq=after + 1):
                    after = entry.seq
                    yield entry
            position = 0 if before else locate.start_of(path, descriptor, end, after + 1)
            is_live = True
            while is_live and position <= end:
                # Asked before reading: nothing is added to a file that is no longer the live one.
                is_live = logfile.is_still(path, descriptor)
                end = _end_now(path, descriptor, position, clock)
                for entry in _in_blocks(plain_blocks(path, descriptor, position, end), from_seq=after + 1):
                    after = entry.seq
                    yield entry
                position = max(position, end)
                if is_live:
                    clock.sleep(every)
        finally:
            os.close(descriptor)


def entry_of(line: bytes, number: int, offset: int) -> Entry | None:
    """The entry that a line spells, its signature unjudged; None for anything else."""
    if len(line) > MAX_LINE:
        return None
    try:
        members = parse_strict(line)
        if not isinstance(members, dict) or members.pop("signature", None) is None:
            return None
        return read_payload(members, number, offset)
    except Malformed:
        return None


def _opened(path: Path) -> tuple[int | None, tuple[Segment, ...]]:
    """The live file at `path` and its archives; no live file where `path` is itself a compressed archive."""
    if archives.compression_of(path):
        return None, (Segment(path.name, 0, (path,)),)
    try:
        return archives.opened(path)
    except FileNotFoundError as error:
        raise Unavailable("files.missing", path=path) from error


def _read(path: Path, from_seq: int, texts: Sequence[bytes]) -> Iterator[Entry]:
    descriptor, before = _opened(path)
    try:
        start = end = 0
        if descriptor is not None:
            end = line_end_before(path, descriptor, 0, os.fstat(descriptor).st_size)
        if descriptor is not None and from_seq > 0:
            before = archives.needed(before, locate.first_seq(path, descriptor, end), from_seq)
            start = 0 if before else locate.start_of(path, descriptor, end, from_seq)
        for segment in before:
            yield from _in_blocks(archive_blocks(segment.copies[0]), texts, from_seq, number=1)
        if descriptor is not None:
            yield from _in_blocks(plain_blocks(path, descriptor, start, end), texts, from_seq, number=int(start == 0))
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _in_blocks(
    blocks: Iterable[Block], texts: Sequence[bytes] = (), from_seq: int = 0, *, number: int = 0
) -> Iterator[Entry]:
    """The entries from `from_seq` on that may hold `texts`; `number` is that of the first line, 0 for uncounted."""
    for block in blocks:
        offset = block.offset
        for line in block.lines():
            if _may_hold(line, texts) and (from_seq == 0 or (locate.seq_of(line) or 0) >= from_seq):
                entry = entry_of(line, number, offset)
                if entry is not None and entry.seq >= from_seq:
                    yield entry
            offset += logfile.length(line) + 1
            number += bool(number)


def _may_hold(line: bytes, texts: Sequence[bytes]) -> bool:
    """Whether reading the line is worth it: a text stands in it as it is, or spelled with an escape."""
    return all(text in line for text in texts) or b"\\" in line


def _end_now(path: Path, descriptor: int, known: int, clock: Clock) -> int:
    """The byte after the last whole line, which nobody takes back; `known` where a writer holds the log too long."""
    if os.fstat(descriptor).st_size == known:
        return known
    try:
        with logfile.locked(path, descriptor, fcntl.LOCK_SH, _LOCK_S, clock):
            return line_end_before(path, descriptor, 0, os.fstat(descriptor).st_size)
    except Unavailable as error:
        if error.code != "log.busy":
            raise
        return known
