"""
Compressed archives as streams: bounded memory, bounded growth, and an exact word for what is wrong with one.

Both forms may hold several members one after the other. A stream gives everything it can before it says what is
wrong, so that the lines before a fault are still judged.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from stage4 import files
from stage4.decisionlog.archives import Compression, compression_of, copies_of
from stage4.decisionlog.blocks import Block, stream_blocks
from stage4.errors import Unavailable

FREE_GROWTH = 16 << 20
MAX_RATIO = 200
_CHUNK = 1 << 16
_PIECE = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = 0x184D2A5
_REPEATED = 1
_MAX_WINDOW = 1 << 27
_MAX_BLOCK = 128 << 10
# As many zstd blocks as make a piece when each is as large as it may be.
_BLOCKS = _PIECE // _MAX_BLOCK

Read = Callable[[int], bytes]


class BrokenArchive(ValueError):
    """The archive is not what its name or beginning says; `code` is its text in the catalogue."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


@dataclass(slots=True)
class _Source:
    """Reads compressed bytes and holds what comes out of them against what went in."""

    read: Read
    limit: int | None
    ahead: bytes = b""
    consumed: int = 0
    produced: int = 0

    def some(self) -> bytes:
        """The next bytes, none at the end."""
        if self.ahead:
            content, self.ahead = self.ahead, b""
        else:
            content = self.read(_CHUNK)
            self.consumed += len(content)
        return content

    def upto(self, count: int) -> bytes:
        """The next `count` bytes, fewer only at the end."""
        pieces, held = [], 0
        while held < count:
            content = self.some()
            if not content:
                break
            pieces.append(content)
            held += len(content)
        if held <= count:
            return b"".join(pieces)
        content = b"".join(pieces)
        self.ahead = content[count:]
        return content[:count]

    def exactly(self, count: int) -> bytes:
        """The next `count` bytes; raises BrokenArchive where the stream ends before."""
        content = self.upto(count)
        if len(content) < count:
            raise BrokenArchive("input.archive_truncated")
        return content

    def grown(self, content: bytes) -> bytes:
        """Count decompressed bytes; raises BrokenArchive where they are more than any log compresses to."""
        self.produced += len(content)
        within = self.limit is None or self.produced <= self.limit
        if not within or self.produced > FREE_GROWTH + MAX_RATIO * self.consumed:
            raise BrokenArchive("input.archive_bomb")
        return content


def decompressed(read: Read, compression: Compression, *, limit: int | None = None) -> Iterator[bytes]:
    """What the bytes that `read(count)` gives decompress to, in pieces of at most about a megabyte.

    Raises BrokenArchive after the last piece that is sound: for a stream that ends early, is damaged, is followed by
    something else or is none, that has more than `limit` bytes, or grows as no log does.
    """
    source = _Source(read, limit)
    match compression:
        case "gz":
            yield from _gzip(source)
        case "zst":
            yield from _zstd(source)
        case "":
            while content := source.some():
                yield content


def archive_blocks(path: Path) -> Generator[Block, None, bytes]:
    """The lines of one archive in blocks; returns what stands after the last LF.

    Raises Unavailable where it cannot be read, or after the last whole line of one that is not sound.
    """
    broken: list[BrokenArchive] = []
    with _opened(path) as (found, source):
        try:
            fragment = yield from stream_blocks(until_broken(source.read, compression_of(found), broken))
        except OSError as error:
            raise Unavailable("files.unreadable", path=path, reason=files.reason(error)) from error
    if broken:
        raise Unavailable(broken[0].code, path=path) from broken[0]
    return fragment


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """The archive at `path`, or what a compression that ended meanwhile has put in its place."""
    for candidate in (path, *copies_of(path)):
        try:
            source = candidate.open("rb")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Unavailable("files.unreadable", path=path, reason=files.reason(error)) from error
        with source:
            yield candidate, source
        return
    raise Unavailable("files.missing", path=path)


def until_broken(read: Read, compression: Compression, broken: list[BrokenArchive]) -> Iterator[bytes]:
    """As `decompressed`, but a fault ends the stream and is put into `broken`."""
    try:
        yield from decompressed(read, compression)
    except BrokenArchive as fault:
        broken.append(fault)


def compression_by_magic(beginning: bytes) -> Compression:
    """How a stream that begins with these 4 bytes is compressed."""
    if beginning.startswith(_GZIP_MAGIC):
        return "gz"
    return "zst" if beginning.startswith(_ZSTD_MAGIC) or _is_skippable(beginning) else ""


def _gzip(source: _Source) -> Iterator[bytes]:
    first = True
    while True:
        beginning = source.upto(2)
        while not first and beginning and not beginning.strip(b"\0"):
            # Zeros after a member only fill a block of a tape, as for gzip itself.
            beginning = source.upto(2)
        if not beginning and not first:
            return
        if beginning != _GZIP_MAGIC:
            raise BrokenArchive(_foreign(beginning, _GZIP_MAGIC, first=first))
        source.ahead = beginning + source.ahead
        yield from _gzip_member(source)
        first = False


def _gzip_member(source: _Source) -> Iterator[bytes]:
    inflate = zlib.decompressobj(wbits=31)
    while not inflate.eof:
        content = inflate.unconsumed_tail or source.some()
        if not content:
            raise BrokenArchive("input.archive_truncated")
        try:
            piece = inflate.decompress(content, _PIECE)
        except zlib.error:
            raise BrokenArchive("input.archive_corrupt") from None
        if piece:
            yield source.grown(piece)
    source.ahead = inflate.unused_data + source.ahead


def _zstd(source: _Source) -> Iterator[bytes]:
    first = True
    while True:
        beginning = source.upto(4)
        if not beginning and not first:
            return
        if _is_skippable(beginning):
            _skip(source, int.from_bytes(source.exactly(4), "little"))
        elif beginning == _ZSTD_MAGIC:
            yield from _zstd_frame(source)
        else:
            raise BrokenArchive(_foreign(beginning, _ZSTD_MAGIC, first=first))
        first = False


def _zstd_frame(source: _Source) -> Iterator[bytes]:
    """One frame (RFC 8878), block by block: a block of a few bytes may stand for 128 KiB, and never for more."""
    import zstandard

    header, has_checksum = _zstd_header(source)
    inflate = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompressobj(write_size=_MAX_BLOCK)
    batch, blocks, last = [_ZSTD_MAGIC + header], 0, False
    fault: BrokenArchive | None = None
    while not last and fault is None:
        try:
            block, last = _zstd_block(source)
            batch.append(block)
            if last and has_checksum:
                batch.append(source.exactly(4))
        except BrokenArchive as broken:
            fault = broken
        blocks += 1
        if blocks % _BLOCKS and not last and fault is None:
            continue
        try:
            piece = inflate.decompress(b"".join(batch))
        except zstandard.ZstdError:
            raise BrokenArchive("input.archive_corrupt") from None
        if piece:
            yield source.grown(piece)
        batch.clear()
    if fault is not None:
        raise fault
    if not inflate.eof:
        raise BrokenArchive("input.archive_corrupt")


def _zstd_block(source: _Source) -> tuple[bytes, bool]:
    """The next block as it is, and whether it is the last one of its frame."""
    head = source.exactly(3)
    bits = int.from_bytes(head, "little")
    last, kind, size = bool(bits & 1), bits >> 1 & 3, bits >> 3
    if size > _MAX_BLOCK:
        raise BrokenArchive("input.archive_corrupt")
    return head + source.exactly(1 if kind == _REPEATED else size), last


def _zstd_header(source: _Source) -> tuple[bytes, bool]:
    """The frame header after its magic number, and whether a checksum ends the frame."""
    descriptor = source.exactly(1)
    bits = descriptor[0]
    single, content_size = bits >> 5 & 1, bits >> 6
    length = (1 - single) + (0, 1, 2, 4)[bits & 3] + (single, 2, 4, 8)[content_size]
    return descriptor + source.exactly(length), bool(bits >> 2 & 1)


def _skip(source: _Source, count: int) -> None:
    while count:
        content = source.exactly(min(count, _CHUNK))
        count -= len(content)


def _is_skippable(beginning: bytes) -> bool:
    return len(beginning) >= 4 and int.from_bytes(beginning[:4], "little") >> 4 == _SKIPPABLE


def _foreign(beginning: bytes, magic: bytes, *, first: bool) -> str:
    """The code for bytes that begin no member: at the very beginning, or after a whole one."""
    if magic.startswith(beginning):
        return "input.archive_truncated"
    return "input.archive_foreign" if first else "input.archive_garbage"
