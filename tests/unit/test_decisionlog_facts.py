"""A checkpoint entry's facts: read back as written, and nothing that differs in a single thing is taken for one."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stage4.decisionlog.checkpoints import notary
from stage4.decisionlog.checkpoints.facts import CheckpointFacts
from stage4.decisionlog.checkpoints.note import NoteError
from stage4.decisionlog.entry import Entry
from stage4.decisionlog.reading import entry_of
from support.decision_logs import LogRoom, draft


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[Entry]:
    """The checkpoint entries of a log with two checkpoints, of 5 and of 9 entries."""
    room = LogRoom.create(Path(tmp_path_factory.mktemp("log")), 3)
    for _ in range(2):
        notary.make(room.log(), room.ring, room.clock)
        room.log().append_many([draft(1), draft(2), draft(3)])
    found = [entry_of(room.lines()[index], 0, 0) for index in (4, 8)]
    return [entry for entry in found if entry is not None]


def test_facts_read_back_as_they_were_written(entries: list[Entry]) -> None:
    first, second = map(CheckpointFacts.read, entries)
    for facts, entry in zip((first, second), entries, strict=True):
        assert dict(facts.draft().metadata) == dict(entry.metadata)
        assert facts.tree(entry.seq).size == entry.seq
    assert (first.previous, second.number, second.key) == (None, 1, first.next_key)


Change = Callable[[dict[str, Any]], object]


def changed(**members: object) -> Change:
    return lambda facts: facts.update(members)


CHANGES: list[Change] = [
    changed(number="1"),
    changed(number=True),
    changed(number=-1),
    changed(number=0),
    changed(previous=None),
    changed(previous=1),
    changed(previous="no note"),
    changed(extra=1),
    changed(key=None),
    changed(key="x"),
    changed(frontier=None),
    changed(frontier=[]),
    changed(frontier=[base64.b64encode(bytes(31)).decode()]),
    changed(frontier=["!" * 44]),
    changed(frontier=[1]),
    lambda facts: facts.pop("stable_key"),
    lambda facts: facts.update(key=facts["stable_key"]),
    lambda facts: facts.update(stable_key=facts["key"]),
    lambda facts: facts.update(next_key=facts["key"]),
    lambda facts: facts.update(key=facts["key"] + " "),
    lambda facts: facts.update(previous=facts["previous"] + "\n"),
    lambda facts: facts.update(previous=facts["previous"].replace("\n5\n", "\n9\n")),
    lambda facts: facts.update(previous=facts["previous"].replace("\n5\n", "\n0\n")),
    lambda facts: facts.update(previous=facts["previous"].replace("stage4-log/", "stage4-log/x", 1)),
    lambda facts: facts["frontier"].append(facts["frontier"][0]),
]


@pytest.mark.parametrize("change", CHANGES)
def test_facts_that_differ_in_a_single_thing_are_refused(entries: list[Entry], change: Change) -> None:
    facts = json.loads(json.dumps(dict(entries[1].metadata)))
    change(facts)
    with pytest.raises(NoteError):
        CheckpointFacts.read(dataclasses.replace(entries[1], metadata=facts))


@pytest.mark.parametrize(
    "members", [{"kind": "note"}, {"category": "stage4_incident"}, {"log_id": "B" * 22}, {"seq": 7}]
)
def test_facts_belong_to_the_entry_that_they_stand_in(entries: list[Entry], members: dict[str, Any]) -> None:
    with pytest.raises(NoteError):
        CheckpointFacts.read(dataclasses.replace(entries[1], **members))
