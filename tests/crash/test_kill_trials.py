"""A real scheduler with real strategies under load, stopped a hundred times (a thousand in the soak)."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.kill_trials import trials
from support.soak import kills

CADENCE = 0.002


@pytest.mark.timeout(900)
def test_not_one_signal_is_let_through_once_the_file_is_there(tmp_path: Path) -> None:
    number = kills(100)
    with trials(tmp_path / "desk", CADENCE) as running:
        assert running.load(1.0) > 0.1, "the strategies work"
        done = [running.trial() for _ in range(number)]
    assert sum(trial.after for trial in done) == 0
    assert sum(trial.before for trial in done) > number, "there was something to stop, again after every release"
    assert sum(trial.after_confirmed for trial in done) == 0
    assert sum(trial.in_passing for trial in done) < number / 4
