"""Follows the checkpoints of a log from the first key on, as an auditor with the pin would, by hand."""

from __future__ import annotations

import base64
import json

from stage4.decisionlog.checkpoints import judging, notary
from stage4.decisionlog.checkpoints.note import Checkpoint, Note, VerifierKey
from stage4.decisionlog.checkpoints.tree import Frontier, leaf
from support.decision_logs import LogRoom


def chain_of(room: LogRoom, lines: list[bytes] | None = None) -> list[int]:
    """The sizes of the checkpoints of `lines` (the live log's where none are given).

    AssertionError unless key leads to key, every note is signed by both keys, and every root is the tree's.
    """
    forward, stable = judging.pins_of(notary.pin_of(room.ring, room.log_id()) or "")
    newest = notary.newest_note(room.path)
    assert newest is not None
    tree, sizes, pending = Frontier(), [], None
    for line in lines or room.lines():
        entry = json.loads(line)
        if entry["kind"] == "checkpoint":
            facts = entry["metadata"]
            assert facts["number"] == len(sizes)
            assert VerifierKey.parse(facts["key"]) == forward
            assert [base64.b64decode(node) for node in facts["frontier"]] == list(tree.nodes)
            if pending is not None:
                _judge(Note.parse(facts["previous"].encode()), *pending)
        tree.add(leaf(line))
        if entry["kind"] == "checkpoint":
            pending = forward, stable, tree.size, tree.root()
            sizes.append(tree.size)
            forward = VerifierKey.parse(entry["metadata"]["next_key"])
    assert pending is not None
    _judge(newest, *pending)
    return sizes


def _judge(note: Note, forward: VerifierKey, stable: VerifierKey, size: int, root: bytes) -> None:
    assert note.signed_by([forward, stable]) == (forward, stable)
    assert Checkpoint.of(note) == Checkpoint(stable.name, size, root)
