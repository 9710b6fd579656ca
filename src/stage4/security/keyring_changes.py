"""
Changes of the key ring: a key is added, taken into force, retired, revoked; none is ever removed.

A change is one atomic rewrite of the ring, made under a lock file beside it, so that two administrators never
overwrite each other. A new secret is on the disk before the ring lists it: a crash between the two leaves a secret
that has signed nothing, which the next `add` of that very id takes up.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from stage4 import files
from stage4.clock import format_instant
from stage4.errors import Conflict, Refused, Unavailable, UsageError
from stage4.security.keyring import ALGORITHMS, DEFAULT_ALGORITHM, LIMIT, Key, KeyRing, KeyState, is_key_id, new_key


def free_id(ring: KeyRing, now: datetime) -> str:
    """The id of the next key: `ops-YYYY-MM`, with a number from 2 where the month had one already.

    An id whose secret lies there unlisted is passed over, so that a key of this id is certainly new.
    """
    month = f"ops-{now:%Y-%m}"
    number, key_id = 1, month
    while key_id in ring.keys or ring.path.with_name(f"{key_id}.key").exists():
        number += 1
        key_id = f"{month}-{number}"
    return key_id


def require_new(ring: KeyRing, key_id: str, algorithm: str) -> None:
    """Raise UsageError where no key can be called so or sign so, Refused `keyring.id_taken` where one is called so."""
    if not is_key_id(key_id):
        raise UsageError("keyring.bad_id", key_id=key_id)
    if algorithm not in ALGORITHMS:
        raise UsageError("keyring.bad_algorithm", algorithm=algorithm, known=", ".join(ALGORITHMS))
    if key_id in ring.keys:
        raise Refused("keyring.id_taken", key_id=key_id, path=ring.path)


@contextlib.contextmanager
def changing(path: Path, environ: Mapping[str, str]) -> Iterator[KeyRingChange]:
    """The ring at `path`, which nobody else changes meanwhile.

    Raises Conflict `keyring.busy` where somebody else is changing it, Refused `keyring.not_owner`, and what
    `KeyRing.load` raises.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        # Written by another account, root too, the ring would be out of reach of the processes that need it.
        owner = path.stat().st_uid
    except OSError as error:
        code = "files.missing" if isinstance(error, FileNotFoundError) else "files.unreadable"
        raise Unavailable(code, path=path, reason=files.reason(error)) from error
    if owner != os.geteuid():
        raise Refused("keyring.not_owner", path=path, owner=owner)
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Unavailable("files.cannot_write", path=lock, reason=files.reason(error)) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Conflict("keyring.busy", path=path) from error
        yield KeyRingChange(path, environ)
    finally:
        os.close(descriptor)


class KeyRingChange:
    """The ring inside `changing()`; `ring` is what stands on the disk now."""

    ring: KeyRing

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self._path = path
        self._environ = environ
        self.ring = KeyRing.load(path, environ)

    def add(
        self,
        key_id: str,
        now: datetime,
        *,
        algorithm: str = DEFAULT_ALGORITHM,
        logs: frozenset[str] | None = None,
    ) -> Key:
        """A new key with a secret of its own, in state active but not in force anywhere; it may sign only in `logs`.

        Raises what `require_new` raises, Conflict `keyring.secret_in_the_way`, Unavailable `files.cannot_write`.
        """
        require_new(self.ring, key_id, algorithm)
        try:
            facts = new_key(self._path, key_id, algorithm, now)
        except OSError as error:
            raise Unavailable("files.cannot_write", path=self._path.parent, reason=files.reason(error)) from error
        if logs is not None:
            facts["logs"] = sorted(logs)
        document = self._document()
        document["keys"].append(facts)
        self._write(document)
        return self.ring.keys[key_id]

    def take_over(self, key_id: str, retiring: str, now: datetime, reason: str) -> None:
        """Key `key_id` starts new logs from now on, and `retiring` signs no more; both in one step."""
        document = self._document()
        document["active"] = key_id
        if retiring != key_id:
            self._end(document, retiring, KeyState.RETIRED, now, reason)
        self._write(document)

    def revoke(self, key_id: str, now: datetime, reason: str, *, active: str) -> None:
        """Key `key_id` proves nothing any more, and `active` starts new logs; both in one step."""
        document = self._document()
        document["active"] = active
        self._end(document, key_id, KeyState.REVOKED, now, reason)
        self._write(document)

    def _document(self) -> dict[str, Any]:
        document = files.read_json(self._path, LIMIT)
        KeyRing.read(self._path, document, {})
        assert isinstance(document, dict)
        return document

    def _end(self, document: dict[str, Any], key_id: str, state: KeyState, now: datetime, reason: str) -> None:
        if document["active"] == key_id:
            raise Refused("keyring.is_active", key_id=key_id)
        for facts in document["keys"]:
            # Said once: a revoked key never becomes a merely retired one, and the first instant stays.
            if facts["id"] == key_id and facts["state"] not in (state.value, KeyState.REVOKED.value):
                at = format_instant(now.replace(microsecond=0))
                facts.update({"state": state.value, state.value: at, "reason": reason})

    def _write(self, document: dict[str, Any]) -> None:
        """Replace the ring, after it was read the way every reader will read it."""
        ring = KeyRing.read(self._path, document, self._environ)
        files.write_json(self._path, document, 0o600)
        self.ring = ring
