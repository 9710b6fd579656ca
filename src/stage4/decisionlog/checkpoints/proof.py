"""
Proofs over the tree, as RFC 6962 and RFC 9162 define them, made from a stream of leaf hashes and checked from files.

*Inclusion*: this entry is in the log that a checkpoint speaks of. *Consistency*: the log of an older checkpoint is
the beginning of the log of a newer one. A proof is a list of roots of ranges of leaves, so it is made in one pass with
one frontier a range: O(log² n) memory.

    c2sp.org/tlog-proof@v1         inclusion (c2sp.org/tlog-proof); `extra` is the line of the log itself
    extra <base64>
    index 41
    <base64 hash> …

    <the checkpoint's note>

    old 1000                       consistency (the request of c2sp.org/tlog-witness)
    <base64 hash> …

    <the newer checkpoint's note>
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stage4.decisionlog.checkpoints.note import Note
from stage4.decisionlog.checkpoints.spelling import base64_bytes, whole_number
from stage4.decisionlog.checkpoints.tree import HASH, Frontier, Range, node

INCLUSION_HEADER = "c2sp.org/tlog-proof@v1"
_MOST_HASHES = 63
MOST_BYTES = 256 * 1024

Span = tuple[int, int]


class ProofError(ValueError):
    """The proof proves nothing; `reason` is one word of the catalogue's `checkpoint.proof_*`."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def inclusion_spans(index: int, size: int) -> tuple[Span, ...]:
    """The ranges [begin, end) of leaves whose roots prove leaf `index` in a tree of `size`, in the proof's order."""
    if not 0 <= index < size:
        raise ProofError("index")
    spans: list[Span] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((begin, middle))
            begin = middle
    return tuple(reversed(spans))


def consistency_spans(old: int, size: int) -> tuple[Span, ...]:
    """The ranges whose roots prove that a tree of `old` leaves begins the tree of `size`, in the proof's order."""
    if not 0 < old <= size:
        raise ProofError("sizes")
    spans: list[Span] = []
    begin, end = 0, size
    while end > old:
        middle = begin + _split(end - begin)
        if old <= middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((begin, middle))
            begin = middle
    # A left subtree that is the whole old tree is known to whoever holds the old root.
    if begin:
        spans.append((begin, end))
    return tuple(reversed(spans))


class Roots:
    """Takes a tree's leaf hashes as they pass, in order, and has the roots of `spans` in the end."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._spans = spans
        self._trees = [Frontier() for _ in spans]

    def feed(self, start: int, leaves: Sequence[bytes]) -> None:
        """The leaves from number `start` on, which is the number after the last one fed."""
        for (begin, end), tree in zip(self._spans, self._trees, strict=True):
            first, last = max(begin, start), min(end, start + len(leaves))
            if first < last:
                tree.extend(Range.of(first - begin, leaves[first - start : last - start]))

    def hashes(self) -> tuple[bytes, ...]:
        """The roots; raises ProofError `leaves` where not every leaf of a range was fed."""
        if any(tree.size != end - begin for (begin, end), tree in zip(self._spans, self._trees, strict=True)):
            raise ProofError("leaves")
        return tuple(tree.root() for tree in self._trees)


def check_inclusion(index: int, size: int, leaf_hash: bytes, hashes: Sequence[bytes], root: bytes) -> None:
    """Raise ProofError unless leaf `index` of the tree of `size` leaves with this root is `leaf_hash`."""
    if not 0 <= index < size:
        raise ProofError("index")
    _require_hashes([leaf_hash, root, *hashes])
    at, last, hashed = index, size - 1, leaf_hash
    for each in hashes:
        if last == 0:
            raise ProofError("length")
        if at & 1 or at == last:
            hashed = node(each, hashed)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            hashed = node(hashed, each)
        at, last = at >> 1, last >> 1
    if last:
        raise ProofError("length")
    if not hmac.compare_digest(hashed, root):
        raise ProofError("root")


def check_consistency(old: int, size: int, hashes: Sequence[bytes], old_root: bytes, root: bytes) -> None:
    """Raise ProofError unless the tree of `old` leaves is the beginning of the tree of `size`; `old` is at least 1."""
    if not 0 < old <= size:
        raise ProofError("sizes")
    if old == size:
        if hashes:
            raise ProofError("length")
        if not old_root or not hmac.compare_digest(old_root, root):
            raise ProofError("root")
        return
    path = list(hashes) if old & (old - 1) else [old_root, *hashes]
    _require_hashes([old_root, root, *path])
    if not hashes:
        raise ProofError("length")
    at, last = old - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    before = after = path[0]
    for each in path[1:]:
        if last == 0:
            raise ProofError("length")
        if at & 1 or at == last:
            before, after = node(each, before), node(each, after)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            after = node(after, each)
        at, last = at >> 1, last >> 1
    if last:
        raise ProofError("length")
    if not hmac.compare_digest(before, old_root) or not hmac.compare_digest(after, root):
        raise ProofError("root")


@dataclass(frozen=True, slots=True)
class Inclusion:
    """The file that proves one entry; `line` is its line of the log without LF, None where the file has none."""

    index: int
    hashes: tuple[bytes, ...]
    note: Note
    line: bytes | None

    def encode(self) -> bytes:
        """The file's bytes."""
        extra = [] if self.line is None else [f"extra {base64.b64encode(self.line).decode()}"]
        return _encoded([INCLUSION_HEADER, *extra, f"index {self.index}"], self.hashes, self.note)

    @classmethod
    def parse(cls, content: bytes) -> Inclusion:
        """The proof in a file; raises ProofError `shape`, or NoteError."""
        lines, note = _parts(content)
        if lines.pop(0) != INCLUSION_HEADER or not lines:
            raise ProofError("shape")
        line = None
        if lines[0].startswith("extra "):
            line = _base64(lines.pop(0).removeprefix("extra "))
        if not lines or not lines[0].startswith("index "):
            raise ProofError("shape")
        return cls(_number(lines.pop(0).removeprefix("index ")), _hashes(lines), note, line)


@dataclass(frozen=True, slots=True)
class Consistency:
    """The file that proves that the log of `old` entries became the log of `note`."""

    old: int
    hashes: tuple[bytes, ...]
    note: Note

    def encode(self) -> bytes:
        """The file's bytes."""
        return _encoded([f"old {self.old}"], self.hashes, self.note)

    @classmethod
    def parse(cls, content: bytes) -> Consistency:
        """The proof in a file; raises ProofError `shape`, or NoteError."""
        lines, note = _parts(content)
        if not lines[0].startswith("old "):
            raise ProofError("shape")
        return cls(_number(lines.pop(0).removeprefix("old ")), _hashes(lines), note)


def parse(content: bytes) -> Inclusion | Consistency:
    """The proof of either kind in a file; raises ProofError `shape`, or NoteError."""
    return Consistency.parse(content) if content.startswith(b"old ") else Inclusion.parse(content)


def _split(count: int) -> int:
    """The largest power of two smaller than `count`, which is at least 2."""
    return 1 << (count - 1).bit_length() - 1


def _require_hashes(hashes: Iterable[bytes]) -> None:
    if any(len(each) != HASH for each in hashes):
        raise ProofError("hash")


def _encoded(head: Sequence[str], hashes: Iterable[bytes], note: Note) -> bytes:
    lines = [*head, *(base64.b64encode(each).decode() for each in hashes), "", ""]
    return "\n".join(lines).encode() + note.encode()


def _parts(content: bytes) -> tuple[list[str], Note]:
    """The lines above the first blank line, at least one, and the note below it."""
    above, blank, below = content.partition(b"\n\n")
    if len(content) > MOST_BYTES or not blank or not above.isascii():
        raise ProofError("shape")
    return above.decode("ascii").split("\n"), Note.parse(below)


def _number(digits: str) -> int:
    try:
        return whole_number(digits)
    except ValueError:
        raise ProofError("shape") from None


def _hashes(lines: Sequence[str]) -> tuple[bytes, ...]:
    if len(lines) > _MOST_HASHES:
        raise ProofError("shape")
    hashes = tuple(map(_base64, lines))
    if any(len(each) != HASH for each in hashes):
        raise ProofError("shape")
    return hashes


def _base64(text: str) -> bytes:
    try:
        return base64_bytes(text)
    except ValueError:
        raise ProofError("shape") from None
