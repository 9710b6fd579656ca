"""What the caller demands of a log besides that it verifies: so many entries, and no keys but these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stage4.decisionlog.verification.verdict import Unmet, Verdict
from stage4.errors import UsageError


@dataclass(frozen=True, slots=True)
class Count:
    """How many entries the caller wants: `least` and `most`, each None where it is open."""

    text: str
    least: int | None
    most: int | None

    @classmethod
    def parse(cls, text: str) -> Count:
        """`N` exactly, `N..` at least, `..M` at most, `N..M`; raises UsageError `verify.bad_count`."""
        first, dots, last = text.partition("..")
        if not dots:
            last = first
        if not (first or last) or any(part and not (part.isascii() and part.isdigit()) for part in (first, last)):
            raise UsageError("verify.bad_count", text=text)
        if len(first) > 18 or len(last) > 18:
            raise UsageError("verify.bad_count", text=text)
        least, most = (int(part) if part else None for part in (first, last))
        if least is not None and most is not None and least > most:
            raise UsageError("verify.bad_count", text=text)
        return cls(text, least, most)

    def fits(self, n: int) -> bool:
        """Whether `n` entries are as many as wanted."""
        return (self.least is None or self.least <= n) and (self.most is None or n <= self.most)


@dataclass(frozen=True, slots=True)
class Requirements:
    """How many entries there must be, of those that the filters let through; `key_ids` empty allows every key."""

    count: Count | None
    key_ids: frozenset[str]

    @classmethod
    def of(cls, count: str | None, key_ids: Sequence[str]) -> Requirements:
        """As the caller wrote them; raises UsageError `verify.bad_count`."""
        return cls(None if count is None else Count.parse(count), frozenset(key_ids))

    def unmet(self, verdict: Verdict) -> Iterator[Unmet]:
        """What the log does not meet. A key that nobody expected is no damage: it may have been rotated in."""
        if self.count is not None:
            n = verdict.entries + verdict.v2_entries if verdict.matched is None else verdict.matched
            if not self.count.fits(n):
                yield Unmet("verify.unmet_count", {"n": n, "wanted": self.count.text})
        if not self.key_ids:
            return
        for key_id, n in sorted(verdict.key_ids.items()):
            if key_id not in self.key_ids:
                yield Unmet("verify.unmet_key", {"n": n, "key_id": key_id})
        for key_id in verdict.unjudged_key_ids:
            if key_id not in self.key_ids and key_id not in verdict.key_ids:
                yield Unmet("verify.unmet_key_unjudged", {"key_id": key_id})
