"""`disable --kill-after`: a scheduler that does not confirm is ended, told loudly, and nobody else is."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from stage4.app.installing import create
from stage4.cli.disable_multi_strategy import main
from stage4.clock import SystemClock
from stage4.runtime.latch import GATE_FILE
from stage4.runtime.stop import OVERRIDES
from support.answering import answering
from support.sleepers import hung

CLOCK = SystemClock()
WIDE = OVERRIDES / "multi_strategy_disable.json"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    create(tmp_path / "desk", CLOCK, installation_id="desk-1", language="en")
    monkeypatch.setenv("STAGE4_ROOT", str(tmp_path / "desk"))
    monkeypatch.setenv("STAGE4_LANG", "en")
    return tmp_path / "desk"


def last_entry(root: Path) -> dict:  # type: ignore[type-arg]
    entry: dict = json.loads((root / "audit/decision_logs/runtime.jsonl").read_text().splitlines()[-1])  # type: ignore[type-arg]
    return entry


def test_a_hung_scheduler_is_ended_after_the_time_and_the_file_stands(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with hung(root, CLOCK) as process:
        process.send_signal(signal.SIGSTOP)
        assert main(["--reason", "r", "--requested-by", "l2-jan", "--kill-after", "200ms"]) == 0
        assert process.wait(5) == -signal.SIGKILL
    out, err = capfd.readouterr()
    document = json.loads(out)
    assert (document["code"], document["kill"]["outcome"]) == ("kill.killed", "killed")
    assert document["kill"]["pid"] == process.pid
    assert "kill.orders_left" in {warning["code"] for warning in document["warnings"]}
    assert "SIGKILL" in err
    assert (root / WIDE).exists()
    entry = last_entry(root)
    assert (entry["kind"], entry["status"]) == ("scheduler_killed", "killed")
    assert entry["metadata"]["requested_by"] == "l2-jan"
    assert entry["runtime_flags"] == {"stop_stands": True, "killed": True}


def test_without_the_option_a_hung_scheduler_lives_and_the_log_says_that_nobody_confirmed(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with hung(root, CLOCK) as process:
        assert main(["--reason", "r", "--wait", "50ms"]) == 3
        assert process.poll() is None
    assert json.loads(capfd.readouterr().out)["kill"] is None
    entry = last_entry(root)
    assert (entry["kind"], entry["status"]) == ("scheduler_stop_unconfirmed", "silent")


def test_a_scheduler_that_confirms_is_not_ended(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with answering(root):
        assert main(["--reason", "r", "--kill-after", "5s"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert (document["code"], document["kill"]) == ("stop.word_disabled", None)


def test_where_nobody_runs_there_is_nobody_to_end(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--reason", "r", "--kill-after", "0s"]) == 3
    assert json.loads(capfd.readouterr().out)["code"] == "kill.unknown"
    with hung(root, CLOCK):
        pass
    assert main(["--reason", "r", "--kill-after", "0s"]) == 3
    assert json.loads(capfd.readouterr().out)["code"] == "kill.gone"
    assert (root / WIDE).exists()


def test_where_no_file_can_be_made_the_signal_is_all_there_is_and_it_says_so(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(root / OVERRIDES)
    (root / OVERRIDES).write_text("in the way")
    (root / GATE_FILE).unlink()
    with hung(root, CLOCK) as process:
        assert main(["--reason", "r", "--kill-after", "1h"]) == 3
        assert process.wait(5) == -signal.SIGKILL, "nobody can confirm, so nothing is waited for"
    out, err = capfd.readouterr()
    document = json.loads(out)
    assert document["code"] == "kill.killed_without_file"
    assert document["error"]["code"] == "stop.cannot_write"
    assert "NOT STOPPED" in err
    assert "IT TRADES AGAIN" in err
    assert last_entry(root)["runtime_flags"]["stop_stands"] is False


def test_a_time_that_is_none_ends_nobody_and_stops(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with hung(root, CLOCK) as process:
        assert main(["--reason", "r", "--kill-after", "soon", "--wait", "0"]) == 3
        assert process.poll() is None
    document = json.loads(capfd.readouterr().out)
    assert "kill.after_unusable" in {warning["code"] for warning in document["warnings"]}
    assert (root / WIDE).exists()


def test_a_log_that_is_held_by_somebody_delays_the_answer_by_its_two_seconds_at_most(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from stage4.config import load
    from stage4.decisionlog.open import open_log

    log = open_log(load(root), CLOCK, os.environ)
    with log.held():
        began = CLOCK.monotonic_ns()
        assert main(["--reason", "r", "--wait", "0"]) == 3
        waited = (CLOCK.monotonic_ns() - began) / 1e9
    document = json.loads(capfd.readouterr().out)
    assert document["decision_log"]["logged"] is False
    assert "stop.unlogged" in {warning["code"] for warning in document["warnings"]}
    assert waited < 3.5, "asked once, and not again for how it ended"
    assert (root / WIDE).exists()
