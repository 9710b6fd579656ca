"""
A log in blocks of about a megabyte, each of whole lines, in bounded memory.

A block of a plain file is a `Span`: it says where the bytes are, so that a worker process which inherited the
descriptor reads them itself. A block of a stream carries its bytes.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stage4 import files
from stage4.decisionlog import logfile
from stage4.decisionlog.canonical import MAX_LINE
from stage4.decisionlog.logfile import LongLine
from stage4.errors import Unavailable

BLOCK = 1 << 20
_STEP = 1 << 16


@dataclass(frozen=True, slots=True)
class Span:
    """`length` bytes from byte `start` of the open file `descriptor`; `path` names it for people."""

    path: Path
    descriptor: int
    start: int
    length: int

    def read(self) -> bytes:
        """The bytes; raises Unavailable where they cannot be read, or the file has become shorter."""
        return read_at(self.path, self.descriptor, self.start, self.length)


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines, each with its LF, of part number `part` from its (uncompressed) byte `offset` on.

    Where `rest` is not 0 the block is one line that is too long to be an entry: `content` is its beginning, and
    `rest` the number of bytes left out before its LF. A line over MAX_LINE may also stand whole in a block.
    """

    part: int
    offset: int
    content: bytes | Span
    rest: int = 0

    @property
    def size(self) -> int:
        """The bytes of the part that this block stands for, LFs included."""
        length = self.content.length if isinstance(self.content, Span) else len(self.content)
        return length + self.rest + 1 if self.rest else length

    def read(self) -> bytes:
        """The content as bytes; raises Unavailable as `Span.read` does."""
        return self.content.read() if isinstance(self.content, Span) else self.content

    def lines(self) -> list[bytes]:
        """The lines without LF; a line that was left out in part is a `LongLine`."""
        content = self.read()
        if self.rest:
            return [LongLine(content, self.rest)]
        lines = content.split(b"\n")
        lines.pop()
        return lines


def read_at(path: Path, descriptor: int, start: int, length: int) -> bytes:
    """Exactly `length` bytes from byte `start`; raises Unavailable where they cannot be had."""
    pieces = []
    while length:
        try:
            piece = os.pread(descriptor, length, start)
        except OSError as error:
            raise Unavailable("files.unreadable", path=path, reason=files.reason(error)) from error
        if not piece:
            raise Unavailable("input.shrunk", path=path)
        pieces.append(piece)
        start, length = start + len(piece), length - len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def plain_blocks(
    path: Path, descriptor: int, start: int, end: int, *, part: int = 0, size: int = BLOCK
) -> Iterator[Block]:
    """The lines between byte `start`, where a line begins, and byte `end`, which follows a LF."""
    while start < end:
        reach = min(start + size, end)
        cut = reach if reach == end else line_end_before(path, descriptor, start, reach)
        if cut > start:
            yield Block(part, start, Span(path, descriptor, start, cut - start))
            start = cut
            continue
        after = line_after(path, descriptor, reach, end)
        length = after - start - 1
        if length <= max(size, MAX_LINE + 1):
            yield Block(part, start, Span(path, descriptor, start, after - start))
        else:
            yield Block(part, start, read_at(path, descriptor, start, MAX_LINE + 1), length - MAX_LINE - 1)
        start = after


def stream_blocks(chunks: Iterable[bytes], *, part: int = 0, size: int = BLOCK) -> Generator[Block, None, bytes]:
    """The lines of a stream that comes in chunks of any length; returns what stands after the last LF.

    That is a `LongLine` where it is too long to be an entry.
    """
    limit = max(size, MAX_LINE + 2)
    source = iter(chunks)
    offset = held = 0
    pieces: list[bytes] = []
    for chunk in source:
        pieces.append(chunk)
        held += len(chunk)
        if held < limit:
            continue
        content = b"".join(pieces)
        cut = content.rfind(b"\n") + 1
        if cut:
            yield Block(part, offset, content[:cut])
            offset, content = offset + cut, content[cut:]
        else:
            beginning, rest, following = _rest_of_line(content, source)
            if following is None:
                return LongLine(beginning, rest)
            yield Block(part, offset, beginning, rest)
            offset, content = offset + len(beginning) + rest + 1, following
        pieces, held = [content], len(content)
    content = b"".join(pieces)
    cut = content.rfind(b"\n") + 1
    if cut:
        yield Block(part, offset, content[:cut])
    fragment = content[cut:]
    return bounded(fragment, len(fragment))


def bounded(beginning: bytes, size: int) -> bytes:
    """A line of `size` bytes that begins with `beginning`: itself, or a `LongLine` where it is too long to keep."""
    return beginning if size <= MAX_LINE else LongLine(beginning[: MAX_LINE + 1], size - min(size, MAX_LINE + 1))


def _rest_of_line(content: bytes, source: Iterator[bytes]) -> tuple[bytes, int, bytes | None]:
    """The beginning of a long line, how many bytes follow it, and what `source` gave after its LF (None: no LF)."""
    rest = len(content) - MAX_LINE - 1
    for chunk in source:
        found = chunk.find(b"\n")
        if found >= 0:
            return content[: MAX_LINE + 1], rest + found, chunk[found + 1 :]
        rest += len(chunk)
    return content[: MAX_LINE + 1], rest, None


def lines_backwards(path: Path, descriptor: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The lines before byte `end`, which follows a LF, the last one first: where each begins, and itself."""
    while end > 0:
        begin = max(0, end - _STEP)
        content = read_at(path, descriptor, begin, end - begin)
        cut = content.find(b"\n") + 1 if begin else 0
        if cut < len(content):
            begin += cut
            lines = content[cut:].split(b"\n")
            lines.pop()
        else:
            begin = line_end_before(path, descriptor, 0, end - 1)
            length = end - 1 - begin
            lines = [bounded(read_at(path, descriptor, begin, min(length, MAX_LINE + 1)), length)]
        for line in reversed(lines):
            end -= logfile.length(line) + 1
            yield end, line


def line_end_before(path: Path, descriptor: int, start: int, end: int) -> int:
    """The byte after the last LF between bytes `start` and `end`; `start` where there is none."""
    while end > start:
        begin = max(start, end - _STEP)
        found = read_at(path, descriptor, begin, end - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return start


def line_after(path: Path, descriptor: int, start: int, end: int) -> int:
    """The byte after the first LF between bytes `start` and `end`; `end` where there is none."""
    while start < end:
        content = read_at(path, descriptor, start, min(_STEP, end - start))
        found = content.find(b"\n")
        if found >= 0:
            return start + found + 1
        start += len(content)
    return end
