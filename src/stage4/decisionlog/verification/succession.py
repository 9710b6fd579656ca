"""
Which key is in force: the genesis entry's, until a `key_rotation` entry under the old key names the next one.

The rotation names the new id and the fingerprint of its secret, so the ring cannot quietly put another secret
under the same id. The entry after it must use the new key; the old one may sign nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass

from stage4.decisionlog.entry import KEY_ROTATION, Entry
from stage4.decisionlog.verification.blame import Blame
from stage4.decisionlog.verification.verdict import Fault
from stage4.security.keyring import KeyRing


@dataclass(slots=True)
class Succession:
    """Follows the keys through the entries in their order."""

    keyring: KeyRing | None
    key_id: str | None = None
    _next: tuple[object, object] | None = None

    def follow(self, entry: Entry, *, gap: bool) -> Blame | None:
        """The blame for `entry` if its key was not the one in force; across a `gap` nothing can be held against it."""
        blame = None
        if self.key_id is not None and not gap:
            expected = self.key_id if self._next is None else self._next[0]
            if entry.key_id != expected:
                blame = Blame(Fault.KEY_MISUSE, "log.key_changed", {"key_id": entry.key_id, "expected": str(expected)})
            elif self._next is not None and not self._same_secret(entry.key_id):
                blame = Blame(Fault.KEY_MISUSE, "log.key_substituted", {"key_id": entry.key_id})
        self.key_id = entry.key_id
        rotated = entry.kind == KEY_ROTATION
        metadata = entry.metadata
        self._next = (metadata.get("next_key_id"), metadata.get("next_fingerprint")) if rotated else None
        return blame

    def _same_secret(self, key_id: str) -> bool:
        key = self.keyring.key(key_id) if self.keyring is not None else None
        return key is None or self._next is None or key.fingerprint == self._next[1]
