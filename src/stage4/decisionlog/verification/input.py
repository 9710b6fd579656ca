"""
What a verification reads: a live log with its archives, one archive, a folder of them, or a stream.

The end of a live log is fixed under a shared lock, so a write under way is never taken for a torn one; what stands
before that end does not change any more, and is read without the lock. Memory stays bounded whatever the input is.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from stage4 import files
from stage4.clock import Clock
from stage4.decisionlog import archives, locate, logfile, traces
from stage4.decisionlog.archives import Compression, Listed, Manifest, Segment
from stage4.decisionlog.blocks import BLOCK, Block, bounded, line_end_before, plain_blocks, read_at, stream_blocks
from stage4.decisionlog.canonical import MAX_LINE
from stage4.decisionlog.decompression import BrokenArchive, Read, compression_by_magic, until_broken
from stage4.errors import Unavailable, UsageError

# What a part of a log may lack.
LIVE_MISSING, ARCHIVE_MISSING = "input.live_missing", "input.archive_missing"
_OPEN_AT_ONCE = 64
_MAGIC = 4


@dataclass(frozen=True, slots=True)
class InputPart:
    """One file of the input; `path` is None for a stream.

    `others` are further copies of the same archive, `listed` is what the manifest says of it.
    """

    name: str
    path: Path | None
    compression: Compression = ""
    others: tuple[Path, ...] = ()
    listed: Listed | None = None


@dataclass(frozen=True, slots=True)
class InputProblem:
    """Something is wrong with the file `part` as such; `offset` counts its uncompressed bytes up to there."""

    code: str
    params: Mapping[str, object]
    part: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class _Plain:
    """An open plain file: its lines stand between bytes `start` and `end`; `fragment` follows them."""

    path: Path
    descriptor: int
    start: int
    end: int
    fragment: bytes

    @classmethod
    def of(cls, path: Path, descriptor: int) -> _Plain:
        """The file as it is at this moment."""
        size = os.fstat(descriptor).st_size
        end = line_end_before(path, descriptor, 0, size)
        beginning = read_at(path, descriptor, end, min(size - end, MAX_LINE + 1))
        return cls(path, descriptor, 0, end, bounded(beginning, size - end))


@dataclass(slots=True)
class _Passing:
    """Counts, and where wanted digests, the bytes of a stream as they pass."""

    chunks: Iterator[bytes]
    digested: InitVar[bool]
    size: int = 0
    sha256: Any = None

    def __post_init__(self, digested: bool) -> None:
        self.sha256 = hashlib.sha256() if digested else None

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            self.size += len(chunk)
            if self.sha256 is not None:
                self.sha256.update(chunk)
            yield chunk


class Input:
    """The parts of a log in their order. Use it as a context manager; read `blocks` once, to the end.

    `fragment` and the last `problems` are known only then.
    """

    def __init__(self, parts: Sequence[InputPart] = (), from_seq: int | None = None) -> None:
        self.parts = list(parts)
        self.problems: list[InputProblem] = []
        self.fragment = b""
        self._from_seq = from_seq
        self._left_out: int | None = 0
        self._plain: dict[int, _Plain] = {}

    def __enter__(self) -> Input:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every file."""
        while self._plain:
            os.close(self._plain.popitem()[1].descriptor)

    @property
    def size(self) -> int | None:
        """The uncompressed bytes that will be read, as far as files and manifest say; None where they do not."""
        sizes = [
            plain.end - plain.start if (plain := self._plain.get(number)) else part.listed and part.listed.bytes
            for number, part in enumerate(self.parts)
        ]
        return None if any(size is None for size in sizes) else sum(size or 0 for size in sizes)

    def lines_left_out(self) -> int:
        """The lines of the first part that stand before the entry that reading began with; may read them."""
        if self._left_out is None:
            plain = self._plain.get(0)
            self._left_out = locate.count_lines(plain.path, plain.descriptor, plain.start) if plain else 0
        return self._left_out

    def first_number(self) -> int | None:
        """The number that the first line of the first part states, -1 for a line of a v2 prefix; None where none does.

        Read from the open file, so it speaks of the same file as `blocks`.
        """
        plain, part = self._plain.get(0), self.parts[0]
        if plain is not None:
            return locate.first_seq(plain.path, plain.descriptor, plain.end)
        with contextlib.ExitStack() as held:
            opened = None if part.path is None else self._opened(part, held)
            blocks = () if opened is None else stream_blocks(until_broken(*opened, []), part=0)
            return locate.first_number(blocks)

    def blocks(self) -> Iterator[Block]:
        """Every line in order, in blocks of whole lines; bytes after the last LF of an earlier part are a problem.

        Raises Unavailable where a file cannot be read to its fixed end.
        """
        for number, part in enumerate(self.parts):
            plain = self._plain.get(number)
            fragment = yield from (self._of_plain(number, plain) if plain else self._of_stream(number, part))
            if number == len(self.parts) - 1:
                self.fragment = fragment
            elif fragment:
                self._report(part, "input.archive_unfinished", size=logfile.length(fragment))

    def _of_plain(self, number: int, plain: _Plain) -> Generator[Block, None, bytes]:
        part = self.parts[number]
        if plain.start == 0 and (part.listed or part.others):
            self._compare(part, _digest_of(plain))
        yield from plain_blocks(plain.path, plain.descriptor, plain.start, plain.end, part=number)
        return plain.fragment

    def _of_stream(self, number: int, part: InputPart) -> Generator[Block, None, bytes]:
        whole = number > 0 or self._from_seq is None
        broken: list[BrokenArchive] = []
        with contextlib.ExitStack() as held:
            opened = self._opened(part, held)
            if opened is None:
                self._report(part, "input.archive_gone")
                return b""
            passing = _Passing(until_broken(*opened, broken), digested=whole and bool(part.listed or part.others))
            blocks = stream_blocks(passing, part=number)
            if whole:
                fragment = yield from blocks
            else:
                self._left_out, fragment = yield from locate.skip_to(blocks, self._from_seq or 0)
        if broken:
            self._report(part, broken[0].code, passing.size - logfile.length(fragment))
            return b""
        if passing.sha256 is not None:
            self._compare(part, passing.sha256.hexdigest())
        return fragment

    def _opened(self, part: InputPart, held: contextlib.ExitStack) -> tuple[Read, Compression] | None:
        """How to read a part that is no plain file kept open; None where it is gone."""
        if part.path is None:
            return _standard_input()
        # A compression that ended meanwhile has replaced the plain file by the compressed one.
        for path in (part.path, *part.others, *archives.copies_of(part.path)):
            try:
                source = held.enter_context(path.open("rb"))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise Unavailable("files.unreadable", path=path, reason=files.reason(error)) from error
            return _reader(path, source.read), archives.compression_of(path)
        return None

    def _compare(self, part: InputPart, digest: str | None) -> None:
        """Hold what was read against the manifest and the other copies."""
        if part.listed is not None and part.listed.sha256 != digest:
            self._report(part, "input.archive_differs")
        for other in part.others:
            # A compression that ended meanwhile has taken the plain copy away.
            with contextlib.suppress(FileNotFoundError):
                if _digest(other, archives.compression_of(other)) != digest:
                    self._report(part, "input.copies_differ", other=other.name)

    def _report(self, part: InputPart, code: str, offset: int = 0, **params: object) -> None:
        self.problems.append(InputProblem(code, {"path": part.name, **params}, part.name, offset))

    def add_plain(self, part: InputPart, plain: _Plain) -> None:
        """A plain file that is open; the input closes it."""
        self._plain[len(self.parts)] = plain
        self.parts.append(part)

    def add_archives(self, log: Path, segments: tuple[Segment, ...], live_first: int | None) -> None:
        """The archives of `log` that are needed before a live file that begins with entry `live_first`."""
        if self._from_seq is not None:
            segments = archives.needed(segments, live_first, self._from_seq)
        manifest = self._manifest(log)
        listed = {entry.name: entry for entry in manifest.listed}
        for segment in segments:
            path, *others = segment.copies
            compression = archives.compression_of(path)
            part = InputPart(path.name, path, compression, tuple(others), listed.get(segment.name))
            if not compression and len(self._plain) < _OPEN_AT_ONCE:
                with contextlib.suppress(FileNotFoundError):
                    descriptor = logfile.open_log_file(path, os.O_RDONLY)
                    self.add_plain(part, _Plain.of(path, descriptor))
                    continue
            self.parts.append(part)
        for entry in manifest.listed:
            if archives.first_seq_of(log, entry.name) is None:
                # Logs that differ only in their suffix share a manifest.
                continue
            if entry.last_seq >= (self._from_seq or 0) and not any(
                path.exists() for path in archives.copies_of(log.with_name(entry.name))
            ):
                facts = {"path": entry.file, "first": entry.first_seq, "last": entry.last_seq}
                self.problems.append(InputProblem(ARCHIVE_MISSING, facts, entry.file))

    def _manifest(self, log: Path) -> Manifest:
        path = archives.manifest_path(log)
        try:
            manifest = archives.read_manifest(path)
        except Unavailable as error:
            facts = {"path": path.name, "reason": error.params.get("reason", error.code)}
            self.problems.append(InputProblem("input.manifest_unreadable", facts, path.name))
            return Manifest()
        for line in manifest.unreadable:
            facts = {"path": path.name, "line": line}
            self.problems.append(InputProblem("input.manifest_line", facts, path.name))
        return manifest

    def begin_at(self, seq: int) -> None:
        """Leave out what stands before entry `seq` in the first part, where that can be found without reading it."""
        plain = self._plain.get(0)
        if plain is not None:
            start = locate.start_of(plain.path, plain.descriptor, plain.end, seq)
            self._plain[0] = replace(plain, start=start)
            self._left_out = None


def open_input(
    path: Path | None,
    clock: Clock,
    *,
    lock_timeout: float = 2.0,
    from_seq: int | None = None,
    keyring: Path | None = None,
) -> Input:
    """The log at `path`: a live log with its archives, one archive, or a folder with one log; None is stdin.

    With `from_seq` reading begins with that entry, or after the last lower one, and the archives before it are left
    out. Nothing is authenticated: whoever goes on from there must know the entry that stands there. Raises UsageError
    for a folder without a log or with several, Unavailable where the file or its lock cannot be had: `log.vanished`
    where what lies beside it, or beside the ring at `keyring`, shows that a log was there.
    """
    if path is None:
        return Input([InputPart("-", None)], from_seq)
    source = Input(from_seq=from_seq)
    try:
        _fill(source, path, clock, lock_timeout, from_seq, keyring)
        if from_seq is not None:
            source.begin_at(from_seq)
    except BaseException:
        source.close()
        raise
    return source


def _fill(
    source: Input, path: Path, clock: Clock, lock_timeout: float, from_seq: int | None, keyring: Path | None
) -> None:
    if path.is_dir():
        path = _only_log(path, keyring)
        if not path.exists():
            source.add_archives(path, archives.segments(path), None)
            # Whatever cut the last archive off went on in a live file.
            source.problems.append(InputProblem(LIVE_MISSING, {"path": path.name}, path.name))
            return
    compression = archives.compression_of(path)
    if compression:
        os.close(_open(path, keyring))
        source.parts.append(InputPart(path.name, path, compression))
        return
    live, segments = _live(path, clock, lock_timeout, keyring)
    try:
        first = None if from_seq is None else locate.first_seq(path, live.descriptor, live.end)
        source.add_archives(path, segments, first)
    finally:
        source.add_plain(InputPart(path.name, path), live)


def _live(path: Path, clock: Clock, lock_timeout: float, keyring: Path | None) -> tuple[_Plain, tuple[Segment, ...]]:
    """The live file up to its end, and the archives that precede exactly this file."""
    while True:
        descriptor = _open(path, keyring)
        try:
            with logfile.locked(path, descriptor, fcntl.LOCK_SH, lock_timeout, clock):
                # While this lock is held no rotation takes the file away, and none adds an archive.
                if logfile.is_still(path, descriptor):
                    return _Plain.of(path, descriptor), archives.segments(path)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open(path: Path, keyring: Path | None) -> int:
    try:
        return logfile.open_log_file(path, os.O_RDONLY)
    except FileNotFoundError as error:
        raise traces.absent(path, keyring) from error


def _only_log(folder: Path, keyring: Path | None) -> Path:
    logs = archives.logs_in(folder)
    if not logs:
        raise traces.absent_from(folder, keyring)
    if len(logs) > 1:
        raise UsageError("input.several_logs", path=folder, names=", ".join(logs))
    return next(iter(logs.values()))


def _digest_of(plain: _Plain) -> str:
    """The SHA-256 of an open plain file, in hexadecimal, whatever became of its name."""
    sha256, at, size = hashlib.sha256(), 0, os.fstat(plain.descriptor).st_size
    while at < size:
        chunk = read_at(plain.path, plain.descriptor, at, min(BLOCK, size - at))
        sha256.update(chunk)
        at += len(chunk)
    return sha256.hexdigest()


def _digest(path: Path, compression: Compression) -> str | None:
    """The SHA-256 of what an archive holds, in hexadecimal; None where it is not sound.

    Raises FileNotFoundError, Unavailable where it cannot be read.
    """
    sha256, broken = hashlib.sha256(), list[BrokenArchive]()
    try:
        with path.open("rb") as source:
            for chunk in until_broken(source.read, compression, broken):
                sha256.update(chunk)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unavailable("files.unreadable", path=path, reason=files.reason(error)) from error
    return None if broken else sha256.hexdigest()


def _reader(path: Path, given: Read) -> Read:
    def read(count: int) -> bytes:
        try:
            return given(count)
        except OSError as error:
            raise Unavailable("files.unreadable", path=path, reason=files.reason(error)) from error

    return read


def _standard_input() -> tuple[Read, Compression]:
    """Gives what a pipe has as soon as it has it; its first bytes say how it is compressed."""
    if sys.stdin is None or sys.stdin.closed:
        raise Unavailable("input.no_stdin")
    # Not promised of every binary stream, but of every standard input.
    buffer: Any = sys.stdin.buffer
    read = _reader(Path("-"), buffer.read1)
    beginning = b""
    while len(beginning) < _MAGIC and (more := read(_MAGIC - len(beginning))):
        beginning += more
    unread = [beginning] if beginning else []
    return (lambda count: unread.pop() if unread else read(count)), compression_by_magic(beginning)
