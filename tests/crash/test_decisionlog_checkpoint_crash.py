"""SIGKILL at every single thing that making a checkpoint does to the disk: the next call always finishes it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stage4.clock import SystemClock
from stage4.decisionlog.checkpoints import judging, notary
from stage4.decisionlog.traces import checkpoint_path
from stage4.decisionlog.verification.trail import Given, Trail
from stage4.decisionlog.verification.verdict import Coverage, Verdict
from stage4.decisionlog.verification.verifier import verify
from stage4.security.keyring import KeyRing
from support.checkpoint_chain import chain_of
from support.decision_logs import LogRoom, draft

TESTS = Path(__file__).parents[1]
KILLER = TESTS / "support" / "checkpoint_killer.py"


def killed_copies(folder: Path, moment: str) -> list[LogRoom]:
    """What each kill left behind, and last what is there when nothing was killed."""
    said = subprocess.run(
        [sys.executable, str(KILLER), str(folder), moment],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=100,
        check=True,
    )
    copies = [folder / f"{moment}-{turn}" for turn in range(1, int(said.stdout) + 1)]
    return [
        LogRoom(copy / "runtime.jsonl", KeyRing.load(copy / "secrets" / "keyring.json", {}), SystemClock())
        for copy in copies
    ]


def secrets(room: LogRoom) -> str:
    """Everything that lies in the folder of the keys, whatever its name."""
    return "".join(path.read_text() for path in sorted(room.ring.path.parent.glob("*checkpoint*")))


def seeds(room: LogRoom) -> set[str]:
    path = room.ring.path.with_name(f"checkpoint-{room.log_id()}.json")
    document = json.loads(path.read_bytes()) if path.exists() else {}
    return {document[name] for name in ("seed", "next_seed") if document.get(name)}


def judged(room: LogRoom) -> Verdict:
    """The verdict on the log with the note beside it, as far as there are any."""
    path = checkpoint_path(room.path)
    notes = [Given("beside", path.read_bytes())] if path.exists() else []
    pins = judging.pins_of(notary.pin_of(room.ring, room.log_id()) or "")
    return verify(room.path, room.ring, room.clock, trail=Trail(notes, pins))


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("earlier", [0, 1], ids=["first", "later"])
def test_a_kill_at_any_instant_is_finished_by_the_next_call(tmp_path: Path, moment: str, earlier: int) -> None:
    original = LogRoom.create(tmp_path / "room", 3, clock=SystemClock())
    for _ in range(earlier):
        notary.make(original.log(), original.ring, original.clock)
        original.log().append(draft())
    before = seeds(original)
    rooms = killed_copies(tmp_path, moment)
    assert len(rooms) > 20
    for room in rooms:
        left = seeds(room)
        assert judged(room).findings == ()
        notary.make(room.log(), room.ring, room.clock)
        assert len(chain_of(room)) == earlier + 1
        room.log().append(draft())
        notary.make(room.log(), room.ring, room.clock)
        assert len(chain_of(room)) == earlier + 2
        verdict = judged(room)
        assert (verdict.findings, verdict.completeness.coverage) == ((), Coverage.COVERED)
        assert verdict.completeness.uncovered == 0
        # No seed that has signed lies anywhere, in a file left behind by the crash either.
        assert len(seeds(room)) == 1
        assert not any(seed in secrets(room) for seed in (before | left) - seeds(room))
        assert [path.name for path in room.ring.path.parent.glob("*checkpoint*")] == [
            f"checkpoint-{room.log_id()}.json"
        ]
