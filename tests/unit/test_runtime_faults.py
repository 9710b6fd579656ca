"""Staged faults: what stands in the file, when it acts, and who refuses it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from stage4.errors import Refused, UsageError
from stage4.runtime import faults
from stage4.runtime.faults import NONE, FaultFile, Faults, parse
from support.desks import BEGINS, installation, settings

LATER = BEGINS + timedelta(minutes=2)


def test_a_fault_acts_until_its_end_and_not_longer(tmp_path: Path) -> None:
    made = installation(tmp_path)
    faults.stage(made, "latency", until=LATER, ms=250)
    reading = FaultFile(made)
    assert reading.current(BEGINS) == Faults(latency_ms=250.0)
    assert reading.current(LATER) == NONE


def test_faults_stand_side_by_side_and_are_cleared_together(tmp_path: Path) -> None:
    made = installation(tmp_path)
    faults.stage(made, "no_signals", until=LATER)
    faults.stage(made, "risk", until=LATER)
    reading = FaultFile(made)
    assert reading.current(BEGINS) == Faults(no_signals=True, volatility_factor=4.0, orders_refused=True)
    assert faults.clear(made)
    assert reading.current(BEGINS) == NONE
    assert not faults.clear(made)


def test_a_fault_staged_while_the_environment_runs_is_seen(tmp_path: Path) -> None:
    made = installation(tmp_path)
    reading = FaultFile(made)
    assert reading.current(BEGINS) == NONE
    faults.stage(made, "pnl", until=LATER)
    assert reading.current(BEGINS).loss_multiple == 3.5


def test_production_refuses_to_stage_and_to_start_with_faults(tmp_path: Path) -> None:
    made = installation(tmp_path, settings(kind="production"))
    with pytest.raises(Refused, match=r"runtime\.faults_refused"):
        faults.stage(made, "latency", until=LATER)
    made.path("var/runtime/faults.json").write_text("{}", encoding="utf-8")
    with pytest.raises(Refused, match=r"runtime\.faults_refused"):
        FaultFile(made)


def test_production_ignores_a_file_that_appears_while_it_runs(tmp_path: Path) -> None:
    made = installation(tmp_path, settings(kind="production"))
    reading = FaultFile(made)
    staged = '{"latency": {"until": "2026-11-23T10:00:00Z"}}'
    made.path("var/runtime/faults.json").write_text(staged, encoding="utf-8")
    assert reading.current(BEGINS) == NONE


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"latency": {}}',
        b'{"earthquake": {"until": "2026-11-23T10:00:00Z"}}',
        b'{"latency": {"until": "2026-11-23T10:00:00"}}',
        b'{"latency": {"until": "2026-11-23T10:00:00Z", "ms": -1}}',
        b'{"latency": {"until": "2026-11-23T10:00:00Z", "ms": 1e9}}',
        b"[" * 5000,
    ],
)
def test_a_wrong_file_is_named_wrong_and_stages_nothing(tmp_path: Path, content: bytes) -> None:
    made = installation(tmp_path)
    made.path("var/runtime/faults.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"runtime\.bad_faults"):
        parse(content, BEGINS)
    assert FaultFile(made).current(BEGINS) == NONE


def test_unknown_kinds_and_parameters_are_refused(tmp_path: Path) -> None:
    made = installation(tmp_path)
    with pytest.raises(UsageError, match=r"runtime\.unknown_fault"):
        faults.stage(made, "latency", until=LATER, factor=2.0)
    with pytest.raises(UsageError, match=r"runtime\.bad_faults"):
        faults.stage(made, "latency", until=LATER, ms=0.0)
