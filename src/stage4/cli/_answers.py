"""
Answers in files that the caller names: what may stand in their place.

A file is replaced only by a newer answer to the same question; whatever else stands under its name stays, whether it
is the log, a key, the settings or somebody's letter.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from stage4 import files
from stage4.errors import Unavailable, UsageError

NOTE: Final = "note"
PROOF: Final = "proof"
STATEMENT: Final = "statement"
PICTURE: Final = "picture"
# Enough of a file to know what it is; a note, which is known as a whole, has no more.
_BEGINNING: Final = 64 * 1024
# What is kept there is evidence, though it has the form of an answer.
_EVIDENCE: Final = ("/var/audit/", "/var/evidence/")


def require_free(target: Path | None, kind: str, *read: Path | None) -> None:
    """Raise UsageError `cli.in_the_way` unless `target` may be written; ask before any work is done.

    It may where it is new, or an answer of `kind`: a schema such as `stage4.verify/1`, a format of the audit, NOTE,
    PROOF, STATEMENT or PICTURE. It may not where it is one of the files `read`, kept evidence, or of a log by its name.
    """
    if target is None:
        return
    aimed = Path(os.path.realpath(target))
    belongs = _is_of_a_log(aimed, kind) or any(place in str(aimed) for place in _EVIDENCE)
    taken = any(each is not None and aimed == Path(os.path.realpath(each)) for each in read)
    if belongs or taken or (os.path.lexists(target) and not _is_answer(aimed, kind)):
        raise UsageError("cli.in_the_way", target=target)


def _is_of_a_log(aimed: Path, kind: str) -> bool:
    """Whether readers of the log would take a file of this name for a part of it, or for what vouches for it."""
    if ".jsonl" in aimed.name and aimed.suffix != ".checkpoint":
        return True
    log = aimed.with_suffix("")
    return aimed.suffix == ".checkpoint" and (log.exists() or (kind == NOTE and log.name.isdecimal()))


def _is_answer(path: Path, kind: str) -> bool:
    if path.exists() and not path.is_file():
        # A directory or a device: it is not replaced, and the writing says so.
        return True
    try:
        content = files.beginning(path, _BEGINNING)
    except Unavailable:
        return False
    mark = _MARKS.get(kind)
    return _schema(content) == kind if mark is None else mark(content)


def _schema(content: bytes) -> str | None:
    found = re.match(rb'\{\s*"schema": ?"(stage4\.[a-z0-9_./-]+)"', content)
    return None if found is None else found[1].decode("ascii")


def _is_note(content: bytes) -> bool:
    from stage4.decisionlog.checkpoints.note import Checkpoint, Note, NoteError

    try:
        Checkpoint.of(Note.parse(content))
    except NoteError:
        return False
    return True


def _is_proof(content: bytes) -> bool:
    from stage4.decisionlog.checkpoints import proof
    from stage4.decisionlog.checkpoints.note import NoteError

    try:
        proof.parse(content)
    except (NoteError, proof.ProofError):
        return False
    return True


def _is_statement(content: bytes) -> bool:
    """Its members are sorted, so that the schema is not the first one."""
    return re.match(rb'\{"at":"[^"]+","documents":\{', content) is not None


def _is_sarif(content: bytes) -> bool:
    return re.search(rb'"driver": \{\s*"name": "stage4"', content) is not None and b'"$schema": "' in content[:20]


def _is_junit(content: bytes) -> bool:
    return re.match(rb"<\?xml [^>]*\?>\s*<testsuites name=\"stage4\.", content) is not None


def _is_markdown(content: bytes) -> bool:
    """A headline, and three steps, the last of which is to look again."""
    return re.match(rb"# [^\n]+\n1\. [^\n]*\n2\. [^\n]*\n3\. [^\n]*scripts/audit_", content) is not None


def _is_picture(content: bytes) -> bool:
    return content.startswith((b"\x89PNG\r\n\x1a\n", b"<svg "))


_MARKS: Final[Mapping[str, Callable[[bytes], bool]]] = {
    NOTE: _is_note,
    PROOF: _is_proof,
    STATEMENT: _is_statement,
    PICTURE: _is_picture,
    "sarif": _is_sarif,
    "junit": _is_junit,
    "markdown": _is_markdown,
}
