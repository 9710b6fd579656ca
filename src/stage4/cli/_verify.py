"""
Verifying the decision log: what the script and `stage4 log verify` share, from the options to the document.

Nothing here needs an installation: with one, its key ring, its checkpoints and its pinned keys are the defaults.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from stage4 import words
from stage4.cli import _answers, _run
from stage4.cli._arguments import Parser, instant, zone_of
from stage4.clock import Clock, SystemClock
from stage4.errors import Stage4Error, Unavailable, UsageError
from stage4.words import Language

if TYPE_CHECKING:
    from stage4.config import Installation
    from stage4.decisionlog.checkpoints.note import VerifierKey
    from stage4.decisionlog.filter import Filter
    from stage4.decisionlog.verification.verdict import Verdict
    from stage4.decisionlog.verification.walk import Task
    from stage4.security.keyring import KeyRing

# Below this a second process costs more than it saves.
_WORTH_WORKERS = 16 << 20
_MOST_WORKERS = 2
# However many are asked for.
_MOST_ASKED = 64
_SILENT_S = 0.5
_LOCK_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The verdict as sentences for people and as the document for programs."""

    sentences: tuple[str, ...]
    document: dict[str, object]
    exit_code: int


def parser(program: str, description: str | None) -> argparse.ArgumentParser:
    """The options of the command."""
    parser = Parser(prog=program, description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("path", nargs="?", type=Path, help="the log, a folder, an archive, or - (default: the log in the settings)")
    add("--root", type=Path, help="the installation (default: STAGE4_ROOT, or the nearest parent)")
    add("--output", type=Path, metavar="FILE", help="write the document to this file too")
    keys = parser.add_argument_group("keys")
    add = keys.add_argument
    add("--keyring", type=Path, metavar="FILE", help="the key ring (default: the installation's)")
    add("--hmac-key-file", type=Path, metavar="FILE", help="the key of version 2 entries, as it stands in the file")
    add("--hmac-key-id", metavar="ID", help="the id that every version 2 entry must carry")
    add(
        "--expected-key-id",
        action="append",
        default=[],
        metavar="ID",
        help="fail where an entry was signed with a key that is not named here (repeatable)",
    )
    checkpoints = parser.add_argument_group("checkpoints, which show whether entries were cut off or rewritten")
    add = checkpoints.add_argument
    add(
        "--checkpoint",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a signed note kept elsewhere (repeatable; <log>.checkpoint and the installation's places are read too)",
    )
    add("--pin", action="append", default=[], type=Path, metavar="FILE", help="the keys to trust, a line each")
    add("--from-checkpoint", type=Path, metavar="FILE", help="read only what came after an earlier verification")
    add("--save-checkpoint", type=Path, metavar="FILE", help="where to keep how far this verification came")
    wanted = parser.add_argument_group("filters; they only count: every line is read and judged all the same")
    add = wanted.add_argument
    add("--category", help="such as stage4_incident")
    add("--kind", help="the event, such as incident_note")
    add("--incident", metavar="ID")
    add("--stage", help="where in the process, such as L1.4")
    add("--status", help="how it stands, such as recorded")
    add("--since", metavar="TIME", help="from then on: 2026-11-23, 2026-11-23T10:00, with an offset, or 2h ago")
    add("--until", metavar="TIME", help="before then; as --since")
    add(
        "--require-event-count",
        metavar="N",
        help="fail unless so many entries pass the filters: N, N.. (at least), ..M (at most), N..M",
    )
    add = parser.add_argument
    add(
        "--partial",
        action="store_true",
        help="the log may begin after its first entry and end with an archive",
    )
    add("--workers", type=int, metavar="N", help="processes that judge lines (default: as many as it is worth)")
    return parser


def run(arguments: argparse.Namespace, lang: Language | None) -> Answer:
    """Verify as the options say; `lang` None means the installation's. Raises UsageError and Unavailable."""
    from stage4.decisionlog.verification import report
    from stage4.decisionlog.verification.anchors import anchors_of
    from stage4.decisionlog.verification.requirements import Requirements
    from stage4.decisionlog.verification.v2 import V2Judge, load_secret
    from stage4.decisionlog.verification.verdict import Mode
    from stage4.decisionlog.verification.walk import Task
    from stage4.security.keyring import KeyState

    _require_sense(arguments)
    required = Requirements.of(arguments.require_event_count, arguments.expected_key_id)
    installation = _installation(arguments)
    clock = SystemClock()
    wanted = _filter(arguments, installation, clock)
    path = arguments.path if arguments.path is not None else _configured(installation)
    read = (path, arguments.keyring, arguments.hmac_key_file, *arguments.checkpoint, *arguments.pin)
    _answers.require_free(arguments.output, report.SCHEMA, *read)
    _answers.require_free(arguments.save_checkpoint, _answers.NOTE, arguments.output, *read)
    lang = lang or _run.language(configured=None if installation is None else installation.settings.operations.language)
    notes = _Notes(lang)
    v2 = None
    if arguments.hmac_key_file is not None:
        v2 = V2Judge(load_secret(arguments.hmac_key_file), arguments.hmac_key_id)
    ring = _keyring(arguments.keyring, installation, notes, needed=v2 is None)
    # What remembers a log lies beside the ring also where the ring itself cannot be read.
    ring_path = arguments.keyring or (None if installation is None else installation.keyring_path)
    # The checkpoints are read before the end of the log is fixed: what is appended meanwhile is newer than they are.
    anchors = anchors_of(
        None if _is_stdin(path) else path,
        installation,
        os.environ,
        notes=arguments.checkpoint,
        pins=arguments.pin,
        partial=arguments.partial,
    )
    for remark in anchors.remarks:
        notes.add(remark.code, remark.cause, **remark.params)
    task = Task(anchors.trail(), v2, wanted, arguments.partial)
    progress = Progress(clock, sys.stderr, lang)
    began = clock.monotonic_ns()
    try:
        told = progress if sys.stderr.isatty() else None
        verdict = _judge(arguments, path, ring_path, ring, clock, task, anchors.pins, told)
    finally:
        progress.clear()
    if arguments.from_checkpoint is not None and verdict.mode is not Mode.INCREMENTAL:
        notes.add("completeness.read_in_full", path=arguments.from_checkpoint)
    if arguments.save_checkpoint is not None:
        from stage4.decisionlog.verification import incremental

        if not incremental.save(arguments.save_checkpoint, verdict, task.trail):
            notes.add("verify.not_saved", path=arguments.save_checkpoint)
    if ring is not None and verdict.next_key_id is not None:
        following = ring.key(verdict.next_key_id)
        if following is not None and following.state is KeyState.RETIRED:
            notes.add("verify.ends_retired", key_id=following.id)
    seconds = (clock.monotonic_ns() - began) / 1e9
    verdict = replace(verdict, unmet=tuple(required.unmet(verdict)))
    document = report.document(verdict, path) | {
        "root": None if installation is None else str(installation.root),
        "notes": notes.said,
        "seconds": round(seconds, 3),
        "entries_per_second": round((verdict.entries + verdict.v2_entries) / seconds) if seconds > 0 else None,
    }
    if arguments.output is not None:
        _run.save(document, arguments.output)
    sentences = (*report.sentences(verdict, path, lang), *notes.sentences)
    return Answer(sentences, document, int(verdict.exit_code))


def _require_sense(arguments: argparse.Namespace) -> None:
    """Raise UsageError for options that do not go together."""
    if arguments.workers is not None and arguments.workers < 1:
        raise UsageError("verify.bad_workers", n=arguments.workers)
    if arguments.hmac_key_id is not None and arguments.hmac_key_file is None:
        raise UsageError("verify.key_id_alone")
    if arguments.from_checkpoint is not None and arguments.path is not None and not arguments.path.is_file():
        raise UsageError("verify.from_needs_file", path=arguments.path)


def _judge(
    arguments: argparse.Namespace,
    path: Path,
    ring_path: Path | None,
    ring: KeyRing | None,
    clock: Clock,
    task: Task,
    pins: Sequence[VerifierKey],
    progress: Progress | None,
) -> Verdict:
    from stage4.decisionlog.verification import incremental
    from stage4.decisionlog.verification.input import open_input
    from stage4.decisionlog.verification.verifier import verify_input

    workers = min(arguments.workers or _workers(path), _MOST_ASKED)
    if arguments.from_checkpoint is not None:
        kept = incremental.load(arguments.from_checkpoint, pins)
        return incremental.verify_after(kept, path, ring, clock, task, workers=workers, progress=progress)
    with open_input(
        None if _is_stdin(path) else path, clock, lock_timeout=_LOCK_TIMEOUT_S, keyring=ring_path
    ) as source:
        return verify_input(source, ring, clock, task, workers=workers, progress=progress)


class Progress:
    """Says on a terminal how far a long verification has come; silent for the first half second."""

    def __init__(self, clock: Clock, stream: TextIO, lang: Language) -> None:
        self._clock, self._stream, self._lang = clock, stream, lang
        self._began = clock.monotonic_ns()
        self._shown = False

    def __call__(self, done: int, total: int | None) -> None:
        """`done` bytes of `total` are judged; None where nobody knows how many there are."""
        seconds = (self._clock.monotonic_ns() - self._began) / 1e9
        if seconds < _SILENT_S:
            return
        rate = max(done, 1) / seconds
        facts: dict[str, object] = {"done": done >> 20, "rate": round(rate / (1 << 20))}
        if total is None:
            line = words.text("verify.progress", self._lang, **facts)
        else:
            left = max(0, round((total - done) / rate))
            line = words.text("verify.progress_of", self._lang, total=total >> 20, left=left, **facts)
        self._stream.write(f"\r{line}\x1b[K")
        self._stream.flush()
        self._shown = True

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


class _Notes:
    """What the reader should know besides the verdict, and after it."""

    def __init__(self, lang: Language) -> None:
        self._lang = lang
        self.sentences: list[str] = []
        self.said: list[dict[str, object]] = []

    def add(self, code: str, cause: Stage4Error | None = None, **facts: object) -> None:
        """A catalogue code with its facts; `cause` is worded as `{reason}`, for people in their own language."""
        from stage4.decisionlog.verification.anchors import Remark

        remark = Remark(code, facts, cause)
        english = remark.told("en")
        self.sentences.append(f"warning: {words.text(code, self._lang, **remark.told(self._lang))}")
        self.said.append({"code": code, "message": words.text(code, "en", **english), "params": english})


def _filter(arguments: argparse.Namespace, installation: Installation | None, clock: Clock) -> Filter | None:
    from stage4.decisionlog.filter import Filter

    zone = UTC if installation is None else zone_of(installation.settings.operations.time_zone)
    since, until = (instant(f"--{name}", getattr(arguments, name), zone, clock) for name in ("since", "until"))
    wanted = Filter.of(vars(arguments), since, until)
    return None if wanted == Filter() else wanted


def _installation(arguments: argparse.Namespace) -> Installation | None:
    """The installation, where one is needed or found; a log with its own key ring needs none."""
    from stage4.config import find_root, load

    if arguments.path is not None and arguments.keyring is not None and arguments.root is None:
        return None
    try:
        root = find_root(arguments.root, os.environ, Path.cwd())
    except UsageError:
        if arguments.path is None or arguments.root is not None:
            raise
        return None
    return load(root)


def _configured(installation: Installation | None) -> Path:
    assert installation is not None, "without a path the installation is required"
    return installation.decision_log_path


def _keyring(named: Path | None, installation: Installation | None, notes: _Notes, *, needed: bool) -> KeyRing | None:
    """The key ring, and a note where there is none: then the chain is judged and the signatures are not.

    Raises Unavailable and UsageError for a ring that was named.
    """
    from stage4.decisionlog.open import load_keyring
    from stage4.security.keyring import KeyRing

    if named is not None:
        return KeyRing.load(named, os.environ)
    if installation is None:
        if needed:
            notes.add("verify.no_keyring_given")
        return None
    try:
        return load_keyring(installation, os.environ)
    except Unavailable as error:
        if needed:
            notes.add("verify.no_keyring", error)
        return None


def _is_stdin(path: Path) -> bool:
    return str(path) == "-"


def _workers(path: Path) -> int:
    """How many processes the input is worth."""
    if _is_stdin(path):
        return 1
    try:
        beside = path.iterdir() if path.is_dir() else path.parent.iterdir()
        size = sum(file.stat().st_size for file in beside if path.is_dir() or file.name.startswith(path.stem))
    except OSError:
        return 1
    return 1 if size < _WORTH_WORKERS else min(_MOST_WORKERS, len(os.sched_getaffinity(0)))
