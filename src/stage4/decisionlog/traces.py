"""What a log leaves beside itself: where it lies without the log, the log did not begin, it vanished."""

from __future__ import annotations

from pathlib import Path


def checkpoint_path(log: Path) -> Path:
    """The newest checkpoint of the log."""
    return log.with_name(log.name + ".checkpoint")


def manifest_path(log: Path) -> Path:
    """The list of the archived segments of the log."""
    return log.with_name(f"{log.stem}.manifest.jsonl")


def find(log: Path) -> Path | None:
    """One thing that only a log leaves; None where there is no sign that a log was here."""
    for path in (checkpoint_path(log), manifest_path(log)):
        if path.exists():
            return path
    segments = log.parent.glob(f"{_escaped(log.stem)}-{'[0-9]' * 10}{_escaped(log.suffix)}*")
    return min(segments, default=None)


def _escaped(text: str) -> str:
    return "".join(f"[{character}]" if character in "[*?" else character for character in text)
