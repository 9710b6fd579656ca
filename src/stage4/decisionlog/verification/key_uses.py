"""Where keys were used that need a word at the end of the walk: revoked ones, and those whose secret was missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from stage4.decisionlog.verification.ledger import KEPT, Position


@dataclass(frozen=True, slots=True)
class KeyUse:
    """Entries `first_seq` to `last_seq` stand next to each other, signed by one key; `at` is where they begin."""

    key_id: str
    first_seq: int
    last_seq: int
    at: Position


@dataclass(slots=True)
class KeyUses:
    """The uses of each key, a bounded number of them."""

    _uses: dict[str, list[KeyUse]] = field(default_factory=dict)
    _cut: int = 0

    def __iter__(self) -> Iterator[KeyUse]:
        for uses in self._uses.values():
            yield from uses

    def add(self, key_id: str, first_seq: int, last_seq: int, at: Position) -> None:
        """The next entries in their place."""
        uses = self._uses.setdefault(key_id, [])
        if uses and uses[-1].last_seq + 1 == first_seq and first_seq != self._cut:
            uses[-1] = replace(uses[-1], last_seq=last_seq)
            return
        uses.append(KeyUse(key_id, first_seq, last_seq, at))
        if len(uses) > KEPT:
            # As one use the two oldest are good only where both would be.
            uses[:2] = [replace(uses[0], last_seq=uses[1].last_seq)]

    def cut(self, seq: int) -> None:
        """Entry `seq` begins a use of its own: a checkpoint may vouch for those before it, and for none after."""
        self._cut = seq


@dataclass(slots=True)
class Unjudged:
    """Entries in their place that no secret was there to judge, of which checkpoints may prove the first ones.

    What is kept of each key: its first entry since every size of the tree at which the proof may end.
    """

    count: int = 0
    matched: int = 0
    _firsts: dict[str, list[tuple[int, Position]]] = field(default_factory=dict)
    _last: dict[str, tuple[int, Position]] = field(default_factory=dict)
    _counts: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The keys that such entries name, a bounded number of them."""
        return tuple(self._firsts)

    def add(self, key_id: str, seq: int, at: Position, *, matched: bool) -> None:
        """An entry under a key whose secret is missing; `matched`: the caller's filter lets it through."""
        self.count += 1
        self.matched += matched
        if key_id not in self._firsts and len(self._firsts) >= KEPT:
            # Ids that nobody vouches for may be without number; the entry itself must not be forgotten.
            key_id = next(reversed(self._firsts))
        firsts = self._firsts.setdefault(key_id, [])
        if not firsts or (self._counts and firsts[-1][0] < self._counts[-1][0]):
            firsts.append((seq, at))
        self._last[key_id] = (seq, at)

    def may_end(self, size: int, proven: int) -> None:
        """A proof may cover the first `size` entries; so far the first `proven` are, and that number only grows."""
        if not self.count:
            return
        while len(self._counts) > 1 and self._counts[1][0] <= proven:
            self._counts.pop(0)
        for firsts in self._firsts.values():
            while len(firsts) > 1 and (firsts[1][0] <= proven or len(firsts) > KEPT):
                firsts.pop(0)
        if len(self._counts) < KEPT:
            self._counts.append((size, self.count, self.matched))

    def proven(self, size: int) -> tuple[int, int]:
        """How many of these entries stand among the first `size` ones, and how many of those matched."""
        return max(((count, matched) for end, count, matched in self._counts if end <= size), default=(0, 0))

    def remaining(self, size: int) -> Iterator[tuple[str, int, Position]]:
        """For each key its first entry that a proof of the first `size` entries leaves open."""
        for key_id, firsts in self._firsts.items():
            for seq, at in (*firsts, self._last[key_id]):
                if seq >= size:
                    yield key_id, seq, at
                    break
