"""A change of keys cut off at every single call to the operating system: services go on, and the next call finishes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from stage4.decisionlog import key_changes
from stage4.decisionlog.checkpoints import notary
from stage4.decisionlog.traces import checkpoint_path
from stage4.decisionlog.verification.trail import Given, Trail
from stage4.decisionlog.verification.verdict import Verdict
from stage4.decisionlog.verification.verifier import verify
from stage4.decisionlog.writer import DecisionLog
from stage4.errors import ExitCode
from stage4.security.keyring import KeyRing, KeyState
from support.decision_logs import LogRoom, draft

CALLS = ("open", "write", "pwrite", "fsync", "fdatasync", "rename", "link", "unlink", "ftruncate", "fchmod")
FIRST = "ops-2026-11"
Change = Callable[[LogRoom], object]


class Killed(BaseException):
    """The process is gone; nothing catches it, and no call works any more."""


def cut_off(change: Change, room: LogRoom, after: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run `change` until `after` calls were made; whether it was cut off."""
    made = 0

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal made
            made += 1
            if made > after:
                raise Killed
            return call(*args, **kwargs)

        return run

    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, counted(getattr(os, name)))
        try:
            change(room)
        except Killed:
            return True
        return False


def ring_of(room: LogRoom) -> KeyRing:
    return KeyRing.load(room.ring.path, {})


def opened(room: LogRoom) -> DecisionLog:
    return DecisionLog(room.path, ring_of(room), room.clock, origin="tests")


def judged(room: LogRoom) -> Verdict:
    note = checkpoint_path(room.path)
    trail = Trail([Given(note.name, note.read_bytes())] if note.exists() else ())
    return verify(room.path, ring_of(room), room.clock, trail=trail)


def rotate(room: LogRoom) -> object:
    return key_changes.rotate(opened(room), ring_of(room), room.clock, "x")


def revoke(room: LogRoom) -> object:
    def vouch(ring: KeyRing) -> None:
        notary.make(DecisionLog(room.path, ring, room.clock, origin="tests"), ring, room.clock)

    return key_changes.revoke(opened(room), ring_of(room), room.clock, FIRST, "x", checkpoint=vouch)


def cuts(change: Change, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LogRoom]:
    """A room for every point at which `change` can be cut off."""
    LogRoom.create(folder / "before", 2)
    for after in count():
        place = folder / str(after)
        shutil.copytree(folder / "before", place)
        ring = KeyRing.load(place / "secrets" / "keyring.json", {})
        room = LogRoom.create(place, ring=ring)
        if not cut_off(change, room, after, monkeypatch):
            assert after > 20
            return
        yield room


def test_a_rotation_cut_off_anywhere_is_finished_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in cuts(rotate, tmp_path, monkeypatch):
        # A service that was running before has the old ring in memory.
        receipt = room.log().append(draft(5))
        rotate(room)
        ring = ring_of(room)
        assert ring.keys[FIRST].state is KeyState.RETIRED
        assert [key.id for key in ring.keys.values() if key.state is KeyState.ACTIVE][:1] == [ring.active]
        assert json.loads(opened(room).append(draft(6)).raw)["key_id"] == ring.active
        assert receipt.seq in (3, 4, 5)
        assert (judged(room).exit_code, judged(room).findings) == (ExitCode.DONE, ())


def test_a_revocation_cut_off_anywhere_is_finished_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in cuts(revoke, tmp_path, monkeypatch):
        room.log().append(draft(5))
        half_done = judged(room)
        if ring_of(room).keys[FIRST].state is KeyState.REVOKED:
            # Accepted again only once the log says since when.
            kinds = [json.loads(line)["kind"] for line in room.lines()]
            assert half_done.exit_code is (ExitCode.DONE if "key_revocation" in kinds else ExitCode.NO)
        revoke(room)
        assert ring_of(room).keys[FIRST].state is KeyState.REVOKED
        opened(room).append(draft(6))
        assert (judged(room).exit_code, judged(room).findings) == (ExitCode.DONE, ())
        kinds = [json.loads(line)["kind"] for line in room.lines()]
        assert (kinds.count("key_revocation"), kinds.count("key_rotation")) == (1, 1)
