"""Damaged and invented bytes for every reader of the decision log; the soak explores the same targets by coverage."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.fuzzing import Grounds, corpus, targets

NAMES = ("log", "gzip", "zstd", "v2", "ring", "keys", "manifest", "note", "proof")
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.sampled_from(("flip", "cut", "put", "repeat")),
        st.one_of(
            st.binary(min_size=1, max_size=8),
            st.sampled_from(
                (b"\n", b'"', b"{", b"}}", b"\\u0022", b"\xe2\x80\xa8", b'"seq":4,', b"NaN", b"\x00", b"\r")
            ),
        ),
    ),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Grounds:
    return Grounds.create(tmp_path_factory.mktemp("fuzz"))


def damaged(content: bytes, edits: list[tuple[float, str, bytes]]) -> bytes:
    """`content` after each edit at its place, as a share of the length."""
    for share, edit, piece in edits:
        place = min(int(share * len(content)), max(0, len(content) - 1))
        end = place + len(piece)
        match edit:
            case "flip":
                flipped = bytes(byte ^ (piece[0] or 1) for byte in content[place : place + 1])
                content = content[:place] + flipped + content[place + 1 :]
            case "cut":
                content = content[:place] + content[end * 7 :]
            case "put":
                content = content[:place] + piece + content[place:]
            case _:
                content = content[:end] + content[place:]
    return content


@pytest.mark.parametrize("name", NAMES)
def test_every_target_takes_its_genuine_material(grounds: Grounds, name: str) -> None:
    for content in corpus(grounds)[name]:
        targets(grounds)[name](content)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS, junk=st.binary(max_size=200), which=st.integers(0, 3))
def test_damage_gives_a_verdict_or_an_error_of_ours(
    grounds: Grounds, name: str, edits: list[tuple[float, str, bytes]], junk: bytes, which: int
) -> None:
    target: Callable[[bytes], None] = targets(grounds)[name]
    material = corpus(grounds)[name]
    target(junk if which == 3 else damaged(material[which % len(material)], edits))
