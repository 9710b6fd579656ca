"""Checkpoints are made: key leads to key, a failure anywhere is finished by the next call, older copies are refused."""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
import zstandard

from stage4 import files
from stage4.clock import SystemClock
from stage4.decisionlog import archive, key_changes
from stage4.decisionlog.canonical import canonical
from stage4.decisionlog.checkpoints import keys, notary
from stage4.decisionlog.checkpoints.growth import Growth
from stage4.decisionlog.checkpoints.keys import KeyStore
from stage4.decisionlog.checkpoints.lines import log_lines
from stage4.decisionlog.checkpoints.note import Checkpoint
from stage4.decisionlog.checkpoints.tree import Frontier, leaf
from stage4.decisionlog.spot import Scribe
from stage4.decisionlog.traces import checkpoint_path
from stage4.decisionlog.writer import Held
from stage4.errors import Unavailable
from stage4.security.keyring import KeyRing
from support.checkpoint_chain import chain_of
from support.decision_logs import LogRoom, draft

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


@pytest.fixture
def room(tmp_path: Path) -> LogRoom:
    return LogRoom.create(tmp_path, 4)


def make(room: LogRoom) -> notary.Made | None:
    return notary.make(room.log(), room.ring, room.clock)


def grow(room: LogRoom, count: int = 3) -> None:
    room.log().append_many([draft(number) for number in range(count)])


def store(room: LogRoom) -> KeyStore:
    return KeyStore.beside(room.ring.path, room.log_id())


def refusal(room: LogRoom) -> str:
    """Why no checkpoint is made, which asking beforehand tells too."""
    with pytest.raises(Unavailable) as foreseen:
        notary.standing(room.path, room.ring, room.clock)
    with pytest.raises(Unavailable) as refused:
        make(room)
    assert foreseen.value.code == refused.value.code
    return refused.value.code


def test_the_first_checkpoint_covers_everything_and_itself(room: LogRoom) -> None:
    made = make(room)
    assert made is not None
    assert (made.number, made.checkpoint.size, made.resumed) == (0, 6, False)
    assert checkpoint_path(room.path).read_bytes() == made.note.encode()
    assert chain_of(room) == [6]
    assert store(room).path.stat().st_mode & 0o777 == 0o600


def test_nothing_new_makes_no_checkpoint(room: LogRoom) -> None:
    make(room)
    before = room.path.read_bytes()
    assert make(room) is None
    assert room.path.read_bytes() == before


def test_every_checkpoint_leads_to_the_next_one(room: LogRoom) -> None:
    for count in (1, 2, 3, 70, 1):
        make(room)
        grow(room, count)
    make(room)
    assert chain_of(room) == [6, 8, 11, 15, 86, 88]
    assert room.verify().faults == {}


def test_a_log_that_begins_with_version_2_lines_is_covered_from_its_genesis_on(tmp_path: Path) -> None:
    room = LogRoom.create(tmp_path)
    room.path.write_bytes(b'{"kind":"old"}\n\n{"kind":"older"}\n')
    grow(room, 2)
    made = make(room)
    assert made is not None
    tree = Frontier()
    for line in room.lines()[3:]:
        tree.add(leaf(line))
    assert (made.checkpoint.size, made.checkpoint.root) == (4, tree.root())


def test_a_key_that_signed_is_destroyed_where_it_lay(room: LogRoom) -> None:
    make(room)
    grow(room)
    versions = []
    save = KeyStore.save

    def watched(self: KeyStore, fresh: keys.CheckpointKeys) -> None:
        versions.append(os.open(self.path, os.O_RDONLY))
        save(self, fresh)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KeyStore, "save", watched)
        spent = json.loads(store(room).path.read_bytes())["seed"]
        make(room)
    assert len(versions) == 2
    for descriptor in versions:
        content = os.pread(descriptor, 1 << 16, 0)
        os.close(descriptor)
        assert content.strip(b"\0") == b""
        assert content
    assert spent.encode() not in b"".join(path.read_bytes() for path in store(room).path.parent.iterdir())
    assert sorted(path.name for path in store(room).path.parent.glob("checkpoint*")) == [store(room).path.name]


def failing(patch: pytest.MonkeyPatch, owner: object, name: str, turn: int, *, after: bool) -> None:
    """Let call number `turn` of a function fail, before or after it did its work."""
    real: Callable[..., object] = getattr(owner, name)
    calls = 0

    def call(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        result = None if calls == turn and not after else real(*arguments, **named)
        if calls == turn:
            raise Unavailable("files.cannot_write", path="here", reason="the test says so")
        return result

    patch.setattr(owner, name, call)


STEPS = [
    (owner, name, turn, after)
    for owner, name, turns in (
        (KeyStore, "save", (1, 2)),
        (Held, "append", (1,)),
        (files, "atomic_write", (1,)),
        (keys, "_destroy", (1, 2, 3, 4, 5, 6)),
    )
    for turn in turns
    for after in (False, True)
]


@pytest.mark.parametrize("earlier", [0, 1], ids=["first", "later"])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step[1]}-{step[2]}-{'after' if step[3] else 'before'}")
def test_a_failure_at_any_step_is_finished_by_the_next_call(
    room: LogRoom, step: tuple[object, str, int, bool], earlier: int
) -> None:
    for _ in range(earlier):
        make(room)
        grow(room)
    owner, name, turn, after = step
    with pytest.MonkeyPatch.context() as patch:
        failing(patch, owner, name, turn, after=after)
        failed = True
        try:
            make(room)
            failed = False
        except Unavailable:
            pass
    assert failed or name == "_destroy"
    make(room)
    assert len(chain_of(room)) == earlier + 1
    grow(room)
    make(room)
    assert len(chain_of(room)) == earlier + 2


def test_a_checkpoint_that_was_not_finished_is_finished_for_its_own_entry(room: LogRoom) -> None:
    make(room)
    grow(room)
    with pytest.MonkeyPatch.context() as patch:
        failing(patch, files, "atomic_write", 1, after=False)
        with pytest.raises(Unavailable):
            make(room)
    assert (waiting := notary.standing(room.path, room.ring, room.clock)).number == 1
    assert (waiting.covered, waiting.new) == (6, 4)
    made = make(room)
    assert made is not None
    assert (made.number, made.checkpoint.size, made.resumed) == (1, 10, True)
    assert make(room) is None


def test_entries_that_came_after_an_unfinished_checkpoint_get_the_next_one(room: LogRoom) -> None:
    with pytest.MonkeyPatch.context() as patch:
        failing(patch, files, "atomic_write", 1, after=False)
        with pytest.raises(Unavailable):
            make(room)
    grow(room)
    made = make(room)
    assert made is not None
    assert (made.number, made.resumed) == (1, False)
    assert chain_of(room) == [6, 10]


def test_a_checkpoint_that_somebody_makes_meanwhile_is_no_older_copy_of_the_log(
    room: LogRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, made = KeyStore.load, list[notary.Made | None]()

    def late(self: KeyStore) -> keys.CheckpointKeys | None:
        if not made:
            made.append(None)
            made[0] = make(room)
        return load(self)

    monkeypatch.setattr(KeyStore, "load", late)
    assert notary.standing(room.path, room.ring, room.clock) == notary.Standing(room.log_id(), 1, 6, 0)


@pytest.mark.parametrize("content", [None, b"", b"something else\n\n"])
def test_a_note_that_is_gone_from_beside_the_log_is_put_back(room: LogRoom, content: bytes | None) -> None:
    make(room)
    note = checkpoint_path(room.path).read_bytes()
    if content is None:
        checkpoint_path(room.path).unlink()
    else:
        checkpoint_path(room.path).write_bytes(content)
    assert make(room) is None
    assert checkpoint_path(room.path).read_bytes() == note


def test_an_older_copy_of_the_log_is_refused(room: LogRoom) -> None:
    make(room)
    older = room.path.read_bytes()
    grow(room)
    make(room)
    room.path.write_bytes(older)
    assert refusal(room) == "log.behind_note"
    checkpoint_path(room.path).unlink()
    grow(room, 9)
    assert refusal(room) == "checkpoint.log_went_back"
    room.put(room.lines()[:5])
    assert refusal(room) == "checkpoint.log_went_back"


def test_an_older_copy_of_the_keys_is_refused(room: LogRoom) -> None:
    make(room)
    older = store(room).path.read_bytes()
    for _ in range(2):
        grow(room)
        make(room)
    store(room).path.write_bytes(older)
    assert refusal(room) == "checkpoint.keys_went_back"


def test_keys_that_are_gone_or_strange_are_refused(room: LogRoom, tmp_path: Path) -> None:
    make(room)
    mine = store(room).path.read_bytes()
    other = LogRoom.create(tmp_path / "other", 2)
    make(other)
    grow(room)
    size = room.path.stat().st_size
    strange = json.loads(mine) | {"seed": json.loads(mine)["stable_seed"]}
    for content, code in (
        (json.dumps(strange).encode(), "checkpoint.keys_differ"),
        (store(other).path.read_bytes(), "checkpoint.keys_malformed"),
        (b'{"schema": "stage4.checkpoint-keys/1"}', "checkpoint.keys_malformed"),
        (mine.replace(b'"number": 1', b'"number": -1'), "checkpoint.keys_malformed"),
    ):
        store(room).path.write_bytes(content)
        assert refusal(room) == code
    store(room).path.unlink()
    assert refusal(room) == "checkpoint.keys_missing"
    assert room.path.stat().st_size == size


def test_nothing_is_signed_over_lines_that_do_not_follow_each_other(room: LogRoom) -> None:
    make(room)
    grow(room, 5)
    lines = room.lines()
    room.put([*lines[:8], lines[8].replace(b"uwaga", b"Uwaga"), *lines[9:]])
    assert refusal(room) == "checkpoint.log_broken"
    room.put([*lines[:8], *lines[9:]])
    assert refusal(room) == "checkpoint.log_broken"


def test_a_log_that_changes_each_time_it_is_read_is_not_blamed(room: LogRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    read = notary.Growth.of
    rounds: list[int] = []

    def changing(path: Path, scribe: Scribe) -> Growth:
        growth = read(path, scribe)
        rounds.append(1)
        grow(room, 1)
        archive.rotate(room.log())
        return growth

    monkeypatch.setattr(notary.Growth, "of", changing)
    with pytest.raises(Unavailable, match=r"checkpoint\.log_moving"):
        make(room)
    assert len(rounds) == 5
    monkeypatch.undo()
    assert make(room) is not None


def test_a_checkpoint_entry_that_was_edited_is_not_built_upon(room: LogRoom) -> None:
    make(room)
    lines = room.lines()
    room.put([*lines[:-1], lines[-1].replace(b'"number":0', b'"number":1')])
    with pytest.raises(Unavailable):
        make(room)


def test_a_checkpoint_entry_that_a_holder_of_the_key_wrote_anew_is_not_built_upon(room: LogRoom) -> None:
    make(room)
    facts = json.loads(room.payload(5))
    facts["metadata"]["frontier"].reverse()
    room.put([*room.lines()[:5], room.sealed(canonical(facts))])
    assert refusal(room) == "checkpoint.log_differs"
    facts["metadata"]["frontier"].pop()
    room.put([*room.lines()[:5], room.sealed(canonical(facts))])
    assert refusal(room) == "checkpoint.log_broken"


def test_another_entry_that_mentions_a_checkpoint_is_none(room: LogRoom) -> None:
    make(room)
    room.log().append(draft(metadata={"inner": {"kind": "checkpoint"}, "text": '"kind":"checkpoint"'}))
    make(room)
    room.log().append(draft(metadata={"inner": {"kind": "checkpoint"}}))
    assert notary.standing(room.path, room.ring, room.clock).new == 1
    make(room)
    assert chain_of(room) == [6, 8, 10]


def test_no_log_makes_no_checkpoint(tmp_path: Path) -> None:
    room = LogRoom.create(tmp_path)
    assert refusal(room) == "files.missing"
    assert not room.path.exists()


def cut(room: LogRoom, begin: int, end: int, suffix: str) -> None:
    """Put the lines between two numbers into an archive, as a rotation does."""
    content = b"".join(line + b"\n" for line in room.lines()[: end - begin])
    room.put(room.lines()[end - begin :])
    packed = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[suffix](content)
    room.path.with_name(f"runtime-{begin:010d}.jsonl{suffix}").write_bytes(packed)


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_the_tree_goes_on_over_archives(room: LogRoom, suffix: str) -> None:
    whole = room.lines()
    cut(room, 0, 3, suffix)
    make(room)
    grow(room, 6)
    whole += room.lines()[len(whole) - 3 :]
    cut(room, 3, 8, suffix)
    cut(room, 8, 10, suffix)
    assert notary.standing(room.path, room.ring, room.clock) == notary.Standing(room.log_id(), 1, 6, 6)
    made = make(room)
    assert made is not None
    assert chain_of(room, [*whole, room.lines()[-1]]) == [6, 13]


@pytest.mark.parametrize("compression", ["zst", "gz"])
def test_a_rotation_between_two_checkpoints_changes_nothing(room: LogRoom, compression: Literal["zst", "gz"]) -> None:
    for _ in range(3):
        make(room)
        grow(room)
        archive.rotate(room.log(), compression=compression)
    made = make(room)
    assert made is not None
    lines = [line for some in log_lines(room.path) for line in some]
    assert chain_of(room, lines)[-1] == made.checkpoint.size == len(lines) == 21


def test_checkpoints_go_on_when_the_secret_of_a_former_key_is_gone(room: LogRoom) -> None:
    make(room)
    former = room.ring.active
    key_changes.rotate(room.log(), room.ring, room.clock, "yearly")
    grow(LogRoom(room.path, KeyRing.load(room.ring.path, {}), room.clock))
    (room.ring.path.parent / f"{former}.key").unlink()
    later = LogRoom(room.path, KeyRing.load(room.ring.path, {}), room.clock)
    assert not later.ring.keys[former].available
    made = make(later)
    assert made is not None
    assert chain_of(later) == [6, 11]


def test_several_makers_writers_and_a_rotation_at_once_keep_one_chain(tmp_path: Path) -> None:
    room = LogRoom.create(tmp_path, 4, clock=SystemClock())
    failures: list[Unavailable] = []

    def work(turn: Callable[[], object]) -> None:
        try:
            for _ in range(12):
                turn()
        except Unavailable as error:
            failures.append(error)

    turns = (
        lambda: make(room),
        lambda: make(room),
        lambda: grow(room, 2),
        lambda: grow(room, 1),
        lambda: archive.rotate(room.log()),
    )
    threads = [threading.Thread(target=work, args=(turn,)) for turn in turns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    make(room)
    lines = [line for some in log_lines(room.path) for line in some]
    sizes = chain_of(room, lines)
    rotations = sum(b'"kind":"segment"' in line for line in lines)
    assert sizes[-1] == len(lines) == 5 + 36 + rotations + len(sizes)


def test_a_pin_names_the_first_key_however_many_have_followed(room: LogRoom) -> None:
    assert notary.pin_of(room.ring, room.log_id()) is None
    first = make(room)
    assert first is not None
    grow(room)
    make(room)
    assert notary.pin_of(room.ring, room.log_id()) == first.pin
    assert Checkpoint.of(first.note).origin == f"stage4-log/{room.log_id()}"


@pytest.mark.parametrize(
    ("entries", "covered", "minutes", "expected"),
    [
        (0, 0, None, False),
        (10, 10, 60, False),
        (10, 12, 60, False),
        (109, 10, None, False),
        (110, 10, None, True),
        (110, 10, 0, True),
        (11, 10, None, False),
        (11, 10, 14.9, False),
        (11, 10, 15, True),
    ],
)
def test_a_checkpoint_is_due_after_so_many_entries_or_minutes(
    entries: int, covered: int, minutes: float | None, expected: bool
) -> None:
    since = None if minutes is None else NOON - timedelta(minutes=minutes)
    assert notary.due(entries - 1, covered, since, NOON, 100, 15) is expected
