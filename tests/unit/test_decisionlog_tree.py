"""The tree over the log: the same root leaf by leaf, range by range, and by the definition of RFC 6962."""

from __future__ import annotations

import hashlib
import random

import pytest

from stage4.decisionlog.checkpoints.tree import EMPTY_ROOT, Frontier, Range, leaf, node

LEAVES = [leaf(str(number).encode()) for number in range(70)]


def defined_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return node(defined_root(leaves[:half]), defined_root(leaves[half:]))


def grown(leaves: list[bytes]) -> Frontier:
    tree = Frontier()
    for each in leaves:
        tree.add(each)
    return tree


def test_a_leaf_and_a_node_are_hashed_apart() -> None:
    assert leaf(b"x") == hashlib.sha256(b"\x00x").digest()
    assert node(b"a", b"b") == hashlib.sha256(b"\x01ab").digest()
    assert Frontier().root() == EMPTY_ROOT == hashlib.sha256().digest()


@pytest.mark.parametrize("size", range(len(LEAVES)))
def test_the_root_is_the_one_that_rfc_6962_defines(size: int) -> None:
    tree = grown(LEAVES[:size])
    assert tree.size == size
    assert tree.root() == defined_root(LEAVES[:size])
    assert len(tree.nodes) == size.bit_count()


def test_a_tree_grows_by_any_ranges_to_the_same_frontier() -> None:
    chance = random.Random(6962)
    for _ in range(50):
        tree = Frontier()
        while tree.size < len(LEAVES):
            count = chance.randint(1, 20)
            tree.extend(Range.of(tree.size, LEAVES[tree.size : tree.size + count]))
        assert tree.nodes == grown(LEAVES).nodes


def test_an_empty_range_changes_nothing() -> None:
    tree = grown(LEAVES[:5])
    tree.extend(Range.of(5, []))
    assert tree.nodes == grown(LEAVES[:5]).nodes


def test_a_range_follows_only_where_the_tree_ends() -> None:
    with pytest.raises(ValueError, match="cannot follow 5"):
        grown(LEAVES[:5]).extend(Range.of(6, LEAVES[6:8]))


@pytest.mark.parametrize("size", [0, 1, 2, 3, 31, 32, 33])
def test_a_resumed_frontier_goes_on_as_if_it_had_never_stopped(size: int) -> None:
    tree = Frontier.resumed(size, grown(LEAVES[:size]).nodes)
    tree.extend(Range.of(size, LEAVES[size:]))
    assert tree.root() == defined_root(LEAVES)


@pytest.mark.parametrize(("size", "nodes"), [(-1, []), (1, []), (2, [b"1" * 32] * 2), (3, [b"1" * 32, b"2" * 31])])
def test_nodes_that_are_no_frontier_are_refused(size: int, nodes: list[bytes]) -> None:
    with pytest.raises(ValueError, match="no frontier"):
        Frontier.resumed(size, nodes)


def test_a_copy_grows_alone() -> None:
    tree = grown(LEAVES[:5])
    copy = tree.copy()
    copy.add(LEAVES[5])
    assert (tree.size, copy.size) == (5, 6)
    assert tree.root() == defined_root(LEAVES[:5])
