"""`load_test_scheduler.py` drives the real scheduler, workers and gate, and judges what it measured."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from stage4.app.installing import create
from stage4.cli.load_test_scheduler import main
from stage4.clock import SystemClock

GENEROUS = "{warning: 50, critical: 60}"
IMPOSSIBLE = "{warning: 0.0000001, critical: 0.0000002}"
PROFILES = ("conservative", "balanced", "aggressive")
KNOWN = ["mean_reversion_intraday", "volatility_target_daily", "cross_exchange_watch"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "desk"
    create(root, SystemClock(), installation_id="desk-1", language="en")
    return root


def limits(root: Path, written: str) -> None:
    """Set one limit for latency and jitter of all profiles, so that a busy machine does not decide a test."""
    core = root / "config/core.yaml"
    text = core.read_text().split("\n  thresholds:")[0].rstrip()
    by_profile = "".join(
        f"    {profile}: {{loop_latency_seconds: {written}, jitter_seconds: {written}}}\n" for profile in PROFILES
    )
    core.write_text(f"{text}\n  thresholds:\n{by_profile}")


def run(
    root: Path, capture: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[int, dict[str, Any], str]:
    monkeypatch.setenv("STAGE4_LANG", "en")
    code = main(["--root", str(root), *arguments])
    out, err = capture.readouterr()
    document = json.loads(out)
    assert document["schema"] == "stage4.load_test/1"
    return code, document, err.decode()


def test_a_run_within_the_limits(
    made: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits(made, GENEROUS)
    output = tmp_path / "logs/new/report.json"
    arguments = ("--iterations", "6", "--schedules", "3", "--cadence", "60ms", "--seed", "7", "--output", str(output))
    code, report, err = run(made, capfdbinary, monkeypatch, *arguments)
    assert code == 0, err
    assert json.loads(output.read_text()) == report
    assert report["sla"]["verdict"] == "pass"
    assert [row["schedule"] for row in report["by_schedule"]] == KNOWN
    measured = report["measured"]
    assert measured["slots_dispatched"] + measured["slots_missed"] == measured["slots_expected"] == 18
    assert report["signals_emitted"] >= measured["slots_dispatched"], "every evaluation answers at least a hold"
    assert report["resources"]["samples"] >= 2
    assert report["resources"]["cpu_percent"] > 0
    assert report["resources"]["memory_mb"] > 10
    assert 0 < report["lateness_ms"]["min"] <= report["latency_ms"]["min"]
    assert report["settings"]["seed"] == 7


def test_more_schedules_than_workers_are_evaluated_inline_under_names_of_their_own(
    made: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits(made, GENEROUS)
    code, report, _ = run(made, capfdbinary, monkeypatch, "--iterations", "2", "--schedules", "10")
    assert code == 0
    assert report["settings"]["evaluation"] == "inline"
    names = [row["schedule"] for row in report["by_schedule"]]
    assert len(set(names)) == 10
    assert f"{KNOWN[0]}-4" in names


def test_a_run_beyond_the_limits_is_a_no(
    made: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits(made, IMPOSSIBLE)
    code, report, err = run(made, capfdbinary, monkeypatch, "--iterations", "2", "--schedules", "1")
    assert (code, report["exit_code"], report["sla"]["verdict"]) == (1, 1, "fail")
    assert "SLA missed" in err
    assert "disable_multi_strategy.py" in err


def test_an_output_that_cannot_be_written_leaves_the_document(
    made: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits(made, GENEROUS)
    (tmp_path / "file").touch()
    output = str(tmp_path / "file/report.json")
    code, report, _ = run(made, capfdbinary, monkeypatch, "--iterations", "1", "--schedules", "1", "--output", output)
    assert code == 3
    assert report["output_error"] == {"code": "files.cannot_write"}
    assert report["sla"]["verdict"] == "pass"


def test_a_picture_that_cannot_be_drawn_costs_no_report(
    made: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits(made, GENEROUS)
    (tmp_path / "file").touch()
    picture, output = str(tmp_path / "file/a.png"), tmp_path / "report.json"
    arguments = ("--iterations", "1", "--schedules", "1", "--plot", picture, "--output", str(output))
    code, report, _ = run(made, capfdbinary, monkeypatch, *arguments)
    assert (code, report["output_error"]) == (3, {"code": "files.cannot_write"})
    assert json.loads(output.read_text()) == report


def test_a_rate_and_its_peak_are_two_runs_of_which_the_worse_counts(
    made: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits(made, GENEROUS)
    arguments = ("--iterations", "40", "--schedules", "10", "--rate", "400", "--peak", "2x", "--plot", "-")
    code, report, err = run(made, capfdbinary, monkeypatch, *arguments)
    assert (report["settings"]["cadence_ms"], report["settings"]["rate_per_second"]) == (25.0, 400.0)
    assert report["settings"]["peak"] == [2.0]
    (peak,) = report["peak"]
    assert (peak["cadence_ms"], peak["measured"]["slots_expected"]) == (12.5, 400)
    assert set(report["sla"]["parts"]) == {"private", "peak", "kill_switch"}
    assert (peak["kill_switch"]["signals_after"], report["kill_switch"]["signals_after"]) == (0, 0)
    assert code == report["exit_code"]
    assert "Lateness of the dispatch, every 25 ms" in err
    assert "Lateness of the dispatch, every 12.5 ms" in err


def test_every_run_stops_its_own_copy_and_never_the_installation(
    made: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits(made, GENEROUS)
    before = sorted(path for path in (made / "var").rglob("*"))
    _, report, err = run(made, capfdbinary, monkeypatch, "--iterations", "3", "--cadence", "40ms")
    assert report["kill_switch"]["verdict"] == "pass"
    assert report["kill_switch"]["submitted_before"] >= 1
    assert report["kill_switch"]["asked_after"] >= 1
    assert "kill switch: gate closed" in err
    assert sorted(path for path in (made / "var").rglob("*")) == before


def test_few_samples_are_said_to_be_few_in_words_and_in_the_document(
    made: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits(made, GENEROUS)
    _, report, err = run(made, capfdbinary, monkeypatch, "--iterations", "30", "--cadence", "20ms")
    assert "90 samples support no p99 (it takes 1000)" in err
    assert "at most 3.3 % of slots" in err
    assert report["latency_ms"]["p99"] is None
    assert report["latency_ms"]["share_beyond_max_95"] == 0.032738
    assert "loadtest.few_samples" in [each["code"] for each in report["statements"]]


def test_a_report_is_compared_with_an_earlier_one_of_the_same_test_only(
    made: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits(made, GENEROUS)
    earlier, picture = tmp_path / "earlier.json", tmp_path / "picture.svg"
    usual = ("--iterations", "5", "--schedules", "1", "--cadence", "20ms")
    run(made, capfdbinary, monkeypatch, *usual, "--output", str(earlier))
    code, report, err = run(made, capfdbinary, monkeypatch, *usual[2:], "--compare", str(earlier))
    assert (code, report["sla"]["parts"]["comparison"]) == (3, "cannot_tell")
    assert {"setting": "settings.iterations", "before": 5, "now": 30} in report["comparison"]["differences"]
    assert "settings.iterations" in err
    _, report, _ = run(made, capfdbinary, monkeypatch, *usual, "--compare", str(earlier), "--plot", str(picture))
    assert report["comparison"]["baseline"] == str(earlier)
    assert picture.read_text(encoding="utf-8").startswith("<svg")
    kept = earlier.read_bytes()
    code, report, _ = run(made, capfdbinary, monkeypatch, "--compare", str(earlier), "--output", str(earlier))
    assert (code, report["error"]["code"]) == (2, "cli.in_the_way")
    assert earlier.read_bytes() == kept


def test_a_running_scheduler_that_is_not_reached_is_not_judged(
    made: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits(made, GENEROUS)
    monkeypatch.setenv("METRICS_SERVICE_AUTH_TOKEN", "nobody-listens-there")
    core = made / "config/core.yaml"
    core.write_text(core.read_text().replace("port: 8741", "port: 1"))
    arguments = ("--iterations", "2", "--schedules", "1", "--cadence", "20ms", "--attach")
    code, report, err = run(made, capfdbinary, monkeypatch, *arguments)
    assert (code, report["running"]["problem"]) == (3, "telemetry.no_answer")
    assert report["sla"]["parts"]["running"] == "cannot_tell"
    assert report["sla"]["parts"]["private"] == "pass"
    assert "the running scheduler could not be judged" in err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--iterations", "0"), "loadtest.bad_count"),
        (("--schedules", "-1"), "loadtest.bad_count"),
        (("--iterations", "many"), "arguments.malformed"),
        (("--cadence", "soon"), "clock.bad_duration"),
        (("--rate", "nan"), "loadtest.bad_count"),
        (("--rate", "30", "--cadence", "1s"), "loadtest.rate_and_cadence"),
        (("--peak", "1x"), "loadtest.bad_peak"),
        (("--peak", "twice"), "loadtest.bad_peak"),
        (("--plot", "picture.gif"), "loadtest.bad_plot"),
        (("--compare", "config/core.yaml"), "files.bad_json"),
    ],
)
def test_a_malformed_call_is_a_usage_error(
    made: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: str,
) -> None:
    monkeypatch.chdir(made)
    exit_code, report, _ = run(made, capfdbinary, monkeypatch, *arguments)
    assert (exit_code, report["error"]["code"]) == (2, code)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_so_and_leaves_no_process_and_no_file(
    made: Path, tmp_path: Path, number: signal.Signals
) -> None:
    temporary, output = tmp_path / "tmp", tmp_path / "report.json"
    temporary.mkdir()
    command = [sys.executable, "-c", "from stage4.cli.load_test_scheduler import main; raise SystemExit(main())"]
    running = subprocess.Popen(
        [*command, "--root", str(made), "--iterations", "10000", "--output", str(output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "STAGE4_LANG": "en", "TMPDIR": str(temporary)},
        start_new_session=True,
    )
    assert running.stdout is not None
    assert running.stderr is not None
    assert running.stderr.readline().startswith(b"load test:")
    parent = psutil.Process(running.pid)
    deadline = time.monotonic() + 30
    while len(children := parent.children(recursive=True)) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(number)
    out, _ = running.communicate(timeout=30)
    assert running.returncode == 130
    assert json.loads(out)["error"]["code"] == "cli.interrupted"
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert len(children) == 4
    assert not alive, gone
    assert not output.exists()
    assert list(temporary.iterdir()) == []
