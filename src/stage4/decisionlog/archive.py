"""
Cuts the live log off into an archive, and goes on in a new file whose first entry names what was cut off.

1. Under the log's lock a new file is made beside the log, with one entry of kind `segment` that chains to the last
   one and holds the digest of the whole old file. The old file gets the segment's name as a second name.
2. The new file takes the live name in one step, so that the live name always leads to a log. Unlock.
3. The segment is compressed into a file of another name, which is flushed, read back and held against the digest;
   only then it gets its name, and the plain segment goes.
4. The manifest, which nothing needs, gets its line.

A crash after any step leaves a log that verifies, and the next rotation finishes what is left to do. One process at
a time rotates the logs of a folder: it holds a lock on the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stage4 import files
from stage4.clock import format_instant
from stage4.decisionlog import archives, logfile, traces
from stage4.decisionlog.archives import Listed, Segment
from stage4.decisionlog.canonical import MAX_LINE
from stage4.decisionlog.chain import leaf_digest
from stage4.decisionlog.decompression import BrokenArchive, decompressed
from stage4.decisionlog.entry import LOG_CATEGORY, SEGMENT, Draft
from stage4.decisionlog.reading import entry_of
from stage4.errors import Conflict, Unavailable, UsageError

if TYPE_CHECKING:
    from stage4.decisionlog.writer import DecisionLog, Held

Codec = Literal["zst", "gz"]
Progress = Callable[[int, int], None]
FRAME = 4 << 20
_ZSTD_LEVEL = 3
_GZIP_LEVEL = 6


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation did: the plain name of the segment it cut off, if any, and every archive it finished."""

    cut: str | None
    finished: tuple[Listed, ...]


def rotate(
    log: DecisionLog, *, compression: Codec = "zst", progress: Progress | None = None, cut: bool = True
) -> Rotated:
    """Cut the live log off if it has more than its first entry, and finish this and what earlier rotations left.

    Without `cut` only what was left is finished. `progress` hears bytes done and bytes to do. Raises Conflict
    `archive.busy` while another process rotates, UsageError for a log that is a symbolic link, Unavailable where the
    log or the disk does not serve.
    """
    if not log.path.exists() and traces.find(log.path) is None:
        raise traces.absent(log.path, log.ring_path)
    if log.path.is_symlink():
        raise UsageError("archive.link", path=log.path)
    try:
        with _alone(log.path):
            name = _cut(log) if cut else None
            finished = _finish(log.path, compression, progress or _silent)
    except OSError as error:
        raise Unavailable("archive.failed", path=log.path, reason=files.reason(error)) from error
    return Rotated(name, finished)


def rotate_if_larger(log: DecisionLog, limit: int, *, compression: Codec = "zst") -> Rotated | None:
    """Rotate when the live log has more than `limit` bytes; None where it has not, or somebody else is at it."""
    if not is_larger(log.path, limit):
        return None
    try:
        return rotate(log, compression=compression)
    except Conflict:
        return None


def would_cut(path: Path) -> bool:
    """Whether a rotation would cut the live log off: whether more than its first line stands there."""
    try:
        with path.open("rb") as source:
            source.readline(MAX_LINE + 1)
            return bool(source.read(1))
    except OSError as error:
        code = "files.missing" if isinstance(error, FileNotFoundError) else "files.unreadable"
        raise Unavailable(code, path=path, reason=files.reason(error)) from error


def unfinished(path: Path) -> tuple[str, ...]:
    """The plain names of the segments that a rotation would compress or list."""
    named = {listed.name for listed in archives.read_manifest(archives.manifest_path(path)).listed}
    return tuple(
        segment.name
        for segment in archives.segments(path)
        if segment.name not in named or path.with_name(segment.name) in segment.copies
    )


def is_larger(path: Path, limit: int) -> bool:
    """Whether the live log has more than `limit` bytes; a limit of 0 is never passed."""
    try:
        return 0 < limit < path.stat().st_size
    except OSError:
        return False


@contextlib.contextmanager
def _alone(log: Path) -> Iterator[None]:
    descriptor = os.open(log.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Conflict("archive.busy", path=log) from None
    finally:
        os.close(descriptor)


def _cut(log: DecisionLog) -> str | None:
    """Steps 1 and 2; the name of the segment, or None where the live file has one line only."""
    digest, hashed = hashlib.sha256(), 0
    with log.held() as held:
        if held.lines < 2:
            return None
        descriptor, size = os.dup(held.descriptor), held.size
    try:
        # What stands in the file now stays: only what comes meanwhile is read while everybody else waits.
        hashed = _hash(digest, descriptor, hashed, size)
        with log.held() as held:
            if logfile.identity(held.descriptor) != logfile.identity(descriptor):
                raise Conflict("archive.busy", path=log.path)
            _hash(digest, descriptor, hashed, held.size)
            return _continue(held, digest.hexdigest())
    finally:
        os.close(descriptor)


def _continue(held: Held, digest: str) -> str:
    """Put a new file in the place of the live one, which keeps the name of its segment."""
    live = held.path
    # Old lines of version 2 have no numbers: a file that begins with them begins with entry 0.
    first_seq = max(0, held.head.seq - held.lines + 1)
    segment = archives.segment_path(live, first_seq)
    facts = {
        "archive": segment.name,
        "bytes": held.size,
        "first_seq": first_seq,
        "last_seq": held.head.seq,
        "lines": held.lines,
        "sha256": digest,
    }
    receipt = held.sealed(Draft(SEGMENT, LOG_CATEGORY, "log", "continued", metadata=facts))
    following = _partial(live)
    with _written(following, held.descriptor) as descriptor:
        files.write_all(descriptor, receipt.raw + b"\n")
    # An entry that another process wrote may still wait for its flush, and the new file chains to it.
    os.fdatasync(held.descriptor)
    os.utime(held.descriptor)
    if not archives.is_same(segment, live):
        try:
            os.link(live, segment)
        except FileExistsError:
            raise Unavailable("archive.in_the_way", path=segment) from None
    os.rename(following, live)
    files.fsync_dir(live.parent)
    return segment.name


def _finish(log: Path, compression: Codec, progress: Progress) -> tuple[Listed, ...]:
    """Steps 3 and 4 for every segment that lacks them."""
    manifest = archives.manifest_path(log)
    named = {listed.name for listed in archives.read_manifest(manifest).listed}
    waiting, finished = unfinished(log), []
    for segment in archives.segments(log):
        plain = log.with_name(segment.name)
        if segment.name not in waiting:
            continue
        content = _measured(segment.copies[0])
        if content is None:
            # The verifier says what is wrong with it.
            continue
        archive = segment.copies[0]
        if archive == plain:
            archive = _compressed(plain, content, compression, progress)
        listed = _listed(archive, segment, content)
        if listed is not None:
            finished.append(listed)
            if segment.name not in named:
                _list(manifest, listed)
    return tuple(finished)


def _compressed(plain: Path, content: _Content, compression: Codec, progress: Progress) -> Path:
    """The archive that takes the place of `plain`; `plain` itself where no archive of it could be read back."""
    for archive in archives.copies_of(plain)[1:]:
        _partial(archive).unlink(missing_ok=True)
        if archive.exists() and _measured(archive) == content:
            break
    else:
        archive = plain.with_name(f"{plain.name}.{compression}")
        _compress(plain, _partial(archive), compression, lambda done: progress(done, content.size))
        if _measured(_partial(archive), compression) != content:
            _partial(archive).unlink()
            return plain
        os.rename(_partial(archive), archive)
        files.fsync_dir(plain.parent)
    os.unlink(plain)
    files.fsync_dir(plain.parent)
    return archive


def _compress(plain: Path, partial: Path, compression: Codec, progress: Callable[[int], None]) -> None:
    """`plain` compressed into the file `partial`, which keeps the time of the cut."""
    spell, close = _compressor(compression)
    done = 0
    with plain.open("rb") as source, _written(partial, source.fileno()) as descriptor:
        while piece := source.read(FRAME):
            files.write_all(descriptor, spell(piece))
            done += len(piece)
            progress(done)
        files.write_all(descriptor, close())
        status = os.fstat(source.fileno())
        os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))


def _compressor(compression: Codec) -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
    """What compresses a piece, and what ends the file; the same log gives the same archive."""
    if compression == "gz":
        deflate = zlib.compressobj(_GZIP_LEVEL, wbits=31)
        return deflate.compress, deflate.flush
    import zstandard

    # A frame a piece: readers may decompress them side by side, and one that is damaged leaves the others.
    frame = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True)
    return frame.compress, bytes


@dataclass(frozen=True, slots=True)
class _Content:
    """What a segment holds: uncompressed bytes, lines, their SHA-256 in hexadecimal, and the last line."""

    size: int
    lines: int
    sha256: str
    last: bytes


def _measured(path: Path, compression: archives.Compression | None = None) -> _Content | None:
    """What `path` holds, read from its beginning to its end; None where it cannot be decompressed."""
    digest, size, lines, tail = hashlib.sha256(), 0, 0, b""
    with path.open("rb") as source:
        try:
            for piece in decompressed(
                source.read, archives.compression_of(path) if compression is None else compression
            ):
                digest.update(piece)
                size, lines = size + len(piece), lines + piece.count(b"\n")
                tail = (tail + piece)[-MAX_LINE - 2 :]
        except BrokenArchive:
            return None
    return _Content(size, lines, digest.hexdigest(), tail.removesuffix(b"\n").rpartition(b"\n")[2])


def _listed(archive: Path, segment: Segment, content: _Content) -> Listed | None:
    """The manifest's line; None where the last line is no entry, as only the verifier may judge."""
    entry = entry_of(content.last, content.lines, 0)
    if entry is None:
        return None
    cut = datetime.fromtimestamp(int(archive.stat().st_mtime), UTC)
    return Listed(
        file=archive.name,
        first_seq=segment.first_seq,
        last_seq=entry.seq,
        lines=content.lines,
        bytes=content.size,
        sha256=content.sha256,
        head=leaf_digest(content.last),
        created=format_instant(cut),
    )


def _list(manifest: Path, listed: Listed) -> None:
    before = files.read_limited(manifest, archives.MANIFEST_LIMIT) if manifest.exists() else b""
    archive = manifest.with_name(listed.file)
    with archive.open("rb") as like, _written(_partial(manifest), like.fileno()) as descriptor:
        files.write_all(descriptor, before + json.dumps(asdict(listed)).encode("ascii") + b"\n")
    os.rename(_partial(manifest), manifest)
    files.fsync_dir(manifest.parent)


def _hash(digest: Any, descriptor: int, start: int, end: int) -> int:
    """Digest the bytes from `start` to `end`; `end`."""
    while start < end:
        piece = os.pread(descriptor, min(FRAME, end - start), start)
        if not piece:
            raise OSError(0, "the file became shorter")
        digest.update(piece)
        start += len(piece)
    return end


@contextlib.contextmanager
def _written(path: Path, like: int) -> Iterator[int]:
    """A new file at `path` in place of one that an interrupted rotation left, on the disk at the end of the block.

    Who may read the open file `like` may read it, and nobody else.
    """
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, stat.S_IMODE(os.fstat(like).st_mode))
        yield descriptor
        os.fsync(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _partial(path: Path) -> Path:
    """One name, not a new one each time: what a killed process leaves is overwritten."""
    return path.with_name(f".{path.name}.partial")


def _silent(_done: int, _size: int) -> None:
    """Nobody listens."""
