"""
The Merkle tree of RFC 6962 over the lines of the log, held as a frontier: the roots of the perfect subtrees, the
largest first, whose sizes are the binary digits of the tree's size.

    leaf(line)        SHA-256(00 ‖ line without LF), which is also what the next line chains to
    node(left, right) SHA-256(01 ‖ left ‖ right)

Leaf n is entry n (`seq`). The v2 lines before a genesis entry are no leaves: the genesis entry seals them by digest.
A frontier grows by leaves or by whole ranges computed elsewhere, and needs 32 · log2(n) bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

HASH = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
_sha256 = hashlib.sha256


def leaf(line: bytes) -> bytes:
    """The leaf hash of a line (without LF)."""
    return _sha256(b"\0" + line).digest()


def node(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return _sha256(b"\1" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Range:
    """The leaves `start` to `start + count - 1`, as the roots of their largest aligned subtrees: (level, hash)."""

    start: int
    count: int
    nodes: tuple[tuple[int, bytes], ...]

    @classmethod
    def of(cls, start: int, leaves: Sequence[bytes]) -> Range:
        """The range of leaf hashes that begins at leaf `start`."""
        first, level, hashes = start, 0, list(leaves)
        left: list[tuple[int, bytes]] = []
        right: list[tuple[int, bytes]] = []
        while hashes:
            if first % 2:
                left.append((level, hashes.pop(0)))
                first += 1
            if len(hashes) % 2:
                right.append((level, hashes.pop()))
            pairs = iter(hashes)
            hashes = [_sha256(b"\1" + one + two).digest() for one, two in zip(pairs, pairs, strict=True)]
            first, level = first // 2, level + 1
        return cls(start, len(leaves), (*left, *reversed(right)))


class Frontier:
    """A tree that only grows."""

    __slots__ = ("_nodes", "size")

    def __init__(self) -> None:
        self.size = 0
        self._nodes: list[bytes] = []

    @classmethod
    def resumed(cls, size: int, nodes: Sequence[bytes]) -> Frontier:
        """The frontier that `nodes` said; raises ValueError where they cannot be those of a tree of `size` leaves."""
        if size < 0 or len(nodes) != size.bit_count() or any(len(each) != HASH for each in nodes):
            raise ValueError(f"{len(nodes)} nodes are no frontier of {size} leaves")
        frontier = cls()
        frontier.size, frontier._nodes = size, list(nodes)
        return frontier

    @property
    def nodes(self) -> tuple[bytes, ...]:
        """The roots of the perfect subtrees, the largest (leftmost) first."""
        return tuple(self._nodes)

    def copy(self) -> Frontier:
        """An independent frontier of the same leaves."""
        return Frontier.resumed(self.size, self._nodes)

    def add(self, leaf_hash: bytes) -> None:
        """One more leaf."""
        self._push(0, leaf_hash)

    def extend(self, leaves: Range) -> None:
        """The leaves of a range that begins where the tree ends; raises ValueError for any other range."""
        if leaves.start != self.size:
            raise ValueError(f"a range from {leaves.start} cannot follow {self.size} leaves")
        for level, hashed in leaves.nodes:
            self._push(level, hashed)

    def root(self) -> bytes:
        """The tree head; SHA-256 of nothing for an empty tree."""
        if not self._nodes:
            return EMPTY_ROOT
        root = self._nodes[-1]
        for left in reversed(self._nodes[:-1]):
            root = node(left, root)
        return root

    def _push(self, level: int, hashed: bytes) -> None:
        grown = self.size + (1 << level)
        # Two subtrees of one size make the next one, as a carry does in binary addition.
        while self.size >> level & 1:
            hashed = node(self._nodes.pop(), hashed)
            level += 1
        self._nodes.append(hashed)
        self.size = grown
