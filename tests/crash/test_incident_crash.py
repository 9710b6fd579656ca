"""SIGKILL at random moments: nothing that was acknowledged is lost, and people are called at most once more."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from stage4.incidents.incident import StepState
from support.incident_process import build, room
from support.soak import SOAK, kills

KILLS = kills(15)
TESTS = Path(__file__).parents[1]


def lived(folder: Path, first: int, seconds: float) -> list[tuple[int, str]]:
    """What a process acknowledged before it was killed `seconds` after its first acknowledgement."""
    environ = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-m", "support.incident_process", str(folder), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ) as child:
        assert child.stdout is not None
        assert select.select([child.stdout], [], [], 60)[0], "the engine did not come up"
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)
        said = child.stdout.read().decode()
    lines = [line.split() for line in said.splitlines(keepends=True) if line.endswith("\n")]
    return [(int(number), incident) for _, number, incident in lines]


@pytest.mark.timeout(0 if SOAK else 180)
def test_a_killed_engine_loses_no_acknowledged_alert_and_repeats_at_most_marked(tmp_path: Path) -> None:
    chance = random.Random(20261123)
    acknowledged: dict[int, str] = {}
    for _ in range(KILLS):
        first = max(acknowledged, default=0) + 1
        acknowledged |= dict(lived(tmp_path, first, chance.uniform(0.0, 0.25)))
    assert len(acknowledged) >= KILLS

    engine = build(tmp_path)
    engine.start()
    for _ in range(6):
        engine.tick()
    known = {incident.id: incident for incident in engine.list()}
    assert set(acknowledged.values()) <= set(known)
    assert room(tmp_path).findings() == []

    opened = Counter()
    voided = set()
    for entry in engine.core.reader.entries():
        decision = entry.metadata.get("decision_id")
        if entry.kind == "void":
            voided.add(decision)
        elif entry.kind == "incident_opened":
            opened[entry.metadata["incident_id"], decision] += 1
    in_force = Counter(incident for incident, decision in opened if decision not in voided)
    assert set(in_force) == set(known), "what is in force was logged, and what was logged is in force or void"
    assert set(in_force.values()) == {1}

    notices = [json.loads(line) for line in (tmp_path / "notices.jsonl").read_text().splitlines()]
    attempts: dict[str, list[int]] = {}
    for notice in notices:
        attempts.setdefault(notice["key"], []).append(notice["attempt"])
    for key, made in attempts.items():
        assert made == sorted(set(made)), f"{key}: every repeat carries its own number"
        assert len(made) <= 2, key
    for incident_id in acknowledged.values():
        assert f"{incident_id}/00001" in attempts
        assert known[incident_id].step("L1.4").state is StepState.ACCEPTED
    engine.core.store.dispose()
