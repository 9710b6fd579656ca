"""
What a log is held against from outside its lines: notes of checkpoints kept elsewhere, and pinned keys.

    named           notes and pins that the caller names
    beside          `<log>.checkpoint`, or those in the folder
    outside         the newest note at each directory that the installation leaves its checkpoints in
    pinned          the file that the installation's settings name

The last two are only for the installation's own log. Whoever judges a log asks here, so that a log that was cut is
cut for all of them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stage4 import files, words
from stage4.config import Installation
from stage4.decisionlog import archives, traces
from stage4.decisionlog.checkpoints.judging import pins_of
from stage4.decisionlog.checkpoints.keys import KeyStore
from stage4.decisionlog.checkpoints.note import VerifierKey
from stage4.decisionlog.checkpoints.places import DirectoryPlace, configured, newest_file
from stage4.decisionlog.reading import entries
from stage4.decisionlog.traces import checkpoint_path
from stage4.decisionlog.verification.trail import Given, Trail
from stage4.errors import Stage4Error, Unavailable, UsageError
from stage4.words import Language

_NOTE_LIMIT = 64 * 1024
_PIN_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Remark:
    """What the reader should know besides the verdict: a catalogue code, and the error that its `{reason}` words."""

    code: str
    params: Mapping[str, object]
    cause: Stage4Error | None = None

    def told(self, lang: Language) -> dict[str, str]:
        """The parameters of the text, the reason in the reader's language."""
        params = {name: str(value) for name, value in self.params.items()}
        if self.cause is not None:
            params["reason"] = words.text(self.cause.code, lang, **self.cause.params)
        return params


@dataclass(frozen=True, slots=True)
class Anchors:
    """Notes to hold the log against, keys that vouch, and keys by which a note can be told to be genuine.

    `remarks` are about notes that could not be read, and about places that are not there or do not know this log.
    """

    given: tuple[Given, ...] = ()
    pins: tuple[VerifierKey, ...] = ()
    known: tuple[VerifierKey, ...] = ()
    remarks: tuple[Remark, ...] = ()

    @property
    def unread(self) -> tuple[Stage4Error, ...]:
        """Why notes that are there could not be read."""
        return tuple(remark.cause for remark in self.remarks if remark.cause is not None)

    @property
    def doubts(self) -> tuple[Remark, ...]:
        """What speaks against no line of the log, but leaves open whether it is the one that was always here."""
        return tuple(remark for remark in self.remarks if remark.cause is None)

    def trail(self) -> Trail:
        """A new trail that holds a log against all of it."""
        return Trail(self.given, self.pins, self.known)


def anchors_of(
    path: Path | None,
    installation: Installation | None,
    environ: Mapping[str, str],
    *,
    notes: Sequence[Path] = (),
    pins: Sequence[Path] = (),
    partial: bool = False,
) -> Anchors:
    """Everything that the log or folder at `path` (None: a stream) is to be held against.

    `notes` and `pins` were named by the caller; named pins replace those of the installation. Of a `partial` log
    nothing is expected but what was named. Ask before the end of the log is fixed: what is appended meanwhile is
    newer than the notes. Raises Unavailable `files.*` for a file that was named, `read_pins` for pins, UsageError
    `checkpoint.place_*` for a place that the installation may not use.
    """
    found = _Found([Given(str(named), files.read_limited(named, _NOTE_LIMIT)) for named in notes])
    own = installation if installation is not None and path is not None and _is_own(path, installation) else None
    if path is not None and not partial:
        for beside in _beside(path):
            found.read(beside)
        if own is not None:
            found.look_outside(own, environ)
    pinned = [key for named in pins for key in read_pins(named)]
    if not pins and own is not None and (pin := own.settings.operations.decision_log.checkpoints.pin) is not None:
        pinned += read_pins(own.path(pin))
    return Anchors(tuple(found.given), tuple(pinned), found.known, tuple(found.remarks))


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a log that is not there: `trace` shows that it was there, `doubts` leave that open."""

    trace: Path | None
    doubts: tuple[Remark, ...]


def left_of(installation: Installation, environ: Mapping[str, str]) -> Left:
    """What the installation's log, which is not there, left beside itself, beside its key ring and outside.

    A note outside is of this log where the place lies inside the installation, or the key ring has its keys: others
    may leave notes in the same directory. Raises UsageError as `anchors_of`.
    """
    ring, found = installation.keyring_path, _Found([])
    trace = traces.find(installation.decision_log_path, ring)
    for place in found.there(installation, environ):
        logs = _logs_at(place.path)
        own = next((name for name in logs if place.own or KeyStore.beside(ring, name).path.exists()), None)
        if own is not None:
            trace = trace or place.path / own
        elif logs:
            found.remarks.append(_other_logs(place.path, logs))
    return Left(trace, tuple(found.remarks))


def read_pins(path: Path) -> tuple[VerifierKey, ...]:
    """The verifier keys in a file; raises Unavailable `files.*`, UsageError `verify.bad_pin` and `verify.no_pin`."""
    pins = pins_of(files.read_limited(path, _PIN_LIMIT).decode("utf-8", "replace"), path)
    if not pins:
        raise UsageError("verify.no_pin", path=path)
    return pins


@dataclass(slots=True)
class _Found:
    """Gathers the notes, and what there is to say about them."""

    given: list[Given]
    known: tuple[VerifierKey, ...] = ()
    remarks: list[Remark] = field(default_factory=list)

    def read(self, path: Path) -> None:
        try:
            self.given.append(Given(str(path), files.read_limited(path, _NOTE_LIMIT)))
        except Unavailable as error:
            if error.code != "files.missing":
                self.remarks.append(Remark("verify.not_read", {"path": path}, error))

    def there(self, installation: Installation, environ: Mapping[str, str]) -> Iterator[DirectoryPlace]:
        """The directories of the installation's places; of one that is not mounted there is only a remark."""
        for place in configured(installation, environ):
            if not isinstance(place, DirectoryPlace):
                continue
            if place.is_missing():
                self.remarks.append(Remark("verify.place_missing", {"path": place.path}))
            else:
                yield place

    def look_outside(self, installation: Installation, environ: Mapping[str, str]) -> None:
        """The newest note of the installation's log at each of its places, and the public keys of its notary."""
        folders = [place.path for place in self.there(installation, environ)]
        log_id = _log_id(installation.decision_log_path)
        if log_id is None:
            # Which of the notes would be of this log nobody can tell, and that no entry is there the verdict says.
            return
        is_name = _is_name(log_id)
        for folder in folders:
            newest = newest_file(folder / log_id) if is_name else None
            if newest is not None:
                self.read(newest)
            elif others := _logs_at(folder):
                self.remarks.append(_other_logs(folder, others))
        if self.given and is_name:
            self.known = _notary_keys(installation, log_id)


def _beside(path: Path) -> Iterator[Path]:
    """Where the newest checkpoint of a live log or of the logs in a folder lies."""
    if path.is_dir():
        yield from sorted(path.glob("*.jsonl.checkpoint"))
    else:
        yield checkpoint_path(path)


def _logs_at(folder: Path) -> list[str]:
    """The ids of the logs of which a directory place has notes."""
    return sorted(path.name for path in folder.glob("*/") if newest_file(path) is not None)


def _other_logs(folder: Path, logs: list[str]) -> Remark:
    return Remark("verify.other_logs", {"path": folder, "logs": ", ".join(logs)})


def _is_own(path: Path, installation: Installation) -> bool:
    """Whether the log is the installation's, or the folder that it lies in."""
    own, named = (Path(os.path.realpath(each)) for each in (installation.decision_log_path, path))
    return named in (own, own.parent)


def _log_id(log: Path) -> str | None:
    """The id in the first entry of a log, or of its archives where it is gone; None where no entry can be read."""
    with contextlib.suppress(Unavailable):
        readable = [log] if log.exists() else [segment.copies[0] for segment in archives.segments(log)]
        return next((first.log_id for path in readable[:1] for first in entries(path)), None)
    return None


def _is_name(log_id: str) -> bool:
    """The id comes from a line that nobody has judged yet, so it must not lead out of a folder."""
    return Path(log_id).name == log_id and log_id != ".."


def _notary_keys(installation: Installation, log_id: str) -> tuple[VerifierKey, ...]:
    """The public keys in the file of the notary; none where it is not there, or not for this reader."""
    ring = installation.keyring_path
    try:
        keys = KeyStore.beside(ring, log_id).load()
    except (Stage4Error, ValueError):  # An id may be no name of a file at all.
        return ()
    return () if keys is None else (keys.first, keys.stable.verifier)
