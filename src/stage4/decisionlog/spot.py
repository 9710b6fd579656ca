"""Where the next line goes, and how lines are made to follow each other there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from stage4 import ids
from stage4.clock import Clock, format_instant
from stage4.decisionlog.canonical import MAX_LINE, Malformed, parse_strict
from stage4.decisionlog.chain import Sealer, genesis_prev, leaf_digest
from stage4.decisionlog.entry import (
    GENESIS,
    KEY_ROTATION,
    LOG_CATEGORY,
    Draft,
    Entry,
    Place,
    Prepared,
    Receipt,
    payload_of,
    read_payload,
)
from stage4.decisionlog.prefix import Prefix
from stage4.errors import Unavailable, UsageError
from stage4.security.keyring import Key, KeyRing, KeyState

# The id stands unescaped in every line.
_LOG_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Head(NamedTuple):
    """The last entry of a log: what the next one chains to."""

    seq: int
    digest: str
    log_id: str


class Spot(NamedTuple):
    """Where the next line goes: after `head`, at byte `size`, as line number `line` of the file, under `key`.

    The line of `head` has `length` bytes without its LF.
    """

    head: Head
    key: Key
    size: int
    line: int
    length: int


class _Last(msgspec.Struct, frozen=True, gc=False):
    """What the next writer needs of an entry."""

    key_id: str
    kind: str
    log_id: str
    prev: str
    seq: int


_decode = msgspec.json.Decoder(_Last).decode


class Scribe:
    """Makes and recognises the lines of the log at `path`; `origin` stands in a genesis entry.

    It touches no file but the key ring, which it reads again when the ring in memory may be out of date.
    """

    def __init__(self, path: Path, keyring: KeyRing, clock: Clock, origin: str) -> None:
        self.path = path
        self.keyring = keyring
        self.clock = clock
        self.origin = origin
        self._sealers: dict[tuple[str, str], Sealer] = {}

    def genesis(self, prefix: Prefix) -> bytes:
        """The first line of a new log, which seals the version 2 lines before it."""
        log_id = ids.short_id()
        self._reload()
        key = self.usable(self.keyring.active, log_id)
        now = self.clock.now()
        facts: dict[str, object] = {
            "chain": "SHA-256",
            "created": format_instant(now),
            "key_fingerprint": key.fingerprint,
            "origin": self.origin,
        }
        if prefix.lines:
            facts["sealed_prefix"] = dict(prefix.seal())
        draft = Draft(GENESIS, LOG_CATEGORY, "log", "begun", metadata=facts)
        place = Place(log_id, 0, genesis_prev(log_id), key.id)
        return self.sealer(key, log_id).seal(payload_of(draft, place, now))

    def sealed(self, drafts: Sequence[Prepared], spot: Spot) -> tuple[tuple[Receipt, ...], Spot]:
        """The drafts as lines from `spot` on, and the spot after them."""
        head, key, size, line = spot.head, spot.key, spot.size, spot.line
        seq, digest, log_id = head.seq, head.digest, head.log_id
        if key.state is not KeyState.ACTIVE and any(prepared.draft.kind != KEY_ROTATION for prepared in drafts):
            key = self.usable(key.id, log_id)
        seal, log, key_id = self.sealer(key, log_id).seal, log_id.encode("ascii"), key.id.encode("ascii")
        now = self.clock.now()
        written = format_instant(now).encode("ascii")
        receipts = []
        for prepared in drafts:
            draft, seq, at, timestamp = prepared.draft, seq + 1, now, written
            if draft.timestamp is not None:
                at, timestamp = draft.timestamp, format_instant(draft.timestamp).encode("ascii")
            raw = seal(prepared.payload(log, seq, digest.encode("ascii"), key_id, timestamp))
            digest = leaf_digest(raw)
            receipts.append(Receipt(seq, digest, at, line, size, raw))
            size, line = size + len(raw) + 1, line + 1
            if draft.kind == KEY_ROTATION:
                key = self.usable(str(draft.metadata.get("next_key_id")), log_id)
                seal, key_id = self.sealer(key, log_id).seal, key.id.encode("ascii")
        return tuple(receipts), Spot(Head(seq, digest, log_id), key, size, line, len(receipts[-1].raw))

    def after(self, entry: Entry, line: bytes, size: int, number: int) -> Spot:
        """The spot after `entry`, line `number` of the file; the log itself, not the ring, names the key in force."""
        rotated = entry.kind == KEY_ROTATION
        key_id = str(entry.metadata.get("next_key_id") if rotated else entry.key_id)
        # A retired key may still hand over to the next one: the ring may serve a second log.
        key = self.usable(key_id, entry.log_id, also=KeyState.RETIRED)
        return Spot(Head(entry.seq, leaf_digest(line), entry.log_id), key, size, number + 1, len(line))

    def followed(self, spot: Spot, added: bytes) -> Spot | None:
        """The spot after the lines that others `added` at `spot`; None where only a closer look can tell."""
        begin = added.rfind(b"\n", 0, -1) + 1
        if len(added) < 2 or not added.endswith(b"\n"):
            return None
        line = added[begin:-1]
        payload = self.sealer(spot.key, spot.head.log_id).open(line)
        if payload is None:
            return None
        try:
            last = _decode(payload)
        except msgspec.DecodeError:
            return None
        # One line more is one number more; an old line put in again breaks this, and the chain.
        before = leaf_digest(added[added.rfind(b"\n", 0, begin - 1) + 1 : begin - 1]) if begin else spot.head.digest
        if (last.seq, last.prev) != (spot.head.seq + added.count(b"\n"), before):
            return None
        if last.kind == KEY_ROTATION or (last.log_id, last.key_id) != (spot.head.log_id, spot.key.id):
            return None
        head = Head(last.seq, leaf_digest(line), last.log_id)
        return Spot(head, spot.key, spot.size + len(added), spot.line + added.count(b"\n"), len(line))

    def authentic(self, line: bytes, offset: int) -> Entry:
        """The entry in `line` if its signature holds: nothing is ever chained to a line that does not verify."""
        try:
            if len(line) > MAX_LINE:
                raise Malformed("long")
            entry = read_payload(_without_signature(line), 0, offset)
            if _LOG_ID.fullmatch(entry.log_id) is None:
                raise Malformed("members")
        except Malformed:
            raise Unavailable("log.head_broken", path=self.path, offset=offset) from None
        key = self.keyring.key(entry.key_id)
        if key is None or not key.available:
            key = self._reload().key(entry.key_id)
        if key is None or self.sealer(key, entry.log_id).open(line) is None:
            raise Unavailable("log.head_broken", path=self.path, offset=offset)
        return entry

    def usable(self, key_id: str, log_id: str, *, also: KeyState = KeyState.ACTIVE) -> Key:
        """The key of that id, active or in the state `also`, which may sign in this log.

        The ring is read again where it does not list such a key: another process may have rotated. Raises
        Unavailable `log.key_not_usable`.
        """
        for again in (False, True):
            key = (self._reload() if again else self.keyring).key(key_id)
            if key is not None and key.state in (KeyState.ACTIVE, also) and key.may_sign(log_id):
                return key
        raise Unavailable("log.key_not_usable", key_id=key_id, path=self.keyring.path)

    def sealer(self, key: Key, log_id: str) -> Sealer:
        """The sealer of `key` in that log, made once."""
        sealer = self._sealers.get((key.id, log_id))
        if sealer is None:
            sealer = self._sealers[key.id, log_id] = Sealer(key, log_id)
        return sealer

    def _reload(self) -> KeyRing:
        """The ring as it is on the disk now; raises Unavailable where it cannot be read."""
        try:
            self.keyring = self.keyring.reloaded()
        except UsageError as error:
            raise Unavailable(error.code, **error.params) from error
        self._sealers.clear()
        return self.keyring


def _without_signature(line: bytes) -> object:
    members = parse_strict(line)
    if isinstance(members, dict):
        members.pop("signature", None)
    return members
