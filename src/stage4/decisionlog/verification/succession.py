"""
Which key is in force: the genesis entry's, until a `key_rotation` entry under it names the next one.

The rotation names the new id and the fingerprint of its secret, so the ring cannot quietly put another secret
under the same id. Every entry after it must use the new key; the old one never comes back, not even where entries
are missing in between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from stage4.decisionlog.entry import GENESIS, KEY_ROTATION, Entry
from stage4.decisionlog.verification.blame import Blame
from stage4.decisionlog.verification.verdict import Fault
from stage4.security.keyring import Key

# A ring has few keys; without one, ids may be forged.
_KEPT = 1000


@dataclass(slots=True)
class Succession:
    """Follows the keys through the entries in their order; `key_id` must sign the next one (None: not known).

    `listed` finds a key of the ring; None where there is no ring.
    """

    listed: Callable[[str], Key | None] | None
    key_id: str | None = None
    _past: set[str] = field(default_factory=set)

    def follow(self, entry: Entry, *, gap: bool) -> Blame | None:
        """The blame for `entry` if its key was not the one in force, or if it names no fit successor.

        Across a `gap` another key is no fault by itself: the rotation to it may be among what is missing.
        """
        blame = self._blame_signature(entry, gap)
        if blame is None:
            if self.key_id != entry.key_id:
                self._leave(self.key_id)
                self.key_id = entry.key_id
            if entry.kind == KEY_ROTATION:
                blame = self._blame_successor(entry)
                self._leave(entry.key_id)
                self.key_id = str(entry.metadata.get("next_key_id"))
        return blame

    def _blame_signature(self, entry: Entry, gap: bool) -> Blame | None:
        if entry.kind == GENESIS and entry.seq:
            return Blame(Fault.FORMAT, "log.format_second_genesis")
        if entry.key_id in self._past:
            return Blame(Fault.KEY_MISUSE, "log.key_outlived", {"key_id": entry.key_id})
        if self.key_id is None or gap or entry.key_id == self.key_id:
            return None
        return Blame(Fault.KEY_MISUSE, "log.key_changed", {"key_id": entry.key_id, "expected": self.key_id})

    def _blame_successor(self, entry: Entry) -> Blame | None:
        named = entry.metadata.get("next_key_id")
        if named == entry.key_id or named in self._past:
            return Blame(Fault.KEY_MISUSE, "log.rotation_back", {"key_id": str(named)})
        if self.listed is None:
            return None
        key = self.listed(str(named))
        if key is None:
            return Blame(Fault.KEY_MISUSE, "log.rotation_unlisted", {"key_id": str(named)})
        if key.fingerprint != entry.metadata.get("next_fingerprint"):
            return Blame(Fault.KEY_MISUSE, "log.key_substituted", {"key_id": key.id})
        return None

    def _leave(self, key_id: str | None) -> None:
        if key_id is not None and len(self._past) < _KEPT:
            self._past.add(key_id)
