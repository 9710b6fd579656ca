"""
The private keys of a log's checkpoints: a forward key for each, destroyed once it has signed, and a stable one.

    {"schema": "stage4.checkpoint-keys/1", "log_id": …, "number": 7, "seed": …, "next_seed": null,
     "stable_seed": …, "first_key": "<verifier key of forward key 0>", "note": "<the note of checkpoint 6>",
     "log": "/srv/stage4/audit/decision_logs/runtime.jsonl"}

`number` is the checkpoint that `seed` signs. `next_seed` is there while that checkpoint is under way. `log` is where
the log lay at the last checkpoint: where it lies no more, it vanished. A file made before this was recorded lacks it.
The file is replaced in one step, and the bytes of its earlier version are overwritten:

    <file>.new     the next version, complete or torn     not in force: overwritten and removed
    <file>         the version in force
    <file>.spent   the version before it                  overwritten and removed; a crash leaves it to the next start

Overwriting destroys a seed where the disk writes in place. A copy-on-write file system, an SSD that levels its wear,
a snapshot or a backup may keep the old blocks: put the file on a disk that is encrypted, and out of every backup.
Whoever makes a checkpoint holds the lock of the log, so one process at a time is here.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from stage4 import files, ids
from stage4.decisionlog.checkpoints.facts import forward_name, origin_of
from stage4.decisionlog.checkpoints.note import Note, NoteError, SignerKey, VerifierKey
from stage4.decisionlog.checkpoints.spelling import base64_bytes
from stage4.errors import Stage4Error, Unavailable

SCHEMA = "stage4.checkpoint-keys/1"
_SEED = 32
_MEMBERS = frozenset({"schema", "log_id", "number", "seed", "next_seed", "stable_seed", "first_key", "note"})
_LOG = "log"


@dataclass(frozen=True, slots=True)
class CheckpointKeys:
    """The keys as they are in force; `note` is that of checkpoint `number - 1`, None before there is one.

    `log` is the absolute path of the log at the last checkpoint, None where it was not recorded.
    """

    log_id: str
    number: int
    forward: SignerKey
    following: SignerKey | None
    stable: SignerKey
    first: VerifierKey
    note: Note | None
    log: str | None = None

    def begun(self) -> CheckpointKeys:
        """With the key of the next checkpoint beside the present one."""
        return self if self.following else replace(self, following=_new_key(forward_name(self.log_id)))

    def signed(self, note: Note) -> CheckpointKeys:
        """After the present key signed `note`: it is gone, the next one is in force."""
        assert self.following is not None
        return replace(self, number=self.number + 1, forward=self.following, following=None, note=note)

    def pin(self) -> str:
        """What an auditor keeps elsewhere: the first forward key and the stable key, one a line."""
        return f"{self.first}\n{self.stable.verifier}\n"


@dataclass(frozen=True, slots=True)
class KeyStore:
    """The file of one log's checkpoint keys; every method raises Unavailable where the disk fails."""

    path: Path

    @classmethod
    def beside(cls, keyring: Path, log_id: str) -> KeyStore:
        """The store in the folder of the key ring."""
        return cls(keyring.with_name(f"checkpoint-{log_id}.json"))

    @classmethod
    def used_at(cls, keyring: Path, log: Path) -> KeyStore | None:
        """The store beside the key ring that served a log at this path; None where none says so."""
        place = log.resolve()
        return next((store for store, served in cls.used(keyring) if served == place), None)

    @classmethod
    def used(cls, keyring: Path) -> Iterator[tuple[KeyStore, Path]]:
        """The stores beside the key ring that say which log they served, with its path."""
        for path in sorted(keyring.parent.glob("checkpoint-*.json")):
            try:
                document = files.read_json(path)
            except Stage4Error:
                continue
            log = document.get(_LOG) if isinstance(document, dict) else None
            if isinstance(log, str):
                yield cls(path), Path(log)

    def load(self) -> CheckpointKeys | None:
        """The keys in force, None where the log has none yet; raises Unavailable `checkpoint.keys_malformed`."""
        try:
            document = files.read_json(self.path)
        except Unavailable as error:
            if error.code == "files.missing":
                return None
            raise
        try:
            return _read(document)
        except (NoteError, ValueError):
            raise Unavailable("checkpoint.keys_malformed", path=self.path) from None

    def create(self, log_id: str) -> CheckpointKeys:
        """New keys, not on the disk yet."""
        first = _new_key(forward_name(log_id))
        return CheckpointKeys(log_id, 0, first, None, _new_key(origin_of(log_id)), first.verifier, None)

    def save(self, keys: CheckpointKeys) -> None:
        """Put `keys` in force and destroy the version before, whatever an earlier crash left behind included."""
        new, spent = self._beside("new"), self._beside("spent")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.clean()
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            try:
                files.write_all(descriptor, files.json_bytes(_document(keys)))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            # The second name keeps the old bytes within reach after the rename.
            with contextlib.suppress(FileNotFoundError):
                spent.hardlink_to(self.path)
            files.fsync_dir(self.path.parent)
            new.rename(self.path)
            files.fsync_dir(self.path.parent)
            _destroy(spent)
        except OSError as error:
            raise Unavailable("files.cannot_write", path=self.path, reason=files.reason(error)) from error

    def clean(self) -> None:
        """Destroy what a crash left behind: a version that never came into force, or one that no longer is."""
        try:
            spent = self._beside("spent")
            with contextlib.suppress(FileNotFoundError):
                if spent.samefile(self.path):
                    # The crash came before the rename: these are the bytes in force.
                    spent.unlink()
            _destroy(spent)
            _destroy(self._beside("new"))
        except OSError as error:
            raise Unavailable("files.cannot_write", path=self.path, reason=files.reason(error)) from error

    def _beside(self, kind: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{kind}")


def _destroy(path: Path) -> None:
    """Overwrite the bytes of `path` on the disk, then remove its name."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        files.write_all(descriptor, bytes(os.fstat(descriptor).st_size))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    path.unlink()
    files.fsync_dir(path.parent)


def _new_key(name: str) -> SignerKey:
    return SignerKey(name, ids.random_bytes(_SEED))


def _document(keys: CheckpointKeys) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "log_id": keys.log_id,
        "number": keys.number,
        "seed": base64.b64encode(keys.forward.seed).decode(),
        "next_seed": base64.b64encode(keys.following.seed).decode() if keys.following else None,
        "stable_seed": base64.b64encode(keys.stable.seed).decode(),
        "first_key": str(keys.first),
        "note": keys.note.encode().decode() if keys.note else None,
        _LOG: keys.log,
    }


def _read(document: object) -> CheckpointKeys:
    """The keys in a parsed document; raises ValueError or NoteError."""
    if not isinstance(document, dict) or document.keys() - {_LOG} != _MEMBERS or document["schema"] != SCHEMA:
        raise ValueError("not a document of checkpoint keys")
    log = document.get(_LOG)
    if not isinstance(log, str | None):
        raise ValueError("the log's path is no text")
    log_id, number, note = document["log_id"], document["number"], document["note"]
    if not isinstance(log_id, str) or type(number) is not int or number < 0 or (number == 0) is not (note is None):
        raise ValueError("number and note do not agree")
    forward = forward_name(log_id)
    following = document["next_seed"]
    return CheckpointKeys(
        log_id,
        number,
        SignerKey(forward, _seed(document["seed"])),
        None if following is None else SignerKey(forward, _seed(following)),
        SignerKey(origin_of(log_id), _seed(document["stable_seed"])),
        VerifierKey.parse(str(document["first_key"])),
        None if note is None else Note.parse(str(note).encode()),
        log,
    )


def _seed(text: object) -> bytes:
    seed = base64_bytes(text)
    if len(seed) != _SEED:
        raise ValueError("no seed")
    return seed
