"""Whoever judges a line, alone, in bulk or in another process, and whatever the blocks: the verdict is the same."""

from __future__ import annotations

import base64
import itertools
import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stage4.decisionlog.blocks import Block, plain_blocks
from stage4.decisionlog.checkpoints.tree import Frontier, leaf
from stage4.decisionlog.entry import KEY_ROTATION, Entry
from stage4.decisionlog.filter import Filter
from stage4.decisionlog.verification.blame import Blame
from stage4.decisionlog.verification.examine import Examiner
from stage4.decisionlog.verification.input import InputPart
from stage4.decisionlog.verification.parallel import Workers
from stage4.decisionlog.verification.run import BulkJudge, Judge, Run, Slow, one_by_one
from stage4.decisionlog.verification.trail import Trail
from stage4.decisionlog.verification.verdict import Finding, Verdict
from stage4.decisionlog.verification.walk import Task, Walk
from stage4.security.keyring import KeyRing, create_keyring
from support.decision_logs import LogRoom, draft

Lines = list[bytes]
ENTRIES = 60
NOT_ENTRIES = (b"", b"  ", b"[]", b"no JSON at all", b'{"v":3}', b'{"kind":"old"}', b"\xef\xbb\xbf{}", b"\xff")


class Watching(Trail):
    """A trail that asks for some sizes of the tree, and remembers what it was told."""

    def __init__(self, sizes: frozenset[int]) -> None:
        super().__init__()
        self._asked = sizes
        self.told: list[tuple[int, bytes | None, bool]] = []

    def sizes(self) -> frozenset[int]:
        return self._asked

    def placed(self, entry: Entry, leaf: bytes, frontier: Frontier | None, authentic: bool) -> tuple[Blame, ...]:
        if entry.seq + 1 in self._asked:
            self.told.append((entry.seq, None if frontier is None else frontier.root(), authentic))
        return super().placed(entry, leaf, frontier, authentic)


def second_key(room: LogRoom) -> KeyRing:
    """The room's ring with a second active key."""
    second = create_keyring(room.ring.path.with_name("second.json"), room.clock.now().replace(month=12))
    ring = json.loads(room.ring.path.read_text())
    ring["keys"] += json.loads(second.path.read_text())["keys"]
    room.ring.path.write_text(json.dumps(ring))
    return KeyRing.load(room.ring.path, {})


class Logs:
    """A log whose key changes in the middle, a copy that went its own way, and another log under the same key."""

    def __init__(self, folder: Path) -> None:
        self.room = LogRoom.create(folder / "one", ENTRIES // 2)
        self.ring = second_key(self.room)
        room = LogRoom(self.room.path, self.ring, self.room.clock)
        facts = {"next_key_id": "ops-2026-12", "next_fingerprint": self.ring.keys["ops-2026-12"].fingerprint}
        room.log().append(draft(kind=KEY_ROTATION, metadata=facts))
        room.log().append_many([draft(number) for number in range(ENTRIES // 2)])
        self.lines = room.lines()
        room.put(self.lines[:40])
        room.log().append_many([draft(number + 100) for number in range(20)])
        self.copy = room.lines()
        self.other = LogRoom.create(folder / "two", 20, self.ring).lines()
        self.path = folder / "attacked.jsonl"
        self.rings = [self.ring, self.changed("ops-2026-11", secret=None), self.changed("ops-2026-12", secret=None)]
        self.rings += [self.changed("ops-2026-11", state="revoked"), self.changed("ops-2026-11", logs=[])]

    def changed(self, key_id: str, **facts: object) -> KeyRing:
        """The ring with one key changed; without its secret where that is None."""
        document = json.loads(self.ring.path.read_text())
        for key in document["keys"]:
            if key["id"] == key_id:
                key |= facts
                if key.pop("secret", "") is None:
                    key["secret_file"] = "nowhere"
        document["active"] = "ops-2026-12"
        path = self.ring.path.with_name("changed.json")
        path.write_text(json.dumps(document))
        return KeyRing.load(path, {})


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Logs:
    return Logs(tmp_path_factory.mktemp("logs"))


def damages(logs: Logs) -> st.SearchStrategy[Callable[[Lines], Lines]]:
    """What an attacker does to the lines: one deed."""
    place = st.integers(0, ENTRIES)
    few = st.integers(1, 30)
    alien = st.sampled_from([*logs.lines, *logs.copy[38:], *logs.other, *NOT_ENTRIES])

    def edited(lines: Lines, at: int, position: int, flip: int) -> Lines:
        if at >= len(lines) or not lines[at]:
            return lines
        line = bytearray(lines[at])
        line[position % len(line)] ^= flip
        return [*lines[:at], *bytes(line).split(b"\n"), *lines[at + 1 :]]

    return st.one_of(
        st.builds(
            lambda at, position, flip: lambda lines: edited(lines, at, position, flip),
            place,
            st.integers(0, 700),
            st.integers(1, 255),
        ),
        st.builds(lambda at, count: lambda lines: lines[:at] + lines[at + count :], place, few),
        st.builds(lambda at, line: lambda lines: [*lines[:at], line, *lines[at:]], place, alien),
        st.builds(lambda at, line: lambda lines: [*lines[:at], line, *lines[at + 1 :]], place, alien),
        st.builds(
            lambda at, count, to: lambda lines: [*lines[:to], *lines[at : at + count], *lines[to:]], place, few, place
        ),
        st.builds(
            lambda at, count: lambda lines: [*lines[:at], *lines[at : at + count][::-1], *lines[at + count :]],
            place,
            few,
        ),
        st.builds(lambda at: lambda lines: lines[:at] + logs.copy[at:], place),
        st.just(lambda lines: [b'{"kind":"old"}', b'{"kind":"older"}', *lines]),
    )


def verdict_of(
    logs: Logs,
    content: bytes,
    size: int,
    sizes: frozenset[int],
    judge: str = "alone",
    *,
    ring: KeyRing | None = None,
    partial: bool = False,
) -> tuple[Verdict, list[tuple[int, bytes | None, bool]]]:
    """The verdict on `content` in blocks of about `size` bytes, judged as `judge` says."""
    logs.path.write_bytes(content)
    examiner = Examiner(ring or logs.ring)
    trail = Watching(sizes)
    wanted = Filter(incident="INC-20261123-0001", until=datetime(2027, 1, 1, tzinfo=UTC))
    task = Task(trail, wanted=wanted, partial=partial)
    bulk = BulkJudge(examiner, frozenset(size - 1 for size in sizes), wanted)
    walk = Walk(examiner, one_by_one if judge == "alone" else bulk, [InputPart(logs.path.name, logs.path)], task)
    end = content.rfind(b"\n") + 1
    descriptor = os.open(logs.path, os.O_RDONLY)
    try:
        blocks = list(plain_blocks(logs.path, descriptor, 0, end, size=size))
        feed(walk, blocks, bulk, judge)
    finally:
        os.close(descriptor)
    return walk.finish(content[end:], ()), trail.told


def feed(walk: Walk, blocks: Sequence[Block], bulk: Judge, judge: str) -> None:
    if judge == "workers" and blocks:
        with Workers(bulk, 2, blocks[0]) as workers:
            for block, stretches in workers.judged(blocks):
                walk.take(block, stretches)
        return
    for block in blocks:
        walk.take(block, bulk(block.lines()) if judge == "elsewhere" else None)


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_the_verdict_does_not_depend_on_blocks_or_on_who_judges(data: st.DataObject, logs: Logs) -> None:
    lines = list(logs.lines)
    for damage in data.draw(st.lists(damages(logs), max_size=4)):
        lines = damage(lines)
    content = b"".join(line + b"\n" for line in lines) + data.draw(st.sampled_from([b"", b"{", logs.lines[3][:200]]))
    sizes = data.draw(st.frozensets(st.integers(1, ENTRIES + 3), max_size=3))
    ring, partial = data.draw(st.sampled_from(logs.rings)), data.draw(st.booleans())
    expected = verdict_of(logs, content, 1 << 20, sizes, ring=ring, partial=partial)
    for judge in ("alone", "here", "elsewhere"):
        size = data.draw(st.sampled_from([200, 1000, 5000, 1 << 20]))
        assert verdict_of(logs, content, size, sizes, judge, ring=ring, partial=partial) == expected


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_worker_processes_give_the_same_verdict(data: st.DataObject, logs: Logs) -> None:
    lines = list(logs.lines)
    for damage in data.draw(st.lists(damages(logs), max_size=3)):
        lines = damage(lines)
    content = b"".join(line + b"\n" for line in lines)
    expected = verdict_of(logs, content, 1 << 20, frozenset({20}))
    assert verdict_of(logs, content, 1500, frozenset({20}), "workers") == expected


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_log_in_parts_has_the_same_findings_at_the_same_lines(data: st.DataObject, logs: Logs) -> None:
    lines = list(logs.lines)
    for damage in data.draw(st.lists(damages(logs), max_size=3)):
        lines = damage(lines)
    # The genesis entry is sought in the first part only.
    lines = [logs.lines[0], *lines[1:]]
    cuts = [0, *sorted(data.draw(st.sets(st.integers(1, len(lines)), max_size=3))), len(lines)]
    content = b"".join(line + b"\n" for line in lines)
    whole, _ = verdict_of(logs, content, 1 << 20, frozenset())

    examiner = Examiner(logs.ring)
    names = [f"part-{number}" for number in range(len(cuts) - 1)]
    task = Task(Watching(frozenset()))
    walk = Walk(examiner, BulkJudge(examiner), [InputPart(name, None) for name in names], task)
    begins: list[int] = []
    for number, (first, end) in enumerate(itertools.pairwise(cuts)):
        begins.append(sum(len(line) + 1 for line in lines[:first]))
        offset = 0
        for line in lines[first:end]:
            walk.take(Block(number, offset, line + b"\n"))
            offset += len(line) + 1
    verdict = walk.finish(b"", ())

    def place(finding: Finding) -> tuple[int, int]:
        part = names.index(finding.part) if finding.part else 0
        return finding.line + cuts[part], finding.offset + begins[part]

    assert [(*place(found), found.seq, found.code) for found in verdict.findings] == [
        (found.line, found.offset, found.seq, found.code) for found in whole.findings
    ]
    assert (verdict.entries, verdict.root, verdict.size) == (whole.entries, whole.root, whole.size)
    assert [part.lines for part in verdict.parts] == [end - first for first, end in itertools.pairwise(cuts)]


def test_an_untouched_log_is_a_few_runs_and_has_the_root_of_its_lines(logs: Logs) -> None:
    bulk = BulkJudge(Examiner(logs.ring))
    stretches = bulk(logs.lines)
    rotation = ENTRIES // 2 + 1
    assert [(type(stretch), stretch.count) for stretch in stretches] == [
        (Slow, 1),
        (Run, rotation - 1),
        (Slow, 1),
        (Run, len(logs.lines) - rotation - 1),
    ]
    tree = Frontier()
    for line in logs.lines:
        tree.add(leaf(line))
    verdict, told = verdict_of(logs, b"".join(line + b"\n" for line in logs.lines), 3000, frozenset({7}), "elsewhere")
    assert verdict.root == base64.b64encode(tree.root()).decode()
    assert [seq for seq, _, _ in told] == [6]
    assert verdict.matched == ENTRIES
    assert verdict.findings == ()
    assert verdict.key_ids == {"ops-2026-11": rotation + 1, "ops-2026-12": ENTRIES // 2}
