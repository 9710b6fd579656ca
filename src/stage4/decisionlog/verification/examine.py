"""
Judges one line by itself: authentic, unjudged because its secret is missing, or faulty and in which way.

The walk asks this only where the fast path did not recognise a line, so it may take its time to name the cause.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace

from stage4.decisionlog.canonical import MAX_LINE, Malformed, canonical, parse_strict
from stage4.decisionlog.chain import Sealer, split_signature
from stage4.decisionlog.entry import Entry, read_payload
from stage4.decisionlog.verification.blame import Blame
from stage4.decisionlog.verification.verdict import Fault
from stage4.errors import Stage4Error
from stage4.security.keyring import ALGORITHMS, Key, KeyRing, KeyState

_GENESIS = b'"kind":"genesis"'
_RELOADS = 16


@dataclass(frozen=True, slots=True)
class Examined:
    """`entry` where the line could be read; `blame` None where nothing speaks against it.

    `authentic` is False for an entry whose key is listed but whose secret is missing.
    """

    entry: Entry | None
    authentic: bool
    blame: Blame | None = None


@dataclass(slots=True)
class Examiner:
    """Reads lines with the keys of `keyring`; None means that no ring was given, so no key is listed anywhere."""

    keyring: KeyRing | None
    _newer: KeyRing | None = None
    _unlisted: set[str] = field(default_factory=set)
    _sealers: dict[tuple[str, str], Sealer] = field(default_factory=dict)

    def key(self, key_id: str) -> Key | None:
        """The key of that id; None where the ring does not list it, or there is none.

        The ring on the disk is asked again, a bounded number of times: a log that is in use may go on to a new key
        while it is read.
        """
        if self.keyring is None:
            return None
        newest = self._newer or self.keyring
        key = newest.key(key_id)
        if key is None and key_id not in self._unlisted and len(self._unlisted) < _RELOADS:
            with contextlib.suppress(Stage4Error):
                self._newer = newest = self.keyring.reloaded()
            key = newest.key(key_id)
            if key is None:
                self._unlisted.add(key_id)
        return key

    def ring_after(self, revoked: frozenset[str]) -> KeyRing | None:
        """The ring, with the keys that the log calls `revoked` as the ring on the disk has them now.

        A key may be revoked between the loading of the ring and the reading of the log. What the newer ring says of
        other keys does not count: their revocation may stand where this log was not read to.
        """
        ring = self.keyring
        if ring is None or all(key.state is KeyState.REVOKED for key in ring.keys.values() if key.id in revoked):
            return ring
        with contextlib.suppress(Stage4Error):
            newest = ring.reloaded().keys
            return replace(ring, keys={**ring.keys, **{each: newest[each] for each in revoked if each in newest}})
        return ring

    def sealer(self, key: Key, log_id: str) -> Sealer:
        """The sealer of `key` for `log_id`, made once."""
        sealer = self._sealers.get((key.id, log_id))
        if sealer is None:
            # Ids come from lines that may be forged, so the store is kept small.
            if len(self._sealers) >= 64:
                self._sealers.clear()
            sealer = self._sealers[key.id, log_id] = Sealer(key, log_id)
        return sealer

    def usable_sealer(self, key_id: str, log_id: str) -> Sealer | None:
        """The sealer of a listed key whose secret is there and which may sign in that log."""
        key = self.key(key_id)
        return self.sealer(key, log_id) if key is not None and key.available and key.may_sign(log_id) else None

    def genesis_log_id(self, line: bytes) -> str | None:
        """The log id of a sound genesis entry; None for any other line."""
        if _GENESIS not in line:
            return None
        examined = self.examine(line, 0, 0, None)
        entry = examined.entry
        return entry.log_id if entry is not None and examined.blame is None and entry.seq == 0 else None

    def examine(self, line: bytes, number: int, offset: int, log_id: str | None) -> Examined:
        """Judge `line`, expected in `log_id` (None while that is unknown)."""
        try:
            entry, signature, payload = _read(line, number, offset)
        except Malformed as error:
            return Examined(None, False, Blame(Fault.FORMAT, f"log.format_{error.reason}"))
        blame, key = self._key_of(entry, signature)
        if blame is None and self._shape_differs(line, payload, signature):
            blame = Blame(Fault.FORMAT, "log.format_spelling")
        if blame is not None:
            return Examined(entry, False, blame)
        foreign = log_id is not None and entry.log_id != log_id
        if key is None or not key.available:
            return Examined(entry, False, _foreign(entry) if foreign else None)
        if not entry.log_id.isascii() or self.sealer(key, entry.log_id).open(line) is None:
            return Examined(entry, False, Blame(Fault.EDIT, "log.edit"))
        if foreign:
            return Examined(entry, False, _foreign(entry))
        return Examined(entry, True, self._misuse(key, entry))

    def _key_of(self, entry: Entry, signature: object) -> tuple[Blame | None, Key | None]:
        if not isinstance(signature, dict):
            return Blame(Fault.FORMAT, "log.format_signature"), None
        key_id = signature.get("key_id")
        if key_id != entry.key_id:
            return Blame(Fault.KEY_MISUSE, "log.key_mismatch", {"signed": entry.key_id, "named": str(key_id)}), None
        key = self.key(entry.key_id)
        if key is None and self.keyring is not None:
            return Blame(Fault.KEY_MISUSE, "log.key_unlisted", {"key_id": entry.key_id}), None
        algorithm = signature.get("algorithm")
        expected = tuple(ALGORITHMS) if key is None else (key.algorithm,)
        if algorithm not in expected:
            params = {"expected": ", ".join(expected), "named": str(algorithm)}
            return Blame(Fault.ALGORITHM, "log.algorithm", params), None
        return None, key

    def _shape_differs(self, line: bytes, payload: bytes, signature: object) -> bool:
        assert isinstance(signature, dict)
        return split_signature(line, signature["algorithm"], signature["key_id"]) != payload

    def _misuse(self, key: Key, entry: Entry) -> Blame | None:
        if not key.may_sign(entry.log_id):
            return Blame(Fault.KEY_MISUSE, "log.key_not_for_log", {"key_id": key.id, "log_id": entry.log_id})
        return None


def _foreign(entry: Entry) -> Blame:
    return Blame(Fault.FOREIGN, "log.foreign", {"log_id": entry.log_id})


def _read(line: bytes, number: int, offset: int) -> tuple[Entry, object, bytes]:
    """Entry, signature member and canonical payload of a line; raises Malformed with the reason."""
    if not line.strip():
        raise Malformed("blank")
    if len(line) > MAX_LINE:
        raise Malformed("long")
    members = parse_strict(line)
    if not isinstance(members, dict):
        raise Malformed("members")
    if members.get("v") != 3:
        raise Malformed("version")
    signature = members.pop("signature", None)
    if signature is None:
        raise Malformed("signature")
    return read_payload(members, number, offset), signature, canonical(members)
