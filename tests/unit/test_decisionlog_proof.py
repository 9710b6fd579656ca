"""Proofs: made in one pass, checked by anybody, refused when anything about them is not right."""

from __future__ import annotations

from pathlib import Path

import pytest

from stage4.decisionlog.checkpoints import judging, notary, proving
from stage4.decisionlog.checkpoints.judging import Proven
from stage4.decisionlog.checkpoints.keys import KeyStore
from stage4.decisionlog.checkpoints.note import Checkpoint, Note, NoteError, SignerKey, VerifierKey
from stage4.decisionlog.checkpoints.proof import (
    Consistency,
    Inclusion,
    ProofError,
    Roots,
    check_consistency,
    check_inclusion,
    consistency_spans,
    inclusion_spans,
    parse,
)
from stage4.decisionlog.checkpoints.tree import Frontier, Range, leaf
from stage4.errors import Conflict, Unavailable, UsageError
from support.decision_logs import LogRoom, draft

LEAVES = [leaf(str(number).encode()) for number in range(40)]


def root_of(leaves: list[bytes]) -> bytes:
    tree = Frontier()
    tree.extend(Range.of(0, leaves))
    return tree.root()


def split(count: int) -> int:
    half = 1
    while half * 2 < count:
        half *= 2
    return half


def defined_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962, section 2.1.1, word for word."""
    if len(leaves) == 1:
        return []
    half = split(len(leaves))
    if index < half:
        return [*defined_path(index, leaves[:half]), root_of(leaves[half:])]
    return [*defined_path(index - half, leaves[half:]), root_of(leaves[:half])]


def defined_consistency(old: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 6962, section 2.1.2, word for word."""
    if old == len(leaves):
        return [] if whole else [root_of(leaves)]
    half = split(len(leaves))
    if old <= half:
        return [*defined_consistency(old, leaves[:half], whole), root_of(leaves[half:])]
    return [*defined_consistency(old - half, leaves[half:], False), root_of(leaves[:half])]


def roots(spans: tuple[tuple[int, int], ...], size: int, step: int = 7) -> list[bytes]:
    """The roots of `spans`, the leaves fed in pieces."""
    fed = Roots(spans)
    for start in range(0, size, step):
        fed.feed(start, LEAVES[start : min(size, start + step)])
    return list(fed.hashes())


@pytest.mark.parametrize("size", range(1, len(LEAVES) + 1))
def test_every_proof_of_a_tree_is_the_defined_one_and_holds(size: int) -> None:
    leaves = LEAVES[:size]
    for index in range(size):
        path = roots(inclusion_spans(index, size), size)
        assert path == defined_path(index, leaves)
        check_inclusion(index, size, leaves[index], path, root_of(leaves))
        old = index + 1
        proof = roots(consistency_spans(old, size), size)
        assert proof == defined_consistency(old, leaves)
        check_consistency(old, size, proof, root_of(leaves[:old]), root_of(leaves))


def test_a_proof_holds_for_no_other_leaf_number_or_size() -> None:
    path = roots(inclusion_spans(11, 21), 21)
    for index, size, hashed in ((10, 21, LEAVES[11]), (11, 40, LEAVES[11]), (11, 12, LEAVES[11]), (11, 21, LEAVES[10])):
        with pytest.raises(ProofError):
            check_inclusion(index, size, hashed, path, root_of(LEAVES[:21]))


def test_leaves_that_were_not_fed_are_missed() -> None:
    fed = Roots(inclusion_spans(3, 8))
    fed.feed(0, LEAVES[:6])
    with pytest.raises(ProofError, match="leaves"):
        fed.hashes()


@pytest.mark.parametrize("numbers", [(5, 5), (-1, 5), (0, 0)])
def test_no_path_leads_to_a_leaf_outside_the_tree(numbers: tuple[int, int]) -> None:
    with pytest.raises(ProofError, match="index"):
        inclusion_spans(*numbers)


@pytest.mark.parametrize("numbers", [(0, 5), (6, 5), (0, 0)])
def test_no_tree_begins_with_nothing_or_with_a_larger_one(numbers: tuple[int, int]) -> None:
    with pytest.raises(ProofError, match="sizes"):
        consistency_spans(*numbers)


@pytest.fixture
def room(tmp_path: Path) -> LogRoom:
    """Three checkpoints, of 6, 11 and 16 entries, and two entries that none covers."""
    room = LogRoom.create(tmp_path, 4)
    for number in (4, 4, 2):
        notary.make(room.log(), room.ring, room.clock)
        room.log().append_many([draft(each) for each in range(number)])
    return room


def pins(room: LogRoom) -> tuple[VerifierKey, ...]:
    return judging.pins_of(notary.pin_of(room.ring, room.log_id()) or "")


def proven(room: LogRoom, content: bytes, old: Note | None = None) -> Proven:
    return judge(room, parse(content), old=old)


def test_every_covered_entry_is_proven_by_its_file_and_the_pin_alone(room: LogRoom) -> None:
    for seq, line in enumerate(room.lines()[:16]):
        content = proving.prove_inclusion(room.path, seq).encode()
        result = proven(room, content)
        assert (result.size, result.log_id, result.forward) == (16, room.log_id(), False)
        assert result.entry is not None
        assert result.entry.seq == seq
        assert Inclusion.parse(content).line == line
        assert Inclusion.parse(content).encode() == content


def test_the_first_checkpoint_is_vouched_for_by_the_pinned_forward_key(tmp_path: Path) -> None:
    room = LogRoom.create(tmp_path, 4)
    notary.make(room.log(), room.ring, room.clock)
    result = proven(room, proving.prove_inclusion(room.path, 2).encode())
    assert (result.forward, result.key) == (True, pins(room)[0])


def test_the_growth_of_the_log_is_proven_from_the_auditors_own_checkpoint(room: LogRoom, tmp_path: Path) -> None:
    notes = {size: note_of(room, size) for size in (6, 11, 16)}
    for old, new in ((6, 11), (6, 16), (11, 16), (6, None), (16, 16)):
        content = proving.prove_consistency(room.path, old, new).encode()
        result = proven(room, content, notes[old])
        assert (result.old, result.size) == (old, new or 16)
        assert Consistency.parse(content).encode() == content


def note_of(room: LogRoom, size: int) -> Note:
    return proving.prove_consistency(room.path, size, size).note


def test_a_number_that_is_no_checkpoints_size_is_answered_with_the_nearest(room: LogRoom) -> None:
    with pytest.raises(UsageError) as refused:
        proving.prove_consistency(room.path, 7, None)
    assert refused.value.params == {"size": 7, "nearest": "6, 11, 16"}
    with pytest.raises(UsageError) as turned:
        proving.prove_consistency(room.path, 11, 6)
    assert turned.value.code == "checkpoint.sizes_turned"


def test_an_entry_that_no_checkpoint_covers_has_no_proof(room: LogRoom, tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as uncovered:
        proving.prove_inclusion(room.path, 17)
    assert (uncovered.value.code, uncovered.value.params["size"]) == ("checkpoint.not_covered", 16)
    with pytest.raises(UsageError) as missing:
        proving.prove_inclusion(room.path, 18)
    assert (missing.value.code, missing.value.params["last"]) == ("checkpoint.no_such_entry", 17)
    blank = LogRoom.create(tmp_path / "blank", 2)
    with pytest.raises(Unavailable) as none:
        proving.prove_inclusion(blank.path, 0)
    assert none.value.code == "checkpoint.none_yet"


def test_a_log_that_was_changed_after_its_checkpoint_proves_nothing(room: LogRoom) -> None:
    lines = room.lines()
    lines[3] = lines[3].replace(b"uwaga", b"Uwaga")
    room.put(lines)
    for prove in (lambda: proving.prove_inclusion(room.path, 9), lambda: proving.prove_consistency(room.path, 6, 16)):
        with pytest.raises(Conflict) as refused:
            prove()
        assert refused.value.code == "checkpoint.log_differs"
    room.put(room.lines()[:10])
    with pytest.raises(Conflict):
        proving.prove_inclusion(room.path, 9)


def judge(room: LogRoom, proof: Inclusion | Consistency, **given: object) -> Proven:
    keys = given.get("pins", pins(room))
    assert isinstance(keys, tuple)
    if isinstance(proof, Consistency):
        old = given.get("old")
        assert isinstance(old, Note)
        return judging.judge_consistency(proof, old, keys)
    line = given.get("line", proof.line)
    assert isinstance(line, bytes)
    own = given.get("own")
    assert own is None or isinstance(own, Note)
    return judging.judge_inclusion(proof, line, keys, own)


def reason(room: LogRoom, proof: Inclusion | Consistency, **given: object) -> str:
    with pytest.raises(ProofError) as refused:
        judge(room, proof, **given)
    return refused.value.reason


def test_a_proof_that_does_not_hold_says_why(room: LogRoom, tmp_path: Path) -> None:
    good = proving.prove_inclusion(room.path, 9)
    lines = room.lines()
    assert good.line is not None
    stranger = SignerKey(pins(room)[1].name, bytes(32))
    forged = Note(good.note.text, (stranger.sign(good.note.text),))
    torn = Note(good.note.text.replace("\n16\n", "\n15\n"), good.note.signatures)
    assert reason(room, good, line=lines[8]) == "entry"
    assert reason(room, Inclusion(9, good.hashes, good.note, lines[8])) == "root"
    assert reason(room, Inclusion(8, good.hashes, good.note, good.line)) == "root"
    assert reason(room, Inclusion(16, good.hashes, good.note, good.line)) == "index"
    assert reason(room, Inclusion(9, good.hashes[:-1], good.note, good.line)) == "length"
    assert reason(room, Inclusion(9, good.hashes, forged, good.line)) == "key"
    assert reason(room, Inclusion(9, good.hashes, torn, good.line)) == "signature"
    assert reason(room, good, pins=(VerifierKey(pins(room)[1].name, stranger.verifier.public),)) == "key"
    other = LogRoom.create(tmp_path / "other", 4)
    notary.make(other.log(), other.ring, other.clock)
    assert reason(room, good, pins=pins(other)) == "key"
    assert judge(room, good, own=note_of(room, 16)).own
    assert reason(room, good, own=note_of(room, 11)) == "own_size"
    assert reason(room, good, own=note_of(other, 6)) == "origin"
    rewritten = Checkpoint(Checkpoint.of(good.note).origin, 16, root_of(LEAVES[:16])).text
    assert reason(room, good, own=Note(rewritten, good.note.signatures)) == "own_root"
    growth = proving.prove_consistency(room.path, 6, 16)
    assert reason(room, growth, old=note_of(room, 11)) == "old"
    assert reason(room, growth, old=note_of(other, 6)) == "origin"
    assert reason(room, Consistency(6, growth.hashes[1:], growth.note), old=note_of(room, 6)) == "length"
    assert reason(room, Consistency(6, growth.hashes[::-1], growth.note), old=note_of(room, 6)) == "root"


def test_a_rewritten_history_is_not_consistent_with_the_checkpoint_that_the_auditor_kept(room: LogRoom) -> None:
    kept = note_of(room, 11)
    checkpoint = Checkpoint.of(kept)
    rewritten = Checkpoint(checkpoint.origin, 11, root_of(LEAVES[:11])).text
    # Whoever takes the machine over can sign another history, and not make it begin with the one that was kept.
    keys = KeyStore.beside(room.ring.path, room.log_id()).load()
    assert keys is not None
    forged = Note(rewritten, (keys.stable.sign(rewritten),))
    growth = proving.prove_consistency(room.path, 11, 16)
    assert reason(room, growth, old=forged) == "root"
    assert reason(room, growth, old=Note(rewritten, kept.signatures)) == "signature"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"c2sp.org/tlog-proof@v2\nindex 1\n\n",
        b"c2sp.org/tlog-proof@v1\n\n",
        b"c2sp.org/tlog-proof@v1\nextra !\nindex 1\n\n",
        b"c2sp.org/tlog-proof@v1\nextra AA==\n\n",
        b"c2sp.org/tlog-proof@v1\nindex 01\n\n",
        b"c2sp.org/tlog-proof@v1\nindex -1\n\n",
        b"c2sp.org/tlog-proof@v1\nindex 1\nAAAA\n\n",
        b"old 1\nAA=\n\n",
        b"old \xff\n\n",
        b"old 99999999999999999\n\n",
        b"old 1\n" + b"A" * 43 + b"=\n" * 1,
        b"old 1\n" + (b"A" * 43 + b"=\n") * 64 + b"\n",
    ],
)
def test_a_file_of_another_form_is_no_proof(content: bytes, room: LogRoom) -> None:
    note = notary.newest_note(room.path)
    assert note is not None
    with pytest.raises(ProofError, match="shape"):
        parse(content + note.encode() if content.endswith(b"\n\n") else content)


def test_the_note_of_a_proof_is_read_as_strictly_as_any_other(room: LogRoom) -> None:
    with pytest.raises(NoteError):
        parse(proving.prove_inclusion(room.path, 3).encode()[:-2])


def test_a_pin_file_holds_keys_and_comments_and_nothing_else(room: LogRoom) -> None:
    text = notary.pin_of(room.ring, room.log_id()) or ""
    assert judging.pins_of(f"# kept by the auditor\n\n{text}") == pins(room)
    with pytest.raises(UsageError, match=r"verify\.bad_pin .*line=2"):
        judging.pins_of("# kept by the auditor\nnot a key\n")
