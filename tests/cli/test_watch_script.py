"""`watch_metrics_stream.py` against a real metrics service: documents, exit codes, interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from support.telemetry_process import (
    ENVIRON,
    REPOSITORY,
    TelemetryProcess,
    make_installation,
    sample,
    settle_ports,
)

SCRIPT = REPOSITORY / "scripts/watch_metrics_stream.py"


@contextmanager
def feeding(root: Path, *, zscore: float | None = 1.0) -> Iterator[TelemetryProcess]:
    """An installation whose scheduler sends a sample every 20 ms."""
    with TelemetryProcess(make_installation(root)) as process:
        settle_ports(process.installation, process.listening)
        stop = threading.Event()

        def feed() -> None:
            seq = 0
            while not stop.wait(0.02):
                seq += 1
                values = {"signals_total": float(seq)} if zscore is None else {"avg_abs_zscore": zscore}
                process.sink.offer(sample(seq, datetime.now(UTC), **values))

        feeder = threading.Thread(target=feed)
        feeder.start()
        try:
            yield process
        finally:
            stop.set()
            feeder.join()


def start(root: Path, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STAGE4_")}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), "--root", str(root), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**inherited, "PYTHONPATH": str(REPOSITORY / "src"), "STAGE4_LANG": "en", **ENVIRON, **environ},
    )


def finish(running: subprocess.Popen[str]) -> tuple[int, Any, str]:
    out, err = running.communicate(timeout=60)
    return running.returncode, json.loads(out), err


def watch(root: Path, *arguments: str, **environ: str) -> tuple[int, Any, str]:
    return finish(start(root, *arguments, **environ))


def test_a_quiet_market_over_a_sound_stream_is_clean(tmp_path: Path) -> None:
    output = tmp_path / "logs/metrics/stage4_headers.json"
    with feeding(tmp_path):
        code, document, err = watch(
            tmp_path,
            *("--headers-report", "--duration", "1s", "--output", str(output)),
            *("--header", "x-environment=cli", "--header", "x-secret=@env:PRIVATE"),
            STAGE4_WATCH_HEADERS="x-environment=env;x-team=desk",
            PRIVATE="not to be seen",
        )
    assert code == document["exit_code"] == 0
    assert next(iter(document)) == "schema"
    assert document["schema"] == "stage4.watch/1"
    assert document["verdict"] == "clean"
    assert json.loads(output.read_text(encoding="utf-8")) == document
    assert document["stream"]["messages"] > 10
    assert document["stream"]["gaps"] == 0
    assert document["metrics"]["mean_reversion_intraday"]["values"]["stage4_avg_abs_zscore"]["max"] == 1.0
    assert [(probe["name"], probe["right"]) for probe in document["rbac"]["probes"]] == [
        ("positive_control", True),
        ("no_token", True),
        ("wrong_token", True),
        ("no_certificate", True),
        ("positive_control_after", True),
    ]
    assert document["tls"]["version"] == "TLSv1.3"
    assert "DNS:localhost" in document["tls"]["server"]["sans"]
    by_key = {header["key"]: header for header in document["headers"]}
    assert by_key["x-environment"]["value_preview"] == "cli"
    assert by_key["x-environment"]["source"] == "cli:--header"
    assert by_key["authorization"]["masked"] is True
    assert by_key["x-secret"]["source"] == "cli:--header@env:PRIVATE"
    assert document["overridden"][0]["source"] == "env:STAGE4_WATCH_HEADERS"
    assert document["headers_right"] is True
    printed = json.dumps(document) + err
    assert "not to be seen" not in printed
    assert ENVIRON["METRICS_SERVICE_AUTH_TOKEN"] not in printed
    assert "\x1b" not in err, "no bar when it is no terminal"


def test_a_zscore_beyond_its_threshold_is_an_anomaly(tmp_path: Path) -> None:
    with feeding(tmp_path, zscore=3.6):
        code, document, _ = watch(tmp_path, "--duration", "10s", "--limit", "20")
    assert (code, document["verdict"]) == (1, "anomaly")
    assert document["anomalies"][0]["severity"] == "critical"
    assert document["anomalies"][0]["schedule"] == "mean_reversion_intraday"
    assert document["stream"]["messages"] == 20
    assert "headers" not in document


def test_a_stream_without_zscores_cannot_be_judged(tmp_path: Path) -> None:
    with feeding(tmp_path, zscore=None):
        code, document, _ = watch(tmp_path, "--duration", "5s", "--limit", "3")
    assert (code, document["verdict"]) == (3, "nothing_to_judge")


def test_a_scheduler_that_sends_nothing_is_exit_3(tmp_path: Path) -> None:
    with TelemetryProcess(make_installation(tmp_path)) as process:
        settle_ports(process.installation, process.listening)
        code, document, _ = watch(tmp_path, "--duration", "500ms")
    assert (code, document["verdict"]) == (3, "nothing_received")
    assert document["rbac"]["right"] is True


def test_a_dead_service_is_exit_3_with_a_document_and_a_hint(tmp_path: Path) -> None:
    with TelemetryProcess(make_installation(tmp_path)) as process:
        settle_ports(process.installation, process.listening)
    code, document, err = watch(tmp_path, "--headers-report", "--duration", "5s")
    assert (code, document["verdict"]) == (3, "nothing_received")
    assert document["error"]["code"] == "telemetry.no_answer"
    assert document["rbac"]["right"] is None
    assert "error: the metrics service at 127.0.0.1" in err
    assert "hint: " in err


def test_a_token_that_the_service_does_not_know_is_exit_1(tmp_path: Path) -> None:
    with feeding(tmp_path):
        code, document, _ = watch(tmp_path, "--duration", "5s", METRICS_SERVICE_AUTH_TOKEN="another")
    assert (code, document["verdict"]) == (1, "headers_or_access_wrong")
    assert document["rbac"]["probes"] == [
        {
            "name": "positive_control",
            "expected": "admitted",
            "outcome": "refused",
            "status": "UNAUTHENTICATED",
            "right": False,
        }
    ]


def test_a_service_that_is_not_the_pinned_one_is_exit_1(tmp_path: Path) -> None:
    with feeding(tmp_path):
        settings = tmp_path / "config/core.yaml"
        written = settings.read_text(encoding="utf-8")
        pinned = written.replace(
            "require_client_auth: true", "require_client_auth: true\n      pinned_fingerprints: ['00']"
        )
        settings.write_text(pinned, encoding="utf-8")
        code, document, _ = watch(tmp_path, "--duration", "5s", "--limit", "1")
    assert (code, document["tls"]["pinned"]) == (1, False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_watch_finishes_its_record(tmp_path: Path, number: signal.Signals) -> None:
    output = tmp_path / "interrupted.json"
    with feeding(tmp_path) as process, process.client() as client:
        running = start(tmp_path, "--duration", "10m", "--headers-report", "--output", str(output))
        deadline = time.monotonic() + 20
        while client.status().subscribers == 0:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.2)  # so that some messages have come
        running.send_signal(number)
        code, document, _ = finish(running)
    assert (code, document["verdict"], document["interrupted"]) == (130, "not_evaluated", True)
    assert document["stream"]["messages"] > 0
    assert json.loads(output.read_text(encoding="utf-8")) == document


def test_a_stream_that_breaks_off_is_taken_up_again(tmp_path: Path) -> None:
    with feeding(tmp_path) as process, process.client() as client:
        running = start(tmp_path, "--duration", "6s")
        deadline = time.monotonic() + 20
        while client.status().subscribers == 0:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.close()
        settled = settle_ports(process.installation, process.listening)
        with TelemetryProcess(settled) as second:
            process.sink = second.sink  # the feeder goes on into the new one
            code, document, err = finish(running)
    assert (code, document["verdict"]) == (0, "clean")
    assert document["stream"]["reconnects"] >= 1
    assert "connecting again" in err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--duration", "soon"], "clock.bad_duration"),
        (["--limit", "0"], "watch.limit_not_positive"),
        (["--limit", "many"], "arguments.malformed"),
        (["--invented"], "arguments.malformed"),
        (["--header", "nonsense"], "watch.header_malformed"),
    ],
)
def test_a_wrong_call_is_exit_2_and_still_one_document(tmp_path: Path, arguments: list[str], code: str) -> None:
    make_installation(tmp_path)
    exit_code, document, err = watch(tmp_path, *arguments)
    assert (exit_code, document["exit_code"], document["error"]["code"]) == (2, 2, code)
    assert document["schema"] == "stage4.watch/1"
    assert "error: " in err


def test_a_missing_token_variable_is_exit_3(tmp_path: Path) -> None:
    make_installation(tmp_path)
    settings = tmp_path / "config/core.yaml"
    renamed = settings.read_text(encoding="utf-8").replace("METRICS_SERVICE_AUTH_TOKEN", "ANOTHER_VARIABLE")
    settings.write_text(renamed, encoding="utf-8")
    exit_code, document, _ = watch(tmp_path)
    assert (exit_code, document["error"]["code"]) == (3, "security.token_env_missing")


def test_the_first_word_comes_quickly(tmp_path: Path) -> None:
    make_installation(tmp_path)
    imported = subprocess.run(
        [sys.executable, "-c", "import sys, stage4.cli.watch_metrics_stream; print('grpc' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
    )
    assert imported.stdout.strip() == "False"
