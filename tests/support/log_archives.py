"""Archives of a log as a rotation leaves them, whoever made them."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import zstandard

from stage4.decisionlog import archives
from stage4.decisionlog.chain import leaf_digest
from stage4.decisionlog.verification.input import InputProblem, open_input
from stage4.testing.clock import ManualClock


def seq(line: bytes) -> int:
    return int(json.loads(line)["seq"])


def joined(lines: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def packed(content: bytes, compression: str) -> bytes:
    match compression:
        case "gz":
            return gzip.compress(content)
        case "zst":
            return zstandard.compress(content)
    return content


def archive(log: Path, lines: Sequence[bytes], compression: str = "") -> Path:
    """These lines as a segment beside `log`."""
    path = archives.segment_path(log, seq(lines[0]))
    path = path.with_name(path.name + (f".{compression}" if compression else ""))
    path.write_bytes(packed(joined(lines), compression))
    return path


def cut(log: Path, sizes: Sequence[int], compressions: Sequence[str]) -> list[Path]:
    """Cut the log into segments of so many lines, compressed so; what is left over stays the live file."""
    lines = log.read_bytes().removesuffix(b"\n").split(b"\n")
    paths = []
    for size, compression in zip(sizes, compressions, strict=True):
        paths.append(archive(log, lines[:size], compression))
        lines = lines[size:]
    log.write_bytes(joined(lines))
    return paths


def rotate(log: Path) -> None:
    """Take the live file away as a rotation does, and put one with its last line in its place."""
    lines = log.read_bytes().removesuffix(b"\n").split(b"\n")
    beside = log.with_name(".next")
    beside.write_bytes(joined(lines[-1:]))
    archive(log, lines[:-1])
    beside.rename(log)


def listed(path: Path, lines: Sequence[bytes], **changes: object) -> bytes:
    """The manifest's line for an archive."""
    content = joined(lines)
    facts = {
        "file": path.name,
        "first_seq": seq(lines[0]),
        "last_seq": seq(lines[-1]),
        "lines": len(lines),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "head": leaf_digest(lines[-1]),
        "created": "2026-11-23T09:00:00Z",
    }
    return json.dumps(facts | changes).encode() + b"\n"


def read(path: Path | None, from_seq: int | None = None) -> tuple[list[bytes], list[InputProblem]]:
    """All lines of an input, and what is wrong with its files."""
    with open_input(path, ManualClock(), from_seq=from_seq) as source:
        lines = [line for block in source.blocks() for line in block.lines()]
        return lines, source.problems


def codes(problems: Sequence[InputProblem]) -> list[tuple[str, str]]:
    return [(problem.code.removeprefix("input."), problem.part) for problem in problems]
