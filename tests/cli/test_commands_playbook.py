"""The six command lines of the playbook, as they are written there, inside a running demonstration installation."""

from __future__ import annotations

import json
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stage4.config import load
from stage4.telemetry.grpc_client import MetricsClient
from support.installation import Installed, collect

AUDIT = "python scripts/audit_stage4_compliance.py --mtls-bundle-name core-oem --allow-missing-env"
AUDIT_L2 = "python scripts/audit_stage4_compliance.py --mtls-bundle-name core-oem --rotation-warn-days 7 --check-paths"
BASELINE = "python scripts/audit_security_baseline.py --print"
LOAD = (
    "python scripts/load_test_scheduler.py --iterations 30 --schedules 3 --output logs/load_tests/stage4_incident.json"
)
WATCH = (
    "python scripts/watch_metrics_stream.py --headers-report --duration 10m --output logs/metrics/stage4_headers.json"
)
SUMMARY = "python scripts/verify_decision_log.py summary --incident"
VERIFY = "python scripts/verify_decision_log.py audit/decision_logs/runtime.jsonl"
DISABLE = "python scripts/disable_multi_strategy.py --reason {incident} --ticket {incident}"
KEPT = re.compile(r"var/audit/acceptance/\d{8}T\d{6}Z(-\d+)?/stage4_support")


def lively(settings: Any) -> None:
    """A desk that trades many times a second, so that two seconds without a signal are no coincidence."""
    for schedule in settings["runtime"]["multi_strategy_schedulers"]["core_multi_pipeline"]["schedules"].values():
        schedule.update(cadence_seconds=0.1, interval="100ms")
    settings["mean_reversion_strategies"]["core_mean_reversion"].update(lookback=5, entry_zscore=0.1, exit_zscore=0.05)
    settings["volatility_target_strategies"]["core_volatility_target"].update(lookback=10, rebalance_threshold=0.0001)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """A running environment whose detector is not heard, and a service with one open incident."""
    with Installed.make(tmp_path_factory.mktemp("playbook") / "desk") as installed:
        installed.change(lively)
        installed.run_unheard()
        installed.serve()
        opened = installed.stage4(
            *("incident", "open", "--by", "l1-anna", "--kind", "latency", "--title", "orders are slow")
        )
        assert opened.code == 0
        yield installed


@pytest.fixture
def incident(desk: Installed) -> str:
    (only,) = desk.incidents()
    return str(only["id"])


@pytest.fixture
def trading(desk: Installed) -> Iterator[Installed]:
    """Signals leave; whatever the test stops is enabled again by two people."""
    leaves_signals(desk)
    yield desk
    if desk.word()["state"] != "enabled":
        assert desk.enable("l2-marek", "im-zofia").code == 0


def leaves_signals(desk: Installed) -> None:
    before = desk.word()["signals_submitted"]
    desk.until(lambda: desk.word()["signals_submitted"] > before or None, "a signal")


def document_at(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("line", "schema", "name"),
    [
        (AUDIT, "stage4.audit/1", "compliance.json"),
        (AUDIT_L2, "stage4.audit/1", "compliance.json"),
        (BASELINE, "stage4.security_baseline/1", "security_baseline.json"),
    ],
)
def test_an_audit_passes_and_leaves_its_report_and_command_log(
    desk: Installed, line: str, schema: str, name: str
) -> None:
    outcome = desk.shell(line)
    report = outcome.document
    assert (outcome.code, report["exit_code"], report["schema"]) == (0, 0, schema), report["issues"]
    stored = Path(report["stored"])
    assert KEPT.fullmatch(str(stored.parent.relative_to(desk.root)))
    assert stored.name == name
    assert document_at(stored)["results"] == report["results"]
    logs = [document_at(path) for path in stored.parent.glob("*command.json")]
    assert any(log["argv"] == line.split("/")[-1].split() for log in logs), logs
    assert "Traceback" not in outcome.err


def test_without_its_secrets_the_audit_fails_unless_the_playbook_allows_it(desk: Installed) -> None:
    allowed = AUDIT.replace("python", "env -u METRICS_SERVICE_AUTH_TOKEN python")
    lenient = desk.shell(allowed)
    assert (lenient.code, lenient.document["status"]) == (0, "warn")
    strict = desk.shell(allowed.replace(" --allow-missing-env", ""))
    assert (strict.code, strict.document["status"]) == (1, "fail")


def test_the_load_test_meets_its_limits_and_leaves_its_report(desk: Installed) -> None:
    outcome = desk.shell(LOAD)
    report = outcome.document
    assert (outcome.code, report["schema"]) == (report["exit_code"], "stage4.load_test/1")
    assert outcome.code == 0, report["sla"]
    assert (report["iterations"], report["schedules"]) == (30, 3)
    assert document_at(desk.root / "logs/load_tests/stage4_incident.json") == report


def test_the_watch_finds_headers_and_access_right(desk: Installed) -> None:
    # As written it lasts ten minutes; what follows the duration is the same, and the next test gives it the 10m.
    outcome = desk.shell(WATCH.replace("10m", "5s"))
    report = outcome.document
    assert report["schema"] == "stage4.watch/1"
    assert report["headers_right"] is True
    assert report["tls"]["right"] is True
    assert report["rbac"]["right"] is True
    assert report["stream"]["messages"] > 20
    # The lively desk may stretch its z-scores: the exit code is that of the verdict, whichever it is.
    assert (outcome.code, report["verdict"]) in ((0, "clean"), (1, "anomaly"))
    assert document_at(desk.root / "logs/metrics/stage4_headers.json") == report


def test_the_watch_takes_ten_minutes_as_written_and_an_interruption_keeps_its_record(desk: Installed) -> None:
    output = desk.root / "logs/metrics/stage4_headers.json"
    output.unlink(missing_ok=True)
    process = desk.type(f"exec {WATCH}")
    assert process.stderr is not None
    assert "for 10\N{NO-BREAK SPACE}min" in process.stderr.readline()
    with MetricsClient.of(load(desk.root), desk.environ) as client:
        desk.until(lambda: client.status().subscribers or None, "the watch on the stream")
    process.terminate()
    outcome = collect(process)
    assert (outcome.code, outcome.document["duration"], outcome.document["interrupted"]) == (130, "10m", True)
    assert document_at(output) == outcome.document


def test_the_summary_of_the_only_open_incident_is_signed_into_the_log(desk: Installed, incident: str) -> None:
    outcome = desk.shell(SUMMARY)
    assert outcome.code == 0
    entry = outcome.document["entry"]
    assert (entry["category"], entry["kind"]) == ("stage4_incident", "incident_summary")
    assert entry["metadata"]["incident_id"] == incident
    assert entry["metadata"]["ticket"]
    assert entry["timestamp"].endswith("Z")
    assert entry["signature"]["algorithm"] == "HMAC-SHA256"
    assert entry in desk.entries(category="stage4_incident")


def test_the_log_verifies_and_one_changed_byte_is_named_by_line_and_kind(desk: Installed) -> None:
    desk.shell(SUMMARY)
    sound = desk.shell(VERIFY)
    assert (sound.code, sound.document["integrity"]["verdict"]) == (0, "intact")

    changed = desk.log.with_name("changed.jsonl")
    lines = desk.log.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"l1', b'"l9', 1)
    assert sum(a != b for a, b in zip(b"".join(lines), desk.log.read_bytes(), strict=False)) == 1
    changed.write_bytes(b"".join(lines))
    broken = desk.shell(VERIFY.replace("runtime.jsonl", "changed.jsonl"))
    assert broken.code == 1
    first = broken.document["findings"][0]
    assert (first["line"], first["class"]) == (2, "edit")
    assert "line 2" in broken.err


def test_the_stop_is_answered_by_the_scheduler_itself_and_no_signal_leaves(trading: Installed, incident: str) -> None:
    outcome = trading.shell(DISABLE.format(incident=incident))
    report = outcome.document
    assert (outcome.code, report["schema"], report["code"]) == (0, "stage4.disable/1", "stop.word_disabled")
    assert stat.S_IMODE(trading.stop_file.stat().st_mode) == 0o600
    override = document_at(trading.stop_file)
    assert (override["action"], override["reason"], override["ticket"]) == (
        "disable_multi_strategy",
        incident,
        incident,
    )
    word = trading.word()
    assert (word["state"], word["in_flight"], word["working_orders"]) == ("disabled", 0, 0)
    assert word["override_digest"] == report["override"]["sha256"] == report["scheduler"]["override_digest"]
    entry = trading.entries(kind="scheduler_stop_requested")[-1]
    assert (entry["category"], entry["seq"]) == ("stage4_incident", report["decision_log"]["seq"])
    no_signal_leaves(trading)

    again = trading.shell(DISABLE.format(incident=incident))
    assert (again.code, again.document["already"], again.document["code"]) == (0, True, "stop.word_already")
    two_people_bring_it_back(trading)


@pytest.mark.parametrize("content", [b"\xff\x00 no JSON", b"", b'{"action": "enable"}'])
def test_a_stop_file_of_garbage_written_by_hand_stops_too(trading: Installed, content: bytes) -> None:
    trading.stop_file.write_bytes(content)
    trading.until(lambda: trading.word()["state"] == "disabled" or None, "the scheduler's word")
    no_signal_leaves(trading)
    two_people_bring_it_back(trading)


def test_one_person_or_two_without_an_incident_manager_bring_nothing_back(trading: Installed) -> None:
    assert trading.shell(DISABLE.format(incident="DRILL-1")).code == 0
    alone = trading.enable("im-zofia", "im-zofia")
    assert alone.code == 4
    assert alone.error
    without = trading.enable("l2-marek", "l2-ewa", wait="1s")
    assert without.code in (3, 4)
    trading.stop_file.unlink()
    trading.until(lambda: bool(trading.word()["alarms"]) or None, "the alarm over the vanished stop")
    assert trading.word()["state"] == "disabled"
    two_people_bring_it_back(trading)


def no_signal_leaves(desk: Installed) -> None:
    """The broker counts: none in the two seconds in which some twenty would have left, none since the stop."""
    submitted = desk.word()["signals_submitted"]
    heard = desk.word()["at"]
    time.sleep(2.0)  # not for something to happen, but for nothing to
    word = desk.word()
    assert word["at"] > heard, "it lives"
    assert (word["signals_submitted"], word["signals_after_stop"]) == (submitted, 0)


def two_people_bring_it_back(desk: Installed) -> None:
    outcome = desk.enable("l2-marek", "im-zofia")
    assert (outcome.code, outcome.document["answer"]) == (0, "enabled"), outcome.err
    assert not desk.stop_file.exists()
    assert desk.word()["state"] == "enabled"
    leaves_signals(desk)
    desk.until(lambda: desk.entries(kind="scheduler_enabled") or None, "the entry of the return to service")
