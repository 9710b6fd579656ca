"""
Places outside, where the log's owner cannot change what was left: the newest note is pushed to each.

A directory gets a file for every size and never loses one; an HTTP endpoint gets the note by POST. Each place is
served by a thread of its own, so that one that does not answer holds up nothing else. What a place took is
remembered beside the log; to push again is harmless.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from stage4 import files
from stage4.config.addresses import is_loopback
from stage4.config.installation import Installation
from stage4.config.settings import CheckpointPlace
from stage4.decisionlog.checkpoints.facts import origin_of
from stage4.decisionlog.checkpoints.note import Checkpoint, Note
from stage4.decisionlog.traces import places_path
from stage4.errors import Conflict, Stage4Error, Unavailable, UsageError

SUFFIX = ".checkpoint"
PIN = "pin"
_SCHEMA = "stage4.checkpoint-places/1"
_TIMEOUT_SECONDS = 5.0
_FILE = re.compile(r"([0-9]{1,16})\.checkpoint")


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is pushed: the newest note of a log, what it says, and the keys to pin."""

    log_id: str
    checkpoint: Checkpoint
    note: Note
    pin: str


class Place(Protocol):
    """Takes notes; `name` says for people and for the memory which one it is."""

    @property
    def name(self) -> str: ...

    def push(self, parcel: Parcel) -> None:
        """Leave the note there; raises Unavailable where it cannot be left, Conflict where another one lies there."""


@dataclass(frozen=True, slots=True)
class DirectoryPlace:
    """A directory, for example a mount of another machine: `<log id>/<size>.checkpoint` and `<log id>/pin`.

    `own`: it lies inside the installation, and is made where it is missing. Elsewhere a missing directory is a mount
    that is not there.
    """

    path: Path
    own: bool = False

    @property
    def name(self) -> str:
        return str(self.path)

    def is_missing(self) -> bool:
        """Whether it is a mount, or another directory outside, that is not there."""
        return not self.own and not self.path.is_dir()

    def push(self, parcel: Parcel) -> None:
        """Leave the note in a file of its own."""
        if self.is_missing():
            raise Unavailable("checkpoint.place_missing", place=self.name)
        folder, content = self.path / parcel.log_id, parcel.note.encode()
        try:
            files.exclusive_write(folder / PIN, parcel.pin.encode(), 0o444)
            target = folder / f"{parcel.checkpoint.size}{SUFFIX}"
            new = files.exclusive_write(target, content, 0o444)
            newest = max(map(_size, folder.iterdir()))
        except OSError as error:
            raise Unavailable("checkpoint.place_failed", place=self.name, reason=files.reason(error)) from error
        if not new and files.read_limited(target) != content:
            raise Conflict("checkpoint.place_differs", place=self.name, size=parcel.checkpoint.size)
        if newest > parcel.checkpoint.size:
            raise Conflict("checkpoint.place_ahead", place=self.name, size=parcel.checkpoint.size, newest=newest)


@dataclass(frozen=True, slots=True)
class HttpPlace:
    """An endpoint that takes the note as the body of a POST; any 2xx means taken, 409 that it knows another one."""

    url: str
    token_file: Path | None = None
    token_env: str | None = None
    environ: Mapping[str, str] | None = None

    @property
    def name(self) -> str:
        address = urlsplit(self.url)
        return address._replace(netloc=address.netloc.rpartition("@")[2], query="").geturl()

    def push(self, parcel: Parcel) -> None:
        """POST the note; its answer is not read beyond the status."""
        import httpx

        headers = {"content-type": "text/plain; charset=utf-8"}
        token = self._token()
        if token:
            headers["authorization"] = f"Bearer {token}"
        try:
            with (
                httpx.Client(timeout=_TIMEOUT_SECONDS, trust_env=False) as client,
                client.stream("POST", self.url, content=parcel.note.encode(), headers=headers) as answer,
            ):
                status, taken = answer.status_code, answer.is_success
        except httpx.HTTPError as error:
            raise Unavailable("checkpoint.place_failed", place=self.name, reason=type(error).__name__) from error
        if status == httpx.codes.CONFLICT:
            raise Conflict("checkpoint.place_differs", place=self.name, size=parcel.checkpoint.size)
        if not taken:
            raise Unavailable("checkpoint.place_failed", place=self.name, reason=f"HTTP {status}")

    def _token(self) -> str:
        if self.token_file is not None:
            return files.read_limited(self.token_file, 4096).decode("ascii", "replace").strip()
        if self.token_env is None:
            return ""
        token = (self.environ or {}).get(self.token_env, "").strip()
        if not token:
            raise Unavailable("checkpoint.place_failed", place=self.name, reason=f"{self.token_env} is not set")
        return token


@dataclass(frozen=True, slots=True)
class Pushed:
    """What came of pushing to one place; `error` None means that it has the note."""

    place: str
    error: Stage4Error | None


def configured(installation: Installation, environ: Mapping[str, str]) -> tuple[Place, ...]:
    """The places of the settings; raises UsageError for one that this installation may not use."""
    settings = installation.settings.operations.decision_log.checkpoints.places
    return tuple(_place(installation, each, environ) for each in settings)


def push(places: Sequence[Place], parcel: Parcel, memory: Memory) -> tuple[Pushed, ...]:
    """Push to all places at once, and remember who took it; never raises for a place."""
    if not places:
        return ()
    # Loaded here, because every verification reads this module and few of them push.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(places), "checkpoint-place") as lanes:
        answers = tuple(lanes.map(lambda place: push_to(place, parcel), places))
    memory.took(parcel, [answer.place for answer in answers if answer.error is None])
    return answers


def push_to(place: Place, parcel: Parcel) -> Pushed:
    """Push to one place; never raises for it."""
    try:
        place.push(parcel)
    except Stage4Error as error:
        return Pushed(place.name, error)
    return Pushed(place.name, None)


@dataclass(frozen=True, slots=True)
class Memory:
    """Which place took which size, in a file beside the log; losing it only means pushing again."""

    path: Path

    @classmethod
    def beside(cls, log: Path) -> Memory:
        return cls(places_path(log))

    def lacking(self, places: Sequence[Place], parcel: Parcel) -> tuple[Place, ...]:
        """Those places that have not taken this note."""
        taken = self._taken(parcel.log_id)
        return tuple(place for place in places if taken.get(place.name) != parcel.checkpoint.size)

    def took(self, parcel: Parcel, names: Sequence[str]) -> None:
        """Remember that the places of these names have this note; raises Unavailable `files.cannot_write`."""
        before = self._taken(parcel.log_id)
        taken = {**before, **dict.fromkeys(names, parcel.checkpoint.size)}
        if taken != before:
            files.write_json(self.path, {"schema": _SCHEMA, "log_id": parcel.log_id, "taken": taken})

    def _taken(self, log_id: str) -> dict[str, int]:
        try:
            document = files.read_json(self.path)
        except Stage4Error:
            return {}
        if not isinstance(document, dict) or document.get("log_id") != log_id:
            return {}
        taken = document.get("taken")
        return {str(name): size for name, size in taken.items()} if isinstance(taken, dict) else {}


def newest_file(folder: Path) -> Path | None:
    """The newest note that a directory place keeps in `folder`, which is one log's; None where there is none."""
    try:
        newest = max(folder.iterdir(), key=_size, default=None)
    except (OSError, ValueError):  # The folder's name comes from a line that nobody has judged yet.
        return None
    return newest if newest is not None and _size(newest) else None


def parcel_of(note: Note, pin: str) -> Parcel:
    """The parcel of a note that this installation made."""
    checkpoint = Checkpoint.of(note)
    return Parcel(checkpoint.origin.removeprefix(origin_of("")), checkpoint, note, pin)


def _place(installation: Installation, settings: CheckpointPlace, environ: Mapping[str, str]) -> Place:
    if settings.directory is not None:
        path = installation.path(settings.directory)
        return DirectoryPlace(path, own=not Path(settings.directory).is_absolute())
    assert settings.url is not None
    host = urlsplit(settings.url).hostname or ""
    if not is_loopback(host):
        if installation.is_rehearsal:
            raise UsageError("checkpoint.place_not_local", url=settings.url)
        if not settings.url.startswith("https://"):
            raise UsageError("checkpoint.place_insecure", url=settings.url)
    token_file = installation.path(settings.token_file) if settings.token_file else None
    return HttpPlace(settings.url, token_file, settings.token_env, environ)


def _size(path: Path) -> int:
    match = _FILE.fullmatch(path.name)
    return int(match[1]) if match else 0
