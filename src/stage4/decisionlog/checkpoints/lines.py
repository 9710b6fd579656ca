"""The lines of a whole log, archives first, for the tree over them; nothing is judged here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from stage4.decisionlog import archives, logfile
from stage4.decisionlog.archives import Segment
from stage4.decisionlog.blocks import plain_blocks
from stage4.decisionlog.decompression import archive_blocks
from stage4.decisionlog.prefix import is_v2
from stage4.errors import Unavailable


def segment_lines(segment: Segment) -> Iterator[list[bytes]]:
    """The lines of an archive without LF; raises Unavailable where it cannot be read or decompressed."""
    for block in archive_blocks(segment.copies[0]):
        yield block.lines()


def log_lines(path: Path) -> Iterator[list[bytes]]:
    """The lines of the log at `path` that are leaves of its tree: entry 0 and on; raises Unavailable."""
    try:
        descriptor, segments = archives.opened(path)
    except FileNotFoundError as error:
        raise Unavailable("files.missing", path=path) from error
    try:
        begun = False
        for lines in _all_lines(path, descriptor, segments):
            while not begun and lines:
                begun = not is_v2(lines[0])
                if not begun:
                    lines.pop(0)
            if lines:
                yield lines
    finally:
        os.close(descriptor)


def _all_lines(path: Path, descriptor: int, segments: tuple[Segment, ...]) -> Iterator[list[bytes]]:
    for segment in segments:
        yield from segment_lines(segment)
    end = logfile.read_end(path, descriptor, os.fstat(descriptor).st_size).end
    for block in plain_blocks(path, descriptor, 0, end):
        yield block.lines()
