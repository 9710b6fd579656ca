"""Reads entries back for people and engines. Reading is not verifying: ask the verifier whether they are genuine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from stage4.decisionlog import logfile
from stage4.decisionlog.canonical import MAX_LINE, Malformed, parse_strict
from stage4.decisionlog.entry import Entry, read_payload
from stage4.errors import Unavailable


def entries(path: Path, *, category: str | None = None, incident: str | None = None) -> Iterator[Entry]:
    """The version 3 entries of the log in their order, those of `category` and `incident` where one is given.

    An entry belongs to an incident when its metadata say so under `incident_id`. Lines that are no entry are
    passed over, as is a write under way. Raises Unavailable `files.missing` where there is no log.
    """
    try:
        descriptor = logfile.open_log_file(path, os.O_RDONLY)
    except FileNotFoundError as error:
        raise Unavailable("files.missing", path=path) from error
    try:
        end = logfile.read_end(descriptor, os.fstat(descriptor).st_size).end
        number = offset = 0
        for lines in logfile.lines_of(descriptor, end):
            for line in lines:
                number, begin = number + 1, offset
                offset += logfile.length(line) + 1
                entry = entry_of(line, number, begin)
                if entry is None or (category is not None and entry.category != category):
                    continue
                if incident is None or entry.metadata.get("incident_id") == incident:
                    yield entry
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
