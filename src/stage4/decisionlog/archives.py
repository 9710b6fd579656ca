"""
The files of one log: names of its segments and of their manifest, and which of them lie in a folder.

    runtime.jsonl                     the live log
    runtime-0000000000.jsonl          a segment that was cut off, named by the number of its first entry
    runtime-0000000000.jsonl.zst      the same compressed (.gz too)
    runtime.manifest.jsonl            what the segments were when they were cut off

Names only order the segments; what they hold is judged by the chain. The manifest is a convenience: nothing needs
it, and nothing is believed because it says so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stage4 import files
from stage4.decisionlog import logfile
from stage4.decisionlog.canonical import Malformed, parse_strict
from stage4.errors import Unavailable

Compression = Literal["", "zst", "gz"]
PLAIN_SUFFIX = ".jsonl"
_ORDER: tuple[Compression, ...] = ("", "zst", "gz")
_SEGMENT = re.compile(r"(?P<stem>.+)-(?P<seq>[0-9]{10,16})(?P<suffix>\.[^.]+)?")
MANIFEST_LIMIT = 64 << 20
_MANIFEST_TYPES = {
    "file": str,
    "first_seq": int,
    "last_seq": int,
    "lines": int,
    "bytes": int,
    "sha256": str,
    "head": str,
    "created": str,
}


@dataclass(frozen=True, slots=True)
class Segment:
    """An archived stretch of a log. `name` is the name of its plain file.

    `copies` are the files that hold it, plain before compressed: more than one where a compression was interrupted.
    """

    name: str
    first_seq: int
    copies: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """What the manifest says of a segment: entry numbers, lines, uncompressed bytes and their SHA-256 in hexadecimal.

    `head` is the leaf hash of its last line in base64, `created` the instant at which it was cut off.
    """

    file: str
    first_seq: int
    last_seq: int
    lines: int
    bytes: int
    sha256: str
    head: str
    created: str

    @property
    def name(self) -> str:
        """The name of the segment's plain file."""
        return plain_name(self.file)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The lines of a manifest that could be read, and the numbers (from 1) of those that could not."""

    listed: tuple[Listed, ...] = ()
    unreadable: tuple[int, ...] = ()


def compression_of(path: Path) -> Compression:
    """How a file is compressed, by its name."""
    match path.suffix:
        case ".zst":
            return "zst"
        case ".gz":
            return "gz"
    return ""


def plain_name(name: str) -> str:
    """A file's name without the suffix of its compression."""
    return name.removesuffix(".zst").removesuffix(".gz")


def segment_path(log: Path, first_seq: int) -> Path:
    """Where the segment of `log` that begins with entry `first_seq` lies, uncompressed."""
    return log.with_name(f"{log.stem}-{first_seq:010d}{log.suffix}")


def manifest_path(log: Path) -> Path:
    """Where the manifest of `log` lies."""
    return log.with_name(f"{log.stem}.manifest{PLAIN_SUFFIX}")


def is_segment_name(name: str) -> bool:
    """Whether a file of this name is taken for an archive of some log."""
    return _SEGMENT.fullmatch(plain_name(name)) is not None


def may_list(log: Path) -> bool:
    """Whether the manifest beside `log` may be its own: logs that differ only in their suffix share one."""
    try:
        listed = read_manifest(manifest_path(log)).listed
    except Unavailable:
        return True
    return not listed or any(first_seq_of(log, each.name) is not None for each in listed)


def segments(log: Path) -> tuple[Segment, ...]:
    """The segments beside `log`, in the order of their first entries; raises Unavailable `files.unreadable`.

    A name that still leads to the live file itself, because a rotation was interrupted, is none.
    """
    found: dict[tuple[int, str], list[Path]] = {}
    for path in _files(log.parent, lambda name: first_seq_of(log, name) is not None):
        first_seq = first_seq_of(log, path.name)
        if first_seq is not None and not is_same(path, log):
            found.setdefault((first_seq, plain_name(path.name)), []).append(path)
    return tuple(
        Segment(name, first_seq, tuple(sorted(copies, key=lambda path: _ORDER.index(compression_of(path)))))
        for (first_seq, name), copies in sorted(found.items())
    )


def ahead(log: Path, first_seq: int) -> Path | None:
    """An archive that begins no earlier than a live file with first entry `first_seq`; None where none does.

    Every process asks as it begins to append, so the folder is listed and no more. One that cannot be listed has none.
    """
    try:
        names = os.listdir(log.parent)
    except OSError:
        return None
    for name in names:
        first = first_seq_of(log, name) if name.startswith(log.stem) else None
        # The name still leads to the live file itself where a rotation was interrupted.
        if first is not None and first >= first_seq and not is_same(log.with_name(name), log):
            return log.with_name(name)
    return None


def needed(before: tuple[Segment, ...], live_first: int | None, from_seq: int) -> tuple[Segment, ...]:
    """Which of the segments reading from entry `from_seq` on needs, where the live file begins with `live_first`."""
    if live_first is not None and live_first <= from_seq:
        return ()
    earlier = sum(segment.first_seq <= from_seq for segment in before)
    return before[max(0, earlier - 1) :]


def copies_of(plain: Path) -> tuple[Path, ...]:
    """Where the archive with this plain name may lie, in the order in which a compression replaces it."""
    return plain, plain.with_name(plain.name + ".zst"), plain.with_name(plain.name + ".gz")


def logs_in(folder: Path) -> Mapping[str, Path]:
    """The logs whose live files or segments lie in `folder`: their live paths by name, which need not exist."""
    found = {}
    for path in _files(folder, _may_be_log):
        name = plain_name(path.name)
        match = _SEGMENT.fullmatch(name)
        live = path.with_name(match["stem"] + PLAIN_SUFFIX) if match else path
        found[live.name] = live
    return dict(sorted(found.items()))


def opened(log: Path) -> tuple[int, tuple[Segment, ...]]:
    """A descriptor of the live file, and the segments that precede exactly that file.

    Raises FileNotFoundError, UsageError for anything but a regular file, Unavailable otherwise.
    """
    while True:
        descriptor = logfile.open_log_file(log, os.O_RDONLY)
        try:
            before = segments(log)
        except Unavailable:
            os.close(descriptor)
            raise
        # A rotation between the two has made what was opened one of the segments.
        if logfile.is_still(log, descriptor):
            return descriptor, before
        os.close(descriptor)


def read_manifest(path: Path) -> Manifest:
    """The manifest at `path`, empty where there is none; raises Unavailable where it cannot be read."""
    try:
        content = files.read_limited(path, MANIFEST_LIMIT)
    except Unavailable as error:
        if error.code == "files.missing":
            return Manifest()
        raise
    listed, unreadable = [], []
    for number, line in enumerate(content.split(b"\n"), 1):
        if line:
            entry = _listed(line)
            listed.append(entry) if entry else unreadable.append(number)
    return Manifest(tuple(listed), tuple(unreadable))


def _listed(line: bytes) -> Listed | None:
    try:
        members = parse_strict(line)
    except Malformed:
        return None
    if not isinstance(members, dict) or not members.keys() >= _MANIFEST_TYPES.keys():
        return None
    facts = {name: members[name] for name in _MANIFEST_TYPES}
    if any(type(facts[name]) is not kind for name, kind in _MANIFEST_TYPES.items()) or "/" in str(facts["file"]):
        return None
    return Listed(**facts)


def first_seq_of(log: Path, name: str) -> int | None:
    """The number in the name of a segment of `log`; None where the name is none."""
    match = _SEGMENT.fullmatch(plain_name(name))
    belongs = match and match["stem"] == log.stem and (match["suffix"] or "") == log.suffix
    return int(match["seq"]) if match and belongs else None


def _may_be_log(name: str) -> bool:
    name = plain_name(name)
    return name.endswith(PLAIN_SUFFIX) and not name.endswith(".manifest" + PLAIN_SUFFIX)


def _files(folder: Path, wanted: Callable[[str], bool]) -> Iterable[Path]:
    """The files in `folder` whose names are `wanted`, as they lay there together at one time."""
    while True:
        try:
            listed = [path for path in folder.iterdir() if wanted(path.name)]
            found = [path for path in listed if path.is_file()]
        except OSError as error:
            raise Unavailable("files.unreadable", path=folder, reason=files.reason(error)) from error
        # A rotation replaces a segment by its archive: what is gone now has come under a name that was not listed yet.
        if all(map(os.path.lexists, listed)):
            return found


def is_same(path: Path, other: Path) -> bool:
    """Whether both names lead to one file."""
    try:
        return path.samefile(other)
    except OSError:
        return False
